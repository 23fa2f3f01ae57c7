package sos

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"anling/care"
)

// watchover runs a supervision over some devices in a time of its own.
type watchover struct {
	*Supervision
	board    *board
	registry *registry
	rows     *rows
}

func newWatchover(devices ...Silent) *watchover {
	w := &watchover{board: &board{}, rows: &rows{silent: map[care.DeviceID]Silent{}}, registry: &registry{elders: map[care.ElderID]care.Elder{
		"calm": {ID: "calm", LivingState: "spouse", Home: home}, "alone": {ID: "alone", LivingState: "alone", Tags: []care.Tag{{Code: "dementia"}}, Home: home}}}}
	for _, d := range devices {
		w.rows.silent[d.DeviceID] = d
	}
	w.again()
	return w
}

// again is a new process over the same rows.
func (w *watchover) again() {
	w.Supervision = NewSupervision(SupervisionOptions{Opener: w.board, Directory: w.registry, Store: w.rows})
}

// run lets it run for a time.
func (w *watchover) run(t *testing.T, d time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	if err := w.Run(ctx); err != nil {
		t.Fatal(err)
	}
}

func (w *watchover) heard(ids ...care.DeviceID) {
	var touches []Touch
	for _, id := range ids {
		touches = append(touches, Touch{DeviceID: id, At: time.Now()})
	}
	if _, err := w.rows.Touch(context.Background(), touches); err != nil {
		panic(err)
	}
}

func pendant(id string, elder care.ElderID) Silent {
	return Silent{DeviceID: care.DeviceID(id), ElderID: elder, Protocol: "gt06", Class: "gt06_pendant", LastSeen: time.Now()}
}

func TestSilentDeviceBecomesAnItem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWatchover(pendant("p", "calm"))
		w.run(t, 29*time.Minute)
		if n := len(w.board.all()); n != 0 {
			t.Fatalf("%d items while it may still come back", n)
		}
		if w.rows.silent["p"].OfflineSince.IsZero() {
			t.Fatal("not marked offline after its contract")
		}
		w.run(t, 3*time.Minute)
		all := w.board.all()
		if len(all) != 1 || all[0].DeviceID != "p" || all[0].Priority != care.P3 || all[0].Kinds[0] != care.KindDeviceOff {
			t.Fatalf("items %+v", all)
		}
		w.run(t, 3*time.Hour)
		if n := len(w.board.all()); n != 1 {
			t.Fatalf("%d items for one silence", n)
		}
		w.run(t, 22*time.Hour)
		if all = w.board.all(); len(all) != 2 || all[1].Priority != care.P2 {
			t.Fatalf("after a day: %+v", all)
		}
		w.heard("p")
		w.run(t, time.Hour)
		if all = w.board.all(); len(all) != 3 || all[2].Priority != care.P3 {
			t.Fatalf("a second silence is an item of its own: %d", len(all))
		}
	})
}

func TestDeviceThatComesBackInTimeIsNoItem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWatchover(pendant("p", "calm"))
		w.run(t, 20*time.Minute)
		if w.rows.silent["p"].OfflineSince.IsZero() {
			t.Fatal("not marked")
		}
		w.heard("p")
		w.run(t, 14*time.Minute)
		w.heard("p")
		w.run(t, 14*time.Minute)
		if n := len(w.board.all()); n != 0 {
			t.Fatalf("%d items", n)
		}
	})
}

func TestElderAloneAtRiskComesFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWatchover(pendant("p", "alone"))
		w.run(t, 31*time.Minute)
		all := w.board.all()
		if len(all) != 1 || all[0].Priority != care.P2 || all[0].ElderID != "alone" || len(all[0].Locations) != 1 {
			t.Fatalf("items %+v", all)
		}
	})
}

func TestRestartGoesOnWhereItWas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWatchover(pendant("p", "calm"))
		for range 32 { // a restart each minute resets no clock
			w.run(t, time.Minute)
			w.again()
		}
		if n := len(w.board.all()); n != 1 {
			t.Fatalf("%d items", n)
		}
	})
}

// While we are away nobody can be heard: that is no device's silence.
func TestOurOwnAbsenceIsNobodysSilence(t *testing.T) {
	for name, absent := range map[string]func(t *testing.T, w *watchover){
		"the program was stopped": func(_ *testing.T, w *watchover) { time.Sleep(5 * time.Hour); w.again() },
		"the store was away": func(t *testing.T, w *watchover) {
			w.rows.fail = errors.New("away")
			w.run(t, 5*time.Hour)
			w.rows.fail = nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWatchover(pendant("p", "calm"))
				w.run(t, 5*time.Minute)
				absent(t, w)
				w.run(t, 8*time.Minute)
				if !w.rows.silent["p"].OfflineSince.IsZero() {
					t.Fatal("marked offline for our absence")
				}
				w.run(t, 4*time.Minute)
				if w.rows.silent["p"].OfflineSince.IsZero() {
					t.Fatal("its silence before and after does not count")
				}
			})
		})
	}
}

func TestFirstStartWaitsForTheDevices(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		old := pendant("p", "calm")
		old.LastSeen = time.Now().Add(-30 * 24 * time.Hour)
		w := newWatchover(old)
		w.run(t, 10*time.Minute)
		if !w.rows.silent["p"].OfflineSince.IsZero() {
			t.Fatal("marked before it could speak")
		}
		w.run(t, 10*time.Minute)
		if w.rows.silent["p"].OfflineSince.IsZero() {
			t.Fatal("never marked")
		}
	})
}

func TestManyLostAtOnceAreOneOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var all []Silent
		for i := range 30 {
			d := pendant(fmt.Sprintf("p%02d", i), "calm")
			d.LastSeen = d.LastSeen.Add(time.Duration(i) * 5 * time.Second)
			all = append(all, d)
		}
		lone := Silent{DeviceID: "w", ElderID: "calm", Protocol: "watch", Class: "watch", LastSeen: time.Now()}
		w := newWatchover(append(all, lone)...)
		w.run(t, time.Hour)
		items := w.board.all()
		var outages, single int
		for _, r := range items {
			switch {
			case strings.HasPrefix(r.Key, "outage:"):
				outages++
				// It is told as soon as twenty are lost; the rest join it in silence.
				if n := len(r.Alarm.Reasons) - 1; n < 20 || n > 30 {
					t.Errorf("the outage lists %d", n)
				}
			case r.DeviceID == "w":
				single++
			default:
				t.Errorf("an item of its own for %s in an outage", r.DeviceID)
			}
		}
		if outages != 1 || single != 1 {
			t.Fatalf("%d outages, %d items besides", outages, single)
		}
		for i := range 25 {
			id := care.DeviceID(fmt.Sprintf("p%02d", i))
			w.heard(id)
		}
		w.run(t, 14*time.Minute)
		if n := len(w.board.all()); n != 2 {
			t.Fatalf("%d items right after the outage", n)
		}
		back := func() {
			for i := range 25 {
				w.heard(care.DeviceID(fmt.Sprintf("p%02d", i)))
			}
		}
		for range 3 {
			back()
			w.run(t, 7*time.Minute)
		}
		if n := len(w.board.all()); n != 2+5 {
			t.Fatalf("%d items half an hour after: those still missing have one each", n)
		}
	})
}

func TestContracts(t *testing.T) {
	for name, c := range map[string]struct {
		device Silent
		want   time.Duration
	}{
		"pendant": {Silent{Protocol: "gt06"}, 15 * time.Minute}, "watch": {Silent{Protocol: "watch"}, 30 * time.Minute},
		"pendant that says it hourly": {Silent{Protocol: "gt06", HeartbeatSec: 3600}, 3 * time.Hour},
		"a number":                    {Silent{Protocol: "number"}, 35 * 24 * time.Hour}, "unknown": {Silent{Protocol: "x", Class: "y"}, 30 * time.Minute},
	} {
		if got := c.device.OfflineAfter(); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}
