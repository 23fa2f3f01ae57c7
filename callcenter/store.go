package callcenter

import (
	"context"

	"anling/care"
	"anling/event"
)

// Store keeps calls, call-backs and operators; store.Calls is one.
type Store interface {
	Change(ctx context.Context, f func(Tx) error) error
	Call(ctx context.Context, id care.CallID) (Call, error)
	// LiveCalls are those that a server of an earlier life left behind.
	LiveCalls(ctx context.Context, before int64, limit int) ([]Call, error)
	RecentCalls(ctx context.Context, limit int) ([]Call, error)
	CallsOfIncident(ctx context.Context, id care.IncidentID, limit int) ([]Call, error)
	CallsOfElder(ctx context.Context, id care.ElderID, limit int) ([]Call, error)
	Callback(ctx context.Context, id string) (Callback, error)
	// Callbacks are the open ones, the most urgent first.
	Callbacks(ctx context.Context, limit int) ([]Callback, error)
	Operators(ctx context.Context) ([]Operator, error)
}

// Tx is one change of calls, call-backs and operators.
type Tx interface {
	event.Ledger
	// NextEpoch begins a new life of the server.
	NextEpoch() (int64, error)
	Call(id care.CallID) (Call, bool, error)
	SaveCall(c Call, was int64) error // was 0 inserts
	Callback(id string) (Callback, error)
	// CallbackOf is the newest open one of a number.
	CallbackOf(number string) (Callback, bool, error)
	SaveCallback(c Callback, was int64) error
	SaveOperator(o Operator, was int64) error
}
