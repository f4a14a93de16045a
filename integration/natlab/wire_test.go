//go:build linux

package natlab_test

import (
	"context"
	"crypto/md5"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"peerway/integration/natlab"
)

func TestWireDelay(t *testing.T) {
	lab := natlab.New(t)
	site := lab.Site(natlab.SiteConfig{Kind: natlab.PortRestricted, Link: &natlab.Link{}})
	inner, server := listen(t, site.LAN, 0), listen(t, lab.Signal, 1000)
	inner.mapped(server) // finds the neighbours once

	roundTrip := func() time.Duration {
		best := time.Hour
		for range 5 {
			start := time.Now()
			from := inner.mapped(server)
			server.send("answer", from)
			inner.receive("answer", arrives)
			best = min(best, time.Since(start))
		}
		return best
	}
	const delay = 40 * time.Millisecond
	bare := roundTrip()
	site.Wire().Set(natlab.Link{Delay: delay})
	once := roundTrip() - bare
	site.Wire().Set(natlab.Link{Delay: 2 * delay})
	twice := roundTrip() - bare
	t.Logf("round trip %v without delay, %v more with %v, %v more with %v", bare, once, delay, twice, 2*delay)
	if once < 2*delay-bare {
		t.Errorf("a delay of %v adds only %v to a round trip", delay, once)
	}
	if ratio := float64(twice) / float64(once); ratio < 1.7 || ratio > 2.3 {
		t.Errorf("twice the delay takes %.2f times as long", ratio)
	}
}

func TestWireLoss(t *testing.T) {
	lab := natlab.New(t)
	site := lab.Site(natlab.SiteConfig{Kind: natlab.FullCone, Link: &natlab.Link{}})
	inner, server := listen(t, site.LAN, 0), listen(t, lab.Signal, 1000)
	from := inner.mapped(server)
	site.Wire().Set(natlab.Link{Loss: 1})
	server.send("lost", from)
	site.Wire().Set(natlab.Link{Loss: 1}) // frames that entered before are judged by now or lost as well
	if inner.receive("lost", lost).IsValid() {
		t.Error("a wire that loses everything let a packet through")
	}
	site.Wire().Set(natlab.Link{})
	server.send("found", from)
	if !inner.receive("found", arrives).IsValid() {
		t.Error("a wire that loses nothing lost a packet")
	}
}

// TestWireRate sends TCP at two rates and compares.
func TestWireRate(t *testing.T) {
	lab := natlab.New(t)
	site := lab.Site(natlab.SiteConfig{Kind: natlab.PortRestricted, Link: &natlab.Link{}})
	takes := func(rate int64) time.Duration {
		site.Wire().Set(natlab.Link{Rate: rate})
		start := time.Now()
		transfer(t, lab.Signal, site.LAN, 1<<20)
		return time.Since(start)
	}
	slow, fast := takes(20e6), takes(80e6)
	t.Logf("1 MiB at 20 Mbit/s in %v, at 80 in %v", slow, fast)
	if ideal := time.Duration(8 << 20 * int64(time.Second) / 20e6); slow < ideal*9/10 {
		t.Errorf("1 MiB at 20 Mbit/s in %v, which is faster than %v", slow, ideal)
	}
	if ratio := float64(slow) / float64(fast); ratio < 2 {
		t.Errorf("a quarter of the rate takes only %.1f times as long", ratio)
	}
}

// transfer sends bytes over TCP from one host to another.
func transfer(t *testing.T, from, to *natlab.Host, bytes int) {
	t.Helper()
	var listener net.Listener
	err := from.Do(func() (err error) {
		listener, err = net.Listen("tcp4", from.Addr().String()+":0")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	port := listener.Addr().(*net.TCPAddr).Port
	data := make([]byte, bytes)
	for i := range data {
		data[i] = byte(i * 7919 >> 8) // no two pieces of a packet's size are the same
	}
	sent := make(chan error, 1)
	go func() {
		conn, err := listener.Accept()
		if err == nil {
			_, err = conn.Write(data)
			conn.Close()
		}
		sent <- err
	}()
	// bash is a client that is on every machine.
	script := "exec 3<>/dev/tcp/$0/$1; cat <&3 | md5sum"
	out, err := to.Command(t.Context(), "bash", "-c", script, from.Addr().String(), strconv.Itoa(port)).CombinedOutput()
	if want := fmt.Sprintf("%x", md5.Sum(data)); err != nil || !strings.HasPrefix(string(out), want) {
		t.Fatalf("received what hashes to %s, want %s: %v", out, want, err)
	}
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
}

func TestCommandRunsInside(t *testing.T) {
	lab := natlab.New(t)
	site := lab.Site(natlab.SiteConfig{Kind: natlab.PortRestricted})
	out, err := site.LAN.Command(t.Context(), "ip", "-4", "-o", "addr", "show", "eth0").CombinedOutput()
	if err != nil || !strings.Contains(string(out), site.LAN.Addr().String()+"/24") {
		t.Errorf("addresses inside: %s (%v), want %v", out, err, site.LAN.Addr())
	}
}

// TestNothingIsLeft ends a lab in which a program and its child still run.
func TestNothingIsLeft(t *testing.T) {
	var name string
	var cmd *exec.Cmd
	t.Run("lab", func(t *testing.T) {
		lab := natlab.New(t)
		site := lab.Site(natlab.SiteConfig{Kind: natlab.Symmetric, Link: &natlab.Link{}})
		name = site.LAN.Namespace()
		cmd = site.LAN.Command(context.Background(), "sh", "-c", "sleep 1000 & echo started; wait")
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if _, err := out.Read(make([]byte, 8)); err != nil {
			t.Fatal(err)
		}
	})
	if name == "" {
		t.Skip("no lab can be built here")
	}
	if err := cmd.Wait(); err == nil {
		t.Error("the program ended well, want killed")
	}
	entries, err := os.ReadDir("/run/netns")
	if err != nil {
		t.Fatal(err)
	}
	lab := name[:strings.LastIndexByte(name, '-')+1]
	for _, entry := range entries {
		if strings.HasPrefix(entry.Name(), lab) {
			t.Errorf("the namespace %s is left", entry.Name())
		}
	}
}

// TestStaleIsRemoved finds what a killed run left behind.
func TestStaleIsRemoved(t *testing.T) {
	if reason := natlab.Unusable(); reason != "" {
		t.Skip(reason)
	}
	gone := exec.Command("true")
	if err := gone.Run(); err != nil {
		t.Fatal(err)
	}
	stale := "peerway-" + strconv.Itoa(gone.Process.Pid) + "-0-core"
	if out, err := exec.Command("ip", "netns", "add", stale).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	natlab.New(t)
	if _, err := os.Stat("/run/netns/" + stale); err == nil {
		t.Errorf("%s is still there", stale)
		exec.Command("ip", "netns", "delete", stale).Run()
	}
}
