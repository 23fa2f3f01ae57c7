package callcenter

import (
	"context"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/google/uuid"
	"go.uber.org/zap"

	"anling/callcenter/acd"
	"anling/callcenter/ivr"
	"anling/callcenter/leg"
	"anling/callcenter/media"
	"anling/callcenter/recording"
	"anling/care"
	"anling/event"
)

const (
	inboxSize = 256
	leaseTurn = 5 * time.Second // the queue's lease is renewed
	callMax   = 4 * time.Hour   // of an ordinary conversation
)

// actor is one call: one goroutine that owns all of its state. Legs, audio, store
// and clock are heard through the inbox; the actor itself never waits for them.
type actor struct {
	s    *Service
	log  *zap.Logger
	in   chan func(*actor)
	done chan struct{} // closed when the actor has ended
	ctx  context.Context
	stop context.CancelFunc

	c      Call
	caller *party // the outside party: caller, elder; nil until dialled
	op     *party // the operator who has the call
	offers map[care.UserID]*party
	legs   int // that have not ended
	menu   *ivr.Menu
	at     map[string]deadline
	rec    *recording.Recording
	recEnd bool // its file is closed, or there was none

	decided bool // the number was looked up, or took too long
	opening bool // an incident is being opened
	taken   bool // the operator became the owner of the incident
	rung    bool // the board was told that operators are rung
	hasLine bool // the line is being answered
	ended   bool
	talked  bool
	panics  time.Time
	heldAt  time.Time

	skills   []string    // wished of the operator
	prefer   care.UserID // the owner of the incident
	only     care.UserID // who rings back himself
	toldRing bool

	numbers []string // to be dialled, outbound
	dialled int
	results []string // of the numbers dialled
	cb      *Callback

	scribe scribe
}

type deadline struct {
	at time.Time
	do func()
}

// party is one leg in a call.
type party struct {
	leg     leg.Leg
	inbound bool
	offer   acd.Offer // of an operator
	up      bool      // answered: there is audio
	over    bool
	held    bool
	lost    bool // no audio comes
}

func (p *party) media() *media.Session {
	if p == nil || p.leg == nil || p.over {
		return nil
	}
	return p.leg.Media()
}

func (s *Service) newActor(c Call) *actor {
	a := &actor{s: s, in: make(chan func(*actor), inboxSize), done: make(chan struct{}), c: c, offers: map[care.UserID]*party{}, at: map[string]deadline{}}
	a.recEnd = true
	a.log = s.log.With(zap.String("call_id", string(c.ID)), zap.String("sip_call_id", c.SIPCallID))
	a.ctx, a.stop = context.WithCancel(context.Background())
	return a
}

// send puts something into the inbox. A full inbox is waited for by a goroutine of
// the call's own, so that no caller of send ever blocks.
func (a *actor) send(f func(*actor)) {
	select {
	case a.in <- f:
	case <-a.done:
	default:
		a.s.work.Go(func() { a.post(f) })
	}
}

// post is send for a goroutine that may wait.
func (a *actor) post(f func(*actor)) {
	select {
	case a.in <- f:
	case <-a.done:
	}
}

// aside does what may wait, and hears the answer in the inbox.
func (a *actor) aside(limit time.Duration, f func(ctx context.Context) func(*actor)) {
	a.s.work.Go(func() {
		ctx, cancel := context.WithTimeout(a.ctx, limit)
		defer cancel()
		if then := f(ctx); then != nil {
			a.post(then)
		}
	})
}

// run is the goroutine of the call.
func (a *actor) run(first func(*actor)) {
	defer func() {
		a.s.forget(a)
		close(a.done)
		a.stop()
	}()
	a.after("lease", leaseTurn, a.renew)
	a.do(first)
	for !a.finished() {
		clock := time.NewTimer(a.untilNext())
		select {
		case f := <-a.in:
			a.do(f)
		case <-clock.C:
			a.do((*actor).expire)
		}
		clock.Stop()
	}
	a.handOver()
}

// do runs one step. A panic does not end the call: the state is the actor's own and
// stands; the second one within ten seconds ends it in order.
func (a *actor) do(f func(*actor)) {
	defer func() {
		if p := recover(); p != nil {
			a.s.metrics.faults.Inc()
			a.log.Error("a step of the call panicked", zap.Any("panic", p), zap.ByteString("stack", debug.Stack()))
			again := a.s.now().Sub(a.panics) < 10*time.Second
			a.panics = a.s.now()
			if again && !a.ended {
				a.end(leg.Fault, "fault", "rule:fault")
			}
		}
		a.save()
		a.tell()
	}()
	f(a)
}

// after sets the deadline of that name, in place of the old one.
func (a *actor) after(name string, d time.Duration, do func()) {
	a.at[name] = deadline{a.s.now().Add(d), do}
}

func (a *actor) never(name string) { delete(a.at, name) }

func (a *actor) untilNext() time.Duration {
	next := leaseTurn
	now := a.s.now()
	for _, d := range a.at {
		next = min(next, d.at.Sub(now))
	}
	return max(0, next)
}

// expire does what is due, the oldest first.
func (a *actor) expire() {
	now := a.s.now()
	for {
		name := ""
		for n, d := range a.at {
			if !d.at.After(now) && (name == "" || d.at.Before(a.at[name].at)) {
				name = n
			}
		}
		if name == "" {
			return
		}
		do := a.at[name].do
		delete(a.at, name)
		do()
	}
}

func (a *actor) renew() {
	a.after("lease", leaseTurn, a.renew)
	if !a.ended {
		a.s.mu.Lock()
		a.s.queue.Renew(a.s.now(), a.c.ID)
		a.s.mu.Unlock()
	}
}

// tell shows the state to those who look at the live calls.
func (a *actor) tell() {
	a.s.mu.Lock()
	defer a.s.mu.Unlock()
	if _, live := a.s.actors[a.c.ID]; !live {
		return
	}
	a.s.views[a.c.ID] = a.c
	// An SOS call learns its incident on the way: from then on it is that one's call,
	// unless another is.
	if other := a.s.incident[a.c.IncidentID]; a.c.IncidentID != "" && (a.s.actors[other] == nil || a.s.views[other].State == Ended) {
		a.s.incident[a.c.IncidentID] = a.c.ID
	}
}

// finished tells whether nothing is left to be done: legs, recording, store.
func (a *actor) finished() bool {
	if !a.ended {
		return false
	}
	if _, waiting := a.at["end"]; !waiting {
		a.log.Warn("the call did not end in order", zap.Int("legs", a.legs), zap.Bool("recording", !a.recEnd), zap.Bool("opening", a.opening), zap.Bool("stored", a.scribe.clean()))
		return true // long enough
	}
	return a.legs == 0 && a.recEnd && !a.opening && a.scribe.clean()
}

// move is the one place where the call's state changes.
func (a *actor) move(to CallState) {
	if a.c.State == to {
		return
	}
	if !CanMove(a.c.State, to) {
		panic(fmt.Sprintf("call from %s to %s", a.c.State, to)) // only a mistake here
	}
	a.c.State = to
}

// fact notes what happened, for the record and for others.
func (a *actor) fact(t event.Type, by string, body map[string]any) {
	if body == nil {
		body = map[string]any{}
	}
	body["class"], body["state"], body["direction"] = a.c.Class, a.c.State, a.c.Direction
	for name, id := range map[string]string{"elder_id": string(a.c.ElderID), "operator_id": string(a.c.OperatorID), "callback_id": a.c.CallbackID} {
		if _, set := body[name]; !set && id != "" {
			body[name] = id
		}
	}
	a.c.Version++
	a.scribe.events = append(a.scribe.events, event.Event{ID: uuid.Must(uuid.NewV7()).String(), Type: t, V: 1, Agg: "call", AggID: string(a.c.ID), Seq: a.c.Version,
		IncidentID: string(a.c.IncidentID), At: a.s.now(), Actor: by, Body: event.Body(body)})
}

// follow listens to a leg until its end.
func (a *actor) follow(p *party) {
	a.legs++
	a.s.work.Go(func() {
		ended := false
		for e := range p.leg.Events() {
			ended = ended || e.Kind == leg.Ended
			a.post(func(a *actor) { a.heard(p, e) })
		}
		if !ended {
			a.post(func(a *actor) { a.heard(p, leg.Event{Kind: leg.Ended, Cause: leg.Fault, At: a.s.now()}) })
		}
	})
}

// listen follows the audio of a leg from its answer on.
func (a *actor) listen(p *party) {
	if p.up {
		return
	}
	p.up = true
	m := p.media()
	if m == nil {
		return
	}
	a.s.work.Go(func() {
		for {
			select {
			case e, ok := <-m.Events():
				if !ok {
					return
				}
				a.post(func(a *actor) { a.sounded(p, e) })
			case <-a.done:
				return
			}
		}
	})
}

// heard is what happened on a leg.
func (a *actor) heard(p *party, e leg.Event) {
	if p.over {
		return
	}
	switch e.Kind {
	case leg.Ringing:
		a.rings(p)
	case leg.Answered:
		a.answered(p)
	case leg.Held:
		a.legHeld(p, true)
	case leg.Resumed:
		a.legHeld(p, false)
	case leg.DTMF:
		a.key(p, e.Digit)
	case leg.Ended:
		p.over = true
		a.legs--
		a.gone(p, e)
	}
}

// gone is the end of a leg.
func (a *actor) gone(p *party, e leg.Event) {
	switch {
	case p == a.caller && p.inbound:
		a.callerGone(e.Cause)
	case p == a.caller:
		a.elderGone(e.Cause)
	case p == a.op:
		a.operatorGone(e.Cause)
	case a.offers[p.offer.Operator] == p:
		a.offerGone(p, e.Cause)
	}
}

func (a *actor) answered(p *party) {
	switch {
	case p == a.caller && !p.inbound:
		a.elderAnswered()
	case a.offers[p.offer.Operator] == p && p != a.caller:
		a.operatorAnswered(p)
	}
}

// end is the end of the call, whatever its state: every leg is hung up, the operator
// goes to wrap-up, and who was not answered is owed a call. It is done once.
func (a *actor) end(cause leg.Cause, result, by string) {
	if a.ended {
		return
	}
	a.ended = true
	now := a.s.now()
	talked := a.c.State == Talking || a.c.State == Held
	a.s.act(func(q *acd.Queue) []acd.Offer {
		q.Drop(now, a.c.ID)
		q.End(now, a.c.ID, talked)
		return nil
	})
	for id, p := range a.offers {
		delete(a.offers, id)
		p.leg.Hangup(leg.Cancelled)
	}
	for _, p := range []*party{a.caller, a.op} {
		if p != nil && !p.over {
			p.leg.Hangup(endCause(cause))
		}
	}
	a.c.Offered, a.c.EndedAt, a.c.Cause, a.c.Result = nil, now, cause, result
	a.move(Ended)
	a.at = map[string]deadline{}
	a.after("lease", leaseTurn, a.renew)
	a.after("end", endWithin, func() {})
	a.s.metrics.calls.WithLabelValues(a.c.Class.String(), result).Inc()
	a.owe(cause, result)
	a.fact(CallEnded, by, map[string]any{"cause": cause, "result": result, "seconds": now.Sub(a.c.ArrivedAt).Seconds()})
	a.endRecording()
}

// endCause is what the other legs are told.
func endCause(c leg.Cause) leg.Cause {
	switch c {
	case leg.Drained, leg.Fault, leg.MediaLost:
		return c
	}
	return leg.Normal
}

func (a *actor) hangup(by care.UserID) error {
	if a.ended {
		return care.NotFound("live call", string(a.c.ID))
	}
	result := "cancelled"
	if a.talked {
		result = "talked"
	}
	a.end(leg.Normal, result, "operator:"+string(by))
	return nil
}

// drain is the end of the server: a conversation may go on for a while.
func (a *actor) drain(grace time.Duration) {
	if a.ended {
		return
	}
	if (a.c.State == Talking || a.c.State == Held) && grace > 0 {
		a.after("drain", grace, func() { a.end(leg.Drained, "lost", "rule:drain") })
		return
	}
	result := "lost"
	if a.c.Direction == leg.Out && a.c.State != Talking && a.c.State != Held {
		result = "cancelled"
	}
	a.end(leg.Drained, result, "rule:drain")
}
