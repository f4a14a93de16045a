package integration_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"peerway/integration/natlab"
)

// A placeWith is a place whose programs have more in their environment.
type placeWith struct {
	place
	environment []string
}

func (p placeWith) Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := p.place.Command(ctx, name, args...)
	cmd.Env = append(os.Environ(), p.environment...)
	return cmd
}

// startProxy starts an HTTP proxy at an address of a host, which knows CONNECT only, and
// returns its URL and how often it was used.
func startProxy(t testing.TB, on *natlab.Host, addr netip.Addr) (url string, used func() int) {
	t.Helper()
	var ln net.Listener
	err := on.Do(func() (err error) {
		ln, err = net.Listen("tcp", netip.AddrPortFrom(addr, 3128).String())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	count := 0
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		count++
		mu.Unlock()
		connectThrough(on, w, r)
	})}
	done := make(chan error)
	go func() { done <- server.Serve(ln) }()
	t.Cleanup(func() { server.Close(); <-done })
	return "http://" + ln.Addr().String(), func() int {
		mu.Lock()
		defer mu.Unlock()
		return count
	}
}

// connectThrough carries out one CONNECT.
func connectThrough(on *natlab.Host, w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodConnect {
		http.Error(w, "this proxy knows CONNECT only", http.StatusMethodNotAllowed)
		return
	}
	var server net.Conn
	// Names mean something to programs in the lab only.
	address := strings.Replace(r.Host, natlab.SignalName, "203.0.113.10", 1)
	err := on.Do(func() (err error) {
		server, err = net.Dial("tcp", address)
		return err
	})
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer server.Close()
	client, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		return
	}
	defer client.Close()
	if _, err := io.WriteString(client, "HTTP/1.1 200 OK\r\n\r\n"); err != nil {
		return
	}
	var back sync.WaitGroup
	back.Go(func() {
		io.Copy(client, server)
		client.Close()
	})
	io.Copy(server, client)
	server.Close()
	back.Wait()
}

// TestHTTPProxy puts the gateway where nothing passes but an HTTP proxy.
func TestHTTPProxy(t *testing.T) {
	need(t, "nginx", "curl")
	lab := natlab.New(t)
	_, signalURL := startSignal(t, lab.Signal, lab.Signal.Addr().String()+":7443")
	home := lab.Site(natlab.SiteConfig{Kind: natlab.PortRestricted})
	web, hash := startWeb(t, home.LAN, home.LAN.Addr().String())
	_, code := expose(t, home.LAN, signalURL, "home", "web="+web)

	proxy := lab.Host()
	url, used := startProxy(t, proxy, proxy.Addr())
	away := lab.Site(natlab.SiteConfig{Kind: natlab.PortRestricted})
	away.OnlyTo(proxy)
	inside := placeWith{away.LAN, []string{"HTTPS_PROXY=" + url}}
	gateway := connect(t, inside, code)
	wantFile(t, away.LAN, gateway.url("home", "web")+"/large", hash)
	if path := gateway.path(); path != "relay-ws" || used() == 0 {
		t.Errorf("the path is %q, and the proxy was used %d times", path, used())
	}
	if out, code := gateway.asks(inside, "netcheck"); code != 0 {
		t.Errorf("netcheck ends with %d: %s", code, out)
	}
}
