package dispatch

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"

	"anling/care"
	"anling/dispatch/assign"
	"anling/event"
)

// HandleTimer fires the deadline of an incident: the ladder while nobody answers,
// a task for what lasts too long. The incident is saved with its next deadline in
// the same change.
func (b *Board) HandleTimer(ctx context.Context, t event.Timer) error {
	climbed, offer := false, false
	inc, err := b.change(ctx, care.IncidentID(t.AggID), func(c *change) error {
		climbed, offer = false, false
		if err := c.tx.Fire(t); err != nil {
			return err
		}
		i := c.inc
		switch {
		case !i.Status.Open():
			return nil
		case i.Status == Resolved:
			c.fact(EscalatedEvent, "rule:clock", map[string]any{"what": "wrap_up"})
			return c.task(TaskWrapUp, string(i.ID), Task{Priority: care.P3})
		case i.offerable(b.opts.Ladder, c.now):
			offer = true
			return c.save()
		case i.Owner == "":
			climbed = true
			return c.climb()
		default:
			c.fact(EscalatedEvent, "rule:clock", map[string]any{"what": "review"})
			return c.task(TaskReview, string(i.ID), Task{Priority: i.Priority})
		}
	})
	switch {
	case err != nil:
		return err
	case offer:
		b.ring(ctx, inc)
		return b.offerFirst(ctx, inc)
	case !climbed:
		return nil
	}
	b.ring(ctx, inc)
	if inc.Rung < searchFrom {
		return nil
	}
	return b.search(ctx, inc)
}

// offerAgain is when the first offers of an incident are looked after, should they not
// be made right after it was opened.
const offerAgain = 2 * time.Second

// offerable tells whether the first offers are still due at a time: from the first rung
// on the ladder goes on without them.
func (i *Incident) offerable(l Ladder, at time.Time) bool {
	return i.Unoffered && at.Before(i.OpenedAt.Add(l.Rungs[0]))
}

// offerFirst makes the first offers of an incident, once. What somebody waits for goes
// before it.
func (b *Board) offerFirst(ctx context.Context, known Incident) error {
	need := func(i Incident) care.AssignRequest {
		return b.need(i, "first:"+string(i.ID), nil, nil, "rule:offer_at_once")
	}
	ahead := b.engine.Ahead(need(known))
	var made assign.Made
	err := b.store.Change(event.Behind(ctx), func(tx Tx) error {
		made = ahead
		inc, err := tx.Incident(known.ID)
		if err != nil || !inc.Unoffered {
			return err
		}
		was := inc.Version
		inc.Unoffered = false
		inc.Version++
		if err := tx.SaveIncident(inc, was); err != nil {
			return err
		}
		if inc.Status.Open() && inc.Status != Resolved {
			if _, err := b.engine.RequestIn(tx, need(inc), &made); err != nil {
				return err
			}
		}
		moved, err := tx.Incident(inc.ID)
		if err != nil || moved.Version != inc.Version {
			return err
		}
		return b.begin(tx, &moved, moved.Version).save() // its deadline was the one of these offers
	})
	if err == nil {
		b.engine.Committed(made)
	}
	return err
}

// searchFrom is the rung at which responders are asked without an operator, when
// nobody was asked yet.
const searchFrom = 3

// search asks for a responder once for an incident that nobody answers. Who was asked
// for already, by the policy or by an operator, is not asked for again.
func (b *Board) search(ctx context.Context, i Incident) error {
	if i.place().Point.IsZero() || i.Status == Attending {
		return nil
	}
	need := b.need(i, "ladder:"+string(i.ID), nil, nil, "rule:ladder")
	ahead := b.engine.Ahead(need)
	var made assign.Made
	err := b.store.Change(ctx, func(tx Tx) error {
		made = ahead
		all, err := tx.AssignmentsFor("incident", string(i.ID))
		if err != nil || len(all) > 0 {
			return err
		}
		_, err = b.engine.RequestIn(tx, need, &made)
		return err
	})
	if err == nil {
		b.engine.Committed(made)
	}
	return err
}

// climb goes one rung up: operators are rung again; from the third on it is flagged
// unattended and the search begins if none was asked for; at the last one it is a task
// on every screen, and the ladder goes on ringing.
func (c *change) climb() error {
	i := c.inc
	i.Rung++
	last := i.Rung >= len(c.b.opts.Ladder.Rungs)
	if i.Rung >= searchFrom || last {
		i.Unattended = true
	}
	c.fact(EscalatedEvent, "rule:ladder", map[string]any{"what": "unanswered", "rung": i.Rung})
	if !last {
		return nil
	}
	return c.task(TaskUnanswered, string(i.ID), Task{Priority: i.Priority})
}

// AssignmentMoved implements assign.Owner: the incident follows its assignments.
func (b *Board) AssignmentMoved(tx assign.Tx, a assign.Assignment, now time.Time) error {
	dtx, ok := tx.(Tx)
	if !ok {
		return errors.New("the store's change does not know incidents")
	}
	inc, err := dtx.Incident(care.IncidentID(a.ForID))
	if err != nil {
		return err
	}
	if !inc.Status.Open() || inc.Status == Resolved {
		return nil
	}
	c := b.begin(dtx, &inc, inc.Version)
	switch {
	case a.Status.Underway():
		if inc.Status != Attending {
			if err := inc.move(Attending); err != nil {
				return err
			}
			c.fact(AttendingEvent, "system", map[string]any{"assignment_id": a.ID})
		}
	case a.Status == assign.Escalated:
		c.fact(EscalatedEvent, "rule:ladder", map[string]any{"what": "no_responder", "assignment_id": a.ID})
		if err := c.task(TaskNoResponder, string(inc.ID), Task{AssignmentID: a.ID, Priority: inc.Priority}); err != nil {
			return err
		}
	case a.Status == assign.Offered || a.Status == assign.Searching:
		if CanMove(inc.Status, Dispatching) && !c.othersUnderway(a) {
			if err := inc.move(Dispatching); err != nil {
				return err
			}
			c.fact(DispatchedEvent, "system", map[string]any{"assignment_id": a.ID})
		}
	}
	if len(c.events) == 0 {
		return nil
	}
	return c.save()
}

// othersUnderway tells whether another responder is on the way for the incident.
func (c *change) othersUnderway(but assign.Assignment) bool {
	all, err := c.tx.AssignmentsFor(but.For, but.ForID)
	if err != nil {
		return false // the next read of the same change will tell the error
	}
	for _, a := range all {
		if a.ID != but.ID && a.Status.Underway() {
			return true
		}
	}
	return false
}

// AssignmentLate implements assign.Owner: a clock of the way ran out.
func (b *Board) AssignmentLate(tx assign.Tx, a assign.Assignment, what string, now time.Time) error {
	dtx, ok := tx.(Tx)
	if !ok {
		return errors.New("the store's change does not know incidents")
	}
	return b.saveTask(dtx, TaskLate, what+"-"+string(a.ID), Task{IncidentID: care.IncidentID(a.ForID), AssignmentID: a.ID, ElderID: a.ElderID, Priority: a.Priority}, now)
}

const checkEvery = 2 * time.Second

// Run watches the promise that nobody is forgotten until ctx ends: an open incident
// without deadline or task is repaired, counted and loudly logged.
func (b *Board) Run(ctx context.Context) error {
	tick := time.NewTicker(checkEvery)
	defer tick.Stop()
	for {
		if _, err := b.CheckInvariant(ctx); err != nil && ctx.Err() == nil {
			b.log.Error("check of open incidents", zap.Error(err))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// CheckInvariant returns the open incidents that own neither an armed deadline nor
// an open task, and arms a deadline for each.
func (b *Board) CheckInvariant(ctx context.Context) ([]care.IncidentID, error) {
	ids, err := b.store.Unwatched(ctx)
	if err != nil {
		return nil, err
	}
	open, err := b.store.OpenIncidents(ctx)
	if err != nil {
		return nil, err
	}
	b.openGauge.Set(float64(open))
	b.unwatched.Set(float64(len(ids)))
	for _, id := range ids {
		b.log.Error("an open incident had neither deadline nor task", zap.String("incident_id", string(id)))
		_, err := b.change(ctx, id, func(c *change) error {
			c.inc.Deadline = time.Time{} // whatever is noted, none is armed
			c.fact(EscalatedEvent, "rule:invariant", map[string]any{"what": "unwatched"})
			return nil
		})
		if err != nil {
			return ids, err
		}
	}
	return ids, nil
}
