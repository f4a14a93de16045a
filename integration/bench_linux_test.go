package integration_test

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"peerway/integration/natlab"
)

// The benchmarks print tables. Every ratio is taken within one run, its parts
// in turn: on a machine that others use too, only ratios mean anything.

const (
	bulkSize   = 1 << 30
	bulkRounds = 5
)

// A cost is what it took to move a file.
type cost struct {
	took           time.Duration
	sender, viewer time.Duration // processor time of the two sides
}

func (c cost) mbps() float64 { return bulkSize / 1e6 / c.took.Seconds() }

func perGbit(cpu time.Duration) float64 { return cpu.Seconds() / (bulkSize * 8 / 1e9) }

// BenchmarkBulk moves 1 GiB between two sites: over the whole path, over bare
// QUIC on one UDP socket, over TCP without anything, and over tunnels that do
// the same as ours in the usual way.
func BenchmarkBulk(b *testing.B) {
	need(b, "camera", "nginx", "curl")
	lab := natlab.New(b)
	_, signalURL := startSignal(b, lab.Signal, lab.Signal.Addr().String()+":7443")
	away := lab.Site(natlab.SiteConfig{Kind: natlab.PortRestricted})
	// A full cone and a forwarded port let the plain programs in.
	home := lab.Site(natlab.SiteConfig{Kind: natlab.FullCone})
	home.Forward(8080, home.LAN)
	web, _ := startWeb(b, home.LAN, home.LAN.Addr().String())
	huge := hugeFile(b, bulkSize)
	peer, code := expose(b, home.LAN, signalURL, "home", "web="+web)
	gateway := connect(b, away.LAN, code)
	sender := startHelper(b, home.LAN, "quic-send", home.LAN.Addr().String()+":4433", huge)
	sender.says("ready")

	local := gateway.url("home", "web")
	curl(b, away.LAN, local+"/small")
	gateway.waitPath(patience, "home", "direct")
	ways := []struct {
		name string
		move func() cost
	}{
		{"TCP, nothing else", func() cost {
			return cost{took: curl(b, away.LAN, "http://"+home.Public().String()+":8080/huge")}
		}},
		{"bare QUIC, one socket", func() cost { return overQUIC(b, away.LAN, home.Public().String()+":4433", sender) }},
		{"whole path", func() cost {
			sent, received := cpuTime(peer.pid()), cpuTime(gateway.pid())
			took := curl(b, away.LAN, local+"/huge")
			return cost{took, cpuTime(peer.pid()) - sent, cpuTime(gateway.pid()) - received}
		}},
		{"usual tunnel: yamux on QUIC, one socket", overRival(b, home, away, "udp", web)},
		{"usual tunnel: the same, packet by packet", overRival(b, home, away, "packets", web)},
	}
	for b.Loop() {
		costs := make([][]cost, len(ways))
		for range bulkRounds {
			for i, way := range ways {
				costs[i] = append(costs[i], way.move())
			}
		}
		t := newTable("1 GiB between two sites, median of "+strconv.Itoa(bulkRounds), "MB/s", "x bare QUIC", "x usual tunnel", "x TCP", "sender CPU s/Gbit", "receiver CPU s/Gbit")
		for i, way := range ways {
			c := median(costs[i], func(c cost) float64 { return c.mbps() })
			t.row(way.name, fmt.Sprintf("%.0f", c.mbps()), ratio(costs[i], costs[1]), ratio(costs[i], costs[3]), ratio(costs[i], costs[0]),
				optional(perGbit(c.sender)), optional(perGbit(c.viewer)))
		}
		t.print()
		if path := gateway.path(); path != "direct" {
			b.Errorf("the path is %q in the end, want direct", path)
		}
	}
}

// overQUIC lets a helper receive the file from the sender.
func overQUIC(b *testing.B, at place, address string, sender *process) cost {
	before := cpuTime(sender.pid())
	receiver := startHelper(b, at, "quic-receive", address)
	var bytes, nanoseconds, cpu int64
	if _, err := fmt.Sscan(receiver.says("received"), &bytes, &nanoseconds, &cpu); err != nil || bytes != bulkSize {
		b.Fatalf("bare QUIC: %d bytes, %v", bytes, err)
	}
	receiver.ends()
	return cost{time.Duration(nanoseconds), cpuTime(sender.pid()) - before, time.Duration(cpu)}
}

// overRival starts a tunnel of the usual kind between two sites and returns what
// moves the file through it.
func overRival(b *testing.B, home, away *natlab.Site, kind, web string) func() cost {
	port := map[string]string{"udp": ":4434", "packets": ":4435"}[kind]
	peer := startHelper(b, home.LAN, "rival-peer", kind, home.LAN.Addr().String()+port, parseURL(b, web).Host)
	peer.says("ready")
	gateway := startHelper(b, away.LAN, "rival-gateway", kind, home.Public().String()+port)
	local := gateway.says("ready")
	return func() cost {
		sent, received := cpuTime(peer.pid()), cpuTime(gateway.pid())
		took := curl(b, away.LAN, "http://"+local+"/huge")
		return cost{took, cpuTime(peer.pid()) - sent, cpuTime(gateway.pid()) - received}
	}
}

// curl downloads a URL and returns how long that took from the first byte on.
func curl(b *testing.B, at place, url string) time.Duration {
	b.Helper()
	first, total := curlTimes(b, at, url)
	return total - first
}

// curlTimes downloads a URL and returns when the first byte and the last came.
func curlTimes(b *testing.B, at place, url string) (first, total time.Duration) {
	b.Helper()
	out, err := at.Command(b.Context(), "curl", "--silent", "--show-error", "--fail", "--noproxy", "*",
		"--output", "/dev/null", "--write-out", "%{time_starttransfer} %{time_total}", url).CombinedOutput()
	var firstSeconds, totalSeconds float64
	if _, scanErr := fmt.Sscan(string(out), &firstSeconds, &totalSeconds); err != nil || scanErr != nil {
		b.Fatalf("curl %s: %v: %s", url, err, out)
	}
	return time.Duration(firstSeconds * float64(time.Second)), time.Duration(totalSeconds * float64(time.Second))
}

// hugeFile makes a file of size zeros without blocks on the disk: nobody compresses
// on the way, and it is read at the speed of memory.
func hugeFile(b *testing.B, size int64) string {
	b.Helper()
	root, err := webRoot()
	if err != nil {
		b.Fatal(err)
	}
	name := filepath.Join(root, "huge")
	file, err := os.Create(name)
	if err != nil {
		b.Fatal(err)
	}
	defer file.Close()
	if err := file.Truncate(size); err != nil {
		b.Fatal(err)
	}
	return name
}

// BenchmarkLive measures what live video costs: one camera of 4 Mbit/s, and four
// viewers of it at the other site, over TCP.
func BenchmarkLive(b *testing.B) {
	const viewers, rate = 4, 4e6
	lab := natlab.New(b)
	_, signalURL := startSignal(b, lab.Signal, lab.Signal.Addr().String()+":7443")
	home, away := lab.Site(natlab.SiteConfig{Kind: natlab.PortRestricted}), lab.Site(natlab.SiteConfig{Kind: natlab.PortRestricted})
	peer, code := expose(b, home.LAN, signalURL, "home", "cam="+startLive(b, home.LAN, rate))
	gateway := connect(b, away.LAN, code)
	var watching [viewers]*liveViewer
	for i := range watching {
		watching[i] = watchLive(b, away.LAN, gateway.url("home", "cam"))
	}
	gateway.waitPath(patience, "home", "direct")
	for b.Loop() {
		t := newTable(fmt.Sprintf("one camera of %g Mbit/s, %d viewers; delay of whole pictures over that of the fastest", rate/1e6, viewers),
			"peer, % of a core", "gateway, % of a core", "video Mbit/s", "lost", "delay p50 ms", "p95 ms", "max ms")
		sent, received := cpuTime(peer.pid()), cpuTime(gateway.pid())
		from, to := during(b, 20*time.Second)
		sent, received = cpuTime(peer.pid())-sent, cpuTime(gateway.pid())-received
		share := func(cpu time.Duration) string { return fmt.Sprintf("%.1f", 100*cpu.Seconds()/to.Sub(from).Seconds()) }
		for i, v := range watching {
			f := v.figures(from, to)
			peerShare, gatewayShare := "", ""
			if i == 0 {
				peerShare, gatewayShare = share(sent), share(received)
			}
			t.row(fmt.Sprintf("viewer %d", i+1), peerShare, gatewayShare, fmt.Sprintf("%.2f", f.mbit), strconv.Itoa(f.lost), ms(f.p50), ms(f.p95), ms(f.max))
		}
		t.print()
	}
}

// BenchmarkFirstByte measures how long a web client waits, in round trips of the
// signal path: gateway, signal server, peer, and back, 50 ms.
func BenchmarkFirstByte(b *testing.B) {
	need(b, "nginx", "curl")
	const roundTrip, samples = 50 * time.Millisecond, 5
	lab := natlab.New(b)
	link := natlab.Link{Delay: roundTrip / 4} // each way has two wires
	_, signalURL := startSignal(b, lab.Signal, lab.Signal.Addr().String()+":7443")
	cfg := natlab.SiteConfig{Kind: natlab.PortRestricted, Link: &link}
	home, away := lab.Site(cfg), lab.Site(cfg)
	web, _ := startWeb(b, home.LAN, home.LAN.Addr().String())
	_, code := expose(b, home.LAN, signalURL, "home", "web="+web)
	gateway := connect(b, away.LAN, code)
	for b.Loop() {
		unit := connectTime(b, away.LAN, lab.Signal) + connectTime(b, home.LAN, lab.Signal)
		t := newTable(fmt.Sprintf("first byte of a page, round trip of the signal path %v ms (measured %s), %d samples", roundTrip.Milliseconds(), ms(unit), samples),
			"median ms", "round trips", "worst ms")
		times := map[string][]time.Duration{}
		for range samples {
			gateway.stop(os.Interrupt)
			gateway = connectAgain(b, away.LAN, gateway.state, "")
			url := gateway.url("home", "web") + "/small"
			cold, _ := curlTimes(b, away.LAN, url)
			warmRelay, _ := curlTimes(b, away.LAN, url)
			gateway.waitPath(patience, "home", "direct")
			warm, _ := curlTimes(b, away.LAN, url)
			times["no tunnel yet"] = append(times["no tunnel yet"], cold)
			times["tunnel just made"] = append(times["tunnel just made"], warmRelay)
			times["direct tunnel"] = append(times["direct tunnel"], warm)
		}
		for _, name := range []string{"no tunnel yet", "tunnel just made", "direct tunnel"} {
			middle := median(times[name], func(d time.Duration) float64 { return float64(d) })
			t.row(name, ms(middle), fmt.Sprintf("%.2f", float64(middle)/float64(unit)), ms(slices.Max(times[name])))
		}
		t.print()
	}
}

// connectTime returns the round trip time between a host and the signal server,
// as TCP sees it.
func connectTime(b *testing.B, from, server *natlab.Host) time.Duration {
	b.Helper()
	addr := net.TCPAddr{IP: server.Addr().AsSlice(), Port: 7443}
	if from.Addr().Is6() {
		addr.IP = server.Addr6().AsSlice()
	}
	var times []time.Duration
	for range 5 {
		err := from.Do(func() error {
			begun := time.Now()
			conn, err := net.DialTCP("tcp", nil, &addr)
			if err == nil {
				times = append(times, time.Since(begun))
				conn.Close()
			}
			return err
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	return median(times, func(d time.Duration) float64 { return float64(d) })
}

// thrifty runs Go programs there that collect garbage early, so that what they
// occupy is what they hold and not what awaits collection.
type thrifty struct{ place }

func (t thrifty) Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	return t.place.Command(ctx, "env", append([]string{"GOGC=10", name}, args...)...)
}

// BenchmarkMemory measures what idle tunnels and idle streams hold, as the
// system sees it: resident memory.
func BenchmarkMemory(b *testing.B) {
	const tunnels, streams = 8, 400
	_, signalURL := startSignal(b, here{}, "127.0.0.1:0")
	server := startHelper(b, here{}, "hold", "127.0.0.1:0")
	web, machine := "web=http://"+server.says("ready"), thrifty{here{}}

	// Two stars: a gateway with many peers, and a peer with many gateways.
	gateway := &role{state: b.TempDir()}
	for i := range tunnels {
		if gateway.process != nil {
			gateway.stop(os.Interrupt)
		}
		_, code := expose(b, machine, signalURL, fmt.Sprintf("home%d", i), web)
		gateway = connectAgain(b, machine, gateway.state, code)
	}
	peer, code := expose(b, machine, signalURL, "center", web)
	var gateways []*role
	for range tunnels {
		gateways = append(gateways, connect(b, machine, code))
		code = peer.nextCode(code)
	}
	for b.Loop() {
		t := newTable("resident memory, KiB", "gateway", "peer")
		gatewayBefore, peerBefore := rss(b, gateway.pid()), rss(b, peer.pid())
		t.row("nothing open", kib(gatewayBefore), kib(peerBefore))
		for i := range tunnels {
			makeTunnel(b, gateway, fmt.Sprintf("home%d", i))
			makeTunnel(b, gateways[i], "center")
		}
		gatewayAfter, peerAfter := rss(b, gateway.pid()), rss(b, peer.pid())
		t.row("per idle tunnel of "+strconv.Itoa(tunnels), kib((gatewayAfter-gatewayBefore)/tunnels), kib((peerAfter-peerBefore)/tunnels))

		gatewayBefore, peerBefore = rss(b, gateways[0].pid()), peerAfter
		release := holdStreams(b, gateways[0].url("center", "web")+"/hold", streams)
		gatewayAfter, peerAfter = rss(b, gateways[0].pid()), rss(b, peer.pid())
		t.row("per idle stream of "+strconv.Itoa(streams), kib((gatewayAfter-gatewayBefore)/streams), kib((peerAfter-peerBefore)/streams))
		release()
		t.print()
	}
}

// makeTunnel fetches a page from a peer and waits for the direct path.
func makeTunnel(b *testing.B, gateway *role, peer string) {
	b.Helper()
	curl(b, here{}, gateway.url(peer, "web")+"/")
	gateway.waitPath(patience, peer, "direct")
}

// nextCode waits for the pairing code that follows one that was used.
func (r *role) nextCode(used string) string {
	r.t.Helper()
	passed := false
	line, ok := r.out.find(patience, func(line string) bool {
		next := passed && strings.HasPrefix(line, "pair ")
		passed = passed || line == "pair "+used
		return next
	})
	if !ok {
		r.t.Fatalf("%s printed no code after %s", r.name, used)
	}
	return strings.TrimPrefix(line, "pair ")
}

// holdStreams opens that many streams, each with its own connection, that have
// carried a line and now carry nothing.
func holdStreams(b *testing.B, url string, n int) (release func()) {
	b.Helper()
	u := parseURL(b, url)
	var conns []net.Conn
	for range n {
		conn, err := net.Dial("tcp", "127.0.0.1:"+u.Port())
		if err != nil {
			b.Fatal(err)
		}
		conns = append(conns, conn)
		_ = conn.SetDeadline(time.Now().Add(patience))
		fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\n\r\n", u.Path, u.Host)
	}
	for _, conn := range conns {
		answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil || answer.StatusCode != http.StatusOK {
			b.Fatalf("a held stream: %v, %v", answer, err)
		}
	}
	return func() {
		for _, conn := range conns {
			conn.Close()
		}
	}
}

// cpuTime returns the processor time that a process has used so far.
func cpuTime(pid int) time.Duration {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	// proc(5): after the name in brackets, utime and stime are the 12th and 13th.
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	user, _ := strconv.ParseInt(fields[11], 10, 64)
	system, _ := strconv.ParseInt(fields[12], 10, 64)
	const tick = 10 * time.Millisecond // USER_HZ is 100 on every Linux that Go runs on
	return time.Duration(user+system) * tick
}

// rss returns the resident memory of a process in bytes.
func rss(b *testing.B, pid int) int {
	b.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		b.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "VmRSS:")
	kibibytes, err := strconv.Atoi(strings.Fields(rest)[0])
	if err != nil {
		b.Fatal(err)
	}
	return kibibytes << 10
}

// median returns the element with the middle value.
func median[T any](all []T, value func(T) float64) T {
	sorted := slices.SortedFunc(slices.Values(all), func(x, y T) int {
		switch a, b := value(x), value(y); {
		case a < b:
			return -1
		case a > b:
			return 1
		}
		return 0
	})
	return sorted[len(sorted)/2]
}

// ratio returns the median over the rounds of the speed of a in that of b.
func ratio(a, b []cost) string {
	var ratios []float64
	for i := range a {
		ratios = append(ratios, a[i].mbps()/b[i].mbps())
	}
	return fmt.Sprintf("%.2f", median(ratios, func(r float64) float64 { return r }))
}

func optional(x float64) string {
	if x == 0 {
		return "-"
	}
	return fmt.Sprintf("%.2f", x)
}

func ms(d time.Duration) string { return fmt.Sprintf("%.1f", float64(d.Microseconds())/1000) }
func kib(bytes int) string      { return fmt.Sprintf("%.0f", float64(bytes)/1024) }

// A table is printed when it is full: rows of a benchmark belong together.
type table struct {
	title string
	rows  [][]string
}

func newTable(title string, columns ...string) *table {
	return &table{title: title, rows: [][]string{append([]string{""}, columns...)}}
}

func (t *table) row(cells ...string) { t.rows = append(t.rows, cells) }

func (t *table) print() {
	fmt.Printf("\n\n%s\n\n", t.title)
	for i, row := range t.rows {
		fmt.Printf("| %s |\n", strings.Join(row, " | "))
		if i == 0 {
			fmt.Printf("|%s\n", strings.Repeat(" --- |", len(row)))
		}
	}
	fmt.Println()
}
