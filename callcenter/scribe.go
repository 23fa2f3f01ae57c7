package callcenter

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"anling/event"
)

const (
	writeLimit = 3 * time.Second
	debtsMax   = 10000
)

// scribe is what a call still has to store: its facts since the last commit, and what
// belongs into the same commit. One write is under way at a time, in order.
type scribe struct {
	events []event.Event
	also   []extra
	saved  int64 // version of the row
	busy   bool
	tries  int
	retry  time.Time
}

// extra belongs into the commit of the version.
type extra struct {
	version int64
	do      func(Tx) error
}

func (s *scribe) clean() bool { return !s.busy && len(s.events) == 0 && len(s.also) == 0 }

// with adds a change of other rows to the commit of the next fact.
func (s *scribe) with(a *actor, do func(Tx) error) {
	s.also = append(s.also, extra{a.c.Version + 1, do})
}

// debt is one write of a call.
type debt struct {
	c      Call
	events []event.Event
	also   []extra
	was    int64
	again  bool // an earlier try may have been committed
}

// save starts the next write, if there is something and none is under way.
func (a *actor) save() {
	sc := &a.scribe
	now := a.s.now()
	if sc.busy || len(sc.events) == 0 {
		return
	}
	if sc.retry.After(now) {
		if !a.ended || a.at["end"].at.After(sc.retry) {
			a.after("save", sc.retry.Sub(now), func() {})
		}
		return
	}
	d := debt{a.c, sc.events, sc.also, sc.saved, sc.tries > 0}
	sc.events, sc.also, sc.busy = nil, nil, true
	parent := context.Background()
	if a.caller == nil && a.op == nil {
		parent = event.Behind(parent) // nobody is on the line yet
	}
	a.s.work.Go(func() {
		ctx, cancel := context.WithTimeout(parent, writeLimit)
		defer cancel()
		err := a.s.write(ctx, d)
		a.post(func(a *actor) { a.saved(d, err) })
	})
}

func (a *actor) saved(d debt, err error) {
	sc := &a.scribe
	sc.busy = false
	if err == nil {
		sc.saved, sc.tries, sc.retry = d.c.Version, 0, time.Time{}
		if a.c.Unsaved {
			a.c.Unsaved = false
		}
		a.answerWhenStored()
		return
	}
	a.s.metrics.unsaved.Inc()
	a.log.Error("store a call; it goes on all the same", zap.Int("try", sc.tries+1), zap.Error(err))
	if sc.tries == 0 {
		a.c.Unsaved = true
		a.s.emergency(a.c, "a call is not stored")
	}
	sc.tries++
	sc.retry = a.s.now().Add(min(time.Duration(sc.tries)*500*time.Millisecond, 5*time.Second))
	sc.events = append(d.events, sc.events...)
	sc.also = append(d.also, sc.also...)
	a.answerWhenStored()
}

// answerWhenStored answers the line after the first write, whatever became of it.
func (a *actor) answerWhenStored() {
	if a.caller != nil && a.caller.inbound && !a.hasLine {
		a.answerLine()
	}
}

// write is one commit: the row, the facts, and what belongs to them.
func (s *Service) write(ctx context.Context, d debt) error {
	d.c.Unsaved = false // what is read back is stored
	err := s.o.Store.Change(ctx, func(tx Tx) error {
		was := d.was
		if d.again {
			// An earlier try may be committed although its answer was lost.
			old, found, err := tx.Call(d.c.ID)
			if err != nil {
				return err
			}
			if found {
				was = old.Version
			}
		}
		if was < d.c.Version {
			if err := tx.SaveCall(d.c, was); err != nil {
				return err
			}
		}
		for _, x := range d.also {
			if x.version > was {
				if err := x.do(tx); err != nil {
					return err
				}
			}
		}
		var events []event.Event
		for _, e := range d.events {
			if e.Seq > was {
				events = append(events, e)
			}
		}
		return tx.Append(events...)
	})
	if err != nil {
		return fmt.Errorf("store call %s: %w", d.c.ID, err)
	}
	return nil
}

// handOver leaves to the service what the ended call could not store.
func (a *actor) handOver() {
	sc := &a.scribe
	if len(sc.events) == 0 {
		return
	}
	a.s.mu.Lock()
	defer a.s.mu.Unlock()
	if len(a.s.debts) >= debtsMax {
		a.log.Error("an ended call is not stored and there is no room to keep it")
		return
	}
	a.s.debts = append(a.s.debts, debt{a.c, sc.events, sc.also, sc.saved, true})
	a.s.metrics.debts.Set(float64(len(a.s.debts)))
}

// payDebts stores what ended calls left, once the store takes it again.
func (s *Service) payDebts(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			s.pay(ctx)
		}
	}
}

func (s *Service) pay(ctx context.Context) {
	for {
		s.mu.Lock()
		if len(s.debts) == 0 {
			s.mu.Unlock()
			return
		}
		d := s.debts[0]
		s.mu.Unlock()
		once, cancel := context.WithTimeout(ctx, writeLimit)
		err := s.write(once, d)
		cancel()
		if err != nil && !errors.Is(err, event.ErrConflict) {
			return
		}
		if err != nil {
			s.log.Error("the record of an ended call conflicts", zap.String("call_id", string(d.c.ID)), zap.Error(err))
		}
		s.mu.Lock()
		s.debts = s.debts[1:]
		s.metrics.debts.Set(float64(len(s.debts)))
		s.mu.Unlock()
	}
}

// lastWords is the last try to store, at the end of Run.
func (s *Service) lastWords() {
	ctx, cancel := context.WithTimeout(context.Background(), writeLimit)
	defer cancel()
	s.pay(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := len(s.debts); n > 0 {
		s.log.Error("calls ended without being stored", zap.Int("calls", n))
	}
}

// emergency tells every console what the store cannot.
func (s *Service) emergency(c Call, what string) {
	if s.o.Emergency != nil {
		s.o.Emergency(map[string]any{"what": what, "call_id": c.ID, "class": c.Class, "elder_id": c.ElderID, "device_id": c.DeviceID, "at": s.now()})
	}
}
