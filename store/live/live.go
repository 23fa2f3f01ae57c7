// Package live holds what is true for seconds: positions, presence and signs of life.
// It can be wiped at any moment and fills again from heartbeats and pings; nothing
// that must survive lives here, and nothing in it decides who gets a job or an
// incident.
//
// Memory serves one process; Redis serves several nodes. Both pass one suite.
package live

import (
	"context"
	"errors"
	"time"

	"anling/geo"
)

// ErrUnavailable says that live state is out of reach. Callers go on with SQL and
// with the last values they know.
var ErrUnavailable = errors.New("live state is unavailable")

// Position is where something was, and when.
type Position struct {
	Point     geo.Point `json:"p"`
	AccuracyM float64   `json:"a,omitempty"`
	Source    string    `json:"s,omitempty"`
	At        time.Time `json:"t"`
}

// Presence is what somebody last said of himself.
type Presence struct {
	State string    `json:"s"`
	Node  string    `json:"n,omitempty"`
	Since time.Time `json:"t"`
}

// Store is live state. Kinds ("responder", "device", "operator") keep apart what
// has the same id. Every method honours the context's deadline; Redis adds its own
// of half a second and answers ErrUnavailable.
type Store interface {
	// PutPosition stores a position unless a later one is known.
	PutPosition(ctx context.Context, kind, id string, p Position) error
	// Positions returns all positions not older than PositionTTL.
	Positions(ctx context.Context, kind string) (map[string]Position, error)

	// SetPresence states presence, to be repeated before ttl ends.
	SetPresence(ctx context.Context, kind, id string, p Presence, ttl time.Duration) error
	// Presences returns who is present.
	Presences(ctx context.Context, kind string) (map[string]Presence, error)

	// Touch records signs of life, many at once; an older time never wins.
	Touch(ctx context.Context, kind string, seen map[string]time.Time) error
	// LastSeen returns the last sign of life of those ids that have one.
	LastSeen(ctx context.Context, kind string, ids []string) (map[string]time.Time, error)

	// Ping tells whether live state is in reach.
	Ping(ctx context.Context) error
	Close() error
}

// PositionTTL is how long a position counts without a new one.
const PositionTTL = 10 * time.Minute
