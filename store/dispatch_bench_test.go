package store_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"anling/care"
	"anling/dispatch"
	"anling/dispatch/assign"
	"anling/geo"
	"anling/store"
	"anling/store/storetest"
)

// BenchmarkStand measures what a device waits for: key, incident, alarm, events,
// deadline and outbox in one durable commit.
func BenchmarkStand(b *testing.B) {
	benchmarkOpen(b, func(ctx context.Context, board *dispatch.Board, r care.OpenRequest) error {
		_, _, err := board.Stand(ctx, r)
		return err
	})
}

// BenchmarkOpen measures the accept with what follows it: the first wave of offers, in
// a commit of its own.
func BenchmarkOpen(b *testing.B) {
	benchmarkOpen(b, func(ctx context.Context, board *dispatch.Board, r care.OpenRequest) error {
		_, err := board.Open(ctx, r)
		return err
	})
}

func benchmarkOpen(b *testing.B, open func(context.Context, *dispatch.Board, care.OpenRequest) error) {
	home := geo.Point{Lat: 25.04, Lng: 102.72}
	for _, waiters := range []int{1, 16, 64} {
		b.Run(fmt.Sprint(waiters), func(b *testing.B) {
			s := storetest.Open(b, store.Options{})
			keep := store.NewDispatch(s)
			engine := assign.NewEngine(assign.Options{Store: keep})
			board := dispatch.NewBoard(dispatch.Options{Store: keep, Engine: engine, OfferAtOnce: true})
			var people []care.Responder
			for i := range 200 {
				people = append(people, care.Responder{ID: care.ResponderID(fmt.Sprint("r", i)), Duty: "on", Skills: []string{"first_aid"}, Mode: "ebike",
					Base: geo.Offset(home, float64(i%20)*300, float64(i/20)*300)})
			}
			if err := engine.Load(b.Context(), people, nil); err != nil {
				b.Fatal(err)
			}
			var n atomic.Int64
			b.SetParallelism(waiters)
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					id := fmt.Sprint(n.Add(1))
					err := open(b.Context(), board, care.OpenRequest{Key: id, Digest: "sos", Source: "device", Actor: "device:" + id, Kinds: []care.Kind{care.KindSOS},
						ElderID: care.ElderID("e" + id), DeviceID: care.DeviceID("d" + id), Locations: []care.Fix{{Point: home, Source: care.FixGNSS}},
						Alarm: &care.Alarm{Protocol: "gt06", Kinds: []care.Kind{care.KindSOS}, SourceEventID: id, ReceivedAt: time.Now()}})
					if err != nil {
						b.Fatal(err)
					}
				}
			})
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "alarms/s")
		})
	}
}
