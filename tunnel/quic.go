package tunnel

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"sync/atomic"
	"time"

	"github.com/apernet/quic-go"

	"peerway/signal"
	"peerway/tunnel/pathsock"
)

// This file has what concerns the QUIC library as a whole; congestion.go sets its
// controllers.

const (
	alpn = "peerway/1"

	handshakeIn = 10 * time.Second // for a peer to answer an offer and finish the handshake
	quicIdle    = 15 * time.Second // of silence after which a connection is lost
	keepAlive   = 5 * time.Second

	// maxLanes bounds the QUIC streams that a peer may have open: one per live
	// video and the pool of mixed lanes.
	maxLanes = 1024
)

// Application error codes of CONNECTION_CLOSE.
const (
	closeIdle     quic.ApplicationErrorCode = 0 // both ends agreed
	closeGoing    quic.ApplicationErrorCode = 1 // the process ends
	closeReplaced quic.ApplicationErrorCode = 2 // a newer tunnel took over
	closeBroken   quic.ApplicationErrorCode = 3 // the other end broke the protocol
)

// What may wait in QUIC for packets that are missing. With 3 % loss some are lost
// twice and come after three round trips, in which 200 Mbit/s over 200 ms bring 17 MB.
const (
	firstWindow = 12 << 20  // of each tunnel
	mostWindow  = 64 << 20  // of a tunnel
	moreWindow  = 128 << 20 // of all together, beyond the first
)

// The windows of all tunnels of a process keep to moreWindow.
type windows struct{ more atomic.Int64 }

// allow reports whether the window of conn may grow by n, and takes that until the
// end of conn.
func (w *windows) allow(conn *quic.Conn, n uint64) bool {
	if w.more.Add(int64(n)) > moreWindow {
		w.more.Add(-int64(n))
		return false
	}
	context.AfterFunc(conn.Context(), func() { w.more.Add(-int64(n)) })
	return true
}

func quicConfig(windows *windows) *quic.Config {
	return &quic.Config{
		HandshakeIdleTimeout:           handshakeIn, // the introduction may take most of that
		MaxIdleTimeout:                 quicIdle,
		KeepAlivePeriod:                keepAlive,
		InitialStreamReceiveWindow:     firstWindow,
		MaxStreamReceiveWindow:         mostWindow * 3 / 4, // more than a lane's largest stream
		InitialConnectionReceiveWindow: firstWindow,
		MaxConnectionReceiveWindow:     mostWindow,
		AllowConnectionWindowIncrease:  windows.allow,
		MaxIncomingStreams:             maxLanes,
		MaxIncomingUniStreams:          -1,
		InitialPacketSize:              pathsock.PacketSize,
		DisablePathMTUDiscovery:        true, // what a path carries is the path socket's business
		DisablePathManager:             true, // paths change below QUIC
	}
}

// certificate returns a self-signed certificate of id. Nobody checks anything
// in it but the key.
func certificate(id signal.Identity) (tls.Certificate, error) {
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		NotBefore:    time.Unix(0, 0),
		NotAfter:     time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC), // RFC 5280 section 4.1.2.5: no expiry
	}
	key := id.PrivateKey()
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("make the certificate: %w", err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}

// pinned returns the TLS settings for a connection with peer and nobody else.
func pinned(cert tls.Certificate, peer signal.PeerID) *tls.Config {
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		NextProtos:             []string{alpn},
		Certificates:           []tls.Certificate{cert},
		ClientAuth:             tls.RequireAnyClientCert,
		InsecureSkipVerify:     true, // VerifyConnection does it: the key is the name
		SessionTicketsDisabled: true,
		VerifyConnection: func(state tls.ConnectionState) error {
			if len(state.PeerCertificates) != 1 {
				return errors.New("want one certificate")
			}
			key, ok := state.PeerCertificates[0].PublicKey.(ed25519.PublicKey)
			if !ok || !key.Equal(ed25519.PublicKey(peer[:])) {
				return fmt.Errorf("the key is not that of %s", peer.Short())
			}
			return nil
		},
	}
}

// A transport is the QUIC endpoint of the process: one UDP socket for all
// peers. It is closed by close.
type transport struct {
	quic     *quic.Transport
	listener *quic.Listener
	windows  *windows
}

// listenQUIC takes ownership of sock. who names the peer that may connect from
// a fictitious address.
func listenQUIC(sock *pathsock.Socket, cert tls.Certificate, who func(net.Addr) (signal.PeerID, bool)) (*transport, error) {
	tr := &quic.Transport{Conn: sock, ConnectionIDLength: 8}
	server := &tls.Config{
		MinVersion: tls.VersionTLS13,
		GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			peer, ok := who(hello.Conn.RemoteAddr())
			if !ok {
				return nil, errors.New("no peer is expected from there")
			}
			return pinned(cert, peer), nil
		},
	}
	w := new(windows)
	ln, err := tr.Listen(server, quicConfig(w))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start QUIC: %w", err), tr.Close(), sock.Close())
	}
	return &transport{quic: tr, listener: ln, windows: w}, nil
}

func (t *transport) dial(ctx context.Context, to net.Addr, conf *tls.Config) (*quic.Conn, error) {
	return t.quic.Dial(ctx, to, conf, quicConfig(t.windows))
}

func (t *transport) accept(ctx context.Context) (*quic.Conn, error) {
	return t.listener.Accept(ctx)
}

func (t *transport) close() {
	t.listener.Close()
	t.quic.Close()
	t.quic.Conn.Close()
}

// The first byte of a QUIC stream says what it is for.
const (
	streamControl byte = 'c'
	streamLane    byte = 'l'
)

// A laneConn is a QUIC stream as package lane wants it. The byte that says what
// the stream is for goes out with the first write.
type laneConn struct {
	*quic.Stream
	announce []byte // not yet sent; only the one writer touches it
}

func (c *laneConn) Write(p []byte) (int, error) {
	if len(c.announce) == 0 {
		return c.Stream.Write(p)
	}
	first := append(c.announce, p...)
	c.announce = nil
	n, err := c.Stream.Write(first)
	return max(0, n-(len(first)-len(p))), err
}

// CloseWrite ends the outgoing direction.
func (c *laneConn) CloseWrite() error { return c.Stream.Close() }

// Reset ends both directions at once and unblocks whoever reads or writes.
func (c *laneConn) Reset() {
	c.CancelRead(0)
	c.CancelWrite(0)
}

// unanswered translates why a handshake has failed.
func unanswered(err error) error {
	_, silent := errors.AsType[*quic.IdleTimeoutError](err)
	_, slow := errors.AsType[*quic.HandshakeTimeoutError](err)
	if silent || slow {
		return fmt.Errorf("%w: the handshake is not answered", ErrNoPath)
	}
	return fmt.Errorf("handshake: %w", err)
}

// lost translates the end of a QUIC connection.
func lost(err error) error {
	if app, ok := errors.AsType[*quic.ApplicationError](err); ok {
		switch {
		case app.ErrorCode == closeIdle:
			return errIdle
		case app.ErrorCode == closeReplaced:
			return errReplaced
		case app.Remote && app.ErrorCode == closeGoing:
			return fmt.Errorf("%w: it was stopped", ErrPeerLost)
		case app.Remote && app.ErrorCode == closeBroken:
			return fmt.Errorf("%w: it says that this end broke the protocol", ErrPeerLost)
		}
		return err
	}
	if stream, ok := errors.AsType[*quic.StreamError](err); ok && stream.Remote {
		return fmt.Errorf("%w: it has ended the tunnel", ErrPeerLost)
	}
	if _, ok := errors.AsType[*quic.IdleTimeoutError](err); ok {
		return fmt.Errorf("%w: nothing heard for %v", ErrPeerLost, quicIdle)
	}
	if errors.Is(err, io.EOF) || err == nil {
		return ErrPeerLost
	}
	return err
}
