package integration_test

import (
	"math/rand/v2"
	"net/netip"
	"sync"
	"testing"

	"github.com/pion/stun/v3"

	"peerway/integration/natlab"
)

// floodPackets is how many packets each socket gets that nobody who knows anything sends.
const floodPackets = 100_000

// TestFlood has somebody in the public network send to the sockets of both ends, with each
// other's address as the source, and to that of the signal server, while a download runs:
// noise of all first bytes, broken and unsigned STUN, packets for relays, probes, what looks
// like QUIC, each of them twice. Nothing crashes or grows, and the download is whole.
func TestFlood(t *testing.T) {
	need(t, "nginx", "curl")
	lab := natlab.New(t)
	server, signalURL := startSignal(t, lab.Signal, lab.Signal.Addr().String()+":7443")
	home, away := lab.Site(natlab.SiteConfig{Kind: natlab.PortRestricted}), lab.Site(natlab.SiteConfig{Kind: natlab.PortRestricted})
	web, hash := startWeb(t, home.LAN, home.LAN.Addr().String())
	peer, code := expose(t, home.LAN, signalURL, "home", "web="+web)
	gateway := connect(t, away.LAN, code)
	wantFile(t, away.LAN, gateway.url("home", "web")+"/large", hash) // what is needed is in memory
	gateway.waitPath(patience, "home", "direct")
	peer.waitPath(patience, gateway.status().Name, "direct")

	there, here := gateway.remote(), peer.remote()
	signal := netip.AddrPortFrom(lab.Signal.Addr(), 7443)
	roles := map[string]*process{"signal server": server.process, "peer": peer.process, "gateway": gateway.process}
	before := make(map[string]int)
	for name, p := range roles {
		before[name] = resident(t, p)
	}
	attacker := lab.Host()
	var flooding sync.WaitGroup
	for i, target := range []natlab.Forgery{{From: there, To: here}, {From: here, To: there}, {From: here, To: signal}} {
		flooding.Go(func() {
			if err := attacker.Forge(noise(target, uint64(i))...); err != nil {
				t.Error(err)
			}
		})
	}
	wantFile(t, away.LAN, gateway.url("home", "web")+"/large", hash)
	flooding.Wait()
	wantFile(t, away.LAN, gateway.url("home", "web")+"/large", hash)
	for name, p := range roles {
		after := resident(t, p)
		t.Logf("%s: %d kB before and %d kB after", name, before[name]>>10, after>>10)
		if after > before[name]+16<<20 {
			t.Errorf("%s has grown from %d to %d kB", name, before[name]>>10, after>>10)
		}
	}
}

// noise returns packets of all kinds.
func noise(f natlab.Forgery, seed uint64) []natlab.Forgery {
	rnd := rand.NewChaCha8([32]byte{byte(seed)})
	pick := rand.New(rnd)
	request := stun.MustBuild(stun.TransactionID, stun.BindingRequest, stun.NewUsername("abcdefgh:ijklmnop"),
		stun.RawAttribute{Type: stun.AttrPriority, Value: []byte{1, 2, 3, 4}},
		stun.NewShortTermIntegrity("not the password"), stun.Fingerprint).Raw
	all := make([]natlab.Forgery, 0, floodPackets)
	for i := range floodPackets / 2 {
		var payload []byte
		switch i % 4 {
		case 0: // a check of nobody
			payload = append([]byte(nil), request...)
		case 1: // a broken one
			payload = append([]byte(nil), request[:1+pick.IntN(len(request))]...)
			payload[pick.IntN(len(payload))] ^= byte(1 + pick.IntN(255))
		default:
			payload = make([]byte, 1+pick.IntN(1400))
			rnd.Read(payload)
			if i%4 == 2 {
				payload[0] = byte(i / 4 % 32) // what is not QUIC
			}
		}
		f.Payload = payload
		all = append(all, f, f)
	}
	return all
}
