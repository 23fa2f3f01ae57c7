package sos

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"anling/care"
	"anling/event"
)

// Facts about supervised devices. Their aggregate is the device's silence: AggID is
// "life-" and the device's id.
const (
	DeviceOffline event.Type = "sos.device.offline"
	DeviceOnline  event.Type = "sos.device.online"
)

// Silent is a device that has not been heard for a while.
type Silent struct {
	DeviceID     care.DeviceID
	ElderID      care.ElderID
	Protocol     string
	Class        string
	HeartbeatSec int
	LastSeen     time.Time
	OfflineSince time.Time // zero while it is not marked
}

// contract is what a class of devices promises: a sign of life every expected, and
// at most floor of silence whatever it promises.
type contract struct{ expected, floor, flap time.Duration }

const (
	wearable = 15 * time.Minute // flaps: it sleeps, charges, rides in a lift
	fixed    = 5 * time.Minute
)

var contracts = map[string]contract{
	"watch":        {8 * time.Minute, 30 * time.Minute, wearable},
	"gt06":         {3 * time.Minute, 15 * time.Minute, wearable},
	"gt06_pendant": {3 * time.Minute, 15 * time.Minute, wearable},
	"fixed_button": {10 * time.Minute, 30 * time.Minute, fixed},
	"sip":          {10 * time.Minute, 30 * time.Minute, fixed},
	"gateway":      {5 * time.Minute, 15 * time.Minute, fixed},
	"sensor":       {24 * time.Hour, 72 * time.Hour, fixed},
	"number":       {35 * 24 * time.Hour / 3, 35 * 24 * time.Hour, fixed},
}

// shortest is the least silence that any contract calls offline.
const shortest = 15 * time.Minute

func (s Silent) contract() contract {
	c, ok := contracts[s.Class]
	if !ok {
		c, ok = contracts[s.Protocol]
	}
	if !ok {
		c = contract{10 * time.Minute, 30 * time.Minute, fixed}
	}
	if s.HeartbeatSec > 0 {
		c.expected = time.Duration(s.HeartbeatSec) * time.Second
	}
	return c
}

// OfflineAfter is how long this device may be silent: three signs of life, and not
// less than its class's floor.
func (s Silent) OfflineAfter() time.Duration {
	c := s.contract()
	return max(3*c.expected, c.floor)
}

// SupervisionOptions make a Supervision. Opener, Directory and Store are needed.
type SupervisionOptions struct {
	Opener    Opener
	Directory Directory
	Store     Store
	Every     time.Duration // 30 s
	Cluster   int           // devices of one protocol lost within five minutes: an outage; 20
	Log       *zap.Logger
	Metrics   prometheus.Registerer
	Now       func() time.Time
}

// Clocks of an outage.
const (
	clusterWithin = 5 * time.Minute
	outageAtMost  = 2 * time.Hour
	outageAfter   = 30 * time.Minute // then those still missing get items of their own
	longSilence   = 24 * time.Hour   // then it is more than a fault
	silentPage    = 500
)

// Supervision finds devices that fall silent. What it waits for are rows: when a
// device was last heard, since when it is offline, and when supervision itself last
// ran, so that our own absence is nobody's silence.
type Supervision struct {
	opts    SupervisionOptions
	log     *zap.Logger
	now     func() time.Time
	offline prometheus.Gauge
	raised  *prometheus.CounterVec

	// All below belong to Run.
	downFrom, downTo time.Time // we did not listen: counts for nobody
	last             time.Time
	done             map[string]time.Time // items raised, by key
	outages          map[string]*outage   // by protocol
}

// outage is many devices of one protocol lost at once.
type outage struct {
	start, last, ended time.Time
	members            map[care.DeviceID]struct{}
	told               bool
}

// NewSupervision makes a supervision.
func NewSupervision(o SupervisionOptions) *Supervision {
	if o.Every <= 0 {
		o.Every = 30 * time.Second
	}
	if o.Cluster <= 0 {
		o.Cluster = 20
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
	return &Supervision{opts: o, log: o.Log, now: o.Now,
		offline: register(o.Metrics, prometheus.NewGauge(prometheus.GaugeOpts{Name: "anling_sos_offline_devices", Help: "Devices that are silent beyond their contract."})),
		raised:  register(o.Metrics, prometheus.NewCounterVec(prometheus.CounterOpts{Name: "anling_sos_supervision_items_total", Help: "Items raised by supervision."}, []string{"kind"})),
		done:    map[string]time.Time{}, outages: map[string]*outage{}}
}

// Run looks after the devices until ctx ends.
func (s *Supervision) Run(ctx context.Context) error {
	t := time.NewTicker(s.opts.Every)
	defer t.Stop()
	for {
		try, cancel := context.WithTimeout(ctx, 2*s.opts.Every)
		err := s.round(try)
		cancel()
		if err != nil && ctx.Err() == nil {
			s.log.Warn("supervision of devices", zap.Error(err))
		}
		select {
		case <-t.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// round is one look at all devices.
func (s *Supervision) round(ctx context.Context) error {
	now := s.now()
	if err := s.present(ctx, now); err != nil {
		return err
	}
	if err := s.mark(ctx, now); err != nil {
		return err
	}
	offline, err := s.opts.Store.Offline(ctx)
	if err != nil {
		return fmt.Errorf("offline devices: %w", err)
	}
	s.offline.Set(float64(len(offline)))
	if err := s.cluster(ctx, offline, now); err != nil {
		return err
	}
	if err := s.raise(ctx, offline, now); err != nil {
		return err
	}
	s.last = now
	return s.opts.Store.SetAlive(ctx, now)
}

// present finds out how long nobody listened: before this start, or while the store
// was away and no sign of life could be written.
func (s *Supervision) present(ctx context.Context, now time.Time) error {
	last := s.last
	if last.IsZero() {
		alive, err := s.opts.Store.Alive(ctx)
		if err != nil {
			return fmt.Errorf("when supervision last ran: %w", err)
		}
		last = alive
	}
	if now.Sub(last) > 3*s.opts.Every {
		if last.After(s.downTo) || s.downFrom.IsZero() && s.downTo.IsZero() {
			s.downFrom = last
		}
		s.downTo = now
	}
	return nil
}

// silence is how long a device has been silent while somebody listened.
func (s *Supervision) silence(d Silent, now time.Time) time.Duration {
	quiet := now.Sub(d.LastSeen)
	if from := maxTime(d.LastSeen, s.downFrom); s.downTo.After(from) {
		quiet -= s.downTo.Sub(from)
	}
	return quiet
}

func maxTime(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// mark finds the devices that broke their contract since the last round.
func (s *Supervision) mark(ctx context.Context, now time.Time) error {
	after := care.DeviceID("")
	for {
		page, err := s.opts.Store.Silent(ctx, now.Add(-shortest), after, silentPage)
		if err != nil {
			return fmt.Errorf("silent devices: %w", err)
		}
		var lost []Silent
		for _, d := range page {
			after = d.DeviceID
			if s.silence(d, now) >= d.OfflineAfter() {
				d.OfflineSince = now
				lost = append(lost, d)
			}
		}
		if len(lost) > 0 {
			marked, err := s.opts.Store.MarkOffline(ctx, lost)
			if err != nil {
				return fmt.Errorf("mark %d devices offline: %w", len(lost), err)
			}
			s.log.Info("devices are offline", zap.Int("devices", len(marked)))
		}
		if len(page) < silentPage {
			return nil
		}
	}
}

// cluster finds outages: many devices of one protocol lost within five minutes.
func (s *Supervision) cluster(ctx context.Context, offline []Silent, now time.Time) error {
	byProtocol := map[string][]Silent{}
	for _, d := range offline {
		byProtocol[d.Protocol] = append(byProtocol[d.Protocol], d)
	}
	for protocol, o := range s.outages {
		missing := 0
		for _, d := range byProtocol[protocol] {
			if _, ok := o.members[d.DeviceID]; ok {
				missing++
			}
		}
		if o.ended.IsZero() && (missing*2 < len(o.members) || now.Sub(o.last) > outageAtMost) {
			o.ended = now
			s.log.Warn("an outage of devices is over", zap.String("protocol", protocol), zap.Int("lost", len(o.members)), zap.Int("missing", missing))
		}
		if !o.ended.IsZero() && now.Sub(o.ended) >= outageAfter {
			delete(s.outages, protocol)
		}
	}
	for protocol, lost := range byProtocol {
		if err := s.clusterOf(ctx, protocol, lost, now); err != nil {
			return err
		}
	}
	return nil
}

func (s *Supervision) clusterOf(ctx context.Context, protocol string, lost []Silent, now time.Time) error {
	o := s.outages[protocol]
	// Only what was lost lately makes an outage: older ones have their own items.
	recent := slices.DeleteFunc(slices.Clone(lost), func(d Silent) bool { return now.Sub(d.OfflineSince) > wearable+2*clusterWithin })
	slices.SortFunc(recent, func(a, b Silent) int { return a.OfflineSince.Compare(b.OfflineSince) })
	for i := range recent {
		j := i
		for j < len(recent) && recent[j].OfflineSince.Sub(recent[i].OfflineSince) <= clusterWithin {
			j++
		}
		if o == nil && j-i < s.opts.Cluster {
			continue
		}
		if o == nil {
			o = &outage{start: recent[i].OfflineSince, last: recent[i].OfflineSince, members: map[care.DeviceID]struct{}{}}
			s.outages[protocol] = o
		}
		if o.ended.IsZero() && recent[i].OfflineSince.Sub(o.last) <= clusterWithin {
			for _, d := range recent[i:j] {
				o.members[d.DeviceID] = struct{}{}
				o.last = maxTime(o.last, d.OfflineSince)
			}
		}
	}
	if o == nil || o.told {
		return nil
	}
	if err := s.tell(ctx, protocol, o, now); err != nil {
		return err
	}
	o.told = true
	return nil
}

// tell opens the one item of an outage.
func (s *Supervision) tell(ctx context.Context, protocol string, o *outage, now time.Time) error {
	ids := make([]string, 0, min(len(o.members), 200))
	for id := range o.members {
		if len(ids) == cap(ids) {
			break
		}
		ids = append(ids, string(id))
	}
	slices.Sort(ids)
	key := fmt.Sprintf("outage:%s:%d", protocol, o.start.Unix())
	alarm := care.Alarm{ClaimedID: "outage", Protocol: protocol, Kinds: []care.Kind{care.KindDeviceOff}, ReceivedAt: now, TimeQuality: "good", DeviceTime: o.start,
		SourceEventID: key, Trust: "ok", Reasons: append([]string{fmt.Sprintf("%d devices lost within minutes", len(o.members))}, ids...)}
	_, err := s.opts.Opener.Open(ctx, care.OpenRequest{Key: key, Digest: key, Source: "sensor", Actor: "rule:outage", Kinds: alarm.Kinds, Alarm: &alarm,
		Note: fmt.Sprintf("%d %s devices lost within minutes", len(o.members), protocol), At: now})
	if err != nil {
		return fmt.Errorf("open an outage of %d devices: %w", len(o.members), err)
	}
	s.raised.WithLabelValues("outage").Inc()
	s.log.Error("many devices are lost at once", zap.String("protocol", protocol), zap.Int("devices", len(o.members)))
	return nil
}

// raise opens an item for each device that stays offline, once by its key.
func (s *Supervision) raise(ctx context.Context, offline []Silent, now time.Time) error {
	alive := make(map[string]time.Time, len(s.done))
	for _, d := range offline {
		if o := s.outages[d.Protocol]; o != nil {
			if _, held := o.members[d.DeviceID]; held {
				continue
			}
		}
		gone := now.Sub(d.OfflineSince)
		if gone < d.contract().flap {
			continue
		}
		key := fmt.Sprintf("offline:%s:%d", d.DeviceID, d.OfflineSince.UnixMicro())
		if gone >= longSilence {
			key += ":long"
		}
		if at, ok := s.done[key]; ok {
			alive[key] = at
			continue
		}
		if err := s.open(ctx, d, key, gone, now); err != nil {
			return err
		}
		alive[key] = now
		s.done[key] = now
	}
	s.done = alive
	return nil
}

func (s *Supervision) open(ctx context.Context, d Silent, key string, gone time.Duration, now time.Time) error {
	r := care.OpenRequest{Key: key, Digest: key, Source: "sensor", Actor: "rule:supervision", Kinds: []care.Kind{care.KindDeviceOff},
		Priority: care.P3, ElderID: d.ElderID, DeviceID: d.DeviceID, At: now}
	var elder care.Elder
	if d.ElderID != "" {
		var err error
		if elder, err = s.opts.Directory.Elder(ctx, d.ElderID); err != nil {
			s.log.Warn("the registry does not tell an elder", zap.String("elder_id", string(d.ElderID)), zap.Error(err))
		}
		r.Area = elder.AreaCode
		if !elder.Home.IsZero() {
			r.Locations = []care.Fix{{Point: elder.Home, Source: care.FixHome, At: now}}
		}
	}
	kind := "device"
	if gone >= longSilence || atRisk(elder) {
		r.Priority, kind = care.P2, "device_at_risk"
	}
	if _, err := s.opts.Opener.Open(ctx, r); err != nil {
		return fmt.Errorf("open offline device %s: %w", d.DeviceID, err)
	}
	s.raised.WithLabelValues(kind).Inc()
	return nil
}

// atRisk is an elder who lives alone and could not help himself.
func atRisk(e care.Elder) bool {
	if e.LivingState != "alone" {
		return false
	}
	if e.Ability == "severe" || e.Ability == "complete" || e.Health.Falls12M > 1 {
		return true
	}
	return slices.ContainsFunc(e.Tags, func(t care.Tag) bool {
		return t.Code == "dementia" || t.Code == "severe_disability" || t.Code == "high_risk"
	})
}
