package lan

import (
	"bytes"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// testName returns a name as it is asked for.
func testName(t testing.TB) string {
	t.Helper()
	alice, bob, toBob, _ := two(t)
	_, text := newName(alice.PeerID(), bob.PeerID(), toBob, time.Now())
	return text
}

// pack returns a packet of questions and answers.
func pack(t testing.TB, m dnsmessage.Message) []byte {
	t.Helper()
	b, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestQuestion(t *testing.T) {
	name := testName(t)
	packet, err := makeQuestion(name)
	if err != nil {
		t.Fatal(err)
	}
	h, err := parse(packet)
	if err != nil || !slices.Equal(h.asked, []string{name}) || h.found != nil {
		t.Errorf("parse() = %+v, %v; want a question for %s", h, err, name)
	}
}

func TestAnswer(t *testing.T) {
	name := testName(t)
	a := answer{name: name, port: 4711, host: "abc", addrs: []netip.Addr{
		netip.MustParseAddr("192.168.1.2"), netip.MustParseAddr("fe80::1"),
	}}
	packet, err := a.pack()
	if err != nil {
		t.Fatal(err)
	}
	h, err := parse(packet)
	if err != nil || !slices.Equal(h.found, []found{{name, 4711, "abc"}}) || h.asked != nil {
		t.Errorf("parse() = %+v, %v", h, err)
	}
	var m dnsmessage.Message
	if err := m.Unpack(packet); err != nil {
		t.Fatal(err)
	}
	if m.ID != 0 || len(m.Questions) != 0 || !m.Authoritative || len(m.Additionals) != 2 || m.Answers[0].Header.Class != 0x8001 {
		t.Errorf("an answer is %+v (RFC 6762 section 18)", m)
	}

	a.legacy, a.id = true, 77
	if packet, err = a.pack(); err != nil {
		t.Fatal(err)
	}
	if err := m.Unpack(packet); err != nil {
		t.Fatal(err)
	}
	if m.ID != 77 || len(m.Questions) != 1 || m.Answers[0].Header.Class != dnsmessage.ClassINET || m.Answers[0].Header.TTL > 10 {
		t.Errorf("an answer to who takes no part is %+v (RFC 6762 section 6.7)", m)
	}
	if h, err := parse(packet); err != nil || !slices.Equal(h.found, []found{{name, 4711, "abc"}}) {
		t.Errorf("parse() = %+v, %v", h, err)
	}
}

// TestOthers hears what other programs say: of interest is our service only.
func TestOthers(t *testing.T) {
	name := func(s string) dnsmessage.Name { return dnsmessage.MustNewName(s) }
	question := func(s string, of dnsmessage.Type, class dnsmessage.Class) dnsmessage.Question {
		return dnsmessage.Question{Name: name(s), Type: of, Class: class}
	}
	srv := func(s string, port uint16) dnsmessage.Resource {
		return dnsmessage.Resource{
			Header: dnsmessage.ResourceHeader{Name: name(s), Class: dnsmessage.ClassINET},
			Body:   &dnsmessage.SRVResource{Target: name("x.local."), Port: port},
		}
	}
	text := dnsmessage.Resource{
		Header: dnsmessage.ResourceHeader{Name: name("a" + service), Class: dnsmessage.ClassINET},
		Body:   &dnsmessage.TXTResource{TXT: []string{"x"}},
	}
	for _, test := range []struct {
		name  string
		m     dnsmessage.Message
		asked []string
		found []found
		bad   bool
	}{
		{name: "nothing"},
		{name: "browsing", m: dnsmessage.Message{Questions: []dnsmessage.Question{
			question(service[1:], dnsmessage.TypePTR, dnsmessage.ClassINET),
			question("_services._dns-sd._udp.local.", dnsmessage.TypePTR, dnsmessage.ClassINET),
		}}},
		{name: "types and classes", m: dnsmessage.Message{Questions: []dnsmessage.Question{
			question("a"+service, dnsmessage.TypeTXT, dnsmessage.ClassINET),
			question("b"+service, dnsmessage.TypeALL, dnsmessage.ClassINET),
			question("C"+strings.ToUpper(service), dnsmessage.TypeSRV, dnsmessage.ClassINET|classUnique),
			question("d"+service, dnsmessage.TypeSRV, dnsmessage.ClassCHAOS),
			question("e._ipp._tcp.local.", dnsmessage.TypeSRV, dnsmessage.ClassINET),
		}}, asked: []string{"b", "c"}},
		{name: "records", m: dnsmessage.Message{
			Header:  dnsmessage.Header{Response: true},
			Answers: []dnsmessage.Resource{text, srv("a"+service, 1), srv("b._ipp._tcp.local.", 2), srv("c"+service, 0)},
		}, found: []found{{"a", 1, "x"}}},
		{name: "an answer in a question", m: dnsmessage.Message{
			Questions: []dnsmessage.Question{question("a"+service, dnsmessage.TypeSRV, dnsmessage.ClassINET)},
			Answers:   []dnsmessage.Resource{srv("b"+service, 1)},
		}, asked: []string{"a"}},
		{name: "opcode", m: dnsmessage.Message{Header: dnsmessage.Header{OpCode: 1}}, bad: true},
		{name: "rcode", m: dnsmessage.Message{Header: dnsmessage.Header{Response: true, RCode: 3}}, bad: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			h, err := parse(pack(t, test.m))
			if (err != nil) != test.bad || !slices.Equal(h.asked, test.asked) || !slices.Equal(h.found, test.found) {
				t.Errorf("parse() = %+v, %v", h, err)
			}
		})
	}
}

func TestManyItems(t *testing.T) {
	var questions, records dnsmessage.Message
	records.Response = true
	for range 1000 {
		name := dnsmessage.MustNewName("a" + service)
		questions.Questions = append(questions.Questions, dnsmessage.Question{Name: name, Type: dnsmessage.TypeSRV, Class: dnsmessage.ClassINET})
		records.Answers = append(records.Answers, dnsmessage.Resource{
			Header: dnsmessage.ResourceHeader{Name: name, Class: dnsmessage.ClassINET},
			Body:   &dnsmessage.SRVResource{Target: dnsmessage.MustNewName("x.local."), Port: 1},
		})
	}
	if h, err := parse(pack(t, questions)); err != nil || len(h.asked) != maxItems {
		t.Errorf("%d questions are heard, %v; want %d", len(h.asked), err, maxItems)
	}
	if packet := pack(t, records); len(packet) > maxDNS {
		if _, err := parse(packet); err == nil {
			t.Errorf("a packet of %d bytes is heard", len(packet))
		}
	}
	records.Answers = records.Answers[:100]
	if h, err := parse(pack(t, records)); err != nil || len(h.found) != maxItems {
		t.Errorf("%d records are heard, %v; want %d", len(h.found), err, maxItems)
	}
}

func FuzzParse(f *testing.F) {
	name := testName(f)
	question, err := makeQuestion(name)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(question)
	for _, legacy := range []bool{false, true} {
		packet, err := answer{name: name, port: 1, host: "h", addrs: []netip.Addr{netip.IPv6LinkLocalAllNodes()}, legacy: legacy}.pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(packet)
	}
	f.Fuzz(func(t *testing.T, packet []byte) {
		before := bytes.Clone(packet)
		h, err := parse(packet)
		if !bytes.Equal(before, packet) {
			t.Error("the packet was written to")
		}
		if err != nil && (h.asked != nil || h.found != nil) || len(h.asked) > maxItems || len(h.found) > maxItems {
			t.Errorf("parse() = %+v, %v", h, err)
		}
		for _, name := range h.asked {
			if len(name) > 255 {
				t.Errorf("a name of %d bytes", len(name))
			}
			if a, err := (answer{name: name, host: "h", port: 1}).pack(); err == nil {
				if h, err := parse(a); err != nil || len(h.found) != 1 || h.found[0].name != name {
					t.Errorf("%q comes back as %+v, %v", name, h, err)
				}
			}
		}
	})
}
