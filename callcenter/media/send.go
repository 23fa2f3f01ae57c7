package media

import (
	"math/rand/v2"
	"sync"
	"time"

	"github.com/pion/rtp"
)

// fillAfter is how long nothing may go to a party before frames of silence do:
// trunks and NAT drop calls on which nothing comes.
const fillAfter = int64(200 * time.Millisecond)

// outbound is our stream to the party: one SSRC, numbers and timestamps of our
// own, whoever speaks into it.
type outbound struct {
	mu     sync.Mutex // of all below; never held while a packet is written
	ssrc   uint32
	seq    uint16 // of the last packet
	ts     uint32 // of the last packet
	last   int64  // when it was made; 0: none yet
	step   uint32 // samples of the last packet
	closed bool

	from    run  // the relayed source
	filling bool // silence is sent until somebody speaks
	play    []byte
	playID  string
	pos     int
	loop    bool
	keys    dialler

	packets, octets uint32 // since the beginning, for sender reports
	sent, filled    uint64
}

// run maps one source's numbers to ours, so that its gaps and its order are seen
// by the party as they were seen by us.
type run struct {
	of    *Session
	ssrc  uint32
	inSeq uint16
	inTS  uint32
	seq   uint16
	ts    uint32
	n     int // packets since the run began
}

func newOutbound() outbound {
	return outbound{ssrc: rand.Uint32(), seq: uint16(rand.Uint32()), ts: rand.Uint32()}
}

// clockTS is the timestamp of a packet that does not continue a run: the time
// since the last one, and never before its end.
func (o *outbound) clockTS(now int64) uint32 {
	if o.last == 0 {
		return o.ts
	}
	elapsed := (now - o.last) / nsPerSample
	if elapsed-int64(o.step) < 4*frameBytes {
		return o.ts + o.step // in step; the wheel's unevenness is not passed on
	}
	return o.ts + uint32(elapsed)
}

// stamp numbers a packet of our own making.
func (o *outbound) stamp(h *rtp.Header, pt uint8, samples int, now int64) {
	h.Marker = o.last == 0 || now-o.last > fillAfter
	h.Timestamp = o.clockTS(now)
	o.seq++
	o.ts, o.step, o.last = h.Timestamp, uint32(samples), now
	o.from.of = nil
	o.fill(h, pt, o.seq)
}

func (o *outbound) fill(h *rtp.Header, pt uint8, seq uint16) {
	h.Version, h.PayloadType, h.SequenceNumber, h.SSRC = 2, pt, seq, o.ssrc
}

// maxBehind is how many numbers late a relayed packet may be.
const maxBehind = 64

// relayed numbers a packet of another party; false: it is too late to be sent.
func (o *outbound) relayed(h *rtp.Header, pt uint8, from *Session, p *packet, now int64) bool {
	r := &o.from
	samples := uint32(len(p.payload))
	dseq, dts := int(int16(p.seq-r.inSeq)), int32(p.ts-r.inTS)
	same := r.of == from && r.ssrc == p.ssrc && dseq < maxDropout && dseq > -maxDropout &&
		dts < 10*SampleRate && dts > -SampleRate
	if !same {
		h.Marker = true
		*r = run{of: from, ssrc: p.ssrc, inSeq: p.seq, inTS: p.ts, seq: o.seq + 1, ts: o.clockTS(now), n: 1}
		dseq, dts = 0, 0
	} else {
		if dseq < 0 && (-dseq > maxBehind || -dseq >= r.n) {
			return false
		}
		h.Marker = p.marker
		r.n++
	}
	seq, ts := r.seq+uint16(dseq), r.ts+uint32(dts)
	o.filling = false
	if dseq >= 0 {
		r.inSeq, r.inTS, r.seq, r.ts = p.seq, p.ts, seq, ts
		o.seq, o.ts, o.last = seq, ts, now
		if p.kind == isAudio {
			o.step = samples
		}
	}
	h.Timestamp = ts
	o.fill(h, pt, seq)
	return true
}

// skip leaves out a packet of the run without a hole in our numbers.
func (o *outbound) skip(from *Session, p *packet) {
	if r := &o.from; r.of == from && r.ssrc == p.ssrc && int16(p.seq-r.inSeq) > 0 {
		r.inSeq++
	}
}

// count is called once per packet that goes out.
func (o *outbound) count(octets int) {
	o.packets++
	o.octets += uint32(octets)
	o.sent++
}
