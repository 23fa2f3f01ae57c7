package callcenter

import (
	"context"
	"slices"
	"time"

	"github.com/google/uuid"

	"anling/callcenter/acd"
	"anling/callcenter/leg"
	"anling/care"
	"anling/event"
)

const (
	mergeWithin  = 10 * time.Minute // calls of one number are one debt
	attemptsMax  = 3
	carriedFor   = 2 * time.Minute // a call-back that is being carried is looked at again
	postponed    = 30 * time.Second
	callbackList = 1000
)

// pauses between the attempts: of an SOS, and of others.
var (
	sosPauses    = []time.Duration{30 * time.Second, 30 * time.Second}
	normalPauses = []time.Duration{5 * time.Minute, 10 * time.Minute}
)

// owe makes the debt to a caller who was not answered part of the end's own commit.
func (a *actor) owe(cause leg.Cause, result string) {
	now := a.s.now()
	if a.cb != nil {
		a.scribe.with(a, a.s.attempted(a.cb.ID, a.attempt(result), now))
		return
	}
	if result != "lost" {
		return
	}
	number, reason := a.c.From, lostReason(cause)
	if a.c.Direction == leg.Out {
		number = a.c.To
	}
	if a.talked && cause == leg.CallerHangup {
		reason = "dropped"
	}
	a.fact(CallLost, "system", map[string]any{"reason": reason})
	a.scribe.with(a, a.s.lost(a.c, number, reason, now))
}

func lostReason(c leg.Cause) string {
	switch c {
	case leg.CallerHangup, leg.Cancelled, leg.Normal:
		return "hung_up"
	}
	return string(c)
}

func callbackFact(t event.Type, cb Callback, by string, now time.Time) event.Event {
	body := map[string]any{"state": cb.State, "class": cb.Class, "reason": cb.Reason, "calls": len(cb.CallIDs), "attempts": len(cb.Attempts), "due_at": cb.DueAt}
	if cb.ElderID != "" {
		body["elder_id"] = cb.ElderID
	}
	if cb.Outcome != "" {
		body["outcome"] = cb.Outcome
	}
	return event.Event{ID: uuid.Must(uuid.NewV7()).String(), Type: t, V: 1, Agg: "callback", AggID: cb.ID, Seq: cb.Version,
		IncidentID: string(cb.IncidentID), At: now, Actor: by, Body: event.Body(body)}
}

// lost is the row of the debt to whom a call was lost: a new one, or the open one of
// the same number. Its deadline is armed in the same commit.
func (s *Service) lost(c Call, number, reason string, now time.Time) func(Tx) error {
	id := care.NewID[string]()
	return func(tx Tx) error {
		cb := Callback{ID: id, State: Due, Class: c.Class, Number: number, ElderID: c.ElderID, DeviceID: c.DeviceID, IncidentID: c.IncidentID, Reason: reason, OpenedAt: now}
		if cb.Class == acd.Normal || cb.Class == acd.Urgent {
			cb.Class = acd.Callback
		}
		was := int64(0)
		if number != "" {
			old, found, err := tx.CallbackOf(number)
			if err != nil {
				return err
			}
			if found && now.Sub(old.LastAt) <= mergeWithin {
				was = old.Version
				cb = merge(old, cb)
			}
		}
		if !slices.Contains(cb.CallIDs, c.ID) {
			cb.CallIDs = append(cb.CallIDs, c.ID)
		}
		cb.LastAt = now
		wait := s.o.Clocks.Callback
		switch {
		case cb.Class == acd.SOS && reason == "crash":
			wait = time.Second // it has waited for the server already
		case cb.Class == acd.SOS:
			wait = s.o.Clocks.CallbackSOS
		}
		if due := now.Add(wait); cb.State == Due && (cb.DueAt.IsZero() || due.Before(cb.DueAt)) {
			cb.DueAt = due
		}
		if number == "" {
			cb.State, cb.DueAt = Unreachable, time.Time{} // only a person can find out who it was
		}
		cb.Version++
		if err := tx.SaveCallback(cb, was); err != nil {
			return err
		}
		if err := tx.Append(callbackFact(CallbackOpened, cb, "system", now)); err != nil {
			return err
		}
		if cb.State != Due {
			return nil
		}
		return tx.Arm(event.Timer{AggID: cb.ID, Kind: CallbackTimer, Due: cb.DueAt})
	}
}

// merge adds what a further lost call tells to the debt that is open.
func merge(old, add Callback) Callback {
	old.Class = min(old.Class, add.Class)
	old.Reason = add.Reason
	if old.ElderID == "" {
		old.ElderID = add.ElderID
	}
	if old.DeviceID == "" {
		old.DeviceID = add.DeviceID
	}
	if old.IncidentID == "" {
		old.IncidentID = add.IncidentID
	}
	if old.State == Unreachable {
		old.State, old.DueAt = Due, time.Time{} // who calls can be reached
	}
	return old
}

// settles closes the debt to a number whose owner has called again and was answered.
func (s *Service) settles(number string, call care.CallID, by care.UserID) func(Tx) error {
	now := s.now()
	return func(tx Tx) error {
		if number == "" {
			return nil
		}
		cb, found, err := tx.CallbackOf(number)
		if err != nil || !found {
			return err
		}
		return s.close(tx, cb, Reached, "called_again", "", by, now)
	}
}

func (s *Service) close(tx Tx, cb Callback, to CallbackState, outcome, note string, by care.UserID, now time.Time) error {
	if !cb.State.CanBecome(to) {
		return care.Refuse(care.ErrTransition, "the call-back is %s", cb.State)
	}
	was := cb.Version
	cb.State, cb.Outcome, cb.Note, cb.DoneBy, cb.DoneAt, cb.DueAt = to, outcome, note, by, now, time.Time{}
	cb.Version++
	if err := tx.SaveCallback(cb, was); err != nil {
		return err
	}
	if err := tx.Append(callbackFact(CallbackDone, cb, "operator:"+string(by), now)); err != nil {
		return err
	}
	return tx.Disarm(cb.ID, CallbackTimer)
}

// HandleTimer starts a call-back that is due. The deadline stays armed while it is
// carried, so that a crash in the middle finds it again.
func (s *Service) HandleTimer(ctx context.Context, t event.Timer) error {
	var cb Callback
	var start bool
	now := s.now()
	busy := s.carries(t.AggID)
	err := s.o.Store.Change(ctx, func(tx Tx) (err error) {
		start = false
		if err := tx.Fire(t); err != nil {
			return err
		}
		if cb, err = tx.Callback(t.AggID); err != nil {
			return err
		}
		if !cb.State.Open() || cb.State == Unreachable {
			return nil
		}
		next := now.Add(carriedFor)
		switch {
		case busy:
		case s.inTouch(cb):
			next = now.Add(postponed) // the caller is on the line again, or the incident is
		default:
			start = true
			if err := s.dialling(tx, &cb, "rule:callback", now); err != nil {
				return err
			}
		}
		return tx.Arm(event.Timer{AggID: cb.ID, Kind: CallbackTimer, Due: next})
	})
	if err == nil && start {
		err = s.startCallback(cb, "")
	}
	return err
}

func (s *Service) dialling(tx Tx, cb *Callback, by string, now time.Time) error {
	was := cb.Version
	cb.State = Calling
	cb.Version++
	if err := tx.SaveCallback(*cb, was); err != nil {
		return err
	}
	return tx.Append(callbackFact(CallbackDialled, *cb, by, now))
}

// carries tells whether a live call is working on the call-back.
func (s *Service) carries(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.views {
		if c.CallbackID == id && c.Live() {
			return true
		}
	}
	return false
}

// inTouch tells whether the caller, or the incident, has a live call already.
func (s *Service) inTouch(cb Callback) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.views {
		if c.Live() && (cb.Number != "" && c.From == cb.Number || cb.IncidentID != "" && c.IncidentID == cb.IncidentID) {
			return true
		}
	}
	return false
}

// startCallback lets a call-back wait for an operator: the head of the queue for a
// lost SOS, its own class otherwise; an operator who asked for it rings himself.
func (s *Service) startCallback(cb Callback, by care.UserID) error {
	a := s.newActor(Call{ID: care.NewID[care.CallID](), Direction: leg.Out, Purpose: ForCallback, State: Awaiting, Class: cb.Class, To: cb.Number,
		ElderID: cb.ElderID, DeviceID: cb.DeviceID, IncidentID: cb.IncidentID, CallbackID: cb.ID, ArrivedAt: s.now()})
	a.cb, a.only, a.numbers = &cb, by, []string{cb.Number}
	a.c.QueuedAt = cb.OpenedAt // its place is that of the call that was lost
	if !s.start(a, true, (*actor).ringBack) {
		return errStopped
	}
	return nil
}

func (a *actor) ringBack() {
	a.decided = true
	a.fact(CallRequested, "system", map[string]any{"reason": a.cb.Reason})
	if a.c.Class == acd.SOS {
		a.moreNumbers()
		if a.c.IncidentID == "" {
			a.openIncident()
		}
	}
	if a.only != "" {
		a.after("only", time.Minute, func() { a.end(leg.NoAnswer, "no_operator", "rule:clock") })
	}
	a.enqueue()
}

// attempt is what became of this try.
func (a *actor) attempt(result string) Attempt {
	switch {
	case a.talked:
		result = "reached"
	case a.dialled == 0 && result != "superseded":
		result = "no_operator"
	case len(a.results) > 0 && result == "unreachable":
		result = a.results[len(a.results)-1]
	}
	return Attempt{At: a.s.now(), By: a.c.OperatorID, CallID: a.c.ID, Result: result}
}

// attempted writes the result of a try, and when the next one is.
func (s *Service) attempted(id string, at Attempt, now time.Time) func(Tx) error {
	return func(tx Tx) error {
		cb, err := tx.Callback(id)
		if err != nil || !cb.State.Open() {
			return err
		}
		cb.Attempts = append(cb.Attempts, at)
		if at.Result == "reached" {
			return s.close(tx, cb, Reached, "reached", "", at.By, now)
		}
		tries := 0
		for _, x := range cb.Attempts {
			if x.Result != "no_operator" && x.Result != "superseded" && x.Result != "cancelled" && x.Result != "crash" {
				tries++
			}
		}
		was := cb.Version
		cb.Version++
		pauses := normalPauses
		if cb.Class == acd.SOS {
			pauses = sosPauses
		}
		if tries >= attemptsMax {
			cb.State, cb.DueAt = Unreachable, time.Time{}
		} else {
			cb.State, cb.DueAt = Due, now.Add(pauses[max(0, min(tries, len(pauses))-1)])
			if tries == 0 || at.Result == "no_operator" {
				cb.DueAt = now.Add(postponed)
			}
		}
		if err := tx.SaveCallback(cb, was); err != nil {
			return err
		}
		if err := tx.Append(callbackFact(CallbackDone, cb, "system", now)); err != nil {
			return err
		}
		if cb.State != Due {
			return tx.Disarm(cb.ID, CallbackTimer)
		}
		return tx.Arm(event.Timer{AggID: cb.ID, Kind: CallbackTimer, Due: cb.DueAt})
	}
}

// Callbacks are the open debts, the most urgent first.
func (s *Service) Callbacks(ctx context.Context) ([]Callback, error) {
	return s.o.Store.Callbacks(ctx, callbackList)
}

// Callback is one debt.
func (s *Service) Callback(ctx context.Context, id string) (Callback, error) {
	return s.o.Store.Callback(ctx, id)
}

// DialCallback rings the operator's telephone and, when he is there, the caller.
func (s *Service) DialCallback(ctx context.Context, id string, by care.UserID) error {
	s.mu.Lock()
	agent, known := s.queue.Agent(by)
	s.mu.Unlock()
	switch {
	case !known || !agent.Phone:
		return care.Refuse(care.ErrBusy, "your telephone is not signed in")
	case agent.State.Engaged():
		return care.Refuse(care.ErrBusy, "you are %s", agent.State)
	case agent.State == acd.Offline:
		return care.Refuse(care.ErrTransition, "you are offline")
	case s.carries(id):
		return care.Refuse(care.ErrTaken, "the call-back is being made already")
	}
	var cb Callback
	now := s.now()
	err := s.o.Store.Change(ctx, func(tx Tx) (err error) {
		if cb, err = tx.Callback(id); err != nil {
			return err
		}
		if !cb.State.CanBecome(Calling) && cb.State != Calling {
			return care.Refuse(care.ErrTransition, "the call-back is %s", cb.State)
		}
		if cb.Number == "" {
			return care.Refuse(care.ErrInvalid, "the number was withheld")
		}
		if err := s.dialling(tx, &cb, "operator:"+string(by), now); err != nil {
			return err
		}
		return tx.Arm(event.Timer{AggID: cb.ID, Kind: CallbackTimer, Due: now.Add(carriedFor)})
	})
	if err != nil {
		return err
	}
	return s.startCallback(cb, by)
}

// DoneCallback closes a debt: a named person says what came of it.
func (s *Service) DoneCallback(ctx context.Context, id string, by care.UserID, outcome, note string) error {
	if !slices.Contains(Outcomes, outcome) {
		return care.Invalid("outcome", "%q is not one of %v", outcome, Outcomes)
	}
	if len([]rune(note)) > 2000 {
		return care.Invalid("note", "has more than 2000 characters")
	}
	return s.o.Store.Change(ctx, func(tx Tx) error {
		cb, err := tx.Callback(id)
		if err != nil {
			return err
		}
		if cb.State == Closed && cb.DoneBy == by && cb.Outcome == outcome {
			return nil
		}
		return s.close(tx, cb, Closed, outcome, note, by, s.now())
	})
}
