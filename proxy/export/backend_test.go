package export_test

import (
	"context"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"peerway/proxy"
	"peerway/proxy/export"
)

func TestParseURL(t *testing.T) {
	more := map[string]export.Parser{"zip": nil, "rtsp": func(raw string) (export.Backend, error) {
		if !strings.HasPrefix(raw, "rtsp://admin:Secret@") {
			t.Errorf("the parser is given %q", raw)
		}
		return new(recorder), nil
	}}
	good := map[string]string{
		"http://192.168.1.9":            "http",
		"http://192.168.1.9:8080/":      "http",
		"HTTP://nas.lan":                "http",
		"https://nas.lan":               "https",
		"https+insecure://nas.lan:8443": "https",
		"http://[fe80::1]:22":           "http",
		"rtsp://admin:Secret@cam/1":     "rtsp",
		"RTSP://admin:Secret@cam/1":     "rtsp",
	}
	for raw, want := range good {
		if b, scheme, err := export.ParseURL(raw, more); scheme != want || b == nil || err != nil {
			t.Errorf("ParseURL(%q) = %v, %q, %v; want %q", raw, b, scheme, err, want)
		}
	}
	bad := map[string]string{
		"":                           "not a URL",
		"192.168.1.9:80":             "not a URL",
		"ftp://host":                 "want http, https, https+insecure, rtsp, zip",
		"tcp://host:22":              "unknown scheme", // no gateway could reach it
		"http://":                    "host is missing",
		"http://:80":                 "host is missing",
		"http://host:0":              "port is not",
		"http://host:65536":          "port is not",
		"http://host:secret":         "malformed",
		"http://u:secret@host":       "user name and password",
		"http://u:sec%zzret@host":    "malformed",
		"http://host/secret":         "a path is not supported",
		"http://host?secret":         "a path is not supported",
		"http://host/#secret":        "a path is not supported",
		"http://secret\x00host":      "malformed",
		"https+insecure+x://secret/": "unknown scheme",
	}
	for raw, want := range bad {
		_, _, err := export.ParseURL(raw, more)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("ParseURL(%q) = %v, want %q", raw, err, want)
		}
	}
}

func FuzzParseURL(f *testing.F) {
	for _, raw := range []string{"http://host:80", "https+insecure://[::1]", "http://u:p@h", "://", "http://%zz"} {
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		b, scheme, err := export.ParseURL(raw, nil)
		if err == nil && (b == nil || scheme != "http" && scheme != "https") {
			t.Errorf("ParseURL(%q) = %v, %q", raw, b, scheme)
		}
	})
}

func TestDialInWords(t *testing.T) {
	plain := httptest.NewServer(http.NotFoundHandler())
	defer plain.Close()
	secure := httptest.NewUnstartedServer(http.NotFoundHandler())
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	secure.StartTLS()
	defer secure.Close()
	rude, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	rudeDone := make(chan struct{})
	go func() {
		defer close(rudeDone)
		for {
			c, err := rude.Accept()
			if err != nil {
				return
			}
			c.Close()
		}
	}()
	defer func() { rude.Close(); <-rudeDone }()
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	refusing := gone.Addr().String()
	gone.Close()

	tests := map[string]string{
		"http://" + refusing:                                  "connection refused by " + refusing,
		"http://no-such-name.invalid":                         "the name no-such-name.invalid",
		"https://" + plain.Listener.Addr().String():           "does not speak TLS",
		"https://" + secure.Listener.Addr().String():          "is not trusted: its issuer is unknown",
		"https://" + rude.Addr().String():                     "closed the connection at once",
		"http://" + plain.Listener.Addr().String():            "",
		"https+insecure://" + secure.Listener.Addr().String(): "",
	}
	for url, want := range tests {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		err := backend(t, url).Check(ctx)
		cancel()
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("Check of %s = %v, want %q", url, err, want)
		}
	}
}

// An address that drops every packet: a listener whose queue is full.
func TestDialBlackHole(t *testing.T) {
	addr := blackHoleAddr(t)
	e := exporter(t, "http://"+addr)
	e.DialTimeout = 200 * time.Millisecond
	_, in, done := open(t, t.Context(), e, "web")
	<-done
	if want := "no answer from " + addr + " within 0"; in.code != proxy.CodeUpstream || !strings.HasPrefix(in.text, want) {
		t.Errorf("answered %v %q, want %q", in.code, in.text, want)
	}
}

func TestServeTLSServer(t *testing.T) {
	secure := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, r.Proto+" under TLS")
	}))
	defer secure.Close()
	e := exporter(t, "https+insecure://"+secure.Listener.Addr().String())
	gateway, _, done := open(t, t.Context(), e, "web")
	io.WriteString(gateway, "GET / HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n")
	got, err := io.ReadAll(gateway)
	if !strings.HasSuffix(string(got), "HTTP/1.1 under TLS") || err != nil {
		t.Errorf("read %q, %v", got, err)
	}
	gateway.Close()
	<-done
}
