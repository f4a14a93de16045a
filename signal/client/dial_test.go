package client_test

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"sync"
	"testing"
	"time"

	"peerway/signal"
	"peerway/signal/client"
	"peerway/signal/server"
)

// publicCertificate makes a certificate for localhost and a pool that trusts it.
func publicCertificate(t *testing.T) (tls.Certificate, *x509.CertPool) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, DNSNames: []string{"localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(parsed)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

func TestPublicCertificate(t *testing.T) {
	certificate, pool := publicCertificate(t)
	s := newServer(t, func(cfg *server.Config) { cfg.Certificates = []tls.Certificate{certificate} })
	_, port, _ := net.SplitHostPort(s.listen)
	public := signal.URL{Addr: "localhost:" + port, Public: true, Secret: s.url.Secret}
	v4 := func(cfg *client.Config) {
		cfg.RootCAs = pool
		cfg.DialContext = func(ctx context.Context, _, addr string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "tcp4", addr)
		}
	}
	home := newPeer(t, public, "home", v4).run()
	home.want("connected", nil)
	newPeer(t, s.url, "other").run().want("connected", nil) // by the pin, at the same server

	// Who trusts other authorities does not log in.
	wantRefused(t, newPeer(t, public, "laptop", v4, func(cfg *client.Config) { cfg.RootCAs = x509.NewCertPool() }).Run(t.Context()),
		client.WrongPin)

	// A code of a peer with such a URL pins the server's own key.
	m := openMailbox(t, home)
	got, err := client.Pair(t.Context(), client.PairConfig{Code: m.Code(), Identity: signal.NewIdentity(), Name: "laptop"})
	if err != nil || got.URL != public {
		t.Errorf("Pair() = %+v, %v, want the URL %v", got, err, public)
	}
}

// startProxy runs an HTTP proxy that wants a password, until the test ends.
func startProxy(t *testing.T, asked chan<- string) *url.URL {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var conns sync.WaitGroup
	t.Cleanup(func() {
		ln.Close()
		conns.Wait()
	})
	conns.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			conns.Go(func() { proxyConn(conn, asked) })
		}
	})
	return &url.URL{Scheme: "http", Host: ln.Addr().String(), User: url.UserPassword("user", "password")}
}

func proxyConn(conn net.Conn, asked chan<- string) {
	defer conn.Close()
	request, err := http.ReadRequest(bufio.NewReader(conn))
	if err != nil {
		return
	}
	asked <- request.Method + " " + request.Host + " " + request.Header.Get("Proxy-Authorization")
	if request.Header.Get("Proxy-Authorization") == "" {
		io.WriteString(conn, "HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")
		return
	}
	upstream, err := net.Dial("tcp", request.Host)
	if err != nil {
		return
	}
	defer upstream.Close()
	io.WriteString(conn, "HTTP/1.1 200 OK\r\n\r\n")
	var back sync.WaitGroup
	defer back.Wait()
	back.Go(func() {
		io.Copy(conn, upstream)
		conn.Close()
	})
	io.Copy(upstream, conn)
	upstream.Close()
}

func TestProxy(t *testing.T) {
	s := newServer(t)
	asked := make(chan string, 16)
	through := startProxy(t, asked)
	use := func(cfg *client.Config) {
		cfg.Proxy = func(r *http.Request) (*url.URL, error) {
			if r.URL.Scheme != "https" || r.URL.Host != s.listen {
				t.Errorf("asked for a proxy for %v", r.URL)
			}
			return through, nil
		}
	}
	home := newPeer(t, s.url, "home", use).run()
	info := home.want("connected", nil).info
	if info.Server != netip.MustParseAddrPort(s.listen) {
		t.Errorf("STUN server %v, want %v", info.Server, s.listen)
	}
	if got, want := <-asked, "CONNECT "+s.listen+" Basic dXNlcjpwYXNzd29yZA=="; got != want {
		t.Errorf("the proxy was asked %q, want %q", got, want)
	}
	var cfg client.Config
	use(&cfg)
	_, err := client.Pair(t.Context(), client.PairConfig{Code: openMailbox(t, home).Code(), Identity: signal.NewIdentity(), Name: "laptop", Connection: cfg})
	if err != nil {
		t.Errorf("Pair() through the proxy = %v", err)
	}
	if len(asked) != 1 {
		t.Error("Pair did not use the proxy")
	}
	through.User = nil
	_, err = client.Pair(t.Context(), client.PairConfig{Code: signal.NewCode(s.listen, s.url.Pin), Identity: signal.NewIdentity(), Name: "laptop", Connection: cfg})
	if err == nil || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Pair() through a proxy that refuses = %v", err)
	}
}

// A counter counts what arrives.
type counter struct {
	testPeer
	packets chan int
}

func (c *counter) Relayed(_ uint64, packet []byte) { c.packets <- len(packet) }

// BenchmarkRelay moves packets of 1,200 bytes from one peer to another through a
// server, all in this process.
func BenchmarkRelay(b *testing.B) {
	state := server.NewState()
	srv, err := server.New(server.Config{Listen: "127.0.0.1:0", State: state})
	if err != nil {
		b.Fatal(err)
	}
	var all sync.WaitGroup
	defer all.Wait()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	all.Go(func() { srv.Run(ctx) })
	<-srv.Ready()
	sink := &counter{packets: make(chan int, 1024), testPeer: testPeer{events: make(chan event, 1024)}}
	source := &testPeer{events: make(chan event, 1024)}
	ids := [2]signal.Identity{signal.NewIdentity(), signal.NewIdentity()}
	from := client.New(client.Config{URL: srv.URL("127.0.0.1"), Identity: ids[0], Name: "a", Handler: source})
	to := client.New(client.Config{URL: srv.URL("127.0.0.1"), Identity: ids[1], Name: "b", Handler: sink})
	from.Announce(nil, []signal.PeerID{ids[1].PeerID()})
	to.Announce(nil, []signal.PeerID{ids[0].PeerID()})
	all.Go(func() { from.Run(ctx) })
	all.Go(func() { to.Run(ctx) })
	for e := range source.events {
		if e.presence.Online {
			break
		}
	}
	from.Bind(1, ids[1].PeerID())
	packet := make([]byte, 1200)
	const window = 256 // in flight, less than any queue
	b.SetBytes(window * int64(len(packet)))
	b.ReportAllocs()
	for b.Loop() {
		for range window {
			if err := from.Relay(1, packet); err != nil {
				b.Fatal(err)
			}
		}
		for range window {
			select {
			case <-sink.packets:
			case <-time.After(5 * time.Second):
				b.Fatal("a packet was dropped")
			}
		}
	}
}
