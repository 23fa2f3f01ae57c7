package sos

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"anling/care"
	"anling/geo"
)

// Store keeps what devices show of themselves; store.SOS is one.
type Store interface {
	// Touch records signs of life, many in one commit, and tells which of the devices
	// had been offline.
	Touch(ctx context.Context, t []Touch) (back []Silent, err error)
	// KeepFrame stores a frame that nobody could read.
	KeepFrame(ctx context.Context, f RawFrame) error
	// Silent lists active devices last seen before a time and not marked offline,
	// in the order of their ids, after the given one.
	Silent(ctx context.Context, before time.Time, after care.DeviceID, limit int) ([]Silent, error)
	// Offline lists the devices that are marked offline.
	Offline(ctx context.Context) ([]Silent, error)
	// MarkOffline marks devices, each with the fact, and returns those that really
	// were silent since: one that spoke meanwhile is not marked.
	MarkOffline(ctx context.Context, s []Silent) ([]Silent, error)
	// Alive is when supervision last ran, zero if never; SetAlive says that it runs.
	Alive(ctx context.Context) (time.Time, error)
	SetAlive(ctx context.Context, now time.Time) error
}

// Touch is what a device showed lately.
type Touch struct {
	DeviceID care.DeviceID
	At       time.Time
	Battery  *int
	Fix      *care.Fix
	States   bool // Levels are to be stored
	Levels   []care.Kind
}

// IntakeOptions make an Intake. Opener, Directory and Store are needed.
type IntakeOptions struct {
	Opener    Opener
	Directory Directory
	Store     Store
	Cache     int           // devices remembered, 20,000
	Fresh     time.Duration // an entry is read again after, 5 min
	Lookup    time.Duration // the registry is waited for, 1 s: an alarm does not depend on it
	Flush     time.Duration // signs of life are written so often, 1 s
	Log       *zap.Logger
	Metrics   prometheus.Registerer
	Now       func() time.Time
}

// Bounds of what an intake keeps in memory.
const (
	maxSigns  = 200_000 // devices with signs of life not yet written
	maxHeld   = 10_000  // alarms that could not be stored
	maxRecent = 50_000  // alarms without a believable time
	touchLot  = 500     // signs of one commit
	// Unregistered devices: so many incidents of their own in an hour, then one for all.
	maxUnverified = 30
	oneForAll     = "unregistered"
)

// An SOS that still holds is raised again after reassertSOS, whether its incident
// was closed or not; other states daily.
const (
	reassertSOS   = 5 * time.Minute
	reassertState = 24 * time.Hour
)

// Intake turns alarms into requests for an incident.
type Intake struct {
	opts    IntakeOptions
	log     *zap.Logger
	now     func() time.Time
	results *prometheus.CounterVec
	lookups *prometheus.CounterVec
	heldNow prometheus.Gauge
	dropped prometheus.Counter

	mu         sync.Mutex
	known      map[string]*entry                    // by protocol and external id; guarded by mu
	byDevice   map[care.DeviceID]string             // guarded by mu
	byElder    map[care.ElderID]map[string]struct{} // guarded by mu
	generation int                                  // grows when a device is saved: unknown ones are asked for again
	signs      map[string]*Sign                     // guarded by mu
	held       map[string]care.Alarm                // by key; guarded by mu
	recent     map[string]time.Time                 // first receipt of alarms without a time; guarded by mu
	unverified map[string]time.Time                 // unregistered ids of the last hour; guarded by mu
}

// entry is what an intake remembers of one identity.
type entry struct {
	device     care.DeviceID // empty: not registered
	elder      care.ElderID
	area       care.AreaCode
	home       geo.Point
	model      string
	datum      string
	state      string
	fix        *care.Fix
	levels     []care.Kind
	raised     map[care.Kind]time.Time
	read       time.Time
	generation int
	stale      bool
}

// NewIntake makes an intake.
func NewIntake(o IntakeOptions) *Intake {
	if o.Cache <= 0 {
		o.Cache = 20_000
	}
	if o.Fresh <= 0 {
		o.Fresh = 5 * time.Minute
	}
	if o.Lookup <= 0 {
		o.Lookup = time.Second
	}
	if o.Flush <= 0 {
		o.Flush = time.Second
	}
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	if o.Metrics == nil {
		o.Metrics = prometheus.NewRegistry()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Intake{opts: o, log: o.Log, now: o.Now,
		results: register(o.Metrics, prometheus.NewCounterVec(prometheus.CounterOpts{Name: "anling_sos_intake_total", Help: "Alarms at the intake by what became of them."}, []string{"result"})),
		lookups: register(o.Metrics, prometheus.NewCounterVec(prometheus.CounterOpts{Name: "anling_sos_lookups_total", Help: "Look-ups of devices by result."}, []string{"result"})),
		heldNow: register(o.Metrics, prometheus.NewGauge(prometheus.GaugeOpts{Name: "anling_sos_held_alarms", Help: "Alarms in memory that could not be stored yet: must be 0."})),
		dropped: register(o.Metrics, prometheus.NewCounter(prometheus.CounterOpts{Name: "anling_sos_signs_dropped_total", Help: "Signs of life that were not recorded."})),
		known:   map[string]*entry{}, byDevice: map[care.DeviceID]string{}, byElder: map[care.ElderID]map[string]struct{}{},
		signs: map[string]*Sign{}, held: map[string]care.Alarm{}, recent: map[string]time.Time{}, unverified: map[string]time.Time{}}
}

var (
	_ Receiver = (*Intake)(nil)
	_ Models   = (*Intake)(nil)
)

// Receive implements Receiver. An alarm that cannot be stored now is held and tried
// again, under the same key, besides the device's own repeats.
func (i *Intake) Receive(ctx context.Context, a care.Alarm) (care.Opened, error) {
	if a.ReceivedAt.IsZero() {
		a.ReceivedAt = i.now()
	}
	said := a
	e := i.lookup(ctx, a.Protocol, a.ClaimedID)
	i.complete(&a, e)
	fresh := i.rising(a, e)
	if len(fresh) == 0 {
		i.results.WithLabelValues("still_asserted").Inc()
		return care.Opened{Joined: true, Repeat: true}, nil
	}
	opened, err := i.opts.Opener.Open(ctx, i.request(a, e, fresh))
	if err != nil {
		i.results.WithLabelValues("failed").Inc()
		i.hold(a.SourceEventID, said)
		return care.Opened{}, fmt.Errorf("alarm of a %s device: %w", a.Protocol, err)
	}
	i.settled(a, e)
	switch {
	case opened.Repeat:
		i.results.WithLabelValues("repeat").Inc()
	case opened.Joined:
		i.results.WithLabelValues("joined").Inc()
	default:
		i.results.WithLabelValues("opened").Inc()
	}
	return opened, nil
}

// complete fills what the registry and the clock say of an alarm.
func (i *Intake) complete(a *care.Alarm, e *entry) {
	if a.TimeQuality == "" {
		a.TimeQuality = TimeQuality(a.DeviceTime, a.ReceivedAt, a.History)
	}
	if len(a.Kinds) == 0 {
		a.Kinds = []care.Kind{care.KindUnspecified}
	}
	a.DeviceID, a.Trust = e.device, "ok"
	reasons := slices.Clone(a.Reasons)
	switch {
	case e.device == "":
		a.Trust = "unverified"
		reasons = append(reasons, "device is not registered")
		if a.Protocol == "gt06" && !checked(a.ClaimedID) {
			reasons = append(reasons, "check digit of the IMEI is wrong")
		}
	case e.state != "active" && e.state != "":
		a.Trust = "suspect"
		reasons = append(reasons, "device is "+e.state+" in the registry")
	}
	if a.TimeQuality == "suspect" {
		reasons = append(reasons, "clock of the device is wrong")
	}
	a.Reasons = reasons
	if a.Position != nil {
		fix := located(*a.Position, e, a.ReceivedAt)
		if a.TimeQuality == "suspect" {
			fix.At = a.ReceivedAt
		}
		a.Position = &fix
	}
	i.identify(a)
}

// located brings a fix to WGS-84, once: the datum of arrival tells that it is done.
// A device whose clock is ahead does not place itself in the future.
func located(fix care.Fix, e *entry, received time.Time) care.Fix {
	if fix.At.IsZero() || fix.At.After(received) {
		fix.At = received
	}
	if fix.Datum != "" {
		return fix
	}
	if fix.Datum = e.datum; fix.Datum == "" {
		fix.Datum = string(geo.WGS84)
	}
	if p, err := geo.ToWGS84(fix.Point, geo.Datum(fix.Datum)); err == nil {
		fix.Point = p
	}
	return fix
}

// identify makes the key unique over the life of the source. A device whose clock
// cannot be believed uses the same serials and times again after each start: such a
// key holds for ten minutes only, or for one when there is no serial in it.
func (i *Intake) identify(a *care.Alarm) {
	if a.SourceEventID == "" {
		a.SourceEventID = fmt.Sprintf("%s:%s:%d:%s", a.Protocol, a.ClaimedID, a.DeviceTime.Unix(), kindText(a.Kinds))
	}
	if a.TimeQuality != "absent" && a.TimeQuality != "suspect" || a.History && !a.DeviceTime.IsZero() {
		return
	}
	window := time.Minute
	if a.Protocol == "gt06" {
		window = 10 * time.Minute
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	first, ok := i.recent[a.SourceEventID]
	if !ok || a.ReceivedAt.Sub(first) > window {
		first = a.ReceivedAt
		if len(i.recent) >= maxRecent {
			shrink(i.recent, a.ReceivedAt.Add(-10*time.Minute), maxRecent)
		}
		i.recent[a.SourceEventID] = first
	}
	a.SourceEventID += "@" + strconv.FormatInt(first.Unix(), 10)
}

// shrink drops what is older than a time, and then whatever it meets first until the
// map is below its bound.
func shrink(m map[string]time.Time, before time.Time, bound int) {
	for k, t := range m {
		if t.Before(before) {
			delete(m, k)
		}
	}
	for k := range m {
		if len(m) < bound {
			return
		}
		delete(m, k)
	}
}

// rising are the kinds that are news: each edge, and each state that did not hold
// before, or holds for so long that it is time to say it again.
func (i *Intake) rising(a care.Alarm, e *entry) []care.Kind {
	if len(a.Levels) == 0 {
		return a.Kinds
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	var fresh []care.Kind
	for _, k := range a.Kinds {
		switch {
		case !slices.Contains(a.Levels, k), k == care.KindSOS && a.History:
			fresh = append(fresh, k)
		case a.History: // what was so then may be so no longer
		case !slices.Contains(e.levels, k):
			fresh = append(fresh, k)
		case a.ReceivedAt.Sub(e.raised[k]) >= reassert(k):
			fresh = append(fresh, k)
		}
	}
	return fresh
}

func reassert(k care.Kind) time.Duration {
	if k == care.KindSOS {
		return reassertSOS
	}
	return reassertState
}

// settled remembers the states that an incident or a task now stands for.
func (i *Intake) settled(a care.Alarm, e *entry) {
	i.mu.Lock()
	defer i.mu.Unlock()
	delete(i.held, a.SourceEventID)
	i.heldNow.Set(float64(len(i.held)))
	if a.Position != nil {
		e.moved(a.Position)
	}
	if len(a.Levels) == 0 || a.History {
		return
	}
	for _, k := range a.Levels {
		if !slices.Contains(e.levels, k) {
			e.levels = append(slices.Clone(e.levels), k)
		} else if a.ReceivedAt.Sub(e.raised[k]) < reassert(k) {
			continue
		}
		if e.raised == nil {
			e.raised = map[care.Kind]time.Time{}
		}
		e.raised[k] = a.ReceivedAt
	}
	i.noted(Sign{Protocol: a.Protocol, ClaimedID: a.ClaimedID, At: a.ReceivedAt, States: true, Levels: e.levels})
}

// moved takes a newer position.
func (e *entry) moved(fix *care.Fix) {
	if e.fix == nil || fix.At.After(e.fix.At) {
		e.fix = fix
	}
}

// request is what the opener is asked for.
func (i *Intake) request(a care.Alarm, e *entry, fresh []care.Kind) care.OpenRequest {
	r := care.OpenRequest{Key: a.SourceEventID, Digest: a.Protocol + ":" + a.ClaimedID + ":" + kindText(a.Kinds), Source: "device",
		Kinds: fresh, ElderID: e.elder, DeviceID: e.device, Locations: i.ladder(a, e), Area: e.area, At: a.ReceivedAt}
	r.Actor = "device:" + string(e.device)
	if e.device == "" {
		r.Actor = "device:" + a.ClaimedID
	}
	urgent := care.P4
	for _, k := range fresh {
		urgent = min(urgent, care.PriorityOf(k))
	}
	late := a.History && a.ReceivedAt.Sub(a.DeviceTime) > 24*time.Hour
	if e.device == "" || late {
		urgent = max(urgent, care.P2)
	}
	r.Priority = urgent
	if e.device == "" && urgent < care.P3 && !i.own(a) {
		// A flood of unregistered devices: each alarm is kept, one incident stands for
		// all of them, and those of registered devices do not queue behind it.
		a.Codes = append(slices.Clone(a.Codes), care.Code{Carrier: "claimed_id", Value: a.ClaimedID})
		a.ClaimedID = oneForAll
	}
	r.Alarm = &a
	return r
}

// own reports whether an unregistered device has an incident of its own: the first
// thirty of an hour have.
func (i *Intake) own(a care.Alarm) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	id := a.Protocol + ":" + a.ClaimedID
	shrink(i.unverified, a.ReceivedAt.Add(-time.Hour), maxUnverified+1)
	if _, ok := i.unverified[id]; !ok {
		if len(i.unverified) >= maxUnverified {
			return false
		}
		i.unverified[id] = a.ReceivedAt
	}
	return true
}

// ladder is where to go, best first: the fix of this alarm, the last one with its
// age, the elder's home.
func (i *Intake) ladder(a care.Alarm, e *entry) []care.Fix {
	var rungs []care.Fix
	if a.Position != nil && !a.Position.Point.IsZero() {
		rungs = append(rungs, *a.Position)
	}
	i.mu.Lock()
	last := e.fix
	i.mu.Unlock()
	if len(rungs) == 0 && last != nil && !last.Point.IsZero() {
		fix := *last
		fix.Source = care.FixLast
		rungs = append(rungs, fix)
	}
	if !e.home.IsZero() {
		rungs = append(rungs, care.Fix{Point: e.home, Source: care.FixHome, At: a.ReceivedAt})
	}
	return rungs
}

// hold keeps an alarm that could not be stored, to be tried again.
func (i *Intake) hold(key string, a care.Alarm) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if _, ok := i.held[key]; !ok && len(i.held) >= maxHeld {
		i.log.Error("too many alarms are held: one is left to the device's repeats", zap.String("protocol", a.Protocol))
		return
	}
	i.held[key] = a
	i.heldNow.Set(float64(len(i.held)))
}

// Seen implements Receiver.
func (i *Intake) Seen(s Sign) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if e := i.known[identity(s.Protocol, s.ClaimedID)]; e != nil {
		if s.Fix != nil {
			fix := located(*s.Fix, e, s.At)
			s.Fix = &fix
			e.moved(s.Fix)
		}
		if s.States {
			e.levels = slices.DeleteFunc(slices.Clone(e.levels), func(k care.Kind) bool { return !slices.Contains(s.Levels, k) })
			s.Levels = e.levels // a state that rises is stored once its alarm is
		}
	}
	i.noted(s)
}

// noted merges a sign into what waits to be written; mu is held.
func (i *Intake) noted(s Sign) {
	id := identity(s.Protocol, s.ClaimedID)
	have := i.signs[id]
	if have == nil {
		if len(i.signs) >= maxSigns {
			i.dropped.Inc()
			return
		}
		i.signs[id] = &s
		return
	}
	have.merge(s)
}

// merge takes what a later sign says.
func (s *Sign) merge(later Sign) {
	if later.At.Before(s.At) {
		later, *s = *s, later
	}
	s.At = later.At
	if later.Battery != nil {
		s.Battery = later.Battery
	}
	if later.Fix != nil {
		s.Fix = later.Fix
	}
	if later.States {
		s.States, s.Levels = true, later.Levels
	}
}

// Keep implements Receiver.
func (i *Intake) Keep(ctx context.Context, f RawFrame) error { return i.opts.Store.KeepFrame(ctx, f) }

// Run writes signs of life and tries held alarms again until ctx ends; then it
// writes once more what waits.
func (i *Intake) Run(ctx context.Context) error {
	flush := time.NewTicker(i.opts.Flush)
	defer flush.Stop()
	wait, next := time.Second, i.now()
	for {
		select {
		case <-flush.C:
			i.flush(ctx)
			if i.now().Before(next) {
				continue
			}
			if wait = min(2*wait, 15*time.Second); i.retry(ctx) {
				wait = time.Second
			}
			next = i.now().Add(wait)
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*time.Second)
			defer cancel()
			i.retry(last)
			i.flush(last)
			return nil
		}
	}
}

// retry receives held alarms again and stops at the first failure.
func (i *Intake) retry(ctx context.Context) bool {
	i.mu.Lock()
	keys := make([]string, 0, len(i.held))
	for key := range i.held {
		keys = append(keys, key)
	}
	again := maps.Clone(i.held)
	i.mu.Unlock()
	slices.SortFunc(keys, func(a, b string) int { return again[a].ReceivedAt.Compare(again[b].ReceivedAt) })
	for _, key := range keys {
		a := again[key]
		try, cancel := context.WithTimeout(ctx, 5*time.Second)
		_, err := i.Receive(try, a)
		cancel()
		if err != nil {
			return false
		}
		i.mu.Lock()
		delete(i.held, key)
		i.heldNow.Set(float64(len(i.held)))
		i.mu.Unlock()
		i.log.Warn("an alarm that was held is stored", zap.String("protocol", a.Protocol), zap.Duration("after", i.now().Sub(a.ReceivedAt)))
	}
	return true
}

// flush writes the signs that wait.
func (i *Intake) flush(ctx context.Context) {
	i.mu.Lock()
	signs := i.signs
	i.signs = make(map[string]*Sign, len(signs))
	i.mu.Unlock()
	lot := make([]Touch, 0, min(len(signs), touchLot))
	owners := make([]*Sign, 0, cap(lot))
	write := func() {
		if len(lot) == 0 {
			return
		}
		try, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		back, err := i.opts.Store.Touch(try, lot)
		if err != nil {
			i.log.Warn("signs of life are not written", zap.Int("devices", len(lot)), zap.Error(err))
			i.restore(owners)
		} else if len(back) > 0 {
			i.log.Info("devices are back", zap.Int("devices", len(back)))
		}
		lot, owners = lot[:0], owners[:0]
	}
	for _, s := range signs {
		e := i.lookup(ctx, s.Protocol, s.ClaimedID)
		if e.device == "" {
			if e.read.IsZero() { // the registry did not answer
				i.restore([]*Sign{s})
			}
			continue
		}
		if s.Fix != nil {
			fix := located(*s.Fix, e, s.At)
			s.Fix = &fix
		}
		lot = append(lot, Touch{DeviceID: e.device, At: s.At, Battery: s.Battery, Fix: s.Fix, States: s.States, Levels: s.Levels})
		owners = append(owners, s)
		if len(lot) == touchLot {
			write()
		}
	}
	write()
}

// restore puts signs back that could not be written.
func (i *Intake) restore(signs []*Sign) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, s := range signs {
		i.noted(*s)
	}
}

// checked reports whether the last digit of a number of digits is its check digit.
func checked(number string) bool {
	last := len(number) - 1
	return last > 0 && strings.Trim(number, "0123456789") == "" && care.LuhnDigit(number[:last]) == number[last]
}

func identity(protocol, external string) string { return protocol + ":" + external }

// kindText is a set in an order of its own, the meaning of an alarm.
func kindText(kinds []care.Kind) string {
	s := make([]string, len(kinds))
	for i, k := range kinds {
		s[i] = string(k)
	}
	slices.Sort(s)
	return strings.Join(s, "+")
}
