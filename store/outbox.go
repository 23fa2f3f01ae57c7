package store

import (
	"context"
	"encoding/json"
	"fmt"

	"anling/bus"
	"anling/event"
	"anling/store/db"
)

// Outbox is the queue of facts that the bus relays.
type Outbox struct{ s *Store }

var _ bus.Outbox = Outbox{}

// Outbox returns the queue of facts.
func (s *Store) Outbox() Outbox { return Outbox{s} }

// Waiting implements bus.Outbox.
func (o Outbox) Waiting(ctx context.Context, limit int) ([]bus.Outgoing, error) {
	rows, err := o.s.read.OutboxWaiting(ctx, int32(limit))
	if err != nil {
		return nil, fmt.Errorf("outbox: %w", err)
	}
	out := make([]bus.Outgoing, len(rows))
	for i, r := range rows {
		e := eventOf(r.Event)
		body, err := json.Marshal(e)
		if err != nil {
			return nil, fmt.Errorf("outbox: event %s: %w", e.ID, err)
		}
		out[i] = bus.Outgoing{Pos: r.Pos, EventID: e.ID, Subject: e.Subject("evt"), Body: body}
	}
	return out, nil
}

// MarkSent implements bus.Outbox: the rows go.
func (o Outbox) MarkSent(ctx context.Context, rows []bus.Outgoing) error {
	return o.s.Write(ctx, Normal, func(tx *Tx) error {
		if tx.alone && len(rows) > 0 {
			// With one writer positions are committed in order: between the first and
			// the last that were read lies nothing that was not.
			if err := tx.DeleteOutboxRange(tx.ctx, rows[0].Pos, rows[len(rows)-1].Pos); err != nil {
				return fmt.Errorf("outbox rows %d to %d: %w", rows[0].Pos, rows[len(rows)-1].Pos, err)
			}
			return nil
		}
		for _, r := range rows {
			if err := tx.DeleteOutbox(tx.ctx, r.Pos); err != nil {
				return fmt.Errorf("outbox row %d: %w", r.Pos, err)
			}
		}
		return nil
	})
}

// Wake implements bus.Outbox.
func (o Outbox) Wake() <-chan struct{} { return o.s.wake }

// Timeline is the story of an incident: its own events and those of its alarms,
// calls, offers and assignments, oldest first.
func (s *Store) Timeline(ctx context.Context, incident string, limit int) ([]event.Event, error) {
	rows, err := s.read.IncidentEvents(ctx, incident, int32(limit))
	if err != nil {
		return nil, fmt.Errorf("timeline of %s: %w", incident, err)
	}
	return eventsOf(rows), nil
}

func eventsOf(rows []db.Event) []event.Event {
	all := make([]event.Event, len(rows))
	for i, r := range rows {
		all[i] = eventOf(r)
	}
	return all
}

func eventOf(r db.Event) event.Event {
	return event.Event{ID: r.ID, Type: event.Type(r.Type), V: int(r.V), Agg: r.Agg, AggID: r.AggID, Seq: r.Seq,
		IncidentID: r.IncidentID, ProviderID: r.ProviderID, At: at(r.AtUs), Actor: r.Actor, Body: []byte(r.Body)}
}
