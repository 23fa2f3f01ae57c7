package dispatch

import (
	"context"
	"slices"
	"strings"

	"anling/care"
	"anling/dispatch/assign"
)

const (
	noteLimit  = 2000 // characters of a note
	notesLimit = 200  // notes of an incident
)

func operator(u care.UserID) string { return "operator:" + string(u) }

// Take makes u the owner of an incident. Who owns it already stays so; another's
// incident is care.ErrTaken unless takeOver says so. Every later command of the
// owner carries the Claim of the answer.
func (b *Board) Take(ctx context.Context, id care.IncidentID, u care.UserID, takeOver bool) (Incident, error) {
	return b.change(ctx, id, func(c *change) error {
		i := c.inc
		if i.Owner == u {
			return nil
		}
		if !i.Status.Open() {
			return care.Refuse(care.ErrTransition, "incident %s is %s", i.No, i.Status)
		}
		if i.Owner != "" && !takeOver {
			return care.Refuse(care.ErrTaken, "incident %s is taken by another operator", i.No)
		}
		from := i.Owner
		i.Owner = u
		i.Claim++
		i.Unattended = false
		if i.AnsweredAt.IsZero() {
			i.AnsweredAt = c.now
		}
		if i.Status == Raised || i.Status == Ringing {
			if err := i.move(Answered); err != nil {
				return err
			}
		}
		c.fact(AnsweredEvent, operator(u), map[string]any{"claim": i.Claim, "taken_over": from != ""})
		return c.endTasks(u, TaskUnanswered)
	})
}

// endTasks closes the incident's open tasks of some kinds, or all when none is named.
func (c *change) endTasks(u care.UserID, kinds ...string) error {
	tasks, err := c.tx.OpenTasksOf(c.inc.ID)
	if err != nil {
		return err
	}
	for _, t := range tasks {
		if len(kinds) > 0 && !slices.Contains(kinds, t.Kind) {
			continue
		}
		was := t.Version
		t.Open, t.DoneBy, t.UpdatedAt = false, u, c.now
		t.Version++
		if err := c.tx.SaveTask(t, was); err != nil {
			return err
		}
		c.events = append(c.events, taskFact(TaskDone, t, operator(u), c.now))
	}
	return nil
}

// Ringing notes that operators are being rung for it; who else has moved it is no error.
func (b *Board) Ringing(ctx context.Context, id care.IncidentID) error {
	_, err := b.change(ctx, id, func(c *change) error {
		if c.inc.Status != Raised {
			return nil
		}
		if err := c.inc.move(Ringing); err != nil {
			return err
		}
		c.fact(RingingEvent, "system", nil)
		return nil
	})
	return err
}

// AttachCall joins a call to an incident.
func (b *Board) AttachCall(ctx context.Context, id care.IncidentID, call care.CallID, actor string) error {
	_, err := b.change(ctx, id, func(c *change) error {
		c.call(call, actor)
		return nil
	})
	return err
}

// OpenIncidentOf finds the open incident of an elder or a device.
func (b *Board) OpenIncidentOf(ctx context.Context, elder care.ElderID, device care.DeviceID) (care.IncidentID, bool, error) {
	for _, s := range subjects(care.OpenRequest{ElderID: elder, DeviceID: device}) {
		if id, found, err := b.store.OpenIncidentOf(ctx, s); found || err != nil {
			return id, found, err
		}
	}
	return "", false, nil
}

// Classify sets kinds and priority as the operator heard them, and the elder when he
// was unknown.
func (b *Board) Classify(ctx context.Context, id care.IncidentID, u care.UserID, claim int64, kinds []care.Kind, p care.Priority, elder care.ElderID) (Incident, error) {
	return b.owned(ctx, id, u, claim, func(c *change) error {
		if p < care.P1 || p > care.P4 {
			return care.Invalid("priority", "%d is not 1 to 4", p)
		}
		if len(kinds) > 0 {
			c.inc.Kinds = kinds
		}
		c.inc.Priority = p
		if elder != "" {
			c.inc.ElderID = elder
			if err := c.takeSubjects(); err != nil {
				return err
			}
		}
		c.fact(ClassifiedEvent, operator(u), map[string]any{"kinds": c.inc.Kinds})
		return nil
	})
}

// owned is change for a command that only the owner may give.
func (b *Board) owned(ctx context.Context, id care.IncidentID, u care.UserID, claim int64, f func(c *change) error) (Incident, error) {
	return b.change(ctx, id, func(c *change) error {
		if c.inc.Owner != u || (claim != 0 && claim != c.inc.Claim) {
			return care.Refuse(care.ErrTaken, "incident %s is not yours; take it first", c.inc.No)
		}
		return f(c)
	})
}

// Note adds a line of text to the timeline. The text is kept in the store only:
// what goes to the bus is that there is a note.
func (b *Board) Note(ctx context.Context, id care.IncidentID, u care.UserID, text string) (Incident, error) {
	text = strings.TrimSpace(text)
	if text == "" || len([]rune(text)) > noteLimit {
		return Incident{}, care.Invalid("text", "must have 1 to %d characters", noteLimit)
	}
	return b.change(ctx, id, func(c *change) error {
		if len(c.inc.Notes) >= notesLimit {
			return care.Invalid("text", "the incident has %d notes already", notesLimit)
		}
		c.inc.Notes = append(c.inc.Notes, Note{At: c.now, By: u, Text: text})
		c.fact(NotedEvent, operator(u), map[string]any{"note": len(c.inc.Notes)})
		return nil
	})
}

// Dispatch asks for a responder: those named, in this order, or the best. A search
// that is open already is steered, not doubled; who is on the way gets company.
func (b *Board) Dispatch(ctx context.Context, id care.IncidentID, u care.UserID, claim int64, key string, only []care.ResponderID) (assign.Assignment, error) {
	if key == "" {
		return assign.Assignment{}, care.Invalid("key", "is empty")
	}
	var a assign.Assignment
	var made assign.Made
	err := b.store.Change(ctx, func(tx Tx) error {
		made = assign.Made{}
		inc, err := tx.Incident(id)
		if err != nil {
			return err
		}
		if inc.Owner != u || (claim != 0 && claim != inc.Claim) {
			return care.Refuse(care.ErrTaken, "incident %s is not yours; take it first", inc.No)
		}
		if !inc.Status.Open() || inc.Status == Resolved {
			return care.Refuse(care.ErrTransition, "incident %s is %s", inc.No, inc.Status)
		}
		a, err = b.engine.RequestIn(tx, b.need(inc, "op:"+string(u)+":"+key, only, nil, operator(u)), &made)
		return err
	})
	if err == nil {
		b.engine.Committed(made)
	}
	return a, err
}

// Withdraw cancels an assignment of the incident.
func (b *Board) Withdraw(ctx context.Context, id care.AssignmentID, u care.UserID, reason string) (assign.Assignment, error) {
	if strings.TrimSpace(reason) == "" {
		return assign.Assignment{}, care.Invalid("reason", "is empty; a person's reason is needed")
	}
	return b.engine.Cancel(ctx, id, operator(u), reason)
}

// Resolve says that the elder was seen safe, or handed over, by a named person.
// Offers that are still out are withdrawn.
func (b *Board) Resolve(ctx context.Context, id care.IncidentID, u care.UserID, claim int64, how string) (Incident, error) {
	var made assign.Made
	inc, err := b.owned(ctx, id, u, claim, func(c *change) error {
		made = assign.Made{}
		if c.inc.Status == Resolved {
			return nil
		}
		if err := c.inc.move(Resolved); err != nil {
			return err
		}
		c.inc.ResolvedAt = c.now
		c.fact(ResolvedEvent, operator(u), map[string]any{"how": how})
		if err := c.save(); err != nil {
			return err
		}
		return b.engine.CancelIn(c.tx, "incident", string(id), operator(u), "resolved", &made)
	})
	if err == nil {
		b.engine.Committed(made)
	}
	return inc, err
}

// Close ends an incident, with its disposition, by a named person. A machine never
// does. It must be resolved first.
func (b *Board) Close(ctx context.Context, id care.IncidentID, u care.UserID, claim int64, end Closing) (Incident, error) {
	if !slices.Contains(Outcomes, end.Outcome) {
		return Incident{}, care.Invalid("outcome", "%q is not one of %s", end.Outcome, strings.Join(Outcomes, ", "))
	}
	if len([]rune(end.Note)) > noteLimit {
		return Incident{}, care.Invalid("note", "is over %d characters", noteLimit)
	}
	return b.owned(ctx, id, u, claim, func(c *change) error {
		if c.inc.Status == Closed {
			return nil
		}
		if err := c.inc.move(Closed); err != nil {
			return err
		}
		c.inc.ClosedAt, c.inc.ClosedBy, c.inc.Closing = c.now, u, &end
		c.fact(ClosedEvent, operator(u), map[string]any{"outcome": end.Outcome, "false_class": end.FalseClass})
		if err := c.endTasks(u); err != nil {
			return err
		}
		return c.tx.DropSubjects(id)
	})
}

// Reopen brings a resolved or closed incident back to its operator.
func (b *Board) Reopen(ctx context.Context, id care.IncidentID, u care.UserID, reason string) (Incident, error) {
	return b.change(ctx, id, func(c *change) error {
		if err := c.inc.move(Answered); err != nil {
			return err
		}
		c.inc.Owner = u
		c.inc.Claim++
		c.fact(ReopenedEvent, operator(u), map[string]any{"reason": reason})
		return c.takeSubjects()
	})
}

// takeSubjects makes the incident the one that further presses join; a subject that
// has another open incident keeps it.
func (c *change) takeSubjects() error {
	for _, s := range subjects(care.OpenRequest{ElderID: c.inc.ElderID, DeviceID: c.inc.DeviceID}) {
		if _, err := c.tx.TakeSubject(s, c.inc.ID); err != nil {
			return err
		}
	}
	return nil
}

// Merge puts an incident into another: its calls and presses go there, its offers
// are withdrawn.
func (b *Board) Merge(ctx context.Context, id, into care.IncidentID, u care.UserID) (Incident, error) {
	if id == into {
		return Incident{}, care.Invalid("into", "is the incident itself")
	}
	var made assign.Made
	inc, err := b.change(ctx, id, func(c *change) error {
		made = assign.Made{}
		target, err := c.tx.Incident(into)
		if err != nil {
			return err
		}
		if !target.Status.Open() {
			return care.Refuse(care.ErrTransition, "incident %s is %s", target.No, target.Status)
		}
		if err := c.inc.move(Merged); err != nil {
			return err
		}
		c.inc.MergedInto = into
		c.fact(MergedEvent, operator(u), map[string]any{"into": into})
		if err := c.endTasks(u); err != nil {
			return err
		}
		if err := c.save(); err != nil {
			return err
		}
		t := b.begin(c.tx, &target, target.Version)
		target.Presses += c.inc.Presses
		for _, call := range c.inc.CallIDs {
			t.call(call, operator(u))
		}
		t.fact(JoinedEvent, operator(u), map[string]any{"merged_from": id, "presses": target.Presses})
		if err := t.save(); err != nil {
			return err
		}
		if err := c.tx.DropSubjects(id); err != nil {
			return err
		}
		return b.engine.CancelIn(c.tx, "incident", string(id), operator(u), "merged", &made)
	})
	if err == nil {
		b.engine.Committed(made)
	}
	return inc, err
}
