package server_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/pion/stun/v3"

	"peerway/integration/leak"
	"peerway/signal"
	"peerway/signal/internal/wire"
	"peerway/signal/relay"
	"peerway/signal/server"
)

func TestMain(m *testing.M) { leak.Main(m) }

var errTestOver = errors.New("the test is over")

// start runs a server until the test ends, or stop is called.
func start(t *testing.T, cfg server.Config) (s *server.Server, stop func()) {
	t.Helper()
	cfg.Listen = "127.0.0.1:0"
	if cfg.State.Key == nil {
		cfg.State = server.NewState()
	}
	s, err := server.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	select {
	case <-s.Ready():
	case err := <-done:
		t.Fatal(err)
	}
	stop = sync.OnceFunc(func() {
		cancel(errTestOver)
		began := time.Now()
		if err := <-done; !errors.Is(err, errTestOver) {
			t.Errorf("Run() = %v, want %v", err, errTestOver)
		}
		if took := time.Since(began); took > time.Second {
			t.Errorf("Run took %v to end", took)
		}
	})
	t.Cleanup(stop)
	return s, stop
}

// A rawPeer speaks to a server without the client, so that it can misbehave.
type rawPeer struct {
	t        *testing.T
	ws       *websocket.Conn
	tcp      *net.TCPConn
	codec    wire.Codec
	identity signal.Identity
	secure   *tls.Conn
}

// dialRaw opens a websocket and does not log in.
func dialRaw(t *testing.T, s *server.Server) *rawPeer {
	t.Helper()
	p := &rawPeer{t: t, codec: wire.NewCodec(), identity: signal.NewIdentity()}
	tcp, err := net.Dial("tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tcp.Close() })
	p.tcp = tcp.(*net.TCPConn)
	p.secure = tls.Client(tcp, &tls.Config{InsecureSkipVerify: true})
	dialer := websocket.Dialer{
		NetDialTLSContext: func(context.Context, string, string) (net.Conn, error) {
			return p.secure, p.secure.Handshake()
		},
		Subprotocols: []string{wire.Subprotocol},
	}
	p.ws, _, err = dialer.Dial("wss://"+s.Addr().String()+wire.Path, nil)
	if err != nil {
		t.Fatal(err)
	}
	p.ws.SetReadDeadline(time.Now().Add(20 * time.Second))
	return p
}

// login logs in under a name.
func login(t *testing.T, s *server.Server, name string, change ...func(*wire.Hello)) *rawPeer {
	t.Helper()
	p := dialRaw(t, s)
	var challenge wire.Challenge
	p.want(wire.TypeChallenge, &challenge)
	state := p.secure.ConnectionState()
	binding, err := wire.Binding(&state)
	if err != nil {
		t.Fatal(err)
	}
	hello := wire.Hello{Peer: p.identity.PeerID(), Name: name}
	hello.Prove(challenge, binding, p.identity, s.URL("x").Secret)
	for _, f := range change {
		f(&hello)
	}
	p.send(wire.TypeHello, 0, hello)
	if len(change) == 0 {
		p.want(wire.TypeWelcome, nil)
	}
	return p
}

func (p *rawPeer) id() signal.PeerID { return p.identity.PeerID() }

func (p *rawPeer) send(kind wire.Type, id uint64, body any) {
	p.t.Helper()
	b, err := p.codec.Message(kind, id, body)
	if err != nil {
		p.t.Fatal(err)
	}
	p.write(b)
}

func (p *rawPeer) write(b []byte) {
	p.t.Helper()
	if err := p.ws.WriteMessage(websocket.BinaryMessage, b); err != nil {
		p.t.Fatal(err)
	}
}

// want reads until a message of that type and decodes its body.
func (p *rawPeer) want(kind wire.Type, body any) wire.Frame {
	p.t.Helper()
	for {
		_, b, err := p.ws.ReadMessage()
		if err != nil {
			p.t.Fatalf("no message %d: %v", kind, err)
		}
		if relay.IsFrame(b) {
			continue
		}
		f, err := p.codec.Frame(b)
		if err != nil {
			p.t.Fatal(err)
		}
		if f.Type != kind {
			continue
		}
		if body != nil {
			if err := p.codec.Body(f, body); err != nil {
				p.t.Fatal(err)
			}
		}
		return f
	}
}

// wantError reads the next error, and its close code if the connection ends.
func (p *rawPeer) wantError(code wire.Code, id uint64) {
	p.t.Helper()
	var e wire.Error
	if f := p.want(wire.TypeError, &e); e.Code != code || f.ID != id {
		p.t.Errorf("error %+v for request %d, want code %d for %d", e, f.ID, code, id)
	}
}

func (p *rawPeer) wantClose(code int) {
	p.t.Helper()
	for {
		_, _, err := p.ws.ReadMessage()
		if err == nil {
			continue
		}
		if e, ok := errors.AsType[*websocket.CloseError](err); !ok || e.Code != code {
			p.t.Errorf("the connection ends with %v, want close code %d", err, code)
		}
		return
	}
}

// wantAlive makes a round trip.
func (p *rawPeer) wantAlive() {
	p.t.Helper()
	p.send(wire.TypePing, 77, nil)
	if f := p.want(wire.TypePong, nil); f.ID != 77 {
		p.t.Errorf("pong %d, want 77", f.ID)
	}
}

// allow makes peers allow each other and waits until all know.
func allow(peers ...*rawPeer) {
	ids := []signal.PeerID{}
	for _, p := range peers {
		ids = append(ids, p.id())
	}
	for _, p := range peers {
		p.send(wire.TypeAnnounce, 0, wire.Announce{Allow: ids})
		p.wantAlive()
	}
}

func TestUnknownAndMalformedMessages(t *testing.T) {
	s, _ := start(t, server.Config{})
	p := login(t, s, "home")
	p.send(999, 5, wire.Bind{})
	p.wantError(wire.CodeUnsupported, 5)
	for _, kind := range []wire.Type{wire.TypeAnnounce, wire.TypeSend, wire.TypeBind, wire.TypeMailboxOpen,
		wire.TypeMailboxClose, wire.TypeMailboxReply} {
		p.send(kind, 6, nil) // without its body
		p.wantError(wire.CodeMalformed, 6)
		p.send(kind, 7, []int{1, 2, 3})
		p.wantError(wire.CodeMalformed, 7)
	}
	p.send(wire.TypeAnnounce, 8, wire.Announce{Services: []signal.Service{{Name: "Bad Name", Scheme: "http"}}})
	p.wantError(wire.CodeMalformed, 8)
	p.send(wire.TypeMailboxOpen, 9, wire.Mailbox{ID: []byte("short")})
	p.wantError(wire.CodeMalformed, 9)
	p.send(wire.TypeMailboxClaim, 10, wire.Mailbox{ID: make([]byte, 32)})
	p.wantError(wire.CodeNotAllowed, 10)
	p.send(wire.TypeMailboxReply, 11, wire.Mailbox{ID: make([]byte, 32)})
	p.wantError(wire.CodeNotAllowed, 11)
	p.write(relay.AppendFrame(nil, 1, []byte("of no session")))
	p.write([]byte{0x02, 1, 2, 3})
	p.wantAlive()
}

func TestHostileMessages(t *testing.T) {
	s, _ := start(t, server.Config{})
	for name, test := range map[string]struct {
		kind int
		data []byte
		code wire.Code
	}{
		"garbage":   {websocket.BinaryMessage, []byte{0xff, 0xfe}, wire.CodeMalformed},
		"bad cbor":  {websocket.BinaryMessage, []byte{0xa1, 0x00}, wire.CodeMalformed},
		"text":      {websocket.TextMessage, []byte(`{"hello":1}`), wire.CodeTooLarge},
		"oversized": {websocket.BinaryMessage, append([]byte{0xa1}, make([]byte, wire.MaxMessage)...), wire.CodeTooLarge},
		"huge":      {websocket.BinaryMessage, make([]byte, 1<<20), wire.CodeTooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			p := login(t, s, "home-"+strings.ReplaceAll(name, " ", "-"))
			p.ws.WriteMessage(test.kind, test.data)
			p.wantError(test.code, 0)
			p.wantClose(test.code.CloseCode())
		})
	}
}

func TestBadLogins(t *testing.T) {
	s, _ := start(t, server.Config{})
	for name, test := range map[string]struct {
		change func(*wire.Hello)
		code   wire.Code
	}{
		"signature": {func(h *wire.Hello) { h.Sig[5] ^= 1 }, wire.CodeBadProof},
		"peer":      {func(h *wire.Hello) { h.Peer[5] ^= 1 }, wire.CodeBadProof},
		"secret":    {func(h *wire.Hello) { h.Join[5] ^= 1 }, wire.CodeBadSecret},
		"no secret": {func(h *wire.Hello) { h.Join = nil }, wire.CodeBadSecret},
	} {
		t.Run(name, func(t *testing.T) {
			p := login(t, s, "home", test.change)
			p.wantError(test.code, 0)
			p.wantClose(test.code.CloseCode())
		})
	}
	p := login(t, s, "Not A Name", func(h *wire.Hello) {})
	p.wantError(wire.CodeBadName, 0)
	q := dialRaw(t, s)
	q.want(wire.TypeChallenge, nil)
	q.send(wire.TypePing, 0, nil)
	q.wantError(wire.CodeMalformed, 0)
	if n := s.Online(); n != 0 {
		t.Errorf("%d peers are logged in", n)
	}
}

func TestHTTP(t *testing.T) {
	s, _ := start(t, server.Config{})
	for request, want := range map[string]int{
		"GET / HTTP/1.1\r\nHost: x\r\n\r\n":    404,
		"POST /v1 HTTP/1.1\r\nHost: x\r\n\r\n": 400,
		"GET /v1 HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n" +
			"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Protocol: other.v1\r\n\r\n": 400,
		"GET /v1 HTTP/1.1\r\nHost: x\r\nOrigin: https://evil.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
			"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Protocol: peerway.v1\r\n\r\n": 403,
	} {
		conn, err := tls.Dial("tcp", s.Addr().String(), &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(conn, request)
		response, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil || response.StatusCode != want {
			t.Errorf("%.20q is answered with %v, %v, want %d", request, response, err, want)
		}
		conn.Close()
	}
	conn, err := net.Dial("tcp", s.Addr().String()) // not TLS
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	io.WriteString(conn, "GET /v1 HTTP/1.1\r\nHost: x\r\n\r\n")
	if _, err := io.Copy(io.Discard, conn); err != nil {
		t.Errorf("plain HTTP ends with %v", err)
	}
}

func TestRateLimit(t *testing.T) {
	s, _ := start(t, server.Config{})
	p := login(t, s, "home")
	for i := range 100 {
		p.send(wire.TypeSend, uint64(i+1), wire.Sealed{})
	}
	var limited int
	for range 100 {
		var e wire.Error
		p.want(wire.TypeError, &e)
		if e.Code == wire.CodeRateLimited {
			limited++
			if e.RetryAfter == 0 {
				t.Fatal("no time to wait")
			}
		}
	}
	if limited < 30 || limited > 50 {
		t.Errorf("%d of 100 requests at once were refused, want about 50", limited)
	}
}

// Who does not read must harm nobody, and hears messages before old packets.
func TestSlowReader(t *testing.T) {
	s, _ := start(t, server.Config{})
	a, slow, c := login(t, s, "a"), login(t, s, "slow"), login(t, s, "c")
	slow.tcp.SetReadBuffer(64 << 10)
	allow(a, slow, c)
	a.send(wire.TypeBind, 0, wire.Bind{Session: 1, To: slow.id()})
	a.send(wire.TypeBind, 0, wire.Bind{Session: 2, To: c.id()})
	packet := relay.AppendFrame(nil, 1, make([]byte, 1400))
	const packets = 20_000 // 28 MB, more than all buffers
	for range packets {
		a.write(packet)
	}
	a.write(relay.AppendFrame(nil, 2, []byte("for c")))
	a.send(wire.TypeSend, 5, wire.Sealed{Peer: slow.id(), Box: []byte("message")})
	a.want(wire.TypeResult, nil)
	for {
		_, b, err := c.ws.ReadMessage()
		if err != nil {
			t.Fatal(err)
		}
		if _, got, ok := relay.ParseFrame(b); ok {
			if string(got) != "for c" {
				t.Errorf("c gets %q", got)
			}
			break
		}
	}
	before := 0
	for {
		_, b, err := slow.ws.ReadMessage()
		if err != nil {
			t.Fatal(err)
		}
		if relay.IsFrame(b) {
			before++
			continue
		}
		if f, _ := slow.codec.Frame(b); f.Type == wire.TypeDeliver {
			break
		}
	}
	slow.wantAlive()
	if before > packets*2/3 {
		t.Errorf("%d of %d packets came before the message", before, packets)
	}
	t.Logf("%d of %d packets before the message", before, packets)
}

// Half a frame must not hold up the others.
func TestHalfFrame(t *testing.T) {
	s, _ := start(t, server.Config{})
	a, b := login(t, s, "a"), login(t, s, "b")
	a.secure.Write([]byte{0x82, 0xfe, 0x10}) // the beginning of a header
	half := dialRaw(t, s)
	half.secure.Write([]byte{0x82})
	b.wantAlive()
}

func TestDrain(t *testing.T) {
	s, stop := start(t, server.Config{})
	peers := []*rawPeer{login(t, s, "a"), login(t, s, "b"), login(t, s, "c")}
	dialRaw(t, s) // has not logged in
	mute, err := net.Dial("tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer mute.Close()
	stopped := make(chan struct{})
	go func() {
		stop()
		close(stopped)
	}()
	for _, p := range peers {
		var away wire.GoingAway
		p.want(wire.TypeGoingAway, &away)
		if away.RetryAfter == 0 {
			t.Error("no time to come back")
		}
		p.wantClose(4000)
	}
	<-stopped
}

func TestSTUNOnTheSamePort(t *testing.T) {
	s, _ := start(t, server.Config{})
	conn, err := net.Dial("udp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	request := stun.MustBuild(stun.TransactionID, stun.BindingRequest)
	conn.Write(request.Raw)
	conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	buf := make([]byte, 1500)
	n, err := conn.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	answer := &stun.Message{Raw: buf[:n]}
	var mapped stun.XORMappedAddress
	if err := errors.Join(answer.Decode(), mapped.GetFrom(answer)); err != nil {
		t.Fatal(err)
	}
	if got, want := fmt.Sprintf("%s:%d", mapped.IP, mapped.Port), conn.LocalAddr().String(); got != want {
		t.Errorf("mapped address %s, want %s", got, want)
	}
}

func TestStateIsSaved(t *testing.T) {
	saved := make(chan server.State, 16)
	s, stop := start(t, server.Config{Save: func(state server.State) error { saved <- state; return nil }})
	p := login(t, s, "home")
	stop()
	state := <-saved
	if len(state.Peers) != 1 || state.Peers[0].ID != p.id() || state.Peers[0].Name != "home" {
		t.Fatalf("saved peers %+v", state.Peers)
	}
	if strings.Contains(fmt.Sprintf("%v %s %+v", state, state, []any{state}), hex.EncodeToString(state.Key[:4])) {
		t.Error("the state shows its key")
	}
	again, _ := start(t, server.Config{State: state})
	taken := login(t, again, "home", func(*wire.Hello) {})
	taken.wantError(wire.CodeNameTaken, 0)
	if got, want := again.URL("h:1"), s.URL("h:1"); got != want {
		t.Error("the URL changes from one run to the next")
	}
}

func TestNewRefusesBadState(t *testing.T) {
	good := server.NewState()
	for name, change := range map[string]func(*server.State){
		"no key":    func(s *server.State) { s.Key = nil },
		"no secret": func(s *server.State) { s.Secret = signal.Secret{} },
		"bad name":  func(s *server.State) { s.Peers = []server.KnownPeer{{Name: "Bad Name"}} },
		"same name": func(s *server.State) { s.Peers = []server.KnownPeer{{Name: "a"}, {Name: "a"}} },
	} {
		state := good
		change(&state)
		if _, err := server.New(server.Config{State: state}); err == nil {
			t.Errorf("%s: New() = nil", name)
		}
	}
}

func TestAddressInUse(t *testing.T) {
	s, _ := start(t, server.Config{})
	other, err := server.New(server.Config{State: server.NewState(), Listen: s.Addr().String()})
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Run(t.Context()); err == nil || errors.Is(err, context.Canceled) {
		t.Errorf("Run() = %v, want an error", err)
	}
}
