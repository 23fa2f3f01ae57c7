package event

import (
	"encoding/json"
	"errors"
	"time"
)

// ErrConflict says that a compare-and-set met another version. The store runs the
// whole change again from fresh reads; a change returns it, wrapped or not.
var ErrConflict = errors.New("conflicting change")

// ErrStale says that a timer was fired, disarmed or re-armed by somebody else.
// Who meets it has nothing left to do.
var ErrStale = errors.New("stale timer")

// Ledger is the part of a transaction that every room shares. All of it commits
// with the change itself, or none of it does.
type Ledger interface {
	// TakeKey takes an idempotency key in a scope. The first caller gets Repeat
	// false; every later one gets the ref and the reply of the first.
	TakeKey(scope, key, ref, digest string) (Taken, error)
	// SetReply stores what repeats of the key will be answered with.
	SetReply(scope, key string, reply json.RawMessage) error
	// Append records facts, in the event log and in the outbox.
	Append(events ...Event) error
	// Arm sets a deadline, replacing the one of the same AggID and Kind.
	Arm(t Timer) error
	// Disarm removes the deadline; it is no error if there is none.
	Disarm(aggID, kind string) error
	// Fire claims a due timer for this transaction, or returns ErrStale.
	Fire(t Timer) error
}

// Taken is the answer to TakeKey.
type Taken struct {
	Repeat bool
	Ref    string          // the id given by the first caller
	Digest string          // the digest given by the first caller
	Reply  json.RawMessage // as set by SetReply, null before
	Hits   int64           // 1 for the first caller
	First  time.Time       // when the key was first taken
}

// Timer is a deadline as a row: it survives a restart, and overdue ones fire at
// once, in order of Due.
type Timer struct {
	AggID   string // what waits
	Kind    string // "<package>.<what>", e.g. "dispatch.answer_by": chooses the handler
	Due     time.Time
	Version int64           // set by the ledger; tells a re-armed timer from the old one
	Body    json.RawMessage // what the handler needs besides AggID, may be nil
}
