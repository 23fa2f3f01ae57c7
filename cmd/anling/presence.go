package main

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"go.uber.org/zap"

	"anling/care"
	"anling/store/live"
	"anling/web"
)

// Presence is repeated by each beat and ends by itself after three missed ones.
const (
	presenceBeat = 10 * time.Second
	presenceTTL  = 30 * time.Second
)

// presence shares who has a page open: this node tells the live store of its own,
// and knows of all from it.
type presence struct {
	live live.Store
	here func(ctx context.Context) []web.Seat
	node string
	log  *zap.Logger
	now  func() time.Time
	all  atomic.Pointer[map[string]map[string]bool] // by kind and id
}

func newPresence(l live.Store, here func(context.Context) []web.Seat, log *zap.Logger) *presence {
	p := &presence{live: l, here: here, node: uuid.NewString(), log: log, now: time.Now}
	p.all.Store(&map[string]map[string]bool{})
	return p
}

// Online tells whether somebody was there at the last beat, on any node.
func (p *presence) Online(kind, id string) bool { return (*p.all.Load())[kind][id] }

// Run beats until ctx ends.
func (p *presence) Run(ctx context.Context) error {
	tick := time.NewTicker(presenceBeat)
	defer tick.Stop()
	for {
		p.beat(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// beat tells who is here and reads who is anywhere. While the live store is away,
// those here are known.
func (p *presence) beat(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	all := map[string]map[string]bool{"operator": {}, "responder": {}}
	for _, s := range p.here(ctx) {
		kind, id := "operator", string(s.UserID)
		if s.Role == care.RoleResponder {
			kind, id = "responder", string(s.ResponderID)
		}
		all[kind][id] = true
		if err := p.live.SetPresence(ctx, kind, id, live.Presence{State: "online", Node: p.node, Since: p.now()}, presenceTTL); err != nil {
			p.log.Debug("presence is not shared", zap.Error(err))
		}
	}
	for kind := range all {
		there, err := p.live.Presences(ctx, kind)
		if err != nil {
			p.log.Debug("presence of other nodes", zap.Error(err))
			continue
		}
		for id := range there {
			all[kind][id] = true
		}
	}
	p.all.Store(&all)
}
