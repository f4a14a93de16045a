package integration_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"peerway/integration/natlab"
)

// Where a gateway that chooses no ports offers the services of the peer.
const (
	nearWeb = "http://web.home.localhost:7480"
	nearCam = "rtsp://127.0.0.1:8554/home/cam"
)

// nearIn is how long the first request may take when there is no signal server, and
// goneIn how long one that is in vain may.
const (
	nearIn = 1500 * time.Millisecond
	goneIn = 4 * time.Second
)

// A vicinity is a network with a peer and a gateway that are paired.
type vicinity struct {
	*home
	t             *testing.T
	server        *role
	peer, gateway *role
	beside        *natlab.Host
}

func newVicinity(t *testing.T) *vicinity {
	t.Helper()
	need(t, "camera", "ffmpeg", "nginx", "curl")
	lab := natlab.New(t)
	v := &vicinity{t: t}
	var signalURL, code string
	v.server, signalURL = startSignal(t, lab.Signal, lab.Signal.Addr().String()+":7443")
	v.home = newHome(t, lab, natlab.SiteConfig{Kind: natlab.UDPBlocked})
	v.peer, code = v.expose(t, signalURL, "home")
	v.beside = v.Host()
	v.gateway = connect(t, v.beside, code)
	v.gateway.url("home", "web") // the peer knows of the pairing
	v.restartGateway()
	v.gateway.url("home", "web")
	return v
}

// restartGateway makes an end of the tunnel.
func (v *vicinity) restartGateway() {
	v.t.Helper()
	v.gateway.stop(syscall.SIGINT)
	v.gateway = startRole(v.t, v.beside, v.gateway.state, "connect", "-v")
	v.gateway.waitRunning(v.beside)
}

func (v *vicinity) restartPeer() {
	v.t.Helper()
	services := v.peer.services()
	v.peer.stop(syscall.SIGINT)
	v.peer = startRole(v.t, v.LAN, v.peer.state, "expose", append([]string{"-v"}, services...)...)
	v.peer.waitRunning(v.LAN)
}

// waitRunning waits until the role answers questions, which needs no signal server.
func (r *role) waitRunning(at place) {
	r.t.Helper()
	eventually(r.t, patience, r.name+" runs", func() (string, bool) {
		out, code := r.asks(at, "status", "--json")
		return out, code == 0
	})
}

// wantPage loads a page and wants the tunnel to go direct.
func (v *vicinity) wantPage(when string) {
	v.t.Helper()
	begun := time.Now()
	if d := fetch(v.t.Context(), v.beside, nearWeb+"/small", nil); d.err != nil {
		v.t.Fatal(d.err)
	}
	first := time.Since(begun)
	v.gateway.waitPath(patience, "home", "direct")
	v.t.Logf("%s: the first page after %v, direct after %v", when, first.Round(time.Millisecond), time.Since(begun).Round(time.Millisecond))
	if first > nearIn {
		v.t.Errorf("%s: the first page took %v, want %v at most", when, first, nearIn)
	}
}

// deafen makes a host hear and say nothing by multicast of IPv4. It has an address of IPv6
// too, which is link-local.
func (v *vicinity) deafen(host *natlab.Host) {
	v.t.Helper()
	cmd := host.Command(v.t.Context(), "nft", "-f", "-")
	cmd.Stdin = strings.NewReader(`table ip deaf {
	chain in { type filter hook input priority filter; ip daddr 224.0.0.0/4 drop; }
	chain out { type filter hook output priority filter; ip daddr 224.0.0.0/4 drop; }
}`)
	if out, err := cmd.CombinedOutput(); err != nil {
		v.t.Fatalf("nft: %v: %s", err, out)
	}
}

// TestNear takes the signal server away from two that are in one network.
func TestNear(t *testing.T) {
	v := newVicinity(t)
	if err := v.server.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	v.wantPage("the server hangs")
	v.server.kill()
	v.restartGateway()
	v.wantPage("a new gateway without a server")
	v.restartPeer()
	v.restartGateway()
	if out, code := v.gateway.asks(v.beside, "ping", "home"); code != 0 || strings.Contains(out, "relay") {
		t.Errorf("without a server ping says, with exit code %d:\n%s", code, out)
	}
	v.wantPage("a new peer too")
	if err := decode(t.Context(), v.beside, "ffmpeg", nearCam, "tcp", 20); err != nil {
		t.Error(err)
	}

	out, code := v.gateway.asks(v.beside, "doctor", "home/web")
	if code != 1 || !strings.Contains(out, "server-unreachable: ") || !strings.Contains(out, "✔ the peer answers\n") {
		t.Errorf("doctor says, with exit code %d:\n%s", code, out)
	}
	v.deafen(v.beside)
	v.restartGateway()
	v.wantPage("by IPv6 only")

	v.peer.stop(syscall.SIGINT)
	v.gateway.waitNoTunnels(patience)
	begun := time.Now()
	page, err := v.beside.Command(t.Context(), "curl", "--silent", "--noproxy", "*", nearWeb+"/small").Output()
	took := time.Since(begun)
	t.Logf("no peer: refused after %v", took.Round(time.Millisecond))
	if err != nil || took > goneIn || !strings.Contains(string(page), "was not found in the local network") {
		t.Errorf("after %v: %v: %s", took, err, page)
	}
}

// TestNotNear is TestNear for two that do not want it.
func TestNotNear(t *testing.T) {
	v := newVicinity(t)
	v.server.kill()
	v.gateway.stop(syscall.SIGINT)
	v.gateway = startRole(t, v.beside, v.gateway.state, "connect", "--no-lan")
	v.gateway.waitRunning(v.beside)
	out, err := v.beside.Command(t.Context(), "curl", "--silent", "--noproxy", "*", nearWeb+"/small").Output()
	if err != nil || !strings.Contains(string(out), "no connection to the signal server") || strings.Contains(string(out), "local network") {
		t.Errorf("%v: %s", err, out)
	}
}

// TestNearAfterRestart ends all, takes the signal server away, and starts the two again.
func TestNearAfterRestart(t *testing.T) {
	v := newVicinity(t)
	services := v.peer.services()
	v.gateway.stop(syscall.SIGINT)
	v.peer.stop(syscall.SIGINT)
	v.server.kill()

	v.peer = startRole(t, v.LAN, v.peer.state, "expose", append([]string{"-v"}, services...)...)
	v.peer.waitRunning(v.LAN)
	begun := time.Now()
	v.gateway = startRole(t, v.beside, v.gateway.state, "connect", "-v")
	v.gateway.says("ready")
	t.Logf("ready after %v", time.Since(begun).Round(time.Millisecond))
	if web, cam := v.gateway.url("home", "web"), v.gateway.url("home", "cam"); web != nearWeb || cam != nearCam {
		t.Errorf("the services are at %s and %s, want %s and %s", web, cam, nearWeb, nearCam)
	}
	v.wantListed("remembered")
	v.wantPage("after a restart")
	v.wantListed("online")
	if err := decode(t.Context(), v.beside, "ffmpeg", nearCam, "tcp", 20); err != nil {
		t.Error(err)
	}

	// One of the services is gone meanwhile.
	services = slices.DeleteFunc(services, func(s string) bool { return strings.HasPrefix(s, "web=") })
	v.peer.stop(syscall.SIGINT)
	v.gateway.waitNoTunnels(patience)
	v.peer = startRole(t, v.LAN, v.peer.state, "expose", append([]string{"-v"}, services...)...)
	v.peer.waitRunning(v.LAN)
	page, err := v.beside.Command(t.Context(), "curl", "--silent", "--noproxy", "*", "--write-out", "%{http_code}", nearWeb+"/small").Output()
	if err != nil || !strings.Contains(string(page), "failed at the peer: the peer does not expose a service of that name") || !strings.HasSuffix(string(page), "404") {
		t.Errorf("a service that is gone: %v: %s", err, page)
	}
	if err := decode(t.Context(), v.beside, "ffmpeg", nearCam, "tcp", 20); err != nil {
		t.Error(err)
	}
}

// wantListed wants the gateway to list the services of the peer in a state.
func (v *vicinity) wantListed(state string) {
	v.t.Helper()
	out, code := v.gateway.asks(v.beside, "ls")
	if code != 0 || strings.Count(out, "  home  "+state+" ") < 2 {
		v.t.Errorf("exit code %d; want services that are %s:\n%s", code, state, out)
	}
}

// TestHostileNeighbour puts somebody into the network who is not paired.
func TestHostileNeighbour(t *testing.T) {
	v := newVicinity(t)
	v.server.kill()
	v.wantPage("before")
	at := v.gateway.remote()
	eve := v.Host()

	heard := 0
	before := resident(t, v.peer.process)
	err := eve.Do(func() error {
		conn, err := net.ListenUDP("udp4", nil)
		if err != nil {
			return err
		}
		defer conn.Close()
		if err := pester(conn, at); err != nil {
			return err
		}
		for buffer := make([]byte, 2000); ; heard++ {
			if err := conn.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
				return err
			}
			if _, _, err := conn.ReadFromUDPAddrPort(buffer); err != nil {
				return nil // nothing more comes
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if heard != 0 {
		t.Errorf("a stranger gets %d answers", heard)
	}
	after := resident(t, v.peer.process)
	t.Logf("the peer's memory is %d kB before and %d kB after", before>>10, after>>10)
	if after > before+16<<20 {
		t.Errorf("the peer's memory went from %d to %d bytes", before, after)
	}
	v.restartGateway()
	v.wantPage("after")
}

// pester sends 10,000 packets of each kind that nobody should answer, to the group of
// multicast DNS and to a path socket.
func pester(conn *net.UDPConn, path netip.AddrPort) error {
	group := netip.MustParseAddrPort("224.0.0.251:5353")
	browsing := func(name string, kind dnsmessage.Type) []byte {
		m := dnsmessage.Message{Questions: []dnsmessage.Question{{Name: dnsmessage.MustNewName(name), Type: kind, Class: dnsmessage.ClassINET}}}
		b, _ := m.Pack()
		return b
	}
	const service = "_peerway._udp.local."
	questions := [][]byte{
		browsing(service, dnsmessage.TypePTR),
		browsing("_services._dns-sd._udp.local.", dnsmessage.TypePTR),
		browsing(strings.Repeat("a", 39)+"."+service, dnsmessage.TypeSRV),
		browsing(strings.Repeat("a", 39)+"."+service, dnsmessage.TypeALL),
	}
	random := rand.NewChaCha8([32]byte{1})
	for i := range 10_000 {
		question := questions[i%len(questions)]
		broken := append([]byte(nil), question[:12+i%(len(question)-12)]...)
		broken[i%len(broken)] ^= byte(i)
		letter := make([]byte, 1+i%1472)
		random.Read(letter)
		letter[0] = []byte{10, 11, 14}[i%3] // what package lan takes
		for _, out := range []struct {
			packet []byte
			to     netip.AddrPort
		}{{question, group}, {broken, group}, {letter, path}} {
			if _, err := conn.WriteToUDPAddrPort(out.packet, out.to); err != nil && !errors.Is(err, syscall.ENOBUFS) {
				return fmt.Errorf("pester %v: %w", out.to, err)
			}
		}
	}
	return nil
}
