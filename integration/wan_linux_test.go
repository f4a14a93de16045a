package integration_test

import (
	"context"
	"flag"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"peerway/integration/natlab"
)

var wanFlag = flag.String("wan", "", `what the benchmarks of a wide area network measure; empty skips them
  all     everything, 35 minutes
  quick   eight cells of the table
  live    live video beside a download
  cost    processor time and allocations
or, of the table, the cells with the values given, as in "rate=50,200 rtt=50 loss=0,1"; with any of these
  queue=0.25      of the wire, in products of rate and round trip, instead of the larger of 1 and 64 KiB
  ways=peerway    of peerway, bbr and cubic
  rounds=3        the median of so many
  seconds=5       to measure, after the warming up`)

// A wanCell is one line of the table.
type wanCell struct {
	rate int64 // Mbit/s
	rtt  time.Duration
	loss float64 // percent
}

func (c wanCell) String() string {
	return fmt.Sprintf("%d Mbit/s, %d ms, %v %%", c.rate, c.rtt.Milliseconds(), c.loss)
}

// product returns the product of rate and round trip in bytes.
func (c wanCell) product() float64 { return float64(c.rate) * 1e6 / 8 * c.rtt.Seconds() }

// link returns the wire of the cell. Its queue is in products; 0 means the larger
// of one product and 64 KiB.
func (c wanCell) link(queue float64) natlab.Link {
	bytes := int(queue * c.product())
	if queue == 0 {
		bytes = max(64<<10, int(c.product()))
	}
	return natlab.Link{Delay: c.rtt / 2, Rate: c.rate * 1e6, Loss: c.loss / 100, Queue: bytes}
}

// A wanPlan says what to measure.
type wanPlan struct {
	cells      []wanCell
	live, cost bool
	queue      float64
	ways       []string
	rounds     int
	measure    time.Duration // 0 means a time that suits the cell
}

// planWAN reads the flag.
func planWAN(text string) (wanPlan, error) {
	numbers := map[string][]float64{
		"rate": {1, 10, 50, 200}, "rtt": {10, 50, 200}, "loss": {0, 0.1, 1, 3, 10},
		"queue": {0}, "rounds": {1}, "seconds": {0},
	}
	plan := wanPlan{ways: []string{"peerway", "bbr", "cubic"}}
	table, quick := false, false
	for word := range strings.FieldsSeq(text) {
		name, list, _ := strings.Cut(word, "=")
		switch values := strings.Split(list, ","); {
		case word == "all":
			table, plan.live, plan.cost = true, true, true
		case word == "live":
			plan.live = true
		case word == "cost":
			plan.cost = true
		case word == "quick":
			quick = true
		case name == "ways":
			for _, way := range values {
				if !slices.Contains(plan.ways, way) {
					return plan, fmt.Errorf("-wan: %q is not a way", way)
				}
			}
			plan.ways = values
		case numbers[name] == nil:
			return plan, fmt.Errorf("-wan: %q is not known", word)
		default:
			table = table || name == "rate" || name == "rtt" || name == "loss"
			numbers[name] = nil
			for _, value := range values {
				number, err := strconv.ParseFloat(value, 64)
				if err != nil {
					return plan, fmt.Errorf("-wan: %q: %w", word, err)
				}
				if number < 0 || number == 0 && (name == "rate" || name == "rtt") {
					return plan, fmt.Errorf("-wan: %q: no link is like that", word)
				}
				numbers[name] = append(numbers[name], number)
			}
		}
	}
	plan.queue, plan.rounds = numbers["queue"][0], max(1, int(numbers["rounds"][0]))
	plan.measure = time.Duration(numbers["seconds"][0] * float64(time.Second))
	switch {
	case quick && table:
		return plan, fmt.Errorf("-wan: %q: quick has cells of its own", text)
	case quick:
		plan.cells = quickCells()
	case table || !plan.live && !plan.cost && strings.TrimSpace(text) != "":
		for _, rate := range numbers["rate"] {
			for _, rtt := range numbers["rtt"] {
				for _, loss := range numbers["loss"] {
					plan.cells = append(plan.cells, wanCell{int64(rate), time.Duration(rtt) * time.Millisecond, loss})
				}
			}
		}
	}
	return plan, nil
}

// quickCells are eight of the sixty that differ most from each other.
func quickCells() []wanCell {
	return []wanCell{
		{1, 50 * time.Millisecond, 1},
		{10, 50 * time.Millisecond, 0},
		{10, 200 * time.Millisecond, 3},
		{50, 10 * time.Millisecond, 0.1},
		{50, 50 * time.Millisecond, 1},
		{50, 200 * time.Millisecond, 10},
		{200, 50 * time.Millisecond, 0},
		{200, 50 * time.Millisecond, 3},
	}
}

// wanPlanned returns the plan, and skips the benchmark if it is not part of it.
func wanPlanned(b *testing.B, wanted func(wanPlan) bool) wanPlan {
	b.Helper()
	plan, err := planWAN(*wanFlag)
	if err != nil {
		b.Fatal(err)
	}
	if !wanted(plan) {
		b.Skip("not asked for: make bench-wan")
	}
	need(b, "nginx", "curl")
	return plan
}

// A wanScene is a peer with a web server at home, whose wire to the world is the
// one that is shaped, and a gateway away, which has a cable. The peer's websocket
// to the signal server crosses the wire too, but carries next to nothing.
type wanScene struct {
	b             *testing.B
	home, away    *natlab.Site
	peer, gateway *role
	local         string // URL of the web server at the gateway
	program       func(place) place
}

// A wanConfig says what a scene has besides.
type wanConfig struct {
	program func(place) place // changes what runs as peerway; nil does not
	camera  int64             // bits per second of a camera at home; 0 is none
}

func newWAN(b *testing.B, cfg wanConfig) *wanScene {
	b.Helper()
	lab := natlab.New(b)
	_, signalURL := startSignal(b, lab.Signal, lab.Signal.Addr().String()+":7443")
	if cfg.program == nil {
		cfg.program = func(p place) place { return p }
	}
	s := &wanScene{
		b: b, program: cfg.program,
		home: lab.Site(natlab.SiteConfig{Kind: natlab.PortRestricted, Link: &natlab.Link{}}),
		away: lab.Site(natlab.SiteConfig{Kind: natlab.PortRestricted}),
	}
	web, _ := startWeb(b, s.home.LAN, s.home.LAN.Addr().String())
	hugeFile(b, 16*bulkSize) // no measurement comes to its end
	services := []string{"web=" + web}
	if cfg.camera > 0 {
		services = append(services, "cam="+startLive(b, s.home.LAN, cfg.camera))
	}
	peer, code := expose(b, s.program(s.home.LAN), signalURL, "home", services...)
	s.peer = peer
	s.gateway = connect(b, s.program(s.away.LAN), code)
	return s
}

// renew starts the gateway anew, so that no tunnel remembers another wire, and
// waits for the direct path. It reports false if there is none.
func (s *wanScene) renew() bool {
	s.b.Helper()
	s.gateway.stop(os.Interrupt)
	s.gateway = connectAgain(s.b, s.program(s.away.LAN), s.gateway.state, "")
	s.local = s.gateway.url("home", "web")
	if d := fetch(s.b.Context(), s.away.LAN, s.local+"/small", nil); d.err != nil {
		s.b.Error(d.err)
		return false
	}
	again := time.NewTicker(100 * time.Millisecond)
	defer again.Stop()
	for end := time.Now().Add(patience); s.gateway.path() != "direct"; <-again.C {
		if time.Now().After(end) {
			s.b.Errorf("no direct path within %v", patience)
			return false
		}
	}
	return true
}

// download fetches the huge file until stop is called, which returns when curl
// is gone. received is what has come so far.
func (s *wanScene) download() (received *atomic.Int64, stop func()) {
	ctx, cancel := context.WithCancel(s.b.Context())
	var running sync.WaitGroup
	received = &atomic.Int64{}
	url := s.local + "/huge"
	running.Go(func() {
		d := fetch(ctx, s.away.LAN, url, received.Store)
		if ctx.Err() == nil {
			s.b.Errorf("the download ended after %d bytes: %v", d.bytes, d.err)
		}
	})
	return received, func() {
		cancel()
		running.Wait()
	}
}

// A flow is what one way of moving bytes did in one cell.
type flow struct {
	ok            bool
	mbit          float64       // Mbit/s
	gateway, peer time.Duration // processor time
	bytes         int64
	busy          float64 // share of the machine that was not idle, whoever used it
	failed        int64   // frames that the wire has lost for want of processor time
}

// span counts what a download brings in a time, after the warming up.
func (s *wanScene) span(c wanCell, long time.Duration, received *atomic.Int64) (f flow) {
	// What came before, but was held back for a packet that came within, counts
	// too: on a long or slow path that is little only after a while.
	during(s.b, max(2*time.Second, 20*c.rtt, time.Duration(6/c.rate)*time.Second))
	if long == 0 {
		long = max(5*time.Second, 40*c.rtt, time.Duration(10/c.rate)*time.Second)
	}
	f.gateway, f.peer = -cpuTime(s.gateway.pid()), -cpuTime(s.peer.pid())
	idle, all := machine()
	f.failed = -s.failures()
	before := received.Load()
	from, to := during(s.b, long)
	f.bytes = received.Load() - before
	idleNow, allNow := machine()
	f.failed += s.failures()
	f.gateway += cpuTime(s.gateway.pid())
	f.peer += cpuTime(s.peer.pid())
	f.mbit = float64(f.bytes) * 8 / 1e6 / to.Sub(from).Seconds()
	f.busy = 1 - float64(idleNow-idle)/float64(max(1, allNow-all))
	f.ok = true
	return f
}

func (s *wanScene) failures() int64 { return s.home.Wire().Up().Failed + s.home.Wire().Down().Failed }

// viaPeerway downloads over a new tunnel.
func (s *wanScene) viaPeerway(c wanCell, long time.Duration) (f flow) {
	s.b.Helper()
	if !s.renew() {
		return f
	}
	received, stop := s.download()
	f = s.span(c, long, received)
	if path := s.gateway.path(); path != "direct" {
		s.b.Errorf("%v: the path is %q in the end, want direct", c, path)
		f.ok = false
	}
	stop()
	return f
}

// machine returns for how long the processors were idle, and how long they were
// there, in ticks.
func machine() (idle, all int64) {
	text, _ := os.ReadFile("/proc/stat")
	line, _, _ := strings.Cut(string(text), "\n")
	for i, field := range strings.Fields(line)[1:9] { // proc(5): the rest is in the first two already
		ticks, _ := strconv.ParseInt(field, 10, 64)
		all += ticks
		if i == 3 || i == 4 { // idle, iowait
			idle += ticks
		}
	}
	return idle, all
}

// BenchmarkWAN fills the table: bytes that arrive per second, over the whole path
// and over TCP without anything between the same hosts, on the same wire, in turn.
func BenchmarkWAN(b *testing.B) {
	plan := wanPlanned(b, func(p wanPlan) bool { return len(p.cells) > 0 })
	s := newWAN(b, wanConfig{})
	ways := map[string]func(wanCell, time.Duration) flow{"peerway": s.viaPeerway}
	for i, control := range []string{"bbr", "cubic"} {
		ways[control] = newWANTCP(s, control, uint16(9000+i)).flow
	}
	for b.Loop() {
		for rate, cells := range byRate(plan.cells) {
			title := fmt.Sprintf("Goodput at %d Mbit/s: Mbit/s, and percent of the wire. Each way has half the round trip, the whole rate and the whole loss; "+
				"queue %s; %d of each, in turn", rate, queueName(plan.queue), plan.rounds)
			t := newTable(title, "Peerway", "%", "TCP BBR", "%", "TCP CUBIC", "%", "gateway CPU s/Gbit", "peer CPU s/Gbit", "machine busy %", "wire overrun")
			for _, cell := range cells {
				t.row(s.line(cell, plan, ways)...)
			}
			t.print()
		}
	}
}

// line measures a cell and returns its line of the table.
func (s *wanScene) line(c wanCell, plan wanPlan, ways map[string]func(wanCell, time.Duration) flow) []string {
	link := c.link(plan.queue)
	s.home.Wire().Set(link)
	flows := map[string][]flow{}
	for range plan.rounds {
		for _, way := range plan.ways {
			f := ways[way](c, plan.measure)
			if f.ok {
				flows[way] = append(flows[way], f)
			}
			// What is still in the queue and on the way belongs to nobody else.
			during(s.b, c.rtt+time.Duration(float64(link.Queue)*8/float64(link.Rate)*float64(time.Second))+200*time.Millisecond)
		}
	}
	row, busy, failed := []string{fmt.Sprintf("%d ms, %v %%", c.rtt.Milliseconds(), c.loss)}, 0.0, int64(0)
	costs := []string{"-", "-"}
	for _, way := range []string{"peerway", "bbr", "cubic"} {
		if len(flows[way]) == 0 {
			row = append(row, "-", "-")
			continue
		}
		f := median(flows[way], func(f flow) float64 { return f.mbit })
		busy, failed = max(busy, f.busy), failed+f.failed
		row = append(row, fmt.Sprintf("%.2f", f.mbit), fmt.Sprintf("%.1f", f.mbit/float64(c.rate)*100))
		if way == "peerway" {
			costs = []string{f.perGbit(f.gateway), f.perGbit(f.peer)}
		}
	}
	return append(append(row, costs...), fmt.Sprintf("%.0f", busy*100), strconv.FormatInt(failed, 10))
}

// perGbit returns processor seconds per Gbit, or a dash if the clock is too coarse.
func (f flow) perGbit(cpu time.Duration) string {
	if cpu < 200*time.Millisecond {
		return "-"
	}
	return fmt.Sprintf("%.2f", cpu.Seconds()/(float64(f.bytes)*8/1e9))
}

func queueName(products float64) string {
	if products == 0 {
		return "max(1 BDP, 64 KiB)"
	}
	return fmt.Sprintf("%v BDP", products)
}

// byRate yields the cells rate by rate.
func byRate(cells []wanCell) func(yield func(int64, []wanCell) bool) {
	return func(yield func(int64, []wanCell) bool) {
		for len(cells) > 0 {
			n := slices.IndexFunc(cells, func(c wanCell) bool { return c.rate != cells[0].rate })
			if n < 0 {
				n = len(cells)
			}
			if !yield(cells[0].rate, cells[:n]) {
				return
			}
			cells = cells[n:]
		}
	}
}
