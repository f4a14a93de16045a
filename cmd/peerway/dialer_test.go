package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"

	"peerway/proxy"
	"peerway/signal"
	"peerway/signal/client"
	"peerway/tunnel"
	"peerway/tunnel/lane"
)

var errUnforeseen = errors.New("unforeseen")

// Whatever goes wrong on the way to a peer: the hop, the code and the exit code.
func TestDialErrorsAreExplained(t *testing.T) {
	target := proxy.Target{Peer: "home", Service: "cam"}
	for _, test := range []struct {
		err  error
		code proxy.Code
		hop  proxy.Hop
		exit int
	}{
		{signal.ErrOffline, proxy.CodePeerOffline, proxy.HopPeer, exitPeerOffline},
		{signal.ErrNotAllowed, proxy.CodeNotAllowed, proxy.HopSignal, exitNotAllowed},
		{signal.ErrDisconnected, proxy.CodeNoPath, proxy.HopSignal, exitNoPath},
		{tunnel.ErrNoPath, proxy.CodeNoPath, proxy.HopPath, exitNoPath},
		{&tunnel.QuotaError{}, proxy.CodeNoPath, proxy.HopPath, exitNoPath},
		{tunnel.ErrPeerLost, proxy.CodeNoPath, proxy.HopPath, exitNoPath},
		{errUnforeseen, proxy.CodeOther, proxy.HopGateway, exitOther},
	} {
		err := explainDial(target, "", fmt.Errorf("tunnel: dial: %w", test.err))
		e, ok := errors.AsType[*proxy.Error](err)
		if !ok || e.Code != test.code || e.Hop != test.hop || e.Target != target || e.Reason == "" || !errors.Is(err, test.err) {
			t.Errorf("%v is explained as %+v", test.err, e)
		}
		if got := exitCode(err); got != test.exit {
			t.Errorf("%v exits with %d, want %d", test.err, got, test.exit)
		}
	}
	for _, server := range []error{signal.ErrOffline, signal.ErrDisconnected, tunnel.ErrNoPath} {
		err := explainDial(target, "", fmt.Errorf("%w: %w", server, tunnel.ErrNotNear))
		if e, ok := errors.AsType[*proxy.Error](err); !ok || !strings.Contains(e.Reason, `"home" was not found in the local network`) {
			t.Errorf("%v is explained as %+v", server, e)
		}
	}
	pin := fmt.Errorf("%w: %w", signal.ErrDisconnected, &client.RefusedError{Code: client.WrongPin, Text: "it is another one"})
	for _, near := range []error{nil, tunnel.ErrNotNear} {
		err := explainDial(target, "", errors.Join(pin, near))
		e, ok := errors.AsType[*proxy.Error](err)
		if !ok || e.Code != proxy.CodeNoPath || e.Hop != proxy.HopSignal || !strings.Contains(e.Reason, "has another key") || !strings.Contains(e.Fix, "pair again") ||
			strings.Contains(e.Reason, "was not found") != (near != nil) {
			t.Errorf("another key is explained as %+v", e)
		}
	}
	for _, left := range []error{context.Canceled, context.DeadlineExceeded} {
		if _, ok := errors.AsType[*proxy.Error](explainDial(target, "", left)); ok {
			t.Errorf("%v is blamed on a hop", left)
		}
	}
}

// TestOfflineElsewhere: a peer that stayed with another signal server is said to be there,
// wherever it is missed.
func TestOfflineElsewhere(t *testing.T) {
	b := newTestBook(t)
	id, name := add(t, b, "home")
	b.peers[0].Server = "198.51.100.1:7443"
	said := func(server string) *proxy.Error {
		e, _ := errors.AsType[*proxy.Error](dialer{b, nil, server, &failures{}}.explain(id, proxy.Target{Peer: name}, signal.ErrOffline))
		return e
	}
	if e := said("203.0.113.10:7443"); e.Code != proxy.CodePeerOffline || !strings.Contains(e.Reason, "paired at the signal server 198.51.100.1:7443") ||
		!strings.Contains(e.Fix, "to go back") {
		t.Errorf("explained as %+v", e)
	}
	if e := said("198.51.100.1:7443"); e.Code != proxy.CodePeerOffline || e.Reason != `the peer "home" is offline` || !strings.Contains(e.Fix, "start peerway there") {
		t.Errorf("explained as %+v", e)
	}
}

func TestRefusalsAreExplained(t *testing.T) {
	c := &conn{target: proxy.Target{Peer: "home", Service: "cam"}}
	for code, hop := range map[proxy.Code]proxy.Hop{
		proxy.CodeUpstream: proxy.HopServer, proxy.CodeNotAllowed: proxy.HopPeer, proxy.CodeUnknownName: proxy.HopPeer,
	} {
		e, ok := errors.AsType[*proxy.Error](c.explain(&lane.RefusedError{Code: uint16(code), Text: "why"}))
		if !ok || e.Code != code || e.Hop != hop || e.Reason != "why" {
			t.Errorf("refusal %v is explained as %+v", code, e)
		}
	}
	// A peer cannot make this end say what only this end can know, nor disturb a
	// terminal.
	hostile := &lane.RefusedError{Code: uint16(proxy.CodePeerOffline), Text: "\x1b[2J" + strings.Repeat("é", 1000)}
	e, _ := errors.AsType[*proxy.Error](c.explain(hostile))
	if e.Code != proxy.CodeOther || strings.ContainsRune(e.Reason, 0x1b) || len(e.Reason) > 2048 {
		t.Errorf("a hostile refusal is explained as %+v", e)
	}
	if e, _ := errors.AsType[*proxy.Error](c.explain(&lane.RefusedError{Code: 1 << 15})); e.Code != proxy.CodeOther || e.Reason == "" {
		t.Errorf("an unknown refusal is explained as %+v", e)
	}
	if e, _ := errors.AsType[*proxy.Error](c.explain(fmt.Errorf("read: %w", lane.ErrLost))); e == nil || e.Code != proxy.CodeNoPath || e.Hop != proxy.HopPath {
		t.Errorf("a lost tunnel is explained as %+v", e)
	}
	broken := &lane.ResetError{Code: resetAborted}
	if e, _ := errors.AsType[*proxy.Error](c.explain(broken)); e == nil || e.Code != proxy.CodeUpstream || e.Hop != proxy.HopServer || e.Fix == "" {
		t.Errorf("a server that breaks off is explained as %+v", e)
	}
	for _, err := range []error{io.EOF, os.ErrDeadlineExceeded, errUnforeseen, &lane.ResetError{Code: resetAborted, Local: true}} {
		if got := c.explain(err); got != err {
			t.Errorf("%v became %v", err, got)
		}
	}
}

func TestPairingErrorsAreExplained(t *testing.T) {
	code := signal.NewCode("203.0.113.10:7443", signal.Pin{1})
	_, secret, _ := strings.Cut(code.String(), "/")
	for _, test := range []struct {
		err  error
		exit int
		want string
	}{
		{signal.ErrOffline, exitPeerOffline, "start peerway expose there"},
		{client.ErrUnreachable, exitNoPath, "cannot be connected to: check that it runs"},
		{client.ErrSilent, exitNoPath, "203.0.113.10:7443 takes connections, but does not answer: look at the log"},
		{client.ErrNotSignal, exitNoPath, "203.0.113.10:7443: pair: what answers there is no Peerway signal server: check address and port"},
		{fmt.Errorf("%w: %w", client.ErrUnreachable, &net.DNSError{Name: "nobody.invalid", Err: "no such host"}), exitNoPath, "nobody.invalid, cannot be looked up: no such host: check the name"},
		{client.ErrNoReply, exitPeerOffline, "does not answer"},
		{errUnforeseen, exitOther, "reach the signal server 203.0.113.10:7443: unforeseen"},
		{&client.RefusedError{Code: client.WrongCode}, exitNotAllowed, "does not know this code"},
		{&client.RefusedError{Code: client.CodeUsed}, exitNotAllowed, "used before"},
		{&client.RefusedError{Code: client.CodeExpired}, exitNotAllowed, "too old"},
		{&client.RefusedError{Code: client.TryLater, RetryAfter: 61e9}, exitNotAllowed, "try again in 1m1s"},
		{&client.RefusedError{Code: client.WrongPin, Text: "another server"}, exitNotAllowed, "another server"},
	} {
		for _, paired := range []bool{true, false} {
			err := explainPair(code, paired, fmt.Errorf("pair: %w", test.err))
			if exitCode(err) != test.exit || !strings.Contains(err.Error(), strings.TrimPrefix(test.want, "reach the signal server 203.0.113.10:7443: ")) {
				t.Errorf("%v is explained as %q, code %d", test.err, err, exitCode(err))
			}
			if strings.Contains(err.Error(), secret) {
				t.Errorf("the code is in %q", err)
			}
		}
	}
}

func TestNameOf(t *testing.T) {
	for host, want := range map[string]string{
		"Laptop.example.com": "laptop", "my_host": "my-host", "--": "peer", "": "peer", "Büro": "b-ro",
		strings.Repeat("a", 31) + "-b": strings.Repeat("a", 31), "10.0.0.1": "10",
	} {
		got := nameOf(host)
		if err := signal.ValidName(got); got != want || err != nil {
			t.Errorf("nameOf(%q) = %q, want %q; %v", host, got, want, err)
		}
	}
}
