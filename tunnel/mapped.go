package tunnel

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"peerway/tunnel/network"
	"peerway/tunnel/punch"
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

// stunServer returns where the signal server is that this process is connected to, or
// the zero value.
func (m *Manager) stunServer() netip.AddrPort {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.server
}

// stunServers returns where STUN can be asked, that of IPv4 first: a NAT is there, if
// anywhere.
func (m *Manager) stunServers() (all []netip.AddrPort) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, server := range []netip.AddrPort{m.server, m.other} {
		switch {
		case server.Addr().Is4():
			all = slices.Insert(all, 0, server)
		case server.IsValid():
			all = append(all, server)
		}
	}
	return all
}

// lastMapped returns the addresses worth offering before STUN has answered.
func (m *Manager) lastMapped() (all []netip.AddrPort) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, known := range m.mappings {
		if known.addr.IsValid() && time.Since(known.at) <= mappedFor {
			all = append(all, known.addr)
		}
	}
	if m.opening != nil {
		if open := m.opening.known(); open.IsValid() {
			all = append(all, open)
		}
	}
	return all
}

// mappedBy asks server for the mapped address of an attempt, and remembers that of the
// shared socket.
func (m *Manager) mappedBy(ctx context.Context, a *punch.Attempt, server netip.AddrPort) (netip.AddrPort, error) {
	ctx, cancel := context.WithTimeout(ctx, mappedIn)
	defer cancel()
	addr, err := a.Mapped(ctx, server)
	if err != nil || a.Own() {
		return addr, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	version := 0
	if addr.Addr().Is6() {
		version = 1
	}
	m.mappings[version] = mapping{addr: addr, at: time.Now()}
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
		for _, server := range m.stunServers() {
			if m.probeNAT(ctx, server) {
				break
			}
		}
	}
}

// probeNAT learns about the NAT from one server, and tells all sessions. It reports false
// if that server has nothing to say.
func (m *Manager) probeNAT(ctx context.Context, server netip.AddrPort) (learned bool) {
	for _, probe := range []func(context.Context, netip.AddrPort) (network.NAT, error){network.ProbeMapping, network.ProbeNAT} {
		nat, err := probe(ctx, server)
		if err != nil {
			m.log.Debug("the NAT is unknown", "remote", server, "err", err)
			return learned
		}
		if nat.Mapping == network.Unknown {
			continue // perhaps a packet was lost; what was known before is better
		}
		learned = true
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
	return learned
}

// knownNAT returns what is known of this host's NAT.
func (m *Manager) knownNAT() network.NAT {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.nat
}
