package storetest

import (
	"context"
	"fmt"
	"testing"
	"time"

	"anling/care"
	"anling/geo"
	"anling/sos"
	"anling/store"
)

// SOS is the suite of sos.Store.
func SOS(t *testing.T, s *store.Store) {
	ctx := t.Context()
	r, k := NewRegistry(s), store.NewSOS(s)
	device := func(external string) care.Device {
		t.Helper()
		d, err := r.SaveDevice(ctx, care.Device{Kind: "watch", Protocol: "watch", ExternalID: external, State: "active", Class: "watch"}, "user:u1")
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	a, b := device("8800000015"), device("8800000016")
	device("8800000017") // never heard
	start := time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC)
	battery := 40
	fix := care.Fix{Point: geo.Point{Lat: 25.04, Lng: 102.72}, Source: care.FixGNSS, At: start}
	back, err := k.Touch(ctx, []sos.Touch{
		{DeviceID: b.ID, At: start.Add(time.Hour)},
		{DeviceID: a.ID, At: start, Battery: &battery, Fix: &fix, States: true, Levels: []care.Kind{care.KindBattery}}})
	if err != nil || len(back) != 0 {
		t.Fatalf("touch: %v %v", back, err)
	}
	got, err := r.DeviceByExternal(ctx, "watch", "8800000015")
	if err != nil || got.Battery == nil || *got.Battery != 40 || got.LastFix == nil || !got.LastSeen.Equal(start) || len(got.Levels) != 1 {
		t.Fatalf("after a touch: %+v %v", got, err)
	}

	t.Run("a device is marked offline once, and not when it spoke meanwhile", func(t *testing.T) {
		silent, err := k.Silent(ctx, start.Add(30*time.Minute), "", 10)
		if err != nil || len(silent) != 1 || silent[0].DeviceID != a.ID || silent[0].Class != "watch" {
			t.Fatalf("silent %+v %v", silent, err)
		}
		late := silent[0]
		late.OfflineSince, late.LastSeen = start.Add(31*time.Minute), start.Add(-time.Second)
		if marked, err := k.MarkOffline(ctx, []sos.Silent{late}); err != nil || len(marked) != 0 {
			t.Fatalf("marked by an older reading: %v %v", marked, err)
		}
		late.LastSeen = start
		for round, want := range []int{1, 0} {
			if marked, err := k.MarkOffline(ctx, []sos.Silent{late}); err != nil || len(marked) != want {
				t.Fatalf("round %d marked %v %v", round, marked, err)
			}
		}
		offline, err := k.Offline(ctx)
		if err != nil || len(offline) != 1 || !offline[0].OfflineSince.Equal(late.OfflineSince) {
			t.Fatalf("offline %+v %v", offline, err)
		}
		if silent, err = k.Silent(ctx, start.Add(2*time.Hour), "", 1); err != nil || len(silent) != 1 || silent[0].DeviceID != b.ID {
			t.Fatalf("silent besides %+v %v", silent, err)
		}
	})

	t.Run("a sign of life ends it, with both facts", func(t *testing.T) {
		back, err := k.Touch(ctx, []sos.Touch{{DeviceID: a.ID, At: start.Add(40 * time.Minute), States: true}})
		if err != nil || len(back) != 1 || back[0].DeviceID != a.ID {
			t.Fatalf("back %v %v", back, err)
		}
		if offline, err := k.Offline(ctx); err != nil || len(offline) != 0 {
			t.Fatalf("offline %v %v", offline, err)
		}
		events, err := s.Read().AggregateEvents(ctx, "life-"+string(a.ID), 0, 10)
		if err != nil || len(events) != 2 || events[0].Type != string(sos.DeviceOffline) || events[1].Type != string(sos.DeviceOnline) {
			t.Fatalf("events %v %v", events, err)
		}
		got, err := r.DeviceByExternal(ctx, "watch", "8800000015")
		if err != nil || len(got.Levels) != 0 || !got.OfflineSince.IsZero() || got.Battery == nil {
			t.Fatalf("device %+v %v", got, err)
		}
	})

	t.Run("when supervision last ran", func(t *testing.T) {
		if at, err := k.Alive(ctx); err != nil || !at.IsZero() {
			t.Fatalf("before: %v %v", at, err)
		}
		if err := k.SetAlive(ctx, start); err != nil {
			t.Fatal(err)
		}
		if at, err := k.Alive(ctx); err != nil || !at.Equal(start) {
			t.Fatalf("after: %v %v", at, err)
		}
	})

	t.Run("unread frames are kept, the newest first", func(t *testing.T) {
		for i := range 3 {
			f := sos.RawFrame{Protocol: "gt06", ClaimedID: "860000000000012", At: start, Reason: "unknown_type", Raw: []byte{0x78, 0x78, byte(i)}}
			if err := k.KeepFrame(ctx, f); err != nil {
				t.Fatal(err)
			}
		}
		frames, err := k.Frames(ctx, 2)
		if err != nil || len(frames) != 2 || frames[0].Raw[2] != 2 || !frames[0].At.Equal(start) {
			t.Fatalf("frames %+v %v", frames, err)
		}
	})

	t.Run("two thousand signs are one commit", func(t *testing.T) {
		var touches []sos.Touch
		for i := range 2000 {
			touches = append(touches, sos.Touch{DeviceID: care.DeviceID(fmt.Sprintf("many-%04d", i)), At: start})
		}
		if _, err := k.Touch(ctx, touches); err != nil {
			t.Fatal(err)
		}
	})

	t.Run("a context that ends is an error", func(t *testing.T) {
		done, cancel := context.WithCancel(ctx)
		cancel()
		if _, err := k.Touch(done, []sos.Touch{{DeviceID: a.ID, At: start}}); err == nil {
			t.Fatal("no error")
		}
	})
}
