package main

import (
	"context"
	"net"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap/zaptest"

	"anling/bus"
	"anling/event"
	"anling/store"
	"anling/store/storetest"
)

// TestABusyPortKeepsNobodyWaiting: with its port taken NATS does not start, the
// server does, and facts are passed into the void without a word but the health's.
func TestABusyPortKeepsNobodyWaiting(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close() //nolint:errcheck // a test's listener
	s := storetest.Open(t, store.Options{})
	f := newFanout(bus.Options{StoreDir: t.TempDir(), Listen: taken.Addr().String(), Log: zaptest.NewLogger(t), Metrics: prometheus.NewRegistry()}, s)
	defer f.Close()
	f.committed([]event.Event{{ID: "1", Type: "store.thing.changed", AggID: "a"}})
	if state, detail := f.Health(); state != "degraded" || detail == "" {
		t.Errorf("health is %s, %s", state, detail)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := f.Run(ctx); err != nil {
		t.Error(err)
	}
	if err := taken.Close(); err != nil {
		t.Fatal(err)
	}
	f.start()
	if state, detail := f.Health(); state != "ok" {
		t.Errorf("with the port free health is %s, %s", state, detail)
	}
}
