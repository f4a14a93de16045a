package punch

import (
	"net/netip"
	"testing"
	"time"

	"peerway/signal"
)

func newTestPort(peer signal.PeerID) *port {
	return &port{puncher: New(Config{}), peer: peer, remotes: make(map[netip.AddrPort]*remote)}
}

// What a peer has used up for its hosts leaves what is for its NATs, and the addresses to
// which nothing could be sent have lost nothing.
func TestSharesOfChecks(t *testing.T) {
	p, now := newTestPort(signal.PeerID{1}), time.Now()
	host := netip.MustParseAddrPort("10.0.0.1:1")
	for p.admit(host, ofHost, now); p.puncher.checks.allow(p.peer, ofHost, now); {
	}
	if p.asks(host, now) {
		t.Error("a check to a host is sent though there were too many")
	}
	if got := p.remotes[host].checks.TokensAt(now); got < eagerChecks {
		t.Errorf("an address that was not checked may be checked %v times, want %d", got, eagerChecks)
	}
	for i, from := range []origin{ofNAT, heard} {
		to := netip.AddrPortFrom(netip.MustParseAddr("192.0.2.1"), uint16(1+i))
		p.admit(to, from, now)
		for n := range eagerChecks {
			if !p.asks(to, now) {
				t.Errorf("origin %d: check %d is not sent", from, n)
			}
		}
	}
}

// Addresses at which the peer was heard, and is no more, make room for others: soon, or, if
// packets have passed there, as late as the path would be lost.
func TestHeardAddressesMakeRoom(t *testing.T) {
	source := func(i int) netip.AddrPort {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(i / 4)}), uint16(1+i))
	}
	for name, test := range map[string]struct {
		consents, silent bool
		after            time.Duration
		want             bool
	}{
		"at once":              {false, true, goneAfter, false},
		"silent":               {false, true, goneAfter + 1, true},
		"heard":                {false, false, goneAfter + 1, false},
		"path":                 {true, true, loseAfter, false},
		"path, silent":         {true, true, loseAfter + 1, true},
		"path, heard for ever": {true, false, time.Hour, false},
	} {
		p, begun := newTestPort(signal.PeerID{1}), time.Now()
		for i := range maxHeard {
			if !p.hears(source(i), begun) {
				t.Fatalf("%s: address %d is not heard", name, i)
			}
			if test.consents {
				p.remotes[source(i)].measure(time.Millisecond)
			}
		}
		now := begun.Add(test.after)
		for i := range maxHeard {
			if !test.silent {
				p.hears(source(i), now.Add(-time.Second))
			}
		}
		if got := p.hears(source(maxHeard), now); got != test.want {
			t.Errorf("%s: another address is heard %v, want %v", name, got, test.want)
		}
		if len(p.remotes) > maxHeard {
			t.Errorf("%s: %d addresses", name, len(p.remotes))
		}
	}
}
