package punch

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/pion/ice/v3"
)

func TestCandidateSurvivesText(t *testing.T) {
	for _, want := range []candidate{
		newCandidate(netip.MustParseAddrPort("192.0.2.1:1"), false, 0),
		newCandidate(netip.MustParseAddrPort("[2001:db8::1]:65535"), true, 3),
		{addr: netip.MustParseAddrPort("192.0.2.1:7"), mapped: true, priority: 5, round: 2},
		{addr: netip.MustParseAddrPort("192.0.2.1:8"), mapped: true, priority: 6, round: 4, reply: true},
	} {
		got, err := parseCandidate(want.String())
		if err != nil || got != want {
			t.Errorf("parseCandidate(%q) = %v, %v", want, got, err)
		}
		lib, err := ice.UnmarshalCandidate(want.String()) // it is the standard's text
		if err != nil || lib.Address() != want.addr.Addr().String() || lib.Priority() != want.priority {
			t.Errorf("the library reads %v, %v", lib, err)
		}
		if own, err := want.forLibrary(); err != nil || addressOf(own) != want.addr || own.Type() != lib.Type() {
			t.Errorf("forLibrary() = %v, %v", own, err)
		}
	}
	first, second := newCandidate(netip.AddrPort{}, false, 0), newCandidate(netip.AddrPort{}, false, 1)
	if mapped := newCandidate(netip.AddrPort{}, true, 0); first.priority <= second.priority || second.priority <= mapped.priority {
		t.Errorf("priorities %d, %d, mapped %d", first.priority, second.priority, mapped.priority)
	}
}

func TestParseCandidateRefuses(t *testing.T) {
	for _, s := range []string{
		"", "h4", "h4 1 udp 1 192.0.2.1 1 typ", strings.Repeat("x", 300),
		"h4 2 udp 1 192.0.2.1 1 typ host",
		"h4 1 tcp 1 192.0.2.1 1 typ host",
		"h4 1 udp 4294967296 192.0.2.1 1 typ host",
		"h4 1 udp 1 example.com 1 typ host",
		"h4 1 udp 1 peer.local 1 typ host",
		"h4 1 udp 1 192.0.2.1 0 typ host",
		"h4 1 udp 1 192.0.2.1 65536 typ host",
		"h4 1 udp 1 0.0.0.0 1 typ host",
		"h4 1 udp 1 224.0.0.1 1 typ host",
		"h4 1 udp 1 255.255.255.255 1 typ host",
		"h4 1 udp 1 169.254.0.1 1 typ host",
		"h4 1 udp 1 fe80::1 1 typ host",
		"h4 1 udp 1 fe80::1%eth0 1 typ host",
		"h4 1 udp 1 ::ffff:0.0.0.0 1 typ host",
		"h4 1 udp 1 192.0.2.1 1 typ relay",
	} {
		if c, err := parseCandidate(s); !errors.Is(err, ErrDescription) {
			t.Errorf("parseCandidate(%q) = %v, %v", s, c, err)
		}
	}
}

func FuzzParseCandidate(f *testing.F) {
	f.Add("h4 1 udp 2130706431 192.0.2.1 1 typ host")
	f.Add("s4 1 udp 1 192.0.2.1 1 typ srflx raddr 0.0.0.0 rport 0 round 3 round")
	f.Add("s6 1 udp 1 2001:db8::1 1 typ srflx raddr 0.0.0.0 rport 0")
	f.Fuzz(func(t *testing.T, s string) {
		c, err := parseCandidate(s)
		if err != nil {
			return
		}
		if again, err := parseCandidate(c.String()); err != nil || again != c {
			t.Errorf("parseCandidate(%q) = %v, then %v, %v", s, c, again, err)
		}
		if _, err := c.forLibrary(); err != nil {
			t.Errorf("forLibrary(%v): %v", c, err)
		}
	})
}

func TestDescriptionValidate(t *testing.T) {
	good := Description{Ufrag: "abcd", Pwd: strings.Repeat("p", 22), Candidates: make([]string, maxCandidates)}
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
	for name, d := range map[string]Description{
		"zero":       {},
		"fragment":   {Ufrag: "a:bc", Pwd: good.Pwd},
		"long name":  {Ufrag: strings.Repeat("a", 65), Pwd: good.Pwd},
		"password":   {Ufrag: good.Ufrag, Pwd: "short"},
		"candidates": {Ufrag: good.Ufrag, Pwd: good.Pwd, Candidates: make([]string, 17)},
		"candidate":  {Ufrag: good.Ufrag, Pwd: good.Pwd, Candidates: []string{strings.Repeat("x", 257)}},
	} {
		if err := d.Validate(); !errors.Is(err, ErrDescription) {
			t.Errorf("%s: Validate() = %v", name, err)
		}
	}
	if s := good.String() + good.LogValue().String(); strings.Contains(s, good.Pwd) {
		t.Errorf("the password shows in %q", s)
	}
}

func addrs(list ...string) (addrs []netip.Addr) {
	for _, s := range list {
		addrs = append(addrs, netip.MustParseAddr(s))
	}
	return addrs
}

func TestSelectHosts(t *testing.T) {
	var many, many6 []netip.Addr
	for i := range byte(30) {
		many = append(many, netip.AddrFrom4([4]byte{10, 0, 0, i}))
		many6 = append(many6, netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, 15: i}))
	}
	for _, test := range []struct {
		addrs    []netip.Addr
		loopback bool
		want     []netip.Addr
	}{
		{addrs("127.0.0.1", "::1"), false, addrs("127.0.0.1", "::1")},
		{addrs("127.0.0.1", "192.0.2.1"), false, addrs("192.0.2.1")},
		{addrs("127.0.0.1", "192.0.2.1"), true, addrs("127.0.0.1", "192.0.2.1")},
		{addrs("fe80::1%eth0", "fe80::1", "169.254.1.1", "::", "ff02::1", "192.0.2.1", "::ffff:192.0.2.1"), false, addrs("192.0.2.1")},
		{many, false, many[:6]},
		{slices.Concat(many, many6[:1]), false, slices.Concat(many[:5], many6[:1])},
		{slices.Concat(many6, many[:2]), false, slices.Concat(many6[:4], many[:2])},
		{slices.Concat(many6, many), false, slices.Concat(many6[:3], many[:3])},
	} {
		if got := selectHosts(test.addrs, test.loopback); !slices.Equal(got, test.want) {
			t.Errorf("selectHosts(%v, %v) = %v, want %v", test.addrs, test.loopback, got, test.want)
		}
	}
}

// Whatever this machine looks like, something is offered.
func TestSystemAddresses(t *testing.T) {
	hosts, err := New(Config{}).hosts()
	if err != nil || len(hosts) == 0 {
		t.Errorf("hosts() = %v, %v", hosts, err)
	}
}
