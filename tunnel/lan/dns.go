package lan

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"golang.org/x/net/dns/dnsmessage"
)

const (
	service = "._peerway._udp.local." // what follows an instance's name
	local   = ".local."

	// maxItems bounds what is looked at in one packet: questions or records.
	maxItems = 16

	// maxDNS bounds a packet, in bytes (RFC 6762 section 17).
	maxDNS = 9000

	// lifetime is for how long others may remember an answer, in seconds. Nobody asks by
	// the same name again.
	lifetime = 10

	// The first bit of a class is no part of it (RFC 6762 sections 5.4 and 10.2).
	classMask   = 0x7fff
	classUnique = 0x8000
)

var errDNS = errors.New("not a packet of multicast DNS")

// A heard is what a packet of multicast DNS has for us.
type heard struct {
	id    uint16
	asked []string // names of instances that somebody asks for
	found []found
}

// A found is an instance that somebody has.
type found struct {
	name string
	port uint16
	host string // without .local
}

// makeQuestion returns a packet that asks for an instance (RFC 6763 section 5).
func makeQuestion(name string) ([]byte, error) {
	instance, err := dnsmessage.NewName(name + service)
	if err != nil {
		return nil, err
	}
	m := dnsmessage.Message{Questions: []dnsmessage.Question{
		{Name: instance, Type: dnsmessage.TypeSRV, Class: dnsmessage.ClassINET},
	}}
	return m.Pack()
}

// An answer says where an instance is.
type answer struct {
	name  string
	port  uint16
	host  string // without .local
	addrs []netip.Addr

	// The question came from a program that takes no part in multicast DNS: the answer
	// must look like one of a name server (RFC 6762 section 6.7).
	legacy bool
	id     uint16
}

// pack returns the packet.
func (a answer) pack() ([]byte, error) {
	instance, err1 := dnsmessage.NewName(a.name + service)
	host, err2 := dnsmessage.NewName(a.host + local)
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	m := dnsmessage.Message{Header: dnsmessage.Header{Response: true, Authoritative: true}}
	class := dnsmessage.ClassINET | classUnique
	if a.legacy {
		m.ID, class = a.id, dnsmessage.ClassINET
		m.Questions = []dnsmessage.Question{{Name: instance, Type: dnsmessage.TypeSRV, Class: class}}
	}
	record := func(name dnsmessage.Name, body dnsmessage.ResourceBody) dnsmessage.Resource {
		return dnsmessage.Resource{Header: dnsmessage.ResourceHeader{Name: name, Class: class, TTL: lifetime}, Body: body}
	}
	m.Answers = append(m.Answers, record(instance, &dnsmessage.SRVResource{Target: host, Port: a.port}))
	for _, addr := range a.addrs {
		if addr.Is4() {
			m.Additionals = append(m.Additionals, record(host, &dnsmessage.AResource{A: addr.As4()}))
		} else {
			m.Additionals = append(m.Additionals, record(host, &dnsmessage.AAAAResource{AAAA: addr.As16()}))
		}
	}
	return m.Pack()
}

// parse reads a packet, which is hostile. What is of no interest it leaves out: all but
// questions for, and places of, instances of our service.
func parse(packet []byte) (heard, error) {
	var p dnsmessage.Parser
	if len(packet) > maxDNS {
		return heard{}, fmt.Errorf("%w: %d bytes", errDNS, len(packet))
	}
	header, err := p.Start(packet)
	if err != nil {
		return heard{}, fmt.Errorf("%w: %w", errDNS, err)
	}
	if header.OpCode != 0 || header.RCode != 0 { // RFC 6762 sections 18.3 and 18.11
		return heard{}, fmt.Errorf("%w: opcode %d, rcode %d", errDNS, header.OpCode, header.RCode)
	}
	h := heard{id: header.ID}
	if header.Response {
		err = h.records(&p)
	} else {
		err = h.questions(&p)
	}
	if err != nil && !errors.Is(err, dnsmessage.ErrSectionDone) {
		return heard{}, fmt.Errorf("%w: %w", errDNS, err)
	}
	return h, nil
}

func (h *heard) questions(p *dnsmessage.Parser) error {
	for range maxItems {
		q, err := p.Question()
		if err != nil {
			return err
		}
		name, ok := instance(q.Name, q.Class)
		if ok && (q.Type == dnsmessage.TypeSRV || q.Type == dnsmessage.TypeALL) {
			h.asked = append(h.asked, name)
		}
	}
	return nil
}

func (h *heard) records(p *dnsmessage.Parser) error {
	if err := p.SkipAllQuestions(); err != nil {
		return err
	}
	for range maxItems {
		r, err := p.AnswerHeader()
		if err != nil {
			return err
		}
		name, ok := instance(r.Name, r.Class)
		if !ok || r.Type != dnsmessage.TypeSRV {
			if err := p.SkipAnswer(); err != nil {
				return err
			}
			continue
		}
		srv, err := p.SRVResource()
		if err != nil {
			return err
		}
		host, ok := strings.CutSuffix(strings.ToLower(srv.Target.String()), local)
		if ok && srv.Port != 0 {
			h.found = append(h.found, found{name, srv.Port, host})
		}
	}
	return nil
}

// instance returns what comes before the service in a name.
func instance(name dnsmessage.Name, class dnsmessage.Class) (string, bool) {
	s := strings.ToLower(name.String())
	before, ok := strings.CutSuffix(s, service)
	return before, ok && class&classMask == dnsmessage.ClassINET
}
