package relay

import (
	"testing"
	"time"
)

// However many pairs there are, what is remembered of them is bounded, and those that have
// used much are not the ones that are forgotten.
func TestUsagesAreBounded(t *testing.T) {
	now, us := time.Unix(1e9, 0), make(usages[int])
	for pair := range 100 {
		us.of(pair, now).pay(1<<20, 1<<30, now)
	}
	for pair := range 3 * maxUsages {
		us.of(1000+pair, now)
	}
	if len(us) > maxUsages {
		t.Errorf("%d pairs are remembered", len(us))
	}
	kept := 0
	for pair := range 100 {
		if us[pair] != nil {
			kept++
		}
	}
	if kept < 90 {
		t.Errorf("%d of 100 that have used much are remembered", kept)
	}
	us.sweep(now.Add(day))
	if len(us) != 0 {
		t.Errorf("%d pairs of yesterday are remembered", len(us))
	}
}
