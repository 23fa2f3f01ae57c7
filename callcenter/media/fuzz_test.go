package media

import (
	"testing"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"
)

// FuzzReceive throws datagrams at an answered, joined and recorded session.
func FuzzReceive(f *testing.F) {
	for _, h := range []rtp.Header{
		{Version: 2, PayloadType: 8, SequenceNumber: 1, SSRC: 1},
		{Version: 2, PayloadType: 101, SequenceNumber: 2, SSRC: 1, Marker: true},
		{Version: 2, PayloadType: 13, Padding: true, SSRC: 1, CSRC: []uint32{1, 2}},
		{Version: 2, PayloadType: 0, Extension: true, ExtensionProfile: 0xBEDE, SSRC: 1},
	} {
		b, err := h.Marshal()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(append(b, silentA[:]...), uint16(4000))
		f.Add(append(b, 1, 0x8A, 3, 32), uint16(4000))
		f.Add(b, uint16(5))
	}
	sr, err := rtcp.Marshal([]rtcp.Packet{&rtcp.SenderReport{SSRC: 1, Reports: []rtcp.ReceptionReport{{SSRC: 2}}}, &rtcp.Goodbye{Sources: []uint32{1}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(sr, uint16(4000))
	e, err := New(Options{IP: loopback, PortMin: 30000, PortMax: 32699})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, b []byte, port uint16) {
		if len(b) > maxPacket {
			return
		}
		s := newSession(e, 1, nil, nil)
		s.in.remote = Remote{Addr: loopbackPort(4000), Codec: PCMA, DTMF: 101, Receive: true}
		s.in.latch.learn(loopbackPort(4000), false, 0)
		s.started.Store(1)
		var tap countingTap
		s.Record(&tap, Left)
		var frame [maxPacket]byte
		for i := range 6 {
			s.handle(b, loopbackPort(port), int64(time.Second)+int64(i)*int64(tick), &frame)
		}
		st := s.Stats()
		if st.Received > 6 || st.LostRatio < 0 || st.LostRatio > 1 || (st.MOS != 0 && (st.MOS < 1 || st.MOS > 4.5)) {
			t.Errorf("%+v", st)
		}
		if tap.left > int(st.Received) {
			t.Errorf("%d packets tapped of %d", tap.left, st.Received)
		}
	})
}

// FuzzReadWAV reads prompt files of any content.
func FuzzReadWAV(f *testing.F) {
	f.Add([]byte("RIFF\x00\x00\x00\x00WAVEfmt \x10\x00\x00\x00\x06\x00\x01\x00\x40\x1f\x00\x00\x40\x1f\x00\x00\x01\x00\x08\x00data\x02\x00\x00\x00\xd5\xd5"))
	f.Add([]byte("RIFF\x00\x00\x00\x00WAVEdata\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, b []byte) {
		audio, err := ReadWAV(b)
		if err == nil && (len(audio) == 0 || len(audio) > len(b)) {
			t.Errorf("%d bytes of audio from %d", len(audio), len(b))
		}
	})
}
