package e2e

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"

	"anling/care"
	"anling/cmd/internal/simdevice"
	"anling/cmd/internal/simload"
	"anling/geo"
)

// imei completes fourteen digits by their check digit.
func imei(digits string) string { return digits + string(care.LuhnDigit(digits)) }

// TestKillDuringAlarms kills the server with -9 again and again while devices press.
// What was acknowledged is there afterwards, once; nothing is lost, nothing doubled.
func TestKillDuringAlarms(t *testing.T) {
	beside(t, working)
	const presses = 5000
	s := newServer(t)
	s.start()
	admin := s.login("admin")
	var devices []simdevice.Identity
	for _, protocol := range []string{simdevice.GT06, simdevice.Watch} {
		all, err := admin.Devices(s.ctx(), "")
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range all {
			if d.Protocol == protocol && d.State == "active" {
				devices = append(devices, simdevice.Identity{Protocol: protocol, ID: d.ExternalID})
			}
		}
	}
	known := len(devices)
	for i := range 300 { // nobody knows these: each opens an incident of its own
		devices = append(devices, simdevice.Identity{Protocol: simdevice.GT06, ID: imei(fmt.Sprintf("99555501%06d", i))})
	}
	ledger, err := simdevice.OpenLedger(filepath.Join(s.dir, "ledger"))
	if err != nil {
		t.Fatal(err)
	}
	load := simload.Alarms{Devices: devices, GT06: s.gt06, Watch: s.watch, Rate: 150, Count: presses, Grace: 3 * patience, Duplicates: 1,
		LowBattery: 0.3, Around: geo.Point{Lat: 25.04, Lng: 102.72}, Ledger: ledger}
	done := make(chan struct{})
	var result simload.AlarmsResult
	var loadErr error
	go func() {
		defer close(done)
		result, loadErr = load.Run(t.Context())
	}()
	// It is killed after some more answers, not after some time: on a busy machine it
	// would be killed before it gave any.
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	kills, next := 0, 300+rand.IntN(900)
	for running := true; running; {
		select {
		case <-done:
			running = false
		case <-tick.C:
			if ledger.Len() < next {
				continue
			}
			s.kill()
			kills++
			s.start("serve")
			next = ledger.Len() + 300 + rand.IntN(900)
		}
	}
	if loadErr != nil {
		t.Fatal(loadErr)
	}
	if err := ledger.Close(); err != nil {
		t.Fatal(err)
	}
	entries, err := simdevice.ReadLedger(filepath.Join(s.dir, "ledger"))
	if err != nil {
		t.Fatal(err)
	}
	audit, err := simload.CheckLedger(s.ctx(), s.login("admin"), entries)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d kills, %d known and %d unknown devices: %d sent, %d acknowledged, %d found, %d listed", kills, known, len(devices)-known, result.Sent, audit.Acknowledged, audit.Found, audit.Listed)
	if !audit.Good() {
		t.Errorf("lost %v, doubled %v, without incident %v", audit.Lost, audit.Doubled, audit.Loose)
	}
	if audit.Acknowledged < presses || kills < 2 {
		t.Errorf("%d acknowledged of %d, %d kills", audit.Acknowledged, presses, kills)
	}
	if v := s.metric("anling_dispatch_unwatched_incidents"); v != "0" {
		t.Errorf("open incidents without deadline or task: %q", v)
	}
}
