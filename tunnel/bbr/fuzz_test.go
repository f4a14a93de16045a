package bbr

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"
)

// FuzzController tells a controller whatever comes to mind: packets that were
// never sent, sizes and times that cannot be. It must keep its promises.
func FuzzController(f *testing.F) {
	random := rand.New(rand.NewPCG(41, 1))
	for range 20 {
		seed := make([]byte, 400)
		for i := range seed {
			seed[i] = byte(random.Uint32())
		}
		f.Add(seed)
	}
	f.Add([]byte{0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3})
	f.Fuzz(func(t *testing.T, script []byte) {
		s := hostile{script: script}
		now := s.time()
		c := New(Config{PacketSize: s.size(), RTT: s.time(), Rand: func() float64 { return 0.5 }}, now)
		number := int64(0)
		for range 2000 {
			if len(s.script) == 0 {
				break
			}
			switch s.byte() % 8 {
			case 0, 1, 2:
				number++
				c.Sent(now, number, packetSize, int64(s.byte())*packetSize, true)
			case 3:
				c.Sent(s.moment(now), s.number(), s.number(), s.number(), s.byte()%2 == 0)
			case 4:
				p := Packet{number - int64(s.byte()%8), packetSize}
				c.Event(now, int64(s.byte())*packetSize, []Packet{p}, nil)
			case 5:
				c.Event(s.moment(now), s.number(), s.packets(number), s.packets(number))
			case 6:
				now += Time(s.byte()) * time.Millisecond
			case 7:
				if s.byte()%8 == 0 {
					c.Reset(s.moment(now))
				}
			}
			s.check(t, c, now)
		}
	})
}

// hostile turns bytes into arguments, often odd ones.
type hostile struct {
	script []byte
	latest Time // that the controller was told, or more
}

func (s *hostile) byte() byte {
	if len(s.script) == 0 {
		return 0
	}
	b := s.script[0]
	s.script = s.script[1:]
	return b
}

func (s *hostile) number() int64 {
	switch b := s.byte(); b % 8 {
	case 0:
		return int64(b)
	case 1:
		return -int64(b)
	case 2:
		return math.MaxInt64 - int64(b)
	case 3:
		return math.MinInt64 + int64(b)
	case 4:
		return int64(b) * packetSize
	case 5:
		return int64(b) << 32
	}
	if len(s.script) < 8 {
		return 0
	}
	v := int64(binary.LittleEndian.Uint64(s.script))
	s.script = s.script[8:]
	return v
}

func (s *hostile) size() int { return int(s.number() % 70_000) }

// time returns a duration of up to some years, of either sign.
func (s *hostile) time() Time { return Time(s.number() >> 8) }

// moment returns one around now, or far away from it.
func (s *hostile) moment(now Time) Time {
	at := now
	switch s.byte() % 4 {
	case 0:
		at += s.time()
	case 1:
		at -= Time(s.byte()) * time.Millisecond
	}
	s.latest = max(s.latest, at)
	return at
}

func (s *hostile) packets(newest int64) []Packet {
	packets := make([]Packet, s.byte()%5)
	for i := range packets {
		if s.byte()%2 == 0 {
			packets[i] = Packet{newest - int64(s.byte()), packetSize}
		} else {
			packets[i] = Packet{s.number(), s.number()}
		}
	}
	return packets
}

func (s *hostile) check(t *testing.T, c *Controller, now Time) {
	t.Helper()
	s.latest = max(s.latest, now)
	if window := c.Window(); window < 4*c.smss || window > maxPackets*c.smss {
		t.Fatalf("the window is %d bytes, of packets of %d", window, c.smss)
	}
	if c.Bandwidth() < 0 || c.MinRTT() < 0 {
		t.Fatalf("bandwidth %d, round trip %v", c.Bandwidth(), c.MinRTT())
	}
	if !c.MaySend(s.latest) {
		if next := c.NextSend(); next > s.latest+time.Second {
			t.Fatalf("next packet at %v, %v from now", next, next-s.latest)
		}
	}
	if c.State() == "" {
		t.Fatal("no state")
	}
}

// deepSize returns the bytes that v refers to, unexported or not.
func deepSize(v reflect.Value) int {
	size := 0
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if !v.IsNil() {
			size = int(v.Elem().Type().Size()) + deepSize(v.Elem())
		}
	case reflect.Struct:
		for _, field := range v.Fields() {
			size += deepSize(field)
		}
	case reflect.Slice:
		size = v.Cap() * int(v.Type().Elem().Size())
	case reflect.Map:
		size = v.Len() * int(v.Type().Key().Size()+v.Type().Elem().Size())
	}
	return size
}

// TestMemory has a connection live long with packets of which the controller is
// never told the end: quic-go's probes take some for lost in silence.
func TestMemory(t *testing.T) {
	c := New(Config{PacketSize: packetSize, RTT: 40 * ms}, 0)
	now := Time(0)
	for number := int64(1); number <= 1_000_000; number++ {
		now += 100 * time.Microsecond
		c.Sent(now, number, packetSize, 32*packetSize, true)
		if old := number - 31; old > 0 && number%100 != 0 { // one in a hundred is forgotten
			c.Event(now, 32*packetSize, []Packet{{old, packetSize}}, nil)
		}
		c.Sent(now, number, 40, 32*packetSize, false)
	}
	if got := deepSize(reflect.ValueOf(c)); got > 256<<10 {
		t.Errorf("32 packets in flight take %d bytes", got)
	}

	// And the worst: nothing is ever heard again.
	for number := int64(1_000_001); number <= 2_000_000; number++ {
		now += 100 * time.Microsecond
		c.Sent(now, number, packetSize, 32*packetSize, true)
	}
	if got := deepSize(reflect.ValueOf(c)); got > 16<<20 {
		t.Errorf("a peer that is gone takes %d bytes", got)
	}
}

// TestHostileNumbers is the fuzz target with more bytes than its seeds.
func TestHostileNumbers(t *testing.T) {
	for seed := range uint64(200) {
		random := rand.New(rand.NewPCG(43, seed))
		script := make([]byte, 8000)
		for i := range script {
			script[i] = byte(random.Uint32())
		}
		s := hostile{script: script}
		c := New(Config{PacketSize: packetSize, RTT: s.time()}, 0)
		for now := Time(0); len(s.script) > 0; now += Time(s.byte()) * time.Millisecond {
			number := s.number()
			switch s.byte() % 3 {
			case 0:
				c.Sent(s.moment(now), number, s.number(), s.number(), true)
			case 1:
				c.Event(s.moment(now), s.number(), s.packets(number), s.packets(number))
			case 2:
				c.Reset(s.moment(now))
			}
			s.check(t, c, now)
		}
		if got := deepSize(reflect.ValueOf(c)); got > 16<<20 {
			t.Fatalf("it takes %d bytes", got)
		}
	}
}
