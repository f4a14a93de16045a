package integration_test

import (
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"testing"

	"peerway/integration/natlab"
)

// narrowest is the least that a path of IPv6 must carry.
const narrowest = 1280

// startSignalByName starts a signal server on both addresses of the signal host, and
// returns the URL with its name: what peers with one protocol only have in common.
func startSignalByName(t testing.TB, lab *natlab.Lab) (url string) {
	t.Helper()
	_, url = startSignal(t, lab.Signal, ":7443")
	byName := strings.Replace(url, lab.Signal.Addr().String(), natlab.SignalName, 1)
	if byName == url {
		t.Fatalf("the server calls itself %s, without the address of its host", url)
	}
	return byName
}

// A stackCell is two sites and the path that there is between them.
type stackCell struct {
	here, there natlab.SiteConfig
	path        string
	direct6     bool // and it goes over IPv6
}

func (c stackCell) String() string {
	if c.here.Stack == natlab.IPv4 && c.there.Stack == natlab.IPv4 {
		return fmt.Sprintf("%v to %v", c.here.Kind, c.there.Kind)
	}
	return fmt.Sprintf("%v %v to %v %v", c.here.Stack, c.here.Kind, c.there.Stack, c.there.Kind)
}

// stackCells returns the cells of the matrix where a side has IPv6.
func stackCells() []stackCell {
	site := func(stack natlab.Stack, kind natlab.Kind) natlab.SiteConfig {
		return natlab.SiteConfig{Stack: stack, Kind: kind}
	}
	return []stackCell{
		{site(natlab.IPv6, natlab.PortRestricted), site(natlab.IPv6, natlab.PortRestricted), "direct", true},
		{site(natlab.IPv6, natlab.FullCone), site(natlab.IPv6, natlab.PortRestricted), "direct", true},
		{site(natlab.IPv6, natlab.UDPBlocked), site(natlab.IPv6, natlab.PortRestricted), "relay-ws", false},
		{site(natlab.IPv4, natlab.PortRestricted), site(natlab.IPv6, natlab.PortRestricted), "relay-udp", false},
		{site(natlab.IPv6, natlab.PortRestricted), site(natlab.IPv4, natlab.PortRestricted), "relay-udp", false},
		{site(natlab.Dual, natlab.Symmetric), site(natlab.Dual, natlab.Symmetric), "direct", true},
		{site(natlab.Dual, natlab.PortRestricted), site(natlab.IPv4, natlab.PortRestricted), "direct", false},
		{site(natlab.IPv4, natlab.PortRestricted), site(natlab.Dual, natlab.Symmetric), "direct", false},
		{site(natlab.Dual, natlab.PortRestricted), site(natlab.IPv6, natlab.PortRestricted), "direct", true},
	}
}

// narrowCells returns those of the matrix that are looked at on narrow paths too.
func narrowCells() []stackCell {
	old := func(kind natlab.Kind) natlab.SiteConfig { return natlab.SiteConfig{Kind: kind} }
	return append(stackCells()[:5],
		stackCell{old(natlab.Symmetric), old(natlab.Symmetric), "relay-udp", false},
		stackCell{old(natlab.UDPBlocked), old(natlab.PortRestricted), "relay-ws", false})
}

// TestStackMatrix puts the gateway and the peer in networks of one protocol or both.
func TestStackMatrix(t *testing.T) {
	need(t, "nginx", "curl")
	lab := natlab.New(t)
	signalURL := startSignalByName(t, lab)
	for _, cell := range stackCells() {
		t.Run(cell.String(), func(t *testing.T) {
			wantStackCell(t, signalURL, lab.Site(cell.there), lab.Site(cell.here), cell)
		})
	}
	for _, cell := range narrowCells() {
		t.Run("narrow, "+cell.String(), func(t *testing.T) {
			home, away := lab.Site(cell.there), lab.Site(cell.here)
			away.SetMTU(narrowest, true)
			wantStackCell(t, signalURL, home, away, cell)
		})
	}
}

// wantStackCell connects two sites and downloads on the path that there should be.
func wantStackCell(t *testing.T, signalURL string, home, away *natlab.Site, cell stackCell) {
	t.Helper()
	name := strings.ReplaceAll(home.LAN.Addr().String(), ":", "-")
	name = "home-" + strings.ReplaceAll(name, ".", "-")
	web, _ := startWeb(t, home.LAN, home.LAN.Addr().String())
	peer, code := expose(t, home.LAN, signalURL, name, "web="+web)
	gateway := connect(t, away.LAN, code)
	local := gateway.url(name, "web")
	if d := fetch(t.Context(), away.LAN, local+"/small", nil); d.err != nil {
		t.Fatal(d.err)
	}
	gateway.waitPath(patience, name, cell.path)
	if d := fetch(t.Context(), away.LAN, local+"/medium", nil); d.err != nil || d.bytes != mediumSize {
		t.Errorf("%d bytes of %d: %v", d.bytes, mediumSize, d.err)
	}
	if got := gateway.path(); got != cell.path {
		t.Errorf("the path is %q in the end, want %s", got, cell.path)
	}
	remote := gateway.remote()
	if is6 := remote.Addr().Is6(); cell.path == "direct" && is6 != cell.direct6 {
		t.Errorf("the path leads to %v, want IPv6: %v", remote, cell.direct6)
	}
	if cell.here.Stack == natlab.IPv6 && cell.path == "direct" {
		out, code := gateway.asks(away.LAN, "doctor", name+"/web")
		if code != 0 || !strings.HasSuffix(out, "✔ the service answers\n") {
			t.Errorf("doctor ends with %d: %s", code, out)
		}
	}
	var both sync.WaitGroup
	both.Go(func() { gateway.stop(syscall.SIGINT) })
	both.Go(func() { peer.stop(syscall.SIGINT) })
	both.Wait()
}

// TestStacksBehindProxy puts the gateway where nothing passes but an HTTP proxy, which
// has the one protocol or the other. With IPv6, codes carry an address of the server.
func TestStacksBehindProxy(t *testing.T) {
	need(t, "nginx", "curl")
	lab := natlab.New(t)
	_, literal := startSignal(t, lab.Signal, netip.AddrPortFrom(lab.Signal.Addr6(), 7444).String())
	signalURLs := map[natlab.Stack]string{natlab.IPv4: startSignalByName(t, lab), natlab.IPv6: literal}
	home := lab.Site(natlab.SiteConfig{Kind: natlab.PortRestricted, Stack: natlab.Dual})
	web, hash := startWeb(t, home.LAN, home.LAN.Addr().String())
	proxy := lab.Host()
	for stack, addr := range map[natlab.Stack]netip.Addr{natlab.IPv4: proxy.Addr(), natlab.IPv6: proxy.Addr6()} {
		t.Run(stack.String(), func(t *testing.T) {
			url, used := startProxy(t, proxy, addr)
			away := lab.Site(natlab.SiteConfig{Kind: natlab.PortRestricted, Stack: stack})
			away.OnlyTo(proxy)
			inside := placeWith{away.LAN, []string{"HTTPS_PROXY=" + url}}
			name := "home-" + strings.ToLower(stack.String())
			_, code := expose(t, home.LAN, signalURLs[stack], name, "web="+web)
			gateway := connect(t, inside, code)
			wantFile(t, away.LAN, gateway.url(name, "web")+"/large", hash)
			if path := gateway.path(); path != "relay-ws" || used() == 0 {
				t.Errorf("the path is %q, and the proxy was used %d times", path, used())
			}
			if out, code := gateway.asks(inside, "netcheck"); code != 0 {
				t.Errorf("netcheck ends with %d: %s", code, out)
			}
		})
	}
}
