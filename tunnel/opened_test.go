package tunnel

import (
	"testing"

	"peerway/signal"
)

// TestSamePort: a process listens where the last one with its identity did, for the sake of the router, and
// elsewhere while another does.
func TestSamePort(t *testing.T) {
	seed := mappingSeed(signal.NewIdentity())
	port := func(m *Manager) uint16 {
		t.Helper()
		sock, err := m.listen(seed)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { sock.Close() })
		if got := sock.Port(); got != seed.Port() {
			return got
		}
		other, err := m.listen(seed)
		if err != nil || other.Port() == seed.Port() {
			t.Fatalf("where the port is taken, listen() = %v, %v", other, err)
		}
		other.Close()
		sock.Close()
		return seed.Port()
	}
	m := New(Config{OpenPort: true})
	for range 2 {
		if got := port(m); got != seed.Port() {
			t.Errorf("it listens at %d, want %d", got, seed.Port())
		}
	}
	if got := port(New(Config{})); got == seed.Port() {
		t.Error("without the router it listens at the same port")
	}
}
