package main

import (
	"context"
	"sync"
	"time"

	"go.uber.org/zap"

	"anling/care"
	"anling/dispatch/assign"
)

const (
	rosterAgain = time.Minute     // everybody is read again: other nodes change the registry too
	rosterLimit = 5 * time.Second // for one round of reading
)

// roster keeps the engine's people as the registry has them.
type roster struct {
	registry *care.Registry
	engine   *assign.Engine
	log      *zap.Logger
	wake     chan struct{}

	mu    sync.Mutex
	dirty map[care.ResponderID]bool // guarded by mu: changed since the last round
	all   bool                      // guarded by mu: anything may have changed
}

func newRoster(r *care.Registry, e *assign.Engine, log *zap.Logger) *roster {
	return &roster{registry: r, engine: e, log: log, wake: make(chan struct{}, 1), dirty: map[care.ResponderID]bool{}}
}

// load fills the engine before the first request.
func (r *roster) load(ctx context.Context) error {
	people, suspended, err := r.read(ctx)
	if err != nil {
		return err
	}
	return r.engine.Load(ctx, people, suspended)
}

func (r *roster) read(ctx context.Context) ([]care.Responder, map[care.ProviderID]bool, error) {
	people, err := r.registry.Responders(ctx)
	if err != nil {
		return nil, nil, err
	}
	providers, err := r.registry.Providers(ctx)
	if err != nil {
		return nil, nil, err
	}
	suspended := map[care.ProviderID]bool{}
	for _, p := range providers {
		suspended[p.ID] = notDispatchable(p, time.Now())
	}
	return people, suspended, nil
}

func notDispatchable(p care.Provider, now time.Time) bool {
	return (p.State != "" && p.State != "active") || p.SuspendedUntil.After(now)
}

// changed notes what the registry saved; it never blocks.
func (r *roster) changed(c care.Change) {
	r.mu.Lock()
	switch c.Kind {
	case "responder":
		r.dirty[care.ResponderID(c.ID)] = true
	case "provider", "":
		r.all = true
	default:
		r.mu.Unlock()
		return
	}
	r.mu.Unlock()
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// Run follows the registry until ctx ends.
func (r *roster) Run(ctx context.Context) error {
	tick := time.NewTicker(rosterAgain)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-r.wake:
		case <-tick.C:
			r.mu.Lock()
			r.all = true
			r.mu.Unlock()
		}
		if err := r.round(ctx); err != nil && ctx.Err() == nil {
			r.log.Warn("the roster is not up to date", zap.Error(err))
		}
	}
}

func (r *roster) round(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, rosterLimit)
	defer cancel()
	r.mu.Lock()
	dirty, all := r.dirty, r.all
	r.dirty, r.all = map[care.ResponderID]bool{}, false
	r.mu.Unlock()
	if all {
		people, suspended, err := r.read(ctx)
		if err != nil {
			r.again(nil, true)
			return err
		}
		known := map[care.ResponderID]bool{}
		for _, p := range people {
			known[p.ID] = true
			r.engine.Put(p, suspended[p.ProviderID])
		}
		for _, s := range r.engine.Snapshot() {
			if !known[s.ID] {
				r.engine.Remove(s.ID)
			}
		}
		return nil
	}
	for id := range dirty {
		if err := r.one(ctx, id); err != nil {
			r.again(dirty, false)
			return err
		}
	}
	return nil
}

func (r *roster) one(ctx context.Context, id care.ResponderID) error {
	p, err := r.registry.Responder(ctx, id)
	if err != nil {
		return err
	}
	suspended := false
	if p.ProviderID != "" {
		provider, err := r.registry.Provider(ctx, p.ProviderID)
		if err != nil {
			return err
		}
		suspended = notDispatchable(provider, time.Now())
	}
	r.engine.Put(p, suspended)
	return nil
}

// again keeps what could not be read for the next round.
func (r *roster) again(dirty map[care.ResponderID]bool, all bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = r.all || all
	for id := range dirty {
		r.dirty[id] = true
	}
}
