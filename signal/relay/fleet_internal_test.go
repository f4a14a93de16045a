package relay

import (
	"errors"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"
)

// TestStatus: a relay that leaves a question unanswered is not well from then on, though
// peers are still sent to it for a while.
func TestStatus(t *testing.T) {
	m, begun := &Member{}, time.Now()
	if s := m.Status(begun); s.Well || s.Heard >= 0 {
		t.Errorf("before anything was asked it is %+v", s)
	}
	m.told(reply{Load: Load{Sessions: 3}}, nil, begun)
	if s := m.Status(begun.Add(askEvery)); !s.Well || s.Heard != askEvery || s.Load.Sessions != 3 {
		t.Errorf("a relay that answers is %+v", s)
	}
	later := begun.Add(askEvery + answerWithin)
	m.told(reply{}, errors.New("silent"), later)
	_, usable := m.usable(later)
	if s := m.Status(later); s.Well || s.Heard != askEvery+answerWithin || !usable {
		t.Errorf("a relay that is silent is %+v, usable: %v", s, usable)
	}
	if _, usable := m.usable(begun.Add(askFor)); usable {
		t.Error("it is usable for ever")
	}
	m.told(reply{}, nil, later.Add(askEvery))
	if s := m.Status(later.Add(askEvery)); !s.Well || s.Heard != 0 {
		t.Errorf("a relay that is back is %+v", s)
	}
}

// TestLateAnswer: the answer of a far relay, which arrives after the question was repeated, is
// one; and grants are made by the clock of that relay.
func TestLateAnswer(t *testing.T) {
	const ahead = 2 * time.Hour
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	m := &Member{key: NewKey([]byte("far"))}
	var serving sync.WaitGroup
	defer serving.Wait()
	defer conn.Close()
	serving.Go(func() {
		var first []byte
		for in := make([]byte, 1500); ; {
			n, from, err := conn.ReadFromUDPAddrPort(in)
			switch {
			case err != nil:
				return
			case first == nil:
				first = append(first, in[:n]...)
			default:
				answer, _ := m.key.appendLoad(nil, first, Load{Capacity: 5}, time.Now().Add(ahead))
				conn.WriteToUDPAddrPort(answer, from)
			}
		}
	})
	r, err := m.askAt(t.Context(), conn.LocalAddr().(*net.UDPAddr).AddrPort())
	if err != nil || r.Capacity != 5 {
		t.Fatalf("askAt() = %+v, %v", r, err)
	}
	now := time.Now()
	m.told(r, nil, now)
	clock := m.Clock(now)
	if off := clock.Sub(now.Add(ahead)); off.Abs() > time.Minute {
		t.Errorf("Clock() is off by %v", off)
	}
	bound := func(until time.Time) bool {
		f, b := NewForwarder(m.key), NewBinding(m.key.Grant(1, 0, 1, until, Limits{}))
		from := Line{Remote: netip.MustParseAddrPort("192.0.2.1:1000")}
		for range 2 { // the first is answered with a challenge
			if a, ok := f.Bind(nil, b.Tick(now), from, now.Add(ahead)); ok {
				b.Hear(now, a)
			}
		}
		return b.Bound()
	}
	if bound(now.Add(time.Minute)) || !bound(clock.Add(time.Minute)) {
		t.Error("grants do not expire by the clock of the relay")
	}
}
