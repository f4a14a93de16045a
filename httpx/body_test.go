package httpx_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
)

// An answer comes in pieces of all sizes, each sent only when the viewer has all
// that came before: nothing may be held back, and nothing may change.
func TestAnswerInPieces(t *testing.T) {
	sizes := []int{1, 100, 4 << 10, 4<<10 + 1, 300 << 10, 20, 8 << 10, 64 << 10, 64<<10 + 1, 5, 1 << 20, 1}
	got := make(chan bool)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for i, size := range sizes {
			w.Write(bytes.Repeat([]byte{byte(i)}, size))
			http.NewResponseController(w).Flush()
			select {
			case <-got:
			case <-r.Context().Done():
				return
			}
		}
	}))
	defer server.Close()
	g := open(t, to(server.Listener.Addr().String()))
	_, port, _ := net.SplitHostPort(g.addr)
	for range 3 {
		res, err := g.client.Get("http://web.home.localhost:" + port)
		if err != nil {
			t.Fatal(err)
		}
		for i, size := range sizes {
			piece := make([]byte, size)
			if _, err := io.ReadFull(res.Body, piece); err != nil {
				t.Fatalf("piece %d: %v", i, err)
			}
			if !bytes.Equal(piece, bytes.Repeat([]byte{byte(i)}, size)) {
				t.Fatalf("piece %d came with other bytes", i)
			}
			got <- true
		}
		if rest, err := io.ReadAll(res.Body); len(rest) > 0 || err != nil {
			t.Errorf("%d bytes more, %v", len(rest), err)
		}
		res.Body.Close()
	}
}

// An answer that breaks off after large pieces does not look complete.
func TestAnswerCutShort(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Write(make([]byte, 300<<10))
		http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}))
	defer server.Close()
	g := open(t, to(server.Listener.Addr().String()))
	_, port, _ := net.SplitHostPort(g.addr)
	res, err := g.client.Get("http://web.home.localhost:" + port)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if n, err := io.Copy(io.Discard, res.Body); err == nil {
		t.Errorf("%d bytes without an error", n)
	}
}

// To a client of HTTP 1.0 the end of the connection is that of an answer without a length:
// one that breaks off resets it, whether the server is lost or the gateway ends; one that is
// whole does not.
func TestAnswerCutShortForOldClients(t *testing.T) {
	started := make(chan struct{}, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Write(make([]byte, 300<<10))
		http.NewResponseController(w).Flush()
		switch r.URL.Path {
		case "/cut":
			panic(http.ErrAbortHandler)
		case "/waits":
			started <- struct{}{}
			<-r.Context().Done()
		}
	}))
	defer server.Close()
	for path, whole := range map[string]bool{"/": true, "/cut": false, "/waits": false} {
		t.Run(path, func(t *testing.T) {
			g := open(t, to(server.Listener.Addr().String()))
			conn, err := net.Dial("tcp", g.addr)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			fmt.Fprintf(conn, "GET %s HTTP/1.0\r\nHost: web.home.localhost\r\n\r\n", path)
			if path == "/waits" {
				var ending sync.WaitGroup
				defer ending.Wait()
				ending.Go(func() { <-started; g.stop() })
			}
			n, err := io.Copy(io.Discard, conn)
			if (err == nil) != whole || whole && n < 300<<10 {
				t.Errorf("%d bytes, %v; want the end to be a good one: %v", n, err, whole)
			}
		})
	}
}
