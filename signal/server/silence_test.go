package server_test

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"peerway/signal"
	"peerway/signal/client"
	"peerway/signal/relay"
	"peerway/signal/server"
)

// A quiet is a handler that notes when it is connected and disconnected.
type quiet struct {
	*client.Client
	connected, disconnected atomic.Int64          // how often
	lost                    atomic.Pointer[error] // the last reason
}

func (*quiet) Deliver(signal.PeerID, []byte) {}
func (*quiet) Relayed(uint64, []byte)        {}
func (*quiet) Granted(uint64, []relay.Place) {}

func (*quiet) Spent(uint64, time.Duration) {}
func (*quiet) Presence(signal.Presence)    {}
func (q *quiet) Connected(client.Info)     { q.connected.Add(1) }
func (q *quiet) Disconnected(err error)    { q.lost.Store(&err); q.disconnected.Add(1) }

// A valve is a connection whose writes, and whose end, can be made to vanish.
type valve struct {
	net.Conn
	shut *atomic.Bool
}

func (v valve) Write(p []byte) (int, error) {
	if v.shut.Load() {
		return len(p), nil
	}
	return v.Conn.Write(p)
}

func (v valve) Close() error {
	if v.shut.Load() {
		return nil
	}
	return v.Conn.Close()
}

// A bubble is a server without a network in a synctest bubble.
type bubble struct {
	*server.Server
	ctx    context.Context
	served sync.WaitGroup
	// Nothing arrives in that direction any more while these are true.
	toServer, toClient atomic.Bool
}

func newBubble(t *testing.T) *bubble {
	s, err := server.New(server.Config{State: server.NewState()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	b := &bubble{Server: s, ctx: ctx}
	b.served.Go(func() { s.Sweep(ctx) })
	t.Cleanup(func() {
		cancel(errTestOver)
		b.served.Wait()
	})
	return b
}

func (b *bubble) dial(context.Context, string, string) (net.Conn, error) {
	near, far := net.Pipe()
	b.served.Go(func() { b.ServeConn(b.ctx, valve{far, &b.toClient}) })
	return valve{near, &b.toServer}, nil
}

func (b *bubble) runClient(t *testing.T) *quiet {
	q := new(quiet)
	url := b.URL("server:1")
	c := client.New(client.Config{URL: url, Identity: signal.NewIdentity(), Name: "home", Handler: q, DialContext: b.dial})
	q.Client = c
	b.served.Go(func() {
		if err := c.Run(b.ctx); b.ctx.Err() == nil {
			t.Errorf("Run() = %v", err)
		}
	})
	synctest.Wait()
	return q
}

func TestHeartbeatsKeepAConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t)
		q := b.runClient(t)
		time.Sleep(time.Hour)
		if q.connected.Load() != 1 || q.disconnected.Load() != 0 || b.Online() != 1 {
			t.Errorf("after an hour: connected %d times, disconnected %d times (%v), %d online",
				q.connected.Load(), q.disconnected.Load(), q.lost.Load(), b.Online())
		}
	})
}

// After a change of the network a connection that still works stays, and one that does
// not is found out within seconds, whatever came on it just before.
func TestNetworkChanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t)
		q := b.runClient(t)
		time.Sleep(time.Minute + 4*time.Second)
		q.NetworkChanged()
		time.Sleep(time.Minute)
		if q.disconnected.Load() != 0 {
			t.Errorf("a connection that works is lost: %v", *q.lost.Load())
		}
		b.toClient.Store(true)
		q.NetworkChanged()
		time.Sleep(5 * time.Second)
		if q.disconnected.Load() != 1 {
			t.Error("a dead connection is not found out")
		}
		b.toClient.Store(false)
		time.Sleep(time.Minute)
		if q.connected.Load() != 2 {
			t.Errorf("connected %d times, want 2", q.connected.Load())
		}
	})
}

// A client that waits, or dials in vain, does not go on with that when the network changes.
func TestNetworkChangedWhileDialing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t)
		var stuck atomic.Bool
		stuck.Store(true)
		q := new(quiet)
		q.Client = client.New(client.Config{URL: b.URL("server:1"), Identity: signal.NewIdentity(), Name: "home", Handler: q,
			DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
				if stuck.Load() {
					<-ctx.Done()
					return nil, context.Cause(ctx)
				}
				return b.dial(ctx, network, addr)
			}})
		b.served.Go(func() { q.Run(b.ctx) })
		time.Sleep(5 * time.Second)
		stuck.Store(false)
		q.NetworkChanged()
		time.Sleep(time.Second)
		if q.connected.Load() != 1 {
			t.Error("it goes on with a dial of the old network")
		}
	})
}

// The server forgets a peer of which it hears nothing after 60 s, and within the
// time between two sweeps.
func TestServerLosesASilentPeer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t)
		b.runClient(t)
		b.toServer.Store(true)
		time.Sleep(59 * time.Second)
		if b.Online() != 1 {
			t.Error("lost before its time")
		}
		time.Sleep(8 * time.Second)
		if b.Online() != 0 {
			t.Error("a silent peer is still online")
		}
	})
}

// The client gives a silent server up soon after the pong that is missing.
func TestClientLosesASilentServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t)
		q := b.runClient(t)
		b.toClient.Store(true)
		time.Sleep(29 * time.Second)
		if q.disconnected.Load() != 0 {
			t.Errorf("gave up before its time: %v", q.lost.Load())
		}
		time.Sleep(10 * time.Second)
		if q.disconnected.Load() != 1 {
			t.Error("a silent server was not given up")
		}
		b.toClient.Store(false)
		time.Sleep(2 * time.Minute) // the dialing that is under way, and the backoff
		if q.connected.Load() != 2 {
			t.Errorf("connected %d times, want 2", q.connected.Load())
		}
	})
}

// A connection that says nothing is cut after 10 s.
func TestMuteConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t)
		conn, _ := b.dial(nil, "", "")
		defer conn.Close()
		began := time.Now()
		if _, err := conn.Read(make([]byte, 1)); err == nil || errors.Is(err, net.ErrClosed) {
			t.Errorf("Read() = %v", err)
		}
		if took := time.Since(began); took != 10*time.Second {
			t.Errorf("cut after %v, want 10s", took)
		}
	})
}

// A connection that may only pair is cut after 30 s, also if its peer is gone
// without a word.
func TestPairingConnectionEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t)
		home := client.New(client.Config{URL: b.URL("server:1"), Identity: signal.NewIdentity(), Name: "home",
			Handler: new(quiet), DialContext: b.dial})
		b.served.Go(func() { home.Run(b.ctx) })
		synctest.Wait()
		m, err := home.OpenMailbox(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		b.toServer.Store(true) // home does not reply

		var vanished, ended atomic.Bool
		dial := func(context.Context, string, string) (net.Conn, error) {
			near, far := net.Pipe()
			b.served.Go(func() {
				b.ServeConn(b.ctx, far)
				ended.Store(true)
			})
			return valve{near, &vanished}, nil
		}
		time.AfterFunc(10*time.Second, func() { vanished.Store(true) })
		began := time.Now()
		_, err = client.Pair(t.Context(), client.PairConfig{Code: m.Code(), Identity: signal.NewIdentity(), Name: "laptop",
			Connection: client.Config{DialContext: dial}})
		if took := time.Since(began); err == nil || took < 20*time.Second || ended.Load() {
			t.Errorf("Pair() = %v after %v; the server has ended the connection: %v", err, took, ended.Load())
		}
		time.Sleep(31*time.Second - time.Since(began))
		if !ended.Load() {
			t.Error("the connection lives longer than 30 s")
		}
	})
}
