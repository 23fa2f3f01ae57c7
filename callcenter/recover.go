package callcenter

import (
	"context"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"go.uber.org/zap"

	"anling/callcenter/leg"
	"anling/care"
	"anling/event"
)

const (
	recoverLot   = 500
	recoverAgain = time.Second
)

// recover ends the records of calls that an earlier life of the server left live:
// their callers are owed a call, the lost SOS calls at once.
func (s *Service) recover(ctx context.Context) {
	s.mu.Lock()
	epoch := s.epoch
	s.mu.Unlock()
	if epoch == 0 {
		s.log.Error("calls of an earlier life are not looked for: the store did not answer at the start")
		return
	}
	lost := 0
	for {
		calls, err := s.o.Store.LiveCalls(ctx, epoch, recoverLot)
		if err == nil {
			for _, c := range calls {
				if err = s.recoverCall(ctx, c); err != nil {
					break
				}
				lost++
			}
		}
		if err == nil && len(calls) < recoverLot {
			break
		}
		if err == nil {
			continue
		}
		s.log.Error("recover calls of an earlier life", zap.Error(err))
		select {
		case <-ctx.Done():
			return
		case <-time.After(recoverAgain):
		}
	}
	s.announce(NodeRecovered, map[string]any{"epoch": epoch, "lost": lost})
	if lost > 0 {
		s.log.Warn("calls were lost by a crash; their callers are rung back", zap.Int("calls", lost))
	}
}

func (s *Service) recoverCall(ctx context.Context, c Call) error {
	now := s.now()
	number := c.From
	if c.Direction == leg.Out {
		number = c.To
	}
	result, facts := "lost", []event.Type{CallLost, CallEnded}
	var also func(Tx) error
	switch {
	case c.CallbackID != "":
		also = s.attempted(c.CallbackID, Attempt{At: now, By: c.OperatorID, CallID: c.ID, Result: "crash"}, now)
	case c.Purpose == ForIncident && c.OperatorID == "":
		// The incident's own ladder asks again.
		result, facts = "cancelled", facts[1:]
	default:
		also = s.lost(c, number, "crash", now)
	}
	once, cancel := context.WithTimeout(ctx, writeLimit)
	defer cancel()
	return s.o.Store.Change(once, func(tx Tx) error {
		old, found, err := tx.Call(c.ID)
		if err != nil || !found || !old.Live() {
			return err
		}
		was := old.Version
		old.State, old.Cause, old.Result, old.EndedAt, old.Offered = Ended, leg.Fault, result, now, nil
		facts := facts
		if old.Recording != nil && old.Recording.State == "recording" {
			var kept event.Type
			old.Recording, kept = s.repaired(c.ID)
			facts = append(slices.Clone(facts), kept)
		}
		var events []event.Event
		for _, t := range facts {
			old.Version++
			events = append(events, event.Event{ID: uuid.Must(uuid.NewV7()).String(), Type: t, V: 1, Agg: "call", AggID: string(c.ID), Seq: old.Version,
				IncidentID: string(c.IncidentID), At: now, Actor: "rule:recovery", Body: event.Body(map[string]any{"reason": "crash", "cause": leg.Fault, "class": c.Class, "result": result})})
		}
		if err := tx.SaveCall(old, was); err != nil {
			return err
		}
		if also != nil {
			if err := also(tx); err != nil {
				return err
			}
		}
		return tx.Append(events...)
	})
}

// repaired is what is left of a recording that a crash interrupted.
func (s *Service) repaired(id care.CallID) (*Recording, event.Type) {
	for _, r := range s.o.Repaired {
		if strings.HasPrefix(filepath.Base(r.Path), string(id)) {
			return &Recording{State: "saved", Path: r.Path, SHA256: r.SHA256, Seconds: r.Seconds, Bytes: r.Bytes, Gaps: r.Gaps + 1}, RecordingSaved
		}
	}
	return &Recording{State: "failed"}, RecordingFailed
}

// announce records a fact that belongs to no call. It is news, not work: when the
// store does not take it, it is in the log.
func (s *Service) announce(t event.Type, body map[string]any) {
	id := uuid.Must(uuid.NewV7()).String()
	e := event.Event{ID: id, Type: t, V: 1, Agg: t.Noun(), AggID: id, Seq: 1, At: s.now(), Actor: "system", Body: event.Body(body)}
	s.work.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), writeLimit)
		defer cancel()
		if err := s.o.Store.Change(ctx, func(tx Tx) error { return tx.Append(e) }); err != nil {
			s.log.Warn("record a fact", zap.String("type", string(t)), zap.Error(err))
		}
	})
}
