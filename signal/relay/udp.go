package relay

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"
)

// What one source address may ask, so that a forged source cannot be flooded
// with answers.
const (
	stunPerSecond = 50
	stunBurst     = 100
	maxSources    = 1 << 14
)

// ServeSTUN answers STUN requests on conn until ctx is done, and returns its
// cause. It borrows conn, and leaves its read deadline in the past.
func ServeSTUN(ctx context.Context, conn *net.UDPConn) error {
	stop := context.AfterFunc(ctx, func() { conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	var sources sources
	in, out := make([]byte, 2048), make([]byte, 0, 128)
	for failures := 0; ; {
		n, from, err := conn.ReadFromUDPAddrPort(in)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("stun: %w", err)
		case err != nil: // an ICMP error of an earlier answer, on some systems
			if failures++; failures > 1000 {
				return fmt.Errorf("stun: %w", err)
			}
			continue
		}
		failures = 0
		answer, ok := AppendSTUN(out, in[:n], from)
		if !ok || !sources.allow(from.Addr().Unmap(), time.Now()) {
			continue
		}
		// An answer that cannot be sent is a lost packet, and clients repeat.
		conn.WriteToUDPAddrPort(answer, from)
	}
}

// sources limits how often each address is answered.
type sources struct {
	buckets map[netip.Addr]bucket
	swept   time.Time
}

// A bucket holds tokens as of a moment.
type bucket struct {
	tokens float64
	at     time.Time
}

func (s *sources) allow(from netip.Addr, now time.Time) bool {
	if s.buckets == nil || now.Sub(s.swept) > time.Minute || len(s.buckets) >= maxSources {
		// Starting over forgets at most a minute of somebody's excess.
		s.buckets, s.swept = make(map[netip.Addr]bucket), now
	}
	b, known := s.buckets[from]
	if !known {
		b = bucket{tokens: stunBurst, at: now}
	}
	b.tokens = min(stunBurst, b.tokens+now.Sub(b.at).Seconds()*stunPerSecond)
	b.at = now
	ok := b.tokens >= 1
	if ok {
		b.tokens--
	}
	s.buckets[from] = b
	return ok
}
