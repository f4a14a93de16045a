package rtsp

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"peerway/proxy"
	"peerway/rtsp/wire"
)

// flushWithin is how long a closing connection waits for the peer to have taken
// everything.
const flushWithin = time.Second

// A cameraConn is the connection to a camera, between the tunnel and gortsplib.
// It neutralises two faults of gortsplib 4.16.2, which drops a track for ever
// when its SSRC changes, and the connection when media comes before it is
// expected. It owns the connection.
type cameraConn struct {
	proxy.Conn

	playing atomic.Bool // PLAY was sent: media may come

	mu   sync.Mutex // held while reading
	in   *wire.Reader
	rest []byte // of the part that is being read
	pins map[track]*pin
	done bool
}

// A track is what may have an SSRC of its own.
type track struct {
	channel, payloadType byte
}

// A pin keeps the SSRC of a track, and of its reports, as it was first.
type pin struct {
	first, now uint32
}

func newCameraConn(c proxy.Conn) *cameraConn {
	return &cameraConn{Conn: c, in: wire.NewReader(c), pins: make(map[track]*pin)}
}

// Write implements [net.Conn]. gortsplib writes each message at once.
func (c *cameraConn) Write(p []byte) (int, error) {
	if bytes.HasPrefix(p, []byte("PLAY ")) {
		c.playing.Store(true)
	}
	return c.Conn.Write(p)
}

// Read implements [net.Conn].
func (c *cameraConn) Read(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.rest) == 0 {
		if c.done {
			return 0, net.ErrClosed
		}
		part, err := c.in.Next()
		switch {
		case err != nil:
			return 0, err
		case part.Frame == nil:
			c.rest = append(part.Head, part.Body...) // they follow each other in memory
		case c.playing.Load():
			c.keepSSRC(part)
			c.rest = part.Frame
		}
	}
	n := copy(p, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

// keepSSRC rewrites the SSRC of a packet to the first one of its kind. Media is
// on even channels, RTCP on the next one, as gortsplib asks for it.
func (c *cameraConn) keepSSRC(part wire.Part) {
	packet := part.Payload()
	switch {
	case part.Channel()%2 == 1:
		c.keepReports(part.Channel()-1, packet)
	case len(packet) >= 12:
		c.keep(packet[8:12], track{part.Channel(), packet[1] & 0x7f})
	}
}

// keep pins the SSRC of a media packet.
func (c *cameraConn) keep(ssrc []byte, of track) {
	now := binary.BigEndian.Uint32(ssrc)
	p := c.pins[of]
	if p == nil {
		p = &pin{first: now}
		c.pins[of] = p
	}
	p.now = now
	binary.BigEndian.PutUint32(ssrc, p.first)
}

// keepReports gives the sender reports in a compound packet the SSRC that their
// media has.
func (c *cameraConn) keepReports(channel byte, packet []byte) {
	for len(packet) >= 8 {
		size := 4 + 4*int(binary.BigEndian.Uint16(packet[2:]))
		if size > len(packet) {
			return
		}
		const senderReport = 200
		if packet[1] == senderReport && size >= 8 {
			now := binary.BigEndian.Uint32(packet[4:])
			for of, p := range c.pins {
				if of.channel == channel && p.now == now {
					binary.BigEndian.PutUint32(packet[4:], p.first)
					break
				}
			}
		}
		packet = packet[size:]
	}
}

// Close lets the peer take what was written, TEARDOWN above all, for a second at
// most, and closes the connection.
func (c *cameraConn) Close() error {
	if c.CloseWrite() == nil {
		c.SetReadDeadline(time.Unix(1, 0)) // gortsplib's reader lets go
		c.mu.Lock()
		c.done = true
		c.SetReadDeadline(time.Now().Add(flushWithin))
		io.Copy(io.Discard, c.Conn)
		c.mu.Unlock()
	}
	return c.Conn.Close()
}
