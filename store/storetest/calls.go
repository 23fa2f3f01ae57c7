package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"anling/callcenter"
	"anling/callcenter/acd"
	"anling/care"
	"anling/event"
	"anling/store"
)

// Calls is the suite of callcenter.Store.
func Calls(t *testing.T, s *store.Store) {
	keep := store.NewCalls(s)
	t.Run("call", func(t *testing.T) { callRows(t, keep) })
	t.Run("epochs", func(t *testing.T) { callEpochs(t, keep) })
	t.Run("call-back", func(t *testing.T) { callBackRows(t, s, keep) })
	t.Run("operator", func(t *testing.T) { operatorRows(t, keep) })
	t.Run("failed change leaves nothing", func(t *testing.T) { callAllOrNothing(t, s, keep) })
}

func changeCalls(t *testing.T, keep *store.Calls, f func(tx callcenter.Tx) error) {
	t.Helper()
	if err := keep.Change(t.Context(), f); err != nil {
		t.Fatal(err)
	}
}

func newCall(from string) callcenter.Call {
	return callcenter.Call{ID: care.NewID[care.CallID](), Direction: "in", Purpose: callcenter.Hotline, State: callcenter.Queued, Class: acd.Urgent, From: from,
		Matches: []callcenter.Match{{Kind: "elder", ElderID: "e1"}}, ElderID: "e1", IncidentID: "i1", ArrivedAt: time.Now().UTC().Truncate(time.Microsecond), Epoch: 1, Version: 1}
}

func callRows(t *testing.T, keep *store.Calls) {
	ctx := t.Context()
	c := newCall("+8613800000001")
	changeCalls(t, keep, func(tx callcenter.Tx) error {
		if _, found, err := tx.Call(c.ID); found || err != nil {
			return fmt.Errorf("a call that is not there: %v, %w", found, err)
		}
		return tx.SaveCall(c, 0)
	})
	got, err := keep.Call(ctx, c.ID)
	if err != nil || got.From != c.From || got.Class != acd.Urgent || !got.ArrivedAt.Equal(c.ArrivedAt) || len(got.Matches) != 1 {
		t.Fatalf("%+v, %v", got, err)
	}
	c.Version, c.State, c.EndedAt = 2, callcenter.Ended, time.Now()
	changeCalls(t, keep, func(tx callcenter.Tx) error {
		old, found, err := tx.Call(c.ID)
		if err != nil || !found || old.Version != 1 {
			return fmt.Errorf("read for a change: %v %d, %w", found, old.Version, err)
		}
		return tx.SaveCall(c, 1)
	})
	err = keep.Change(ctx, func(tx callcenter.Tx) error { return tx.SaveCall(c, 1) })
	if !errors.Is(err, event.ErrConflict) {
		t.Errorf("a stale version was written: %v", err)
	}
	if _, err := keep.Call(ctx, "nobody"); !errors.Is(err, care.ErrNotFound) {
		t.Errorf("unknown: %v", err)
	}
	for what, list := range map[string]func() ([]callcenter.Call, error){
		"recent":   func() ([]callcenter.Call, error) { return keep.RecentCalls(ctx, 10) },
		"incident": func() ([]callcenter.Call, error) { return keep.CallsOfIncident(ctx, "i1", 10) },
		"elder":    func() ([]callcenter.Call, error) { return keep.CallsOfElder(ctx, "e1", 10) },
	} {
		all, err := list()
		if err != nil || !slices.ContainsFunc(all, func(x callcenter.Call) bool { return x.ID == c.ID && x.Version == 2 }) {
			t.Errorf("%s: %v, %v", what, all, err)
		}
	}
	if all, err := keep.CallsOfIncident(ctx, "", 10); err != nil || len(all) != 0 {
		t.Errorf("calls of no incident: %v, %v", all, err)
	}
}

func callEpochs(t *testing.T, keep *store.Calls) {
	var first, second int64
	for _, e := range []*int64{&first, &second} {
		changeCalls(t, keep, func(tx callcenter.Tx) (err error) { *e, err = tx.NextEpoch(); return err })
	}
	if second != first+1 {
		t.Fatalf("epochs %d, %d", first, second)
	}
	old, ended, current := newCall("1"), newCall("2"), newCall("3")
	old.Epoch, ended.Epoch, current.Epoch = first, first, second
	ended.State = callcenter.Ended
	changeCalls(t, keep, func(tx callcenter.Tx) error {
		return errors.Join(tx.SaveCall(old, 0), tx.SaveCall(ended, 0), tx.SaveCall(current, 0))
	})
	live, err := keep.LiveCalls(t.Context(), second, 10)
	if err != nil || len(live) != 1 || live[0].ID != old.ID {
		t.Errorf("left behind: %v, %v", live, err)
	}
}

func callBackRows(t *testing.T, s *store.Store, keep *store.Calls) {
	ctx, now := t.Context(), time.Now()
	number := "+8613800000009"
	cb := callcenter.Callback{ID: uuid.NewString(), State: callcenter.Due, Class: acd.Callback, Number: number, CallIDs: []care.CallID{"c1"}, OpenedAt: now, Version: 1}
	urgent := callcenter.Callback{ID: uuid.NewString(), State: callcenter.Due, Class: acd.SOS, Number: "+8613800000010", OpenedAt: now.Add(time.Second), Version: 1}
	changeCalls(t, keep, func(tx callcenter.Tx) error {
		if _, found, err := tx.CallbackOf(number); found || err != nil {
			return fmt.Errorf("a debt that is not there: %v, %w", found, err)
		}
		return errors.Join(tx.SaveCallback(cb, 0), tx.SaveCallback(urgent, 0), tx.Arm(event.Timer{AggID: cb.ID, Kind: callcenter.CallbackTimer, Due: now.Add(time.Hour)}))
	})
	open, err := keep.Callbacks(ctx, 10)
	if err != nil || len(open) != 2 || open[0].ID != urgent.ID {
		t.Fatalf("open: %v, %v", open, err)
	}
	changeCalls(t, keep, func(tx callcenter.Tx) error {
		got, found, err := tx.CallbackOf(number)
		if err != nil || !found || got.ID != cb.ID {
			return fmt.Errorf("of the number: %v, %w", found, err)
		}
		got.State, got.Version = callcenter.Closed, 2
		return errors.Join(tx.SaveCallback(got, 1), tx.Disarm(cb.ID, callcenter.CallbackTimer))
	})
	got, err := keep.Callback(ctx, cb.ID)
	if err != nil || got.State != callcenter.Closed {
		t.Errorf("%+v, %v", got, err)
	}
	changeCalls(t, keep, func(tx callcenter.Tx) error {
		if _, found, err := tx.CallbackOf(number); found || err != nil {
			return fmt.Errorf("a closed debt is open: %v, %w", found, err)
		}
		_, err := tx.Callback("none")
		if !errors.Is(err, care.ErrNotFound) {
			return fmt.Errorf("unknown: %w", err)
		}
		return nil
	})
	rows, err := s.Read().ArmedTimers(ctx, now.Add(2*time.Hour).UnixMicro(), 10)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rows {
		if r.AggID == cb.ID {
			t.Error("the deadline of a closed debt is armed")
		}
	}
}

func operatorRows(t *testing.T, keep *store.Calls) {
	ctx := t.Context()
	o := callcenter.Operator{UserID: "op1", Name: "王", Account: "1001", Skills: []string{"hakka"}, State: acd.Ready, Epoch: 4, Version: 2}
	changeCalls(t, keep, func(tx callcenter.Tx) error { return tx.SaveOperator(o, 0) })
	// Of two changes from the same version one wins.
	var wins sync.Map
	var work sync.WaitGroup
	for i := range 8 {
		work.Go(func() {
			n := o
			n.Version, n.Epoch = 3, int64(10+i)
			if err := keep.Change(ctx, func(tx callcenter.Tx) error { return tx.SaveOperator(n, 2) }); err == nil {
				wins.Store(i, true)
			} else if !errors.Is(err, event.ErrConflict) {
				t.Error(err)
			}
		})
	}
	work.Wait()
	won := 0
	wins.Range(func(any, any) bool { won++; return true })
	all, err := keep.Operators(ctx)
	if err != nil || won != 1 || len(all) != 1 || all[0].Version != 3 || all[0].Account != "1001" {
		t.Errorf("%d won; %+v, %v", won, all, err)
	}
}

func callAllOrNothing(t *testing.T, s *store.Store, keep *store.Calls) {
	c := newCall("+8613800000077")
	boom := errors.New("boom")
	err := keep.Change(context.Background(), func(tx callcenter.Tx) error {
		return errors.Join(tx.SaveCall(c, 0), tx.SaveCallback(callcenter.Callback{ID: "cb-" + string(c.ID), State: callcenter.Due, Version: 1}, 0),
			tx.Append(event.Event{ID: uuid.NewString(), Type: callcenter.CallEnded, V: 1, Agg: "call", AggID: string(c.ID), Seq: 1, IncidentID: "i9", At: time.Now()}), boom)
	})
	if !errors.Is(err, boom) {
		t.Fatal(err)
	}
	if _, err := keep.Call(t.Context(), c.ID); !errors.Is(err, care.ErrNotFound) {
		t.Errorf("the call stayed: %v", err)
	}
	if _, err := keep.Callback(t.Context(), "cb-"+string(c.ID)); !errors.Is(err, care.ErrNotFound) {
		t.Errorf("the call-back stayed: %v", err)
	}
	if facts, err := s.Timeline(t.Context(), "i9", 10); err != nil || len(facts) != 0 {
		t.Errorf("the fact stayed: %v, %v", facts, err)
	}
}
