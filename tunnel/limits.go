package tunnel

import (
	"peerway/tunnel/network"
)

// Limits are what an end knows of itself, before anything was tried, that stands in the way
// of direct paths. Those of a peer are as it says: bits without a meaning are possible.
type Limits uint8

// Limits. Their values are those of the protocol.
const (
	Metered  Limits = 1 << iota // Config.Sparing is set
	KeepsOut                    // Config.OpenPort is not set
	HardNAT                     // its NAT gives every destination another port, which nobody can guess, and its router opens none
	NoUDP                       // the signal server's STUN does not answer
	Unasked                     // nobody could be asked what UDP does there
)

// limits returns those of this end.
func (m *Manager) limits() (l Limits) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for limit, is := range map[Limits]bool{
		Metered:  m.cfg.Sparing,
		KeepsOut: !m.cfg.OpenPort,
		HardNAT:  m.nat.Mapping == network.Dependent && m.nat.Delta == 0 && !(m.opening != nil && m.opening.known().IsValid()),
		NoUDP:    m.deaf,
		Unasked:  m.connected && !m.server.IsValid() && !m.other.IsValid(),
	} {
		if is {
			l |= limit
		}
	}
	return l
}

// isConnected reports whether there is a signal server.
func (m *Manager) isConnected() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.connected
}

// tellLimits tells all peers what is known now.
func (m *Manager) tellLimits() {
	m.routes.Range(func(_, v any) bool {
		s := v.(*session)
		select {
		case <-s.ready:
			s.control.send(message{Kind: hello, Instance: m.cfg.Instance})
		default: // the first message says it
		}
		return true
	})
}
