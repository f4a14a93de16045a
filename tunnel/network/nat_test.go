package network

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"testing"

	"github.com/pion/stun/v3"

	"peerway/signal/relay"
)

func TestJudge(t *testing.T) {
	local, one, two := netip.MustParseAddrPort("192.168.1.2:5000"), netip.MustParseAddrPort("203.0.113.7:5000"), netip.MustParseAddrPort("203.0.113.7:5003")
	for name, test := range map[string]struct {
		e    evidence
		want NAT
	}{
		"blocked":          {evidence{local: local}, NAT{Local: local}},
		"none":             {evidence{local: one, first: one, second: one, elsewhere: true}, NAT{Local: one, Mapped: one, Mapping: None, Filtering: None}},
		"firewall":         {evidence{local: one, first: one, second: one}, NAT{Local: one, Mapped: one, Mapping: None, Filtering: Dependent}},
		"full cone":        {evidence{local: local, first: one, second: one, elsewhere: true, hairpin: true}, NAT{Local: local, Mapped: one, Mapping: Endpoint, Filtering: Endpoint, Hairpin: true}},
		"port restricted":  {evidence{local: local, first: one, second: one, ports: []uint16{1, 2, 3, 4}}, NAT{Local: local, Mapped: one, Mapping: Endpoint, Filtering: Dependent}},
		"one port":         {evidence{local: local, first: one}, NAT{Local: local, Mapped: one}},
		"symmetric":        {evidence{local: local, first: one, second: two, ports: []uint16{9, 7000, 40000, 12}}, NAT{Local: local, Mapped: one, Mapping: Dependent, Filtering: Dependent}},
		"regular":          {evidence{local: local, first: one, second: two, ports: []uint16{10, 12, 14, 19, 21, 23}}, NAT{Local: local, Mapped: one, Mapping: Dependent, Filtering: Dependent, Delta: 2}},
		"regular downward": {evidence{local: local, first: one, second: two, ports: []uint16{50, 49, 48, 47}}, NAT{Local: local, Mapped: one, Mapping: Dependent, Filtering: Dependent, Delta: -1}},
		"seemingly":        {evidence{local: local, first: one, second: two, ports: []uint16{10, 11, 9, 12}}, NAT{Local: local, Mapped: one, Mapping: Dependent, Filtering: Dependent}},
	} {
		if got := test.e.judge(); got != test.want {
			t.Errorf("%s: %+v, want %+v", name, got, test.want)
		}
	}
}

// Without a NAT everything is known at once; without a server it takes its time.
func TestProbeNAT(t *testing.T) {
	ip := net.IPv4(127, 0, 0, 1)
	var first, second *net.UDPConn
	for range 20 {
		var err error
		if first, err = net.ListenUDP("udp4", &net.UDPAddr{IP: ip}); err != nil {
			t.Fatal(err)
		}
		second, err = net.ListenUDP("udp4", &net.UDPAddr{IP: ip, Port: first.LocalAddr().(*net.UDPAddr).Port + 1})
		if err == nil {
			break
		}
		first.Close()
	}
	defer first.Close()
	defer second.Close()
	server := first.LocalAddr().(*net.UDPAddr).AddrPort()
	var serving sync.WaitGroup
	ctx, cancel := context.WithCancel(t.Context())
	serving.Go(func() { relay.NewSTUNServer().Serve(ctx, first, second) })
	serving.Go(func() { relay.NewSTUNServer().Serve(ctx, second, first) })
	nat, err := ProbeNAT(t.Context(), server)
	if err != nil || nat.Mapping != None || nat.Filtering != None || !nat.Hairpin || nat.Mapped != nat.Local || nat.RTT <= 0 {
		t.Errorf("ProbeNAT() = %+v, %v", nat, err)
	}
	if nat, err := ProbeMapping(t.Context(), server); err != nil || nat.Mapping != None || nat.Mapped != nat.Local {
		t.Errorf("ProbeMapping() = %+v, %v", nat, err)
	}
	wantCallBack(t, server)
	cancel()
	serving.Wait()
	if nat, err := ProbeNAT(t.Context(), server); err != nil || nat.Mapped.IsValid() {
		t.Errorf("without a server: %+v, %v", nat, err)
	}
}

// wantCallBack has the server send to the port of a socket that has sent nothing, and to
// another one.
func wantCallBack(t *testing.T, server netip.AddrPort) {
	t.Helper()
	var sockets [2]*net.UDPConn
	for i := range sockets {
		conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		sockets[i] = conn
	}
	port := sockets[0].LocalAddr().(*net.UDPAddr).AddrPort().Port()
	if !CallBack(t.Context(), server, sockets[0], port) {
		t.Error("the server's call back does not arrive")
	}
	if CallBack(t.Context(), server, sockets[1], port) {
		t.Error("what arrives elsewhere counts")
	}
}

// Whatever comes to a socket that has asked, it takes an answer for one only if it is.
func FuzzAnswer(f *testing.F) {
	server := netip.MustParseAddrPort("203.0.113.1:3478")
	id := [stun.TransactionIDSize]byte{1, 2, 3}
	request := stun.MustBuild(stun.NewTransactionIDSetter(id), stun.BindingRequest)
	f.Add(request.Raw)
	f.Add(stun.MustBuild(request, stun.BindingSuccess, &stun.XORMappedAddress{IP: net.IPv4(192, 0, 2, 7), Port: 4321}).Raw)
	f.Fuzz(func(t *testing.T, packet []byte) {
		q := &question{to: server, answer: make(chan netip.AddrPort, 1)}
		a := &asker{waiting: map[[stun.TransactionIDSize]byte]*question{id: q}}
		a.hear(packet, netip.MustParseAddrPort("198.51.100.1:1")) // somebody else
		if len(q.answer) > 0 {
			t.Errorf("%x from elsewhere is an answer", packet)
		}
		a.hear(packet, server)
	})
}
