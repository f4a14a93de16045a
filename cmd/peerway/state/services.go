package state

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"peerway/signal"
)

// Services returns what each peer exposed when it was heard of last.
func (d *Dir) Services() (map[signal.PeerID][]signal.Service, error) {
	services := make(map[signal.PeerID][]signal.Service)
	_, err := d.records(servicesFile, func(words []string) error {
		if len(words) != 3 {
			return errors.New("want ID SERVICE SCHEME")
		}
		id, err := signal.ParsePeerID(words[0])
		if err != nil {
			return err
		}
		s := signal.Service{Name: words[1], Scheme: words[2]}
		if len(services[id]) == signal.MaxServices {
			return fmt.Errorf("more than %d services of one peer", signal.MaxServices)
		}
		services[id] = append(services[id], s)
		return s.Validate()
	})
	if err != nil {
		return nil, err
	}
	return services, nil
}

// SaveServices replaces what [Dir.Services] returns.
func (d *Dir) SaveServices(services map[signal.PeerID][]signal.Service) error {
	var lines []string
	for id, list := range services {
		for _, s := range list {
			lines = append(lines, fmt.Sprintf("%s %s %s\n", id, s.Name, s.Scheme))
		}
	}
	slices.Sort(lines)
	var b bytes.Buffer
	b.WriteString("# What the peers exposed when they were heard of last: ID SERVICE SCHEME\n")
	for _, line := range lines {
		b.WriteString(line)
	}
	return d.write(servicesFile, b.Bytes())
}
