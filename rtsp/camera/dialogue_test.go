package camera

import (
	"bufio"
	"bytes"
	"strconv"
	"strings"
	"testing"

	"github.com/bluenviron/gortsplib/v4/pkg/base"

	"peerway/rtsp/wire"
)

func newTestDialogue(t testing.TB, raw string) *dialogue {
	t.Helper()
	c, err := Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	return newDialogue(c.url)
}

// ask asks and returns what went to the camera.
func ask(t *testing.T, d *dialogue, request string) *base.Request {
	t.Helper()
	out, refused, err := d.ask([]byte(request), nil)
	if err != nil || refused != nil {
		t.Fatalf("request %q: refused %q, error %v", request, refused, err)
	}
	var req base.Request
	if err := req.Unmarshal(bufio.NewReader(bytes.NewReader(out))); err != nil {
		t.Fatal(err)
	}
	return &req
}

// hear lets the camera answer and returns what went to the gateway.
func hear(t *testing.T, d *dialogue, answer, body string) *base.Response {
	t.Helper()
	answer = strings.TrimSuffix(answer, "\r\n") + "Content-Length: " + strconv.Itoa(len(body)) + "\r\n\r\n"
	out, again, err := d.hear([]byte(answer), []byte(body))
	if err != nil || again != nil {
		t.Fatalf("answer %q: repeated as %q, error %v", answer, again, err)
	}
	var res base.Response
	if err := res.Unmarshal(bufio.NewReader(bytes.NewReader(out))); err != nil {
		t.Fatal(err)
	}
	return &res
}

const sdp = "v=0\r\no=- 1 1 IN IP4 192.168.1.9\r\ns=cam\r\nu=http://192.168.1.9/\r\nc=IN IP4 192.168.1.9\r\na=control:%s\r\n" +
	"m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=control:%s\r\n" +
	"m=audio 0 RTP/AVP 0\r\na=control:%s\r\n"

func describe(session, video, audio string) string {
	s := strings.Replace(sdp, "%s", session, 1)
	s = strings.Replace(s, "%s", video, 1)
	return strings.Replace(s, "%s", audio, 1)
}

func TestDialogueTranslatesURLs(t *testing.T) {
	const camera = "rtsp://u:p@10.0.0.1/h264?ch=1"
	for name, c := range map[string]struct {
		header, sdp         string
		session, video, aud string
	}{
		"relative controls, no base": {
			"", describe("*", "trackID=1", "trackID=2"),
			"rtsp://10.0.0.1/h264?ch=1", "rtsp://10.0.0.1/h264?ch=1/trackID=1", "rtsp://10.0.0.1/h264?ch=1/trackID=2",
		},
		"content base": {
			"Content-Base: rtsp://192.168.1.9:554/live/\r\n", describe("*", "streamid=0", "a/b"),
			"rtsp://10.0.0.1/live/", "rtsp://10.0.0.1/live/streamid=0", "rtsp://10.0.0.1/live/a/b",
		},
		"absolute controls with the camera's idea of its address": {
			"Content-Base: rtsp://192.168.1.9/x/\r\n",
			describe("rtsp://192.168.1.9/all", "rtsp://u:p@192.168.1.9/v?user=u&pwd=p", "rtsp://192.168.1.9/a"),
			"rtsp://10.0.0.1/all", "rtsp://10.0.0.1/v?user=u&pwd=p", "rtsp://10.0.0.1/a",
		},
		"odd ones": {
			"Content-Base: /base/\r\n", describe("", "rtsp://rtsp://192.168.1.9/v", "rtsp://%zz"),
			"rtsp://10.0.0.1/base/", "rtsp://10.0.0.1/v", "rtsp://10.0.0.1/base/",
		},
		"unreadable base": {
			"Content-Base: 192.168.1.9/live\r\n", describe("*", "v", "a"),
			"rtsp://10.0.0.1/h264?ch=1", "rtsp://10.0.0.1/h264?ch=1/v", "rtsp://10.0.0.1/h264?ch=1/a",
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := newTestDialogue(t, camera)
			if got := ask(t, d, "DESCRIBE rtsp://camera RTSP/1.0\r\nCSeq: 7\r\n\r\n").URL.String(); got != "rtsp://10.0.0.1/h264?ch=1" {
				t.Errorf("DESCRIBE asks for %s", got)
			}
			res := hear(t, d, "RTSP/1.0 200 OK\r\nCSeq: 1\r\n"+c.header+"\r\n", c.sdp)
			if got := res.Header["CSeq"]; len(got) != 1 || got[0] != "7" {
				t.Errorf("the answer has CSeq %q, want 7", got)
			}
			if got := res.Header["Content-Base"]; len(got) != 1 || got[0] != "rtsp://camera/" {
				t.Errorf("the answer has Content-Base %q", got)
			}
			for _, private := range []string{"rtsp:", "10.0.0.1", "192.168.1.9", "pwd", "http:"} {
				if strings.Contains(string(res.Body), private) {
					t.Errorf("the description still has %q:\n%s", private, res.Body)
				}
			}
			for track, want := range []string{c.video, c.aud} {
				got := ask(t, d, "SETUP rtsp://camera/trackID="+string('0'+rune(track))+" RTSP/1.0\r\nCSeq: 8\r\nTransport: RTP/AVP/TCP;interleaved=0-1\r\n\r\n")
				if got.URL.String() != want {
					t.Errorf("SETUP of track %d asks for %s, want %s", track, got.URL, want)
				}
			}
			if got := ask(t, d, "PLAY rtsp://camera/ RTSP/1.0\r\nCSeq: 9\r\n\r\n").URL.String(); got != c.session {
				t.Errorf("PLAY asks for %s, want %s", got, c.session)
			}
		})
	}
}

func TestDialogueJoinsPaths(t *testing.T) {
	for _, c := range []struct{ camera, asked, want string }{
		{"rtsp://c/s", "rtsp://camera", "rtsp://c/s"},
		{"rtsp://c/s", "rtsp://camera/a/b%20c", "rtsp://c/s/a/b%20c"},
		{"rtsp://c/s/", "rtsp://camera/a", "rtsp://c/s/a"},
		{"rtsp://c", "rtsp://camera/a?x=1", "rtsp://c/a?x=1"},
		{"rtsp://c/s?x=1", "rtsp://camera?y=2", "rtsp://c/s?x=1&y=2"},
		{"rtsp://c/s?x=1&z", "rtsp://camera?x=2&y=3&z=4", "rtsp://c/s?x=1&z&y=3"},
		{"rtsp://c/s?ch=1", "rtsp://camera?y;ch=2&%63h=2&CH=2&+ch=2&ch", "rtsp://c/s?ch=1&y"},
		{"rtsp://c/a%2Fb", "rtsp://camera/c", "rtsp://c/a%2Fb/c"},
		{"rtsp://c/s", "rtsp://camera/../t", ""},
		{"rtsp://c/s", "rtsp://camera/a/%2e%2e/t", ""},
		{"rtsp://c/s", "rtsp://camera/a%2F..%2F..%2Ft", ""},
		{"rtsp://c/s", "rtsp://camera/..%5Ct", ""},
	} {
		d := newTestDialogue(t, c.camera)
		out, refused, err := d.ask([]byte("DESCRIBE "+c.asked+" RTSP/1.0\r\nCSeq: 1\r\n\r\n"), nil)
		if err != nil {
			t.Fatal(err)
		}
		if c.want == "" {
			if !bytes.HasPrefix(refused, []byte("RTSP/1.0 404 ")) {
				t.Errorf("%s of %s is not refused: %q", c.asked, c.camera, out)
			}
		} else if !bytes.HasPrefix(out, []byte("DESCRIBE "+c.want+" RTSP/1.0\r\n")) {
			t.Errorf("%s of %s: got %q, want %s", c.asked, c.camera, out, c.want)
		}
	}
}

func TestDialogueRefuses(t *testing.T) {
	for name, c := range map[string]struct{ request, want string }{
		"UDP":          {"SETUP rtsp://camera/trackID=0 RTSP/1.0\r\nCSeq: 1\r\nTransport: RTP/AVP;unicast;client_port=1-2\r\n\r\n", "461"},
		"UDP as well":  {"SETUP rtsp://camera/trackID=0 RTSP/1.0\r\nCSeq: 1\r\nTransport: RTP/AVP/TCP,RTP/AVP;client_port=1-2\r\n\r\n", "461"},
		"no transport": {"SETUP rtsp://camera/trackID=0 RTSP/1.0\r\nCSeq: 1\r\n\r\n", "461"},
		"other track":  {"SETUP rtsp://camera/trackID=9 RTSP/1.0\r\nCSeq: 1\r\nTransport: RTP/AVP/TCP\r\n\r\n", "404"},
		"publishing":   {"ANNOUNCE rtsp://camera RTSP/1.0\r\nCSeq: 1\r\n\r\n", "405"},
		"unknown":      {"FROBNICATE rtsp://camera RTSP/1.0\r\nCSeq: 1\r\n\r\n", "405"},
		"no URL":       {"PLAY * RTSP/1.0\r\nCSeq: 1\r\n\r\n", "404"},
		"no number":    {"PLAY rtsp://camera RTSP/1.0\r\n\r\n", ""},
		"hidden line":  {"OPTIONS rtsp://camera RTSP/1.0\r\nCSeq: 1\r\nX: a\nSETUP b\r\n\r\n", ""},
		"an answer":    {"RTSP/1.0 200 OK\r\nCSeq: 1\r\n\r\n", ""},
	} {
		t.Run(name, func(t *testing.T) {
			out, refused, err := newTestDialogue(t, "rtsp://c/s").ask([]byte(c.request), nil)
			if out != nil {
				t.Fatalf("the camera sees %q", out)
			}
			if c.want == "" && err == nil || c.want != "" && !bytes.HasPrefix(refused, []byte("RTSP/1.0 "+c.want+" ")) {
				t.Errorf("got %q, error %v, want %s", refused, err, c.want)
			}
		})
	}
}

const challenge = "WWW-Authenticate: Digest realm=\"cam\", nonce=\"%s\"\r\nWWW-Authenticate: Basic realm=\"cam\"\r\n\r\n"

func TestDialogueLogsIn(t *testing.T) {
	d := newTestDialogue(t, "rtsp://u:p@c/s")
	if first := ask(t, d, "DESCRIBE rtsp://camera RTSP/1.0\r\nCSeq: 5\r\nAuthorization: Basic eDp5\r\n\r\n"); len(first.Header["Authorization"]) > 0 {
		t.Errorf("the gateway's credentials go to the camera: %v", first.Header)
	}
	say := func(number, nonce string) (toGateway, again []byte) {
		t.Helper()
		toGateway, again, err := d.hear([]byte("RTSP/1.0 401 Unauthorized\r\nCSeq: "+number+"\r\n"+strings.Replace(challenge, "%s", nonce, 1)), nil)
		if err != nil {
			t.Fatal(err)
		}
		return toGateway, again
	}
	_, again := say("1", "n1")
	if !bytes.Contains(again, []byte(`nonce="n1"`)) || !bytes.Contains(again, []byte("CSeq: 2\r\n")) {
		t.Fatalf("the challenge is answered with %q", again)
	}
	hear(t, d, "RTSP/1.0 200 OK\r\nCSeq: 2\r\n\r\n", describe("*", "v", "a"))

	// A keep-alive meets a nonce that has expired.
	if req := ask(t, d, "GET_PARAMETER rtsp://camera/ RTSP/1.0\r\nCSeq: 6\r\n\r\n"); !strings.Contains(req.Header["Authorization"][0], "n1") {
		t.Errorf("the keep-alive has %v", req.Header)
	}
	if _, again = say("3", "n2"); !bytes.Contains(again, []byte(`nonce="n2"`)) {
		t.Fatalf("the second challenge is answered with %q", again)
	}
	// The same password again and again locks the account.
	toGateway, again := say("4", "n3")
	if again != nil || !bytes.Contains(toGateway, []byte("refuses the user name or password")) {
		t.Errorf("the third challenge: %q and again %q", toGateway, again)
	}
	if bytes.Contains(toGateway, []byte("nonce")) || bytes.Contains(toGateway, []byte("WWW-")) {
		t.Errorf("the gateway sees a challenge: %q", toGateway)
	}
	ask(t, d, "OPTIONS rtsp://camera RTSP/1.0\r\nCSeq: 8\r\n\r\n")
	if _, again = say("5", "n4"); again != nil {
		t.Errorf("after a refusal the camera is asked again: %q", again)
	}
}

func TestDialogueSaysTeardown(t *testing.T) {
	d := newTestDialogue(t, "rtsp://c/s")
	if got := d.teardown(); got != nil {
		t.Errorf("TEARDOWN without a session: %q", got)
	}
	ask(t, d, "SETUP rtsp://camera RTSP/1.0\r\nCSeq: 1\r\nTransport: RTP/AVP/TCP\r\n\r\n")
	hear(t, d, "RTSP/1.0 200 OK\r\nCSeq: 1\r\nSession: abc;timeout=60\r\n\r\n", "")
	got := d.teardown()
	if !bytes.HasPrefix(got, []byte("TEARDOWN rtsp://c/s RTSP/1.0\r\n")) || !bytes.Contains(got, []byte("Session: abc\r\n")) {
		t.Errorf("got %q", got)
	}
	if d.teardown() != nil {
		t.Error("TEARDOWN is said twice")
	}
	if out, _, err := d.hear([]byte("RTSP/1.0 200 OK\r\nCSeq: 2\r\n\r\n"), nil); out != nil || err != nil || !d.over {
		t.Errorf("after the answer: %q, %v, over is %v", out, err, d.over)
	}
}

func TestDialogueAnswersTheCamera(t *testing.T) {
	d := newTestDialogue(t, "rtsp://c/s")
	for request, want := range map[string]string{"OPTIONS": "200", "SET_PARAMETER": "200", "ANNOUNCE": "501", "REDIRECT": "501"} {
		toGateway, toCamera, err := d.hear([]byte(request+" rtsp://gateway RTSP/1.0\r\nCSeq: 4\r\n\r\n"), nil)
		if toGateway != nil || err != nil || !bytes.HasPrefix(toCamera, []byte("RTSP/1.0 "+want)) {
			t.Errorf("%s: to the gateway %q, to the camera %q, %v", request, toGateway, toCamera, err)
		}
	}
}

func TestDialogueHidesRedirects(t *testing.T) {
	d := newTestDialogue(t, "rtsp://c/s")
	ask(t, d, "DESCRIBE rtsp://camera RTSP/1.0\r\nCSeq: 1\r\n\r\n")
	res := hear(t, d, "RTSP/1.0 302 Found\r\nCSeq: 1\r\nLocation: rtsp://192.168.1.7/\r\n\r\n", "")
	if res.StatusCode != 502 || len(res.Header["Location"]) > 0 || !strings.Contains(res.Header[ReasonHeader][0], "redirects") {
		t.Errorf("got %v", res)
	}
}

func TestDialogueHidesHosts(t *testing.T) {
	d := newTestDialogue(t, "rtsp://c/s")
	ask(t, d, "SETUP rtsp://camera RTSP/1.0\r\nCSeq: 1\r\nTransport: RTP/AVP/TCP;interleaved=0-1\r\n\r\n")
	res := hear(t, d, "RTSP/1.0 200 OK\r\nCSeq: 1\r\nSession: a\r\n"+
		"Transport: RTP/AVP/TCP;unicast;destination=192.168.1.2;Source=192.168.1.9;interleaved=0-1;ssrc=01020304\r\n\r\n", "")
	if got, want := strings.Join(res.Header["Transport"], "|"), "RTP/AVP/TCP;unicast;interleaved=0-1;ssrc=01020304"; got != want {
		t.Errorf("the answer has Transport %q, want %q", got, want)
	}
}

func TestDialogueRewritesRTPInfo(t *testing.T) {
	d := newTestDialogue(t, "rtsp://c/s")
	ask(t, d, "DESCRIBE rtsp://camera RTSP/1.0\r\nCSeq: 1\r\n\r\n")
	hear(t, d, "RTSP/1.0 200 OK\r\nCSeq: 1\r\n\r\n", describe("*", "v", "a"))
	ask(t, d, "PLAY rtsp://camera/ RTSP/1.0\r\nCSeq: 2\r\n\r\n")
	res := hear(t, d, "RTSP/1.0 200 OK\r\nCSeq: 2\r\nRTP-Info: url=rtsp://192.168.1.9/s/a;seq=1;rtptime=2, url=v;seq=3,url=x;seq=4\r\n\r\n", "")
	if got, want := res.Header["RTP-Info"][0], "url=rtsp://camera/trackID=1;seq=1;rtptime=2,url=rtsp://camera/trackID=0;seq=3"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// FuzzDialogue lets both sides say anything. Nothing that the camera gets may
// come from outside of what is exposed, and nothing that the gateway gets may
// hold the password.
func FuzzDialogue(f *testing.F) {
	f.Add("DESCRIBE rtsp://camera/x?y RTSP/1.0\r\nCSeq: 1\r\n\r\n",
		"RTSP/1.0 200 OK\r\nCSeq: 1\r\nContent-Base: rtsp://h/\r\nContent-Length: 40\r\n\r\nm=video 0 RTP/AVP 96\r\na=control:trackID=1")
	f.Add("SETUP rtsp://camera/trackID=0 RTSP/1.0\r\nCSeq: 1\r\nTransport: RTP/AVP/TCP\r\n\r\n$\x00\x00\x01x",
		"RTSP/1.0 401 Unauthorized\r\nCSeq: 1\r\nWWW-Authenticate: Digest realm=\"r\", nonce=\"n\"\r\n\r\n")
	f.Add("OPTIONS * RTSP/1.0\r\nCSeq: 1\r\n\r\n", "OPTIONS rtsp://x RTSP/1.0\r\nCSeq: 3\r\n\r\nRTSP/1.0 302 Found\r\nCSeq: 1\r\nRTP-Info: url=a;seq=1,url=\r\n\r\n")
	f.Fuzz(func(t *testing.T, gateway, camera string) {
		d := newTestDialogue(t, "rtsp://user:SECRET@10.1.2.3:554/exposed")
		asks, hears := wire.NewReader(strings.NewReader(gateway)), wire.NewReader(strings.NewReader(camera))
		for {
			a, aErr := asks.Next()
			if aErr == nil && a.Frame == nil {
				toCamera, toGateway, _ := d.ask(a.Head, a.Body)
				checkRequest(t, toCamera)
				checkAnswer(t, toGateway)
			}
			b, bErr := hears.Next()
			if bErr == nil && b.Frame == nil {
				toGateway, toCamera, _ := d.hear(b.Head, b.Body)
				checkAnswer(t, toGateway)
				if bytes.Contains(toCamera, []byte("10.1.2.3")) {
					checkRequest(t, toCamera)
				}
			}
			if aErr != nil && bErr != nil {
				checkRequest(t, d.teardown())
				return
			}
			if len(d.pending) > maxPending {
				t.Fatalf("%d requests are remembered", len(d.pending))
			}
		}
	})
}

func checkRequest(t *testing.T, out []byte) {
	if out == nil {
		return
	}
	part, err := wire.NewReader(bytes.NewReader(out)).Next()
	if err != nil {
		return // larger than what we would take
	}
	line, _, _ := strings.Cut(string(part.Head), "\r\n")
	_, u, _ := strings.Cut(line, " ")
	if !strings.HasPrefix(u, "rtsp://10.1.2.3:554/") && !strings.HasPrefix(u, "* ") {
		t.Errorf("the camera is asked for another host: %q", line)
	}
	if strings.HasPrefix(line, "DESCRIBE ") && !strings.HasPrefix(u, "rtsp://10.1.2.3:554/exposed") {
		t.Errorf("the camera is asked for what is not exposed: %q", line)
	}
	if strings.Contains(line, "SECRET") {
		t.Errorf("the password is in %q", line)
	}
}

func checkAnswer(t *testing.T, out []byte) {
	if bytes.Contains(out, []byte("SECRET")) || bytes.Contains(out, []byte("10.1.2.3")) {
		t.Errorf("the gateway learns a secret: %q", out)
	}
}
