package integration_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"peerway/integration/natlab"
)

// BenchmarkWANLive watches a camera through a tunnel, first alone, then beside a
// download that takes what it can get.
func BenchmarkWANLive(b *testing.B) {
	plan := wanPlanned(b, func(p wanPlan) bool { return p.live })
	const (
		film   = 8 // Mbit/s
		settle = 4 * time.Second
		alone  = 10 * time.Second
		beside = 20 * time.Second
	)
	s := newWAN(b, wanConfig{camera: film * 1e6})
	for b.Loop() {
		t := newTable(fmt.Sprintf("Live video of %d Mbit/s, 20 Mbit/s and 50 ms of wire, queue %s. Delay: of whole pictures, over that of the fastest picture",
			film, queueName(plan.queue)),
			"video Mbit/s", "packets", "lost", "delay p50 ms", "p95 ms", "max ms", "longest gap ms", "download Mbit/s")
		for _, loss := range []float64{0, 1} {
			cell := wanCell{rate: 20, rtt: 50 * time.Millisecond, loss: loss}
			s.home.Wire().Set(cell.link(plan.queue))
			if !s.renew() {
				continue
			}
			v := watchLive(b, s.away.LAN, s.gateway.url("home", "cam"))
			during(b, settle)
			from, to := during(b, alone)
			t.row(liveLine(fmt.Sprintf("alone, %v %% loss", loss), v.figures(from, to), "-")...)
			received, stop := s.download()
			during(b, settle)
			before := received.Load()
			from, to = during(b, beside)
			bulk := float64(received.Load()-before) * 8 / 1e6 / to.Sub(from).Seconds()
			stop()
			t.row(liveLine(fmt.Sprintf("beside a download, %v %% loss", loss), v.figures(from, to), fmt.Sprintf("%.2f", bulk))...)
			if path := s.gateway.path(); path != "direct" {
				b.Errorf("the path is %q in the end, want direct", path)
			}
			v.close()
		}
		t.print()
	}
}

func liveLine(name string, f liveFigures, bulk string) []string {
	return []string{name, fmt.Sprintf("%.2f", f.mbit), strconv.Itoa(f.packets), strconv.Itoa(f.lost), ms(f.p50), ms(f.p95), ms(f.max), ms(f.gap), bulk}
}

// BenchmarkWANCost measures what a download takes of the processes: processor
// time, and what they allocate. The binary is the product with one more file,
// which answers a signal with what its memory has seen.
func BenchmarkWANCost(b *testing.B) {
	plan := wanPlanned(b, func(p wanPlan) bool { return p.cost })
	product, telling := binary(b), tellingBinary(b)
	s := newWAN(b, wanConfig{program: func(p place) place { return instead{p, product, telling} }})
	for b.Loop() {
		t := newTable("What a download costs, queue "+queueName(plan.queue), "Mbit/s", "gateway CPU s/Gbit", "peer CPU s/Gbit",
			"gateway allocations/MB", "peer allocations/MB", "gateway KB/MB", "peer KB/MB", "gateway collections/GB", "peer collections/GB")
		for _, c := range []wanCell{
			{10, 50 * time.Millisecond, 0}, {200, 50 * time.Millisecond, 0}, {200, 50 * time.Millisecond, 1},
		} {
			s.home.Wire().Set(c.link(plan.queue))
			t.row(s.costs(c.String(), c, plan.measure)...)
		}
		s.home.Wire().Set(natlab.Link{})
		t.row(s.costs("a wire without limits", wanCell{rate: 1000}, plan.measure)...)
		t.print()
	}
}

// costs downloads and returns a line of the table of costs.
func (s *wanScene) costs(name string, c wanCell, long time.Duration) []string {
	s.b.Helper()
	if !s.renew() {
		return []string{name}
	}
	received, stop := s.download()
	defer stop()
	gateway, peer, bytes := tell(s.gateway), tell(s.peer), received.Load()
	f := s.span(c, long, received)
	gateway, peer, bytes = tell(s.gateway).since(gateway), tell(s.peer).since(peer), received.Load()-bytes
	if path := s.gateway.path(); path != "direct" {
		s.b.Errorf("%s: the path is %q in the end, want direct", name, path)
	}
	per := func(n int64, unit float64) string { return fmt.Sprintf("%.0f", float64(n)*unit/float64(bytes)) }
	return []string{name, fmt.Sprintf("%.2f", f.mbit), f.perGbit(f.gateway), f.perGbit(f.peer),
		per(gateway.objects, 1e6), per(peer.objects, 1e6), per(gateway.bytes, 1e3), per(peer.bytes, 1e3),
		per(gateway.collections, 1e9), per(peer.collections, 1e9)}
}

// instead runs one program in the place of another.
type instead struct {
	place
	of, program string
}

func (i instead) Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	if name == i.of {
		name = i.program
	}
	return i.place.Command(ctx, name, args...)
}

// tellingBinary builds peerway with the file in testdata/telling and returns its
// path.
func tellingBinary(b *testing.B) string {
	b.Helper()
	added, err := filepath.Abs("testdata/telling/telling.go")
	if err != nil {
		b.Fatal(err)
	}
	target, err := filepath.Abs("../cmd/peerway/telling.go")
	if err != nil {
		b.Fatal(err)
	}
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{target: added}})
	if err != nil {
		b.Fatal(err)
	}
	dir := b.TempDir()
	list, program := filepath.Join(dir, "overlay.json"), filepath.Join(dir, "peerway")
	if err := os.WriteFile(list, overlay, 0o644); err != nil {
		b.Fatal(err)
	}
	if out, err := exec.Command("go", "build", "-overlay", list, "-o", program, "../cmd/peerway").CombinedOutput(); err != nil {
		b.Fatalf("build peerway: %v: %s", err, out)
	}
	return program
}

// A memory is what a process has allocated.
type memory struct{ objects, bytes, collections int64 }

func (m memory) since(before memory) memory {
	return memory{m.objects - before.objects, m.bytes - before.bytes, m.collections - before.collections}
}

// tell asks a telling binary.
func tell(r *role) (m memory) {
	r.t.Helper()
	asked, _ := r.err.count(func(line string) bool { return strings.HasPrefix(line, "memory ") })
	if err := r.cmd.Process.Signal(syscall.SIGUSR1); err != nil {
		r.t.Fatal(err)
	}
	answer := fmt.Sprintf("memory %d ", asked+1)
	line, ok := r.err.find(patience, func(line string) bool { return strings.HasPrefix(line, answer) })
	if !ok {
		r.t.Fatalf("%s does not tell its memory", r.name)
	}
	if _, err := fmt.Sscan(strings.TrimPrefix(line, answer), &m.objects, &m.bytes, &m.collections); err != nil {
		r.t.Fatal(err)
	}
	return m
}
