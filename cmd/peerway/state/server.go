package state

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"time"

	"peerway/signal"
	"peerway/signal/server"
)

// Server returns what the signal server remembers. It makes a key and a join
// secret, and saves them, if there are none.
func (d *Dir) Server() (server.State, error) {
	var s server.State
	found, err := d.records(serverFile, func(words []string) (err error) {
		switch {
		case words[0] == "ed25519" && len(words) == 2 && s.Key == nil:
			s.Key, err = decodeKey(words[1])
		case words[0] == "secret" && len(words) == 2 && s.Secret == signal.Secret{}:
			err = decodeSecret(&s.Secret, words[1])
		case words[0] == "peer" && len(words) == 4:
			err = addKnown(&s, words[1:])
		default:
			err = errors.New("want ed25519 KEY once, secret SECRET once, or peer ID NAME DAY")
		}
		return err
	})
	switch {
	case err != nil:
		return server.State{}, err
	case !found:
		s = server.NewState()
		return s, d.SaveServer(s)
	}
	if err := s.Validate(); err != nil {
		return server.State{}, &CorruptError{d.file(serverFile), 1, err.Error()}
	}
	return s, nil
}

// SaveServer replaces what [Dir.Server] returns.
func (d *Dir) SaveServer(s server.State) error {
	var b bytes.Buffer
	b.WriteString("# The key and the join secret of this signal server, and the peers that it knows: ID NAME DAY\n")
	fmt.Fprintf(&b, "ed25519 %s\n", base64.StdEncoding.EncodeToString(s.Key))
	fmt.Fprintf(&b, "secret %s\n", base64.StdEncoding.EncodeToString(s.Secret[:]))
	for _, p := range s.Peers {
		fmt.Fprintf(&b, "peer %s %s %s\n", p.ID, p.Name, p.Seen.UTC().Format(time.DateOnly))
	}
	return d.write(serverFile, b.Bytes())
}

func addKnown(s *server.State, words []string) error {
	id, err := signal.ParsePeerID(words[0])
	if err != nil {
		return err
	}
	if err := signal.ValidName(words[1]); err != nil {
		return err
	}
	seen, err := time.Parse(time.DateOnly, words[2])
	if err != nil {
		return fmt.Errorf("%q is not a day as 2006-01-02", words[2])
	}
	s.Peers = append(s.Peers, server.KnownPeer{ID: id, Name: words[1], Seen: seen})
	return nil
}

// decodeKey decodes the seed of a key. Its errors do not repeat the text: it is
// secret.
func decodeKey(text string) ([]byte, error) {
	seed, err := base64.StdEncoding.Strict().DecodeString(text)
	if err != nil {
		return nil, errors.New("the key is not base64")
	}
	if _, err := signal.IdentityFromSeed(seed); err != nil {
		return nil, err
	}
	return seed, nil
}

func decodeSecret(secret *signal.Secret, text string) error {
	raw, err := base64.StdEncoding.Strict().DecodeString(text)
	if err != nil || len(raw) != len(secret) {
		return errors.New("the secret is not base64 of the right length")
	}
	copy(secret[:], raw)
	return nil
}
