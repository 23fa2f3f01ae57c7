package main

import (
	"context"
	"testing"
	"time"

	"go.uber.org/zap/zaptest"

	"anling/care"
	"anling/store/live"
	"anling/web"
)

func TestPresenceIsSharedAndEnds(t *testing.T) {
	now := time.Now()
	shared := live.NewMemory(func() time.Time { return now })
	seats := []web.Seat{{UserID: "u1", Role: care.RoleOperator}, {UserID: "u2", ResponderID: "r2", Role: care.RoleResponder}}
	one := newPresence(shared, func(context.Context) []web.Seat { return seats }, zaptest.NewLogger(t))
	two := newPresence(shared, func(context.Context) []web.Seat { return nil }, zaptest.NewLogger(t))
	one.beat(t.Context())
	two.beat(t.Context())
	for _, p := range []*presence{one, two} {
		if !p.Online("operator", "u1") || !p.Online("responder", "r2") || p.Online("operator", "u2") {
			t.Error("who is there is not known to both nodes")
		}
	}
	seats = nil
	now = now.Add(presenceTTL + time.Second)
	one.beat(t.Context())
	two.beat(t.Context())
	if one.Online("operator", "u1") || two.Online("responder", "r2") {
		t.Error("who has left is there still")
	}
}
