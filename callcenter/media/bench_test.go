package media

import (
	"testing"

	"github.com/pion/rtp"
)

// BenchmarkRelay is one packet through an answered, joined session, law conversion
// and the sending system call included; the receiving one is the kernel's other half.
func BenchmarkRelay(b *testing.B) {
	e := newEngine(b)
	x, caller := open(b, e, PCMA, 101)
	y, _ := open(b, e, PCMU, 101)
	Join(x, y)
	h := rtp.Header{Version: 2, PayloadType: uint8(PCMA), SSRC: 77}
	var buf, frame [maxPacket]byte
	now, from := e.now(), caller.addr()
	b.ReportAllocs()
	for b.Loop() {
		n, _ := h.MarshalTo(buf[:])
		n += copy(buf[n:], silentA[:])
		h.SequenceNumber++
		h.Timestamp += frameBytes
		now += int64(tick)
		x.handle(buf[:n], from, now, &frame)
	}
}

// BenchmarkReceive is the judgement alone: caps, parse, latch, statistics, level.
func BenchmarkReceive(b *testing.B) {
	in := &inbound{remote: Remote{Receive: true, DTMF: 101}}
	in.latch.learn(loopbackPort(4000), false, 1)
	h := rtp.Header{Version: 2, PayloadType: uint8(PCMA), SSRC: 77}
	var buf [maxPacket]byte
	var out notes
	now := int64(1)
	b.ReportAllocs()
	for b.Loop() {
		n, _ := h.MarshalTo(buf[:])
		n += copy(buf[n:], silentA[:])
		h.SequenceNumber++
		h.Timestamp += frameBytes
		now += int64(tick)
		in.receive(buf[:n], loopbackPort(4000), now, 1, &out)
		out.n = 0
	}
}

// BenchmarkSend is the floor of BenchmarkRelay: the system call alone.
func BenchmarkSend(b *testing.B) {
	e := newEngine(b)
	s, p := open(b, e, PCMA, 101)
	var frame [12 + frameBytes]byte
	to := p.addr()
	for b.Loop() {
		_, _ = s.rtp.WriteToUDPAddrPort(frame[:], to)
	}
}
