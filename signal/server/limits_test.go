package server

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"peerway/signal"
)

func TestBucket(t *testing.T) {
	now := time.Unix(1000, 0)
	var b bucket
	for i := range 50 {
		if _, ok := b.take(1, 10, 50, now); !ok {
			t.Fatalf("request %d of the burst is refused", i)
		}
	}
	if wait, ok := b.take(1, 10, 50, now); ok || wait != 100*time.Millisecond {
		t.Errorf("take() = %v, %v, want to wait 100 ms", wait, ok)
	}
	if _, ok := b.take(1, 10, 50, now.Add(100*time.Millisecond)); !ok {
		t.Error("refused after the wait")
	}
	if _, ok := b.take(50, 10, 50, now.Add(time.Hour)); !ok {
		t.Error("the bucket does not fill up again")
	}
	if wait, ok := b.take(1, 10, 50, now); ok || wait > time.Second {
		t.Errorf("take() = %v, %v after the clock was set back, want a short wait", wait, ok)
	}
}

func TestOffenders(t *testing.T) {
	now := time.Unix(1000, 0)
	o := make(offenders)
	a, neighbour, other := netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::2"), netip.MustParseAddr("192.0.2.1")
	for range wrongCodes - 1 {
		o.wrong(a, now)
	}
	if wait := o.wait(a, now); wait != 0 {
		t.Errorf("wait %v after four wrong codes", wait)
	}
	for _, want := range []time.Duration{1, 2, 4, 8, 10, 10} {
		o.wrong(a, now)
		if got := o.wait(neighbour, now); got != want*time.Minute {
			t.Errorf("wait %v, want %v", got, want*time.Minute)
		}
		now = now.Add(want * time.Minute)
		if got := o.wait(a, now); got != 0 {
			t.Errorf("still %v to wait", got)
		}
	}
	if o.wait(other, now) != 0 {
		t.Error("another address must wait")
	}
	o.sweep(now.Add(time.Hour))
	if len(o) != 0 {
		t.Error("not forgiven after an hour")
	}
}

func TestDirectory(t *testing.T) {
	now := time.Unix(1_000_000_000, 0)
	offline := func(signal.PeerID) bool { return false }
	a, b := signal.PeerID{1}, signal.PeerID{2}
	d := newDirectory(nil)
	if !d.remember(a, "home", now) || d.remember(a, "home", now.Add(time.Hour)) {
		t.Error("remember does not report what changed")
	}
	if d.free("home", b, offline, now) || !d.free("home", a, offline, now) {
		t.Error("a name is free for the wrong peer")
	}
	long := strings.Repeat("x", 32)
	d.remember(b, long, now)
	for name, want := range map[string]string{"home": "home-2", long: long[:30] + "-2"} {
		if got := d.suggest(name); got != want || signal.ValidName(got) != nil {
			t.Errorf("suggest(%q) = %q, want %q", name, got, want)
		}
	}
	later := now.Add(nameKept + 2*day)
	if !d.free("home", b, offline, later) {
		t.Error("a name that nobody has used for a month is not free")
	}
	if d.free("home", b, func(signal.PeerID) bool { return true }, later) {
		t.Error("the name of a peer that is here is free")
	}
	d.remember(b, "home", later)
	if len(d.peers) != 1 || len(d.names) != 1 || d.names["home"] != b {
		t.Errorf("directory %v after a name was taken over", d)
	}
	if got := newDirectory(d.list()); got.names["home"] != b {
		t.Errorf("%v does not survive", d.list())
	}
}
