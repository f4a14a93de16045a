package client

import "time"

// remindEvery is how often it is said that there is still no server.
const remindEvery = 10 * time.Minute

// An outage is a time without a connection, and what was said of it.
type outage struct {
	since   time.Time // zero: there is none
	toldAt  time.Time
	refused bool // what was told
	before  bool // there was a connection before
}

// failed says that there is no connection at now. It reports whether people are to be told:
// of the first time, of another kind of failure, and rarely from then on.
func (o *outage) failed(now time.Time, refused bool) (tell bool) {
	if o.since.IsZero() {
		o.since = now
	}
	tell = o.toldAt.IsZero() || o.refused != refused || now.Sub(o.toldAt) >= remindEvery
	if tell {
		o.toldAt, o.refused = now, refused
	}
	return tell
}

// over says that there is a connection at now, and returns how long there was none any more; 0
// if there was no outage, or it is the first connection.
func (o *outage) over(now time.Time) (lasted time.Duration) {
	if !o.since.IsZero() && o.before {
		lasted = now.Sub(o.since)
	}
	*o = outage{before: true}
	return lasted
}
