package media

import (
	"context"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/pion/rtp"
)

func TestInjectionFromElsewhereIsIgnored(t *testing.T) {
	e := newEngine(t)
	a, caller := open(t, e, PCMA, 101)
	b, operator := open(t, e, PCMA, 101)
	Join(a, b)
	thief := newPhone(t, a, PCMA)
	voice, noise := Tone(440, -12, frameBytes), Tone(2000, -6, frameBytes)
	caller.say(voice)
	if operator.hear(time.Second) == nil {
		t.Fatal("nothing is relayed")
	}
	thief.h.SSRC, thief.h.SequenceNumber, thief.h.Timestamp = caller.h.SSRC, caller.h.SequenceNumber+1, caller.h.Timestamp
	for range 20 {
		thief.say(noise)
		caller.say(voice)
		k := operator.hear(time.Second)
		if k == nil {
			t.Fatal("the call is interrupted")
		}
		if share(k.Payload, PCMA, 2000) > 0.1 {
			t.Fatal("a stranger speaks into the call")
		}
	}
	if st := a.Stats(); st.Foreign != 20 || st.Received != 21 {
		t.Errorf("foreign %d, received %d", st.Foreign, st.Received)
	}
	if k := thief.hear(50 * time.Millisecond); k != nil {
		t.Error("the stranger hears the call")
	}
}

func TestSourceIsLearnedAnewAfterConfigure(t *testing.T) {
	e := newEngine(t)
	a, first := open(t, e, PCMA, 101)
	b, operator := open(t, e, PCMA, 101)
	Join(a, b)
	voice := Tone(440, -12, frameBytes)
	first.say(voice)
	if operator.hear(time.Second) == nil {
		t.Fatal("nothing is relayed")
	}
	second := newPhone(t, a, PCMU) // the call was moved to another telephone
	second.h.SSRC++
	a.Configure(Remote{Addr: second.addr(), Codec: PCMU, DTMF: 101, Send: true, Receive: true})
	mu := make([]byte, frameBytes)
	Convert(mu, voice, PCMA, PCMU)
	second.say(mu)
	if k := operator.hear(time.Second); k == nil || share(k.Payload, PCMA, 440) < 0.9 {
		t.Fatal("the new telephone is not heard")
	}
	first.say(voice)
	operator.say(voice)
	if k := second.hear(time.Second); k == nil || k.PayloadType != uint8(PCMU) {
		t.Fatal("the new telephone hears nothing in its law")
	}
	if k := operator.hear(50 * time.Millisecond); k != nil {
		t.Error("the old telephone is still heard")
	}
}

func TestNothingFlowsBeforeTheAnswerOrOnHold(t *testing.T) {
	e := newEngine(t)
	s, err := e.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	p := newPhone(t, s, PCMA)
	on := Remote{Addr: p.addr(), Codec: PCMA, DTMF: 101, Send: true, Receive: true}
	s.Configure(on)
	s.Play(Prompt{ID: "x", Audio: Tone(440, -12, 100*SampleRate)}, false)
	p.say(silentA[:])
	if p.hear(100*time.Millisecond) != nil {
		t.Fatal("we speak before the answer")
	}
	if st := s.Stats(); st.Received != 0 || st.Early != 1 {
		t.Fatalf("before the answer: %+v", st)
	}
	s.Start()
	if p.hear(time.Second) == nil {
		t.Fatal("no prompt after the answer")
	}
	hold := on
	hold.Send, hold.Receive = false, false
	s.Configure(hold)
	for p.hear(50*time.Millisecond) != nil { // what was on its way
	}
	if p.hear(100*time.Millisecond) != nil {
		t.Fatal("we speak to a party that put us on hold")
	}
	s.Configure(on)
	if p.hear(time.Second) == nil {
		t.Fatal("silence after the hold")
	}
}

func TestAnIdlePartyHearsSilenceNotNothing(t *testing.T) {
	e := newEngine(t)
	s, p := open(t, e, PCMA, 0)
	var seqs []uint16
	for range 10 {
		k := p.hear(time.Second)
		if k == nil {
			t.Fatal("nothing is sent: a trunk would drop the call")
		}
		if dbov(energy(k.Payload, PCMA), len(k.Payload)) > -60 {
			t.Fatal("that is not silence")
		}
		seqs = append(seqs, k.SequenceNumber)
	}
	for i := 1; i < len(seqs); i++ {
		if seqs[i] != seqs[i-1]+1 {
			t.Fatalf("numbers %v", seqs)
		}
	}
	if st := s.Stats(); st.Filled < 10 {
		t.Errorf("filled %d", st.Filled)
	}
}

// inboundAt is an inbound stream with a clock of the test.
func inboundAt() (*inbound, func(at time.Duration, payload []byte) []Event, func(at time.Duration) []Event) {
	o := Options{NoRTP: 5 * time.Second, Gap: 2 * time.Second, Silence: 10 * time.Second}
	in := &inbound{remote: Remote{Receive: true, DTMF: 101}}
	from := loopbackPort(4000)
	const start = int64(time.Hour)
	in.latch.learn(from, false, start)
	in.lastPacket = start
	h := rtp.Header{Version: 2, PayloadType: uint8(PCMA), SSRC: 1, SequenceNumber: 65000}
	say := func(at time.Duration, payload []byte) []Event {
		var out notes
		h.Timestamp = uint32(int64(at) / nsPerSample)
		b, _ := h.Marshal()
		h.SequenceNumber++
		in.receive(append(b, payload...), from, start+int64(at), start, &out)
		return out.all[:out.n]
	}
	watch := func(at time.Duration) []Event {
		var out notes
		in.watch(start+int64(at), start, &o, &out)
		return out.all[:out.n]
	}
	return in, say, watch
}

func TestNoRTPThenFirstPacketThenGap(t *testing.T) {
	_, say, watch := inboundAt()
	want := func(got []Event, kinds ...EventKind) {
		t.Helper()
		if len(got) != len(kinds) {
			t.Fatalf("events %+v, want %v", got, kinds)
		}
		for i := range got {
			if got[i].Kind != kinds[i] {
				t.Fatalf("events %+v, want %v", got, kinds)
			}
		}
	}
	tone := Tone(400, -20, frameBytes)
	want(watch(4900 * time.Millisecond))
	never := watch(5 * time.Second)
	want(never, Lost)
	if !never[0].Never {
		t.Error("nothing ever came, but the event does not say so")
	}
	want(watch(60 * time.Second)) // said once; nothing is ended
	want(say(61*time.Second, tone), FirstPacket)
	want(watch(62900 * time.Millisecond))
	want(watch(63*time.Second), Lost)
	back := say(65*time.Second, tone)
	want(back, Back)
	if back[0].Gap != 4*time.Second {
		t.Errorf("gap %v", back[0].Gap)
	}
	want(watch(66 * time.Second))
}

func TestSilenceAndWhatIsHeardAgain(t *testing.T) {
	in, say, watch := inboundAt()
	at := time.Duration(0)
	speak := func(d time.Duration, sound []byte) (kinds []EventKind) {
		for end := at + d; at < end; at += tick {
			for _, e := range append(say(at, sound), watch(at)...) {
				if e.Kind == Silent || e.Kind == Heard {
					kinds = append(kinds, e.Kind)
				}
			}
		}
		return kinds
	}
	voice := Tone(300, -25, frameBytes)
	if got := speak(20*time.Second, voice); len(got) != 0 {
		t.Fatalf("speech is silent: %v", got)
	}
	if got := speak(9*time.Second, silentA[:]); len(got) != 0 {
		t.Fatalf("silent after nine seconds: %v", got)
	}
	if got := speak(3*time.Second, silentA[:]); len(got) != 1 || got[0] != Silent {
		t.Fatalf("ten seconds of silence: %v", got)
	}
	if got := speak(400*time.Millisecond, voice); len(got) != 1 || got[0] != Heard {
		t.Fatalf("a knock: %v", got)
	}
	// A noisy line of -45 dBov, above the fixed threshold, becomes the floor.
	got := speak(3*time.Minute, Tone(200, -45, frameBytes))
	if len(got) == 0 || got[len(got)-1] != Silent {
		t.Fatalf("the noise of the line passes for a voice: %v, floor %.1f", got, in.level.floor)
	}
	if got := speak(400*time.Millisecond, voice); len(got) != 1 || got[0] != Heard {
		t.Fatalf("a voice above the noise: %v", got)
	}
}

func TestHoldSuspendsTheTimers(t *testing.T) {
	in, say, watch := inboundAt()
	say(0, silentA[:])
	in.remote.Receive = false
	if got := watch(time.Hour); len(got) != 0 {
		t.Fatalf("a held party is told as lost: %+v", got)
	}
}

func TestFloodIsCapped(t *testing.T) {
	in, _, _ := inboundAt()
	const start = int64(time.Hour)
	h := rtp.Header{Version: 2, PayloadType: uint8(PCMA), SSRC: 1}
	var out notes
	send := func(port uint16, n int) {
		for range n {
			b, _ := h.Marshal()
			h.SequenceNumber++
			in.receive(append(b, silentA[:]...), loopbackPort(port), start, start, &out)
		}
	}
	// A stranger who was first, and is believed until the party speaks, must not use
	// up the party's share, nor may one who comes later.
	send(6666, 500)
	send(4000, 100)
	send(6667, 1000)
	send(4000, 200)
	if in.seq.received != capParty {
		t.Errorf("%d packets taken in a second, %d are the cap", in.seq.received, capParty)
	}
	if in.past.Received != capParty {
		t.Errorf("%d packets of the stranger taken", in.past.Received)
	}
}

func TestRelayKeepsOrderGapsAndRestarts(t *testing.T) {
	var o outbound
	o.seq, o.ts = 65533, 1<<32-200
	src := &Session{}
	now := int64(time.Hour)
	relay := func(ssrc uint32, seq uint16, ts uint32) (h rtp.Header, ok bool) {
		now += int64(tick)
		ok = o.relayed(&h, 8, src, &packet{kind: isAudio, ssrc: ssrc, seq: seq, ts: ts, payload: silentA[:]}, now)
		return h, ok
	}
	first, _ := relay(7, 100, 5000)
	if !first.Marker || first.SequenceNumber != 65534 {
		t.Fatalf("first %+v", first)
	}
	gap, _ := relay(7, 103, 5000+3*160) // two are lost
	if gap.SequenceNumber != 1 || gap.Timestamp != first.Timestamp+480 {
		t.Errorf("the gap is hidden: %+v after %+v", gap, first)
	}
	late, ok := relay(7, 102, 5000+2*160)
	if !ok || late.SequenceNumber != 0 || late.Timestamp != first.Timestamp+320 {
		t.Errorf("a late packet: %+v %v", late, ok)
	}
	if _, ok := relay(7, 99, 4840); ok {
		t.Error("a packet from before the run is sent")
	}
	next, _ := relay(7, 104, 5000+4*160)
	if next.SequenceNumber != 2 || next.Marker {
		t.Errorf("next %+v", next)
	}
	// Another source, with numbers of its own: ours go on without a break.
	other, _ := relay(8, 40000, 77)
	if other.SequenceNumber != 3 || !other.Marker || int32(other.Timestamp-next.Timestamp) < 160 || int32(other.Timestamp-next.Timestamp) > 480 {
		t.Errorf("another source %+v after %+v", other, next)
	}
	o.skip(src, &packet{ssrc: 8, seq: 40001})
	after, _ := relay(8, 40002, 77+320)
	if after.SequenceNumber != 4 {
		t.Errorf("a packet left out makes a hole: %d", after.SequenceNumber)
	}
}

// TestPacketsAllocateNothing sends a packet through a recorded relay with law
// conversion, both sockets included.
func TestPacketsAllocateNothing(t *testing.T) {
	e := newEngine(t)
	a, caller := open(t, e, PCMA, 101)
	b, _ := open(t, e, PCMU, 101)
	Join(a, b)
	var tap countingTap
	a.Record(&tap, Left)
	b.RecordSent(&tap, Right)
	h := rtp.Header{Version: 2, PayloadType: uint8(PCMA), SSRC: 77}
	var buf, frame [maxPacket]byte
	now, from := e.now(), caller.addr()
	n := testing.AllocsPerRun(5000, func() {
		size, err := h.MarshalTo(buf[:])
		if err != nil {
			t.Fatal(err)
		}
		size += copy(buf[size:], silentA[:])
		h.SequenceNumber++
		h.Timestamp += frameBytes
		now += int64(tick)
		a.handle(buf[:size], from, now, &frame)
	})
	if n != 0 {
		t.Errorf("%v allocations per packet", n)
	}
	if tap.left < 5000 || tap.right < 5000 {
		t.Errorf("taps saw %d and %d packets", tap.left, tap.right)
	}
}

type countingTap struct{ left, right int }

func (c *countingTap) Write(ch Channel, _ time.Time, _ []byte, _ Codec) {
	if ch == Left {
		c.left++
	} else {
		c.right++
	}
}

func TestCloseLeaksNothing(t *testing.T) {
	files := func() int {
		d, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Skip("no /proc here")
		}
		return len(d)
	}
	o := Options{IP: loopback, PortMin: 30000, PortMax: 32699}
	e, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	before, goroutines := files(), runtime.NumGoroutine()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	free := e.Free()
	var open []*Session
	for i := range 100 {
		s, err := e.Open()
		if err != nil {
			t.Fatal(err)
		}
		s.Configure(Remote{Addr: loopbackPort(9), Send: true, Receive: true})
		s.Start()
		s.Play(Prompt{ID: "x", Audio: silentA[:]}, true)
		if i%2 == 1 {
			Join(open[i-1], s)
		}
		open = append(open, s)
	}
	for _, s := range open[:90] {
		s.Close()
	}
	if n := free - e.Free(); n != 100 {
		t.Errorf("%d pairs are missing: 90 should rest, 10 be in use", n)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if _, err := e.Open(); err == nil {
		t.Error("a stopped engine opens a session")
	}
	for _, s := range open {
		s.Close()
		for range s.Events() { // ends, as the channel is closed
		}
	}
	if n := files(); n > before+1 { // the poller's own
		t.Errorf("%d files before, %d after", before, n)
	}
	// A goroutine that has said its last word may still be on its way out.
	limit := time.Now().Add(10 * time.Second)
	for runtime.NumGoroutine() > goroutines && time.Now().Before(limit) {
		runtime.Gosched()
	}
	if n := runtime.NumGoroutine(); n > goroutines {
		t.Errorf("%d goroutines before, %d after", goroutines, n)
	}
}

func TestWheelKeepsItsDeadlines(t *testing.T) {
	c := clock{next: int64(tick)}
	if due, _ := c.advance(int64(tick) - 1); due != 0 {
		t.Error("a tick before its time")
	}
	if due, skipped := c.advance(int64(tick) + 5); due != 1 || skipped != 0 {
		t.Errorf("on time: %d, %d", due, skipped)
	}
	if due, skipped := c.advance(4*int64(tick) + 1); due != 3 || skipped != 0 {
		t.Errorf("three late: %d, %d", due, skipped)
	}
	if due, skipped := c.advance(20 * int64(tick)); due != catchUp || skipped != 16-catchUp {
		t.Errorf("much too late: %d, %d", due, skipped)
	}
	if c.next != 21*int64(tick) {
		t.Error("the deadlines have drifted")
	}
}

// TestPromptDoesNotDrift counts the frames of three seconds by the wall clock.
func TestPromptDoesNotDrift(t *testing.T) {
	e := newEngine(t)
	s, p := open(t, e, PCMA, 0)
	s.Play(Prompt{ID: "tone", Audio: Tone(440, -20, 10*SampleRate)}, true)
	first := p.hear(time.Second)
	start := time.Now()
	var last *rtp.Packet
	var sent time.Duration
	// A frame may be heard late on a busy machine, never early: the earliest of each
	// second, as it is ahead of the clock, tells.
	ahead := []time.Duration{-time.Hour, -time.Hour, -time.Hour}
	for took := time.Duration(0); took < 3*time.Second; took = time.Since(start) {
		if last = p.hear(time.Second); last == nil {
			t.Fatal("the prompt ends")
		}
		sent = time.Duration(int16(last.SequenceNumber-first.SequenceNumber)) * tick
		second := took / time.Second
		ahead[second] = max(ahead[second], sent-time.Since(start))
	}
	if off := ahead[2] - ahead[0]; off < -3*tick || off > 3*tick {
		t.Errorf("the prompt drifts: ahead of the clock by %v", ahead)
	}
	if ts := time.Duration(last.Timestamp-first.Timestamp) * time.Duration(nsPerSample); ts != sent {
		t.Errorf("timestamps tell %v, numbers %v", ts, sent)
	}
}

func TestPlayEndsByItselfAndIsReplaced(t *testing.T) {
	e := newEngine(t)
	s, p := open(t, e, PCMA, 0)
	s.Play(Prompt{ID: "one", Audio: Tone(440, -20, 1000*frameBytes)}, false)
	s.Play(Prompt{ID: "two", Audio: Tone(440, -20, frameBytes*3+40)}, false)
	if got := wantEvent(t, s, PlayEnded); got.Prompt != "one" || !got.Cut {
		t.Errorf("replaced: %+v", got)
	}
	if got := wantEvent(t, s, PlayEnded); got.Prompt != "two" || got.Cut {
		t.Errorf("ended: %+v", got)
	}
	for range 4 {
		if k := p.hear(time.Second); k == nil || len(k.Payload) != frameBytes {
			t.Fatal("a frame of another length")
		}
	}
}
