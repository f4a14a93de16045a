package punch

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/pion/ice/v3"

	"peerway/tunnel/network"
)

// Local describes this side for the peer: the addresses of the host and the
// mapped ones known by now.
func (a *Attempt) Local() Description {
	d := Description{Ufrag: a.port.ufrag, Pwd: string(a.port.key)}
	for i, h := range a.hosts {
		d.Candidates = append(d.Candidates, newCandidate(netip.AddrPortFrom(h, a.port.number), false, i).String())
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	d.Hard, d.Delta = a.nat.Mapping == network.Dependent, int8(a.nat.Delta)
	for i, m := range a.mapped {
		d.Candidates = append(d.Candidates, newCandidate(m, true, i).String())
	}
	return d
}

// AddMapped adds an address at which the socket can be reached from outside and
// returns the candidates to send to the peer: none if it has them already.
func (a *Attempt) AddMapped(addr netip.AddrPort) []string {
	addr = unmap(addr)
	a.mu.Lock()
	defer a.mu.Unlock()
	if !usable(addr) || len(a.mapped) >= maxMapped || slices.Contains(a.mapped, addr) ||
		addr.Port() == a.port.number && slices.Contains(a.hosts, addr.Addr()) {
		return nil
	}
	a.mapped = append(a.mapped, addr)
	return []string{newCandidate(addr, true, len(a.mapped)-1).String()}
}

// Connect starts the checks towards the peer that remote describes. It does not
// wait; Events tells the rest. It may be called once.
func (a *Attempt) Connect(remote Description) error {
	if err := remote.Validate(); err != nil {
		return fmt.Errorf("punch: connect: %w", err)
	}
	a.mu.Lock()
	again := a.connected
	a.connected, a.remote = true, remote
	a.connectedAt = time.Now()
	a.mu.Unlock()
	if again {
		return errors.New("punch: connect: called twice")
	}
	p := a.puncher
	p.log.Debug("checks begin", "local", a.Local(), "remote", remote)
	p.mu.Lock()
	a.port.remoteKey = []byte(remote.Pwd)
	p.mu.Unlock()
	if err := a.start(remote); err != nil {
		return errClosed // the library has no other reason
	}
	return a.AddRemote(remote.Candidates)
}

// AddRemote adds candidates that the peer sent later. Those that this host
// cannot use, has already, or are too many are skipped.
func (a *Attempt) AddRemote(candidates []string) error {
	if err := validateCandidates(candidates); err != nil {
		return fmt.Errorf("punch: add candidates: %w", err)
	}
	for _, text := range candidates {
		c, err := parseCandidate(text)
		if err == nil && c.round != 0 {
			a.setMeasured(c)
			continue
		}
		from := ofHost
		if c.mapped {
			from = ofNAT
		}
		if err != nil || !a.wants(c.addr, from) {
			continue
		}
		if err := a.addRemote(c); err != nil {
			return err
		}
		if c.mapped && c.addr.Addr().Is4() {
			a.addReflexive(c.addr)
		}
	}
	return nil
}

func (a *Attempt) addRemote(c candidate) error {
	lib, err := c.forLibrary()
	if err != nil {
		return nil // it cannot be used, and nothing else is wrong
	}
	if err := a.agent.AddRemoteCandidate(lib); err != nil {
		return errClosed
	}
	return nil
}

// SetNAT tells what has been found out about this side's NAT since the attempt began. It
// reports whether the peer should be told.
func (a *Attempt) SetNAT(nat network.NAT) (news bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	news = nat.Mapping == network.Dependent && (a.nat.Mapping != network.Dependent || a.nat.Delta != nat.Delta)
	a.nat = nat
	a.haveNews()
	return news
}

// SetRemoteNAT tells what the peer has found out about its NAT.
func (a *Attempt) SetRemoteNAT(hard bool, delta int8) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.remote.Hard, a.remote.Delta = hard, delta
	a.haveNews()
}

// addReflexive takes note of an address that the peer's NAT gave it.
func (a *Attempt) addReflexive(addr netip.AddrPort) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.reflexive = append(a.reflexive, addr)
	a.haveNews()
}

// setMeasured takes note of the port that the peer's NAT has just given.
func (a *Attempt) setMeasured(c candidate) {
	a.mu.Lock()
	defer a.mu.Unlock()
	newest := &a.called
	if c.reply {
		newest = &a.replied
	}
	if c.round > newest.round && c.round <= maxRounds && isProviders(c.addr.Addr()) {
		*newest = c
		a.haveNews()
	}
}

// haveNews wakes who waits for more to be known of the NATs.
func (a *Attempt) haveNews() {
	select {
	case a.news <- struct{}{}:
	default:
	}
}

// wants reports whether checks are to be sent to an address from now on, which the peer has
// signalled or was heard from, and counts it.
func (a *Attempt) wants(addr netip.AddrPort, from origin) bool {
	ip := addr.Addr()
	if ip.IsLoopback() && !a.puncher.config.AllowLoopback && !slices.ContainsFunc(a.hosts, netip.Addr.IsLoopback) {
		return false
	}
	p := a.puncher
	p.mu.Lock()
	r := a.port.remotes[addr]
	ok := !a.port.closed && a.port.links[familyOf(ip)] != nil && (r == nil || from != heard && r.origin == heard) &&
		a.port.admit(addr, from, time.Now()) != nil
	p.mu.Unlock()
	if ok {
		a.mu.Lock()
		a.offered++
		a.mu.Unlock()
	}
	return ok
}

// Events returns the channel of events, the last of which is Lost or Failed. It
// is closed by Close, after the release.
func (a *Attempt) Events() <-chan Event { return a.events }

// Remote returns the selected address, or the zero AddrPort.
func (a *Attempt) Remote() netip.AddrPort {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.selected
}

// Close ends the attempt and returns after the release: the shared socket is
// not used for it any more. It may be called again.
func (a *Attempt) Close() {
	a.cancel()
	a.work.Wait()
}

func addressOf(c ice.Candidate) netip.AddrPort {
	ip, err := netip.ParseAddr(c.Address())
	if err != nil { // the library made it of an address
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(ip.Unmap(), uint16(c.Port()))
}
