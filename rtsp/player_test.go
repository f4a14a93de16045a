package rtsp

import (
	"io"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// heldFrame is an interleaved frame with a packet of media that is not the last of
// its picture.
func heldFrame() []byte {
	frame := make([]byte, 4+1200)
	frame[0], frame[2], frame[3], frame[4] = '$', 1200>>8, 1200&0xff, 0x80
	return frame
}

// What is held back when a player's connection ends still reaches him.
func TestPlayerGetsTheLastPackets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, players := net.Pipe()
		got := make(chan int, 1)
		go func() {
			b, _ := io.ReadAll(players)
			got <- len(b)
		}()
		c := newPlayerConn(ours)
		for range 2 {
			if _, err := c.Write(heldFrame()); err != nil {
				t.Fatal(err)
			}
		}
		c.Close()
		if got, want := <-got, 2*len(heldFrame()); got != want {
			t.Errorf("the player got %d bytes, want %d", got, want)
		}
	})
}

// A player that takes nothing does not hold up the end of his connection.
func TestPlayerThatTakesNothingIsClosed(t *testing.T) {
	ours, players := net.Pipe()
	defer players.Close()
	c := newPlayerConn(ours)
	c.Write(heldFrame())
	if _, err := players.Read(make([]byte, 1)); err != nil { // a write is under way then
		t.Fatal(err)
	}
	begun := time.Now()
	c.Close()
	if took := time.Since(begun); took > writeWithin/2 {
		t.Errorf("closed after %v, want %v", took, lastWriteIn)
	}
}

// BenchmarkPicture sends a picture of 14 packets to four players over TCP, as
// the gateway does it and as gortsplib would do it alone.
func BenchmarkPicture(b *testing.B) {
	for _, way := range []struct {
		name string
		wrap func(net.Conn) net.Conn
	}{
		{"gathered", func(c net.Conn) net.Conn { return newPlayerConn(c) }},
		{"packet by packet", func(c net.Conn) net.Conn { return c }},
	} {
		b.Run(way.name, func(b *testing.B) {
			var players []net.Conn
			var reading sync.WaitGroup
			for range 4 {
				ours, theirs := tcpConns(b)
				reading.Go(func() {
					io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{theirs}, make([]byte, 64<<10))
					theirs.Close()
				})
				players = append(players, way.wrap(ours))
			}
			packet, last := heldFrame(), heldFrame()
			last[5] |= 0x80
			b.ReportAllocs()
			for b.Loop() {
				for i := range 14 {
					frame := packet
					if i == 13 {
						frame = last
					}
					for _, p := range players {
						p.SetWriteDeadline(time.Now().Add(writeWithin))
						if _, err := p.Write(frame); err != nil {
							b.Fatal(err)
						}
					}
				}
			}
			for _, p := range players {
				p.Close()
			}
			reading.Wait()
		})
	}
}

// tcpConns returns the two ends of a connection on this machine.
func tcpConns(t testing.TB) (a, b net.Conn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if a, err = net.Dial("tcp", ln.Addr().String()); err == nil {
		b, err = ln.Accept()
	}
	if err != nil {
		t.Fatal(err)
	}
	return a, b
}
