package bbr

import "time"

// A pacer spreads packets at a rate (section 5.6.2), in bursts of a quantum
// (section 5.6.3). It is a bucket of credit: a timer that is late does not cost
// rate.
type pacer struct {
	smss    int64
	rate    int64 // C.pacing_rate, bytes/s
	quantum int64 // C.send_quantum, bytes: a burst begins with so much credit
	burst   int64 // the most credit

	at      Time    // when credit was counted
	credit  float64 // bytes
	sending bool    // in a burst, which lasts while there is credit for a packet
	said    bool    // yes, at saidAt, and no packet has come since
	saidAt  Time
}

const (
	quantumTime = time.Millisecond
	maxQuantum  = 64 << 10
	// late is how much later than asked a timer may fire in a busy process.
	late = 4 * time.Millisecond
)

// set changes the rate.
func (p *pacer) set(rate int64) {
	p.rate = max(rate, 2*p.smss+1) // a quantum each second
	p.quantum = max(min(during(p.rate, quantumTime), maxQuantum), 2*p.smss)
	p.burst = max(p.quantum, during(p.rate, late))
	p.credit = min(p.credit, float64(p.burst))
}

func (p *pacer) refill(now Time) {
	if now > p.at {
		p.credit = min(p.credit+float64(p.rate)*(now-p.at).Seconds(), float64(p.burst))
		p.at = now
	}
}

func (p *pacer) may(now Time) bool {
	p.refill(now)
	need := p.quantum
	if p.sending {
		need = p.smss
	}
	p.sending = p.credit >= float64(need)
	if !p.sending {
		p.said = false
	} else if !p.said {
		p.said, p.saidAt = true, now
	}
	return p.sending
}

// next returns when may says yes, 0 for now.
func (p *pacer) next() Time {
	missing := float64(p.quantum) - p.credit
	if p.sending || missing <= 0 {
		return 0
	}
	return p.at + seconds(missing/float64(p.rate)) + 1
}

// idle reports whether a packet that goes at now could have gone long before.
func (p *pacer) idle(now Time) bool {
	if !p.said || now <= p.saidAt {
		return false
	}
	p.refill(now)
	return p.credit >= float64(p.burst)
}

func (p *pacer) sent(now Time, size int64) {
	p.refill(now)
	p.credit = max(p.credit-float64(size), 0) // what must go is not asked for
	p.said = false
}
