package datagram

import (
	"encoding/binary"
	"net"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
)

func TestControlRoundTrip(t *testing.T) {
	for _, want := range []Control{{}, {Segment: 1}, {Segment: 1452, ECN: 2}, {ECN: 1}, {ECN: 3}, {Segment: 65535, ECN: 3}} {
		for _, is4 := range []bool{true, false} {
			oob := want.Append(nil, is4)
			if got := ParseControl(oob); got != want {
				t.Errorf("%+v, IPv4 %v, becomes %+v", want, is4, got)
			}
			if _, err := unix.ParseSocketControlMessage(oob); err != nil {
				t.Errorf("%+v, IPv4 %v: %v", want, is4, err)
			}
		}
	}
	if got := len(Control{Segment: 1, ECN: 1}.Append(nil, false)); got > controlSpace {
		t.Errorf("a control message takes %d bytes, more than %d", got, controlSpace)
	}
}

// TestControlIgnoresPacketInfo puts a source address, which QUIC repeats from
// an early packet, before the messages that count.
func TestControlIgnoresPacketInfo(t *testing.T) {
	oob := unix.PktInfo4(&unix.Inet4Pktinfo{Ifindex: 3, Spec_dst: [4]byte{192, 0, 2, 1}})
	oob = append(oob, unix.PktInfo6(&unix.Inet6Pktinfo{Ifindex: 3})...)
	want := Control{Segment: 1200, ECN: 2}
	if got := ParseControl(append(oob, want.Append(nil, false)...)); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// FuzzControl compares with the reader of x/sys, on what the kernel or QUIC
// may have written.
func FuzzControl(f *testing.F) {
	f.Add([]byte{})
	f.Add(Control{Segment: 1200, ECN: 2}.Append(nil, true))
	f.Add(Control{Segment: 1200, ECN: 2}.Append(nil, false))
	f.Add(Control{Segment: 1200, ECN: 2}.Append(nil, false)[:30])
	f.Fuzz(func(t *testing.T, oob []byte) {
		aligned := make([]byte, len(oob)) // x/sys needs it
		copy(aligned, oob)
		if c := ParseControl(oob); c.ECN > ecnMask {
			t.Errorf("ECN is %d", c.ECN)
		}
		rest := oob
		for {
			level, kind, body, next, ok := nextMessage(rest)
			if len(rest) < unix.SizeofCmsghdr { // x/sys does not check
				if ok {
					t.Fatalf("read a message from %d bytes", len(rest))
				}
				return
			}
			h, wantBody, wantNext, err := unix.ParseOneSocketControlMessage(aligned[len(oob)-len(rest):])
			if ok != (err == nil) {
				t.Fatalf("read is %v, x/sys says %v", ok, err)
			}
			if !ok {
				return
			}
			if level != h.Level || kind != h.Type || len(body) != len(wantBody) || len(next) != len(wantNext) {
				t.Fatalf("read level %d, kind %d, %d bytes, %d left; want %d, %d, %d, %d",
					level, kind, len(body), len(next), h.Level, h.Type, len(wantBody), len(wantNext))
			}
			rest = next
		}
	})
}

func TestParseName(t *testing.T) {
	inet4 := make([]byte, unix.SizeofSockaddrInet4)
	binary.NativeEndian.PutUint16(inet4, unix.AF_INET)
	copy(inet4[2:], []byte{0x1f, 0x90, 192, 0, 2, 1})
	inet6 := func(ip string, scope uint32) []byte {
		b := make([]byte, unix.SizeofSockaddrInet6)
		binary.NativeEndian.PutUint16(b, unix.AF_INET6)
		copy(b[2:], []byte{0x1f, 0x90})
		copy(b[8:], net.ParseIP(ip).To16())
		binary.NativeEndian.PutUint32(b[24:], scope)
		return b
	}
	for _, test := range []struct {
		name []byte
		want string
	}{
		{inet4, "192.0.2.1:8080"},
		{inet6("::ffff:192.0.2.1", 0), "192.0.2.1:8080"},
		{inet6("2001:db8::1", 7), "[2001:db8::1]:8080"},
		{inet6("fe80::1", 7), "[fe80::1%7]:8080"},
	} {
		if got, want := parseName(test.name), netip.MustParseAddrPort(test.want); got != want {
			t.Errorf("%x is %v, want %v", test.name, got, want)
		}
		for n := range test.name {
			if got := parseName(test.name[:n]); n < unix.SizeofSockaddrInet4 && got.IsValid() {
				t.Errorf("%d bytes of an address are %v", n, got)
			}
		}
	}
}

func FuzzName(f *testing.F) {
	f.Add(make([]byte, unix.SizeofSockaddrInet4))
	f.Add(make([]byte, unix.SizeofSockaddrInet6))
	f.Fuzz(func(t *testing.T, b []byte) {
		if a := parseName(b); a.Addr().Is4In6() {
			t.Errorf("%v is not in the form in which addresses are compared", a)
		}
	})
}
