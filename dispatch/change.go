package dispatch

import (
	"context"
	"slices"
	"time"

	"github.com/google/uuid"

	"anling/care"
	"anling/event"
)

// change is one change of one incident: its facts, its deadline, its row.
type change struct {
	b      *Board
	tx     Tx
	inc    *Incident
	was    int64
	now    time.Time
	events []event.Event
}

func (b *Board) begin(tx Tx, inc *Incident, was int64) *change {
	return &change{b: b, tx: tx, inc: inc, was: was, now: b.now()}
}

func (c *change) fact(t event.Type, actor string, body map[string]any) {
	if body == nil {
		body = map[string]any{}
	}
	body["status"], body["priority"] = c.inc.Status, c.inc.Priority
	c.inc.Version++
	c.events = append(c.events, event.Event{ID: uuid.Must(uuid.NewV7()).String(), Type: t, V: 1, Agg: "incident", AggID: string(c.inc.ID), Seq: c.inc.Version,
		IncidentID: string(c.inc.ID), At: c.now, Actor: actor, Body: event.Body(body)})
}

// save writes the incident with its facts and arms the one deadline that its status
// calls for, if it is not armed already. It is the only way to store one, so no open
// incident can be without.
func (c *change) save() error {
	if c.inc.Version == c.was {
		c.inc.Version++
	}
	armed := c.inc.Deadline
	c.inc.Deadline = c.b.deadline(*c.inc, c.now)
	if err := c.tx.SaveIncident(*c.inc, c.was); err != nil {
		return err
	}
	c.was = c.inc.Version
	if err := c.tx.Append(c.events...); err != nil {
		return err
	}
	c.events = nil
	if !c.inc.Status.Open() {
		return c.tx.Disarm(string(c.inc.ID), DeadlineTimer)
	}
	if c.inc.Deadline.Equal(armed) {
		return nil
	}
	return c.tx.Arm(event.Timer{AggID: string(c.inc.ID), Kind: DeadlineTimer, Due: c.inc.Deadline})
}

// deadline is when the next step must have been taken.
func (b *Board) deadline(i Incident, now time.Time) time.Time {
	l := b.opts.Ladder
	switch {
	case !i.Status.Open():
		return time.Time{}
	case i.Status == Resolved:
		if due := i.ResolvedAt.Add(l.WrapUpBy); due.After(now) {
			return due
		}
		return now.Add(l.WrapUpBy)
	case i.offerable(l, now.Add(offerAgain)):
		return now.Add(offerAgain)
	case i.Owner == "":
		if i.Rung < len(l.Rungs) {
			if due := i.OpenedAt.Add(l.Rungs[i.Rung]); due.After(now) {
				return due
			}
		}
		// Beyond the last rung, or after a restart: as far apart as the last two.
		return now.Add(max(5*time.Second, l.Rungs[len(l.Rungs)-1]-l.Rungs[max(0, len(l.Rungs)-2)]))
	case i.Status == Answered || i.Status == Raised || i.Status == Ringing:
		return now.Add(l.AssessBy)
	}
	return now.Add(l.ReviewBy)
}

// call attaches a call to the incident.
func (c *change) call(id care.CallID, actor string) {
	if slices.Contains(c.inc.CallIDs, id) {
		return
	}
	c.inc.CallIDs = append(c.inc.CallIDs, id)
	c.fact(CallEvent, actor, map[string]any{"call_id": id})
}

// task opens a task about the incident, or counts up the one that is open.
func (c *change) task(kind, about string, t Task) error {
	t.IncidentID, t.ElderID, t.DeviceID = c.inc.ID, c.inc.ElderID, c.inc.DeviceID
	return c.b.saveTask(c.tx, kind, about, t, c.now)
}

func (b *Board) saveTask(tx Tx, kind, about string, t Task, now time.Time) error {
	t.ID, t.Kind = kind+"-"+about, kind
	old, known, err := tx.Task(t.ID)
	if err != nil {
		return err
	}
	was := int64(0)
	t.CreatedAt, t.Count = now, 1
	if known {
		was = old.Version
		t.Version, t.CreatedAt = old.Version, old.CreatedAt
		if old.Open {
			t.Count, t.TakenBy = old.Count+1, old.TakenBy
		}
	}
	t.Open, t.UpdatedAt = true, now
	t.Version++
	if err := tx.SaveTask(t, was); err != nil {
		return err
	}
	return tx.Append(taskFact(TaskOpened, t, "system", now))
}

func taskFact(kind event.Type, t Task, actor string, now time.Time) event.Event {
	return event.Event{ID: uuid.Must(uuid.NewV7()).String(), Type: kind, V: 1, Agg: "task", AggID: t.ID, Seq: t.Version,
		IncidentID: string(t.IncidentID), At: now, Actor: actor, Body: event.Body(map[string]any{"kind": t.Kind, "count": t.Count, "priority": t.Priority})}
}

// change runs f over one incident.
func (b *Board) change(ctx context.Context, id care.IncidentID, f func(c *change) error) (Incident, error) {
	var inc Incident
	err := b.store.Change(ctx, func(tx Tx) (err error) {
		if inc, err = tx.Incident(id); err != nil {
			return err
		}
		c := b.begin(tx, &inc, inc.Version)
		if err := f(c); err != nil {
			return err
		}
		if c.inc.Version == c.was && len(c.events) == 0 {
			return nil
		}
		return c.save()
	})
	return inc, err
}
