package path

import "time"

// A Quality is how good a path has been lately, as far as questions on it tell.
type Quality struct {
	RTT  time.Duration // smoothed; 0: not known
	Loss float64       // of questions and answers together, smoothed

	askedAt    time.Time // the last question
	longAt     time.Time // the last long one
	answeredAt time.Time // the last answer
	got, lost  uint64    // until now
	closely    bool
}

const (
	// A path wants to be asked each qualityEvery while packets flow, and each closelyEvery
	// when it matters: of two losses in ten questions nobody knows what they mean.
	qualityEvery = time.Second
	closelyEvery = Interval

	// A new round trip time counts one part in so many, and so does a question that was
	// lost or not, in that many seconds in any case.
	rttWeight         = 4
	lossWeight        = 8
	lossWeightClosely = 32

	// lossy is a loss that is looked at closely.
	lossy = 0.05

	// A loss counts like this much more round trip time: a hundredth of it for one
	// packet in a hundred, which costs a stream more than 10 ms; and more where
	// what is sent again is lost again.
	lossCost = time.Second
	maxLoss  = 0.9 // that is taken into account
)

// Ask reports whether the path is to be asked now, which is then done, and whether with a
// long question. closely asks for many questions; they are asked of a lossy path in any
// case.
func (q *Quality) Ask(now time.Time, closely bool) (ask, long bool) {
	every := qualityEvery
	if q.closely = closely || q.Lossy(); q.closely {
		every = closelyEvery
	}
	if now.Sub(q.askedAt) < every {
		return false, false
	}
	q.askedAt = now
	if long = now.Sub(q.longAt) >= qualityEvery; long {
		q.longAt = now
	}
	return true, long
}

// Lossy reports whether many questions were lost.
func (q Quality) Lossy() bool { return q.Loss >= lossy }

// Answered says when a question was answered last, and how fast, and how many were ever
// answered and lost.
func (q *Quality) Answered(at time.Time, rtt time.Duration, got, lost uint64) {
	weight := lossWeight
	if q.closely {
		weight = lossWeightClosely
	}
	known := !q.askedAt.IsZero() && got >= q.got && lost >= q.lost
	if known { // else others have asked, or nobody has counted
		q.count(0, got-q.got, weight)
		q.count(1, lost-q.lost, weight)
	}
	q.got, q.lost = got, lost
	if !at.After(q.answeredAt) {
		return
	}
	q.answeredAt = at
	if rtt = max(rtt, time.Microsecond); q.RTT == 0 {
		q.RTT = rtt
	}
	q.RTT += (rtt - q.RTT) / rttWeight
}

// count takes so many questions into account that were all lost, or not.
func (q *Quality) count(lost float64, questions uint64, weight int) {
	for range min(questions, 64) { // after which it makes no difference
		q.Loss += (lost - q.Loss) / float64(weight)
	}
}

// cost is what paths are compared by: the less the better.
func (q Quality) cost() time.Duration {
	loss := min(q.Loss, maxLoss)
	return q.RTT + time.Duration(loss/(1-loss)*float64(lossCost))
}
