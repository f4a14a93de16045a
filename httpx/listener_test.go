package httpx_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"peerway/httpx"
	"peerway/proxy"
)

// A Server behind the listener that tells protocols apart: requests that are
// read twice, uploads, and an end that leaves nothing open.
func TestServeBehindListener(t *testing.T) {
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Write(body)
	}))
	defer web.Close()
	target := proxy.Target{Peer: "home", Service: "web"}
	reach := &peers{resets: make(chan struct{}, 100), dials: map[proxy.Target]func(context.Context) (proxy.Conn, error){
		target: to(web.Listener.Addr().String()),
	}}
	routes := new(proxy.Routes)
	routes.SetPeer("home", true, []proxy.Entry{{Name: "web", Scheme: "http"}})
	srv := &httpx.Server{Dialer: reach, Routes: routes}
	l := proxy.NewListener(proxy.ListenerConfig{Addrs: []string{"localhost:0", "127.0.0.1:0"}, HTTP: srv.Serve})
	ctx, cancel := context.WithCancelCause(t.Context())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	<-l.Ready()

	client := directClient(t)
	for _, addr := range l.Addrs() {
		for _, size := range []int{0, 1, 100 << 10} {
			req, err := http.NewRequest(http.MethodPost, "http://"+addr.String()+"/", strings.NewReader(strings.Repeat("x", size)))
			if err != nil {
				t.Fatal(err)
			}
			req.Host = "web.home.localhost"
			res, err := client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(res.Body)
			res.Body.Close()
			if res.StatusCode != 200 || len(body) != size || err != nil {
				t.Errorf("%s, %d bytes, %v; want %d", res.Status, len(body), err, size)
			}
		}
	}
	cancel(errStop)
	if err := <-done; !errors.Is(err, errStop) {
		t.Errorf("Run() = %v", err)
	}
	if n := reach.open.Load(); n != 0 {
		t.Errorf("%d streams are open", n)
	}
}
