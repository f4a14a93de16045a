package punch

import (
	"context"
	"errors"
	"time"

	"github.com/pion/ice/v3"
	"github.com/pion/logging"
	"github.com/pion/transport/v3/stdnet"
)

const (
	checkInterval = 50 * time.Millisecond // between two checks of the same pair
	maxChecks     = 160                   // of one pair: 8 s, so that a peer may start late
	confirmWithin = 3 * time.Second       // from the first answer to a path
	reflexiveWait = 60 * time.Millisecond // head start of the peer's own addresses
)

// The path in use is checked as often as RFC 7675 section 5.1 asks for consent to it, and
// after silence more often. Who sends something on it, be it that QUIC keeps itself alive, notices
// its end sooner and by himself. The controlling side has its turn later and so, as a rule, never:
// the library answers each of its checks with another one.
//
// The library looks at times whether more than a time has passed: a part of a round trip before
// the look at which it is to find that.
const (
	pathLookEvery   = keepAlive / 4
	keepAlive       = 5 * time.Second
	controllingWait = pathLookEvery
	loseAfter       = 10 * time.Second // of silence
	beforeLook      = pathLookEvery / 2
	failAfter       = loseAfter - beforeLook + pathLookEvery // without a path
)

// newAgent returns an agent of the ICE library that gathers nothing itself: no
// sockets, no interfaces, no multicast DNS, no STUN servers.
func newAgent(p *port) (*ice.Agent, error) {
	var (
		disconnected = loseAfter - beforeLook
		failed       = pathLookEvery // counted from disconnected; how often the library looks
		keep         = keepAlive - beforeLook
		interval     = checkInterval
		checks       = uint16(maxChecks)
		host, relay  = time.Duration(0), time.Duration(0)
		srflx, prflx = reflexiveWait, reflexiveWait
	)
	if p.controlling {
		keep += controllingWait
	}
	return ice.NewAgent(&ice.AgentConfig{
		NetworkTypes:           []ice.NetworkType{ice.NetworkTypeUDP4, ice.NetworkTypeUDP6},
		CandidateTypes:         []ice.CandidateType{ice.CandidateTypeHost},
		MulticastDNSMode:       ice.MulticastDNSModeDisabled,
		Net:                    &stdnet.Net{}, // the zero value knows no interfaces and has not looked
		UDPMux:                 p,
		LocalUfrag:             p.ufrag,
		LocalPwd:               string(p.key),
		DisconnectedTimeout:    &disconnected,
		FailedTimeout:          &failed,
		KeepaliveInterval:      &keep,
		CheckInterval:          &interval,
		MaxBindingRequests:     &checks,
		HostAcceptanceMinWait:  &host,
		SrflxAcceptanceMinWait: &srflx,
		PrflxAcceptanceMinWait: &prflx,
		RelayAcceptanceMinWait: &relay,
		DisableActiveTCP:       true,
		LoggerFactory:          silence{},
	})
}

// gather makes the agent take its local candidates from the port and returns
// when it has: it opens nothing, so this takes no time.
func gather(ctx context.Context, agent *ice.Agent) error {
	gathered := make(chan struct{})
	err := agent.OnCandidate(func(c ice.Candidate) {
		if c == nil { // the end of the list, once
			close(gathered)
		}
	})
	if err != nil {
		return err
	}
	if err := agent.GatherCandidates(); err != nil {
		return err
	}
	select {
	case <-gathered:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// start begins the checks. The library's Dial and Accept begin them and then
// wait for a path. A context that is done makes them return instead of waiting,
// which leaves the checks alone.
func start(done context.Context, agent *ice.Agent, controlling bool, remote Description) error {
	connect := agent.Accept
	if controlling {
		connect = agent.Dial
	}
	if _, err := connect(done, remote.Ufrag, remote.Pwd); err != nil && !errors.Is(err, ice.ErrCanceledByCaller) {
		return err
	}
	return nil
}

// silence is a logger for the ICE library, which logs per packet.
type silence struct{}

func (silence) NewLogger(string) logging.LeveledLogger { return silence{} }
func (silence) Trace(string)                           {}
func (silence) Tracef(string, ...any)                  {}
func (silence) Debug(string)                           {}
func (silence) Debugf(string, ...any)                  {}
func (silence) Info(string)                            {}
func (silence) Infof(string, ...any)                   {}
func (silence) Warn(string)                            {}
func (silence) Warnf(string, ...any)                   {}
func (silence) Error(string)                           {}
func (silence) Errorf(string, ...any)                  {}
