package sip

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"github.com/emiago/sipgo/sip"
	"github.com/google/uuid"
	"go.uber.org/zap"

	"anling/callcenter/leg"
	"anling/callcenter/media"
)

// state is where a leg stands.
//
//	inbound:  offered -> ringing -> answered (2xx sent) -> confirmed (ACK) -> ended
//	outbound: calling -> proceeding -> ringing -> confirmed (2xx, ACK sent) -> ended
//
// Every state ends by itself: offered and ringing by the ring limit, answered by
// 64*T1 without ACK, confirmed by the longest call, ended when nothing is due.
type state string

const (
	offered    state = "offered"
	calling    state = "calling"
	proceeding state = "proceeding"
	ringing    state = "ringing"
	answered   state = "answered"
	confirmed  state = "confirmed"
	ended      state = "ended"
)

var moves = map[state][]state{
	offered:    {ringing, answered, ended},
	calling:    {proceeding, ringing, confirmed, ended},
	proceeding: {ringing, confirmed, ended},
	ringing:    {answered, confirmed, ended},
	answered:   {confirmed, ended},
	confirmed:  {ended},
}

// alarm is a thing that a leg waits for.
type alarm uint8

const (
	alarmTrying  alarm = iota // no answer of ours yet: 100
	alarmRing                 // nobody answers
	alarmResend               // a 2xx without its ACK
	alarmNoReply              // a target that is silent
	alarmCancel               // a CANCEL without a final answer
	alarmOrder                // a request that came before its predecessor
	alarmRefresh              // our turn to refresh the session
	alarmExpire               // the peer did not refresh it
	alarmGlare                // our re-INVITE met theirs
	alarmLongest              // the longest call
	alarmLinger               // an ended leg still answers for a while
	alarms
)

const inboxSize = 256

// line is a leg.Leg on SIP. Everything below the channels belongs to its goroutine.
type line struct {
	s    *Server
	log  *zap.Logger
	info leg.Info

	inbox  chan func()
	hangup chan leg.Cause // one: the first wish counts
	ring   chan struct{}
	events chan leg.Event
	over   chan struct{} // closed with the Ended event
	gone   chan struct{} // closed when the goroutine ends
	audio  atomic.Pointer[media.Session]

	state   state
	faults  []time.Time
	due     [alarms]time.Time
	timer   *time.Timer
	dialogs []*dialog // dialogs[0] is the leg's; others are forks to be ended

	dialog   *dialog
	session  *media.Session
	sdp      local
	peer     agreed       // what was agreed last
	offer    *description // of the peer, not yet answered
	held     bool
	accepted []*accepted // 2xx to INVITE without ACK
	waiting  []*inbound  // requests ahead of their order
	byeDue   bool        // end it as soon as the ACK is here (RFC 3261 15)
	byeWhy   string
	open     int // client transactions without a final answer

	in  *inbound // the INVITE of an inbound leg, until its final answer
	out *outbound

	reoffer  bool // our own re-INVITE or UPDATE is pending: theirs gets 491
	timerOn  bool // a session timer was agreed
	interval time.Duration
	weAsk    bool // we refresh
	updates  bool // the peer knows UPDATE
	source   netip.AddrPort
	counted  bool // against MaxLegs

	wasCancelled bool       // an inbound leg that ended by CANCEL
	cancelling   []*attempt // CANCEL sent, no final answer yet
}

// inbound is a request that waits for our answer.
type inbound struct {
	req  *sip.Request
	tx   sip.ServerTransaction
	done chan struct{} // closed when the handler may go
	left bool
}

func (in *inbound) release() {
	if !in.left {
		in.left = true
		close(in.done)
	}
}

// accepted is a 2xx to an INVITE that is sent again until its ACK.
type accepted struct {
	in    *inbound
	res   *sip.Response
	cseq  uint32
	every time.Duration
	next  time.Time
	until time.Time
	late  bool // our offer is in it: the ACK brings the answer
	first bool // of the INVITE that began the leg
}

func (s *Server) newLine(info leg.Info) *line {
	info.ID, info.At = uuid.Must(uuid.NewV7()).String(), s.now().UTC()
	l := &line{
		s: s, info: info,
		log:    s.log.With(zap.String("leg_id", info.ID), zap.String("sip_call_id", maskText(info.SIPCallID, 80))),
		inbox:  make(chan func(), inboxSize),
		hangup: make(chan leg.Cause, 1),
		ring:   make(chan struct{}, 1),
		events: make(chan leg.Event, 64),
		over:   make(chan struct{}),
		gone:   make(chan struct{}),
		state:  offered,
		source: parseAddrPort(info.Remote),
	}
	if info.Direction == leg.Out {
		l.state = calling
	}
	l.sdp.id = uint64(info.At.UnixNano()) >> 10
	return l
}

func (s *Server) now() time.Time { return s.o.Now() }

// Info implements leg.Leg.
func (l *line) Info() leg.Info { return l.info }

// Events implements leg.Leg.
func (l *line) Events() <-chan leg.Event { return l.events }

// Media implements leg.Leg.
func (l *line) Media() *media.Session { return l.audio.Load() }

// Ring implements leg.Leg.
func (l *line) Ring() {
	select {
	case l.ring <- struct{}{}:
	default:
	}
}

// Hangup implements leg.Leg.
func (l *line) Hangup(cause leg.Cause) {
	select {
	case l.hangup <- cause:
	default:
	}
}

// Answer implements leg.Leg.
func (l *line) Answer(ctx context.Context) error {
	reply := make(chan error, 1)
	if !l.post(func() { reply <- l.accept() }) {
		return leg.ErrCancelled
	}
	select {
	case err := <-reply:
		return err
	case <-l.gone:
		select {
		case err := <-reply:
			return err
		default:
			return leg.ErrCancelled
		}
	case <-ctx.Done():
		return fmt.Errorf("answer leg %s: %w", l.info.ID, ctx.Err())
	}
}

// post puts work into the inbox. It waits up to a second for a leg that is behind;
// false when the leg is gone or does not keep up.
func (l *line) post(f func()) bool {
	select {
	case <-l.gone:
		return false
	case l.inbox <- f:
		return true
	default:
	}
	t := time.NewTimer(time.Second)
	defer t.Stop()
	select {
	case l.inbox <- f:
		return true
	case <-l.gone:
	case <-t.C:
		l.s.metrics.overflow.Inc()
	}
	return false
}

// attend keeps a handler until its request is answered, and brings the leg the ACK
// that sipgo matches to the transaction.
func (l *line) attend(tx sip.ServerTransaction, done <-chan struct{}) {
	for {
		select {
		case <-done:
			return
		case <-tx.Done():
			l.post(func() { l.lost(tx) })
			return
		case ack := <-tx.Acks():
			l.post(func() { l.acked(ack) })
		case <-l.gone:
			return
		}
	}
}

// run is the leg's goroutine.
func (l *line) run() {
	defer l.s.running.Done()
	l.timer = time.NewTimer(time.Hour)
	defer l.timer.Stop()
	for !l.turn() {
	}
	l.depart()
}

// turn does work until the leg is over, or until a panic: the state stays, the
// goroutine goes on, and a second panic within ten seconds ends the leg.
func (l *line) turn() (over bool) {
	defer func() {
		r := recover()
		if r == nil {
			return
		}
		l.s.metrics.faults.Inc()
		l.log.Error("leg", zap.Any("panic", r), zap.Stack("stack"))
		now := l.s.now()
		l.faults = append(l.faults, now)
		if n := len(l.faults); n > 1 && now.Sub(l.faults[n-2]) < 10*time.Second {
			over = n > 4 || l.giveUp()
		}
	}()
	for {
		if l.finished() {
			return true
		}
		l.arm()
		select {
		case f := <-l.inbox:
			f()
		case cause := <-l.hangup:
			l.leave(cause)
		case <-l.ring:
			l.ringBack()
		case <-l.timer.C:
			l.expire()
		case <-l.s.life.Done():
			l.end(leg.Drained, 0, "")
			return true
		}
	}
}

// giveUp ends a leg that panics; true when even that does.
func (l *line) giveUp() (failed bool) {
	defer func() {
		if recover() != nil {
			failed = true
		}
	}()
	l.leave(leg.Fault)
	return false
}

// finished tells whether nothing is due any more.
func (l *line) finished() bool {
	if l.state != ended || len(l.accepted) > 0 || l.open > 0 {
		return false
	}
	return l.due[alarmLinger].IsZero()
}

// depart takes the leg out of every table.
func (l *line) depart() {
	l.end(leg.Fault, 0, "")
	s := l.s
	s.mu.Lock()
	for _, d := range l.dialogs {
		if s.legs[d.key()] == l {
			delete(s.legs, d.key())
		}
		defer s.edge.quit(d.callID)
	}
	if l.info.Direction == leg.In && l.in != nil {
		delete(s.merge, mergeKey(l.in.req))
	}
	delete(s.all, l)
	s.mu.Unlock()
	if l.source.IsValid() {
		s.edge.forget(l.source)
	}
	if l.counted {
		s.ordinary.Add(-1)
	}
	if l.in != nil {
		l.in.release()
	}
	for _, a := range l.accepted {
		a.in.release()
	}
	for _, w := range l.waiting {
		w.release()
	}
	close(l.gone)
	// Whoever put work in before gone was closed gets an answer too.
	for {
		select {
		case f := <-l.inbox:
			func() {
				defer l.s.caught("leg after its end")
				f()
			}()
		default:
			return
		}
	}
}

// to moves the leg; a move that the table does not know is a fault of ours.
func (l *line) to(next state) {
	if l.state == next {
		return
	}
	if !slices.Contains(moves[l.state], next) {
		panic(fmt.Sprintf("leg moves from %s to %s", l.state, next))
	}
	l.log.Debug("leg", zap.String("from", string(l.state)), zap.String("to", string(next)))
	l.state = next
}

// tell sends an event. The last place of the channel is kept for Ended.
func (l *line) tell(e leg.Event) {
	if l.state == ended && e.Kind != leg.Ended {
		return
	}
	e.At = l.s.now().UTC()
	if e.Kind != leg.Ended && len(l.events) >= cap(l.events)-1 {
		l.s.metrics.overflow.Inc()
		return
	}
	l.events <- e
}

// end is the only way out: media stops, the owner hears why, once.
func (l *line) end(cause leg.Cause, code int, reason string) {
	if l.state == ended {
		return
	}
	l.to(ended)
	for _, a := range []alarm{alarmTrying, alarmRing, alarmOrder, alarmRefresh, alarmExpire, alarmGlare, alarmLongest} {
		l.stop(a)
	}
	if l.session != nil {
		l.session.Close()
	}
	l.s.metrics.ended.WithLabelValues(string(l.info.Direction), string(cause)).Inc()
	l.s.metrics.legs.WithLabelValues(string(l.info.Direction)).Dec()
	l.log.Info("leg ended", zap.String("cause", string(cause)), zap.Int("code", code), zap.String("reason", reason))
	if l.out != nil && l.out.won != nil {
		if d := time.Until(l.out.wonAt.Add(64 * l.s.o.T1)); d > 0 {
			l.after(alarmLinger, d)
		}
	}
	l.tell(leg.Event{Kind: leg.Ended, Cause: cause, Code: code, Reason: reason})
	close(l.events)
	close(l.over)
}

// start counts the leg in and lets its goroutine go; false when the server closes.
func (l *line) start() bool {
	s := l.s
	if !s.begin() {
		return false
	}
	s.metrics.calls.WithLabelValues(string(l.info.Direction), string(l.info.Kind)).Inc()
	s.metrics.legs.WithLabelValues(string(l.info.Direction)).Inc()
	if !l.info.SOS {
		s.ordinary.Add(1)
		l.counted = true
	}
	if l.source.IsValid() {
		s.edge.know(l.source)
	}
	s.mu.Lock()
	s.all[l] = struct{}{}
	for _, d := range l.dialogs {
		s.legs[d.key()] = l
		s.edge.join(d.callID)
	}
	s.mu.Unlock()
	l.log.Info("leg", zap.String("direction", string(l.info.Direction)), zap.String("kind", string(l.info.Kind)),
		zap.String("from", maskNumber(l.info.From)), zap.String("to", maskNumber(l.info.To)), zap.Bool("sos", l.info.SOS),
		zap.String("remote", l.info.Remote))
	go l.run()
	return true
}

// adopt makes a dialog findable for the peer's requests.
func (l *line) adopt(d *dialog) {
	l.dialogs = append(l.dialogs, d)
	l.s.mu.Lock()
	l.s.legs[d.key()] = l
	l.s.mu.Unlock()
	l.s.edge.join(d.callID)
}

func (l *line) after(a alarm, d time.Duration) { l.due[a] = time.Now().Add(d) }
func (l *line) stop(a alarm)                   { l.due[a] = time.Time{} }

// arm sets the timer to the earliest alarm.
func (l *line) arm() {
	var first time.Time
	for _, t := range l.due {
		if !t.IsZero() && (first.IsZero() || t.Before(first)) {
			first = t
		}
	}
	if first.IsZero() {
		l.timer.Stop()
		return
	}
	l.timer.Reset(time.Until(first))
}

func (l *line) expire() {
	now := time.Now()
	for a, t := range l.due {
		if t.IsZero() || t.After(now) {
			continue
		}
		l.stop(alarm(a))
		switch alarm(a) {
		case alarmTrying:
			l.trying()
		case alarmRing:
			l.unanswered()
		case alarmResend:
			l.resend(now)
		case alarmNoReply:
			l.silent(now)
		case alarmCancel:
			l.cancelUnheard()
		case alarmOrder:
			l.gap()
		case alarmRefresh:
			l.refresh()
		case alarmExpire:
			l.log.Warn("session was not refreshed")
			l.bye(`SIP;cause=408;text="Session Expired"`)
			l.end(leg.Timer, 408, "session not refreshed")
		case alarmGlare:
			l.reoffer = false
			l.refresh()
		case alarmLongest:
			l.bye(`SIP;cause=408;text="Longest Call"`)
			l.end(leg.Timer, 0, "longest call")
		case alarmLinger:
		}
	}
}

// leave ends the leg by our side's wish, in whatever state it is.
func (l *line) leave(cause leg.Cause) {
	switch l.state {
	case ended:
		return
	case offered, ringing:
		if l.info.Direction == leg.In {
			status, text := finalFor(cause)
			l.refuse(status, text)
			l.end(cause, status, "")
			return
		}
		l.cancelAll()
	case calling, proceeding:
		l.cancelAll()
	case answered, confirmed:
		l.bye(reasonFor(cause))
	}
	l.end(cause, 0, "")
}

// finalFor is the answer to an INVITE that we do not take.
func finalFor(c leg.Cause) (int, string) {
	switch c {
	case leg.Busy:
		return 486, "Busy Here"
	case leg.Rejected:
		return 603, "Decline"
	case leg.MediaLost:
		return 488, "Not Acceptable Here"
	case leg.Overload, leg.Drained:
		return 503, "Service Unavailable"
	case leg.Fault:
		return 500, "Server Internal Error"
	default:
		return 480, "Temporarily Unavailable"
	}
}

// reasonFor is the Reason header of our BYE (RFC 3326).
func reasonFor(c leg.Cause) string {
	switch c {
	case leg.Normal, leg.CallerHangup:
		return "Q.850;cause=16"
	case leg.Drained:
		return `SIP;cause=503;text="Server Stops"`
	default:
		return fmt.Sprintf(`SIP;cause=480;text="%s"`, c)
	}
}

func parseAddrPort(s string) netip.AddrPort {
	ap, err := netip.ParseAddrPort(s)
	if err != nil {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}
