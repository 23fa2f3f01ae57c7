package store

import (
	"context"
	"database/sql"
	"errors"

	"anling/callcenter"
	"anling/care"
	"anling/store/db"
)

// Calls keeps calls, call-backs and operators.
type Calls struct{ s *Store }

var _ callcenter.Store = (*Calls)(nil)

// NewCalls is the store of callcenter.
func NewCalls(s *Store) *Calls { return &Calls{s} }

type callsTx struct{ *Tx }

var _ callcenter.Tx = callsTx{}

// Change implements callcenter.Store.
func (c *Calls) Change(ctx context.Context, f func(callcenter.Tx) error) error {
	return c.s.Write(ctx, Urgent, func(tx *Tx) error { return f(callsTx{tx}) })
}

func same(doc string) string { return doc }

// Call implements callcenter.Store.
func (c *Calls) Call(ctx context.Context, id care.CallID) (callcenter.Call, error) {
	doc, err := c.s.read.GetCall(ctx, string(id))
	return read[callcenter.Call]("call", string(id), doc, err)
}

// LiveCalls implements callcenter.Store.
func (c *Calls) LiveCalls(ctx context.Context, before int64, limit int) ([]callcenter.Call, error) {
	docs, err := c.s.read.LiveCalls(ctx, before, int32(limit))
	return readAll[callcenter.Call]("live calls", docs, err, same)
}

// RecentCalls implements callcenter.Store.
func (c *Calls) RecentCalls(ctx context.Context, limit int) ([]callcenter.Call, error) {
	docs, err := c.s.read.RecentCalls(ctx, int32(limit))
	return readAll[callcenter.Call]("calls", docs, err, same)
}

// CallsOfIncident implements callcenter.Store.
func (c *Calls) CallsOfIncident(ctx context.Context, id care.IncidentID, limit int) ([]callcenter.Call, error) {
	docs, err := c.s.read.CallsOfIncident(ctx, string(id), int32(limit))
	return readAll[callcenter.Call]("calls of an incident", docs, err, same)
}

// CallsOfElder implements callcenter.Store.
func (c *Calls) CallsOfElder(ctx context.Context, id care.ElderID, limit int) ([]callcenter.Call, error) {
	docs, err := c.s.read.CallsOfElder(ctx, string(id), int32(limit))
	return readAll[callcenter.Call]("calls of an elder", docs, err, same)
}

// Callback implements callcenter.Store.
func (c *Calls) Callback(ctx context.Context, id string) (callcenter.Callback, error) {
	doc, err := c.s.read.GetCallBack(ctx, id)
	return read[callcenter.Callback]("call-back", id, doc, err)
}

// Callbacks implements callcenter.Store.
func (c *Calls) Callbacks(ctx context.Context, limit int) ([]callcenter.Callback, error) {
	docs, err := c.s.read.OpenCallBacks(ctx, int32(limit))
	return readAll[callcenter.Callback]("call-backs", docs, err, same)
}

// Operators implements callcenter.Store.
func (c *Calls) Operators(ctx context.Context) ([]callcenter.Operator, error) {
	docs, err := c.s.read.Operators(ctx, 10000)
	return readAll[callcenter.Operator]("operators", docs, err, same)
}

// NextEpoch implements callcenter.Tx.
func (t callsTx) NextEpoch() (int64, error) { return t.NextCounter(t.ctx, "callcenter.epoch") }

// Call implements callcenter.Tx.
func (t callsTx) Call(id care.CallID) (callcenter.Call, bool, error) {
	doc, err := t.LockCall(t.ctx, string(id))
	if errors.Is(err, sql.ErrNoRows) {
		return callcenter.Call{}, false, nil
	}
	v, err := read[callcenter.Call]("call", string(id), doc, err)
	return v, err == nil, err
}

// SaveCall implements callcenter.Tx.
func (t callsTx) SaveCall(c callcenter.Call, was int64) error {
	number := c.From
	if c.Direction == "out" {
		number = c.To
	}
	if was == 0 {
		n, err := t.InsertCall(t.ctx, db.InsertCallParams{ID: string(c.ID), Live: flag(c.Live()), Number: number, ElderID: string(c.ElderID),
			IncidentID: string(c.IncidentID), Epoch: c.Epoch, ArrivedUs: us(c.ArrivedAt), Version: c.Version, Doc: document(c)})
		return conflict(n, err, "call", string(c.ID))
	}
	n, err := t.UpdateCall(t.ctx, db.UpdateCallParams{ID: string(c.ID), Live: flag(c.Live()), Number: number, ElderID: string(c.ElderID),
		IncidentID: string(c.IncidentID), Version: c.Version, Doc: document(c), Version_2: was})
	return conflict(n, err, "call", string(c.ID))
}

// Callback implements callcenter.Tx.
func (t callsTx) Callback(id string) (callcenter.Callback, error) {
	doc, err := t.LockCallBack(t.ctx, id)
	return read[callcenter.Callback]("call-back", id, doc, err)
}

// CallbackOf implements callcenter.Tx.
func (t callsTx) CallbackOf(number string) (callcenter.Callback, bool, error) {
	doc, err := t.OpenCallBackOf(t.ctx, number)
	if errors.Is(err, sql.ErrNoRows) {
		return callcenter.Callback{}, false, nil
	}
	v, err := read[callcenter.Callback]("call-back", "", doc, err)
	return v, err == nil, err
}

// SaveCallback implements callcenter.Tx.
func (t callsTx) SaveCallback(c callcenter.Callback, was int64) error {
	if was == 0 {
		n, err := t.InsertCallBack(t.ctx, db.InsertCallBackParams{ID: c.ID, Open: flag(c.State.Open()), Class: int64(c.Class), Number: c.Number,
			OpenedUs: us(c.OpenedAt), Version: c.Version, Doc: document(c)})
		return conflict(n, err, "call-back", c.ID)
	}
	n, err := t.UpdateCallBack(t.ctx, db.UpdateCallBackParams{ID: c.ID, Open: flag(c.State.Open()), Class: int64(c.Class), Version: c.Version, Doc: document(c), Version_2: was})
	return conflict(n, err, "call-back", c.ID)
}

// SaveOperator implements callcenter.Tx.
func (t callsTx) SaveOperator(o callcenter.Operator, was int64) error {
	if was == 0 {
		n, err := t.InsertOperator(t.ctx, db.InsertOperatorParams{UserID: string(o.UserID), Epoch: o.Epoch, Version: o.Version, Doc: document(o)})
		return conflict(n, err, "operator", string(o.UserID))
	}
	n, err := t.UpdateOperator(t.ctx, db.UpdateOperatorParams{UserID: string(o.UserID), Epoch: o.Epoch, Version: o.Version, Doc: document(o), Version_2: was})
	return conflict(n, err, "operator", string(o.UserID))
}
