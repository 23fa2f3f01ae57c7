package sos

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"anling/care"
	"anling/geo"
)

// board is an Opener with the memory of dispatch.Board: a key is done once.
type board struct {
	mu       sync.Mutex
	requests []care.OpenRequest
	done     map[string]care.Opened
	fail     error
	block    chan struct{}
}

func (b *board) Open(ctx context.Context, r care.OpenRequest) (care.Opened, error) {
	b.mu.Lock()
	block, fail := b.block, b.fail
	b.mu.Unlock()
	if block != nil {
		select {
		case <-block:
		case <-ctx.Done():
			return care.Opened{}, ctx.Err()
		}
	}
	if fail != nil {
		return care.Opened{}, fail
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if o, ok := b.done[r.Key+r.Digest]; ok {
		o.Repeat = true
		return o, nil
	}
	if b.done == nil {
		b.done = map[string]care.Opened{}
	}
	b.requests = append(b.requests, r)
	o := care.Opened{IncidentID: care.NewID[care.IncidentID](), Joined: false}
	b.done[r.Key+r.Digest] = o
	return o, nil
}

func (b *board) all() []care.OpenRequest {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.requests)
}

func (b *board) setFail(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.fail = err
}

// registry is a Directory.
type registry struct {
	mu      sync.Mutex
	devices map[string]care.Device
	elders  map[care.ElderID]care.Elder
	fail    error
	asked   int
}

func (r *registry) DeviceByExternal(_ context.Context, protocol, external string) (care.Device, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked++
	if r.fail != nil {
		return care.Device{}, r.fail
	}
	d, ok := r.devices[protocol+":"+external]
	if !ok {
		return care.Device{}, care.NotFound("device", external)
	}
	return d, nil
}

func (r *registry) Elder(_ context.Context, id care.ElderID) (care.Elder, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e, ok := r.elders[id]
	if !ok {
		return care.Elder{}, care.NotFound("elder", string(id))
	}
	return e, nil
}

// rows is a Store.
type rows struct {
	mu      sync.Mutex
	fail    error
	touches []Touch
	silent  map[care.DeviceID]Silent
	frames  []RawFrame
	alive   time.Time
}

func (r *rows) Touch(_ context.Context, t []Touch) (back []Silent, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fail != nil {
		return nil, r.fail
	}
	r.touches = append(r.touches, t...)
	for _, x := range t {
		if s, ok := r.silent[x.DeviceID]; ok {
			if !s.OfflineSince.IsZero() {
				back = append(back, s)
			}
			s.LastSeen, s.OfflineSince = x.At, time.Time{}
			r.silent[x.DeviceID] = s
		}
	}
	return back, nil
}

func (r *rows) written() []Touch {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.touches)
}

func (r *rows) setFail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fail = err
}

func (r *rows) KeepFrame(_ context.Context, f RawFrame) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.frames = append(r.frames, f)
	return r.fail
}

func (r *rows) Silent(_ context.Context, before time.Time, after care.DeviceID, limit int) (all []Silent, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fail != nil {
		return nil, r.fail
	}
	for _, s := range r.silent {
		if s.OfflineSince.IsZero() && s.LastSeen.Before(before) && s.DeviceID > after {
			all = append(all, s)
		}
	}
	slices.SortFunc(all, func(a, b Silent) int { return cmpString(string(a.DeviceID), string(b.DeviceID)) })
	return all[:min(limit, len(all))], nil
}

func cmpString(a, b string) int {
	if a < b {
		return -1
	} else if a > b {
		return 1
	}
	return 0
}

func (r *rows) Offline(context.Context) (all []Silent, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.silent {
		if !s.OfflineSince.IsZero() {
			all = append(all, s)
		}
	}
	return all, r.fail
}

func (r *rows) MarkOffline(_ context.Context, lost []Silent) ([]Silent, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, d := range lost {
		r.silent[d.DeviceID] = d
	}
	return lost, r.fail
}

func (r *rows) Alive(context.Context) (time.Time, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.alive, r.fail
}

func (r *rows) SetAlive(_ context.Context, now time.Time) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fail == nil {
		r.alive = now
	}
	return r.fail
}

const imei = "860000000000012"

var (
	noon   = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	home   = geo.Point{Lat: 25.04, Lng: 102.72}
	street = geo.Point{Lat: 25.05, Lng: 102.73}
)

// desk is an intake with everything around it, and a clock to be set.
type desk struct {
	*Intake
	board    *board
	registry *registry
	rows     *rows
	now      time.Time
}

func newDesk(t *testing.T) *desk {
	d := &desk{board: &board{}, rows: &rows{}, now: noon, registry: &registry{
		devices: map[string]care.Device{"gt06:" + imei: {ID: "dev-1", ElderID: "elder-1", Protocol: "gt06", ExternalID: imei, State: "active", Model: "VL103"}},
		elders:  map[care.ElderID]care.Elder{"elder-1": {ID: "elder-1", Home: home, AreaCode: "530102001001"}}}}
	d.Intake = NewIntake(IntakeOptions{Opener: d.board, Directory: d.registry, Store: d.rows, Now: func() time.Time { return d.now }, Metrics: prometheus.NewRegistry()})
	return d
}

func (d *desk) press(key string, kinds ...care.Kind) care.Alarm {
	return care.Alarm{ClaimedID: imei, Protocol: "gt06", Kinds: kinds, DeviceTime: d.now, ReceivedAt: d.now, SourceEventID: key}
}

func (d *desk) receive(t *testing.T, a care.Alarm) care.Opened {
	t.Helper()
	o, err := d.Receive(t.Context(), a)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func TestPlaceGoesDownTheLadder(t *testing.T) {
	sources := func(r care.OpenRequest) (s []care.FixSource) {
		for _, l := range r.Locations {
			s = append(s, l.Source)
		}
		return s
	}
	d := newDesk(t)
	d.receive(t, d.press("a", care.KindSOS))
	if got := sources(d.board.all()[0]); !slices.Equal(got, []care.FixSource{care.FixHome}) {
		t.Errorf("never seen anywhere: %v", got)
	}
	d.Seen(Sign{Protocol: "gt06", ClaimedID: imei, At: d.now, Fix: &care.Fix{Point: street, Source: care.FixGNSS, At: d.now}})
	d.now = d.now.Add(20 * time.Minute)
	d.receive(t, d.press("b", care.KindSOS))
	r := d.board.all()[1]
	if got := sources(r); !slices.Equal(got, []care.FixSource{care.FixLast, care.FixHome}) || r.At.Sub(r.Locations[0].At) != 20*time.Minute || r.Locations[0].Point != street {
		t.Errorf("seen a while ago: %v %+v", got, r.Locations)
	}
	live := d.press("c", care.KindSOS)
	live.Position = &care.Fix{Point: home, Source: care.FixGNSS, At: d.now}
	d.receive(t, live)
	r = d.board.all()[2]
	if got := sources(r); !slices.Equal(got, []care.FixSource{care.FixGNSS, care.FixHome}) {
		t.Errorf("with a fix: %v", got)
	}
	if r.ElderID != "elder-1" || r.DeviceID != "dev-1" || r.Area != "530102001001" || r.Alarm.Trust != "ok" || r.Priority != care.P1 || r.Source != "device" {
		t.Errorf("request %+v", r)
	}
}

func TestPositionsOfAShiftedDatumAreBroughtBack(t *testing.T) {
	d := newDesk(t)
	dev := d.registry.devices["gt06:"+imei]
	dev.Datum = "gcj02"
	d.registry.devices["gt06:"+imei] = dev
	a := d.press("a", care.KindSOS)
	a.Position = &care.Fix{Point: geo.ToGCJ02(street), Source: care.FixGNSS, At: d.now}
	d.receive(t, a)
	if got := d.board.all()[0].Locations[0]; geo.Distance(got.Point, street) > 1 || got.Datum != "gcj02" {
		t.Errorf("place %+v is %.0f m off", got, geo.Distance(got.Point, street))
	}
}

func TestUnknownDeviceStillOpens(t *testing.T) {
	d := newDesk(t)
	a := d.press("a", care.KindSOS)
	a.ClaimedID = "860000000000013"
	d.receive(t, a)
	r := d.board.all()[0]
	if r.DeviceID != "" || r.Alarm.Trust != "unverified" || r.Priority != care.P2 || r.Alarm.ClaimedID != a.ClaimedID || len(r.Alarm.Reasons) != 2 {
		t.Errorf("request %+v alarm %+v", r, r.Alarm)
	}
}

func TestRegistryAwayDoesNotHoldAnAlarmUp(t *testing.T) {
	d := newDesk(t)
	d.registry.fail = errors.New("database is gone")
	d.receive(t, d.press("a", care.KindSOS))
	if r := d.board.all()[0]; r.Alarm.Trust != "unverified" || r.Kinds[0] != care.KindSOS {
		t.Errorf("request %+v", r)
	}
	d.registry.fail = nil
	d.receive(t, d.press("b", care.KindSOS))
	d.registry.fail = errors.New("database is gone again")
	d.now = d.now.Add(time.Hour)
	d.receive(t, d.press("c", care.KindSOS))
	if r := d.board.all()[2]; r.DeviceID != "dev-1" || r.ElderID != "elder-1" {
		t.Errorf("what was known before is forgotten: %+v", r)
	}
	if first, second := d.board.all()[0].Digest, d.board.all()[1].Digest; first != second {
		t.Errorf("the meaning depends on the registry: %q and %q", first, second)
	}
}

func TestRegistryChangesAreFollowed(t *testing.T) {
	d := newDesk(t)
	stranger := d.press("a", care.KindSOS)
	stranger.ClaimedID = "860000000000020"
	d.receive(t, stranger)
	stranger.SourceEventID = "b"
	d.receive(t, stranger)
	if d.registry.asked != 1 {
		t.Errorf("an unknown identity was asked for %d times", d.registry.asked)
	}
	d.registry.devices["gt06:860000000000020"] = care.Device{ID: "dev-2", ElderID: "elder-1", State: "active"}
	d.Changed("device", "dev-2")
	stranger.SourceEventID = "c"
	d.receive(t, stranger)
	if r := d.board.all()[2]; r.DeviceID != "dev-2" || r.Alarm.Trust != "ok" {
		t.Errorf("a device registered meanwhile: %+v", r)
	}
	d.registry.elders["elder-1"] = care.Elder{ID: "elder-1", Home: street}
	d.Changed("elder", "elder-1")
	stranger.SourceEventID = "d"
	d.receive(t, stranger)
	if r := d.board.all()[3]; r.Locations[0].Point != street {
		t.Errorf("an elder who moved: %+v", r.Locations)
	}
	moved := d.registry.devices["gt06:860000000000020"]
	moved.State = "returned"
	d.registry.devices["gt06:860000000000020"] = moved
	d.Changed("device", "dev-2")
	stranger.SourceEventID = "e"
	d.receive(t, stranger)
	if r := d.board.all()[4]; r.Alarm.Trust != "suspect" || r.Priority != care.P1 {
		t.Errorf("a device that was returned: %+v", r.Alarm)
	}
}

func TestCacheIsBounded(t *testing.T) {
	d := newDesk(t)
	d.opts.Cache = 100
	for i := range 1000 {
		id := fmt.Sprintf("86000000000%04d", i)
		d.registry.devices["gt06:"+id] = care.Device{ID: care.DeviceID("d" + id), ElderID: care.ElderID("e" + id), State: "active"}
		a := d.press(id, care.KindSOS)
		a.ClaimedID = id
		d.receive(t, a)
	}
	if len(d.known) > 100 || len(d.byDevice) > 100 || len(d.byElder) > 100 {
		t.Errorf("%d entries, %d devices, %d elders remembered", len(d.known), len(d.byDevice), len(d.byElder))
	}
}

func TestLevelsRaiseOnTheirEdge(t *testing.T) {
	d := newDesk(t)
	level := func(key string, kinds ...care.Kind) care.Opened {
		a := d.press(key, kinds...)
		a.Levels = kinds
		return d.receive(t, a)
	}
	count := func(want int, what string) {
		t.Helper()
		if got := len(d.board.all()); got != want {
			t.Fatalf("%s: %d requests, want %d", what, got, want)
		}
	}
	level("1", care.KindSOS)
	count(1, "it rises")
	d.now = d.now.Add(3 * time.Minute)
	level("2", care.KindSOS)
	count(1, "it still holds")
	d.now = d.now.Add(3 * time.Minute)
	level("3", care.KindSOS)
	count(2, "it holds for five minutes: said again")
	d.Seen(Sign{Protocol: "gt06", ClaimedID: imei, At: d.now, States: true})
	level("4", care.KindSOS)
	count(3, "it fell and rises again")
	level("5", care.KindSOS, care.KindBattery)
	if r := d.board.all()[3]; !slices.Equal(r.Kinds, []care.Kind{care.KindBattery}) {
		t.Errorf("only the battery is new: %v", r.Kinds)
	}
	d.now = d.now.Add(25 * time.Hour)
	level("6", care.KindBattery)
	count(5, "a low battery is said again daily")
	d.receive(t, d.press("7", care.KindSOS))
	d.receive(t, d.press("8", care.KindSOS))
	count(7, "edges count each time")
}

func TestFailedLevelRisesAgain(t *testing.T) {
	d := newDesk(t)
	d.board.setFail(errors.New("disk is full"))
	a := d.press("1", care.KindSOS)
	a.Levels = a.Kinds
	if _, err := d.Receive(t.Context(), a); err == nil {
		t.Fatal("a failure was acknowledged")
	}
	d.board.setFail(nil)
	a.SourceEventID = "2"
	d.receive(t, a)
	if len(d.board.all()) != 1 {
		t.Fatalf("%d requests", len(d.board.all()))
	}
}

func TestSameAlarmThriceIsOne(t *testing.T) {
	for name, at := range map[string]time.Time{"with its time": noon, "without a time": {}, "with a clock years off": time.Date(2000, 1, 1, 0, 0, 9, 0, time.UTC)} {
		t.Run(name, func(t *testing.T) {
			d := newDesk(t)
			a := d.press("key", care.KindSOS)
			a.DeviceTime = at
			for i := range 3 {
				if o := d.receive(t, a); o.Repeat != (i > 0) {
					t.Errorf("press %d: %+v", i, o)
				}
				a.ReceivedAt = a.ReceivedAt.Add(4 * time.Second)
			}
			if n := len(d.board.all()); n != 1 {
				t.Errorf("%d requests", n)
			}
		})
	}
}

// A device whose clock starts anew uses its serials and times again after each
// power-on: the next day's press must not be taken for yesterday's.
func TestClockThatStartsAnewHidesNoPress(t *testing.T) {
	for name, at := range map[string]time.Time{"no time": {}, "the same wrong time": time.Date(2000, 1, 1, 0, 0, 9, 0, time.UTC)} {
		t.Run(name, func(t *testing.T) {
			d := newDesk(t)
			a := d.press("key", care.KindSOS)
			a.DeviceTime = at
			d.receive(t, a)
			a.ReceivedAt = a.ReceivedAt.Add(11 * time.Minute)
			if o := d.receive(t, a); o.Repeat {
				t.Error("the second press is taken for the first")
			}
		})
	}
}

func TestHistory(t *testing.T) {
	d := newDesk(t)
	stored := d.press("key", care.KindSOS)
	stored.History, stored.DeviceTime = true, noon.Add(-3*time.Hour)
	d.receive(t, stored)
	if r := d.board.all()[0]; r.Priority != care.P1 || !r.Alarm.DeviceTime.Equal(stored.DeviceTime) {
		t.Errorf("a press of this morning: %+v", r)
	}
	stored.SourceEventID, stored.DeviceTime = "old", noon.Add(-30*time.Hour)
	d.receive(t, stored)
	if r := d.board.all()[1]; r.Priority != care.P2 || r.Kinds[0] != care.KindSOS {
		t.Errorf("a press of yesterday is reviewed: %+v", r)
	}
	stored.SourceEventID, stored.Kinds, stored.Levels = "state", []care.Kind{care.KindBattery}, []care.Kind{care.KindBattery}
	d.receive(t, stored)
	if n := len(d.board.all()); n != 2 {
		t.Errorf("a battery that was low yesterday opens something: %d requests", n)
	}
}

func TestReplay(t *testing.T) {
	d := newDesk(t)
	a := d.press("key", care.KindSOS)
	d.receive(t, a)
	a.ReceivedAt = noon.Add(23 * time.Hour)
	if o := d.receive(t, a); !o.Repeat {
		t.Error("a replay within a day opens again")
	}
	a.ReceivedAt = noon.Add(25 * time.Hour)
	if o := d.receive(t, a); o.Repeat {
		t.Error("a press is swallowed for a key of the day before")
	}
	if r := d.board.all()[1]; r.Alarm.TimeQuality != "suspect" || len(r.Alarm.Reasons) == 0 {
		t.Errorf("its clock is not doubted: %+v", r.Alarm)
	}
}

func TestFloodOfUnregisteredDevicesIsOneIncident(t *testing.T) {
	d := newDesk(t)
	for i := range 500 {
		a := d.press(fmt.Sprint("k", i), care.KindSOS)
		a.ClaimedID = fmt.Sprintf("99000000000%04d", i)
		d.receive(t, a)
	}
	d.receive(t, d.press("known", care.KindSOS))
	single, claimed := map[string]bool{}, 0
	for _, r := range d.board.all()[:500] {
		single[r.Alarm.ClaimedID] = true
		for _, c := range r.Alarm.Codes {
			if c.Carrier == "claimed_id" {
				claimed++
			}
		}
	}
	if len(single) != maxUnverified+1 || claimed != 500-maxUnverified {
		t.Errorf("%d incidents, %d alarms with their own id", len(single), claimed)
	}
	if r := d.board.all()[500]; r.Priority != care.P1 || r.DeviceID != "dev-1" {
		t.Errorf("the known device in the flood: %+v", r)
	}
}

func TestSignsOfLifeAreWrittenInLots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t)
		d.Intake.now = time.Now
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- d.Run(ctx) }()
		full, low := 90, 12
		for i := range 100 {
			s := Sign{Protocol: "gt06", ClaimedID: imei, At: time.Now(), Battery: &full}
			if i == 99 {
				s.Battery = &low
			}
			d.Seen(s)
			time.Sleep(time.Millisecond)
		}
		d.Seen(Sign{Protocol: "gt06", ClaimedID: "unknown", At: time.Now()})
		time.Sleep(2 * time.Second)
		if all := d.rows.written(); len(all) != 1 || *all[0].Battery != 12 || all[0].DeviceID != "dev-1" {
			t.Errorf("touches %+v", all)
		}
		d.rows.setFail(errors.New("away"))
		d.Seen(Sign{Protocol: "gt06", ClaimedID: imei, At: time.Now()})
		time.Sleep(3 * time.Second)
		d.rows.setFail(nil)
		time.Sleep(2 * time.Second)
		if n := len(d.rows.written()); n != 2 {
			t.Errorf("after the store came back: %d touches", n)
		}
		d.Seen(Sign{Protocol: "gt06", ClaimedID: imei, At: time.Now()})
		cancel()
		if err := <-ended; err != nil || len(d.rows.written()) != 3 {
			t.Errorf("at the end %v, %d touches", err, len(d.rows.written()))
		}
	})
}

func TestAlarmThatCouldNotBeStoredIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t)
		d.Intake.now = time.Now
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- d.Run(ctx) }()
		d.board.setFail(errors.New("disk is full"))
		a := d.press("key", care.KindSOS)
		a.DeviceTime = time.Time{} // the key holds in spite of it
		if _, err := d.Receive(ctx, a); err == nil {
			t.Fatal("a failure was acknowledged")
		}
		if d.holding() != 1 {
			t.Error("nothing is held")
		}
		time.Sleep(time.Minute)
		d.board.setFail(nil)
		time.Sleep(time.Minute)
		if n := len(d.board.all()); n != 1 {
			t.Fatalf("%d requests", n)
		}
		a.ReceivedAt = a.ReceivedAt.Add(5 * time.Second)
		if o, err := d.Receive(ctx, a); err != nil || !o.Repeat {
			t.Errorf("the device's own repeat: %+v %v", o, err)
		}
		if d.holding() != 0 {
			t.Error("still held")
		}
		cancel()
		<-ended
	})
}

func (d *desk) holding() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.held)
}

func TestCheckDigit(t *testing.T) {
	for s, want := range map[string]bool{"490154203237518": true, "490154203237519": false, "": false, "0": false, "49015420323751x": false, "4901542032375x8": false} {
		if checked(s) != want {
			t.Errorf("checked(%q) is %v", s, !want)
		}
	}
}

func TestTimeQuality(t *testing.T) {
	for name, c := range map[string]struct {
		device  time.Time
		history bool
		want    string
	}{
		"now": {noon, false, "good"}, "none": {time.Time{}, false, "absent"}, "an hour behind": {noon.Add(-time.Hour), false, "skewed"},
		"stored an hour ago": {noon.Add(-time.Hour), true, "good"}, "two days behind": {noon.Add(-48 * time.Hour), false, "suspect"},
		"eight hours ahead": {noon.Add(8 * time.Hour), false, "skewed"}, "next year": {noon.AddDate(1, 0, 0), true, "suspect"},
		"power-on clock": {time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC), true, "suspect"},
	} {
		if got := TimeQuality(c.device, noon, c.history); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}
