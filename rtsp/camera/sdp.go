package camera

import (
	"bytes"
	"strconv"
	"strings"

	"github.com/bluenviron/gortsplib/v4/pkg/base"
	"github.com/bluenviron/gortsplib/v4/pkg/description"
)

// maxTracks is more than any camera has: two lenses, audio, metadata, a back
// channel.
const maxTracks = 64

// controls are the camera's URLs of one description.
type controls struct {
	session *base.URL   // for PLAY, PAUSE and TEARDOWN
	tracks  []*base.URL // for SETUP: the track with control "trackID=N" is tracks[N]
}

// takeControls returns the description with the address of each track replaced
// by trackID=N, and the addresses. All of them are on the host of contentBase,
// whatever host the camera believes it is. The camera's home page (u=) is left
// out, and the origin (o=) and connection data (c=) name no host.
func takeControls(sdp []byte, contentBase *base.URL) ([]byte, controls) {
	var out bytes.Buffer
	c := controls{session: contentBase}
	media := 0
	for line := range bytes.Lines(sdp) {
		text := strings.TrimRight(string(line), "\r\n")
		control, isControl := strings.CutPrefix(text, "a=control:")
		switch {
		case strings.HasPrefix(text, "m="):
			media++
		case strings.HasPrefix(text, "u="):
			continue
		case strings.HasPrefix(text, "o="):
			text = "o=- 0 0 IN IP4 0.0.0.0"
		case strings.HasPrefix(text, "c="):
			text = "c=IN IP4 0.0.0.0"
		case isControl && media == 0:
			c.session = resolve(contentBase, control)
			text = "a=control:*"
		case isControl && len(c.tracks) < maxTracks:
			text = "a=control:trackID=" + strconv.Itoa(len(c.tracks))
			c.tracks = append(c.tracks, resolve(c.session, control))
		case isControl:
			continue
		}
		out.WriteString(text + "\r\n")
	}
	return out.Bytes(), c
}

// resolve returns the URL that a control attribute names. Cameras know strange
// forms of it; what cannot be read names the base itself.
func resolve(baseURL *base.URL, control string) *base.URL {
	control = strings.TrimSpace(control)
	if rest, twice := strings.CutPrefix(control, "rtsp://rtsp://"); twice {
		control = "rtsp://" + rest
	}
	if control == "" || control == "*" {
		return baseURL
	}
	u, err := description.Media{Control: control}.URL(baseURL)
	if err != nil || u == nil {
		return baseURL
	}
	return onHost(u, baseURL)
}

// onHost returns u on the host of another URL, with that one's credentials.
func onHost(u, other *base.URL) *base.URL {
	u = u.Clone()
	u.Scheme, u.Host, u.User = other.Scheme, other.Host, other.User
	return u
}

// contentBase returns the URL to which the addresses in an answer to DESCRIBE
// are relative: Content-Base, Content-Location or the URL that was asked for.
func contentBase(answer base.Header, asked *base.URL) *base.URL {
	for _, name := range []string{"Content-Base", "Content-Location"} {
		if v := answer[name]; len(v) == 1 {
			if value := strings.TrimSpace(v[0]); strings.HasPrefix(value, "/") {
				u := asked.Clone()
				u.Path, u.RawPath, u.RawQuery = value, "", ""
				return u
			} else if u, err := base.ParseURL(value); err == nil {
				return onHost(u, asked)
			}
		}
	}
	return asked
}
