package network

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/pion/stun/v3"
)

// A Behaviour says on what a NAT lets something depend (RFC 4787 sections 4.1 and 5).
type Behaviour string

// Behaviours.
const (
	Unknown   Behaviour = ""
	None      Behaviour = "none"      // there is no NAT, or nothing is filtered
	Endpoint  Behaviour = "endpoint"  // independent of the other end
	Dependent Behaviour = "dependent" // of its address or port
)

// A NAT is what is between this host and a server.
type NAT struct {
	Server netip.AddrPort // that was asked
	Local  netip.AddrPort // of the socket that asked
	Mapped netip.AddrPort // as the server sees it; invalid: UDP does not pass
	RTT    time.Duration

	// Mapping: whether the public port depends on whom a socket sends to. Such a NAT is
	// called symmetric. Filtering: whether somebody else may answer.
	Mapping, Filtering Behaviour

	// Delta is by how much the port of the next mapping differs from that of the last,
	// if that is regular; 0 if it is not, or not known.
	Delta int

	// Hairpin is whether two hosts behind the NAT reach each other by their public
	// addresses.
	Hairpin bool
}

// maxDelta is what still counts as regular.
const maxDelta = 10

// Limits of a question.
const (
	askFirst = 100 * time.Millisecond // doubles with each repetition
	askTimes = 4
	askFor   = 2 * time.Second
)

// ProbeNAT finds out what is between this host and a server that answers STUN at server
// and at the next port. It takes 2 s at most, and opens sockets of its own. An error
// says that it could not even ask.
func ProbeNAT(ctx context.Context, server netip.AddrPort) (NAT, error) {
	return probeNAT(ctx, server, (*prober).probe)
}

// ProbeMapping is ProbeNAT for the mapping only, which takes one round trip, or two where the
// NAT gives every destination another port.
func ProbeMapping(ctx context.Context, server netip.AddrPort) (NAT, error) {
	return probeNAT(ctx, server, func(p *prober, ctx context.Context) NAT {
		e, rtt := p.mapping(ctx)
		nat := e.judge()
		nat.Filtering, nat.RTT = Unknown, rtt
		return nat
	})
}

func probeNAT(ctx context.Context, server netip.AddrPort, probe func(*prober, context.Context) NAT) (NAT, error) {
	ctx, cancel := context.WithTimeout(ctx, askFor)
	defer cancel()
	family := "udp4"
	if server.Addr().Unmap().Is6() {
		family = "udp6"
	}
	p := prober{
		first: server, second: netip.AddrPortFrom(server.Addr(), server.Port()+1),
		local: sourceFor(family, server.String()),
	}
	if !p.local.IsValid() {
		return NAT{}, fmt.Errorf("no route to %s", server.Addr())
	}
	for range probeSockets {
		conn, err := net.ListenUDP(family, nil)
		if err != nil {
			return NAT{}, err
		}
		defer conn.Close()
		p.sockets = append(p.sockets, newAsker(conn))
	}
	ctx, stop := heed(ctx, p.sockets...)
	defer stop()
	nat := probe(&p, ctx)
	nat.Server = server
	return nat, nil
}

// NewMapping returns the address that the NAT gives to a socket that has just been opened
// and asks server, which is the one after all that it gave before. ctx bounds the wait,
// which is 1.5 s at most.
func NewMapping(ctx context.Context, server netip.AddrPort) (netip.AddrPort, error) {
	conn, err := net.ListenUDP("udp", nil)
	if err != nil {
		return netip.AddrPort{}, err
	}
	defer conn.Close()
	a := newAsker(conn)
	ctx, stop := heed(ctx, a)
	defer stop()
	mapped, _ := a.ask(ctx, server, false)
	if !mapped.IsValid() {
		return netip.AddrPort{}, fmt.Errorf("%s has not answered", server)
	}
	return mapped, nil
}

// probeSockets is how many sockets are asked from: two for all but the delta.
const probeSockets = 5

// A prober asks.
type prober struct {
	first, second netip.AddrPort
	local         netip.Addr
	sockets       []*asker
}

// An evidence is what the answers were; invalid addresses are those that did not come.
type evidence struct {
	local         netip.AddrPort
	first, second netip.AddrPort // where both ports of the server see one socket
	elsewhere     bool           // an answer came from a port that was not asked
	hairpin       bool
	ports         []uint16 // of mappings that were made one after the other
}

// mapping asks both ports of the server from one socket, and from many if those see
// different addresses.
func (p *prober) mapping(ctx context.Context) (e evidence, rtt time.Duration) {
	var asking sync.WaitGroup
	main := p.sockets[0]
	e.local = netip.AddrPortFrom(p.local, main.port())
	asking.Go(func() { e.first, rtt = main.ask(ctx, p.first, false) })
	asking.Go(func() { e.second, _ = main.ask(ctx, p.second, false) })
	asking.Wait()
	if e.first.IsValid() && e.second.IsValid() && e.first != e.second {
		e.ports = p.burst(ctx)
	}
	return e, rtt
}

// burst has the NAT make mappings at once, so that hardly any others come in between, and
// returns their ports in this order.
func (p *prober) burst(ctx context.Context) (ports []uint16) {
	var questions []func() netip.AddrPort
	for _, s := range p.sockets[2:] {
		for _, server := range []netip.AddrPort{p.first, p.second} {
			questions = append(questions, s.begin(ctx, server, false))
		}
	}
	var waiting sync.WaitGroup
	answers := make([]netip.AddrPort, len(questions))
	for i, wait := range questions {
		waiting.Go(func() { answers[i] = wait() })
	}
	waiting.Wait()
	for _, mapped := range answers {
		if mapped.IsValid() {
			ports = append(ports, mapped.Port())
		}
	}
	return ports
}

func (p *prober) probe(ctx context.Context) NAT {
	var asking sync.WaitGroup
	main, other := p.sockets[0], p.sockets[1]
	elsewhere := false
	asking.Go(func() { // from a socket that has sent nothing there
		mapped, _ := other.ask(ctx, p.first, true)
		elsewhere = mapped.IsValid()
	})
	e, rtt := p.mapping(ctx)
	if e.first.IsValid() {
		asking.Go(func() { e.hairpin = other.reaches(ctx, e.first, main) })
	}
	asking.Wait()
	e.elsewhere = elsewhere
	nat := e.judge()
	nat.RTT = rtt
	return nat
}

// judge says what the answers mean.
func (e evidence) judge() NAT {
	n := NAT{Local: e.local, Mapped: e.first, Hairpin: e.hairpin}
	if !e.first.IsValid() {
		return n
	}
	switch {
	case e.first == e.local:
		n.Mapping = None
	case !e.second.IsValid():
	case e.first == e.second:
		n.Mapping = Endpoint
	default:
		n.Mapping = Dependent
		n.Delta = regular(e.ports)
	}
	switch {
	case e.elsewhere && n.Mapping == None:
		n.Filtering = None
	case e.elsewhere:
		n.Filtering = Endpoint
	case e.second.IsValid(): // the server has a second port
		n.Filtering = Dependent
	}
	return n
}

// regular returns the difference between ports that were given one after the other, or
// 0 if it is none, large, or not always about the same.
func regular(ports []uint16) int {
	if len(ports) < 4 {
		return 0
	}
	least, most := maxDelta+1, -maxDelta-1
	for i := range ports[1:] {
		d := int(ports[i+1]) - int(ports[i])
		least, most = min(least, d), max(most, d)
	}
	switch {
	case least > 0 && most <= maxDelta:
		return least
	case most < 0 && least >= -maxDelta:
		return most
	}
	return 0
}

// An asker is a socket with questions that wait for an answer.
type asker struct {
	conn *net.UDPConn

	mu      sync.Mutex
	waiting map[[stun.TransactionIDSize]byte]*question
}

// A question waits for an answer from an address, or from another port of that.
type question struct {
	to        netip.AddrPort
	elsewhere bool
	answer    chan netip.AddrPort // holds one
}

func newAsker(conn *net.UDPConn) *asker {
	return &asker{conn: conn, waiting: make(map[[stun.TransactionIDSize]byte]*question)}
}

func (a *asker) port() uint16 { return a.conn.LocalAddr().(*net.UDPAddr).AddrPort().Port() }

// heed has answers heard until ctx is done, which the one it returns is with it, or stop is
// called. The caller calls stop, which waits.
func heed(ctx context.Context, askers ...*asker) (_ context.Context, stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var reading sync.WaitGroup
	for _, a := range askers {
		reading.Go(func() { a.read(ctx) })
	}
	return ctx, func() { cancel(); reading.Wait() }
}

// read hands answers over until ctx is done.
func (a *asker) read(ctx context.Context) {
	defer context.AfterFunc(ctx, func() { a.conn.SetReadDeadline(time.Unix(1, 0)) })()
	packet := make([]byte, 1500)
	for {
		n, from, err := a.conn.ReadFromUDPAddrPort(packet)
		if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil {
			a.hear(packet[:n], netip.AddrPortFrom(from.Addr().Unmap(), from.Port()))
		}
	}
}

func (a *asker) hear(packet []byte, from netip.AddrPort) {
	m := stun.Message{Raw: packet}
	if m.Decode() != nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	q := a.waiting[m.TransactionID]
	if q == nil {
		return
	}
	mapped := from // a question of our own that came back
	if m.Type == stun.BindingSuccess {
		var address stun.XORMappedAddress
		if address.GetFrom(&m) != nil || from.Addr() != q.to.Addr() || (from.Port() != q.to.Port()) != q.elsewhere {
			return
		}
		ip, _ := netip.AddrFromSlice(address.IP)
		mapped = netip.AddrPortFrom(ip.Unmap(), uint16(address.Port))
	} else if m.Type != stun.BindingRequest || q.to.IsValid() {
		return
	}
	select {
	case q.answer <- mapped:
	default:
	}
}

// expect makes a question that waits for its answer until forget is called.
func (a *asker) expect(q *question) (id [stun.TransactionIDSize]byte, forget func()) {
	rand.Read(id[:]) // never fails since Go 1.24
	q.answer = make(chan netip.AddrPort, 1)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.waiting[id] = q
	return id, func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		delete(a.waiting, id)
	}
}

// ask asks a server where it sees the socket, to be answered from another port if
// elsewhere. The result is invalid if there is no answer.
func (a *asker) ask(ctx context.Context, server netip.AddrPort, elsewhere bool) (mapped netip.AddrPort, rtt time.Duration) {
	begun := time.Now()
	mapped = a.begin(ctx, server, elsewhere)()
	return mapped, time.Since(begun)
}

// begin sends a question, and returns what waits for the answer: it is to be called.
func (a *asker) begin(ctx context.Context, server netip.AddrPort, elsewhere bool) (wait func() netip.AddrPort) {
	q := &question{to: server, elsewhere: elsewhere}
	id, forget := a.expect(q)
	request := stun.MustBuild(stun.NewTransactionIDSetter(id), stun.BindingRequest)
	if elsewhere {
		fromElsewhere(request)
	}
	a.conn.WriteToUDPAddrPort(request.Raw, server) // an error is a lost packet
	return func() netip.AddrPort {
		defer forget()
		return a.repeat(ctx, request.Raw, server, q.answer)
	}
}

// fromElsewhere makes request one that is to be answered from another port (RFC 5780 section
// 7.2).
func fromElsewhere(request *stun.Message) {
	request.Add(stun.AttrChangeRequest, []byte{0, 0, 0, 2})
	request.WriteHeader()
}

// reaches reports whether a packet to a public address arrives at the socket that has it.
func (a *asker) reaches(ctx context.Context, public netip.AddrPort, there *asker) bool {
	q := &question{}
	id, forget := there.expect(q)
	defer forget()
	request := stun.MustBuild(stun.NewTransactionIDSetter(id), stun.BindingRequest)
	a.conn.WriteToUDPAddrPort(request.Raw, public)
	return a.repeat(ctx, request.Raw, public, q.answer).IsValid()
}

// repeat repeats a packet that was sent until there is an answer, ctx is done, or it was
// sent often.
func (a *asker) repeat(ctx context.Context, packet []byte, to netip.AddrPort, answer <-chan netip.AddrPort) netip.AddrPort {
	wait := askFirst
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for sent := 1; ; sent++ {
		select {
		case mapped := <-answer:
			return mapped
		case <-ctx.Done():
			return netip.AddrPort{}
		case <-timer.C:
		}
		if sent == askTimes {
			return netip.AddrPort{}
		}
		a.conn.WriteToUDPAddrPort(packet, to) // an error is a lost packet
		wait *= 2
		timer.Reset(wait)
	}
}
