package pathsock_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/apernet/quic-go"

	"peerway/integration/leak"
	"peerway/tunnel/pathsock"
)

func TestMain(m *testing.M) { leak.Main(m) }

// patience is how long a test waits for what must happen.
const patience = time.Minute

// relayFunc makes a relay of a function.
type relayFunc func(p []byte) error

func (f relayFunc) WritePacket(p []byte) error { return f(p) }

// A side is one of two processes that know each other: a socket, and the other
// side as a peer of it.
type side struct {
	socket *pathsock.Socket
	peer   *pathsock.Peer
	addr   netip.AddrPort // where the socket can be reached
}

// join opens two sockets on the loopback address ip, and a relay between them.
func join(t testing.TB, ip string) (a, b *side) {
	t.Helper()
	a, b = newSide(t, ip, nil), newSide(t, ip, nil)
	a.peer = a.socket.Add(relayFunc(func(p []byte) error { b.peer.Inject(p); return nil }), 1)
	b.peer = b.socket.Add(relayFunc(func(p []byte) error { a.peer.Inject(p); return nil }), 1)
	return a, b
}

func newSide(t testing.TB, ip string, stun func([]byte, netip.AddrPort)) *side {
	t.Helper()
	socket, err := pathsock.Listen(pathsock.Config{Other: stun})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { socket.Close() })
	return &side{socket: socket, addr: netip.AddrPortFrom(netip.MustParseAddr(ip), socket.Port())}
}

// route sends what s has for the other side along a route.
func (s *side) route(other *side, direct, relay bool) {
	r := pathsock.Route{Carrier: relay}
	if direct {
		s.peer.Authenticate(other.addr)
		r.Direct = other.addr
	}
	s.peer.SetRoute(r)
}

// run joins what s writes until the test ends.
func (s *side) run(t testing.TB) {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { s.peer.Run(ctx) })
	t.Cleanup(func() { cancel(); running.Wait() })
}

func quicConfig() *quic.Config {
	return &quic.Config{
		InitialPacketSize:              1232,
		DisablePathMTUDiscovery:        true,
		MaxIdleTimeout:                 15 * time.Second,
		InitialStreamReceiveWindow:     4 << 20,
		MaxStreamReceiveWindow:         32 << 20,
		InitialConnectionReceiveWindow: 6 << 20,
		MaxConnectionReceiveWindow:     48 << 20,
	}
}

// tlsConfigs returns the two ends of a connection that trust each other.
func tlsConfigs(t testing.TB) (server, client *tls.Config) {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, public, private)
	if err != nil {
		t.Fatal(err)
	}
	server = &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: private}},
		NextProtos:   []string{"test"},
	}
	client = &tls.Config{
		NextProtos:         []string{"test"},
		InsecureSkipVerify: true,
		VerifyConnection: func(cs tls.ConnectionState) error {
			if !bytes.Equal(cs.PeerCertificates[0].Raw, der) {
				return errors.New("someone else answered")
			}
			return nil
		},
	}
	return server, client
}

// connect makes a QUIC connection from a to b over conns, which the caller
// closes after the test.
func connect(t testing.TB, a, b net.PacketConn, to net.Addr, cfg *quic.Config) (client, server *quic.Conn) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	serverTLS, clientTLS := tlsConfigs(t)

	ta, tb := &quic.Transport{Conn: a}, &quic.Transport{Conn: b}
	t.Cleanup(func() { ta.Close() })
	t.Cleanup(func() { tb.Close() })
	ln, err := tb.Listen(serverTLS, cfg)
	if err != nil {
		t.Fatal(err)
	}

	var accepting sync.WaitGroup
	defer accepting.Wait()
	accepting.Go(func() {
		if server, err = ln.Accept(ctx); err != nil {
			t.Error("accept:", err)
		}
	})
	client, dialErr := ta.Dial(ctx, to, clientTLS, cfg)
	if dialErr != nil {
		cancel()
		t.Fatal("dial:", dialErr)
	}
	accepting.Wait()
	if err != nil {
		t.FailNow()
	}
	t.Cleanup(func() { client.CloseWithError(0, "") })
	t.Cleanup(func() { server.CloseWithError(0, "") })
	return client, server
}

// pattern is an endless stream, of a period that is a prime: bytes out of place
// are seen.
type pattern struct {
	period []byte
	at     int64
}

func newPattern() *pattern {
	p := &pattern{period: make([]byte, 65521)}
	for i := range p.period {
		p.period[i] = byte(i * 31 >> 3)
	}
	return p
}

// next returns up to n bytes and steps over them.
func (p *pattern) next(n int) []byte {
	b := p.period[p.at%int64(len(p.period)):]
	b = b[:min(n, len(b))]
	p.at += int64(len(b))
	return b
}

func (p *pattern) Read(b []byte) (int, error) { return copy(b, p.next(len(b))), nil }

// check is a writer that wants the bytes of pattern. It calls reached with the
// number of bytes that have come.
type check struct {
	want    *pattern
	reached func(int64)
}

func (c *check) Write(b []byte) (int, error) {
	for rest := b; len(rest) > 0; {
		want := c.want.next(len(rest))
		if !bytes.Equal(rest[:len(want)], want) {
			return 0, errors.New("wrong bytes")
		}
		rest = rest[len(want):]
	}
	if c.reached != nil {
		c.reached(c.want.at)
	}
	return len(b), nil
}

// transfer sends size bytes from one end of a connection to the other.
func transfer(t testing.TB, from, to *quic.Conn, size int64, reached func(int64)) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	out, err := from.OpenUniStreamSync(ctx)
	if err != nil {
		t.Fatal("open:", err)
	}
	var sending sync.WaitGroup
	defer sending.Wait()
	sending.Go(func() {
		if _, err := io.Copy(out, io.LimitReader(newPattern(), size)); err != nil {
			t.Error("send:", err)
		}
		out.Close()
	})
	in, err := to.AcceptUniStream(ctx)
	if err != nil {
		t.Fatal("accept stream:", err)
	}
	in.SetReadDeadline(time.Now().Add(patience))
	if n, err := io.Copy(&check{want: newPattern(), reached: reached}, in); err != nil || n != size {
		t.Errorf("received %d bytes, %v; want %d", n, err, size)
		in.CancelRead(0)
	}
}

func TestTransfer(t *testing.T) {
	for _, test := range []struct {
		name          string
		ip            string
		direct, relay bool
		run           bool
	}{
		{"relay", "127.0.0.1", false, true, false},
		{"direct over IPv4", "127.0.0.1", true, false, false},
		{"direct over IPv4, joined", "127.0.0.1", true, false, true},
		{"direct over IPv6", "::1", true, false, false},
		{"both", "127.0.0.1", true, true, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			a, b := join(t, test.ip)
			if test.run {
				a.run(t)
				b.run(t)
			}
			a.route(b, test.direct, test.relay)
			b.route(a, test.direct, test.relay)
			client, server := connect(t, a.socket, b.socket, a.peer.Addr(), quicConfig())

			transfer(t, client, server, 2<<20, nil)
			transfer(t, server, client, 2<<20, nil)

			for _, s := range []pathsock.Stats{a.peer.Stats(), b.peer.Stats()} {
				if got := s.Direct.In > 0 && s.Direct.Out > 0; got != test.direct {
					t.Errorf("packets went direct: %v, want %v (%+v)", got, test.direct, s)
				}
				if got := s.Carrier.In > 0 && s.Carrier.Out > 0; got != test.relay {
					t.Errorf("packets went over the relay: %v, want %v (%+v)", got, test.relay, s)
				}
				if got := !s.Direct.Heard.IsZero() && !s.Direct.Sent.IsZero(); got != test.direct {
					t.Errorf("times of the direct path are set: %v, want %v", got, test.direct)
				}
			}
		})
	}
}
