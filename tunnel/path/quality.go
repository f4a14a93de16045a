package path

import (
	"math"
	"math/bits"
	"time"
)

// A Quality is how good a path has been lately, as far as questions on it tell.
type Quality struct {
	RTT  time.Duration // smoothed; 0: not known
	Loss float64       // of questions and answers together, smoothed

	askedAt    time.Time // the last question
	longAt     time.Time // the last long one
	answeredAt time.Time // the last answer
	got, lost  uint64    // until now
	closely    bool

	// What was found since the path is asked closely: one bit for each of the last questions
	// that was lost, and how many there are. Then the shortest round trip times of two spans.
	outcomes uint64
	asked    int
	least    [2]time.Duration // the older one first; 0: none
	leastAt  time.Time        // since when the newer one is
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

	// lossy is a loss that is looked at closely. One is sure of what so many questions say.
	lossy = 0.05
	sure  = 24

	// leastFor is a span in which a round trip happens not to wait for other packets.
	leastFor = 5 * time.Second

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
	if q.closely = closely || q.Doubtful(); q.closely {
		every = closelyEvery
	} else {
		q.outcomes, q.asked = 0, 0
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

// Poor reports whether something below the path may be better.
func (q Quality) Poor() bool { return q.Doubtful() || q.base() > relayHandicap/2 }

// Doubtful reports whether that is to be looked at closely.
func (q Quality) Doubtful() bool { return q.Loss >= lossy || q.base() > relayHandicap }

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
	if at.Sub(q.leastAt) > leastFor {
		q.least, q.leastAt = [2]time.Duration{q.least[1], rtt}, at
	}
	q.least[1] = min(q.least[1], rtt)
}

// count takes so many questions into account that were all lost, or not.
func (q *Quality) count(lost float64, questions uint64, weight int) {
	for range min(questions, 64) { // after which it makes no difference
		q.Loss += (lost - q.Loss) / float64(weight)
		if q.closely {
			q.outcomes = q.outcomes<<1 | uint64(lost)
			q.asked = min(q.asked+1, 64)
		}
	}
}

// cost is what paths of one kind are compared by: the less the better.
func (q Quality) cost() time.Duration { return cost(q.RTT, q.Loss) }

func cost(rtt time.Duration, loss float64) time.Duration {
	loss = min(loss, maxLoss)
	return rtt + time.Duration(loss/(1-loss)*float64(lossCost))
}

// isSure reports whether enough is known to compare the path with one of another kind.
func (q Quality) isSure() bool { return q.asked >= sure && q.RTT > 0 }

// lossClosely is the loss of the last questions, if there are any.
func (q Quality) lossClosely() float64 {
	return float64(bits.OnesCount64(q.outcomes<<(64-q.asked))) / float64(max(q.asked, 1))
}

// lossWithin is that, and so many standard deviations more.
func (q Quality) lossWithin(deviations float64) float64 {
	loss := q.lossClosely()
	return max(0, loss+deviations*math.Sqrt(loss*(1-loss)/float64(max(q.asked, 1))))
}

// base is the round trip time without what waits on the way, which may be our own packets.
func (q Quality) base() time.Duration {
	if q.least[0] > 0 {
		return min(q.least[0], q.least[1])
	}
	return q.least[1]
}
