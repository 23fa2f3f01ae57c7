package store

import (
	"container/heap"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"

	"anling/event"
)

const (
	timerScan    = time.Second // finds rows armed by other nodes, or before a restart
	timerAhead   = 2 * time.Second
	timerLot     = 1000
	timerWorkers = 8
	timerQueue   = 4096
)

// Timers fires the deadlines that are rows. A heap in memory wakes it at the due
// time; the row decides, by the compare-and-set in Tx.Fire, whether this firing is
// the one. Overdue rows fire at once after a restart, in order.
type Timers struct {
	store    *Store
	log      *zap.Logger
	handlers map[string]func(context.Context, event.Timer) error

	mu     sync.Mutex
	heap   timerHeap
	queued map[timerKey]int64 // versions that are in the heap or in hand
	wake   chan struct{}
}

type timerKey struct{ agg, kind string }

// NewTimers watches the timers of a store. Every kind needs its handler before Run.
func NewTimers(s *Store, log *zap.Logger) *Timers {
	t := &Timers{store: s, log: log, handlers: map[string]func(context.Context, event.Timer) error{},
		queued: map[timerKey]int64{}, wake: make(chan struct{}, 1)}
	s.onArm(t.add)
	return t
}

// Handle sets who fires timers of this kind. The handler claims the timer by
// Tx.Fire in its own transaction; event.ErrStale from it means that somebody else
// did. Any other error leaves the row armed, to be tried again.
func (t *Timers) Handle(kind string, f func(context.Context, event.Timer) error) {
	t.handlers[kind] = f
}

// add takes timers into the heap. At the bound it leaves them to the scan.
func (t *Timers) add(timers []event.Timer) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, x := range timers {
		key := timerKey{x.AggID, x.Kind}
		if t.queued[key] >= x.Version || len(t.heap) >= timerQueue*16 {
			continue
		}
		t.queued[key] = x.Version
		heap.Push(&t.heap, x)
	}
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// Run fires timers until ctx ends.
func (t *Timers) Run(ctx context.Context) error {
	work := make(chan event.Timer)
	var workers sync.WaitGroup
	for range timerWorkers {
		workers.Go(func() {
			for x := range work {
				t.fire(ctx, x)
			}
		})
	}
	defer workers.Wait()
	defer close(work)
	scan := time.NewTicker(timerScan)
	defer scan.Stop()
	t.scan(ctx)
	for {
		next := time.NewTimer(t.untilNext())
		select {
		case <-ctx.Done():
			next.Stop()
			return nil
		case <-scan.C:
			t.scan(ctx)
		case <-t.wake:
		case <-next.C:
		}
		next.Stop()
		for _, x := range t.due() {
			select {
			case work <- x:
			case <-ctx.Done():
				return nil
			}
		}
	}
}

func (t *Timers) scan(ctx context.Context) {
	rows, err := t.store.read.ArmedTimers(ctx, us(t.store.opts.Now().Add(timerAhead)), timerLot)
	if err != nil {
		if ctx.Err() == nil {
			t.log.Error("read due timers", zap.Error(err))
		}
		return
	}
	timers := make([]event.Timer, len(rows))
	for i, r := range rows {
		timers[i] = event.Timer{AggID: r.AggID, Kind: r.Kind, Due: at(r.DueUs), Version: r.Version, Body: []byte(r.Body)}
	}
	t.add(timers)
}

func (t *Timers) untilNext() time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.heap) == 0 {
		return timerScan
	}
	return max(0, t.heap[0].Due.Sub(t.store.opts.Now()))
}

func (t *Timers) due() []event.Timer {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.store.opts.Now()
	var due []event.Timer
	for len(t.heap) > 0 && !t.heap[0].Due.After(now) {
		due = append(due, heap.Pop(&t.heap).(event.Timer))
	}
	return due
}

func (t *Timers) fire(ctx context.Context, x event.Timer) {
	key := timerKey{x.AggID, x.Kind}
	defer func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if t.queued[key] == x.Version {
			delete(t.queued, key)
		}
	}()
	f := t.handlers[x.Kind]
	if f == nil {
		t.log.Error("a timer has no handler", zap.String("kind", x.Kind), zap.String("agg_id", x.AggID))
		return
	}
	ctx, cancel := context.WithTimeout(event.Behind(ctx), 10*time.Second)
	defer cancel()
	err := handle(ctx, f, x)
	if err == nil {
		t.store.metrics.late.Observe(t.store.opts.Now().Sub(x.Due).Seconds())
		return
	}
	if !errors.Is(err, event.ErrStale) && !errors.Is(err, context.Canceled) {
		t.log.Error("a timer's handler failed; it is tried again", zap.String("kind", x.Kind), zap.String("agg_id", x.AggID), zap.Error(err))
	}
}

func handle(ctx context.Context, f func(context.Context, event.Timer) error, x event.Timer) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("handler panicked: %v", p)
		}
	}()
	return f(ctx, x)
}

// timerHeap orders by due time.
type timerHeap []event.Timer

func (h timerHeap) Len() int           { return len(h) }
func (h timerHeap) Less(i, j int) bool { return h[i].Due.Before(h[j].Due) }
func (h timerHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *timerHeap) Push(x any)        { *h = append(*h, x.(event.Timer)) }
func (h *timerHeap) Pop() any {
	old := *h
	last := old[len(old)-1]
	*h = old[:len(old)-1]
	return last
}
