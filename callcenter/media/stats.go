package media

import (
	"math"
	"time"
)

// Stats is the quality of one party's audio since it was opened.
type Stats struct {
	Received   uint64 // RTP packets taken
	Sent       uint64
	Lost       uint64 // never came
	LostRatio  float64
	Reordered  uint64
	Duplicates uint64
	Foreign    uint64 // from other addresses or sources, dropped
	Invalid    uint64 // not RTP, or a format that was not agreed
	Flood      uint64 // over the cap per port
	Early      uint64 // before the call was answered
	Filled     uint64 // frames of silence that we sent for want of others

	Jitter     time.Duration // RFC 3550 A.8
	RTT        time.Duration // 0: not known
	LongestGap time.Duration
	LevelDB    float64 // dBov of the last 200 ms, -96 to 0
	MOS        float64 // estimate, 1 to 4.5; 0 before the first packet

	PeerLostRatio float64       // what the party says of us, last report
	PeerJitter    time.Duration // the same
	Peer          bool          // a report has come
}

// sequence follows one source's numbers (RFC 3550 A.1, A.3, A.8).
type sequence struct {
	started  bool
	base     uint32 // first extended number
	max      uint32 // highest extended number
	received uint64 // without duplicates
	seen     uint64 // bit i: max-i has come

	reordered  uint64
	duplicates uint64
	bursts     uint64 // losses, each of one packet or more in a row

	transit int64   // of the last packet, in samples
	jitter  float64 // in samples

	expectedPrior, receivedPrior uint64 // at the last report
}

// verdicts on a packet's number.
const (
	seqNew = iota
	seqLate
	seqDuplicate
	seqJump // too far off to be of this run: a restart of the source
)

const maxDropout = 3000 // RFC 3550 A.1

// take counts a packet; arrival is in samples of the local clock.
func (q *sequence) take(seq uint16, ts uint32, arrival int64) int {
	if !q.started {
		*q = sequence{started: true, base: 1<<16 | uint32(seq), max: 1<<16 | uint32(seq), received: 1, seen: 1, transit: arrival - int64(ts)}
		return seqNew
	}
	delta := int(int16(seq - uint16(q.max)))
	switch {
	case delta > maxDropout || delta < -maxDropout:
		return seqJump
	case delta > 0:
		if delta > 1 {
			q.bursts++
		}
		q.max += uint32(delta)
		if delta < 64 {
			q.seen = q.seen<<delta | 1
		} else {
			q.seen = 1
		}
		q.received++
		q.measure(ts, arrival)
		return seqNew
	case -delta < 64 && q.seen>>-delta&1 == 1:
		q.duplicates++
		return seqDuplicate
	case q.max-uint32(-delta) < q.base:
		q.duplicates++ // from before our first: nothing to fill
		return seqDuplicate
	case -delta < 64:
		q.seen |= 1 << -delta
		q.received++
		q.reordered++
		return seqLate
	}
	q.duplicates++ // too old to know; never counted twice
	return seqDuplicate
}

// measure is the estimator of RFC 3550 A.8.
func (q *sequence) measure(ts uint32, arrival int64) {
	transit := arrival - int64(ts)
	// Differences are taken in 32 bits, as timestamps wrap.
	d := int64(int32(uint32(transit) - uint32(q.transit)))
	q.transit = transit
	if d < 0 {
		d = -d
	}
	if d > SampleRate { // a new timestamp base, not jitter
		return
	}
	q.jitter += (float64(d) - q.jitter) / 16
}

func (q *sequence) expected() uint64 {
	if !q.started {
		return 0
	}
	return uint64(q.max-q.base) + 1
}

func (q *sequence) lost() uint64 {
	if e := q.expected(); e > q.received {
		return e - q.received
	}
	return 0
}

// fraction is the loss since the last call, in 1/256 (RFC 3550 A.3).
func (q *sequence) fraction() uint8 {
	expected := q.expected() - q.expectedPrior
	received := q.received - q.receivedPrior
	q.expectedPrior, q.receivedPrior = q.expected(), q.received
	if expected == 0 || received >= expected {
		return 0
	}
	return uint8(min(255, (expected-received)<<8/expected))
}

// burstRatio is the mean length of losses against that of random loss (G.107 7.3).
func burstRatio(lost, bursts uint64, ratio float64) float64 {
	if lost == 0 || bursts == 0 || ratio >= 1 {
		return 1
	}
	return max(1, float64(lost)/float64(bursts)*(1-ratio))
}

// mos is the E-model's estimate for G.711 (ITU-T G.107): delay from half the
// round trip, one packet and the listener's jitter buffer; loss with its bursts.
func mos(rtt, jitter time.Duration, lossRatio, burst float64) float64 {
	// A listener's buffer holds about four times the jitter, 20 to 200 ms.
	buffer := min(max(4*jitter, 20*time.Millisecond), 200*time.Millisecond)
	d := (rtt/2 + 20*time.Millisecond + buffer).Seconds() * 1000
	id := 0.024 * d
	if d > 177.3 {
		id += 0.11 * (d - 177.3)
	}
	const bpl = 4.3 // G.711 without concealment
	ppl := lossRatio * 100
	ie := 95 * ppl / (ppl/burst + bpl)
	r := 93.2 - id - ie
	m := 1 + 0.035*r + r*(r-60)*(100-r)*7e-6
	if r <= 0 || math.IsNaN(m) {
		return 1
	}
	return min(4.5, max(1, m))
}
