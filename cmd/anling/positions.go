package main

import (
	"context"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"anling/care"
	"anling/dispatch/assign"
	"anling/store/live"
)

const (
	positionKind  = "responder"
	positionSync  = 5 * time.Second
	positionLimit = time.Second
)

// positions joins where responders are: the roster of this process ranks by it, the
// live store shares it with other nodes. Each fills the other again after it lost
// what it had.
type positions struct {
	live   live.Store
	roster *assign.Engine
	log    *zap.Logger
	down   atomic.Bool
	now    func() time.Time
}

func newPositions(l live.Store, roster *assign.Engine, log *zap.Logger) *positions {
	return &positions{live: l, roster: roster, log: log, now: time.Now}
}

// Put says where a responder is. The live store being away is no error: the roster
// of this node has it.
func (p *positions) Put(ctx context.Context, id care.ResponderID, fix care.Fix) error {
	if p.roster.Move(id, fix) { // else it is older than what is known, or nobody of ours
		p.share(ctx, id, fix)
	}
	return nil
}

// share tells other nodes.
func (p *positions) share(ctx context.Context, id care.ResponderID, fix care.Fix) {
	ctx, cancel := context.WithTimeout(ctx, positionLimit)
	defer cancel()
	p.note(p.live.PutPosition(ctx, positionKind, string(id), shared(fix)))
}

func shared(f care.Fix) live.Position {
	return live.Position{Point: f.Point, AccuracyM: f.AccuracyM, Source: string(f.Source), At: f.At}
}

// note keeps whether the live store answers.
func (p *positions) note(err error) {
	if p.down.Swap(err != nil) != (err != nil) {
		if err != nil {
			p.log.Warn("positions are not shared", zap.Error(err))
		} else {
			p.log.Info("positions are shared again")
		}
	}
}

// Run takes over what other nodes heard, and gives back what the live store lost,
// until ctx ends.
func (p *positions) Run(ctx context.Context) error {
	tick := time.NewTicker(positionSync)
	defer tick.Stop()
	for {
		p.sync(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func (p *positions) sync(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 2*positionLimit)
	defer cancel()
	there, err := p.live.Positions(ctx, positionKind)
	if ctx.Err() == nil || err == nil {
		p.note(err)
	}
	if err != nil {
		return
	}
	for id, at := range there {
		p.roster.Move(care.ResponderID(id), care.Fix{Point: at.Point, AccuracyM: at.AccuracyM, Source: care.FixSource(at.Source), At: at.At})
	}
	for _, s := range p.roster.Snapshot() {
		_, known := there[string(s.ID)]
		if known || s.Fix.Source == care.FixBase || s.Fix.Point.IsZero() || p.now().Sub(s.Fix.At) > live.PositionTTL {
			continue
		}
		if err := p.live.PutPosition(ctx, positionKind, string(s.ID), shared(s.Fix)); err != nil {
			p.note(err)
			return
		}
	}
}

// Health is "ok", or "degraded" while positions of other nodes are not heard.
func (p *positions) Health() (state, detail string) {
	if p.down.Load() {
		return "degraded", "live state is unavailable: positions of other nodes may be stale"
	}
	return "ok", ""
}
