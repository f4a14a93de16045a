package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"

	"peerway/signal"
)

const configExample = `  # peerway.yaml; every key is optional, but one of expose and gateway must be there
  name: home                              # default: what it was last time, or the host name
  signal: peerway://203.0.113.10:7443/…   # default: what it was last time
  expose:
    cam: rtsp://admin:secret@192.168.1.20:554/stream1
    web: http://192.168.1.1:80
  gateway:
    http: 127.0.0.1:7480
    rtsp: 127.0.0.1:8554`

// A config is what the configuration file says.
type config struct {
	name     string
	signal   signal.URL
	services []service
	gateway  *listen // nil: no gateway
}

// listen is where a gateway listens. Each address takes HTTP and RTSP.
type listen struct {
	http, rtsp string
	settings   string // that choose them
}

// instead tells a person what to do about an address that cannot be used.
func (at *listen) instead() string { return "choose another address with " + at.settings }

func defaultListen() listen {
	return listen{http: "127.0.0.1:7480", rtsp: "127.0.0.1:8554", settings: "--http and --rtsp"}
}

// readConfig reads the file at path. Its error lists every mistake with file and
// line, and repeats no URL: they hold passwords.
func readConfig(path string) (config, error) {
	content, err := readAtMost(path, maxConfig)
	if errors.Is(err, fs.ErrNotExist) {
		return config{}, fail(exitConfig, "there is no configuration file %s: write one (peerway up --help shows how), or name yours with --config", path)
	}
	if err != nil {
		return config{}, fail(exitConfig, "read the configuration: %w", err)
	}
	c, mistakes := parseConfig(content)
	if len(mistakes) == 0 {
		return c, nil
	}
	errs := make([]error, len(mistakes))
	for i, m := range mistakes {
		errs[i] = fmt.Errorf("%s:%d: %s", path, m.line, m.text)
	}
	return config{}, fail(exitConfig, "%w", errors.Join(errs...))
}

// maxConfig bounds a configuration file, in bytes: a device has no end.
const maxConfig = 1 << 20

// readAtMost returns the content of the file at path, which is an error if it is longer.
func readAtMost(path string, most int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && int64(len(content)) > most {
		err = fmt.Errorf("%s is longer than %d bytes", path, most)
	}
	return content, err
}

// readableByOthers reports whether other users can read the file at path.
func readableByOthers(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().Perm()&0o077 != 0 && runtime.GOOS != "windows"
}

// A mistake is something wrong in a configuration file.
type mistake struct {
	line int
	text string
}

// A reader collects what it finds in a document, and what is wrong there.
type reader struct {
	config   config
	mistakes []mistake
}

// parseConfig reads a configuration and reports every mistake in it.
func parseConfig(content []byte) (config, []mistake) {
	var document yaml.Node
	if len(bytes.TrimSpace(content)) == 0 {
		return config{}, []mistake{{1, "the file is empty"}}
	}
	if err := yaml.Load(content, &document); err != nil {
		return config{}, []mistake{syntaxMistake(err)}
	}
	r := &reader{}
	for _, root := range document.Content {
		r.read(root)
	}
	if len(r.config.services) == 0 && r.config.gateway == nil && len(r.mistakes) == 0 {
		r.wrong(&document, "neither expose nor gateway is there: nothing to do")
	}
	slices.SortStableFunc(r.mistakes, func(a, b mistake) int { return a.line - b.line })
	return r.config, r.mistakes
}

// syntaxMistake turns the error of the YAML parser into a mistake.
func syntaxMistake(err error) mistake {
	e, ok := errors.AsType[*yaml.LoadError](err)
	if !ok {
		return mistake{1, err.Error()}
	}
	return mistake{max(e.Mark.Line, 1), strings.TrimPrefix(e.Message, "yaml: ")}
}

func (r *reader) wrong(n *yaml.Node, format string, args ...any) {
	r.mistakes = append(r.mistakes, mistake{max(n.Line, 1), fmt.Sprintf(format, args...)})
}

func (r *reader) read(root *yaml.Node) {
	r.keys(root, map[string]func(key, value *yaml.Node){
		"name": func(_, v *yaml.Node) {
			if r.text(v, &r.config.name) {
				r.check(v, signal.ValidName(r.config.name))
			}
		},
		"signal": func(_, v *yaml.Node) {
			var text string
			if r.text(v, &text) {
				u, err := signal.ParseURL(text)
				r.config.signal = u
				r.check(v, err)
			}
		},
		"expose":  func(_, v *yaml.Node) { r.pairs(v, r.service) },
		"gateway": func(_, v *yaml.Node) { r.gateway(v) },
	})
}

// service reads one entry of expose.
func (r *reader) service(key, value *yaml.Node) {
	var url string
	if !r.text(value, &url) {
		return
	}
	s, err := parseService(key.Value, url)
	if err != nil {
		r.wrong(value, "%v", err)
		return
	}
	r.config.services = append(r.config.services, s)
}

func (r *reader) gateway(n *yaml.Node) {
	at := defaultListen()
	at.settings = "http and rtsp under gateway, in the configuration file"
	r.config.gateway = &at
	if n.Kind == yaml.ScalarNode && n.Tag == "!!null" {
		return // "gateway:" alone means the defaults
	}
	address := func(to *string, usual int) func(_, v *yaml.Node) {
		return func(_, v *yaml.Node) {
			if r.text(v, to) {
				r.check(v, checkAddress(*to, usual))
			}
		}
	}
	r.keys(n, map[string]func(_, v *yaml.Node){"http": address(&at.http, 7480), "rtsp": address(&at.rtsp, 8554)})
}

// keys calls, for each key of the mapping n, what known has for it.
func (r *reader) keys(n *yaml.Node, known map[string]func(key, value *yaml.Node)) {
	r.pairs(n, func(key, value *yaml.Node) {
		read, ok := known[key.Value]
		if !ok {
			var names []string
			for name := range known {
				names = append(names, name)
			}
			slices.Sort(names)
			r.wrong(key, "unknown key %.40q: want one of %s", key.Value, strings.Join(names, ", "))
			return
		}
		read(key, value)
	})
}

// pairs calls read for each pair of the mapping n. Of a key that is there twice
// the second is a mistake.
func (r *reader) pairs(n *yaml.Node, read func(key, value *yaml.Node)) {
	if n.Kind != yaml.MappingNode {
		r.wrong(n, "want keys with values here, as in NAME: VALUE")
		return
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if seen[key.Value] {
			r.wrong(key, "the key %.40q is there twice", key.Value)
			continue
		}
		seen[key.Value] = true
		read(key, value)
	}
}

// text reads a scalar.
func (r *reader) text(n *yaml.Node, to *string) bool {
	if n.Kind != yaml.ScalarNode || n.Value == "" {
		r.wrong(n, "want a text here")
		return false
	}
	*to = n.Value
	return true
}

func (r *reader) check(n *yaml.Node, err error) {
	if err != nil {
		r.wrong(n, "%v", err)
	}
}
