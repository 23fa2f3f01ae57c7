package callcenter

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"

	"anling/callcenter/acd"
	"anling/callcenter/ivr"
	"anling/callcenter/leg"
	"anling/care"
)

const (
	storeWait   = 20 * time.Millisecond  // the answer waits so long for the row
	matchWait   = 200 * time.Millisecond // and the greeting so long for whose number it is
	matchLimit  = 5 * time.Second
	openWait    = time.Second // operators are rung for an SOS, whether or not its incident stands
	openLimit   = 6 * time.Second
	openAgain   = 2 * time.Second
	answerLimit = 40 * time.Second // of leg.Answer: the caller's confirmation ends at 32 s
	greetingMax = 8 * time.Second
	probableFor = 2 * time.Minute // a withheld number may be that of the one alarm so young
)

// arrive is the first step of an inbound call: its row is committed, and its number
// looked up, while it rings.
func (a *actor) arrive(info leg.Info) {
	a.caller.leg.Ring()
	a.follow(a.caller)
	if info.SOS {
		a.c.Class, a.c.Purpose = acd.SOS, SOSCall
	}
	a.fact(CallReceived, "system", map[string]any{"trunk": a.c.Trunk, "sos_line": info.SOS, "anonymous": a.c.Anonymous})
	a.after("answer", storeWait, a.answerLine)
	if a.c.Anonymous || a.c.From == "" {
		a.matched(who{})
		return
	}
	a.after("match", matchWait, func() { a.decide() })
	number := a.c.From
	a.aside(matchLimit, func(ctx context.Context) func(*actor) {
		w, err := a.s.lookUp(ctx, number)
		if err != nil {
			a.log.Error("look up a caller's number", zap.Error(err))
		}
		return func(a *actor) { a.matched(w) }
	})
}

// who is what a number tells.
type who struct {
	matches  []care.PhoneMatch
	elder    care.ElderID
	device   care.DeviceID
	kind     string
	incident care.IncidentID // the elder's open one
	owner    care.UserID
	skills   []string
}

func (s *Service) lookUp(ctx context.Context, number string) (who, error) {
	var w who
	matches, err := s.o.Directory.MatchPhone(ctx, number)
	if err != nil {
		return w, err
	}
	w.matches = matches
	if len(matches) > 0 {
		w.kind, w.elder, w.device = matches[0].Kind, matches[0].ElderID, matches[0].DeviceID
	}
	for _, m := range matches {
		if m.Kind == w.kind && m.ElderID != w.elder {
			w.elder = "" // of several elders: all are shown, none is chosen
		}
	}
	if w.kind != "elder" || w.elder == "" {
		return w, nil
	}
	// The home telephone of an elder who has pressed is part of that emergency.
	id, found, err := s.o.Incidents.OpenIncidentOf(ctx, w.elder, "")
	if found {
		w.incident = id
		w.owner, _ = s.o.Incidents.Owner(ctx, id) // unknown is nobody
	}
	e, elderErr := s.o.Directory.Elder(ctx, w.elder)
	if elderErr == nil && e.Communication.Mandarin == "none" {
		w.skills = e.Communication.Dialects
	}
	return w, errors.Join(err, elderErr)
}

// matched is the answer of the directory. It may come late: then it still makes the
// call an SOS.
func (a *actor) matched(w who) {
	if a.ended {
		return
	}
	a.never("match")
	a.c.Match = w.kind
	if w.kind == "" {
		a.c.Match = "none"
	}
	for _, m := range w.matches {
		a.c.Matches = append(a.c.Matches, Match{Kind: m.Kind, ElderID: m.ElderID, DeviceID: m.DeviceID, Name: m.Name, Relation: m.Relation})
	}
	if w.kind != "responder" {
		a.c.ElderID, a.c.DeviceID = w.elder, w.device
	}
	a.skills = w.skills
	a.fact(CallMatched, "system", map[string]any{"match": a.c.Match, "matches": len(w.matches), "device_id": a.c.DeviceID})
	switch {
	case w.incident != "":
		a.c.Class, a.c.Purpose, a.prefer = acd.SOS, SOSCall, w.owner
		a.attach(w.incident, "system")
	case w.kind == "device" || a.c.Class == acd.SOS:
		a.c.Class, a.c.Purpose = acd.SOS, SOSCall
		a.openIncident()
	}
	a.decide()
}

// decide goes on once the number is known, or has taken too long to be.
func (a *actor) decide() {
	if a.decided {
		if a.c.Class == acd.SOS && a.c.State == Greeting {
			a.enqueue()
		}
		return
	}
	a.decided = true
	if a.c.Class == acd.SOS {
		if !a.opening {
			a.enqueue()
		} else {
			a.after("open", openWait, a.enqueue)
		}
	}
	a.greet()
}

// answerLine answers the caller: when the row is stored, or has taken too long.
func (a *actor) answerLine() {
	a.never("answer")
	if a.hasLine || a.ended {
		return
	}
	a.hasLine = true
	l := a.caller.leg
	a.aside(answerLimit, func(ctx context.Context) func(*actor) {
		err := l.Answer(ctx)
		return func(a *actor) { a.lineAnswered(err) }
	})
}

func (a *actor) lineAnswered(err error) {
	switch {
	case a.ended:
		return
	case errors.Is(err, leg.ErrCancelled):
		// The leg's own end follows; should it not, this is it.
		a.after("cancelled", time.Second, func() { a.callerGone(leg.Cancelled) })
		return
	case err != nil:
		a.log.Warn("answer a caller", zap.Error(err))
		a.caller.leg.Hangup(leg.Fault)
		a.callerGone(leg.Transport)
		return
	}
	a.c.LineAt = a.s.now()
	a.listen(a.caller)
	if a.c.Class == acd.SOS {
		a.record()
	}
	if a.c.Class != acd.SOS {
		a.after("max", callMax, func() { a.end(leg.Timer, "lost", "rule:max") })
	}
	if a.op != nil { // an operator was faster than the line
		a.bridge()
		return
	}
	a.greet()
}

// greet begins what the caller hears, once the line is up and it is known who it is.
func (a *actor) greet() {
	if !a.decided || a.c.LineAt.IsZero() || a.ended {
		return
	}
	if a.c.State != Arrived || a.c.Class == acd.SOS { // an SOS may wait for its incident still
		a.comfort(true)
		return
	}
	a.move(Greeting)
	var step ivr.Step
	a.menu, step = a.s.o.Flow.Begin()
	a.step(step)
}

// step does what the flow says next.
func (a *actor) step(s ivr.Step) {
	a.never("prompt")
	if s.Class == "urgent" && a.c.Class > acd.Urgent {
		a.c.Class = acd.Urgent
	}
	switch {
	case s.Queue:
		a.menu = nil
		a.enqueue()
	case s.Hangup:
		a.end(leg.Normal, "cancelled", "rule:flow")
	case s.Within > 0:
		a.play(a.caller, s.Play, false)
		a.after("prompt", s.Within, func() { a.walk(a.menu.Timeout()) })
	default:
		a.play(a.caller, s.Play, false)
		a.after("prompt", min(a.s.length(s.Play)+500*time.Millisecond, greetingMax), func() { a.walk(a.menu.Played()) })
	}
}

func (a *actor) walk(s ivr.Step, ok bool) {
	if ok && a.c.State == Greeting {
		a.step(s)
	}
}

// enqueue lets the call wait for an operator.
func (a *actor) enqueue() {
	if a.ended || a.op != nil || a.c.State == Queued || a.c.State == Offered {
		return
	}
	for _, name := range []string{"open", "prompt", "voice"} {
		a.never(name)
	}
	a.menu = nil
	now := a.s.now()
	if a.c.QueuedAt.IsZero() {
		a.c.QueuedAt = now
	}
	a.move(Queued)
	e := acd.Entry{Call: a.c.ID, Class: a.c.Class, At: a.c.QueuedAt, Skills: a.skills, Prefer: a.prefer, Only: a.only}
	if a.cb != nil {
		e.Due = a.cb.DueAt
	}
	a.fact(CallQueued, "system", nil)
	a.s.act(func(q *acd.Queue) []acd.Offer { q.Put(now, e); return nil })
	if !a.c.LineAt.IsZero() {
		a.comfort(true)
	}
}

// openIncident makes the incident of an SOS call stand. It never stops the call: when
// it fails, operators are rung all the same, and it is tried again.
func (a *actor) openIncident() {
	if a.opening || a.c.IncidentID != "" || a.ended {
		return
	}
	a.opening = true
	if a.c.DeviceID == "" && a.c.ElderID == "" && a.c.Anonymous {
		if id, ok := a.s.probable(a.s.now()); ok {
			a.c.Match = "probable"
			a.attach(id, "rule:probable")
			return
		}
	}
	key := a.c.SIPCallID
	if key == "" {
		key = string(a.c.ID)
	}
	r := care.OpenRequest{Key: "call:" + key, Digest: "sos", Source: "call", Actor: "call:" + string(a.c.ID), Kinds: []care.Kind{care.KindSOS},
		ElderID: a.c.ElderID, DeviceID: a.c.DeviceID, CallID: a.c.ID, At: a.c.ArrivedAt}
	if r.DeviceID != "" {
		r.Actor = "device:" + string(r.DeviceID)
	}
	a.aside(openLimit, func(ctx context.Context) func(*actor) {
		r := r
		r.Locations, r.Area = a.s.places(ctx, r.ElderID, r.DeviceID)
		opened, err := a.s.o.Opener.Open(ctx, r)
		return func(a *actor) { a.opened(opened, err) }
	})
}

// places is the ladder of positions: the device's last one, then the home.
func (s *Service) places(ctx context.Context, elder care.ElderID, device care.DeviceID) (ladder []care.Fix, area care.AreaCode) {
	ctx, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
	defer cancel()
	if device != "" {
		if d, err := s.o.Directory.Device(ctx, device); err == nil && d.LastFix != nil {
			f := *d.LastFix
			f.Source = care.FixLast
			ladder = append(ladder, f)
		}
	}
	if elder != "" {
		if e, err := s.o.Directory.Elder(ctx, elder); err == nil {
			area = e.AreaCode
			if !e.Home.IsZero() {
				ladder = append(ladder, care.Fix{Point: e.Home, Source: care.FixHome})
			}
		}
	}
	return ladder, area
}

func (a *actor) opened(o care.Opened, err error) {
	a.opening = false
	if err != nil {
		a.s.metrics.noOpen.Inc()
		a.log.Error("an SOS call has no incident; operators are rung all the same", zap.Error(err))
		if a.ended {
			return // a call-back of its class is owed; it opens one
		}
		if a.c.Trouble == "" {
			a.c.Trouble = "no_incident"
			a.fact(CallTrouble, "system", map[string]any{"what": "no_incident"})
			a.s.emergency(a.c, "an SOS call has no incident: the store does not take it")
		}
		a.queueNow()
		a.after("open_again", openAgain, a.openIncident)
		return
	}
	if a.c.Trouble == "no_incident" {
		a.c.Trouble = ""
	}
	a.joined(o.IncidentID, map[string]any{"joined": o.Joined})
}

// attach joins the call to an incident that is open.
func (a *actor) attach(id care.IncidentID, by string) {
	a.opening = true
	a.aside(openLimit, func(ctx context.Context) func(*actor) {
		err := a.s.o.Incidents.AttachCall(ctx, id, a.c.ID, by)
		return func(a *actor) {
			a.opening = false
			if err != nil {
				a.log.Error("attach a call to its incident", zap.String("incident_id", string(id)), zap.Error(err))
				if !a.ended {
					a.queueNow()
					a.after("open_again", openAgain, func() { a.attach(id, by) })
				}
				return
			}
			a.joined(id, nil)
		}
	})
}

// joined is an incident that stands for this call.
func (a *actor) joined(id care.IncidentID, body map[string]any) {
	if id == "" {
		a.queueNow()
		return
	}
	a.c.IncidentID = id
	if body == nil {
		body = map[string]any{}
	}
	body["match"] = a.c.Match
	a.fact(CallMatched, "system", body)
	if a.ended {
		return
	}
	if prefer := a.s.speaksFor(id, a); prefer != "" {
		a.prefer = prefer
	}
	a.queueNow()
	a.take()
	a.tellRinging()
}

// queueNow lets an SOS wait as soon as its incident stands or cannot be had.
func (a *actor) queueNow() {
	if !a.ended && a.decided && (a.c.State == Arrived || a.c.State == Greeting) {
		a.enqueue()
	}
}

// callerGone is the end of the caller's line.
func (a *actor) callerGone(cause leg.Cause) {
	if a.ended {
		return
	}
	a.caller.over = true
	result := "lost"
	if a.c.State == Talking || a.c.State == Held {
		result = "talked"
		abnormal := cause == leg.Transport || cause == leg.Timer || cause == leg.MediaLost || cause == leg.NoAck || cause == leg.Fault
		dropped := a.c.Class == acd.SOS && a.s.now().Sub(a.c.BridgedAt) < dropWithin
		if abnormal || dropped {
			result = "lost"
		}
	}
	a.end(cause, result, "caller")
}

// key is a digit the caller pressed.
func (a *actor) key(p *party, digit byte) {
	if p != a.caller || a.ended {
		return
	}
	a.c.Keys += string(digit)
	if len(a.c.Keys) > 32 {
		a.c.Keys = a.c.Keys[1:]
	}
	if a.menu != nil && a.c.State == Greeting {
		a.walk(a.menu.Digit(digit))
	}
}
