// Package site is the small web site that the demo shows through the tunnel: a
// page, and a clock that ticks to show that the connection is live.
//
// # Ownership
//
// The package opens nothing. A handler ends when its request's context does.
package site

import (
	"embed"
	"encoding/json"
	"fmt"
	"io/fs"
	"net/http"
	"time"
)

//go:embed files
var files embed.FS

// Handler returns the site. Safe for concurrent use.
func Handler() http.Handler {
	pages, err := fs.Sub(files, "files")
	if err != nil { // the name is a constant
		panic(err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /", http.FileServerFS(pages))
	mux.HandleFunc("GET /clock", clock)
	mux.HandleFunc("GET /request", request)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'self'; frame-ancestors 'none'; base-uri 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		mux.ServeHTTP(w, r)
	})
}

// clock sends the time of this machine, twice a second, as server-sent events.
func clock(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	flush := http.NewResponseController(w)
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for now := time.Now(); ; {
		if _, err := fmt.Fprintf(w, "data: %s\n\n", now.UTC().Format(time.RFC3339Nano)); err != nil {
			return
		}
		if flush.Flush() != nil {
			return
		}
		select {
		case now = <-tick.C:
		case <-r.Context().Done():
			return
		}
	}
}

// request tells the client what arrived here of its request.
func request(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	json.NewEncoder(w).Encode(map[string]string{
		"from":      r.RemoteAddr,
		"host":      r.Host,
		"forwarded": r.Header.Get("X-Forwarded-Host"),
		"agent":     r.UserAgent(),
	})
}
