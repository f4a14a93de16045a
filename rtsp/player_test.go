package rtsp

import (
	"io"
	"net"
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
