package media

import (
	"net/netip"
	"time"
)

const (
	// learnFor is how long after the answer the first valid packet is believed,
	// wherever it comes from: peers behind NAT write a private address into SDP.
	learnFor = 3 * time.Second
	// relearnGap of silence lets another port of the same address take over.
	relearnGap = 2 * time.Second
	// switchGap of silence lets another source of the same address and port take
	// over: carriers change the SSRC in the middle of a call without a word. While
	// the first source speaks nobody gets in.
	switchGap = 100 * time.Millisecond
	// probation is how many packets in order a newcomer shows outside of learnFor.
	probation = 4
)

// latch decides whose packets are the party's. It expects the address of the SDP,
// else learns the source, and then holds on to address, port and SSRC, so that
// nobody else can speak into the call.
type latch struct {
	sdp    netip.AddrPort
	strict bool  // only the address of the SDP
	since  int64 // start of learning: answer or Configure

	addr   netip.AddrPort // locked; invalid: not yet
	ssrc   uint32
	last   int64 // last packet of the locked source
	sdpHit bool  // locked on the address of the SDP

	trial candidate
}

// candidate is a newcomer on probation.
type candidate struct {
	addr netip.AddrPort
	ssrc uint32
	seq  uint16
	n    int
}

// learn starts over, after an answer or a re-INVITE.
func (l *latch) learn(sdp netip.AddrPort, strict bool, now int64) {
	*l = latch{sdp: sdp, strict: strict, since: now}
}

// familiar tells whether the packet is from the locked source: the cheap check
// before anything is parsed.
func (l *latch) familiar(from netip.AddrPort) bool { return l.addr.IsValid() && l.addr == from }

// admit tells whether a valid packet is the party's, and whether the source is new.
func (l *latch) admit(from netip.AddrPort, ssrc uint32, seq uint16, now int64) (ok, changed bool) {
	if l.addr == from && l.addr.IsValid() && ssrc == l.ssrc {
		l.last = now
		return true, false
	}
	switch {
	case !l.addr.IsValid():
		if !l.expected(from, ssrc, seq, now) {
			return false, false
		}
	case l.addr == from: // another SSRC
		if now-l.last < int64(switchGap) || !l.proven(from, ssrc, seq) {
			return false, false
		}
	case from == l.sdp && !l.sdpHit && now-l.since < int64(learnFor):
		// The address of the SDP wins over one learned in its place.
	case from.Addr() == l.addr.Addr() && now-l.last >= int64(relearnGap) && !l.strict:
		if !l.proven(from, ssrc, seq) {
			return false, false
		}
	case from == l.sdp && now-l.last >= int64(relearnGap):
		if !l.proven(from, ssrc, seq) {
			return false, false
		}
	default:
		return false, false
	}
	l.addr, l.ssrc, l.last = from, ssrc, now
	l.sdpHit = from == l.sdp
	l.trial = candidate{}
	return true, true
}

// expected decides on the first packet of a party.
func (l *latch) expected(from netip.AddrPort, ssrc uint32, seq uint16, now int64) bool {
	if from == l.sdp {
		return true
	}
	if l.strict {
		return false
	}
	// Late newcomers are not refused: a silent SOS call whose device starts to speak
	// after ten seconds from behind NAT must be heard. But they show a stream first.
	return now-l.since < int64(learnFor) || l.proven(from, ssrc, seq)
}

// proven counts a newcomer's packets in order.
func (l *latch) proven(from netip.AddrPort, ssrc uint32, seq uint16) bool {
	t := &l.trial
	if t.addr != from || t.ssrc != ssrc || seq != t.seq+1 {
		*t = candidate{addr: from, ssrc: ssrc}
	}
	t.seq = seq
	t.n++
	return t.n >= probation
}
