package media

import (
	"context"
	"math"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/pion/rtp"
)

var loopback = netip.MustParseAddr("127.0.0.1")

// newEngine runs an engine on free ports of the loopback.
func newEngine(t testing.TB, change ...func(*Options)) *Engine {
	t.Helper()
	// Below the ports that a system gives to other programs' sockets.
	o := Options{IP: loopback, PortMin: 30000, PortMax: 32699}
	for _, c := range change {
		c(&o)
	}
	e, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if n := e.Sessions(); n != 0 {
			t.Errorf("%d sessions are left after Run", n)
		}
	})
	return e
}

// phone is the far end of a session: a plain RTP socket.
type phone struct {
	t    testing.TB
	conn *net.UDPConn
	to   netip.AddrPort
	h    rtp.Header
	buf  [maxPacket]byte
}

func newPhone(t testing.TB, s *Session, codec Codec) *phone {
	t.Helper()
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return &phone{t: t, conn: conn, to: s.Local(),
		h: rtp.Header{Version: 2, PayloadType: uint8(codec), SSRC: 0xABCD0000 | uint32(s.port), SequenceNumber: 65530, Timestamp: 1<<32 - 480}}
}

func (p *phone) addr() netip.AddrPort {
	return p.conn.LocalAddr().(*net.UDPAddr).AddrPort()
}

// say sends one packet of audio in the phone's codec.
func (p *phone) say(payload []byte) {
	p.t.Helper()
	b, err := p.h.Marshal()
	if err != nil {
		p.t.Fatal(err)
	}
	if _, err := p.conn.WriteToUDPAddrPort(append(b, payload...), p.to); err != nil {
		p.t.Fatal(err)
	}
	p.h.SequenceNumber++
	p.h.Timestamp += uint32(len(payload))
}

// hear returns the next packet, or nil when none comes in time.
func (p *phone) hear(wait time.Duration) *rtp.Packet {
	p.t.Helper()
	if err := p.conn.SetReadDeadline(time.Now().Add(wait)); err != nil {
		p.t.Fatal(err)
	}
	for {
		n, err := p.conn.Read(p.buf[:])
		if err != nil {
			return nil
		}
		if n > 1 && p.buf[1] >= 192 && p.buf[1] <= 223 {
			continue
		}
		var k rtp.Packet
		if err := k.Unmarshal(append([]byte(nil), p.buf[:n]...)); err != nil {
			p.t.Fatalf("we sent what is not RTP: %v", err)
		}
		return &k
	}
}

// share is how much of the sound's energy lies at hz (Goertzel).
func share(payload []byte, law Codec, hz float64) float64 {
	w := 2 * math.Cos(2*math.Pi*hz/SampleRate)
	var s1, s2, all float64
	for _, b := range payload {
		v := float64(law.Linear(b))
		all += v * v
		s1, s2 = v+w*s1-s2, s1
	}
	if all == 0 {
		return 0
	}
	return 2 * (s1*s1 + s2*s2 - w*s1*s2) / (float64(len(payload)) * all)
}

// open makes an answered session with its phone.
func open(t testing.TB, e *Engine, codec Codec, dtmf uint8) (*Session, *phone) {
	t.Helper()
	s, err := e.Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	p := newPhone(t, s, codec)
	s.Configure(Remote{Addr: p.addr(), Codec: codec, DTMF: dtmf, Send: true, Receive: true})
	s.Start()
	return s, p
}

func wantEvent(t testing.TB, s *Session, kind EventKind) Event {
	t.Helper()
	deadline := time.After(5 * time.Second)
	for {
		select {
		case e, ok := <-s.Events():
			if !ok {
				t.Fatalf("events ended before %s", kind)
			}
			if e.Kind == kind {
				return e
			}
		case <-deadline:
			t.Fatalf("no event %s", kind)
		}
	}
}

func TestToneIsHeardAcrossTheLaws(t *testing.T) {
	e := newEngine(t)
	a, caller := open(t, e, PCMA, 101)
	b, operator := open(t, e, PCMU, 96)
	Join(a, b)
	tone := Tone(1000, -12, 50*frameBytes)
	mu := make([]byte, len(tone))
	Convert(mu, tone, PCMA, PCMU)
	var toOperator, toCaller []byte
	var seqs []uint16
	for i := range 50 {
		caller.say(tone[i*frameBytes:][:frameBytes])
		operator.say(mu[i*frameBytes:][:frameBytes])
		k := operator.hear(time.Second)
		if k == nil {
			t.Fatalf("operator: packet %d did not come", i)
		}
		if k.PayloadType != uint8(PCMU) {
			t.Fatalf("operator got payload type %d", k.PayloadType)
		}
		if k.SSRC == caller.h.SSRC {
			t.Fatal("the caller's SSRC was passed on")
		}
		seqs = append(seqs, k.SequenceNumber)
		toOperator = append(toOperator, k.Payload...)
		if k = caller.hear(time.Second); k == nil {
			t.Fatalf("caller: packet %d did not come", i)
		}
		toCaller = append(toCaller, k.Payload...)
	}
	for i := 1; i < len(seqs); i++ {
		if seqs[i] != seqs[i-1]+1 {
			t.Fatalf("numbers %v are not in a row", seqs)
		}
	}
	if got := share(toOperator, PCMU, 1000); got < 0.98 {
		t.Errorf("operator hears %.3f of the energy at 1 kHz", got)
	}
	if got := share(toCaller, PCMA, 1000); got < 0.98 {
		t.Errorf("caller hears %.3f of the energy at 1 kHz", got)
	}
	wantEvent(t, a, FirstPacket)
}

func TestPromptIsCutByJoinWithinOneTick(t *testing.T) {
	e := newEngine(t)
	a, caller := open(t, e, PCMA, 101)
	b, operator := open(t, e, PCMA, 101)
	a.Play(Prompt{ID: "greeting", Audio: Tone(440, -12, 10*SampleRate)}, false)
	var heard []byte
	var last *rtp.Packet
	for range 10 {
		k := caller.hear(time.Second)
		if k == nil {
			t.Fatal("no prompt")
		}
		if last != nil && (k.SequenceNumber != last.SequenceNumber+1 || k.Timestamp != last.Timestamp+frameBytes) {
			t.Fatalf("after %d/%d comes %d/%d", last.SequenceNumber, last.Timestamp, k.SequenceNumber, k.Timestamp)
		}
		last = k
		heard = append(heard, k.Payload...)
	}
	if got := share(heard, PCMA, 440); got < 0.98 {
		t.Errorf("caller hears %.3f of the prompt", got)
	}
	Join(a, b)
	cut := time.Now()
	tone := Tone(1000, -12, frameBytes)
	ended := wantEvent(t, a, PlayEnded)
	if ended.Prompt != "greeting" || !ended.Cut {
		t.Errorf("got %+v", ended)
	}
	for range 20 {
		operator.say(tone)
		k := caller.hear(time.Second)
		if k == nil {
			t.Fatal("no packet after the join")
		}
		if share(k.Payload, PCMA, 440) > 0.5 {
			// Only what was on its way when Join was called.
			if since := time.Since(cut); since > 2*tick {
				t.Fatalf("the prompt still speaks %v after the join", since)
			}
		}
		if last != nil && int16(k.SequenceNumber-last.SequenceNumber) <= 0 || int32(k.Timestamp-last.Timestamp) <= 0 {
			t.Fatalf("after %d/%d comes %d/%d", last.SequenceNumber, last.Timestamp, k.SequenceNumber, k.Timestamp)
		}
		last = k
	}
}

func loopbackPort(port uint16) netip.AddrPort { return netip.AddrPortFrom(loopback, port) }
