package live

import (
	"context"
	"sync"
	"time"
)

// sweepEvery is how often Memory looks for what has expired.
const sweepEvery = time.Minute

// Memory is live state in this process. It is safe for concurrent use.
type Memory struct {
	now func() time.Time

	mu        sync.Mutex
	positions map[string]map[string]Position  // guarded by mu; kind, id
	presence  map[string]map[string]lease     // guarded by mu; kind, id
	seen      map[string]map[string]time.Time // guarded by mu; kind, id
	swept     time.Time                       // guarded by mu
}

type lease struct {
	value Presence
	until time.Time
}

var _ Store = (*Memory)(nil)

// NewMemory makes an empty store; a nil now is time.Now.
func NewMemory(now func() time.Time) *Memory {
	if now == nil {
		now = time.Now
	}
	m := &Memory{now: now}
	m.Wipe()
	return m
}

// Wipe forgets everything, as FLUSHALL does to Redis.
func (m *Memory) Wipe() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.positions = map[string]map[string]Position{}
	m.presence = map[string]map[string]lease{}
	m.seen = map[string]map[string]time.Time{}
	m.swept = m.now()
}

// sub returns the map of a kind, making it when missing. Call it with mu held.
func sub[T any](of map[string]map[string]T, kind string) map[string]T {
	inner := of[kind]
	if inner == nil {
		inner = map[string]T{}
		of[kind] = inner
	}
	return inner
}

// sweep drops what is over, so that memory is bounded by what is alive. Call it
// with mu held.
func (m *Memory) sweep() {
	now := m.now()
	if now.Sub(m.swept) < sweepEvery {
		return
	}
	m.swept = now
	for _, of := range m.positions {
		for id, p := range of {
			if now.Sub(p.At) > PositionTTL {
				delete(of, id)
			}
		}
	}
	for _, of := range m.presence {
		for id, e := range of {
			if !now.Before(e.until) {
				delete(of, id)
			}
		}
	}
}

// PutPosition implements Store.
func (m *Memory) PutPosition(_ context.Context, kind, id string, p Position) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sweep()
	of := sub(m.positions, kind)
	if old, ok := of[id]; !ok || p.At.After(old.At) {
		of[id] = p
	}
	return nil
}

// Positions implements Store.
func (m *Memory) Positions(_ context.Context, kind string) (map[string]Position, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now, out := m.now(), map[string]Position{}
	for id, p := range m.positions[kind] {
		if now.Sub(p.At) <= PositionTTL {
			out[id] = p
		}
	}
	return out, nil
}

// SetPresence implements Store.
func (m *Memory) SetPresence(_ context.Context, kind, id string, p Presence, ttl time.Duration) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sweep()
	sub(m.presence, kind)[id] = lease{p, m.now().Add(ttl)}
	return nil
}

// Presences implements Store.
func (m *Memory) Presences(_ context.Context, kind string) (map[string]Presence, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now, out := m.now(), map[string]Presence{}
	for id, e := range m.presence[kind] {
		if now.Before(e.until) {
			out[id] = e.value
		}
	}
	return out, nil
}

// Touch implements Store.
func (m *Memory) Touch(_ context.Context, kind string, seen map[string]time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	of := sub(m.seen, kind)
	for id, at := range seen {
		if at.After(of[id]) {
			of[id] = at
		}
	}
	return nil
}

// LastSeen implements Store.
func (m *Memory) LastSeen(_ context.Context, kind string, ids []string) (map[string]time.Time, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := make(map[string]time.Time, len(ids))
	for _, id := range ids {
		if at, ok := m.seen[kind][id]; ok {
			out[id] = at
		}
	}
	return out, nil
}

// Ping implements Store; memory is always in reach.
func (m *Memory) Ping(context.Context) error { return nil }

// Close implements Store.
func (m *Memory) Close() error { return nil }
