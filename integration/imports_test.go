package integration_test

import (
	"slices"
	"strconv"
	"strings"
	"testing"
)

// directions names, for each folder, the packages outside of it that its
// packages may import. "..." stands for any package below. What is not listed
// is refused.
var directions = map[string][]string{
	"signal":      {},
	"tunnel":      {"signal", "signal/datagram", "signal/relay"},
	"proxy":       {},
	"httpx":       {"proxy"},
	"rtsp":        {"proxy"},
	"cmd":         {"signal...", "tunnel...", "proxy...", "httpx...", "rtsp..."},
	"integration": {"signal...", "tunnel...", "proxy...", "httpx...", "rtsp..."},
}

// vocabularies import nothing of ours at all.
var vocabularies = []string{"signal", "proxy"}

// homes names the only folder whose product code, there and below, uses a
// library: the place to replace it. An empty one means tests only.
var homes = map[string]string{
	"github.com/apernet/quic-go":           "tunnel",
	"github.com/bluenviron/gortsplib/v4":   "rtsp",
	"github.com/bluenviron/mediacommon/v2": "rtsp",
	"github.com/gorilla/websocket":         "signal",
	"github.com/hashicorp/yamux":           "tunnel/lane",
	"github.com/huin/goupnp":               "tunnel/portmap",
	"github.com/pion/ice/v3":               "tunnel/punch",
	"github.com/rogpeppe/go-internal":      "",
	"github.com/spf13/cobra":               "cmd",
	"github.com/vishvananda/netlink":       "integration/natlab",
	"go.uber.org/goleak":                   "integration/leak",
}

func TestImportDirections(t *testing.T) {
	for _, s := range sources(t) {
		for _, spec := range s.file.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				t.Fatalf("%s: %v", s.line(spec), err)
			}
			if ours, ok := strings.CutPrefix(imported, module+"/"); ok {
				if !mayImport(s, ours) {
					t.Errorf("%s: %s may not import %s", s.line(spec), s.folder(), ours)
				}
				continue
			}
			if home, ok := homeOf(imported); ok && !s.isTest() && !isBelow(s.folder(), home) {
				t.Errorf("%s: only %q and below may import %s", s.line(spec), home, imported)
			}
		}
	}
}

// mayImport reports whether the file may import the package of ours.
func mayImport(s source, ours string) bool {
	if strings.HasPrefix(ours, "integration/") {
		return s.isTest()
	}
	if ours == s.folder() && s.isTest() {
		return true // a black-box test of its own package
	}
	if slices.Contains(vocabularies, s.folder()) {
		return false
	}
	if isBelow(ours, s.top()) {
		return true
	}
	return slices.ContainsFunc(directions[s.top()], func(allowed string) bool {
		prefix, below := strings.CutSuffix(allowed, "...")
		return ours == prefix || below && isBelow(ours, prefix)
	})
}

func homeOf(imported string) (home string, ok bool) {
	for library, home := range homes {
		if isBelow(imported, library) {
			return home, true
		}
	}
	return "", false
}

// isBelow reports whether path is top or in a folder below it.
func isBelow(path, top string) bool {
	return path == top || strings.HasPrefix(path, top+"/")
}
