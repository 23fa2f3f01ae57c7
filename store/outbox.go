package store

import (
	"context"
	"database/sql"
	"fmt"
	"time"

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
		out[i] = bus.Outgoing{Pos: r.Pos, EventID: r.EventID, Subject: r.Subject, Body: []byte(r.Body)}
	}
	return out, nil
}

// MarkSent implements bus.Outbox.
func (o Outbox) MarkSent(ctx context.Context, rows []bus.Outgoing) error {
	return o.s.Write(ctx, Normal, func(tx *Tx) error {
		if tx.alone && len(rows) > 1 {
			// With one writer positions are committed in order: between the first and
			// the last that were read lies nothing that was not.
			if err := tx.MarkOutboxRangeSent(tx.ctx, rows[0].Pos, rows[len(rows)-1].Pos, nullUS(tx.now)); err != nil {
				return fmt.Errorf("mark outbox rows %d to %d: %w", rows[0].Pos, rows[len(rows)-1].Pos, err)
			}
			return nil
		}
		for _, r := range rows {
			if err := tx.MarkOutboxSent(tx.ctx, r.Pos, nullUS(tx.now)); err != nil {
				return fmt.Errorf("mark outbox row %d: %w", r.Pos, err)
			}
		}
		return nil
	})
}

// Wake implements bus.Outbox.
func (o Outbox) Wake() <-chan struct{} { return o.s.wake }

func nullUS(t time.Time) sql.NullInt64 { return sql.NullInt64{Int64: us(t), Valid: true} }

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
		all[i] = event.Event{ID: r.ID, Type: event.Type(r.Type), V: int(r.V), Agg: r.Agg, AggID: r.AggID, Seq: r.Seq,
			IncidentID: r.IncidentID, ProviderID: r.ProviderID, At: at(r.AtUs), Actor: r.Actor, Body: []byte(r.Body)}
	}
	return all
}
