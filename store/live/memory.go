package live

import (
	"context"
	"sort"
	"sync"
	"time"

	"anling/geo"
)

// sweepEvery is how often Memory looks for what has expired.
const sweepEvery = time.Minute

// Memory is live state in this process. It is safe for concurrent use.
type Memory struct {
	now func() time.Time

	mu        sync.Mutex
	positions map[string]map[string]Position           // guarded by mu; kind, id
	presence  map[string]map[string]expiring[Presence] // guarded by mu; kind, id
	seen      map[string]map[string]time.Time          // guarded by mu; kind, id
	hints     map[string]expiring[string]              // guarded by mu
	rates     map[string]expiring[int]                 // guarded by mu; scope, id
	cache     map[string]expiring[[]byte]              // guarded by mu
	swept     time.Time                                // guarded by mu
}

type expiring[T any] struct {
	value T
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
	m.presence = map[string]map[string]expiring[Presence]{}
	m.seen = map[string]map[string]time.Time{}
	m.hints = map[string]expiring[string]{}
	m.rates = map[string]expiring[int]{}
	m.cache = map[string]expiring[[]byte]{}
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
		dropOver(of, now)
	}
	dropOver(m.hints, now)
	dropOver(m.rates, now)
	dropOver(m.cache, now)
}

func dropOver[T any](of map[string]expiring[T], now time.Time) {
	for k, e := range of {
		if !now.Before(e.until) {
			delete(of, k)
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

// Nearest implements Store by looking at every position: the live index that
// ranks responders is geo.Index, this one serves the neighbours of other nodes.
func (m *Memory) Nearest(ctx context.Context, kind string, at geo.Point, radiusM float64, limit int) ([]Near, error) {
	all, _ := m.Positions(ctx, kind)
	var out []Near
	for id, p := range all {
		if d := geo.Distance(at, p.Point); d <= radiusM {
			out = append(out, Near{ID: id, DistanceM: d, Position: p})
		}
	}
	sortNear(out)
	return out[:min(limit, len(out))], nil
}

func sortNear(n []Near) {
	sort.Slice(n, func(i, j int) bool {
		if n[i].DistanceM != n[j].DistanceM {
			return n[i].DistanceM < n[j].DistanceM
		}
		return n[i].ID < n[j].ID
	})
}

// RemovePosition implements Store.
func (m *Memory) RemovePosition(_ context.Context, kind, id string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.positions[kind], id)
	return nil
}

// SetPresence implements Store.
func (m *Memory) SetPresence(_ context.Context, kind, id string, p Presence, ttl time.Duration) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sweep()
	sub(m.presence, kind)[id] = expiring[Presence]{p, m.now().Add(ttl)}
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

// ClearPresence implements Store.
func (m *Memory) ClearPresence(_ context.Context, kind, id string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.presence[kind], id)
	return nil
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

// TakeHint implements Store.
func (m *Memory) TakeHint(_ context.Context, key, holder string, ttl time.Duration) (string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sweep()
	now := m.now()
	if e, ok := m.hints[key]; ok && now.Before(e.until) && e.value != holder {
		return e.value, nil
	}
	m.hints[key] = expiring[string]{holder, now.Add(ttl)}
	return holder, nil
}

// ReleaseHint implements Store.
func (m *Memory) ReleaseHint(_ context.Context, key, holder string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.hints[key].value == holder {
		delete(m.hints, key)
	}
	return nil
}

// Allow implements Store with fixed windows that begin at the first use.
func (m *Memory) Allow(_ context.Context, scope, id string, limit int, window time.Duration) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sweep()
	now, key := m.now(), scope+"\x00"+id
	e := m.rates[key]
	if !now.Before(e.until) {
		e = expiring[int]{0, now.Add(window)}
	}
	e.value++
	m.rates[key] = e
	return e.value <= limit, nil
}

// Put implements Store.
func (m *Memory) Put(_ context.Context, key string, value []byte, ttl time.Duration) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sweep()
	m.cache[key] = expiring[[]byte]{append([]byte(nil), value...), m.now().Add(ttl)}
	return nil
}

// Get implements Store.
func (m *Memory) Get(_ context.Context, key string) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if e, ok := m.cache[key]; ok && m.now().Before(e.until) {
		return append([]byte(nil), e.value...), nil
	}
	return nil, nil
}

// Drop implements Store.
func (m *Memory) Drop(_ context.Context, key string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.cache, key)
	return nil
}

// Ping implements Store; memory is always in reach.
func (m *Memory) Ping(context.Context) error { return nil }

// Close implements Store.
func (m *Memory) Close() error { return nil }
