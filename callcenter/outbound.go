package callcenter

import (
	"context"
	"fmt"
	"slices"
	"time"

	"go.uber.org/zap"

	"anling/callcenter/acd"
	"anling/callcenter/leg"
	"anling/callcenter/media"
	"anling/care"
)

// RequestCall puts an operator in touch with the elder of an incident: the device's
// own call is awaited for as long as the request says, then an operator is rung, and
// when he is there the elder's numbers, in order. While a call of the incident lives
// a further request makes it more urgent, and ends the waiting if it says so. It does
// not wait for anything.
func (s *Service) RequestCall(_ context.Context, r care.CallRequest) error {
	if r.IncidentID == "" {
		return care.Invalid("incident_id", "is empty")
	}
	class := classOf(r.Priority)
	now := s.now()
	if live := s.callOf(r.IncidentID); live != nil {
		live.send(func(a *actor) { a.urge(r, class) })
		return nil
	}
	a := s.newActor(Call{ID: care.NewID[care.CallID](), Direction: leg.Out, Purpose: ForIncident, State: Awaiting, Class: class,
		ElderID: r.ElderID, DeviceID: r.DeviceID, IncidentID: r.IncidentID, ArrivedAt: now})
	until := r.VoiceExpect
	if most := now.Add(s.o.Clocks.VoiceExpect); until.After(most) {
		until = most
	}
	if !s.start(a, true, func(a *actor) { a.request(until) }) {
		return fmt.Errorf("call for incident %s: %w", r.IncidentID, errStopped)
	}
	return nil
}

// callOf is the live call of an incident, nil when there is none.
func (s *Service) callOf(id care.IncidentID) *actor {
	s.mu.Lock()
	defer s.mu.Unlock()
	call := s.incident[id]
	if s.views[call].State == Ended {
		return nil
	}
	return s.actors[call]
}

func classOf(p care.Priority) acd.Class {
	switch p {
	case 0, care.P1:
		return acd.SOS
	case care.P2:
		return acd.Urgent
	}
	return acd.Normal
}

// breath is what is waited for the registry before anybody is rung.
const breath = 50 * time.Millisecond

// request awaits the device's own call, in memory alone: after a crash the incident's
// ladder asks again. What is stored begins when operators are to be rung.
func (a *actor) request(until time.Time) {
	if wait := until.Sub(a.s.now()); wait > 0 {
		a.after("voice", wait, a.prepare)
		return
	}
	a.prepare()
}

// prepare finds out who has the incident and whom to ring, and puts the call into the
// queue; after a breath it goes there without.
func (a *actor) prepare() {
	if a.ended || a.c.State != Awaiting {
		return
	}
	if a.c.Version == 0 {
		a.fact(CallRequested, "system", nil)
	}
	a.after("voice", breath, a.enqueue)
	id := a.c.IncidentID
	elder, device := a.c.ElderID, a.c.DeviceID
	a.aside(matchLimit, func(ctx context.Context) func(*actor) {
		owner, err := a.s.o.Incidents.Owner(ctx, id)
		if err != nil {
			a.log.Warn("owner of an incident", zap.String("incident_id", string(id)), zap.Error(err))
		}
		numbers := a.numbersOf(ctx, elder, device)
		return func(a *actor) {
			if a.ended {
				return
			}
			a.learn(numbers)
			if owner != "" {
				a.prefer = owner
				a.s.act(func(q *acd.Queue) []acd.Offer { q.Prefer(a.c.ID, owner); return nil })
			}
			if a.c.State == Awaiting {
				a.enqueue()
			}
		}
	})
}

// numbersOf are what may be rung for an elder or a device, best first.
func (a *actor) numbersOf(ctx context.Context, elder care.ElderID, device care.DeviceID) []string {
	if elder == "" && device == "" {
		return nil
	}
	numbers, err := a.s.o.Directory.NumbersOf(ctx, elder, device)
	if err != nil {
		a.log.Warn("numbers to be rung", zap.Error(err))
	}
	return numbers
}

// moreNumbers looks the numbers up and adds those that are not known yet.
func (a *actor) moreNumbers() {
	elder, device := a.c.ElderID, a.c.DeviceID
	a.aside(matchLimit, func(ctx context.Context) func(*actor) {
		numbers := a.numbersOf(ctx, elder, device)
		return func(a *actor) { a.learn(numbers) }
	})
}

func (a *actor) learn(numbers []string) {
	for _, n := range numbers {
		if !slices.Contains(a.numbers, n) {
			a.numbers = append(a.numbers, n)
		}
	}
	if a.c.To == "" && len(a.numbers) > 0 {
		a.c.To = a.numbers[0]
	}
}

// urge is a further request for the same incident.
func (a *actor) urge(r care.CallRequest, class acd.Class) {
	if a.ended {
		return
	}
	if class < a.c.Class {
		a.c.Class = class
		a.s.act(func(q *acd.Queue) []acd.Offer { q.Raise(a.c.ID, class); return nil })
	}
	if a.c.Direction == leg.Out && a.c.ElderID == "" {
		a.c.ElderID = r.ElderID
	}
	switch {
	case a.c.State == Awaiting && !r.VoiceExpect.After(a.s.now()):
		a.prepare()
	case a.c.State != Awaiting && a.c.Direction == leg.Out && len(a.numbers) == 0 && a.caller == nil:
		a.moreNumbers()
	}
}

// probable is the one alarm so young that has no call yet, if there is just one.
func (s *Service) probable(now time.Time) (care.IncidentID, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var found care.IncidentID
	n := 0
	for _, c := range s.views {
		if c.Purpose == ForIncident && c.Live() && c.BridgedAt.IsZero() && now.Sub(c.ArrivedAt) <= probableFor {
			found = c.IncidentID
			n++
		}
	}
	return found, n == 1
}

// speaksFor makes the inbound call the one of its incident. A call of ours that has
// not reached the elder yet gives way; the operator who was with it comes along.
func (s *Service) speaksFor(id care.IncidentID, a *actor) care.UserID {
	s.mu.Lock()
	ours := s.actors[s.incident[id]]
	s.incident[id] = a.c.ID
	var operator care.UserID
	if ours != nil && ours != a {
		operator = s.views[ours.c.ID].OperatorID
	}
	s.mu.Unlock()
	if ours == nil || ours == a || a.c.Match == "probable" {
		return operator
	}
	ours.send(func(o *actor) { o.yield() })
	return operator
}

// talksFor ends our own attempt once an operator talks to the caller who was only
// probably the elder of that incident.
func (s *Service) talksFor(a *actor) {
	if a.c.Match != "probable" || a.c.IncidentID == "" {
		return
	}
	s.mu.Lock()
	var ours []*actor
	for _, o := range s.actors {
		if v := s.views[o.c.ID]; o != a && v.IncidentID == a.c.IncidentID && v.Direction == leg.Out {
			ours = append(ours, o)
		}
	}
	s.mu.Unlock()
	for _, o := range ours {
		o.send(func(o *actor) { o.yield() })
	}
}

// yield ends our call for an incident because the elder's own has come.
func (a *actor) yield() {
	if !a.ended && a.c.Direction == leg.Out && a.c.State != Talking && a.c.State != Held {
		a.end(leg.Normal, "superseded", "rule:inbound_first")
	}
}

// dialElder rings the next number, with the operator listening. When there is none,
// or all were tried, the operator is told and the call ends.
func (a *actor) dialElder() {
	a.move(Dialling)
	if a.dialled == 0 {
		a.play(a.op, a.whisper(), false)
	}
	for a.dialled < len(a.numbers) {
		number := a.numbers[a.dialled]
		a.dialled++
		l, err := a.s.o.Dialer.Dial(a.ctx, leg.Call{To: number, Timeout: a.s.o.Clocks.ElderRing, SOS: a.c.Class == acd.SOS})
		if err != nil {
			a.log.Warn("dial the elder", zap.Int("number", a.dialled), zap.Error(err))
			a.results = append(a.results, "unreachable")
			continue
		}
		a.c.To = number
		a.caller = &party{leg: l}
		a.follow(a.caller)
		a.fact(CallDialled, "system", map[string]any{"number": a.dialled, "of": len(a.numbers)})
		return
	}
	a.unreached()
}

// whisper is what the operator hears first: whom he is being put through to.
func (a *actor) whisper() string {
	if a.c.Class == acd.SOS {
		return promptSOSWhisper
	}
	return promptWhisper
}

// unreached is the end of the numbers: a tone, and the operator is released. With
// none to ring at all he has the incident on his screen, and that is what he was
// rung for.
func (a *actor) unreached() {
	a.caller = nil
	spoken := min(a.s.length(a.whisper()), 10*time.Second)
	if a.dialled > 0 {
		spoken = 0
	}
	a.after("whisper", spoken, func() { a.play(a.op, media.PromptBeep, false) })
	a.after("unreached", spoken+3*time.Second, func() { a.end(leg.NoAnswer, "unreachable", "system") })
}

func (a *actor) elderAnswered() {
	if a.ended {
		return
	}
	a.listen(a.caller)
	a.c.LineAt = a.s.now()
	if a.op == nil {
		a.enqueue()
		return
	}
	a.bridge()
}

// elderGone is the end of the outside leg that we dialled: before the answer the next
// number follows, after it the conversation is over.
func (a *actor) elderGone(cause leg.Cause) {
	if a.ended {
		return
	}
	if !a.caller.up {
		a.results = append(a.results, string(cause))
		a.caller = nil
		if a.op == nil { // he is lost as well: another one first
			a.dialled = 0
			a.enqueue()
			return
		}
		a.dialElder()
		return
	}
	result := "lost"
	if a.c.State == Talking || a.c.State == Held {
		result = "talked"
		if cause == leg.Transport || cause == leg.Timer || cause == leg.MediaLost || cause == leg.Fault {
			result = "lost"
		}
	}
	a.end(cause, result, "elder")
}
