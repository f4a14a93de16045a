package tunnel

import (
	"context"
	"net/netip"
	"time"

	"peerway/tunnel/network"
)

// mappedFor is how long an address that STUN once told is offered to peers
// before it was asked again. NATs forget sooner; then the offer is one useless
// candidate, and the fresh address follows.
const mappedFor = 5 * time.Minute

// mappedIn bounds one STUN query.
const mappedIn = 3 * time.Second

// A mapping is the address that the signal server's STUN saw this process at.
type mapping struct {
	addr netip.AddrPort
	at   time.Time
}

// stunServer returns where STUN can be asked, or the zero value.
func (m *Manager) stunServer() netip.AddrPort {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.server
}

// lastMapped returns the addresses worth offering before STUN has answered.
func (m *Manager) lastMapped() []netip.AddrPort {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.mapping.addr.IsValid() || time.Since(m.mapping.at) > mappedFor {
		return nil
	}
	return []netip.AddrPort{m.mapping.addr}
}

// mappedBy asks server for the mapped address and remembers it.
func (m *Manager) mappedBy(ctx context.Context, server netip.AddrPort) (netip.AddrPort, error) {
	ctx, cancel := context.WithTimeout(ctx, mappedIn)
	defer cancel()
	addr, err := m.puncher.Mapped(ctx, server)
	if err != nil {
		return netip.AddrPort{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mapping = mapping{addr: addr, at: time.Now()}
	return addr, nil
}

// askNAT has the NAT looked at. It never blocks.
func (m *Manager) askNAT() {
	select {
	case m.unsure <- struct{}{}:
	default:
	}
}

// learnNAT finds out what is between this host and the signal server, whenever that is
// not known, until ctx is done.
func (m *Manager) learnNAT(ctx context.Context) {
	for {
		select {
		case <-m.unsure:
		case <-ctx.Done():
			return
		}
		server := m.stunServer()
		if !server.IsValid() {
			continue
		}
		for _, probe := range []func(context.Context, netip.AddrPort) (network.NAT, error){network.ProbeMapping, network.ProbeNAT} {
			nat, err := probe(ctx, server)
			if err != nil {
				m.log.Debug("the NAT is unknown", "err", err)
				break
			}
			if nat.Mapping == network.Unknown {
				continue // perhaps a packet was lost; what was known before is better
			}
			m.mu.Lock()
			m.nat = nat
			m.mu.Unlock()
			m.routes.Range(func(_, s any) bool {
				select {
				case s.(*session).nat <- nat:
				default: // the next attempt will know
				}
				return true
			})
		}
	}
}

// knownNAT returns what is known of this host's NAT.
func (m *Manager) knownNAT() network.NAT {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.nat
}
