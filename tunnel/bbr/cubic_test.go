package bbr

import (
	"math"
	"time"
)

// A cubic is the sender that ours has to live with: RFC 9438 with fast
// convergence, without HyStart, clocked by acknowledgements and not paced, as
// TCP in a kernel is by default.
type cubic struct {
	window    float64 // packets
	threshold float64 // of slow start
	max       float64 // W_max
	estimate  float64 // W_est, what Reno would have
	epoch     Time    // when this growth began
	began     bool
	k         float64 // seconds
	rtt       Time
	times     map[int64]Time
	newest    int64 // packet sent
	recovery  int64 // losses up to this packet are one event
}

const (
	cubicC    = 0.4
	cubicBeta = 0.7
)

func newCubic() *cubic {
	return &cubic{window: 10, threshold: math.Inf(1), times: map[int64]Time{}}
}

func (c *cubic) MaySend(Time) bool { return true }
func (c *cubic) NextSend() Time    { return 0 }
func (c *cubic) Window() int64     { return int64(c.window * packetSize) }

func (c *cubic) Sent(now Time, number, _, _ int64, _ bool) {
	c.newest = number
	c.times[number] = now
}

func (c *cubic) Event(now Time, prior int64, acked, lost []Packet) {
	for _, p := range lost {
		delete(c.times, p.Number)
		if p.Number > c.recovery {
			c.recovery = c.newest
			c.reduce()
		}
	}
	for _, p := range acked {
		c.rtt = now - c.times[p.Number]
		delete(c.times, p.Number)
		limited := prior+2*packetSize >= c.Window() // else the application was the limit
		if limited && p.Number > c.recovery {
			c.grow(now)
		}
	}
}

func (c *cubic) reduce() {
	before := c.max
	c.max = c.window
	if c.window < before { // fast convergence, section 4.7
		c.max = c.window * (1 + cubicBeta) / 2
	}
	c.window = max(c.window*cubicBeta, 2)
	c.threshold = c.window
	c.began = false
}

func (c *cubic) grow(now Time) {
	if c.window < c.threshold {
		c.window++
		return
	}
	if !c.began {
		c.began, c.epoch, c.estimate = true, now, c.window
		c.max = max(c.max, c.window)
		c.k = math.Cbrt((c.max - c.window) / cubicC)
	}
	t := (now - c.epoch + c.rtt).Seconds()
	target := cubicC*math.Pow(t-c.k, 3) + c.max
	target = min(max(target, c.window), 1.5*c.window)
	alpha := 3 * (1 - cubicBeta) / (1 + cubicBeta)
	if c.estimate >= c.max {
		alpha = 1
	}
	c.estimate += alpha / c.window
	c.window += (target - c.window) / c.window
	c.window = max(c.window, c.estimate)
}

// A metronome sends at a fixed rate with a fixed window: it tests the tests.
type metronome struct {
	every  Time
	window int64
	next   Time
}

func (m *metronome) Sent(now Time, _, _, _ int64, _ bool) {
	m.next = max(m.next, now-time.Millisecond) + m.every
}
func (m *metronome) Event(Time, int64, []Packet, []Packet) {}
func (m *metronome) MaySend(now Time) bool                 { return now >= m.next }
func (m *metronome) NextSend() Time                        { return m.next }
func (m *metronome) Window() int64                         { return m.window }
