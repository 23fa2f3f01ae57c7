package media

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/pion/rtcp"
)

func TestReportsMeasureBothWays(t *testing.T) {
	e := newEngine(t)
	s, p := open(t, e, PCMA, 101)
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	s.Configure(Remote{Addr: p.addr(), Codec: PCMA, Send: true, Receive: true, RTCP: conn.LocalAddr().(*net.UDPAddr).AddrPort()})
	for i := range 20 {
		if i == 7 || i == 8 {
			p.h.SequenceNumber++ // two never come
			continue
		}
		p.say(silentA[:])
	}
	deadline := time.Now().Add(5 * time.Second)
	for s.Stats().Received < 18 && time.Now().Before(deadline) {
		p.hear(20 * time.Millisecond)
	}
	s.rep.mu.Lock()
	s.rep.next = 1 // the next turn of the wheel reports
	s.rep.mu.Unlock()
	sr := readReport(t, conn)
	if sr.SSRC != s.out.ssrc || sr.PacketCount == 0 || len(sr.Reports) != 1 {
		t.Fatalf("report %+v", sr)
	}
	if r := sr.Reports[0]; r.SSRC != p.h.SSRC || r.TotalLost != 2 || r.FractionLost != 2*256/20 {
		t.Errorf("reception %+v", r)
	}
	// The party answers 50 ms later, having held the report for 30 ms.
	now := s.e.now()
	at := uint32(ntp(s.e.wall(now)) >> 16)
	b, err := rtcp.Marshal([]rtcp.Packet{&rtcp.ReceiverReport{SSRC: p.h.SSRC, Reports: []rtcp.ReceptionReport{{
		SSRC: s.out.ssrc, FractionLost: 64, LastSequenceNumber: 9, Jitter: 80,
		LastSenderReport: at - 50*65536/1000, Delay: 30 * 65536 / 1000}}}})
	if err != nil {
		t.Fatal(err)
	}
	s.receiveRTCP(b, conn.LocalAddr().(*net.UDPAddr).AddrPort(), now)
	st := s.Stats()
	if st.RTT < 18*time.Millisecond || st.RTT > 22*time.Millisecond {
		t.Errorf("round trip %v, 20 ms are right", st.RTT)
	}
	if !st.Peer || st.PeerLostRatio != 0.25 || st.PeerJitter != 10*time.Millisecond {
		t.Errorf("what the party says: %+v", st)
	}
	if st.Lost != 2 || st.MOS < 1 || st.MOS > 4 {
		t.Errorf("10 %% loss: %+v", st)
	}
	// Nobody else may tell what the party hears.
	s.receiveRTCP(b, netip.MustParseAddrPort("198.51.100.1:5005"), now)
	go s.Close()
	for {
		if bye := readCompound(t, conn); hasBye(bye) {
			return
		}
	}
}

func readCompound(t *testing.T, conn *net.UDPConn) []rtcp.Packet {
	t.Helper()
	var buf [maxPacket]byte
	if err := conn.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	n, err := conn.Read(buf[:])
	if err != nil {
		t.Fatalf("no report: %v", err)
	}
	all, err := rtcp.Unmarshal(buf[:n])
	if err != nil {
		t.Fatal(err)
	}
	if err := rtcp.CompoundPacket(all).Validate(); err != nil {
		t.Fatal(err)
	}
	return all
}

func readReport(t *testing.T, conn *net.UDPConn) *rtcp.SenderReport {
	t.Helper()
	for {
		if sr, ok := readCompound(t, conn)[0].(*rtcp.SenderReport); ok {
			return sr
		}
	}
}

func hasBye(all []rtcp.Packet) bool {
	for _, p := range all {
		if _, ok := p.(*rtcp.Goodbye); ok {
			return true
		}
	}
	return false
}

func TestPartyThatHearsNothing(t *testing.T) {
	var r reports
	var out notes
	report := func(highest, sent uint32) {
		r.told([]rtcp.ReceptionReport{{SSRC: 5, LastSequenceNumber: highest}}, 5, sent, 0, &out)
	}
	report(100, 100)
	report(350, 350)
	report(350, 600)
	if out.n != 0 {
		t.Fatal("one bad report is no proof")
	}
	report(350, 850)
	report(350, 1100)
	if out.n != 1 || out.all[0].Kind != OneWay {
		t.Fatalf("events %+v", out.all[:out.n])
	}
	report(1000, 1350) // heard again
	report(1000, 1351) // on hold: we send nothing, so nothing is missed
	report(1000, 1352)
	report(1000, 1353)
	if out.n != 1 {
		t.Fatalf("events %+v", out.all[:out.n])
	}
}
