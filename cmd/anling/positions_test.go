package main

import (
	"testing"
	"time"

	"go.uber.org/zap/zaptest"

	"anling/care"
	"anling/dispatch/assign"
	"anling/geo"
	"anling/store/live"
)

// TestPositionsFillEachOther: a wiped live store gets back what the roster knows,
// and a fresh roster gets what the live store knows.
func TestPositionsFillEachOther(t *testing.T) {
	at := geo.Point{Lat: 25.04, Lng: 102.71}
	shared := live.NewMemory(time.Now)
	node := func() (*assign.Engine, *positions) {
		e := assign.NewEngine(assign.Options{})
		e.Put(care.Responder{ID: "r1", Duty: "on", Base: geo.Offset(at, 5000, 0)}, false)
		return e, newPositions(shared, e, zaptest.NewLogger(t))
	}
	_, one := node()
	if err := one.Put(t.Context(), "r1", care.Fix{Point: at, Source: care.FixApp, At: time.Now()}); err != nil {
		t.Fatal(err)
	}
	if err := one.Put(t.Context(), "nobody", care.Fix{Point: at, Source: care.FixApp, At: time.Now()}); err != nil {
		t.Fatal(err)
	}
	shared.Wipe()
	one.sync(t.Context())
	there, err := shared.Positions(t.Context(), positionKind)
	if err != nil || len(there) != 1 || there["r1"].Point != at {
		t.Fatalf("after the wipe live state has %v, %v", there, err)
	}
	engine, two := node()
	two.sync(t.Context())
	if s := engine.Snapshot(); len(s) != 1 || s[0].Fix.Point != at || s[0].Fix.Source != care.FixApp {
		t.Errorf("the other node knows %+v", s)
	}
}
