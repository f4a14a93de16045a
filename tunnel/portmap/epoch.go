package portmap

import "time"

// An epoch is the clock of a router: it counts seconds since it last lost its mappings.
// The zero value knows nothing.
type epoch struct {
	seconds uint32
	at      time.Time // here
}

// advance takes what the router's clock shows now, and reports whether the router has
// lost its mappings since the last time (RFC 6887 section 8.5, which is also good for
// NAT-PMP).
func (e *epoch) advance(seconds uint32, now time.Time) (lost bool) {
	before := *e
	*e = epoch{seconds, now}
	if before.at.IsZero() {
		return false
	}
	there, here := int64(seconds)-int64(before.seconds), int64(now.Sub(before.at)/time.Second)
	return there < -1 || here+2 < there-there/16 || there+2 < here-here/16
}
