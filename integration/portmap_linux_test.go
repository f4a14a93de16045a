package integration_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"peerway/integration/natlab"
	"peerway/tunnel/portmap"
)

// publicNetwork is one that miniupnpd takes for public.
func publicNetwork() netip.Prefix { return netip.MustParsePrefix("11.0.0.0/24") }

// openPort keeps a port open, echoes what comes to it, and prints the address. A hangup
// is a change of the network. Arguments: the port, and how often to check.
func openPort(args []string) error {
	port, err := strconv.ParseUint(args[0], 10, 16)
	if err != nil {
		return err
	}
	check, err := time.ParseDuration(args[1])
	if err != nil {
		return err
	}
	socket, err := net.ListenUDP("udp4", &net.UDPAddr{Port: int(port)})
	if err != nil {
		return err
	}
	m := portmap.New(portmap.Config{
		Port: uint16(port), Check: check,
		Changed: func(a netip.AddrPort) { fmt.Println("address", a) },
		Log:     slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	again := make(chan os.Signal, 1)
	signal.Notify(again, syscall.SIGHUP)
	var running sync.WaitGroup
	defer running.Wait()
	defer socket.Close()
	running.Go(func() { echo(socket) })
	running.Go(func() {
		for {
			select {
			case <-again:
				m.Again()
			case <-ctx.Done():
				return
			}
		}
	})
	m.Run(ctx)
	return nil
}

func echo(socket *net.UDPConn) {
	buffer := make([]byte, 100)
	for {
		n, from, err := socket.ReadFromUDPAddrPort(buffer)
		if err != nil {
			return
		}
		socket.WriteToUDPAddrPort(buffer[:n], from)
	}
}

// probeRouter prints what the router can do, and how long it took to find out.
func probeRouter([]string) error {
	begun := time.Now()
	r, err := portmap.Probe(context.Background(), func(*net.UDPConn, netip.AddrPort) bool { return false })
	fmt.Println("report", r.Gateway, r.External, r.Protocols, r.Opened.IsValid(), err)
	fmt.Println("took", time.Since(begun))
	return nil
}

// reaches reports whether a packet from a socket of its own at a host is echoed.
func reaches(t *testing.T, from *natlab.Host, to netip.AddrPort) bool {
	t.Helper()
	err := from.Do(func() error {
		conn, err := net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(to))
		if err != nil {
			return err
		}
		defer conn.Close()
		buffer := make([]byte, 100)
		for range 3 {
			if _, err := conn.Write([]byte("hello")); err != nil {
				return err
			}
			conn.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
			if _, err = conn.Read(buffer); err == nil {
				return nil
			}
		}
		return os.ErrDeadlineExceeded
	})
	return err == nil
}

// TestPortMapping opens a port by each protocol of a real router.
func TestPortMapping(t *testing.T) {
	t.Parallel()
	if reason := natlab.Unmappable(); reason != "" {
		t.Skip(reason)
	}
	// UPnP routers say nothing by themselves that is listened for.
	const never, often = "1h", "500ms"
	for name, test := range map[string]struct {
		cfg   natlab.PortMapping
		check string
	}{
		"pcp":     {natlab.PortMapping{PCP: true, NATPMP: true, UPnP: true}, never},
		"nat-pmp": {natlab.PortMapping{NATPMP: true, UPnP: true}, never},
		"upnp":    {natlab.PortMapping{UPnP: true}, often},
		"igd 1":   {natlab.PortMapping{UPnP: true, IGDv1: true}, often},
	} {
		t.Run(name, func(t *testing.T) { wantOpen(t, test.cfg, test.check) })
	}
}

func wantOpen(t *testing.T, cfg natlab.PortMapping, check string) {
	const port = 40000
	lab := natlab.NewAt(t, publicNetwork())
	site := lab.Site(natlab.SiteConfig{Kind: natlab.PortRestricted})
	daemon := site.MapPorts(cfg)
	want := netip.AddrPortFrom(site.Public(), port)
	if reaches(t, lab.Signal, want) {
		t.Fatal("the port is open before anybody has opened it")
	}
	begun := time.Now()
	opener := startHelper(t, site.LAN, "open-port", strconv.Itoa(port), check)
	if got := opener.says("address"); got != want.String() {
		t.Fatalf("the address is %s, want %v", got, want)
	}
	opened := time.Since(begun)
	if !reaches(t, lab.Signal, want) {
		t.Fatal("no packet comes in")
	}
	wantOther(t, lab.Signal, site.Host(), want)
	daemon.Stop()
	daemon.Start()
	begun = time.Now()
	eventually(t, patience, "the restarted router has the mapping", func() (string, bool) {
		got := fmt.Sprint(daemon.Mappings())
		return got, strings.Contains(got, site.LAN.Addr().String())
	})
	returned := time.Since(begun)
	if !reaches(t, lab.Signal, want) {
		t.Error("no packet comes in after the router has restarted")
	}
	site.Renumber()
	want = netip.AddrPortFrom(site.Public(), port)
	if _, ok := opener.out.find(patience, func(line string) bool { return line == "address "+want.String() }); !ok {
		t.Errorf("the address after a change is not told: %s", opener.out.tail(10))
	}
	if !reaches(t, lab.Signal, want) {
		t.Error("no packet comes in at the new address")
	}
	code, took := opener.signal(os.Interrupt)
	if code != 0 || took > time.Second {
		t.Errorf("the end took %v, with code %d", took, code)
	}
	if got := daemon.Mappings(); len(got) > 0 {
		t.Errorf("in the end there still is %s", strings.Join(got, "; "))
	}
	if reaches(t, lab.Signal, want) {
		t.Error("the port is open after the end")
	}
	t.Logf("open after %v, again %v after the restart, closed in %v", opened, returned, took)
}

// wantOther opens the same port from another host behind the router, which gets another one
// outside, and closes it.
func wantOther(t *testing.T, outside, at *natlab.Host, taken netip.AddrPort) {
	t.Helper()
	opener := startHelper(t, at, "open-port", strconv.Itoa(int(taken.Port())), "1h")
	got, err := netip.ParseAddrPort(opener.says("address"))
	if err != nil || got.Addr() != taken.Addr() || got.Port() == taken.Port() {
		t.Errorf("the address of the other host is %v, %v, want another port than %v", got, err, taken)
	}
	if !reaches(t, outside, got) {
		t.Error("no packet comes in to the other host")
	}
	opener.signal(os.Interrupt)
	if !reaches(t, outside, taken) {
		t.Error("the end of the other host has closed the port")
	}
}

// TestPortMappingMoves takes a host to another network.
func TestPortMappingMoves(t *testing.T) {
	if reason := natlab.Unmappable(); reason != "" {
		t.Skip(reason)
	}
	const port = 40000
	lab := natlab.NewAt(t, publicNetwork())
	home, away := lab.Site(natlab.SiteConfig{Kind: natlab.PortRestricted}), lab.Site(natlab.SiteConfig{Kind: natlab.PortRestricted})
	home.MapPorts(natlab.PortMapping{PCP: true, NATPMP: true})
	away.MapPorts(natlab.PortMapping{UPnP: true})
	opener := startHelper(t, home.LAN, "open-port", strconv.Itoa(port), "1h")
	if got, want := opener.says("address"), netip.AddrPortFrom(home.Public(), port).String(); got != want {
		t.Fatalf("the address is %s, want %s", got, want)
	}
	away.Move(home.LAN)
	if err := opener.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	want := netip.AddrPortFrom(away.Public(), port)
	if _, ok := opener.out.find(patience, func(line string) bool { return line == "address "+want.String() }); !ok {
		t.Fatalf("the address elsewhere is not told: %s", opener.out.tail(10))
	}
	if !reaches(t, lab.Signal, want) {
		t.Error("no packet comes in elsewhere")
	}
}

// TestProbeRouter asks routers what they can do.
func TestProbeRouter(t *testing.T) {
	if reason := natlab.Unmappable(); reason != "" {
		t.Skip(reason)
	}
	for name, cfg := range map[string]natlab.PortMapping{
		"[pcp nat-pmp upnp]": {PCP: true, NATPMP: true, UPnP: true},
		"[pcp]":              {PCP: true},
		"[nat-pmp]":          {NATPMP: true},
		"[upnp]":             {UPnP: true},
	} {
		t.Run(name, func(t *testing.T) {
			lab := natlab.NewAt(t, publicNetwork())
			site := lab.Site(natlab.SiteConfig{Kind: natlab.PortRestricted})
			daemon := site.MapPorts(cfg)
			probe := startHelper(t, site.LAN, "probe-router")
			want := fmt.Sprintf("192.168.1.1 %v %s true <nil>", site.Public(), name)
			if got := probe.says("report"); got != want {
				t.Errorf("the report is %s, want %s", got, want)
			}
			t.Log("took", probe.says("took"))
			if got := daemon.Mappings(); len(got) > 0 {
				t.Errorf("it left %v", got)
			}
		})
	}
}

// TestPortMappingDoubleNAT asks a router that is behind another one. This one knows, says
// that it has no address, and maps nothing.
func TestPortMappingDoubleNAT(t *testing.T) {
	if reason := natlab.Unmappable(); reason != "" {
		t.Skip(reason)
	}
	lab := natlab.NewAt(t, netip.MustParsePrefix("100.64.7.0/24"))
	site := lab.Site(natlab.SiteConfig{Kind: natlab.PortRestricted})
	daemon := site.MapPorts(natlab.PortMapping{PCP: true, NATPMP: true, UPnP: true})
	probe := startHelper(t, site.LAN, "probe-router")
	if got, want := probe.says("report"), "192.168.1.1 0.0.0.0 [pcp nat-pmp upnp] false <nil>"; got != want {
		t.Errorf("the report is %s, want %s", got, want)
	}
	opener := startHelper(t, site.LAN, "open-port", "40000", "1h")
	_, refused := opener.err.find(patience, func(line string) bool { return strings.Contains(line, "path=upnp") })
	if told := opener.out.tail(10); !refused || told != "" {
		t.Errorf("refused is %v, want true; told is %q, want nothing", refused, told)
	}
	if got := daemon.Mappings(); len(got) > 0 {
		t.Errorf("there is %v", got)
	}
}
