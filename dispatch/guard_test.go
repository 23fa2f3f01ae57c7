package dispatch

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap/zaptest"

	"anling/care"
)

// slowBoard commits after a delay, or fails while broken.
type slowBoard struct {
	mu     sync.Mutex
	delay  time.Duration
	broken error
	opened map[string]int // commits by key
	alarms map[string]care.AlarmID
	rung   func(context.Context)
}

func (b *slowBoard) rings(ctx context.Context) {
	if b.rung != nil {
		b.rung(ctx)
	}
}

func (b *slowBoard) set(delay time.Duration, broken error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.delay, b.broken = delay, broken
}

func (b *slowBoard) Stand(ctx context.Context, r care.OpenRequest) (care.Opened, func(context.Context), error) {
	b.mu.Lock()
	delay, broken := b.delay, b.broken
	b.mu.Unlock()
	select {
	case <-time.After(delay):
	case <-ctx.Done():
		return care.Opened{}, nil, ctx.Err()
	}
	if broken != nil {
		return care.Opened{}, nil, broken
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.opened[r.Key]++
	if r.Alarm != nil {
		b.alarms[r.Key] = r.Alarm.ID
	}
	return care.Opened{IncidentID: "i-" + care.IncidentID(r.Key), Repeat: b.opened[r.Key] > 1}, b.rings, nil
}

// memoryJournal survives its guard, as a file does.
type memoryJournal struct {
	mu     sync.Mutex
	ids    []string
	kept   map[string]care.OpenRequest
	broken error
}

func (j *memoryJournal) Keep(id string, r care.OpenRequest) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.broken != nil {
		return j.broken
	}
	j.ids = append(j.ids, id)
	j.kept[id] = r
	return nil
}

func (j *memoryJournal) Settle(id string) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	delete(j.kept, id)
	return nil
}

func (j *memoryJournal) Kept() (ids []string, all []care.OpenRequest, err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, id := range j.ids {
		if r, there := j.kept[id]; there {
			ids, all = append(ids, id), append(all, r)
		}
	}
	return ids, all, nil
}

type guarded struct {
	guard   *Guard
	board   *slowBoard
	journal *memoryJournal
	rung    []bool // kept, of each ring
}

func newGuarded(t *testing.T) *guarded {
	g := &guarded{board: &slowBoard{opened: map[string]int{}, alarms: map[string]care.AlarmID{}}, journal: &memoryJournal{kept: map[string]care.OpenRequest{}}}
	g.restart(t)
	return g
}

func (g *guarded) restart(t *testing.T) {
	t.Helper()
	var err error
	g.guard, err = NewGuard(GuardOptions{Board: g.board, Journal: g.journal, Log: zaptest.NewLogger(t),
		Alert: func(_ care.OpenRequest, kept bool, _ error) { g.rung = append(g.rung, kept) }})
	if err != nil {
		t.Fatal(err)
	}
}

func pressed(key string) care.OpenRequest {
	return care.OpenRequest{Key: key, Kinds: []care.Kind{care.KindSOS}, Alarm: &care.Alarm{SourceEventID: key}}
}

func TestAGoodStoreIsNotJournalled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuarded(t)
		opened, err := g.guard.Open(t.Context(), pressed("k"))
		if err != nil || opened.IncidentID != "i-k" || len(g.journal.ids) != 0 || len(g.rung) != 0 {
			t.Errorf("%+v, %v; %d journalled, %d rung", opened, err, len(g.journal.ids), len(g.rung))
		}
	})
}

func TestTheAnswerDoesNotWaitForTheRinging(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuarded(t)
		rung := false
		g.board.rung = func(context.Context) { time.Sleep(time.Second); rung = true }
		ctx, cancel := context.WithCancel(t.Context())
		var runs sync.WaitGroup
		runs.Go(func() { _ = g.guard.Run(ctx) })
		began := time.Now()
		if _, err := g.guard.Open(t.Context(), pressed("k")); err != nil || time.Since(began) > 0 || rung {
			t.Errorf("answered after %s: %v", time.Since(began), err)
		}
		cancel()
		runs.Wait()
		if !rung {
			t.Error("the guard ends before an operator is rung")
		}
	})
}

func TestABrokenStoreRingsAndIsMadeGoodLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuarded(t)
		g.board.set(0, errors.New("disk full"))
		for range 3 { // the device sends again
			if _, err := g.guard.Open(t.Context(), pressed("k")); !errors.Is(err, ErrNotStored) {
				t.Fatalf("answer is %v", err)
			}
		}
		if len(g.journal.ids) != 1 || len(g.rung) != 3 || g.guard.Pending() != 1 {
			t.Fatalf("%d journalled, %d rung, %d pending", len(g.journal.ids), len(g.rung), g.guard.Pending())
		}
		if state, _ := g.guard.Health(); state != "failing" {
			t.Errorf("health is %s", state)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var runs sync.WaitGroup
		runs.Go(func() { _ = g.guard.Run(ctx) })
		time.Sleep(12 * time.Second)
		if g.guard.Pending() != 1 {
			t.Error("it is settled while the store is broken")
		}
		g.board.set(0, nil)
		time.Sleep(6 * time.Second)
		cancel()
		runs.Wait()
		if g.guard.Pending() != 0 || g.board.opened["k"] != 1 || len(g.journal.kept) != 0 {
			t.Errorf("%d pending, %d commits, %d in the journal", g.guard.Pending(), g.board.opened["k"], len(g.journal.kept))
		}
	})
}

func TestACrashFindsTheJournal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuarded(t)
		g.board.set(0, errors.New("disk full"))
		for i := range 5 {
			_, _ = g.guard.Open(t.Context(), pressed(fmt.Sprint("k", i)))
		}
		_, kept, _ := g.journal.Kept()
		g.board.set(0, nil)
		g.restart(t)
		if g.guard.Pending() != 5 {
			t.Fatalf("%d pending after the restart", g.guard.Pending())
		}
		if err := g.guard.Replay(t.Context()); err != nil || g.guard.Pending() != 0 {
			t.Fatalf("%v, %d pending", err, g.guard.Pending())
		}
		for _, r := range kept {
			if g.board.opened[r.Key] != 1 || g.board.alarms[r.Key] != r.Alarm.ID || r.Alarm.ID == "" {
				t.Errorf("%s is committed %d times, alarm %s for %s", r.Key, g.board.opened[r.Key], g.board.alarms[r.Key], r.Alarm.ID)
			}
		}
	})
}

func TestASlowStoreIsJournalledMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuarded(t)
		g.board.set(3*time.Second, nil)
		opened, err := g.guard.Open(t.Context(), pressed("slow"))
		if err != nil || opened.IncidentID == "" || len(g.rung) != 1 || g.guard.Pending() != 0 {
			t.Errorf("%+v, %v; %d rung, %d pending", opened, err, len(g.rung), g.guard.Pending())
		}
		g.board.set(time.Minute, nil)
		started := time.Now()
		if _, err := g.guard.Open(t.Context(), pressed("hangs")); !errors.Is(err, ErrNotStored) || time.Since(started) > 6*time.Second {
			t.Errorf("%v after %s", err, time.Since(started))
		}
		if g.guard.Pending() != 1 || len(g.rung) != 2 {
			t.Errorf("%d pending, %d rung", g.guard.Pending(), len(g.rung))
		}
	})
}

// TestRepeatsJoinThePressInFlight: a device that sends again while its press is being
// stored costs no second commit and rings nobody twice; another meaning does.
func TestRepeatsJoinThePressInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuarded(t)
		g.board.set(time.Second, nil)
		var answers sync.WaitGroup
		repeats := 0
		var mu sync.Mutex
		for range 20 {
			answers.Go(func() {
				opened, err := g.guard.Open(t.Context(), pressed("k"))
				if err != nil || opened.IncidentID == "" {
					t.Errorf("%+v, %v", opened, err)
				}
				mu.Lock()
				defer mu.Unlock()
				if opened.Repeat {
					repeats++
				}
			})
		}
		other := pressed("k")
		other.Digest = "sos+fall"
		answers.Go(func() {
			if _, err := g.guard.Open(t.Context(), other); err != nil {
				t.Error(err)
			}
		})
		answers.Wait()
		if g.board.opened["k"] != 2 || repeats < 19 || len(g.rung) != 0 {
			t.Errorf("%d commits, %d repeats, %d rung", g.board.opened["k"], repeats, len(g.rung))
		}
	})
}

func TestAJournalThatFailsTooStillRings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuarded(t)
		g.board.set(0, errors.New("disk full"))
		g.journal.broken = errors.New("disk full")
		if _, err := g.guard.Open(t.Context(), pressed("k")); !errors.Is(err, ErrNotStored) {
			t.Fatalf("answer is %v", err)
		}
		if len(g.rung) != 1 || g.rung[0] || g.guard.Pending() != 1 {
			t.Errorf("rung %v, %d pending", g.rung, g.guard.Pending())
		}
		g.board.set(0, nil)
		if err := g.guard.Replay(t.Context()); err != nil || g.guard.Pending() != 0 || g.board.opened["k"] != 1 {
			t.Errorf("%v, %d pending, %d commits", err, g.guard.Pending(), g.board.opened["k"])
		}
	})
}

func TestARefusalIsNotAFailingStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuarded(t)
		g.board.set(0, care.Invalid("key", "is empty"))
		if _, err := g.guard.Open(t.Context(), care.OpenRequest{}); !errors.Is(err, care.ErrInvalid) || len(g.rung) != 0 {
			t.Errorf("%v, %d rung", err, len(g.rung))
		}
	})
}
