package main

import (
	"context"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"anling/bus"
	"anling/event"
	"anling/store"
)

const busRetry = 10 * time.Second

// fanout is the bus as the server uses it: a NATS that cannot be started is tried
// again for as long as the server runs, and nothing waits for it. Facts wait in the
// outbox meanwhile.
type fanout struct {
	opts   bus.Options
	store  *store.Store
	do     bus.Commands
	log    *zap.Logger
	bus    atomic.Pointer[bus.Bus]
	reason atomic.Pointer[string] // why there is none
}

// newFanout makes the first try.
func newFanout(opts bus.Options, s *store.Store) *fanout {
	f := &fanout{opts: opts, store: s, log: opts.Log}
	f.start()
	return f
}

func (f *fanout) start() {
	b, err := bus.Start(f.opts)
	if err != nil {
		reason := err.Error()
		f.reason.Store(&reason)
		f.log.Error("NATS cannot be started; facts wait in the outbox", zap.Error(err))
		return
	}
	f.reason.Store(nil)
	f.bus.Store(b)
}

// committed passes facts on at once, without waiting.
func (f *fanout) committed(events []event.Event) {
	if b := f.bus.Load(); b != nil {
		b.Fast(events)
		b.Down(events)
	}
}

// Run starts the bus if it is not, relays the outbox on one node at a time and
// serves the commands of provider apps, until ctx ends.
func (f *fanout) Run(ctx context.Context) error {
	for f.bus.Load() == nil {
		wait := time.NewTimer(busRetry)
		select {
		case <-ctx.Done():
			wait.Stop()
			return nil
		case <-wait.C:
		}
		f.start()
	}
	b := f.bus.Load()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		return f.store.Singleton(ctx, "outbox-relay", func(ctx context.Context) error { return b.Relay(ctx, f.store.Outbox()) })
	})
	g.Go(func() error { return b.Up(ctx, f.do) })
	return g.Wait()
}

// Health tells whether facts reach NATS.
func (f *fanout) Health() (state, detail string) {
	if reason := f.reason.Load(); reason != nil {
		return "degraded", *reason
	}
	return f.bus.Load().Health()
}

// Close ends the bus.
func (f *fanout) Close() {
	if b := f.bus.Load(); b != nil {
		b.Close()
	}
}
