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

// isServer reports whether the signal server is there, or answers STUN from there: at the
// next port.
func (m *Manager) isServer(at netip.AddrPort) bool {
	return slices.ContainsFunc(m.stunServers(), func(server netip.AddrPort) bool {
		return at == server || at == netip.AddrPortFrom(server.Addr(), server.Port()+1)
	})
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
	if m.deaf { // no more, and peers do not know
		m.askNAT()
	}
	return addr, nil
}

// attempt begins an attempt at a direct path, with what is known of this side.
func (m *Manager) attempt(ctx context.Context, config punch.AttemptConfig) (*punch.Attempt, error) {
	config.NAT, config.Mapped = m.knownNAT(), m.lastMapped()
	return m.puncher.Dial(ctx, config)
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
	told := m.limits() // what peers know
	for {
		select {
		case <-m.unsure:
		case <-ctx.Done():
			return
		}
		asked, passes := false, false
		for _, server := range m.stunServers() {
			nat, err := m.probeNAT(ctx, server)
			asked = asked || err == nil
			passes = passes || nat.Mapped.IsValid()
			if nat.Mapping != network.Unknown {
				break
			}
		}
		m.mu.Lock()
		m.deaf = asked && !passes
		m.mu.Unlock()
		if l := m.limits(); l != told {
			told = l
			m.tellLimits()
		}
	}
}

// probeNAT learns about the NAT from one server, and tells all sessions. An error says that
// it could not be asked.
func (m *Manager) probeNAT(ctx context.Context, server netip.AddrPort) (last network.NAT, err error) {
	for _, probe := range []func(context.Context, netip.AddrPort) (network.NAT, error){network.ProbeMapping, network.ProbeNAT} {
		nat, err := probe(ctx, server)
		if err != nil {
			m.log.Debug("the NAT is unknown", "remote", server, "err", err)
			return last, err
		}
		if !last.Mapped.IsValid() || nat.Mapping != network.Unknown {
			last = nat
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
	return last, nil
}

// knownNAT returns what is known of this host's NAT.
func (m *Manager) knownNAT() network.NAT {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.nat
}
