package state

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"slices"

	"peerway/signal"
)

// Server is what the signal server remembers.
type Server struct {
	Identity signal.Identity          // the key that its URL pins
	Secret   signal.Secret            // the join secret
	Names    map[signal.PeerID]string // the peers it knows, with the names they took; "" if none
}

// noName stands in the file for a peer without a name.
const noName = "-"

// Server returns what the signal server remembers. It makes a key and a join
// secret, and saves them, if there are none.
func (d *Dir) Server() (Server, error) {
	s := Server{Names: map[signal.PeerID]string{}}
	var key, secret bool
	found, err := d.records(serverFile, func(words []string) (err error) {
		switch {
		case words[0] == "ed25519" && len(words) == 2 && !key:
			key = true
			s.Identity, err = decodeIdentity(words[1])
		case words[0] == "secret" && len(words) == 2 && !secret:
			secret = true
			err = decodeSecret(&s.Secret, words[1])
		case words[0] == "peer" && len(words) == 3:
			err = s.addPeer(words[1], words[2])
		default:
			err = errors.New("want ed25519 KEY once, secret SECRET once, or peer ID NAME")
		}
		return err
	})
	switch {
	case err != nil:
		return Server{}, err
	case found && !(key && secret):
		return Server{}, &CorruptError{d.file(serverFile), 1, "the file lacks the key or the join secret"}
	case found:
		return s, nil
	}
	s.Identity = signal.NewIdentity()
	rand.Read(s.Secret[:]) // never fails since Go 1.24
	return s, d.SaveServer(s)
}

// SaveServer replaces what [Dir.Server] returns.
func (d *Dir) SaveServer(s Server) error {
	var b bytes.Buffer
	b.WriteString("# The key and the join secret of this signal server, and the peers that know it.\n")
	fmt.Fprintf(&b, "ed25519 %s\n", base64.StdEncoding.EncodeToString(s.Identity.Seed()))
	fmt.Fprintf(&b, "secret %s\n", base64.StdEncoding.EncodeToString(s.Secret[:]))
	ids := slices.SortedFunc(maps.Keys(s.Names), func(a, b signal.PeerID) int { return bytes.Compare(a[:], b[:]) })
	for _, id := range ids {
		name := s.Names[id]
		if name == "" {
			name = noName
		}
		fmt.Fprintf(&b, "peer %s %s\n", id, name)
	}
	return d.write(serverFile, b.Bytes())
}

func (s *Server) addPeer(text, name string) error {
	id, err := signal.ParsePeerID(text)
	if err != nil {
		return err
	}
	if _, twice := s.Names[id]; twice {
		return fmt.Errorf("peer %s is listed twice", id.Short())
	}
	if name == noName {
		name = ""
	} else if err := signal.ValidName(name); err != nil {
		return err
	}
	s.Names[id] = name
	return nil
}

// decodeIdentity decodes a key. Its errors do not repeat the text: it is secret.
func decodeIdentity(text string) (signal.Identity, error) {
	seed, err := base64.StdEncoding.Strict().DecodeString(text)
	if err != nil {
		return signal.Identity{}, errors.New("the key is not base64")
	}
	return signal.IdentityFromSeed(seed)
}

func decodeSecret(secret *signal.Secret, text string) error {
	raw, err := base64.StdEncoding.Strict().DecodeString(text)
	if err != nil || len(raw) != len(secret) {
		return errors.New("the secret is not base64 of the right length")
	}
	copy(secret[:], raw)
	return nil
}
