package state

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"peerway/signal"
)

// A Peer is one that this process has paired with.
type Peer struct {
	ID     signal.PeerID
	Name   string // display name
	Paired time.Time
	Server string // HOST:PORT of the signal server at which it was paired; empty: not known
}

// Identity returns the private key of the folder. It makes one, and saves it,
// if there is none.
func (d *Dir) Identity() (signal.Identity, error) {
	var id signal.Identity
	read := false
	found, err := d.records(identityFile, func(words []string) error {
		if read || len(words) != 2 || words[0] != "ed25519" {
			return errors.New("want one line: ed25519 KEY")
		}
		read = true
		seed, err := decodeKey(words[1])
		if err != nil {
			return err
		}
		id, err = signal.IdentityFromSeed(seed)
		return err
	})
	switch {
	case err != nil:
		return signal.Identity{}, err
	case found && !read:
		return signal.Identity{}, &CorruptError{d.file(identityFile), 1, "the file holds no key"}
	case found:
		return id, nil
	}
	id = signal.NewIdentity()
	text := fmt.Sprintf("# The private key of this peer. Who has it is this peer: show it to nobody.\ned25519 %s\n",
		base64.StdEncoding.EncodeToString(id.Seed()))
	return id, d.write(identityFile, []byte(text))
}

// Peers returns the peers of the folder in the order in which they were paired.
func (d *Dir) Peers() ([]Peer, error) {
	content, found, err := d.read(peersFile)
	if err != nil || !found {
		return nil, err
	}
	return parsePeers(d.file(peersFile), content)
}

// parsePeers reads what formatPeers writes. The file at path holds content.
func parsePeers(path string, content []byte) ([]Peer, error) {
	var peers []Peer
	known := map[signal.PeerID]bool{}
	err := parse(path, content, func(words []string) error {
		p, err := parsePeer(words)
		if err == nil && known[p.ID] {
			err = fmt.Errorf("peer %s is listed twice", p.ID.Short())
		}
		known[p.ID] = true
		peers = append(peers, p)
		return err
	})
	if err != nil {
		return nil, err
	}
	return peers, nil
}

func parsePeer(words []string) (Peer, error) {
	if len(words) != 3 && len(words) != 4 {
		return Peer{}, errors.New("want ID NAME DATE and perhaps HOST:PORT")
	}
	id, err := signal.ParsePeerID(words[0])
	if err != nil {
		return Peer{}, err
	}
	if err := signal.ValidName(words[1]); err != nil {
		return Peer{}, err
	}
	paired, err := time.Parse(time.RFC3339, words[2])
	if err != nil {
		return Peer{}, fmt.Errorf("%q is not a date as 2006-01-02T15:04:05Z", words[2])
	}
	return Peer{id, words[1], paired, strings.Join(words[3:], "")}, nil
}

func formatPeers(peers []Peer) []byte {
	var b bytes.Buffer
	b.WriteString("# The peers that this one has paired with: ID NAME DATE\n")
	for _, p := range peers {
		words := []string{p.ID.String(), p.Name, p.Paired.UTC().Format(time.RFC3339), p.Server}
		fmt.Fprintln(&b, strings.TrimSpace(strings.Join(words, " ")))
	}
	return b.Bytes()
}

// SavePeers replaces the peers of the folder.
func (d *Dir) SavePeers(peers []Peer) error { return d.write(peersFile, formatPeers(peers)) }

// CanSavePeers returns the error that SavePeers would, as far as can be known before.
func (d *Dir) CanSavePeers(peers []Peer) error {
	staged, err := d.stage(peersFile, formatPeers(peers))
	if err != nil {
		return fmt.Errorf("save %s: %w", peersFile, err)
	}
	return os.Remove(staged)
}

// Self is what a peer knows of itself. Empty fields are unknown.
type Self struct {
	Name   string     // own display name
	Signal signal.URL // of the signal server; holds the join secret
}

// Self returns what was saved last, or the zero value.
func (d *Dir) Self() (Self, error) {
	var s Self
	_, err := d.records(selfFile, func(words []string) (err error) {
		if len(words) != 2 {
			return errors.New("want NAME VALUE")
		}
		switch words[0] {
		case "name":
			s.Name = words[1]
			return signal.ValidName(words[1])
		case "signal":
			s.Signal, err = signal.ParseURL(words[1])
			return err
		}
		return fmt.Errorf("unknown name %q", words[0])
	})
	if err != nil {
		return Self{}, err
	}
	return s, nil
}

// SaveSelf replaces what [Dir.Self] returns.
func (d *Dir) SaveSelf(s Self) error {
	var b bytes.Buffer
	b.WriteString("# This peer's name and its signal server. The URL holds the join secret.\n")
	if s.Name != "" {
		fmt.Fprintf(&b, "name %s\n", s.Name)
	}
	if s.Signal != (signal.URL{}) {
		fmt.Fprintf(&b, "signal %s\n", s.Signal)
	}
	return d.write(selfFile, b.Bytes())
}
