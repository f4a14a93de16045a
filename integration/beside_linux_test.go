package integration_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"peerway/integration/natlab"
)

// TestBesideBulk watches a film of 8 Mbit/s on a line of 20 Mbit/s and 50 ms, from
// a home that sends downloads over the same tunnel: one, then sixteen.
func TestBesideBulk(t *testing.T) {
	need(t, "nginx", "curl")
	const (
		film      = 8e6
		watchFor  = 8 * time.Second
		settleIn  = 4 * time.Second // of the downloads, before anything is measured
		addsAtP95 = 200 * time.Millisecond
	)
	lab := natlab.New(t)
	_, signalURL := startSignal(t, lab.Signal, lab.Signal.Addr().String()+":7443")
	home := lab.Site(natlab.SiteConfig{
		Kind: natlab.PortRestricted,
		Link: &natlab.Link{Rate: 20e6, Delay: 25 * time.Millisecond},
	})
	away := lab.Site(natlab.SiteConfig{Kind: natlab.PortRestricted})
	web, _ := startWeb(t, home.LAN, home.LAN.Addr().String())
	_, code := expose(t, home.LAN, signalURL, "home", "web="+web, "cam="+startLive(t, home.LAN, film))
	gateway := connect(t, away.LAN, code)
	viewer := watchLive(t, away.LAN, gateway.url("home", "cam"))
	gateway.waitPath(patience, "home", "direct")

	during(t, settleIn)
	alone := viewer.figures(during(t, watchFor))
	t.Logf("alone: %s", filmText(alone))
	for _, downloads := range []int{1, 16} {
		received, stop := fetchMany(t, away.LAN, gateway.url("home", "web")+"/large", downloads)
		during(t, settleIn)
		before := received.Load()
		from, to := during(t, watchFor)
		bulk := float64(received.Load()-before) * 8 / 1e6 / to.Sub(from).Seconds()
		beside := viewer.figures(from, to)
		stop()
		t.Logf("beside %d downloads, which get %.1f Mbit/s: %s", downloads, bulk, filmText(beside))
		if beside.lost > 0 || float64(beside.packets) < 0.95*float64(alone.packets) {
			t.Errorf("beside %d downloads: %d packets and %d lost, alone %d", downloads, beside.packets, beside.lost, alone.packets)
		}
		if added := beside.p95 - alone.p95; added > addsAtP95 {
			t.Errorf("beside %d downloads the film is %v later, want less than %v", downloads, added, addsAtP95)
		}
		if bulk < 5 {
			t.Errorf("%d downloads get %.1f Mbit/s of the 12 that are left", downloads, bulk)
		}
		during(t, time.Second) // the queue of the line belongs to these
	}
	if path := gateway.path(); path != "direct" {
		t.Errorf("the path is %q in the end, want direct", path)
	}
}

func filmText(f liveFigures) string {
	return fmt.Sprintf("%.2f Mbit/s in %d packets, %d lost; late by %s ms, 95 %% by %s, at most %s", f.mbit, f.packets, f.lost, ms(f.p50), ms(f.p95), ms(f.max))
}

// fetchMany downloads a URL as often as given at once, until stop is called, which
// returns when all clients are gone. received is what has come so far.
func fetchMany(t *testing.T, at place, url string, downloads int) (received *atomic.Int64, stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	received = new(atomic.Int64)
	for range downloads {
		running.Go(func() {
			var last int64
			d := fetch(ctx, at, url, func(bytes int64) {
				received.Add(bytes - last)
				last = bytes
			})
			if ctx.Err() == nil {
				t.Errorf("a download ended after %d bytes: %v", d.bytes, d.err)
			}
		})
	}
	return received, func() {
		cancel()
		running.Wait()
	}
}
