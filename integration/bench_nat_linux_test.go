package integration_test

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"peerway/integration/natlab"
)

var natCell = flag.String("natcell", "", `the only cell that BenchmarkNAT measures, as "symmetric to port-restricted" or "dual symmetric to dual symmetric"`)

var natRounds = flag.Int("nat", 0, "how many cold connects BenchmarkNAT makes in each cell; 0 skips it")

var natBusy = flag.Int("natbusy", 20, "how many mappings in a second other hosts make in the cells with a sequential site")

// directWithin is how long BenchmarkNAT waits for a direct path.
const directWithin = 20 * time.Second

// BenchmarkNAT connects a gateway in each kind of network with a peer in each, again and
// again with all tunnels gone, and measures whether and on which path, and the time to the
// first byte and to the direct path.
func BenchmarkNAT(b *testing.B) {
	if *natRounds == 0 {
		b.Skip("make bench-nat runs this")
	}
	need(b, "nginx", "curl")
	const roundTrip = 50 * time.Millisecond
	lab := natlab.New(b)
	link := natlab.Link{Delay: roundTrip / 4} // each way has two wires
	signalURL := startSignalByName(b, lab)
	for b.Loop() {
		t := newTable(fmt.Sprintf("%d cold connects in each cell, round trip of the signal path %v", *natRounds, roundTrip),
			"connected", "path", "first byte p50", "p95 (round trips)", "direct", "within 1 s", "within 10 s", "p50 s", "p95 s")
		for _, cell := range benchedCells() {
			if *natCell != "" && *natCell != cell.String() {
				continue
			}
			cell.there.Link, cell.here.Link = &link, &link
			home, away := lab.Site(cell.there), lab.Site(cell.here)
			unit := connectTime(b, away.LAN, lab.Signal) + connectTime(b, home.LAN, lab.Signal)
			stop := func() {}
			if cell.here.Kind == natlab.Sequential || cell.there.Kind == natlab.Sequential {
				stop = occupy(b, lab, *natBusy, home, away)
			}
			c := connectCold(b, signalURL, home, away, cell.path)
			stop()
			t.row(append([]string{cell.String()}, c.cells(unit)...)...)
		}
		t.print()
	}
	b.ReportMetric(0, "ns/op")
}

// benchedCells returns the whole matrix of IPv4, the cells where ports can be foreseen, and
// three cells with IPv6.
func benchedCells() (cells []stackCell) {
	for _, there := range natlab.Kinds() {
		for _, here := range natlab.Kinds() {
			cells = append(cells, stackCell{natlab.SiteConfig{Kind: here}, natlab.SiteConfig{Kind: there}, pathBetween(here, there), false})
		}
	}
	cells = append(cells, sequentialCells()...)
	firewall := natlab.SiteConfig{Kind: natlab.PortRestricted, Stack: natlab.IPv6}
	dual := natlab.SiteConfig{Kind: natlab.Symmetric, Stack: natlab.Dual}
	return append(cells,
		stackCell{firewall, firewall, "direct", true},
		stackCell{natlab.SiteConfig{Kind: natlab.PortRestricted}, firewall, "relay-udp", false},
		stackCell{dual, dual, "direct", true})
}

// coldConnects is what connectCold has measured.
type coldConnects struct {
	tried, connected int
	paths            map[string]int // in the end
	first, direct    []time.Duration
}

// connectCold makes cold connects between two sites, and waits for the path that there
// should be.
func connectCold(b *testing.B, signalURL string, home, away *natlab.Site, wanted string) coldConnects {
	b.Helper()
	web, _ := startWeb(b, home.LAN, home.LAN.Addr().String())
	name := fmt.Sprintf("home-%d", time.Now().UnixNano())
	peer, code := expose(b, home.LAN, signalURL, name, "web="+web)
	gateway := connect(b, away.LAN, code)
	defer peer.stop(os.Interrupt)
	c := coldConnects{paths: map[string]int{}}
	for range *natRounds {
		gateway.stop(os.Interrupt)
		gateway = connectAgain(b, away.LAN, gateway.state, "")
		c.tried++
		url := gateway.url(name, "web") + "/small"
		begun := time.Now()
		out, err := away.LAN.Command(b.Context(), "curl", "--silent", "--fail", "--noproxy", "*",
			"--output", "/dev/null", "--write-out", "%{time_starttransfer}", url).Output()
		first, parseErr := strconv.ParseFloat(string(out), 64)
		if err != nil || parseErr != nil {
			b.Logf("not connected: %v %v", err, parseErr)
			continue
		}
		c.connected++
		c.first = append(c.first, time.Duration(first*float64(time.Second)))
		path := ""
		for path != wanted && time.Since(begun) < directWithin {
			<-time.After(20 * time.Millisecond)
			path = pathNow(b, gateway.state)
		}
		c.paths[path]++
		if path == "direct" {
			c.direct = append(c.direct, time.Since(begun))
		}
	}
	gateway.stop(os.Interrupt)
	return c
}

// cells returns what the table says.
func (c coldConnects) cells(unit time.Duration) []string {
	at := func(times []time.Duration, share float64) time.Duration {
		if len(times) == 0 {
			return 0
		}
		sorted := slices.Sorted(slices.Values(times))
		return sorted[min(int(share*float64(len(sorted))), len(sorted)-1)]
	}
	within := func(limit time.Duration) string {
		n := 0
		for _, d := range c.direct {
			if d <= limit {
				n++
			}
		}
		return fmt.Sprintf("%d", n)
	}
	rounds := func(d time.Duration) string { return fmt.Sprintf("%.1f", float64(d)/float64(unit)) }
	seconds := func(d time.Duration) string { return fmt.Sprintf("%.2f", d.Seconds()) }
	return []string{
		fmt.Sprintf("%d/%d", c.connected, c.tried), fmt.Sprint(c.paths),
		rounds(at(c.first, .5)), rounds(at(c.first, .95)),
		fmt.Sprint(len(c.direct)), within(time.Second), within(10 * time.Second), seconds(at(c.direct, .5)), seconds(at(c.direct, .95)),
	}
}

// pathNow returns the path of the only tunnel of the role with that state, or nothing.
func pathNow(b *testing.B, state string) string {
	b.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(state, "control.sock"))
	}}}
	resp, err := client.Get("http://peerway/v1/status")
	if err != nil {
		b.Fatal(err)
	}
	defer resp.Body.Close()
	var s status
	if err := json.NewDecoder(resp.Body).Decode(&s); err != nil || len(s.Tunnels) != 1 {
		return ""
	}
	return s.Tunnels[0].Path
}
