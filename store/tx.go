package store

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"anling/event"
	"anling/store/db"
)

// Tx is a transaction of the writer. It carries all queries and is the ledger of
// every room.
type Tx struct {
	*db.Queries
	raw    db.DBTX // for statements whose length depends on the data
	ctx    context.Context
	now    time.Time
	alone  bool // no other transaction can be open: reading for a change needs no lock
	events []event.Event
	timers []event.Timer
}

var _ event.Ledger = (*Tx)(nil)

// Context is the writer's own: a caller that gives up does not end a statement.
func (tx *Tx) Context() context.Context { return tx.ctx }

// TakeKey implements event.Ledger. It always writes, so that a repeat waits for
// the same durability as the first.
func (tx *Tx) TakeKey(scope, key, ref, digest string) (event.Taken, error) {
	row, err := tx.Queries.TakeKey(tx.ctx, db.TakeKeyParams{Scope: scope, Ikey: key, RefID: ref, Digest: digest, FirstUs: us(tx.now)})
	if err != nil {
		return event.Taken{}, fmt.Errorf("take key in %s: %w", scope, err)
	}
	taken := event.Taken{Repeat: row.Hits > 1, Ref: row.RefID, Digest: row.Digest, Hits: row.Hits, First: at(row.FirstUs)}
	if row.Reply != "" {
		taken.Reply = json.RawMessage(row.Reply)
	}
	return taken, nil
}

// SetReply implements event.Ledger.
func (tx *Tx) SetReply(scope, key string, reply json.RawMessage) error {
	if err := tx.Queries.SetReply(tx.ctx, scope, key, string(reply)); err != nil {
		return fmt.Errorf("set reply in %s: %w", scope, err)
	}
	return nil
}

// Append implements event.Ledger.
func (tx *Tx) Append(events ...event.Event) error {
	for _, e := range events {
		if e.Body == nil {
			e.Body = json.RawMessage("{}")
		}
		err := tx.InsertEvent(tx.ctx, db.InsertEventParams{
			AggID: e.AggID, Seq: e.Seq, ID: e.ID, Type: string(e.Type), V: int64(e.V), Agg: e.Agg,
			IncidentID: e.IncidentID, ProviderID: e.ProviderID, AtUs: us(e.At), Actor: e.Actor, Body: string(e.Body),
		})
		if err != nil && isUnique(err) {
			return fmt.Errorf("event %d of %s %s: %w", e.Seq, e.Agg, e.AggID, event.ErrConflict)
		}
		if err != nil {
			return fmt.Errorf("append %s of %s: %w", e.Type, e.AggID, err)
		}
		if err := tx.InsertOutbox(tx.ctx, e.AggID, e.Seq, us(tx.now)); err != nil {
			return fmt.Errorf("outbox of %s: %w", e.Type, err)
		}
		tx.events = append(tx.events, e)
	}
	return nil
}

// Arm implements event.Ledger.
func (tx *Tx) Arm(t event.Timer) error {
	version, err := tx.ArmTimer(tx.ctx, db.ArmTimerParams{AggID: t.AggID, Kind: t.Kind, DueUs: us(t.Due), Body: string(t.Body)})
	if err != nil {
		return fmt.Errorf("arm %s of %s: %w", t.Kind, t.AggID, err)
	}
	t.Version = version
	tx.timers = append(tx.timers, t)
	return nil
}

// Disarm implements event.Ledger.
func (tx *Tx) Disarm(aggID, kind string) error {
	if err := tx.DisarmTimer(tx.ctx, aggID, kind); err != nil {
		return fmt.Errorf("disarm %s of %s: %w", kind, aggID, err)
	}
	return nil
}

// Fire implements event.Ledger.
func (tx *Tx) Fire(t event.Timer) error {
	n, err := tx.FireTimer(tx.ctx, t.AggID, t.Kind, t.Version)
	if err != nil {
		return fmt.Errorf("fire %s of %s: %w", t.Kind, t.AggID, err)
	}
	if n == 0 {
		return fmt.Errorf("%s of %s: %w", t.Kind, t.AggID, event.ErrStale)
	}
	return nil
}

// us is a time as the schema keeps it; the zero time is 0.
func us(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

// at is the inverse of us.
func at(us int64) time.Time {
	if us == 0 {
		return time.Time{}
	}
	return time.UnixMicro(us).UTC()
}

// conflict turns "no row changed" of a compare-and-set into event.ErrConflict.
func conflict(n int64, err error, what, id string) error {
	if err != nil && isUnique(err) || (err == nil && n == 0) {
		return fmt.Errorf("%s %s: %w", what, id, event.ErrConflict)
	}
	if err != nil {
		return fmt.Errorf("save %s %s: %w", what, id, err)
	}
	return nil
}
