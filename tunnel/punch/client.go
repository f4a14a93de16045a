package punch

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/pion/stun/v3"
)

// errNoAnswer ends a STUN request that nobody answered.
var errNoAnswer = errors.New("no answer: is UDP blocked?")

const (
	// firstWait is how long the first packet of a request waits for its answer.
	// Each further one waits twice as long: 3.1 s for all.
	firstWait = 100 * time.Millisecond
	maxSends  = 5

	// mappingLife is how long an answer is believed: it spares the packets of tunnels that
	// are made at once. A path that has died may have done so because the address is
	// another one.
	mappingLife = 2 * time.Second
	maxMappings = 32
)

// A mapping is what a STUN server said, and when.
type mapping struct {
	addr netip.AddrPort
	at   time.Time
}

// Mapped asks a STUN server under which address it sees the shared socket. An
// answer less than 2 s old is returned at once. ctx bounds the wait, which is
// 3.1 s at most. Servers may be asked at the same time: the answers of a NAT
// that gives every destination its own port differ, and are all worth telling
// the peer.
func (p *Puncher) Mapped(ctx context.Context, server netip.AddrPort) (netip.AddrPort, error) {
	server = unmap(server)
	now := time.Now()
	p.mu.Lock()
	known, ok := p.mapped[server]
	p.mu.Unlock()
	if ok && now.Sub(known.at) < mappingLife {
		return known.addr, nil
	}
	addr, err := p.ask(ctx, p.config.Write, server, server)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("punch: stun server %s: %w", server, err)
	}
	p.remember(server, mapping{addr, time.Now()})
	return addr, nil
}

// CallBack has a STUN server send to a port of the address at which it sees this host, from
// another port than the one that was asked (RFC 5780 sections 7.2 and 7.5): only through
// a port that is open to everybody it arrives at the shared socket. It returns that
// address and port. The server must have a second port, the next one. ctx bounds the
// wait, which is 3.1 s at most.
func (p *Puncher) CallBack(ctx context.Context, server netip.AddrPort, port uint16) (netip.AddrPort, error) {
	server = unmap(server)
	from := netip.AddrPortFrom(server.Addr(), server.Port()+1)
	seen, err := p.ask(ctx, p.config.Write, server, from,
		stun.RawAttribute{Type: stun.AttrChangeRequest, Value: []byte{0, 0, 0, 2}},
		stun.RawAttribute{Type: attrResponsePort, Value: []byte{byte(port >> 8), byte(port), 0, 0}})
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("punch: call back of stun server %s: %w", server, err)
	}
	return netip.AddrPortFrom(seen.Addr(), port), nil
}

const attrResponsePort stun.AttrType = 0x0027

// Forget makes the next Mapped ask again: call it when the network changed.
func (p *Puncher) Forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	clear(p.mapped)
}

// remember stores what a server said in the place of the oldest answer.
func (p *Puncher) remember(server netip.AddrPort, m mapping) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, ok := p.mapped[server]; !ok && len(p.mapped) >= maxMappings {
		var oldest netip.AddrPort
		for s, other := range p.mapped {
			if !oldest.IsValid() || other.at.Before(p.mapped[oldest].at) {
				oldest = s
			}
		}
		delete(p.mapped, oldest)
	}
	p.mapped[server] = m
}

// ask runs one STUN transaction with retransmission, which write sends and is answered from
// an address.
func (p *Puncher) ask(ctx context.Context, write func([]byte, netip.AddrPort) error, server, from netip.AddrPort, attributes ...stun.Setter) (netip.AddrPort, error) {
	request, err := stun.Build(append([]stun.Setter{stun.TransactionID, stun.BindingRequest}, attributes...)...)
	if err != nil {
		return netip.AddrPort{}, err
	}
	answer := make(chan message, 1) // one: the exchange is removed before the answer is sent
	p.mu.Lock()
	p.exchange[request.TransactionID] = exchange{to: from, sentAt: time.Now(), answer: answer}
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		delete(p.exchange, request.TransactionID)
		p.mu.Unlock()
	}()

	var sendErr error
	timer := time.NewTimer(0)
	defer timer.Stop()
	for sends, wait := 0, firstWait; ; {
		select {
		case m := <-answer:
			if m.class != classSuccess || !usable(m.mapped) {
				return netip.AddrPort{}, errors.New("the answer holds no address")
			}
			return m.mapped, nil
		case <-ctx.Done():
			return netip.AddrPort{}, context.Cause(ctx)
		case <-timer.C:
		}
		if sends == maxSends {
			if sendErr != nil {
				return netip.AddrPort{}, sendErr
			}
			return netip.AddrPort{}, errNoAnswer
		}
		// An error of one send may be over at the next, as when a network is
		// just coming up.
		sendErr = write(request.Raw, server)
		sends++
		timer.Reset(wait)
		wait *= 2
	}
}
