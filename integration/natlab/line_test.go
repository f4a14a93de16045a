package natlab

import (
	"math"
	"testing"
	"time"
)

const ms = time.Millisecond

// A passing is a frame that has come through a line.
type passing struct {
	number        int
	sent, arrived time.Duration
}

// A tester sends numbered frames through a line.
type tester struct {
	*line
	sent []time.Duration
}

func newTester(link Link) *tester {
	return &tester{line: &line{link: link, dice: newDice(1, 0)}}
}

// send lets a frame of that many bytes enter and reports whether it will come.
func (t *tester) send(at time.Duration, size int) bool {
	t.sent = append(t.sent, at)
	return t.enter(at, frame{size: size, load: load{index: len(t.sent) - 1}})
}

// receive returns what has arrived, each at the first time at which it can be.
func (t *tester) receive(until time.Duration) (all []passing) {
	for {
		at, ok := t.next()
		if !ok || at > until {
			return all
		}
		t.advance(at)
		for f := t.due(at); f != nil; f = t.due(at) {
			all = append(all, passing{f.load.index, t.sent[f.load.index], f.arrives})
			t.arrive(at)
		}
	}
}

func TestLine(t *testing.T) {
	type sent struct{ at, size, arrives int } // milliseconds; -1 is lost
	for name, test := range map[string]struct {
		link   Link
		frames []sent
	}{
		"cable":    {Link{}, []sent{{0, 1514, 0}, {1, 60, 1}}},
		"delay":    {Link{Delay: 25 * ms}, []sent{{0, 1514, 25}, {1, 1514, 26}, {1, 60, 26}}},
		"all lost": {Link{Loss: 1}, []sent{{0, 60, -1}, {1, 60, -1}}},
		// 1 byte takes 1 ms
		"rate": {Link{Rate: 8000, Delay: 5 * ms}, []sent{{0, 100, 105}, {50, 10, 115}, {500, 10, 515}}},
		"queue": {
			Link{Rate: 8000, Queue: 100},
			[]sent{{0, 100, 100}, {0, 60, 160}, {0, 40, 200}, {0, 1, -1}, {101, 60, 260}, {101, 1, -1}, {160, 41, -1}, {160, 40, 300}},
		},
		"no room at all":     {Link{Rate: 8000, Queue: 1}, []sent{{0, 100, 100}, {99, 100, -1}, {100, 100, 200}}},
		"unlimited no queue": {Link{Queue: 1}, []sent{{0, 100, 0}, {0, 100, 0}, {0, 100, 0}}},
	} {
		t.Run(name, func(t *testing.T) {
			line := newTester(test.link)
			arrived := map[int]time.Duration{}
			for i, f := range test.frames {
				if got, want := line.send(time.Duration(f.at)*ms, f.size), f.arrives >= 0; got != want {
					t.Errorf("frame %d passes: %v, want %v", i, got, want)
				}
			}
			for _, p := range line.receive(time.Hour) {
				arrived[p.number] = p.arrived
			}
			for i, f := range test.frames {
				if got, want := arrived[i], time.Duration(max(f.arrives, 0))*ms; got != want {
					t.Errorf("frame %d arrives after %v, want %v", i, got, want)
				}
			}
		})
	}
}

// TestLineChanges changes a link while frames are on the way.
func TestLineChanges(t *testing.T) {
	slow := Link{Rate: 8000, Delay: 1000 * ms}
	for name, test := range map[string]struct {
		to   Link
		want []int // arrivals in milliseconds of frames of 100 bytes sent at 0, 0, 0 and 200; -1 is dropped
	}{
		"shorter":      {Link{Rate: 8000}, []int{1100, 1100, 1100, 1100}},
		"longer":       {Link{Rate: 8000, Delay: 2000 * ms}, []int{1100, 2200, 2300, 2400}},
		"faster":       {Link{Rate: 16000, Delay: 1000 * ms}, []int{1100, 1175, 1225, 1275}},
		"slower":       {Link{Rate: 4000, Delay: 1000 * ms}, []int{1100, 1250, 1450, 1650}},
		"unlimited":    {Link{Delay: 1000 * ms}, []int{1100, 1150, 1150, 1200}},
		"loses":        {Link{Rate: 8000, Delay: 1000 * ms, Loss: 1}, []int{1100, 1200, 1300, -1}},
		"less room":    {Link{Rate: 8000, Delay: 1000 * ms, Queue: 1}, []int{1100, 1200, 1300, -1}},
		"just as much": {slow, []int{1100, 1200, 1300, 1400}},
	} {
		t.Run(name, func(t *testing.T) {
			line := newTester(slow)
			for range 3 {
				line.send(0, 100)
			}
			line.set(150*ms, test.to) // the second frame has half left
			line.send(200*ms, 100)
			got := []int{-1, -1, -1, -1}
			last := -1
			for _, p := range line.receive(time.Hour) {
				if p.number < last {
					t.Errorf("frame %d arrives after frame %d", p.number, last)
				}
				last = p.number
				got[p.number] = int(p.arrived / ms)
			}
			for i, want := range test.want {
				if got[i] != want {
					t.Errorf("frame %d arrives after %d ms, want %d", i, got[i], want)
				}
			}
		})
	}
}

func TestLineJitter(t *testing.T) {
	link := Link{Delay: 20 * ms, Jitter: 30 * ms}
	line := newTester(link)
	const frames = 20000
	var got []passing
	for i := range frames { // one each millisecond
		at := time.Duration(i) * ms
		got = append(got, line.receive(at)...)
		line.send(at, 1000)
	}
	got = append(got, line.receive(time.Hour)...)
	if len(got) != frames {
		t.Fatalf("%d frames arrive, want %d", len(got), frames)
	}
	shortest, longest, sum := time.Hour, time.Duration(0), time.Duration(0)
	for i, p := range got {
		if p.number != i {
			t.Fatalf("frame %d arrives in the place of %d", p.number, i)
		}
		took := p.arrived - p.sent
		shortest, longest, sum = min(shortest, took), max(longest, took), sum+took
	}
	if shortest < link.Delay || longest > link.Delay+link.Jitter {
		t.Errorf("delays from %v to %v, want within %v and %v", shortest, longest, link.Delay, link.Delay+link.Jitter)
	}
	if shortest > link.Delay+2*ms || longest < link.Delay+link.Jitter-2*ms {
		t.Errorf("delays from %v to %v do not use the whole jitter", shortest, longest)
	}
	if mean, want := sum/frames, link.Delay+link.Jitter/2; mean < want-2*ms || mean > want+2*ms {
		t.Errorf("mean delay %v, want %v", mean, want)
	}
}

func TestLineReorder(t *testing.T) {
	link := Link{Delay: 20 * ms, Reorder: 0.1, ReorderBy: 4 * ms}
	line := newTester(link)
	const frames = 20000
	for i := range frames {
		line.send(time.Duration(i)*ms, 1000)
	}
	got := line.receive(time.Hour)
	if len(got) != frames {
		t.Fatalf("%d frames arrive, want %d", len(got), frames)
	}
	late, overtaken, highest := 0, 0, -1
	for _, p := range got {
		switch took := p.arrived - p.sent; took {
		case link.Delay:
		case link.Delay + link.ReorderBy:
			late++
		default:
			t.Fatalf("frame %d took %v", p.number, took)
		}
		if p.number < highest {
			overtaken++
		}
		highest = max(highest, p.number)
	}
	for name, n := range map[string]int{"late": late, "overtaken": overtaken} {
		if share := float64(n) / frames; math.Abs(share-link.Reorder) > 0.01 {
			t.Errorf("a share of %.3f is %s, want %.2f", share, name, link.Reorder)
		}
	}
}

// TestLineRate sends more than passes and looks at what arrives.
func TestLineRate(t *testing.T) {
	link := Link{Rate: 100e6, Delay: 10 * ms, Queue: 125_000, Loss: 0.01} // 10 ms
	line := newTester(link)
	const size, frames = 1250, 40000 // in 2 s, twice the rate
	var last time.Duration
	var bytes int
	for i := range frames {
		at := time.Duration(i) * 50 * time.Microsecond
		for _, p := range line.receive(at) {
			bytes, last = bytes+size, p.arrived
			if took := p.arrived - p.sent; took > link.Delay+10*ms+2*link.takes(size) {
				t.Fatalf("frame %d took %v: longer than the queue", p.number, took)
			}
		}
		line.send(at, size)
	}
	rate := float64(bytes) * 8 / (last - link.Delay).Seconds()
	if ratio := rate / float64(link.Rate); ratio < 0.999 || ratio > 1.001 {
		t.Errorf("%.4f of the rate arrives", ratio)
	}
	c := line.counters(last)
	if share := float64(c.Lost) / frames; share < 0.007 || share > 0.013 {
		t.Errorf("a share of %.4f is lost, want %.2f", share, link.Loss)
	}
	if c.MostQueued > link.Queue || c.MostQueued < link.Queue-size {
		t.Errorf("at most %d bytes were queued, want %d", c.MostQueued, link.Queue)
	}
	if c.Wait.Max > 10*ms || c.Wait.P99 < 9*ms || c.Wait.Half < 8*ms || c.Wait.Mean < 8*ms {
		t.Errorf("frames waited for %+v, want nearly all for 10 ms", c.Wait)
	}
	if all := c.Frames + c.Lost + c.Full + int64(c.OnTheWay); all != frames {
		t.Errorf("%d frames are counted, want %d: %+v", all, frames, c)
	}
	if again := line.counters(last); again.Wait.Count != 0 || again.MostQueued != again.Queued || again.Frames != c.Frames {
		t.Errorf("asked again: %+v", again)
	}
}

// TestLineSeed compares the fates of the same frames sent at other times.
func TestLineSeed(t *testing.T) {
	fate := func(seed uint64, gap time.Duration) (fate string) {
		line := newTester(Link{Loss: 0.3, Jitter: 5 * ms})
		line.dice = newDice(seed, 0)
		for i := range 200 {
			if line.send(time.Duration(i)*gap, 100) {
				fate += "1"
			} else {
				fate += "0"
			}
		}
		return fate
	}
	if fate(1, ms) != fate(1, 3*ms) {
		t.Error("the same seed loses other frames")
	}
	if fate(1, ms) == fate(2, ms) {
		t.Error("another seed loses the same frames")
	}
}

func TestHistogram(t *testing.T) {
	var h histogram
	for d := time.Duration(1); d < 1<<60; d *= 3 {
		if got := most(step(d)); got < d || got > d+d/4 {
			t.Errorf("%d is counted as at most %d", d, got)
		}
		if step(d) == step(most(step(d))+1) {
			t.Errorf("%d and what is above its step count as one", d)
		}
	}
	for i := range 1000 {
		h.add(time.Duration(i) * ms)
	}
	d := h.take()
	if d.Count != 1000 || d.Max != 999*ms || d.Mean < 499*ms || d.Mean > 500*ms {
		t.Errorf("got %+v", d)
	}
	if d.Half < 499*ms || d.Half > 625*ms || d.P99 < 989*ms || d.P99 > d.Max {
		t.Errorf("got %+v", d)
	}
	if d := h.take(); d != (Delays{}) {
		t.Errorf("an empty histogram has %+v", d)
	}
}

func BenchmarkLine(b *testing.B) {
	line := line{link: Link{Rate: 1e9, Delay: 20 * ms, Jitter: ms, Loss: 0.001, Reorder: 0.001, Queue: 1 << 20}, dice: newDice(1, 0)}
	var now time.Duration
	b.ReportAllocs()
	for b.Loop() {
		now += 13 * time.Microsecond
		line.enter(now, frame{size: 1514})
		for line.due(now) != nil {
			line.arrive(now)
		}
	}
}
