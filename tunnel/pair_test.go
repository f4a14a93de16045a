package tunnel

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"peerway/integration/leak"
	"peerway/signal"
	"peerway/tunnel/lane"
)

func TestMain(m *testing.M) { leak.Main(m) }

// A wire is a signal server between two Managers: it delivers in order, and can
// be cut.
type wire struct {
	from  signal.PeerID
	to    *Manager // set before Run
	near  *Manager // whose packets it carries; set before Run
	queue chan func(*Manager)
	cut   atomic.Bool
	spent atomic.Bool           // the quota of the two ends is used up
	stuck atomic.Bool           // Send waits for an answer that does not come
	err   atomic.Pointer[error] // what Send answers
}

func newWire(from signal.PeerID) *wire {
	return &wire{from: from, queue: make(chan func(*Manager), 4096)}
}

func (w *wire) run(ctx context.Context) {
	for {
		select {
		case f := <-w.queue:
			f(w.to)
		case <-ctx.Done():
			return
		}
	}
}

func (w *wire) Send(ctx context.Context, _ signal.PeerID, sealed []byte) error {
	if err := w.err.Load(); err != nil {
		return *err
	}
	if w.stuck.Load() {
		<-ctx.Done()
		return context.Cause(ctx)
	}
	w.post(func(m *Manager) { m.Deliver(w.from, sealed) })
	return nil
}

func (w *wire) Bind(uint64, signal.PeerID) error { return nil }

func (w *wire) Unbind(uint64) {}

func (w *wire) Relay(session uint64, packet []byte) error {
	if w.spent.Load() {
		w.post(func(m *Manager) { m.Spent(session, time.Hour) })
		w.near.Spent(session, time.Hour)
		return nil
	}
	p := append([]byte(nil), packet...)
	w.post(func(m *Manager) { m.Relayed(session, p) })
	return nil
}

func (w *wire) post(f func(*Manager)) {
	if w.cut.Load() {
		return
	}
	select {
	case w.queue <- f:
	default: // a relay may lose packets
	}
}

// An end is one process of a pair.
type end struct {
	*Manager
	id   signal.PeerID
	wire *wire // towards the other end
	kill func()
}

// newPair runs two Managers that know each other. Streams to either are served by
// handle.
func newPair(t testing.TB, loopback bool, linger time.Duration, handle func(context.Context, *Incoming)) (a, b *end) {
	t.Helper()
	return newPairOf(t, Config{Handle: handle, Listen: netip.MustParseAddrPort("127.0.0.1:0"), Loopback: loopback, linger: linger})
}

// newPairOf is newPair for what else cfg says.
func newPairOf(t testing.TB, cfg Config) (a, b *end) {
	t.Helper()
	ids := []signal.Identity{signal.NewIdentity(), signal.NewIdentity()}
	ends := make([]*end, 2)
	for i, id := range ids {
		w, cfg := newWire(id.PeerID()), cfg
		cfg.Identity, cfg.Instance, cfg.Signal = id, uint64(i+1), w
		cfg.Allowed = func(signal.PeerID) bool { return true }
		ends[i] = &end{id: id.PeerID(), wire: w, Manager: New(cfg)}
	}
	a, b = ends[0], ends[1]
	a.wire.to, b.wire.to = b.Manager, a.Manager
	a.wire.near, b.wire.near = a.Manager, b.Manager
	for _, e := range ends {
		ctx, cancel := context.WithCancel(context.Background())
		carrying, hangUp := context.WithCancel(context.Background())
		var running, wiring sync.WaitGroup
		wiring.Go(func() { e.wire.run(carrying) })
		running.Go(func() {
			if err := e.Run(ctx); !errors.Is(err, context.Canceled) {
				t.Errorf("Run() = %v", err)
			}
		})
		e.kill = sync.OnceFunc(func() {
			cancel()
			running.Wait()
			hangUp()
			wiring.Wait()
		})
		t.Cleanup(e.kill)
		<-e.running
		e.Connected(netip.AddrPort{}, netip.AddrPort{})
	}
	return a, b
}

// echo serves the service "echo", and refuses others with code 7.
func echo(_ context.Context, in *Incoming) {
	if in.Header().Service != "echo" {
		in.Answer(7, "no such service")
		return
	}
	if in.Answer(0, "") != nil {
		return
	}
	if _, err := io.Copy(in, in); err == nil {
		in.CloseWrite()
	}
}

// ping sends p through the service "echo" of the other end and wants it back.
func ping(ctx context.Context, m *Manager, peer signal.PeerID, p []byte) error {
	st, err := m.DialContext(ctx, peer, "echo", lane.Mixed)
	if err != nil {
		return err
	}
	defer st.Close()
	var writing sync.WaitGroup
	defer writing.Wait()
	writing.Go(func() { st.Write(p); st.CloseWrite() })
	got, err := io.ReadAll(st)
	if err != nil {
		return err
	}
	if string(got) != string(p) {
		return errors.New("what came back is not what was sent")
	}
	return nil
}

// path waits until the tunnel of m with its only peer is on the path.
func waitPath(t testing.TB, m *Manager, want string) {
	t.Helper()
	deadline := time.NewTimer(20 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		if up := m.Tunnels(); len(up) == 1 && up[0].Path == want {
			return
		}
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("tunnels = %+v, want one that is %s", m.Tunnels(), want)
		}
	}
}

// waitNone waits until m has no tunnel.
func waitNone(t testing.TB, m *Manager) {
	t.Helper()
	deadline := time.NewTimer(20 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for len(m.Tunnels()) > 0 {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("tunnels = %+v, want none", m.Tunnels())
		}
	}
}

var _ net.Conn = (*lane.Stream)(nil)
