package media

import (
	"net/netip"
	"sync"
	"time"

	"github.com/pion/rtp"
)

const (
	maxPacket  = 1500
	maxPayload = 960 // 120 ms; 10 to 60 ms are usual
	comfort    = 13  // payload type of comfort noise (RFC 3389)

	// Caps per port and second. A party sends 50 packets, 100 with 10 ms frames;
	// strangers share a small budget of their own, so that they cannot use up the
	// party's.
	capParty    = 200
	capStranger = 50
)

// packet is one accepted RTP packet. Its payload lives until the next read.
type packet struct {
	kind    int
	ssrc    uint32
	seq     uint16
	ts      uint32
	marker  bool
	law     Codec
	payload []byte
	at      int64 // when it was spoken, on the engine's clock
}

const (
	isNothing = iota
	isAudio
	isDigit
	isComfort // nothing to hear, but a sign of life
)

// inbound is what comes from the party.
type inbound struct {
	mu     sync.Mutex // of all below; never held while something is sent
	remote Remote
	latch  latch
	seq    sequence
	past   Stats // counters of former sources and of what was dropped
	stamp  spoken
	level  level
	digit  digits
	ear    ear
	header rtp.Header // reused, so that a packet allocates nothing

	budget      int64 // second of the caps
	party       int   // packets of the party in this second
	strangers   int
	jumped      uint16 // number after the last jump
	hasJumped   bool
	first       bool  // something was heard since Start
	lastPacket  int64 // since Start or the last resumption
	lost        bool  // Lost was said
	longestGap  int64
	lastArrival int64
}

// receive judges one datagram. What is returned is audio or a digit of the party;
// the facts it made are put into out.
func (in *inbound) receive(b []byte, from netip.AddrPort, now, started int64, out *notes) packet {
	in.mu.Lock()
	defer in.mu.Unlock()
	if !in.affordable(from, now) {
		in.past.Flood++
		return packet{}
	}
	if started == 0 || now < started {
		in.past.Early++
		return packet{}
	}
	payload, ok := in.parse(b)
	h := &in.header
	kind := in.kind(h.PayloadType, len(payload))
	if !ok || kind == isNothing {
		in.past.Invalid++
		return packet{}
	}
	mine, changed := in.latch.admit(from, h.SSRC, h.SequenceNumber, now)
	if !mine {
		in.past.Foreign++
		return packet{}
	}
	if changed {
		in.newSource()
		in.party = 1 // what another source used up is not this one's
	}
	if !in.count(h, now) {
		return packet{}
	}
	in.alive(now, out)
	if !in.remote.Receive {
		return packet{}
	}
	p := packet{kind: kind, ssrc: h.SSRC, seq: h.SequenceNumber, ts: h.Timestamp, marker: h.Marker, payload: payload}
	p.at = in.stamp.at(h.Timestamp, now)
	switch kind {
	case isAudio:
		p.law = Codec(h.PayloadType)
		in.level.hear(payload, p.law, now, out)
		if in.remote.DTMF == 0 {
			in.ear.hear(payload, p.law, out)
		}
	case isDigit:
		in.digit.hear(payload, h.Timestamp, out)
	}
	return p
}

// affordable applies the caps before anything is parsed.
func (in *inbound) affordable(from netip.AddrPort, now int64) bool {
	if second := now / int64(time.Second); second != in.budget {
		in.budget, in.party, in.strangers = second, 0, 0
	}
	if in.latch.familiar(from) || (!in.latch.addr.IsValid() && from == in.latch.sdp) {
		in.party++
		return in.party <= capParty
	}
	in.strangers++
	return in.strangers <= capStranger
}

// parse splits the datagram (RFC 3550 5.1).
func (in *inbound) parse(b []byte) ([]byte, bool) {
	if len(b) < 12 || b[0]>>6 != 2 {
		return nil, false
	}
	n, err := in.header.Unmarshal(b)
	if err != nil || n > len(b) {
		return nil, false
	}
	payload := b[n:]
	if in.header.Padding {
		if len(payload) == 0 {
			return nil, false
		}
		pad := int(payload[len(payload)-1])
		if pad == 0 || pad > len(payload) {
			return nil, false
		}
		payload = payload[:len(payload)-pad]
	}
	return payload, true
}

func (in *inbound) kind(pt uint8, size int) int {
	switch {
	case in.remote.DTMF != 0 && pt == in.remote.DTMF:
		if size >= 4 {
			return isDigit
		}
	case Codec(pt).Known():
		// The other law than the agreed one is understood as well.
		if size > 0 && size <= maxPayload {
			return isAudio
		}
	case pt == comfort:
		return isComfort
	}
	return isNothing
}

// count does the statistics and drops doubles.
func (in *inbound) count(h *rtp.Header, now int64) bool {
	arrival := now / (int64(time.Second) / SampleRate)
	switch in.seq.take(h.SequenceNumber, h.Timestamp, arrival) {
	case seqDuplicate:
		return false
	case seqJump:
		// RFC 3550 A.1: a second packet in order proves that the source restarted.
		if !in.hasJumped || h.SequenceNumber != in.jumped+1 {
			in.hasJumped, in.jumped = true, h.SequenceNumber
			return false
		}
		in.newSource()
		in.seq.take(h.SequenceNumber, h.Timestamp, arrival)
	}
	in.hasJumped = false
	return true
}

// newSource starts a new run of numbers; what was counted is kept.
func (in *inbound) newSource() {
	in.past.Received += in.seq.received
	in.past.Lost += in.seq.lost()
	in.past.Reordered += in.seq.reordered
	in.past.Duplicates += in.seq.duplicates
	bursts := in.seq.bursts
	in.seq = sequence{bursts: bursts}
	in.stamp = spoken{}
	in.digit, in.ear = digits{}, ear{}
	in.hasJumped = false
}

// alive notes a packet of the party.
func (in *inbound) alive(now int64, out *notes) {
	if in.lastArrival != 0 {
		in.longestGap = max(in.longestGap, now-in.lastArrival)
	}
	in.lastArrival = now
	gap := now - in.lastPacket
	in.lastPacket = now
	if !in.first {
		in.first = true
		out.add(Event{Kind: FirstPacket, Gap: time.Duration(gap)})
		in.lost = false
		return
	}
	if in.lost {
		in.lost = false
		out.add(Event{Kind: Back, Gap: time.Duration(gap)})
	}
}

// watch finds what did not come.
func (in *inbound) watch(now, started int64, o *Options, out *notes) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if !in.remote.Receive || started == 0 || now < started {
		return
	}
	limit := o.Gap
	if !in.first {
		limit = o.NoRTP
	}
	if gap := time.Duration(now - in.lastPacket); !in.lost && gap >= limit {
		in.lost = true
		out.add(Event{Kind: Lost, Never: !in.first, Gap: gap})
	}
	if !in.lost && in.first {
		in.level.watch(now, o.Silence, out)
	}
}

// notes gathers events until locks are released.
type notes struct {
	n   int
	all [4]Event
}

func (n *notes) add(e Event) {
	if n.n < len(n.all) {
		n.all[n.n] = e
		n.n++
	}
}

// spoken maps timestamps to the time a packet was spoken: arrival, less the jitter
// of the network. The base follows the fastest packets and thereby the drift of
// the party's clock.
type spoken struct {
	set   bool
	ts    uint32
	base  int64 // time of ts
	n     int
	least int64 // smallest delay against the base in this window
}

const (
	nsPerSample = int64(time.Second) / SampleRate
	driftWindow = 100 // packets
	// A packet that is off by more is of a new timestamp base or came after a pause
	// without counting on: the base is set anew.
	maxDelay = int64(500 * time.Millisecond)
	maxEarly = int64(100 * time.Millisecond)
)

func (s *spoken) at(ts uint32, now int64) int64 {
	if !s.set {
		*s = spoken{set: true, ts: ts, base: now, least: maxDelay}
		return now
	}
	at := s.base + int64(int32(ts-s.ts))*nsPerSample
	delay := now - at
	if delay > maxDelay || delay < -maxEarly {
		*s = spoken{set: true, ts: ts, base: now, least: maxDelay}
		return now
	}
	if delay < 0 { // faster than any before: the base was late
		s.base += delay
		at = now
		delay = 0
	}
	s.least = min(s.least, delay)
	if s.n++; s.n >= driftWindow {
		s.base += s.least
		s.n, s.least = 0, maxDelay
		// Timestamps wrap in 32 bits: keep the reference near.
		s.base += int64(int32(ts-s.ts)) * nsPerSample
		s.ts = ts
	}
	return at
}
