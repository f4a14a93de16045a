package client

import (
	"context"
	"errors"
	"net"
	"sync"
	"testing"
	"time"

	"peerway/signal"
	"peerway/signal/relay"
	"peerway/signal/server"
)

// A deafConn hears nothing any more once it is deaf, as after a power failure.
type deafConn struct {
	net.Conn
	deaf <-chan struct{}
}

func (c deafConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	select {
	case <-c.deaf:
		return 0, errors.New("deaf")
	default:
		return n, err
	}
}

// Close leaves the connection open: nobody says goodbye.
func (c deafConn) Close() error { return nil }

type nobody struct{ connected chan struct{} }

func (nobody) Deliver(signal.PeerID, []byte) {}
func (nobody) Relayed(uint64, []byte)        {}
func (nobody) Granted(uint64, []relay.Place) {}
func (nobody) Spent(uint64, time.Duration)   {}
func (nobody) Presence(signal.Presence)      {}
func (n nobody) Connected(Info)              { n.connected <- struct{}{} }
func (nobody) Disconnected(error)            {}

// TestNoReply uses the code of a peer that the server does not know to be dead.
func TestNoReply(t *testing.T) {
	s, err := server.New(server.Config{Listen: "127.0.0.1:0", State: server.NewState()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	running.Go(func() { s.Run(ctx) })
	<-s.Ready()
	deaf := make(chan struct{})
	var raw net.Conn
	home := New(Config{
		URL: s.URL("127.0.0.1"), Identity: signal.NewIdentity(), Name: "home", Handler: nobody{make(chan struct{}, 8)},
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			if raw != nil {
				return nil, errors.New("dead")
			}
			raw, err = new(net.Dialer).DialContext(ctx, network, addr)
			return deafConn{raw, deaf}, err
		},
	})
	defer func() { raw.Close() }()
	running.Go(func() { home.Run(ctx) })
	box, err := home.OpenMailbox(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	close(deaf)
	claimed := 0
	_, err = Pair(t.Context(), PairConfig{
		Code: box.Code(), Identity: signal.NewIdentity(), Name: "laptop", Claimed: func() { claimed++ }, replyIn: 100 * time.Millisecond,
	})
	if !errors.Is(err, ErrNoReply) || claimed != 1 {
		t.Errorf("Pair() = %v, claimed %d times", err, claimed)
	}
	if _, err := Pair(t.Context(), PairConfig{Code: signal.NewCode("127.0.0.1:1", signal.Pin{}), Identity: signal.NewIdentity(), Name: "laptop"}); !errors.Is(err, ErrUnreachable) {
		t.Errorf("Pair() without a server = %v", err)
	}
}
