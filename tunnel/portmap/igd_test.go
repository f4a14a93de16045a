package portmap

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

// A box is a UPnP router at 127.0.0.2.
type box struct {
	*httptest.Server
	search netip.AddrPort
	router router // how it is seen from 127.0.0.1

	location    string // told in the search; "" is its own
	description string // "" is a good one
	control     string // "" is its own
	moves       bool   // answers requests with a redirection
	waits       func() // called before it answers a search; nil: nobody is

	mu       sync.Mutex
	faults   []int    // of the next actions that are to add a mapping
	actions  []string // what it was asked for
	entry    [2]string
	external string
}

// newBox starts a router that answers searches at an address.
func newBox(t *testing.T, at string, change func(*box)) *box {
	t.Helper()
	ln, err := net.Listen("tcp", at+":0")
	if err != nil {
		t.Skip(err) // systems have 127.0.0.1 only, but Linux
	}
	b := &box{external: outside.Addr().String()}
	b.Server = &httptest.Server{Listener: ln, Config: &http.Server{Handler: b}}
	b.Start()
	t.Cleanup(b.Close)
	if change != nil {
		change(b)
	}
	search := serveUDP(t, at, func([]byte) [][]byte {
		if b.waits != nil {
			b.waits()
		}
		return [][]byte{[]byte("nonsense"), found(cmp.Or(b.location, b.URL+"/root.xml"))}
	})
	b.search = search
	b.router = loopback(search)
	b.router.ssdp = [2]netip.AddrPort{search, search}
	return b
}

// ServeHTTP implements [http.Handler].
func (b *box) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if b.moves {
		http.Redirect(w, r, "http://127.0.0.1:1/", http.StatusTemporaryRedirect)
		return
	}
	if r.Method == http.MethodGet {
		io.WriteString(w, cmp.Or(b.description, describing("", cmp.Or(b.control, "/control"))))
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	body, _ := io.ReadAll(r.Body)
	_, action, _ := strings.Cut(strings.Trim(r.Header.Get("SOAPAction"), `"`), "#")
	argument := func(name string) string {
		m := regexp.MustCompile("<" + name + ">(.*)</" + name + ">").FindSubmatch(body)
		if m == nil {
			return "?"
		}
		return string(m[1])
	}
	answer, fault := "", 0
	switch action {
	case "GetExternalIPAddress":
		answer = "<NewExternalIPAddress>" + b.external + "</NewExternalIPAddress>"
	case "AddPortMapping":
		b.actions = append(b.actions, "add "+argument("NewExternalPort")+" for "+argument("NewLeaseDuration"))
		if len(b.faults) > 0 {
			fault, b.faults = b.faults[0], b.faults[1:]
			break
		}
		b.entry = [2]string{argument("NewInternalClient"), argument("NewInternalPort")}
	case "GetSpecificPortMappingEntry":
		answer = fmt.Sprintf("<NewInternalClient>%s</NewInternalClient><NewInternalPort>%s</NewInternalPort>", b.entry[0], b.entry[1])
		if b.entry[0] == "" {
			fault = 714
		}
	case "DeletePortMapping":
		b.actions = append(b.actions, "delete "+argument("NewExternalPort"))
		b.entry = [2]string{}
	}
	envelope := `<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body>%s</s:Body></s:Envelope>`
	if fault != 0 {
		w.WriteHeader(http.StatusInternalServerError)
		fmt.Fprintf(w, envelope, fmt.Sprintf(`<s:Fault><faultcode>s:Client</faultcode><faultstring>UPnPError</faultstring>`+
			`<detail><UPnPError xmlns="urn:schemas-upnp-org:control-1-0"><errorCode>%d</errorCode></UPnPError></detail></s:Fault>`, fault))
		return
	}
	fmt.Fprintf(w, envelope, "<u:"+action+`Response xmlns:u="urn:x">`+answer+"</u:"+action+"Response>")
}

// seen returns what the router was asked for since the last time.
func (b *box) seen() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := strings.Join(b.actions, ", ")
	b.actions = nil
	return all
}

func TestUPnP(t *testing.T) {
	b := newBox(t, "127.0.0.2", nil)
	ctx, cancel := context.WithTimeout(t.Context(), soon)
	defer cancel()
	s, external, err := b.router.findUPnP(ctx, soon)
	if err != nil || external != outside.Addr() {
		t.Fatalf("findUPnP() = %v, %v", external, err)
	}
	w := wish{port: 5000, external: netip.AddrPortFrom(netip.Addr{}, 5000), life: askLife}
	const random = "add [0-9]+ for 7200"
	for name, test := range map[string]struct {
		faults []int
		want   string
		life   time.Duration
	}{
		"good":           {nil, "add 5000 for 7200", askLife},
		"conflict":       {[]int{718, 718}, "add 5000 for 7200, " + random + ", " + random, askLife},
		"permanent":      {[]int{725}, "add 5000 for 7200, add 5000 for 0", 0},
		"invalid":        {[]int{402}, "add 5000 for 7200, add 5000 for 0", 0},
		"both":           {[]int{725, 718}, "add 5000 for 7200, add 5000 for 0, add [0-9]+ for 0", 0},
		"all taken":      {[]int{718, 718, 718, 718}, "add 5000 for 7200, " + random + ", " + random + ", " + random, -1},
		"not authorized": {[]int{606}, "add 5000 for 7200", -1},
		"never content":  {[]int{725, 725}, "add 5000 for 7200, add 5000 for 0", -1},
	} {
		b.faults = test.faults
		l, err := s.lease(ctx, w)
		if got := b.seen(); !regexp.MustCompile("^" + test.want + "$").MatchString(got) {
			t.Errorf("%s: the router was asked to %s", name, got)
		}
		if test.life < 0 {
			if !errors.As(err, new(refusal)) {
				t.Errorf("%s: lease() = %v, %v", name, l, err)
			}
			continue
		}
		if err != nil || l.life != test.life || l.external.Addr() != outside.Addr() {
			t.Errorf("%s: lease() = %v, %v", name, l, err)
		}
		if err := s.check(ctx, l); err != nil {
			t.Errorf("%s: check() = %v", name, err)
		}
		b.entry[0] = "127.0.0.3" // stolen
		if err := s.check(ctx, l); !errors.Is(err, errLost) {
			t.Errorf("%s: check() of a stolen mapping = %v", name, err)
		}
		if err := s.release(ctx, l); err != nil {
			t.Errorf("%s: release() = %v", name, err)
		}
		if got, want := b.seen(), fmt.Sprintf("delete %d", l.external.Port()); got != want {
			t.Errorf("%s: the router was asked to %s, want %s", name, got, want)
		}
		if err := s.check(ctx, l); err == nil {
			t.Errorf("%s: check() finds a deleted mapping", name)
		}
	}
}

// What is not known to be ours is not deleted.
func TestReleaseOfOthers(t *testing.T) {
	b := newBox(t, "127.0.0.2", nil)
	s, _, err := b.router.findUPnP(t.Context(), soon)
	if err != nil {
		t.Fatal(err)
	}
	doubtful := lease{port: 5000, external: netip.AddrPortFrom(netip.Addr{}, 5000)}
	for client, want := range map[string]string{"127.0.0.3": "", "127.0.0.1": "delete 5000"} {
		b.entry = [2]string{client, "5000"}
		s.release(t.Context(), doubtful)
		if got := b.seen(); got != want {
			t.Errorf("of a mapping to %s: the router was asked to %q, want %q", client, got, want)
		}
	}
}

// Routers that lead elsewhere, say too much or are too far away are none.
func TestHostileUPnP(t *testing.T) {
	elsewhere := newBox(t, "127.0.0.3", nil)
	for name, test := range map[string]struct {
		at     string
		change func(*box)
	}{
		"description elsewhere": {"127.0.0.2", func(b *box) { b.location = elsewhere.URL + "/root.xml" }},
		"control elsewhere":     {"127.0.0.2", func(b *box) { b.control = elsewhere.URL + "/control" }},
		"base elsewhere": {"127.0.0.2", func(b *box) {
			b.description = describing("<URLBase>"+elsewhere.URL+"</URLBase>", "/control")
		}},
		"redirection":    {"127.0.0.2", func(b *box) { b.moves = true }},
		"other subnet":   {"127.0.0.9", nil},
		"this host":      {"127.0.0.1", nil},
		"no description": {"127.0.0.2", func(b *box) { b.description = "no" }},
		"long description": {"127.0.0.2", func(b *box) {
			b.description = strings.Replace(describing("", "/control"), "<device>", "<device><!--"+strings.Repeat("x", maxBody)+"-->", 1)
		}},
		"long answer": {"127.0.0.2", func(b *box) { b.external = strings.Repeat("1", maxBody) }},
		"long header": {"127.0.0.2", func(b *box) { b.location = b.URL + "/" + strings.Repeat("x", maxPacket) }},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBox(t, test.at, test.change)
			if s, external, err := b.router.findUPnP(t.Context(), 3*askFirst); err == nil {
				t.Errorf("findUPnP() = %+v, %v", s, external)
			}
		})
	}
	elsewhere.Close()
	if len(elsewhere.actions) > 0 {
		t.Errorf("another host was asked to %v", elsewhere.actions)
	}
}

// A router that answers the search and then is silent costs a second at most.
func TestSilentUPnP(t *testing.T) {
	hang := make(chan struct{})
	b := newBox(t, "127.0.0.2", nil)
	defer close(hang)
	b.Config.Handler = http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-hang:
		case <-r.Context().Done():
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), 2*askFirst)
	defer cancel()
	if _, _, err := b.router.findUPnP(ctx, soon); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("findUPnP() = %v", err)
	}
}

// Whoever answers first does not hide the default gateway, whatever he says or does not say.
func TestSeveralUPnP(t *testing.T) {
	const public, none = "198.51.100.9", "0.0.0.0"
	for name, test := range map[string]struct {
		gateway, other string // external addresses
		change         func(other *box)
		want           string
	}{
		"other has none":     {outside.Addr().String(), none, nil, outside.Addr().String()},
		"other is public":    {outside.Addr().String(), public, nil, outside.Addr().String()},
		"gateway has none":   {none, public, nil, public},
		"none has any":       {none, "10.0.0.1", nil, none},
		"other is no router": {outside.Addr().String(), public, func(b *box) { b.description = "no" }, outside.Addr().String()},
	} {
		t.Run(name, func(t *testing.T) {
			asked := make(chan struct{})
			var once sync.Once
			other := newBox(t, "127.0.0.3", func(b *box) {
				b.external = test.other
				if test.change != nil {
					test.change(b)
				}
				b.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					b.ServeHTTP(w, r)
					once.Do(func() { close(asked) })
				})
			})
			gateway := newBox(t, "127.0.0.2", func(b *box) {
				b.external, b.waits = test.gateway, func() { <-asked }
			})
			r := gateway.router
			r.ssdp[1] = other.search
			_, external, err := r.findUPnP(t.Context(), 3*askFirst)
			if err != nil || external.String() != test.want {
				t.Errorf("findUPnP() = %v, %v, want %s", external, err, test.want)
			}
		})
	}
}

// A device that hangs holds up neither the default gateway nor, once the time for answers is
// over, any other that has a public address.
func TestHangingUPnP(t *testing.T) {
	asked, hang := make(chan struct{}), make(chan struct{})
	var once sync.Once
	other := newBox(t, "127.0.0.3", func(b *box) {
		b.Config.Handler = http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			once.Do(func() { close(asked) })
			select {
			case <-hang:
			case <-r.Context().Done():
			}
		})
	})
	defer close(hang)
	gateway := newBox(t, "127.0.0.2", func(b *box) { b.waits = func() { <-asked } })
	r := gateway.router
	r.ssdp[1] = other.search
	for name, at := range map[string]netip.AddrPort{"gateway": r.gateway, "other": netip.MustParseAddrPort("127.0.0.4:1")} {
		r.gateway = at
		begun := time.Now()
		_, external, err := r.findUPnP(t.Context(), 3*askFirst)
		if took := time.Since(begun); err != nil || external != outside.Addr() || took > deviceIn {
			t.Errorf("%s: findUPnP() = %v, %v after %v", name, external, err, took)
		}
	}
}

// No device can keep others out by telling of many descriptions, nor can many devices the
// default gateway.
func TestAnswers(t *testing.T) {
	followed := func(a answers, host string, path int, gateway bool) bool {
		at := &url.URL{Scheme: "http", Host: host, Path: fmt.Sprint("/", path)}
		return a.add(netip.MustParseAddr(host), at, gateway)
	}
	a, n := make(answers), 0
	for i := range 100 {
		for range 2 {
			if followed(a, "127.0.0.3", i, false) {
				n++
			}
		}
	}
	if n != maxDescriptions {
		t.Errorf("%d descriptions of one device are followed up, want %d", n, maxDescriptions)
	}
	for i := range 100 {
		if followed(a, fmt.Sprint("127.0.1.", i), 0, false) {
			n++
		}
	}
	if want := maxDescriptions + maxRouters - 1; n != want {
		t.Errorf("%d descriptions of many devices are followed up, want %d", n, want)
	}
	if !followed(a, "127.0.0.2", 0, true) {
		t.Error("the default gateway is kept out")
	}
}
