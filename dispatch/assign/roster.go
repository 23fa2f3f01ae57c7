package assign

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"anling/care"
	"anling/geo"
)

// Slot is whether a responder can be sent.
type Slot string

const (
	Free Slot = "free"
	Held Slot = "held" // an offer waits for his answer
	Busy Slot = "busy" // he has an assignment
	Off  Slot = "off"
)

// member is a responder as the ranking sees him.
type member struct {
	care.Responder
	suspended bool // his provider is
	fix       care.Fix
	held      map[care.AssignmentID]bool
	busy      care.AssignmentID
	refusals  map[care.AssignmentID]time.Time
	lastJob   time.Time
}

// Roster is everybody who could be sent, in memory, with an index of where they
// are. SQL decides who has what; the roster only ranks. It is safe for concurrent use.
type Roster struct {
	mu      sync.RWMutex
	members map[care.ResponderID]*member
	index   geo.Index
}

// NewRoster is an empty roster.
func NewRoster() *Roster { return &Roster{members: map[care.ResponderID]*member{}} }

// Put adds a responder or replaces what is known of him; where he is and what he
// has stay.
func (r *Roster) Put(p care.Responder, providerSuspended bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	m := r.members[p.ID]
	if m == nil {
		m = &member{held: map[care.AssignmentID]bool{}, refusals: map[care.AssignmentID]time.Time{}}
		r.members[p.ID] = m
	}
	m.Responder, m.suspended = p, providerSuspended
	if m.fix.Point.IsZero() && !p.Base.IsZero() {
		m.fix = care.Fix{Point: p.Base, Source: care.FixBase}
	}
	r.reindex(m)
}

// Remove takes a responder from the roster.
func (r *Roster) Remove(id care.ResponderID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.members, id)
	r.index.Remove(string(id))
}

// Move sets where a responder is; an older fix never replaces a newer one.
func (r *Roster) Move(id care.ResponderID, fix care.Fix) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	m := r.members[id]
	if m == nil || fix.Point.IsZero() || (m.fix.Source != care.FixBase && fix.At.Before(m.fix.At)) {
		return false
	}
	m.fix = fix
	r.reindex(m)
	return true
}

// SetDuty sets on, off or paused.
func (r *Roster) SetDuty(id care.ResponderID, duty string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if m := r.members[id]; m != nil {
		m.Duty = duty
		r.reindex(m)
	}
}

// reindex keeps in the index who is on duty and somewhere.
func (r *Roster) reindex(m *member) {
	if m.Duty == "off" || m.fix.Point.IsZero() {
		r.index.Remove(string(m.ID))
		return
	}
	r.index.Put(string(m.ID), m.fix.Point)
}

// Snapshot is what a list shows of a responder's readiness.
type Snapshot struct {
	ID         care.ResponderID  `json:"id"`
	Duty       string            `json:"duty"`
	Slot       Slot              `json:"slot"`
	Fix        care.Fix          `json:"fix"`
	Assignment care.AssignmentID `json:"assignment_id,omitempty"`
}

// Snapshot lists everybody, by id.
func (r *Roster) Snapshot() []Snapshot {
	r.mu.RLock()
	defer r.mu.RUnlock()
	all := make([]Snapshot, 0, len(r.members))
	for id, m := range r.members {
		all = append(all, Snapshot{ID: id, Duty: m.Duty, Slot: m.slot(), Fix: m.fix, Assignment: m.busy})
	}
	slices.SortFunc(all, func(a, b Snapshot) int { return cmp.Compare(a.ID, b.ID) })
	return all
}

func (m *member) slot() Slot {
	switch {
	case m.busy != "":
		return Busy
	case m.Duty == "off":
		return Off
	case len(m.held) > 0:
		return Held
	}
	return Free
}

// Provider is the provider of a responder.
func (r *Roster) provider(id care.ResponderID) care.ProviderID {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if m := r.members[id]; m != nil {
		return m.ProviderID
	}
	return ""
}

func (r *Roster) hold(id care.ResponderID, a care.AssignmentID) {
	r.update(id, func(m *member) { m.held[a] = true })
}

func (r *Roster) unhold(id care.ResponderID, a care.AssignmentID) {
	r.update(id, func(m *member) { delete(m.held, a) })
}

func (r *Roster) occupy(id care.ResponderID, a care.AssignmentID, now time.Time) {
	r.update(id, func(m *member) { m.busy, m.lastJob = a, now; delete(m.held, a) })
}

func (r *Roster) free(id care.ResponderID, a care.AssignmentID) {
	r.update(id, func(m *member) {
		if m.busy == a {
			m.busy = ""
		}
		delete(m.held, a)
	})
}

func (r *Roster) refused(id care.ResponderID, a care.AssignmentID, now time.Time) {
	r.update(id, func(m *member) {
		delete(m.held, a)
		m.refusals[a] = now
		for other, when := range m.refusals {
			if now.Sub(when) > time.Hour {
				delete(m.refusals, other)
			}
		}
	})
}

func (r *Roster) update(id care.ResponderID, f func(*member)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if m := r.members[id]; m != nil {
		f(m)
	}
}
