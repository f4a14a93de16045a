package proxy_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"peerway/proxy"
)

// village is a table of three peers, one of them offline.
func village() *proxy.Routes {
	r := new(proxy.Routes)
	r.SetPeer("home", true, []proxy.Entry{{"cam", "rtsp"}, {"web", "http"}})
	r.SetPeer("office", true, []proxy.Entry{{"cam", "rtsp"}, {"wiki", "https"}})
	r.SetPeer("farm", false, []proxy.Entry{{"gate", "rtsp"}})
	return r
}

func TestLookup(t *testing.T) {
	home, office := proxy.Target{Peer: "home", Service: "web"}, proxy.Target{Peer: "office", Service: "wiki"}
	found := map[string]proxy.Target{
		"home/web":                home,
		"HOME/Web":                home,
		"web.home.localhost":      home,
		"web.home.localhost:7480": home,
		"web.home.localhost.":     home,
		"Web.Home.LocalHost:80":   home,
		"web.localhost":           home,
		"web.localhost:7480":      home,
		"web":                     home,
		"web:7480":                home,
		"wiki":                    office,
		"cam.office.localhost":    {Peer: "office", Service: "cam"},
	}
	r := village()
	for name, want := range found {
		got, scheme, err := r.Lookup(name)
		if got != want || scheme == "" || err != nil {
			t.Errorf("Lookup(%q) = %v, %q, %v; want %v", name, got, scheme, err, want)
		}
	}
}

func TestLookupExplains(t *testing.T) {
	tests := []struct {
		name   string
		code   proxy.Code
		reason string
		fix    string
	}{
		{"cam", proxy.CodeUnknownName, `2 peers have a service "cam"`, "say which: home/cam, office/cam"},
		{"cam.localhost", proxy.CodeUnknownName, "2 peers", "home/cam"},
		{"wek", proxy.CodeUnknownName, `no peer has a service "wek"`, "did you mean web?"},
		{"zzzzz", proxy.CodeUnknownName, "no peer has", "there is cam, gate, web, wiki"},
		{"home/wbe", proxy.CodeUnknownName, `"home" has no service "wbe"`, "did you mean home/web?"},
		{"home/printer", proxy.CodeUnknownName, `has no service "printer"`, "there is home/cam, home/web"},
		{"hoem/web", proxy.CodeUnknownName, `no peer "hoem"`, "did you mean home?"},
		{"web/home", proxy.CodeUnknownName, `no peer "web"`, "did you mean home/web?"},
		{"home", proxy.CodeUnknownName, `"home" is a peer`, "there is home/cam, home/web"},
		{"", proxy.CodeUnknownName, "does not name a service", ""},
		{".localhost", proxy.CodeUnknownName, "does not name", ""},
		{"localhost", proxy.CodeUnknownName, "no peer has", ""},
		{"web..localhost", proxy.CodeUnknownName, "does not name", ""},
		{"a.web.home.localhost", proxy.CodeUnknownName, "does not name", ""},
		{"web.home", proxy.CodeUnknownName, "does not name", ""},
		{"web.home.example.com", proxy.CodeUnknownName, "does not name", ""},
		{"home/web/x", proxy.CodeUnknownName, "does not name", ""},
		{"-web", proxy.CodeUnknownName, "does not name", ""},
		{"<script>", proxy.CodeUnknownName, "does not name", ""},
		{strings.Repeat("a", 5000), proxy.CodeUnknownName, "does not name", ""},
	}
	r := village()
	for _, tt := range tests {
		_, _, err := r.Lookup(tt.name)
		e, ok := errors.AsType[*proxy.Error](err)
		if !ok {
			t.Errorf("Lookup(%.40q) = %v, want a *proxy.Error", tt.name, err)
			continue
		}
		if e.Code != tt.code || !strings.Contains(e.Reason, tt.reason) || !strings.Contains(e.Fix, tt.fix) || len(e.Error()) > 400 {
			t.Errorf("Lookup(%.40q) = %v %v; want %v, %q, %q", tt.name, e.Code, e, tt.code, tt.reason, tt.fix)
		}
	}
}

func TestLookupEmptyTable(t *testing.T) {
	_, _, err := new(proxy.Routes).Lookup("home/cam")
	if e, ok := errors.AsType[*proxy.Error](err); !ok || !strings.Contains(e.Fix, "nothing is offered yet") {
		t.Errorf("Lookup() = %v", err)
	}
}

func TestLookupPath(t *testing.T) {
	cam, wiki := proxy.Target{Peer: "home", Service: "cam"}, proxy.Target{Peer: "office", Service: "wiki"}
	tests := []struct {
		path   string
		target proxy.Target
		rest   string
		ok     bool
	}{
		{"/home/cam", cam, "", true},
		{"home/cam", cam, "", true},
		{"/home/cam/", cam, "/", true},
		{"/home/cam/trackID=1", cam, "/trackID=1", true},
		{"/home/cam/a/b", cam, "/a/b", true},
		{"/wiki", wiki, "", true},
		{"/wiki/trackID=1", wiki, "/trackID=1", true},
		{"/wiki/a/b", wiki, "/a/b", true},
		{"/wiki/", wiki, "/", true},
		{"/cam", proxy.Target{}, "", false}, // two peers have it
		{"/home", proxy.Target{}, "", false},
		{"/home/", proxy.Target{}, "", false},
		{"/", proxy.Target{}, "", false},
		{"", proxy.Target{}, "", false},
		{"/nobody/cam/x", proxy.Target{}, "", false},
	}
	r := village()
	for _, tt := range tests {
		target, _, rest, err := r.LookupPath(tt.path)
		if (err == nil) != tt.ok || tt.ok && (target != tt.target || rest != tt.rest) {
			t.Errorf("LookupPath(%q) = %v, %q, %v; want %v, %q", tt.path, target, rest, err, tt.target, tt.rest)
		}
	}
}

func TestRoutesFollowPresence(t *testing.T) {
	r := village()
	r.SetPeer("home", false, nil) // what it offered is still known
	for name, scheme := range map[string]string{"web": "http", "home/web": "http", "home/new": "", "farm/gate": "rtsp"} {
		if _, got, err := r.Lookup(name); err != nil || got != scheme {
			t.Errorf("Lookup(%s) of an offline peer = %q, %v; want it to be tried", name, got, err)
		}
	}
	r.SetPeer("home", true, []proxy.Entry{{"web2", "http"}})
	if target, _, err := r.Lookup("web2"); err != nil {
		t.Errorf("Lookup(web2) = %v, %v", target, err)
	}
	if _, _, err := r.Lookup("home/web"); err == nil {
		t.Error("a service that is gone is still found")
	}
	if target, _, err := r.Lookup("cam"); err != nil || target.Peer != "office" {
		t.Errorf("Lookup(cam) = %v, %v: it is unique now", target, err)
	}
	r.RemovePeer("office")
	if _, _, err := r.Lookup("office/cam"); err == nil {
		t.Error("a peer that is gone is still found")
	}
}

// TestRoutesOfSilentPeers tries peers of which nobody has said yet what they offer.
func TestRoutesOfSilentPeers(t *testing.T) {
	r := new(proxy.Routes)
	r.SetPeer("home", false, nil)
	for _, name := range []string{"home/web", "web.home.localhost:7480"} {
		if target, scheme, err := r.Lookup(name); err != nil || scheme != "" || target != (proxy.Target{Peer: "home", Service: "web"}) {
			t.Errorf("Lookup(%s) = %v, %q, %v; want it to be tried", name, target, scheme, err)
		}
	}
	if target, _, rest, err := r.LookupPath("/home/cam/trackID=1"); err != nil || target.Service != "cam" || rest != "/trackID=1" {
		t.Errorf("LookupPath() = %v, %q, %v", target, rest, err)
	}
	for _, name := range []string{"nobody/web", "web", "home"} {
		if _, _, err := r.Lookup(name); err == nil {
			t.Errorf("%s is tried", name)
		}
	}
}

func TestRoutesBoundHostilePeers(t *testing.T) {
	r := new(proxy.Routes)
	entries := []proxy.Entry{{"<b>", "http"}, {"", "http"}, {"a.b", "http"}, {strings.Repeat("x", 33), "http"}}
	for i := range 1000 {
		entries = append(entries, proxy.Entry{Name: fmt.Sprintf("s%d", i), Scheme: "http"})
	}
	r.SetPeer("home", true, entries)
	r.SetPeer("no/good", true, entries)
	if got := len(r.List()); got != 256 {
		t.Errorf("%d routes, want 256", got)
	}
}

func TestList(t *testing.T) {
	var got strings.Builder
	for _, route := range village().List() {
		fmt.Fprintf(&got, "%v %s online=%v\n", route.Target, route.Scheme, route.Online)
	}
	want := `farm/gate rtsp online=false
home/cam rtsp online=true
home/web http online=true
office/cam rtsp online=true
office/wiki https online=true
`
	if got.String() != want {
		t.Errorf("List() =\n%s\nwant\n%s", got.String(), want)
	}
}

func FuzzLookup(f *testing.F) {
	for _, name := range []string{"home/web", "web.home.localhost:7480", "web", "", "..", "a/b/c", "farm/gate", "[::1]:80"} {
		f.Add(name)
	}
	r := village()
	f.Fuzz(func(t *testing.T, name string) {
		target, scheme, err := r.Lookup(name)
		if err != nil {
			if _, ok := errors.AsType[*proxy.Error](err); !ok || len(err.Error()) > 1000 {
				t.Errorf("Lookup(%q) = %v", name, err)
			}
		} else if again, s, err := r.Lookup(target.String()); again != target || s != scheme || err != nil {
			t.Errorf("Lookup(%q) = %v, but Lookup(%v) = %v, %v", name, target, target, again, err)
		}
		if _, _, rest, err := r.LookupPath(name); err == nil && !strings.HasSuffix(name, rest) {
			t.Errorf("LookupPath(%q): rest %q", name, rest)
		}
	})
}
