package lane

import "time"

// A pump writes what is queued on a link, when it is its turn.
type pump struct {
	l     *link
	turns *turns
	again *time.Timer // made on demand
}

// run writes until the link is gone or, after finish, all is written.
func (p *pump) run() {
	defer p.turns.leave(p.l)
	for {
		b, wait, closing := p.next()
		switch {
		case len(b) > 0:
			if _, err := p.l.conn.Write(b); err != nil {
				p.l.fail(err)
				return
			}
			p.wrote()
		case closing:
			if err := p.l.conn.CloseWrite(); err != nil {
				p.l.fail(err)
			}
			return
		case !p.await(wait):
			return
		}
	}
}

// next returns what is to be written now. If that is nothing, wait says after
// which time to look again, if not 0; closing that nothing more will come.
func (p *pump) next() (b []byte, wait time.Duration, closing bool) {
	l := p.l
	l.mu.Lock()
	defer l.unlock()
	n, data := unlimited, l.out.pending()
	if data {
		n, wait = p.turns.ask(l)
	}
	if b = l.out.next(n); data && n > 0 {
		p.turns.begin(l, len(b))
	}
	return b, wait, l.out.closing && !data && len(b) == 0
}

func (p *pump) wrote() {
	p.l.mu.Lock()
	defer p.l.unlock()
	p.l.out.wrote()
	p.turns.done(p.l, p.l.out.pending())
}

// await waits until there may be something to write. It reports false when the
// link is gone.
func (p *pump) await(wait time.Duration) bool {
	var again <-chan time.Time
	if wait > 0 {
		if p.again == nil {
			p.again = time.NewTimer(wait)
		} else {
			p.again.Reset(wait)
		}
		defer p.again.Stop()
		again = p.again.C
	}
	select {
	case <-p.l.out.work:
	case <-p.l.turn.come:
	case <-again:
	case <-p.l.gone:
		return false
	}
	return true
}
