package media

import (
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/rtp"
)

// Remote is the party as its SDP tells it.
type Remote struct {
	Addr    netip.AddrPort // of its RTP
	Codec   Codec          // what we send
	DTMF    uint8          // payload type of telephone-event, 0 none
	Send    bool           // we may send: the party listens
	Receive bool           // the party may send
	Strict  bool           // take packets from Addr only: a trunk without NAT
	Mux     bool           // RTCP on the RTP port (RFC 5761)
	RTCP    netip.AddrPort // a=rtcp, else the port above Addr
}

// Session is one party's audio: two sockets, a stream from the party and one to
// it. One goroutine reads each socket, a wheel moves the clocks. All methods may
// be called from any goroutine and do not wait.
type Session struct {
	e         *Engine
	shard     *shard
	port      uint16
	rtp, rtcp *net.UDPConn
	readers   sync.WaitGroup

	started atomic.Int64 // engine clock, 0: not answered yet
	closed  atomic.Bool
	once    sync.Once
	peer    atomic.Pointer[Session]
	send    atomic.Pointer[sending]
	tap     atomic.Pointer[tapping] // what the party says
	sentTap atomic.Pointer[tapping] // what the party hears

	in     inbound
	out    outbound
	rep    reports
	events events
	ticks  uint32 // of its wheel only
	handMu sync.Mutex
	handed Stats // counters already in the metrics; guarded by handMu
}

// sending is where and how packets go out; replaced as a whole.
type sending struct {
	to    netip.AddrPort
	codec Codec
	dtmf  uint8
	on    bool
	mux   bool
}

func newSession(e *Engine, port uint16, rtp, rtcp *net.UDPConn) *Session {
	s := &Session{e: e, port: port, rtp: rtp, rtcp: rtcp, out: newOutbound()}
	s.shard = e.shards[int(e.turn.Add(1))%len(e.shards)]
	s.events.c = make(chan Event, eventQueue)
	s.send.Store(&sending{codec: PCMA})
	s.in.level.db = silentDB
	return s
}

// Local is the address for our SDP: the advertised one and the bound port.
func (s *Session) Local() netip.AddrPort {
	return netip.AddrPortFrom(s.e.opts.Advertise, s.port)
}

// Configure tells where the party is, after each offer and answer, re-INVITE
// included. Who may speak is learned anew.
func (s *Session) Configure(r Remote) {
	r.Addr = netip.AddrPortFrom(r.Addr.Addr().Unmap(), r.Addr.Port())
	now := s.e.now()
	s.in.mu.Lock()
	resumed := r.Receive && !s.in.remote.Receive
	moved := r.Addr != s.in.remote.Addr
	learned := s.in.latch.addr
	s.in.remote = r
	s.in.latch.learn(r.Addr, r.Strict, now)
	if resumed || moved {
		// The timers of what does not come start again.
		s.in.lastPacket, s.in.lastArrival, s.in.lost = now, 0, false
		s.in.level.heard = now
	}
	s.in.mu.Unlock()
	s.rep.mu.Lock()
	s.rep.from = r.RTCP
	if !r.RTCP.IsValid() && r.Addr.IsValid() {
		s.rep.from = netip.AddrPortFrom(r.Addr.Addr(), r.Addr.Port()+1)
	}
	s.rep.mu.Unlock()
	next := &sending{to: r.Addr, codec: r.Codec, dtmf: r.DTMF, on: r.Send && usable(r.Addr), mux: r.Mux}
	if learned.IsValid() && !moved {
		next.to = learned // the same SDP again: what was learned of the NAT still holds
	}
	s.out.mu.Lock()
	s.out.from = run{}
	s.out.mu.Unlock()
	s.send.Store(next)
}

func usable(a netip.AddrPort) bool {
	return a.IsValid() && a.Port() != 0 && !a.Addr().IsUnspecified()
}

// Start is the answer of the call: from now on packets are taken and sent, and
// the timers of the first packet, of loss and of silence run.
func (s *Session) Start() {
	now := s.e.now()
	s.in.mu.Lock()
	defer s.in.mu.Unlock()
	if !s.started.CompareAndSwap(0, max(now, 1)) {
		return
	}
	s.in.lastPacket = now
	s.in.latch.learn(s.in.remote.Addr, s.in.remote.Strict, now)
	s.rep.mu.Lock()
	s.rep.next = nextReport(now)
	s.rep.mu.Unlock()
}

// Events tells what happens; closed by Close. A reader that is too slow loses the
// newest facts, counted by a metric.
func (s *Session) Events() <-chan Event { return s.events.c }

// Play sends a prompt instead of whatever was sent, over a joined party too, until
// it ends, something else is played, or Join cuts it. PlayEnded tells the end.
func (s *Session) Play(p Prompt, loop bool) {
	audio := p.Audio
	if len(audio) == 0 {
		audio = beep()
	}
	s.replay(audio, p.ID, loop)
}

// StopPlay ends what is played.
func (s *Session) StopPlay() { s.replay(nil, "", false) }

func (s *Session) replay(audio []byte, id string, loop bool) {
	s.out.mu.Lock()
	if s.out.closed {
		s.out.mu.Unlock()
		return
	}
	was, playing := s.out.playID, s.out.play != nil
	s.out.play, s.out.playID, s.out.pos, s.out.loop = audio, id, 0, loop
	s.out.mu.Unlock()
	if playing {
		s.note(Event{Kind: PlayEnded, Prompt: was, Cut: true})
	}
}

// SendDTMF sends keys (0-9 * # A-D), as telephone events or, where the party has
// none, as tones. Audio waits meanwhile.
func (s *Session) SendDTMF(digits string) {
	s.out.mu.Lock()
	defer s.out.mu.Unlock()
	if !s.out.closed {
		s.out.keys.push(digits)
	}
}

// Join lets two parties hear each other, and cuts what is played to them. Each is
// parted from whom it was joined with before.
func Join(a, b *Session) {
	if a == b || a == nil || b == nil {
		return
	}
	a.e.joining.Lock()
	a.part()
	b.part()
	if !a.closed.Load() && !b.closed.Load() {
		a.peer.Store(b)
		b.peer.Store(a)
	}
	a.e.joining.Unlock()
	a.StopPlay()
	b.StopPlay()
}

// Leave parts the session from whom it is joined with.
func (s *Session) Leave() {
	s.e.joining.Lock()
	defer s.e.joining.Unlock()
	s.part()
}

// part unlinks; joining is held.
func (s *Session) part() {
	if p := s.peer.Swap(nil); p != nil {
		p.peer.CompareAndSwap(s, nil)
	}
}

// Record taps what this party says into channel ch; a nil tap ends it. With
// RecordSent of the same session a recording has both sides: prompts, hold music
// and whoever the party is joined with.
func (s *Session) Record(t Tap, ch Channel) { s.tap.Store(newTapping(t, ch)) }

// RecordSent taps what this party hears.
func (s *Session) RecordSent(t Tap, ch Channel) { s.sentTap.Store(newTapping(t, ch)) }

func newTapping(t Tap, ch Channel) *tapping {
	if t == nil {
		return nil
	}
	return &tapping{t, ch}
}

// Close ends the session: BYE to the party, sockets closed, ports put to rest.
// When it returns no tap is written any more by what the party says.
func (s *Session) Close() {
	s.once.Do(func() {
		s.closed.Store(true)
		s.Leave()
		if s.started.Load() != 0 {
			s.sendReport(s.e.now(), true)
		}
		s.e.forget(s)
		s.out.mu.Lock()
		s.out.closed, s.out.play = true, nil
		s.out.mu.Unlock()
		s.tap.Store(nil)
		s.sentTap.Store(nil)
		_ = s.rtp.Close()
		_ = s.rtcp.Close()
		s.readers.Wait()
		s.e.ports.rest(s.port, time.Now())
		s.handOver()
		if st := s.Stats(); st.Received > 0 {
			s.e.metrics.mos.Observe(st.MOS)
			s.e.metrics.jitter.Observe(st.Jitter.Seconds())
		}
		s.events.close()
	})
}

// Stats is the quality up to now.
func (s *Session) Stats() Stats {
	s.in.mu.Lock()
	st := s.in.past
	q := &s.in.seq
	st.Received += q.received
	st.Lost += q.lost()
	st.Reordered += q.reordered
	st.Duplicates += q.duplicates
	st.Jitter = time.Duration(q.jitter * float64(nsPerSample))
	st.LongestGap = time.Duration(s.in.longestGap)
	st.LevelDB = s.in.level.db
	bursts := q.bursts
	s.in.mu.Unlock()

	s.out.mu.Lock()
	st.Sent, st.Filled = s.out.sent, s.out.filled
	s.out.mu.Unlock()

	s.rep.mu.Lock()
	st.RTT, st.Peer = s.rep.rtt, s.rep.peerSays
	st.PeerLostRatio = float64(s.rep.peerLoss) / 256
	st.PeerJitter = time.Duration(s.rep.peerJit) * time.Duration(nsPerSample)
	s.rep.mu.Unlock()

	if all := st.Received + st.Lost; all > 0 {
		st.LostRatio = float64(st.Lost) / float64(all)
		st.MOS = mos(st.RTT, st.Jitter, st.LostRatio, burstRatio(st.Lost, bursts, st.LostRatio))
	}
	return st
}

// handOver adds what was counted since the last time to the metrics.
func (s *Session) handOver() {
	s.handMu.Lock()
	defer s.handMu.Unlock()
	st, was := s.Stats(), s.handed
	s.handed = st
	m := s.e.metrics
	m.packets.WithLabelValues("in").Add(float64(st.Received - was.Received))
	m.packets.WithLabelValues("out").Add(float64(st.Sent - was.Sent))
	if st.Lost > was.Lost { // a late packet makes it fewer
		m.lost.Add(float64(st.Lost - was.Lost))
	}
	m.filled.Add(float64(st.Filled - was.Filled))
	m.dropped.WithLabelValues("foreign").Add(float64(st.Foreign - was.Foreign))
	m.dropped.WithLabelValues("invalid").Add(float64(st.Invalid - was.Invalid))
	m.dropped.WithLabelValues("flood").Add(float64(st.Flood - was.Flood))
	m.dropped.WithLabelValues("early").Add(float64(st.Early - was.Early))
}

func (s *Session) note(e Event) {
	if e.At.IsZero() {
		e.At = time.Now()
	}
	if !s.events.put(e) {
		s.e.metrics.eventsDropped.Inc()
	}
}

func (s *Session) tell(n *notes, now int64) {
	for i := range n.n {
		n.all[i].At = s.e.wall(now)
		s.note(n.all[i])
	}
	n.n = 0
}

// readRTP is the goroutine of the RTP socket; it ends with the socket.
func (s *Session) readRTP() {
	var buf, frame [maxPacket]byte
	for {
		n, from, err := s.rtp.ReadFromUDPAddrPort(buf[:])
		if err != nil {
			if s.closed.Load() {
				return
			}
			// An ICMP error of an earlier packet; the socket lives on.
			time.Sleep(time.Millisecond)
			continue
		}
		from = netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
		s.handle(buf[:n], from, s.e.now(), &frame)
	}
}

func (s *Session) readRTCP() {
	var buf [maxPacket]byte
	for {
		n, from, err := s.rtcp.ReadFromUDPAddrPort(buf[:])
		if err != nil {
			if s.closed.Load() {
				return
			}
			time.Sleep(time.Millisecond)
			continue
		}
		s.receiveRTCP(buf[:n], netip.AddrPortFrom(from.Addr().Unmap(), from.Port()), s.e.now())
	}
}

// handle takes one datagram of the RTP socket. frame is scratch.
func (s *Session) handle(b []byte, from netip.AddrPort, now int64, frame *[maxPacket]byte) {
	if len(b) >= 8 && b[1] >= 192 && b[1] <= 223 { // RFC 5761 4
		s.receiveRTCP(b, from, now)
		return
	}
	var out notes
	p := s.in.receive(b, from, now, s.started.Load(), &out)
	s.tell(&out, now)
	if p.kind == isNothing {
		return
	}
	s.follow(from)
	if p.kind == isAudio {
		if t := s.tap.Load(); t != nil {
			t.tap.Write(t.ch, s.e.wall(p.at), p.payload, p.law)
		}
	}
	if to := s.peer.Load(); to != nil {
		to.relay(s, &p, now, frame)
	}
}

// follow sends to where the party's packets come from (symmetric RTP): beyond NAT
// the address of its SDP leads nowhere.
func (s *Session) follow(from netip.AddrPort) {
	was := s.send.Load()
	if was.to == from {
		return
	}
	next := *was
	next.to = from
	s.send.CompareAndSwap(was, &next)
}

// relay sends another party's packet to this one.
func (s *Session) relay(from *Session, p *packet, now int64, frame *[maxPacket]byte) {
	to := s.send.Load()
	if !to.on || s.started.Load() == 0 {
		return
	}
	pt := uint8(to.codec)
	var h rtp.Header
	s.out.mu.Lock()
	switch {
	case s.out.closed || s.out.play != nil || s.out.keys.busy():
		s.out.mu.Unlock()
		return
	case p.kind == isComfort || (p.kind == isDigit && to.dtmf == 0):
		s.out.skip(from, p)
		s.out.mu.Unlock()
		return
	case p.kind == isDigit:
		pt = to.dtmf
	}
	ok := s.out.relayed(&h, pt, from, p, now)
	if ok {
		s.out.count(len(p.payload))
	}
	s.out.mu.Unlock()
	if !ok {
		return
	}
	n, err := h.MarshalTo(frame[:])
	if err != nil {
		return
	}
	if p.kind == isDigit {
		n += copy(frame[n:], p.payload)
	} else {
		n += Convert(frame[n:], p.payload, p.law, to.codec)
		if t := s.sentTap.Load(); t != nil {
			t.tap.Write(t.ch, s.e.wall(p.at), p.payload, p.law)
		}
	}
	// A packet that the kernel refuses is lost like one on the wire.
	_, _ = s.rtp.WriteToUDPAddrPort(frame[:n], to.to)
}

// tick is one turn of the wheel: timers, and a frame if we are the ones to speak.
func (s *Session) tick(now int64, frame *[maxPacket]byte) {
	started := s.started.Load()
	if started == 0 || now < started || s.closed.Load() {
		return
	}
	if s.ticks++; s.ticks%5 == 0 {
		var out notes
		s.in.watch(now, started, &s.e.opts, &out)
		s.tell(&out, now)
	}
	if s.ticks%16 == 0 {
		s.rep.mu.Lock()
		due := now >= s.rep.next
		if due {
			s.rep.next = nextReport(now)
		}
		s.rep.mu.Unlock()
		if due {
			s.sendReport(now, false)
			s.handOver()
		}
	}
	s.speak(now, frame)
}

// speak sends this tick's frame of a key, a prompt or silence.
func (s *Session) speak(now int64, frame *[maxPacket]byte) {
	to := s.send.Load()
	const head = 12
	var (
		h     rtp.Header
		body  []byte // A-law
		extra int    // bytes written behind the header instead
		ended string
		over  bool
	)
	o := &s.out
	o.mu.Lock()
	switch {
	case o.closed:
		o.mu.Unlock()
		return
	case o.keys.busy():
		body, extra = o.dial(&h, to, now, frame[head:])
	case o.play != nil:
		body = o.play[o.pos:min(o.pos+frameBytes, len(o.play))]
		o.pos += len(body)
		if o.pos >= len(o.play) {
			if o.pos = 0; !o.loop {
				ended, over = o.playID, true
				o.play, o.playID = nil, ""
			}
		}
		o.filling = false
		if to.on {
			o.stamp(&h, uint8(to.codec), frameBytes, now)
		}
	case to.on && (o.filling || now-max(o.last, s.started.Load()) > fillAfter):
		body = silentA[:]
		o.filled++
		o.filling = true
		o.stamp(&h, uint8(to.codec), frameBytes, now)
	}
	switch {
	case !to.on: // the party put us on hold: what is played goes on unheard
		body, extra = nil, 0
	case len(body) > 0:
		o.count(frameBytes)
	case extra > 0:
		o.count(extra)
	}
	o.mu.Unlock()
	if over {
		s.note(Event{Kind: PlayEnded, Prompt: ended, At: s.e.wall(now)})
	}
	if len(body) == 0 && extra == 0 {
		return
	}
	if len(body) > 0 {
		if t := s.sentTap.Load(); t != nil {
			t.tap.Write(t.ch, s.e.wall(now), body, PCMA)
		}
		extra = Convert(frame[head:], body, PCMA, to.codec)
		for extra < frameBytes { // the end of a prompt is filled up
			frame[head+extra] = to.codec.Silence()
			extra++
		}
	}
	if _, err := h.MarshalTo(frame[:head]); err != nil {
		return
	}
	_, _ = s.rtp.WriteToUDPAddrPort(frame[:head+extra], to.to)
}

// dial makes this tick's packet of a key: a tone to be sent as audio, or the bytes
// of an event in dst.
func (o *outbound) dial(h *rtp.Header, to *sending, now int64, dst []byte) (tone []byte, event int) {
	k := &o.keys
	defer k.next()
	if to.dtmf == 0 {
		if k.step >= keyTicks {
			tone = silentA[:]
		} else {
			tone = keyTones()[k.queue[0]][k.step*frameBytes:][:frameBytes]
		}
		o.stamp(h, uint8(to.codec), frameBytes, now)
		return tone, 0
	}
	if !k.event(dst) {
		return nil, 0
	}
	if k.step == 0 {
		o.stamp(h, to.dtmf, keyTicks*frameBytes, now)
		k.ts, h.Marker = h.Timestamp, true // RFC 4733 2.5.1.1
		return nil, eventBytes
	}
	// Updates and ends carry the time of the key's beginning.
	o.seq++
	h.Timestamp = k.ts
	o.fill(h, to.dtmf, o.seq)
	return nil, eventBytes
}

// sendReport sends RTCP to where the party's reports come from.
func (s *Session) sendReport(now int64, bye bool) {
	to := s.send.Load()
	b := s.report(now, bye)
	if b == nil {
		return
	}
	if to.mux {
		if usable(to.to) {
			_, _ = s.rtp.WriteToUDPAddrPort(b, to.to)
		}
		return
	}
	s.rep.mu.Lock()
	dst := s.rep.from
	s.rep.mu.Unlock()
	if usable(dst) {
		_, _ = s.rtcp.WriteToUDPAddrPort(b, dst)
	}
}
