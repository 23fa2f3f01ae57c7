package media

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	tick = 20 * time.Millisecond
	// catchUp is how many missed ticks are made good in a burst; a wheel that is
	// later than that drops the missed time instead of flooding its listeners.
	catchUp = 5
)

// shard is one wheel: a goroutine that moves its sessions every 20 ms, by
// absolute deadlines, so that it does not drift.
type shard struct {
	e        *Engine
	mu       sync.Mutex                 // of writers
	sessions atomic.Pointer[[]*Session] // copied on write
}

func newShard(e *Engine) *shard {
	s := &shard{e: e}
	s.sessions.Store(&[]*Session{})
	return s
}

func (w *shard) add(s *Session) {
	w.mu.Lock()
	defer w.mu.Unlock()
	next := append(slices.Clone(*w.sessions.Load()), s)
	w.sessions.Store(&next)
}

func (w *shard) remove(s *Session) {
	w.mu.Lock()
	defer w.mu.Unlock()
	next := slices.DeleteFunc(slices.Clone(*w.sessions.Load()), func(o *Session) bool { return o == s })
	w.sessions.Store(&next)
}

func (w *shard) run(ctx context.Context) {
	var frame [maxPacket]byte
	c := clock{next: w.e.now() + int64(tick)}
	timer := time.NewTimer(tick)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		due, late := c.advance(w.e.now())
		if late > 0 {
			w.e.metrics.wheelSkipped.Add(float64(late))
		}
		for i := range due {
			// All sessions of a burst get their own tick's time.
			w.turn(c.next-int64(due-i)*int64(tick), &frame)
		}
		timer.Reset(time.Duration(c.next - w.e.now()))
	}
}

func (w *shard) turn(now int64, frame *[maxPacket]byte) {
	for _, s := range *w.sessions.Load() {
		s.tick(now, frame)
	}
}

// clock counts ticks by their absolute deadlines.
type clock struct{ next int64 }

// advance returns how many ticks are to be made now, at most catchUp, and how many
// were given up because the wheel came too late.
func (c *clock) advance(now int64) (due, skipped int) {
	if now < c.next {
		return 0, 0
	}
	missed := int((now-c.next)/int64(tick)) + 1
	due = min(missed, catchUp)
	c.next += int64(missed) * int64(tick)
	return due, missed - due
}
