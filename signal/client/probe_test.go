package client_test

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"sync"
	"testing"
	"time"

	"peerway/signal"
	"peerway/signal/client"
	"peerway/signal/server"
)

func TestProbe(t *testing.T) {
	s := newServer(t)
	certificate, _ := publicCertificate(t)
	public := newServer(t, func(cfg *server.Config) { cfg.Certificates = []tls.Certificate{certificate} })
	web := httptest.NewTLSServer(http.NotFoundHandler())
	t.Cleanup(web.Close)
	plain := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(plain.Close)
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { silent.Close() })
	brief, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var hangingUp sync.WaitGroup
	t.Cleanup(func() { brief.Close(); hangingUp.Wait() })
	hangingUp.Go(func() {
		for conn, err := brief.Accept(); err == nil; conn, err = brief.Accept() {
			conn.Close()
		}
	})
	for _, test := range []struct {
		name string
		url  signal.URL
		want error // nil: there is one
	}{
		{"by its key", s.url, nil},
		{"by its address", signal.URL{Addr: s.listen}, nil},
		{"with a certificate", signal.URL{Addr: public.listen}, nil},
		{"a web server", signal.URL{Addr: web.Listener.Addr().String()}, client.ErrNotSignal},
		{"one without TLS", signal.URL{Addr: plain.Listener.Addr().String()}, client.ErrNotSignal},
		{"one that says nothing", signal.URL{Addr: silent.Addr().String()}, client.ErrSilent},
		{"one that hangs up", signal.URL{Addr: brief.Addr().String()}, client.ErrSilent},
		{"nobody", signal.URL{Addr: "127.0.0.1:1"}, client.ErrUnreachable},
		{"a name that there is not", signal.URL{Addr: "nobody.invalid:7443"}, client.ErrUnreachable},
	} {
		t.Run(test.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			got, _, err := client.Probe(ctx, client.Config{URL: test.url})
			if !errors.Is(err, test.want) {
				t.Errorf("Probe() = %v, want %v", err, test.want)
			}
			if test.want == nil && got != netip.MustParseAddrPort(test.url.Addr) {
				t.Errorf("it answers STUN at %v", got)
			}
		})
	}
	_, _, err = client.Probe(t.Context(), client.Config{URL: signal.URL{Addr: s.listen, Pin: public.url.Pin}})
	wantRefused(t, err, client.WrongPin)
}
