package relay

import (
	"errors"
	"testing"
	"time"
)

// TestStatus: a relay that leaves a question unanswered is not well from then on, though
// peers are still sent to it for a while.
func TestStatus(t *testing.T) {
	m, begun := &Member{}, time.Now()
	if s := m.Status(begun); s.Well || s.Heard >= 0 {
		t.Errorf("before anything was asked it is %+v", s)
	}
	m.told(Load{Sessions: 3}, nil, begun)
	if s := m.Status(begun.Add(askEvery)); !s.Well || s.Heard != askEvery || s.Load.Sessions != 3 {
		t.Errorf("a relay that answers is %+v", s)
	}
	later := begun.Add(askEvery + answerWithin)
	m.told(Load{}, errors.New("silent"), later)
	_, usable := m.usable(later)
	if s := m.Status(later); s.Well || s.Heard != askEvery+answerWithin || !usable {
		t.Errorf("a relay that is silent is %+v, usable: %v", s, usable)
	}
	if _, usable := m.usable(begun.Add(askFor)); usable {
		t.Error("it is usable for ever")
	}
	m.told(Load{}, nil, later.Add(askEvery))
	if s := m.Status(later.Add(askEvery)); !s.Well || s.Heard != 0 {
		t.Errorf("a relay that is back is %+v", s)
	}
}
