package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"peerway/proxy"
)

// TestPingSaysWhyAtOnce: with the first answer, and once.
func TestPingSaysWhyAtOnce(t *testing.T) {
	var out bytes.Buffer
	r := pinging{program: &program{stdout: &out}, peer: "home"}
	answer := pong{Peer: "home", Path: "relay-udp", RTT: 40, Limits: []string{limitMetered, limitShut}, PeerLimits: []string{limitHard}}
	for range 2 {
		if err := r.heard(answer); err != nil {
			t.Fatal(err)
		}
	}
	text := out.String()
	for _, code := range []string{"metered: --metered here", "no-port-mapping: --no-port-mapping here"} {
		if strings.Count(text, code) != 1 {
			t.Errorf("%q is not there once:\n%s", code, text)
		}
	}
	if strings.Index(text, "metered") > strings.LastIndex(text, "pong") || strings.Contains(text, "relayed:") {
		t.Errorf("it says\n%s", text)
	}
	answer.PeerLimits = []string{limitHard, limitNoUDP}
	if err := r.heard(answer); err != nil || !strings.Contains(out.String(), "peer-no-udp: UDP does not pass at home") {
		t.Errorf("what is found out later is not said: %v\n%s", err, out.String())
	}
}

// TestPingInJSON: programs get an object in any case.
func TestPingInJSON(t *testing.T) {
	var out bytes.Buffer
	r := pinging{program: &program{stdout: &out}, peer: "home", asJSON: true}
	if err := r.heard(pong{Peer: "home", Path: "relay-ws", Limits: []string{limitNoUDP}}); err != nil {
		t.Fatal(err)
	}
	offline := newAskError(&proxy.Error{Code: proxy.CodePeerOffline, Reason: "it is offline"})
	if err := r.failed(t.Context(), offline); exitCode(err) != exitPeerOffline {
		t.Errorf("failed() = %v", err)
	}
	if err := r.failed(t.Context(), errors.New("odd")); exitCode(err) != exitOther {
		t.Errorf("failed() = %v", err)
	}
	type line struct {
		Peer, Path string
		Findings   []found
		Error      askError
	}
	var lines []line
	for d := json.NewDecoder(&out); d.More(); {
		var l line
		if err := d.Decode(&l); err != nil {
			t.Fatal(err)
		}
		lines = append(lines, l)
	}
	if len(lines) != 3 || lines[0].Peer != "home" || len(lines[0].Findings) != 2 || lines[0].Findings[1].Code != "no-udp" ||
		lines[1].Peer != "home" || lines[1].Error.Code != "peer-offline" || lines[2].Error.Code != "other" {
		t.Errorf("it prints %+v", lines)
	}
}

// TestPingTellsOfSilence: who waits for an answer is told so each second, and in the end what
// is known by then.
func TestPingTellsOfSilence(t *testing.T) {
	answer := pong{Peer: "home", Path: "relay-udp"}
	if text := answer.because("home"); !strings.Contains(text, "is not known yet") {
		t.Errorf("without a reason it says %q", text)
	}
	answer.PeerWhy = "no"
	if text := answer.because("home"); strings.Contains(text, "is not known yet") {
		t.Errorf("with a reason it says %q", text)
	}
	synctest.Test(t, func(t *testing.T) {
		var talk bytes.Buffer
		r := pinging{program: &program{stderr: &talk}, peer: "home"}
		_, err := r.wait(func() (pong, error) { time.Sleep(2500 * time.Millisecond); return pong{}, errNotRunning })
		if want := "no answer from home for 1s\nno answer from home for 2s\n"; err != errNotRunning || talk.String() != want {
			t.Errorf("it says %q, %v, want %q", talk.String(), err, want)
		}
	})
}
