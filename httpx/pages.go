package httpx

import (
	"bytes"
	"encoding/json"
	"fmt"
	"html/template"
	"net/http"
	"strings"
	"unicode"
	"unicode/utf8"

	"peerway/proxy"
)

const style = `<meta charset="utf-8"><meta name="viewport" content="width=device-width">
<style>
:root { color-scheme: light dark }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 44rem; margin: 10vh auto; padding: 0 1rem }
h1 { font-size: 1.4rem }
ol { list-style: none; padding: 0; display: flex; flex-wrap: wrap; gap: .4rem }
li { border: 1px solid #8888; border-radius: .5rem; padding: .2rem .6rem }
.ok::before { content: "✔ "; color: #2a2 } .failed { border-color: #d33 } .failed::before { content: "✘ "; color: #d33 }
.untried { opacity: .5 }
table { border-spacing: 0 .3rem } td { padding-right: 2rem }
small { opacity: .7 }
</style>
`

const errorPage = `<!doctype html><html lang="en"><title>{{.Status}} {{.Title}}</title>
` + style + `
<h1>{{.Title}}</h1>
<p>{{if .Name}}<b>{{.Name}}</b>: {{end}}{{.Reason}}.</p>
{{if .Fix}}<p>{{sentence .Fix}}</p>
{{end}}<ol>{{range .Hops}}<li class="{{.State}}">{{.Name}}</li>{{end}}</ol>
<p><small>Peerway · {{.Code}} · failed at the {{.Hop}}{{if .List}} · <a href="{{.List}}">all services</a>{{end}}</small></p>
`

const indexPage = `<!doctype html><html lang="en"><title>Peerway</title>
` + style + `
<h1>Peerway</h1>
{{if .}}<p>Web sites open here, cameras in a player such as VLC or ffplay.</p>
<table>
{{range .}}<tr><td>{{.Name}}<td>{{if .Link}}<a href="{{.URL}}">{{.URL}}</a>{{else}}<code>{{.URL}}</code>{{end}}<td>{{if not .Online}}offline{{end}}
{{end}}</table>
{{else}}<p>No peer offers anything yet. Run <code>peerway expose</code> beside a camera or a web server.</p>
{{end}}`

// pages are the gateway's own pages.
type pages struct{ err, index *template.Template }

func parsePages() (*pages, error) {
	e, err := template.New("error").Funcs(template.FuncMap{"sentence": sentence}).Parse(errorPage)
	if err != nil {
		return nil, err
	}
	i, err := template.New("index").Parse(indexPage)
	if err != nil {
		return nil, err
	}
	return &pages{err: e, index: i}, nil
}

// sentence makes a sentence of advice, which is written as the part of one.
func sentence(advice string) string {
	first, size := utf8.DecodeRuneInString(advice)
	text := string(unicode.ToUpper(first)) + advice[size:]
	if strings.HasSuffix(text, "?") || strings.HasSuffix(text, "/") { // a dot would seem to belong to a URL
		return text
	}
	return text + "."
}

// A failure is what a page or a program is told of an error.
type failure struct {
	Status  int    `json:"status"`
	Code    string `json:"code"`
	Hop     string `json:"hop"`
	Peer    string `json:"peer,omitempty"`
	Service string `json:"service,omitempty"`
	Reason  string `json:"reason"`
	Fix     string `json:"fix,omitempty"`
	Title   string `json:"-"`
	Name    string `json:"-"`
	Hops    []hop  `json:"-"`
	List    string `json:"-"` // URL of the list of services, if it can be told
}

// A hop is a station on the way from the browser to the web server.
type hop struct{ Name, State string }

func newFailure(status int, e *proxy.Error) failure {
	f := failure{
		Status: status, Code: e.Code.String(), Hop: string(e.Hop),
		Peer: e.Target.Peer, Service: e.Target.Service, Reason: e.Reason, Fix: e.Fix,
		Title: http.StatusText(status), Name: strings.Trim(e.Target.String(), "/"),
		Hops: []hop{{"browser", "ok"}},
	}
	state := "ok"
	for _, h := range []proxy.Hop{proxy.HopGateway, proxy.HopSignal, proxy.HopPath, proxy.HopPeer, proxy.HopServer} {
		switch {
		case h == e.Hop:
			state = "failed"
		case state == "failed":
			state = "untried"
		case h == proxy.HopPath && e.Code == proxy.CodePeerOffline:
			f.Hops = append(f.Hops, hop{string(h), "untried"}) // there is nobody at its other end
			continue
		}
		f.Hops = append(f.Hops, hop{string(h), state})
	}
	return f
}

// writeError answers r with e, in the form that it accepts.
func (p *pages) writeError(w http.ResponseWriter, r *http.Request, status int, e *proxy.Error) {
	f := newFailure(status, e)
	var body bytes.Buffer
	switch form := formOf(r.Header.Get("Accept")); form {
	case "text/html":
		if localName(r.Host) != "" {
			f.List = "http://localhost" + portOf(r.Host) + "/"
		}
		if err := p.err.Execute(&body, f); err != nil {
			panic(err) // a mistake in our own template
		}
		write(w, status, form, body.Bytes())
	case "application/json":
		b, err := json.Marshal(f)
		if err != nil {
			panic(err) // strings and numbers
		}
		write(w, status, form, append(b, '\n'))
	default:
		fmt.Fprintf(&body, "%d %s\n%s\n", status, f.Title, e)
		write(w, status, form, body.Bytes())
	}
}

// formOf returns the media type of an error page for an Accept header: what a
// person reads if both will do.
func formOf(accept string) string {
	switch accept = strings.ToLower(accept); {
	case strings.Contains(accept, "text/html"):
		return "text/html"
	case strings.Contains(accept, "application/json"), strings.Contains(accept, "+json"):
		return "application/json"
	}
	return "text/plain"
}

// index lists the services that can be opened.
func (g *gateway) index(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/" {
		g.fail(w, r, &proxy.Error{
			Code: proxy.CodeUnknownName, Hop: proxy.HopGateway,
			Reason: "there is only the list of services here, at /",
			Fix:    "services are at http://SERVICE.PEER.localhost" + portOf(r.Host) + "/",
		})
		return
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		g.failWith(w, r, http.StatusMethodNotAllowed, &proxy.Error{
			Code: proxy.CodeOther, Hop: proxy.HopGateway, Reason: "the list of services can only be read",
		})
		return
	}
	type row struct {
		Name, URL string
		Link      bool
		Online    bool
	}
	var rows []row
	for _, route := range g.routes.List() {
		line := row{Name: route.Target.String(), Online: route.Online}
		if route.Scheme == "rtsp" || route.Scheme == "rtsps" {
			line.URL = g.camera(route.Target)
		} else {
			line.URL = "http://" + hostOf(route.Target) + ".localhost" + portOf(r.Host) + "/"
			line.Link = true
		}
		rows = append(rows, line)
	}
	var body bytes.Buffer
	if err := g.pages.index.Execute(&body, rows); err != nil {
		panic(err) // a mistake in our own template
	}
	write(w, http.StatusOK, "text/html", body.Bytes())
}

// write answers with one of the gateway's own pages.
func write(w http.ResponseWriter, status int, form string, body []byte) {
	h := w.Header()
	h.Set("Content-Type", form+"; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'")
	w.WriteHeader(status)
	w.Write(body) // an error here is the viewer's, who is gone
}
