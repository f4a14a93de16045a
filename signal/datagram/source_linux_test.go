package datagram_test

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"peerway/signal/datagram"
)

// What comes to one of several addresses of this host is answered from there.
func TestAnswersLeaveFromWhereWasAsked(t *testing.T) {
	for _, test := range []struct{ network, listen, at string }{
		{"udp4", "0.0.0.0:0", "127.0.0.2"},
		{"udp", "[::]:0", "127.0.0.3"},
		{"udp", "[::]:0", "::1"},
	} {
		conn, err := new(net.ListenConfig).ListenPacket(t.Context(), test.network, test.listen)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		server := conn.(*net.UDPConn)
		datagram.TellLocal(server)
		receiver, err := datagram.NewReceiver(server)
		if err != nil {
			t.Fatal(err)
		}
		want := netip.MustParseAddr(test.at)
		port := server.LocalAddr().(*net.UDPAddr).AddrPort().Port()
		client, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(want, port)))
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		client.Write([]byte("question"))
		received, err := receiver.Receive(func() bool { return true })
		if err != nil || len(received) != 1 || received[0].Local != want {
			t.Fatalf("at %v: %+v, %v", want, received, err)
		}
		answer := []byte("a long answer in parts of five")
		if err := datagram.SendFrom(server, answer, datagram.Control{Segment: 5, ECN: 2}, want, received[0].From); err != nil {
			t.Fatal(err)
		}
		client.SetReadDeadline(time.Now().Add(10 * time.Second))
		in := make([]byte, 100)
		for range 6 {
			if n, err := client.Read(in); err != nil || n != 5 { // it is connected, and takes nothing from elsewhere
				t.Fatalf("from %v: %d bytes, %v", want, n, err)
			}
		}
		allocs := testing.AllocsPerRun(100, func() {
			datagram.SendFrom(server, answer, datagram.Control{Segment: 5, ECN: 2}, want, received[0].From)
		})
		if allocs != 0 {
			t.Errorf("%v allocations to send from %v", allocs, want)
		}
	}
}
