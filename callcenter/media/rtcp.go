package media

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync"
	"time"

	"github.com/pion/rtcp"
)

const (
	reportEvery = 5 * time.Second // randomised by half to one and a half (RFC 3550 6.2)
	capReports  = 20              // RTCP packets taken per second
	deafReports = 2               // reports in a row without progress: the party hears nothing
)

// reports is the RTCP side of a party.
type reports struct {
	mu     sync.Mutex
	from   netip.AddrPort // where reports come from, else the guess from SDP; guarded by mu
	next   int64
	budget int64
	n      int

	peerSSRC uint32
	lsr      uint32 // middle of the NTP time of the party's last sender report
	lsrAt    int64
	rtt      time.Duration
	peerLoss uint8
	peerJit  uint32
	peerSays bool

	highest   uint32 // the party's highest number of ours
	sentThen  uint32
	deaf      int
	deafSaid  bool
	highestOK bool
}

// nextReport draws the time of the next report.
func nextReport(now int64) int64 {
	return now + int64(float64(reportEvery)*(0.5+rand.Float64()))
}

// ntp is the 64-bit NTP time (RFC 3550 4).
func ntp(t time.Time) uint64 {
	const to1900 = 2208988800
	return uint64(t.Unix()+to1900)<<32 | uint64(t.Nanosecond())<<32/1e9
}

// report makes the compound packet of now: SR when we sent, else RR, and SDES.
func (s *Session) report(now int64, bye bool) []byte {
	blocks := s.receptionReport(now)
	s.out.mu.Lock()
	ssrc, packets, octets := s.out.ssrc, s.out.packets, s.out.octets
	rtpTime := s.out.ts + uint32((now-s.out.last)/nsPerSample)
	s.out.mu.Unlock()
	var all []rtcp.Packet
	if packets > 0 {
		all = append(all, &rtcp.SenderReport{SSRC: ssrc, NTPTime: ntp(s.e.wall(now)), RTPTime: rtpTime, PacketCount: packets, OctetCount: octets, Reports: blocks})
	} else {
		all = append(all, &rtcp.ReceiverReport{SSRC: ssrc, Reports: blocks})
	}
	// The name says nothing of who is called (RFC 7022 4.2: per session).
	all = append(all, &rtcp.SourceDescription{Chunks: []rtcp.SourceDescriptionChunk{{
		Source: ssrc, Items: []rtcp.SourceDescriptionItem{{Type: rtcp.SDESCNAME, Text: fmt.Sprintf("%08x@anling", ssrc)}}}}})
	if bye {
		all = append(all, &rtcp.Goodbye{Sources: []uint32{ssrc}})
	}
	b, err := rtcp.Marshal(all)
	if err != nil {
		return nil
	}
	return b
}

func (s *Session) receptionReport(now int64) []rtcp.ReceptionReport {
	s.in.mu.Lock()
	q := &s.in.seq
	if !q.started {
		s.in.mu.Unlock()
		return nil
	}
	r := rtcp.ReceptionReport{
		SSRC:               s.in.latch.ssrc,
		FractionLost:       q.fraction(),
		TotalLost:          uint32(min(q.lost(), 1<<23-1)),
		LastSequenceNumber: q.max,
		Jitter:             uint32(q.jitter),
	}
	s.in.mu.Unlock()
	s.rep.mu.Lock()
	defer s.rep.mu.Unlock()
	if s.rep.lsr != 0 && s.rep.peerSSRC == r.SSRC {
		r.LastSenderReport = s.rep.lsr
		r.Delay = uint32((now - s.rep.lsrAt) * 65536 / int64(time.Second))
	}
	return []rtcp.ReceptionReport{r}
}

// receiveRTCP takes a compound packet of the party; muxed ones come by the RTP
// socket (RFC 5761).
func (s *Session) receiveRTCP(b []byte, from netip.AddrPort, now int64) {
	var out notes
	s.in.mu.Lock()
	l := &s.in.latch
	// Reports are believed from the party's address only, whatever the port.
	ours := from.Addr() == l.addr.Addr() || (!l.addr.IsValid() && from.Addr() == l.sdp.Addr())
	ssrc := l.ssrc
	s.in.mu.Unlock()
	s.out.mu.Lock()
	mine, sent := s.out.ssrc, s.out.packets
	s.out.mu.Unlock()

	s.rep.mu.Lock()
	if second := now / int64(time.Second); second != s.rep.budget {
		s.rep.budget, s.rep.n = second, 0
	}
	s.rep.n++
	over := s.rep.n > capReports
	s.rep.mu.Unlock()
	if !ours || over {
		return
	}
	all, err := rtcp.Unmarshal(b)
	if err != nil {
		return
	}
	s.rep.mu.Lock()
	s.rep.from = from
	for _, p := range all {
		switch p := p.(type) {
		case *rtcp.SenderReport:
			if p.SSRC == ssrc {
				s.rep.peerSSRC, s.rep.lsr, s.rep.lsrAt = p.SSRC, uint32(p.NTPTime>>16), now
			}
			s.rep.told(p.Reports, mine, sent, ntp(s.e.wall(now)), &out)
		case *rtcp.ReceiverReport:
			s.rep.told(p.Reports, mine, sent, ntp(s.e.wall(now)), &out)
		}
	}
	s.rep.mu.Unlock()
	s.tell(&out, now)
}

// told reads what the party says of our stream; mu is held.
func (r *reports) told(blocks []rtcp.ReceptionReport, mine, sent uint32, at uint64, out *notes) {
	for _, b := range blocks {
		if b.SSRC != mine {
			continue
		}
		r.peerSays, r.peerLoss, r.peerJit = true, b.FractionLost, b.Jitter
		if b.LastSenderReport != 0 {
			// RFC 3550 6.4.1: A - LSR - DLSR, in 1/65536 s.
			if d := int32(uint32(at>>16) - b.LastSenderReport - b.Delay); d >= 0 && d < 60<<16 {
				r.rtt = time.Duration(d) * time.Second / 65536
			}
		}
		r.hears(b.LastSequenceNumber, sent, out)
	}
}

// hears finds a party that gets nothing although we send.
func (r *reports) hears(highest, sent uint32, out *notes) {
	switch {
	case !r.highestOK || highest != r.highest:
		r.deaf, r.deafSaid = 0, false
	case sent-r.sentThen >= 50:
		r.deaf++
	}
	r.highestOK, r.highest, r.sentThen = true, highest, sent
	if r.deaf >= deafReports && !r.deafSaid {
		r.deafSaid = true
		out.add(Event{Kind: OneWay})
	}
}
