package dispatch

import (
	"context"
	"strings"

	"anling/care"
	"anling/dispatch/assign"
	"anling/event"
)

// Detail is an incident with all that belongs to it.
type Detail struct {
	Incident    Incident
	Assignments []assign.Assignment
	Offers      []assign.Offer
	Alarms      []AlarmRow
	Timeline    []event.Event
}

const timelineLimit = 1000

// Incidents lists: status "" recent ones, "open" the open ones in the order of their
// urgency, or those of one status.
func (b *Board) Incidents(ctx context.Context, status string, limit int) ([]Incident, error) {
	return b.store.Incidents(ctx, status, limit)
}

// OpenVersions are the versions of the open incidents, the most urgent first.
func (b *Board) OpenVersions(ctx context.Context, limit int) (map[care.IncidentID]int64, error) {
	return b.store.OpenVersions(ctx, limit)
}

// IncidentsOfElder lists the latest of an elder, newest first.
func (b *Board) IncidentsOfElder(ctx context.Context, id care.ElderID, limit int) ([]Incident, error) {
	return b.store.IncidentsOfElder(ctx, id, limit)
}

// Record reads one incident alone.
func (b *Board) Record(ctx context.Context, id care.IncidentID) (Incident, error) {
	return b.store.Incident(ctx, id)
}

// Incident reads one with its assignments, offers, alarms and timeline.
func (b *Board) Incident(ctx context.Context, id care.IncidentID) (Detail, error) {
	inc, err := b.store.Incident(ctx, id)
	if err != nil {
		return Detail{}, err
	}
	d := Detail{Incident: inc}
	if d.Assignments, err = b.store.AssignmentsFor(ctx, "incident", string(id)); err != nil {
		return Detail{}, err
	}
	for _, a := range d.Assignments {
		offers, err := b.store.OffersOf(ctx, a.ID)
		if err != nil {
			return Detail{}, err
		}
		d.Offers = append(d.Offers, offers...)
	}
	if d.Alarms, err = b.store.AlarmsOf(ctx, id); err != nil {
		return Detail{}, err
	}
	d.Timeline, err = b.store.Timeline(ctx, string(id), timelineLimit)
	return d, err
}

// Recommend ranks responders for an incident, with the reason for each.
func (b *Board) Recommend(ctx context.Context, id care.IncidentID, limit int) ([]assign.Candidate, error) {
	inc, err := b.store.Incident(ctx, id)
	if err != nil {
		return nil, err
	}
	n := b.need(inc, "", nil, nil, "")
	return b.engine.Recommend(assign.Query{Place: n.Place.Point, ElderID: n.ElderID, Skills: n.Skills, Plan: n.Plan, Limit: limit}), nil
}

// Alarms lists alarms stored after a position, oldest first.
func (b *Board) Alarms(ctx context.Context, after int64, limit int) ([]AlarmRow, error) {
	return b.store.Alarms(ctx, after, limit)
}

// Tasks lists the open tasks, oldest first.
func (b *Board) Tasks(ctx context.Context) ([]Task, error) { return b.store.Tasks(ctx, 500) }

// TakeTask makes u the one who does a task.
func (b *Board) TakeTask(ctx context.Context, id string, u care.UserID) (Task, error) {
	return b.changeTask(ctx, id, func(t *Task) error {
		if t.TakenBy != "" && t.TakenBy != u {
			return care.Refuse(care.ErrTaken, "the task is taken by another operator")
		}
		t.TakenBy = u
		return nil
	}, TaskTaken, u)
}

// DoneTask ends a task with a note of what was done.
func (b *Board) DoneTask(ctx context.Context, id string, u care.UserID, note string) (Task, error) {
	if strings.TrimSpace(note) == "" || len([]rune(note)) > noteLimit {
		return Task{}, care.Invalid("note", "must have 1 to %d characters", noteLimit)
	}
	return b.changeTask(ctx, id, func(t *Task) error {
		t.Open, t.DoneBy, t.Note = false, u, note
		return nil
	}, TaskDone, u)
}

func (b *Board) changeTask(ctx context.Context, id string, f func(*Task) error, kind event.Type, u care.UserID) (Task, error) {
	var t Task
	err := b.store.Change(ctx, func(tx Tx) (err error) {
		known := false
		if t, known, err = tx.Task(id); err != nil {
			return err
		}
		if !known {
			return care.NotFound("task", id)
		}
		if !t.Open {
			return nil
		}
		was := t.Version
		if err := f(&t); err != nil {
			return err
		}
		t.UpdatedAt = b.now()
		t.Version++
		if err := tx.SaveTask(t, was); err != nil {
			return err
		}
		return tx.Append(taskFact(kind, t, operator(u), t.UpdatedAt))
	})
	return t, err
}
