package client

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"peerway/signal"
	"peerway/signal/internal/wire"
)

// codeLife is how long a pairing code is good for.
const codeLife = 10 * time.Minute

// pairTimeout bounds the wait for the other side's reply to a claim.
const pairTimeout = 20 * time.Second

// pairContext is the context of the signatures in a pairing.
const pairContext = "pair v1"

// Paired is what a pairing tells one side of the other.
type Paired struct {
	Peer signal.PeerID
	Name string // the other's display name
	// URL lets this peer log in from now on, and MyName is the display name
	// that it has then. Only [Pair] sets them.
	URL    signal.URL
	MyName string
}

// An introduction is what each side puts into its box.
type introduction struct {
	Peer signal.PeerID `cbor:"0,keyasint"`
	Name string        `cbor:"1,keyasint"`
	URL  string        `cbor:"2,keyasint,omitempty"` // in the reply
	Sig  []byte        `cbor:"3,keyasint"`           // by Peer
	Why  string        `cbor:"4,keyasint,omitempty"` // in the reply, without a URL: no, for this reason
}

// signed returns what an introduction's signature is made over. to is the peer
// a reply is for.
func (i introduction) signed(mailbox [32]byte, to signal.PeerID) []byte {
	b := slices.Concat(mailbox[:], i.Peer[:], to[:], []byte{byte(len(i.Name))}, []byte(i.Name))
	return append(b, i.URL...)
}

// claimScope and replyScope say what a box is for, so that none passes for
// another.
func claimScope() string                       { return "claim" }
func replyScope(claimant signal.PeerID) string { return "reply " + claimant.String() }

func sealIntroduction(codec wire.Codec, who signal.Identity, i introduction, to signal.PeerID, code signal.Code, scope string) ([]byte, error) {
	i.Sig = who.Sign(pairContext, i.signed(code.Mailbox(), to))
	raw, err := codec.Marshal(i)
	if err != nil {
		return nil, err
	}
	return code.Seal(scope, raw), nil
}

func openIntroduction(codec wire.Codec, box []byte, to signal.PeerID, code signal.Code, scope string) (introduction, error) {
	var i introduction
	raw, err := code.Open(scope, box)
	if err != nil {
		return i, err
	}
	if err := codec.Unmarshal(raw, &i); err != nil {
		return i, err
	}
	if err := signal.ValidName(i.Name); err != nil {
		return i, err
	}
	if !i.Peer.Verify(pairContext, i.signed(code.Mailbox(), to), i.Sig) {
		return i, signal.ErrBox
	}
	return i, nil
}

// A Mailbox waits at the server for the one who uses its pairing code. The
// client opens it again after each login, until it is used, expired or closed.
type Mailbox struct {
	client  *Client
	code    signal.Code
	expires time.Time
	opened  chan struct{} // closed when the server has it
	done    chan struct{} // closed when paired or err is set
	finish  sync.Once
	paired  Paired
	err     error

	replied *outcome // a reply is on its way to that peer; guarded by client.mu
}

// An outcome is what one who has used a code is told.
type outcome struct {
	Paired
	refused error
}

// OpenMailbox makes a pairing code that is good for ten minutes and one use. It
// returns when the server knows it. The caller closes the mailbox.
func (c *Client) OpenMailbox(ctx context.Context) (*Mailbox, error) {
	m, err := c.newMailbox(ctx)
	if err != nil {
		return nil, fmt.Errorf("open pairing mailbox: %w", err)
	}
	select {
	case <-m.opened:
		return m, nil
	case <-m.done:
		m.Close()
		return nil, fmt.Errorf("open pairing mailbox: %w", m.err)
	case <-ctx.Done():
		m.Close()
		return nil, fmt.Errorf("open pairing mailbox: %w", context.Cause(ctx))
	}
}

// newMailbox makes a mailbox, after the first login if only that tells the
// server's key.
func (c *Client) newMailbox(ctx context.Context) (*Mailbox, error) {
	pin := c.cfg.URL.Pin
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.cfg.URL.Public {
		if c.key != nil && c.link.Load() != nil {
			pin = signal.PinOf(c.key)
			break
		}
		changed := c.changed
		c.mu.Unlock()
		select {
		case <-changed:
			c.mu.Lock()
		case <-ctx.Done():
			c.mu.Lock()
			return nil, context.Cause(ctx)
		}
	}
	m := &Mailbox{
		client: c, code: signal.NewCode(c.cfg.URL.Addr, pin), expires: time.Now().Add(codeLife),
		opened: make(chan struct{}), done: make(chan struct{}),
	}
	c.mailboxes[m.code.Mailbox()] = m
	if link := c.link.Load(); link != nil {
		c.open(link, m)
	}
	return m, nil
}

// Code returns the pairing code, for the other person.
func (m *Mailbox) Code() signal.Code { return m.code }

// Wait waits until somebody has used the code and returns who. The caller then
// allows that peer ([Client.Announce]). It fails with [ErrCodeExpired], what Config.Admits said
// to who used the code, or the cause of ctx.
func (m *Mailbox) Wait(ctx context.Context) (Paired, error) {
	timer := time.NewTimer(time.Until(m.expires))
	defer timer.Stop()
	select {
	case <-m.done:
		return m.paired, m.err
	case <-timer.C:
		m.Close()
		<-m.done // a pairing at the last moment counts
		return m.paired, m.err
	case <-ctx.Done():
		return Paired{}, context.Cause(ctx)
	}
}

// Close makes the code worthless. It may be called again.
func (m *Mailbox) Close() error {
	c, id := m.client, m.code.Mailbox()
	c.mu.Lock()
	_, open := c.mailboxes[id]
	delete(c.mailboxes, id)
	if link := c.link.Load(); open && link != nil {
		c.post(link, wire.TypeMailboxClose, 0, wire.Mailbox{ID: id[:]})
	}
	c.mu.Unlock()
	m.end(Paired{}, ErrCodeExpired)
	return nil
}

func (m *Mailbox) end(p Paired, err error) {
	m.finish.Do(func() {
		m.paired, m.err = p, err
		close(m.done)
	})
}

// reopen opens all mailboxes at a new connection. The caller holds c.mu.
func (c *Client) reopen(link *wire.Link) {
	for _, m := range c.mailboxes {
		c.open(link, m)
	}
}

// open opens one mailbox at the server. The caller holds c.mu.
func (c *Client) open(link *wire.Link, m *Mailbox) {
	left := time.Until(m.expires)
	if left < time.Second {
		return
	}
	id := m.code.Mailbox()
	body := wire.Mailbox{ID: id[:], TTL: uint32(left / time.Second)}
	c.ask(link, wire.TypeMailboxOpen, body, func(_ wire.Frame, err error) { m.answered(err) })
}

// answered is told the server's answer to open.
func (m *Mailbox) answered(err error) {
	switch refused, ok := errors.AsType[*serverError](err); {
	case err == nil:
		select {
		case <-m.opened:
		default:
			close(m.opened)
		}
	case isDisconnect(err): // the next login opens it again
	case ok && refused.Code == wire.CodeCodeUsed:
		m.settle(err) // by a pairing whose end this side has not seen
	default:
		m.forget()
		m.end(Paired{}, err)
	}
}

// settle ends the mailbox with the peer that was replied to, or with err if
// there is none.
func (m *Mailbox) settle(err error) {
	m.client.mu.Lock()
	replied := m.replied
	m.client.mu.Unlock()
	m.forget()
	if replied != nil {
		m.end(replied.Paired, replied.refused)
		return
	}
	m.end(Paired{}, err)
}

func (m *Mailbox) forget() {
	m.client.mu.Lock()
	defer m.client.mu.Unlock()
	delete(m.client.mailboxes, m.code.Mailbox())
}

// mailboxTaken replies to the one who used a code.
func (s *session) mailboxTaken(f wire.Frame) error {
	var claim wire.Mailbox
	if err := s.codec.Body(f, &claim); err != nil {
		return err
	}
	if len(claim.ID) != 32 {
		return fmt.Errorf("%w: mailbox", wire.ErrMalformed)
	}
	s.mu.Lock()
	m := s.mailboxes[[32]byte(claim.ID)]
	s.mu.Unlock()
	if m == nil {
		return nil
	}
	reply := wire.Mailbox{ID: claim.ID, Peer: claim.Peer}
	link := s.connection.link
	them, err := openIntroduction(s.codec, claim.Box, signal.PeerID{}, m.code, claimScope())
	if err != nil || them.Peer != claim.Peer {
		s.log.Warn("refused a pairing that is not genuine", "peer", claim.Peer)
		s.post(link, wire.TypeMailboxReply, 0, reply) // without a box: no
		return nil
	}
	us := introduction{Peer: s.cfg.Identity.PeerID(), Name: s.name, URL: s.cfg.URL.String()}
	replied := &outcome{Paired: Paired{Peer: them.Peer, Name: them.Name}}
	if err := s.admits(replied.Paired); err != nil {
		us.URL, us.Why = "", cut(err.Error())
		replied = &outcome{refused: err}
	}
	reply.Box, err = sealIntroduction(s.codec, s.cfg.Identity, us, them.Peer, m.code, replyScope(them.Peer))
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	m.replied = replied
	_, err = s.ask(link, wire.TypeMailboxReply, reply, func(_ wire.Frame, err error) { m.passed(replied, err) })
	return err
}

// admits asks whether one who has used a code may be paired.
func (c *Client) admits(p Paired) error {
	if c.cfg.Admits == nil {
		return nil
	}
	return c.cfg.Admits(p)
}

// longestWhy is how many bytes of a reason fit into a reply beside all else.
const longestWhy = 512

func cut(why string) string { return strings.ToValidUTF8(why[:min(len(why), longestWhy)], "") }

// passed is told whether the server has passed a reply on. Somebody else may
// have been replied to since.
func (m *Mailbox) passed(replied *outcome, err error) {
	m.client.mu.Lock()
	switch {
	case err == nil:
		m.replied = replied
	case !isDisconnect(err) && m.replied == replied: // that one was gone: the code is still good
		m.replied = nil
	}
	m.client.mu.Unlock()
	if err == nil {
		m.settle(nil)
	}
}

// A PairConfig is what [Pair] needs.
type PairConfig struct {
	Code     signal.Code
	Identity signal.Identity
	Name     string // wish for a display name; a free one like it is taken if it is not free
	// Connection carries the fields DialContext, Proxy and Log of a [Config];
	// the others are not used.
	Connection Config
	// Claimed is called when the server was reached and the answer of the one who made the
	// code is waited for, perhaps several times; nil is nobody.
	Claimed func()

	replyIn time.Duration // tests; zero: pairTimeout
}

// Pair uses a pairing code: it introduces this peer to the one who made the
// code, and returns who that is. It opens one connection and closes it before it
// returns. A code that cannot be used is a [*RefusedError]; [signal.ErrOffline]
// means that its maker is not connected now, a [*NotAdmittedError] that it cannot pair, [ErrNoReply] that it does not answer although
// the server takes it for connected, [ErrUnreachable] that the server cannot be reached, and
// [ErrSilent] or [ErrNotSignal] that none answers there.
func Pair(ctx context.Context, cfg PairConfig) (Paired, error) {
	name := strings.ToLower(cfg.Name)
	if err := signal.ValidName(name); err != nil {
		return Paired{}, fmt.Errorf("pair: %w", err)
	}
	for tries := 1; ; tries++ {
		p, err := pair(ctx, cfg, name)
		if refused, ok := errors.AsType[*RefusedError](err); ok && refused.Suggestion != "" && tries < 4 {
			name = refused.Suggestion
			continue
		}
		if err != nil {
			return Paired{}, fmt.Errorf("pair: %w", err)
		}
		return p, nil
	}
}

// pair tries with one name.
func pair(ctx context.Context, cfg PairConfig, name string) (Paired, error) {
	codec, code := wire.NewCodec(), cfg.Code
	d := dialer{cfg: cfg.Connection, addr: code.Addr, match: code.Matches}
	dialing, done := context.WithTimeout(ctx, awaitedDial)
	defer done()
	conn, err := d.dial(dialing, codec)
	if err != nil {
		return Paired{}, notSignal(ctx, err)
	}
	defer conn.link.Close()
	patience := cmp.Or(cfg.replyIn, pairTimeout)
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("%w within %v", ErrNoReply, patience))
	defer cancel()
	defer wire.OnDone(ctx, func() { conn.link.Finish(nil, 1000, "", 0) })()
	conn.link.KeepReading(time.Time{}) // until ctx is done

	id, me := code.Mailbox(), cfg.Identity.PeerID()
	hello := wire.Hello{Peer: me, Name: name, Mailbox: id[:]}
	hello.Prove(conn.challenge, conn.binding, cfg.Identity, signal.Secret{})
	box, err := sealIntroduction(codec, cfg.Identity, introduction{Peer: me, Name: name}, signal.PeerID{}, code, claimScope())
	if err != nil {
		return Paired{}, err
	}
	claim := wire.Mailbox{ID: id[:], Box: box}
	if err := errors.Join(
		sendMessage(codec, conn.link, wire.TypeHello, 0, hello),
		sendMessage(codec, conn.link, wire.TypeMailboxClaim, 1, claim),
	); err != nil {
		return Paired{}, err
	}
	if cfg.Claimed != nil {
		cfg.Claimed()
	}
	reply, err := readReply(codec, conn.link)
	if err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return Paired{}, err
	}
	return openReply(codec, cfg, conn, reply, name)
}

func sendMessage(codec wire.Codec, link *wire.Link, kind wire.Type, id uint64, body any) error {
	msg, err := codec.Message(kind, id, body)
	if err != nil {
		return err
	}
	return link.Send(msg)
}

// readReply reads until the answer to the claim.
func readReply(codec wire.Codec, link *wire.Link) (wire.Mailbox, error) {
	var reply wire.Mailbox
	for {
		msg, err := link.Read()
		if err != nil {
			return reply, err
		}
		f, err := codec.Frame(msg)
		if err != nil {
			return reply, err
		}
		switch f.Type {
		case wire.TypeError:
			return reply, decodeError(codec, f).refusal()
		case wire.TypeGoingAway:
			return reply, &goingAwayError{}
		case wire.TypeMailboxReady:
			err := codec.Body(f, &reply)
			return reply, err
		}
	}
}

func openReply(codec wire.Codec, cfg PairConfig, conn *connection, reply wire.Mailbox, name string) (Paired, error) {
	me := cfg.Identity.PeerID()
	them, err := openIntroduction(codec, reply.Box, me, cfg.Code, replyScope(me))
	if err != nil {
		return Paired{}, err
	}
	if them.Why != "" {
		return Paired{}, &NotAdmittedError{Name: them.Name, Why: cut(them.Why)}
	}
	url, err := signal.ParseURL(them.URL)
	if err != nil {
		return Paired{}, err
	}
	if !url.Public && url.Pin != signal.PinOf(conn.challenge.Server) {
		return Paired{}, errPin
	}
	return Paired{Peer: them.Peer, Name: them.Name, URL: url, MyName: name}, nil
}
