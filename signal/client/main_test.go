package client_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"peerway/integration/leak"
	"peerway/signal"
	"peerway/signal/client"
	"peerway/signal/relay"
	"peerway/signal/server"
)

func TestMain(m *testing.M) { leak.Main(m) }

var errTestOver = errors.New("the test is over")

// A testServer is a signal server that can be killed and come back.
type testServer struct {
	*server.Server
	t      *testing.T
	listen string
	url    signal.URL
	stop   func()
	change []func(*server.Config)

	mu    sync.Mutex
	state server.State
}

func newServer(t *testing.T, change ...func(*server.Config)) *testServer {
	s := &testServer{t: t, change: change, listen: "127.0.0.1:0", state: server.NewState()}
	s.start()
	return s
}

// start starts the server at the address it had before.
func (s *testServer) start() {
	s.t.Helper()
	s.mu.Lock()
	cfg := server.Config{Listen: s.listen, State: s.state, Log: testLog(s.t), Save: func(state server.State) error {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.state = state
		return nil
	}}
	s.mu.Unlock()
	for _, f := range s.change {
		f(&cfg)
	}
	srv, err := server.New(cfg)
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	done := make(chan error, 1)
	go func() { done <- srv.Run(ctx) }()
	select {
	case <-srv.Ready():
	case err := <-done:
		s.t.Fatalf("server: %v", err)
	}
	s.Server, s.listen, s.url = srv, srv.Addr().String(), srv.URL("127.0.0.1")
	s.stop = sync.OnceFunc(func() {
		cancel(errTestOver)
		start := time.Now()
		if err := <-done; !errors.Is(err, errTestOver) {
			s.t.Errorf("server Run = %v, want %v", err, errTestOver)
		}
		if took := time.Since(start); took > time.Second {
			s.t.Errorf("server took %v to end", took)
		}
	})
	s.t.Cleanup(s.stop)
}

func testLog(t *testing.T) *slog.Logger {
	if os.Getenv("PEERWAY_TEST_LOG") == "" {
		return nil
	}
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// An event is one call of a handler.
type event struct {
	kind     string
	peer     signal.PeerID
	data     string
	session  uint64
	presence signal.Presence
	info     client.Info
	places   []relay.Place
	left     time.Duration
	err      error
}

// A testPeer is a client with what it was told.
type testPeer struct {
	*client.Client
	t        *testing.T
	name     string
	identity signal.Identity
	events   chan event
	stop     func()
	done     chan error
}

func (p *testPeer) Deliver(from signal.PeerID, sealed []byte) {
	p.events <- event{kind: "deliver", peer: from, data: string(sealed)}
}

func (p *testPeer) Relayed(session uint64, packet []byte) {
	p.events <- event{kind: "relayed", session: session, data: string(packet)}
}

func (p *testPeer) Granted(session uint64, places []relay.Place) {
	p.events <- event{kind: "granted", session: session, places: places}
}

func (p *testPeer) Presence(presence signal.Presence) {
	p.events <- event{kind: "presence", peer: presence.Peer, presence: presence}
}

func (p *testPeer) Connected(info client.Info) { p.events <- event{kind: "connected", info: info} }

func (p *testPeer) Disconnected(err error) { p.events <- event{kind: "disconnected", err: err} }

func (p *testPeer) id() signal.PeerID { return p.identity.PeerID() }

// newPeer makes a peer that does not run yet.
func newPeer(t *testing.T, url signal.URL, name string, change ...func(*client.Config)) *testPeer {
	p := &testPeer{t: t, name: name, identity: signal.NewIdentity(), events: make(chan event, 4096), done: make(chan error, 1)}
	cfg := client.Config{URL: url, Identity: p.identity, Name: name, Instance: 1, Handler: p, Log: testLog(t)}
	for _, f := range change {
		f(&cfg)
	}
	p.identity = cfg.Identity
	p.Client = client.New(cfg)
	return p
}

// run runs the peer until the test ends.
func (p *testPeer) run() *testPeer {
	ctx, cancel := context.WithCancelCause(context.Background()) // t.Context ends before cleanups
	go func() { p.done <- p.Run(ctx) }()
	p.stop = sync.OnceFunc(func() {
		cancel(errTestOver)
		start := time.Now()
		err := <-p.done
		if _, refused := errors.AsType[*client.RefusedError](err); !refused && !errors.Is(err, errTestOver) {
			p.t.Errorf("%s: Run = %v, want %v", p.name, err, errTestOver)
		}
		if took := time.Since(start); took > time.Second {
			p.t.Errorf("%s took %v to end", p.name, took)
		}
		p.done <- err
	})
	p.t.Cleanup(p.stop)
	return p
}

// want skips events until one of that kind for which ok, if not nil, is true.
func (p *testPeer) want(kind string, ok func(event) bool) event {
	p.t.Helper()
	timeout := time.After(20 * time.Second)
	for {
		select {
		case e := <-p.events:
			if e.kind == kind && (ok == nil || ok(e)) {
				return e
			}
		case err := <-p.done:
			p.t.Fatalf("%s: Run ended while waiting for %s: %v", p.name, kind, err)
		case <-timeout:
			p.t.Fatalf("%s: no %s", p.name, kind)
		}
	}
}

// wantOnline waits until another peer is seen online, or offline.
func (p *testPeer) wantOnline(other *testPeer, online bool) signal.Presence {
	p.t.Helper()
	return p.want("presence", func(e event) bool { return e.peer == other.id() && e.presence.Online == online }).presence
}

// introduce makes two peers allow each other, and waits until they know.
func introduce(a, b *testPeer) {
	a.t.Helper()
	a.Announce([]signal.Service{{Name: "cam", Scheme: "rtsp"}}, []signal.PeerID{b.id()})
	b.Announce([]signal.Service{{Name: "web", Scheme: "http"}}, []signal.PeerID{a.id()})
	a.wantOnline(b, true)
	b.wantOnline(a, true)
}

// pairOfPeers returns two peers that are logged in and know each other.
func pairOfPeers(t *testing.T, s *testServer) (a, b *testPeer) {
	a, b = newPeer(t, s.url, "home").run(), newPeer(t, s.url, "laptop").run()
	a.want("connected", nil)
	b.want("connected", nil)
	introduce(a, b)
	return a, b
}

func wantRefused(t *testing.T, err error, code client.Reason) *client.RefusedError {
	t.Helper()
	refused, ok := errors.AsType[*client.RefusedError](err)
	if !ok || refused.Code != code {
		t.Fatalf("got %v, want a RefusedError with code %d", err, code)
	}
	return refused
}

func TestLoginAndPresence(t *testing.T) {
	s := newServer(t)
	a := newPeer(t, s.url, "Home").run()
	info := a.want("connected", nil).info
	if info.Name != "home" || info.Server != netip.MustParseAddrPort(s.listen) || !info.Observed.Addr().IsLoopback() {
		t.Errorf("Connected(%+v)", info)
	}
	b := newPeer(t, s.url, "laptop").run()
	b.want("connected", nil)
	a.Announce([]signal.Service{{Name: "cam", Scheme: "rtsp"}}, []signal.PeerID{b.id()})
	a.wantOnline(b, false) // b does not allow a yet
	b.Announce(nil, []signal.PeerID{a.id()})
	got := b.wantOnline(a, true)
	if got.Name != "home" || got.Instance != 1 || !slices.Equal(got.Services, []signal.Service{{Name: "cam", Scheme: "rtsp"}}) {
		t.Errorf("Presence(%+v)", got)
	}
	a.wantOnline(b, true)
	a.Announce([]signal.Service{{Name: "web", Scheme: "http"}}, []signal.PeerID{b.id()})
	b.want("presence", func(e event) bool { return len(e.presence.Services) == 1 && e.presence.Services[0].Name == "web" })
	a.Announce(nil, nil)
	b.wantOnline(a, false)
	introduce(a, b)
	a.stop()
	b.wantOnline(a, false)
}

func TestLongAnnouncement(t *testing.T) {
	s := newServer(t)
	a, b := newPeer(t, s.url, "home").run(), newPeer(t, s.url, "laptop").run()
	var services []signal.Service
	for i := range signal.MaxServices {
		services = append(services, signal.Service{Name: "service-with-a-long-name-00000" + string(rune('a'+i/26)) + string(rune('a'+i%26)), Scheme: "https"})
	}
	allow := []signal.PeerID{}
	for range signal.MaxAllowed - 1 {
		allow = append(allow, signal.PeerID{byte(len(allow)), byte(len(allow) >> 8), 1})
	}
	a.Announce(services, append(allow, b.id()))
	b.Announce(nil, []signal.PeerID{a.id()})
	if got := b.wantOnline(a, true); !slices.Equal(got.Services, services) {
		t.Errorf("%d services arrived, want %d", len(got.Services), len(services))
	}
}

func TestSend(t *testing.T) {
	s := newServer(t)
	a, b := pairOfPeers(t, s)
	ctx := t.Context()
	if err := a.Send(ctx, b.id(), []byte("offer")); err != nil {
		t.Fatal(err)
	}
	if e := b.want("deliver", nil); e.peer != a.id() || e.data != "offer" {
		t.Errorf("Deliver(%v, %q)", e.peer, e.data)
	}
	if err := a.Send(ctx, b.id(), make([]byte, signal.MaxSealed)); err != nil {
		t.Errorf("Send of the longest message = %v", err)
	}
	if err := a.Send(ctx, b.id(), make([]byte, signal.MaxSealed+1)); err == nil {
		t.Error("Send of more than MaxSealed = nil")
	}
	c := newPeer(t, s.url, "stranger").run()
	c.want("connected", nil)
	if err := c.Send(ctx, a.id(), []byte("hello")); !errors.Is(err, signal.ErrNotAllowed) {
		t.Errorf("Send by a stranger = %v, want %v", err, signal.ErrNotAllowed)
	}
	b.stop()
	a.wantOnline(b, false)
	if err := a.Send(ctx, b.id(), []byte("offer")); !errors.Is(err, signal.ErrOffline) {
		t.Errorf("Send to nobody = %v, want %v", err, signal.ErrOffline)
	}
	a.stop()
	if err := a.Send(ctx, b.id(), []byte("offer")); !errors.Is(err, signal.ErrDisconnected) {
		t.Errorf("Send after Run = %v, want %v", err, signal.ErrDisconnected)
	}
}

func TestSendWaitsForTheRateLimit(t *testing.T) {
	s := newServer(t)
	a, b := pairOfPeers(t, s)
	for i := range 60 { // more than the burst
		if err := a.Send(t.Context(), b.id(), []byte{byte(i)}); err != nil {
			t.Fatalf("Send %d = %v", i, err)
		}
		if e := b.want("deliver", nil); e.data != string([]byte{byte(i)}) {
			t.Fatalf("message %d is %q", i, e.data)
		}
	}
}

// Bind, Send and relayed packets that one peer writes back to back arrive in
// that order.
func TestRelayOrder(t *testing.T) {
	s := newServer(t)
	a, b := pairOfPeers(t, s)
	const session = 0xfeedbeefcafe
	if err := a.Bind(session, b.id()); err != nil {
		t.Fatal(err)
	}
	sent := make(chan error)
	go func() { sent <- a.Send(t.Context(), b.id(), []byte("offer")) }()
	if e := b.want("deliver", nil); e.data != "offer" {
		t.Fatalf("Deliver(%q)", e.data)
	}
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
	for i := range 100 {
		if err := a.Relay(session, []byte{byte(i)}); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 100 {
		if e := b.want("relayed", nil); e.session != session || e.data != string([]byte{byte(i)}) {
			t.Fatalf("packet %d: session %x, %q", i, e.session, e.data)
		}
	}
	b.Relay(session, []byte("back"))
	if e := a.want("relayed", nil); e.data != "back" {
		t.Errorf("Relayed(%q), want back", e.data)
	}
	c := newPeer(t, s.url, "stranger").run() // knows the session, is no end of it
	c.want("connected", nil)
	c.Announce(nil, []signal.PeerID{a.id(), b.id()})
	c.Bind(session, b.id())
	c.Relay(session, []byte("evil"))
	c.Send(t.Context(), b.id(), []byte("sync"))
	a.Relay(session, []byte("good"))
	if e := b.want("relayed", nil); e.data != "good" {
		t.Errorf("Relayed(%q), want good", e.data)
	}
}

// A peer that reads nothing must not hold up others.
func TestBurstIsDropped(t *testing.T) {
	s := newServer(t)
	a, b := pairOfPeers(t, s)
	a.Bind(1, b.id())
	packet := make([]byte, 1200)
	var dropped bool
	for range 100_000 {
		if err := a.Relay(1, packet); err != nil {
			dropped = true
			break
		}
	}
	if !dropped {
		t.Error("100,000 packets were queued")
	}
	if err := a.Send(t.Context(), b.id(), []byte("still here")); err != nil {
		t.Errorf("Send = %v", err)
	}
	b.want("deliver", nil)
}

func TestReconnect(t *testing.T) {
	s := newServer(t)
	a, b := pairOfPeers(t, s)
	a.Bind(7, b.id())
	a.Relay(7, []byte("before"))
	b.want("relayed", nil)
	for range 2 {
		s.stop()
		a.want("disconnected", nil)
		b.want("disconnected", nil)
		if err := a.Send(t.Context(), b.id(), []byte("x")); !errors.Is(err, signal.ErrDisconnected) {
			t.Errorf("Send = %v, want %v", err, signal.ErrDisconnected)
		}
		s.start()
		a.want("connected", nil)
		b.want("connected", nil)
		a.wantOnline(b, true)
		b.wantOnline(a, true)
		a.Relay(7, []byte("after")) // bound again, by itself
		if e := b.want("relayed", nil); e.data != "after" {
			t.Errorf("Relayed(%q), want after", e.data)
		}
	}
}

// A connection that is cut without a word is opened again as well.
func TestReconnectAfterCut(t *testing.T) {
	s := newServer(t)
	conns := make(chan net.Conn, 16)
	a := newPeer(t, s.url, "home", func(cfg *client.Config) {
		cfg.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := (&net.Dialer{}).DialContext(ctx, network, addr)
			if err == nil {
				conns <- conn
			}
			return conn, err
		}
	}).run()
	for range 3 {
		a.want("connected", nil)
		(<-conns).Close()
		if e := a.want("disconnected", nil); e.err == nil {
			t.Error("Disconnected(nil)")
		}
	}
	a.want("connected", nil)
}

func TestNameTaken(t *testing.T) {
	s := newServer(t)
	a := newPeer(t, s.url, "home").run()
	a.want("connected", nil)
	b := newPeer(t, s.url, "home")
	refused := wantRefused(t, b.Run(t.Context()), client.NameTaken)
	if refused.Suggestion != "home-2" {
		t.Errorf("suggestion %q, want home-2", refused.Suggestion)
	}
	a.stop() // the name stays with its owner
	wantRefused(t, b.Run(t.Context()), client.NameTaken)
	c := newPeer(t, s.url, "house", func(cfg *client.Config) { cfg.Identity = a.identity }).run()
	c.want("connected", nil) // who renames itself frees the old name
	b.run().want("connected", nil)
}

func TestDisplaced(t *testing.T) {
	s := newServer(t)
	a, b := pairOfPeers(t, s)
	again := newPeer(t, s.url, "home", func(cfg *client.Config) { cfg.Identity, cfg.Instance = a.identity, 2 }).run()
	again.want("connected", nil)
	a.want("disconnected", nil)
	a.stop()
	again.Announce(nil, []signal.PeerID{b.id()})
	b.want("presence", func(e event) bool { return e.presence.Online && e.presence.Instance == 2 })
}

func TestRunEndsWhileDialing(t *testing.T) {
	s := newServer(t)
	dialing := make(chan struct{}, 64)
	p := newPeer(t, s.url, "home", func(cfg *client.Config) {
		cfg.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
			dialing <- struct{}{}
			<-ctx.Done()
			return nil, ctx.Err()
		}
	}).run()
	<-dialing
	p.stop()
}

// A server that accepts and then says nothing must not hold Run up.
func TestRunEndsWhileServerIsMute(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	p := newPeer(t, signal.URL{Addr: ln.Addr().String(), Secret: signal.Secret{1}}, "home").run()
	conn, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	p.stop()
}
