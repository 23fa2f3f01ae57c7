package dispatch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"anling/care"
	"anling/dispatch/assign"
	"anling/event"
)

// Store keeps incidents and tasks.
type Store interface {
	assign.Store
	Change(ctx context.Context, f func(Tx) error) error
	Incident(ctx context.Context, id care.IncidentID) (Incident, error)
	// Incidents lists: status "" means recent ones, "open" those that are open.
	Incidents(ctx context.Context, status string, limit int) ([]Incident, error)
	// OpenIncidents counts those that are open.
	OpenIncidents(ctx context.Context) (int64, error)
	// OpenVersions are the versions of the open ones, the most urgent first.
	OpenVersions(ctx context.Context, limit int) (map[care.IncidentID]int64, error)
	IncidentsOfElder(ctx context.Context, id care.ElderID, limit int) ([]Incident, error)
	OpenIncidentOf(ctx context.Context, subject string) (care.IncidentID, bool, error)
	Tasks(ctx context.Context, limit int) ([]Task, error)
	Alarms(ctx context.Context, after int64, limit int) ([]AlarmRow, error)
	AlarmsOf(ctx context.Context, id care.IncidentID) ([]AlarmRow, error)
	Timeline(ctx context.Context, incident string, limit int) ([]event.Event, error)
	Unwatched(ctx context.Context) ([]care.IncidentID, error)
}

// AlarmRow is an alarm in the order it was stored.
type AlarmRow struct {
	Pos        int64
	IncidentID care.IncidentID
	Alarm      care.Alarm
}

// Voice puts operators in touch with the elder; callcenter.Service fills it.
type Voice interface {
	// RequestCall has an operator rung, or makes the incident's call more urgent. It
	// does not wait for anything.
	RequestCall(ctx context.Context, r care.CallRequest) error
}

// Ladder is the clock of each step.
type Ladder struct {
	Rungs     []time.Duration // since opening, while nobody answers; the last repeats its distance
	AssessBy  time.Duration   // answered, and nothing done yet
	ReviewBy  time.Duration   // dispatching or attending
	WrapUpBy  time.Duration   // resolved, not closed
	VoiceWait time.Duration   // a device's own call is awaited so long
}

// DefaultLadder follows the ladders of the domain: 10, 20, 30, 60 seconds.
func DefaultLadder() Ladder {
	return Ladder{Rungs: []time.Duration{10 * time.Second, 20 * time.Second, 30 * time.Second, time.Minute},
		AssessBy: 3 * time.Minute, ReviewBy: 10 * time.Minute, WrapUpBy: 15 * time.Minute, VoiceWait: time.Minute}
}

// Options of a Board. Store and Engine are needed.
type Options struct {
	Store       Store
	Engine      *assign.Engine
	Voice       Voice // may be set later by SetVoice
	Ladder      Ladder
	OfferAtOnce bool // an SOS is offered without waiting for the operator
	Zone        *time.Location
	Log         *zap.Logger
	Metrics     prometheus.Registerer
	Now         func() time.Time
}

// Board keeps the incidents. It is safe for concurrent use.
type Board struct {
	opts       Options
	store      Store
	engine     *assign.Engine
	log        *zap.Logger
	now        func() time.Time
	opened     *prometheus.CounterVec
	unwatched  prometheus.Gauge
	openGauge  prometheus.Gauge
	openTime   prometheus.Histogram
	voiceFails prometheus.Counter
}

// NewBoard makes a board and registers it with the engine as owner of "incident".
func NewBoard(o Options) *Board {
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if len(o.Ladder.Rungs) == 0 {
		o.Ladder = DefaultLadder()
	}
	if o.Zone == nil {
		o.Zone = time.UTC
	}
	if o.Metrics == nil {
		o.Metrics = prometheus.NewRegistry()
	}
	b := &Board{opts: o, store: o.Store, engine: o.Engine, log: o.Log, now: o.Now,
		opened:    prometheus.NewCounterVec(prometheus.CounterOpts{Name: "anling_dispatch_alarms_total", Help: "Requests for an incident by what became of them."}, []string{"result"}),
		unwatched: prometheus.NewGauge(prometheus.GaugeOpts{Name: "anling_dispatch_unwatched_incidents", Help: "Open incidents without deadline or task: must be 0."}),
		openGauge: prometheus.NewGauge(prometheus.GaugeOpts{Name: "anling_dispatch_open_incidents", Help: "Incidents that are open."}),
		openTime: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "anling_dispatch_open_seconds", Help: "From the request to the durable incident.",
			Buckets: prometheus.ExponentialBuckets(0.0002, 2, 16)}),
		voiceFails: prometheus.NewCounter(prometheus.CounterOpts{Name: "anling_dispatch_voice_failures_total", Help: "Requests for a call that the call centre refused."}),
	}
	o.Metrics.MustRegister(b.opened, b.unwatched, b.openGauge, b.openTime, b.voiceFails)
	o.Engine.Own("incident", b)
	return b
}

// SetVoice joins the call centre; call it before the first Open.
func (b *Board) SetVoice(v Voice) { b.opts.Voice = v }

// Open makes an incident stand for a request, or joins it to the one that is open
// for the same elder or device. It returns when that is durable, an operator is being
// rung, and the first offers are made where the policy says so. A repeated key returns
// the first answer. Nothing about the device or the elder can refuse it.
func (b *Board) Open(ctx context.Context, r care.OpenRequest) (care.Opened, error) {
	opened, follow, err := b.Stand(ctx, r)
	if err == nil {
		follow(ctx)
	}
	return opened, err
}

// Stand is Open up to the commit. The caller calls follow next, which rings and offers;
// a device may be answered before, for the incident's deadline does both too when the
// program dies in between.
func (b *Board) Stand(ctx context.Context, r care.OpenRequest) (opened care.Opened, follow func(context.Context), err error) {
	started := time.Now()
	if r.Key == "" {
		return care.Opened{}, nil, care.Invalid("key", "is empty")
	}
	b.complete(&r)
	var inc Incident
	err = b.store.Change(ctx, func(tx Tx) error {
		opened, inc = care.Opened{}, Incident{}
		return b.openIn(tx, r, &opened, &inc)
	})
	if err != nil {
		b.opened.WithLabelValues("failed").Inc()
		return care.Opened{}, nil, fmt.Errorf("open incident: %w", err)
	}
	b.openTime.Observe(time.Since(started).Seconds())
	switch {
	case opened.Repeat:
		b.opened.WithLabelValues("repeat").Inc()
		return opened, func(context.Context) {}, nil
	case opened.Joined:
		b.opened.WithLabelValues("joined").Inc()
	case opened.IncidentID == "":
		b.opened.WithLabelValues("task").Inc()
	default:
		b.opened.WithLabelValues("opened").Inc()
	}
	return opened, func(ctx context.Context) { b.follow(ctx, inc, opened, r) }, nil
}

// follow rings an operator, and offers an incident that is new.
func (b *Board) follow(ctx context.Context, inc Incident, opened care.Opened, r care.OpenRequest) {
	if opened.IncidentID == "" {
		return
	}
	if inc.Owner == "" && r.CallID == "" {
		b.ring(ctx, inc)
	}
	if opened.Joined || !inc.Unoffered {
		return
	}
	if err := b.offerFirst(ctx, inc); err != nil {
		b.log.Error("first offers; the deadline makes them", zap.String("incident_id", string(inc.ID)), zap.Error(err))
	}
}

func (b *Board) complete(r *care.OpenRequest) {
	if r.At.IsZero() {
		r.At = b.now()
	}
	if len(r.Kinds) == 0 {
		r.Kinds = []care.Kind{care.KindUnspecified}
	}
	if r.Priority == 0 {
		r.Priority = care.P4
		for _, k := range r.Kinds {
			r.Priority = min(r.Priority, care.PriorityOf(k))
		}
	}
	if r.Alarm != nil && r.Alarm.ID == "" {
		r.Alarm.ID = care.NewID[care.AlarmID]()
	}
	if r.Actor == "" {
		r.Actor = "system"
	}
}

// openIn is the accept transaction.
func (b *Board) openIn(tx Tx, r care.OpenRequest, opened *care.Opened, inc *Incident) error {
	id := r.IncidentID
	if id == "" {
		id = care.NewID[care.IncidentID]()
	}
	taken, err := tx.TakeKey("open", r.Key, string(id), r.Digest)
	if err != nil {
		return err
	}
	if taken.Repeat && taken.Digest == r.Digest {
		opened.Repeat = true
		return readReply(taken.Reply, opened)
	}
	if taken.Repeat {
		// The counter of a device that restarted came round to a number used before:
		// another meaning is another alarm.
		r.Key += "#" + r.Digest + "#" + r.At.UTC().Format("20060102")
		if taken, err = tx.TakeKey("open", r.Key, string(id), r.Digest); err != nil {
			return err
		}
		if taken.Repeat {
			opened.Repeat = true
			return readReply(taken.Reply, opened)
		}
		if r.Alarm != nil {
			r.Alarm.SourceEventID = r.Key
		}
	}
	if r.Alarm != nil {
		// Keys are forgotten after days, alarms are not: what a device kept for so long
		// and sends again is the same alarm.
		known, err := tx.AlarmBySource(r.Alarm.SourceEventID)
		if err != nil {
			return err
		}
		if known.Alarm.ID != "" {
			*opened = care.Opened{IncidentID: known.IncidentID, AlarmID: known.Alarm.ID, Repeat: true}
			return tx.SetReply("open", r.Key, event.Body(opened))
		}
		opened.AlarmID = r.Alarm.ID
	}
	if r.Priority >= care.P3 && r.CallID == "" && r.Source != "manual" {
		err = b.noteDevice(tx, r)
	} else {
		err = b.stand(tx, id, r, opened, inc)
	}
	if err != nil {
		return err
	}
	return tx.SetReply("open", r.Key, event.Body(opened))
}

func readReply(reply json.RawMessage, into *care.Opened) error {
	if reply == nil {
		return errors.New("the key is taken and its reply is missing")
	}
	if err := json.Unmarshal(reply, into); err != nil {
		return fmt.Errorf("stored reply: %w", err)
	}
	into.Repeat = true
	return nil
}

// subjects are what an incident is the open one of.
func subjects(r care.OpenRequest) []string {
	var s []string
	if r.ElderID != "" {
		s = append(s, "elder:"+string(r.ElderID))
	}
	if r.DeviceID != "" {
		s = append(s, "device:"+string(r.DeviceID))
	}
	if len(s) == 0 && r.Alarm != nil && r.Alarm.ClaimedID != "" {
		s = append(s, "claimed:"+r.Alarm.Protocol+":"+r.Alarm.ClaimedID)
	}
	return s
}

// stand opens the incident or joins the open one.
func (b *Board) stand(tx Tx, id care.IncidentID, r care.OpenRequest, opened *care.Opened, inc *Incident) error {
	holder, err := b.holder(tx, id, r)
	if err != nil {
		return err
	}
	if holder != id {
		opened.Joined = true
		return b.join(tx, holder, r, opened, inc)
	}
	day := r.At.In(b.opts.Zone).Format("20060102")
	n, err := tx.NextNumber("incident:" + day)
	if err != nil {
		return err
	}
	*inc = Incident{ID: id, No: fmt.Sprintf("%s-%04d", day, n), Status: Raised, Source: r.Source, Kinds: r.Kinds, Priority: r.Priority,
		ElderID: r.ElderID, DeviceID: r.DeviceID, Locations: r.Locations, Area: r.Area, Presses: 1, Drill: r.Drill, OpenedAt: r.At, LastAt: r.At}
	if r.Alarm != nil {
		inc.ClaimedID = r.Alarm.ClaimedID
	}
	inc.Unoffered = b.opts.OfferAtOnce && inc.Priority == care.P1 && !inc.place().Point.IsZero()
	opened.IncidentID, opened.No = inc.ID, inc.No
	c := b.begin(tx, inc, 0)
	c.fact(OpenedEvent, r.Actor, map[string]any{"source": r.Source, "kinds": r.Kinds, "no": inc.No})
	if err := b.attach(c, r); err != nil {
		return err
	}
	if r.Alarm != nil && r.Alarm.Trust == "unverified" {
		if err := c.task(TaskUnknown, string(inc.ID), Task{ClaimedID: r.Alarm.ClaimedID, AlarmID: r.Alarm.ID, Kinds: r.Kinds, Priority: r.Priority}); err != nil {
			return err
		}
	}
	return c.save()
}

// holder finds the open incident of any subject of the request; without one it is the
// new one, id. It becomes that of every subject which has no other.
func (b *Board) holder(tx Tx, id care.IncidentID, r care.OpenRequest) (care.IncidentID, error) {
	found, by, all := id, "", subjects(r)
	for _, s := range all {
		holder, known, err := tx.SubjectOf(s)
		if err != nil {
			return "", err
		}
		if !known {
			continue
		}
		switch open, err := stands(tx, holder); {
		case err != nil:
			return "", err
		case open:
			found, by = holder, s
		default:
			// Nothing can be joined to what is over; a press must not fail for it.
			if err := tx.DropSubjects(holder); err != nil {
				return "", err
			}
		}
		if found != id {
			break
		}
	}
	for _, s := range all {
		if s == by {
			continue
		}
		holder, err := tx.TakeSubject(s, found)
		if err != nil {
			return "", err
		}
		if holder != found && found == id {
			return "", fmt.Errorf("subject of incident %s: %w", id, event.ErrConflict)
		}
	}
	return found, nil
}

// stands tells whether an incident is there and open.
func stands(tx Tx, id care.IncidentID) (bool, error) {
	inc, err := tx.Incident(id)
	if errors.Is(err, care.ErrNotFound) {
		return false, nil
	}
	return err == nil && inc.Status.Open(), err
}

// join appends to the open incident: a further press never hides, it adds.
func (b *Board) join(tx Tx, id care.IncidentID, r care.OpenRequest, opened *care.Opened, inc *Incident) error {
	old, err := tx.Incident(id)
	if err != nil {
		return err
	}
	*inc = old
	opened.IncidentID, opened.No = inc.ID, inc.No
	inc.Presses++
	inc.LastAt = r.At
	inc.Priority = min(inc.Priority, r.Priority)
	for _, k := range r.Kinds {
		if !slices.Contains(inc.Kinds, k) {
			inc.Kinds = append(inc.Kinds, k)
		}
	}
	if inc.ElderID == "" {
		inc.ElderID = r.ElderID
	}
	if len(r.Locations) > 0 && (len(inc.Locations) == 0 || better(r.Locations[0], inc.Locations[0])) {
		inc.Locations = r.Locations
	}
	c := b.begin(tx, inc, old.Version)
	c.fact(JoinedEvent, r.Actor, map[string]any{"source": r.Source, "kinds": r.Kinds, "presses": inc.Presses})
	if err := b.attach(c, r); err != nil {
		return err
	}
	if inc.Status == Resolved {
		// Pressed again before the wrap-up: it is not over.
		if err := inc.move(Answered); err != nil {
			return err
		}
		c.fact(ReopenedEvent, "rule:pressed_again", nil)
	}
	return c.save()
}

// better prefers a live fix over a remembered one, and a newer over an older.
func better(a, b care.Fix) bool {
	live := func(f care.Fix) bool {
		return f.Source == care.FixGNSS || f.Source == care.FixWifi || f.Source == care.FixCell
	}
	if live(a) != live(b) {
		return live(a)
	}
	return a.At.After(b.At)
}

// attach keeps the alarm and the call with the incident.
func (b *Board) attach(c *change, r care.OpenRequest) error {
	if r.Alarm != nil {
		if err := c.tx.SaveAlarm(*r.Alarm, c.inc.ID); err != nil {
			return err
		}
		c.events = append(c.events, alarmFact(*r.Alarm, c.inc.ID, r.Actor))
	}
	if r.CallID != "" {
		c.call(r.CallID, r.Actor)
	}
	return nil
}

func alarmFact(a care.Alarm, id care.IncidentID, actor string) event.Event {
	return event.Event{ID: uuid.Must(uuid.NewV7()).String(), Type: AlarmReceived, V: 1, Agg: "alarm", AggID: string(a.ID), Seq: 1,
		IncidentID: string(id), At: a.ReceivedAt, Actor: actor, Body: event.Body(map[string]any{
			"device_id": a.DeviceID, "protocol": a.Protocol, "kinds": a.Kinds, "device_time": a.DeviceTime, "battery": a.Battery, "history": a.History, "trust": a.Trust})}
}

// noteDevice keeps what is no emergency as a task of the desk.
func (b *Board) noteDevice(tx Tx, r care.OpenRequest) error {
	about := string(r.DeviceID)
	t := Task{DeviceID: r.DeviceID, ElderID: r.ElderID, Kinds: r.Kinds, Priority: r.Priority}
	if r.Alarm != nil {
		if err := tx.SaveAlarm(*r.Alarm, ""); err != nil {
			return err
		}
		if err := tx.Append(alarmFact(*r.Alarm, "", r.Actor)); err != nil {
			return err
		}
		t.AlarmID, t.ClaimedID = r.Alarm.ID, r.Alarm.ClaimedID
		if about == "" {
			about = r.Alarm.Protocol + "-" + r.Alarm.ClaimedID
		}
	}
	kind := TaskDevice
	if r.DeviceID == "" && r.Source == "device" {
		kind = TaskUnknown
	}
	return b.saveTask(tx, kind, about, t, r.At)
}

// need is what the engine is asked for.
func (b *Board) need(inc Incident, key string, only, exclude []care.ResponderID, actor string) care.AssignRequest {
	return care.AssignRequest{Key: key, For: "incident", ForID: string(inc.ID), IncidentID: inc.ID, ElderID: inc.ElderID, Priority: inc.Priority,
		Place: inc.place(), Skills: []string{"first_aid", "cpr"}, Need: 1, Plan: "sos", Only: only, Exclude: exclude, Actor: actor}
}

// place is where to go: the best of the location ladder.
func (i Incident) place() care.Fix {
	for _, l := range i.Locations {
		if !l.Point.IsZero() {
			return l
		}
	}
	return care.Fix{}
}

// ring asks the call centre for an operator. Its failure never fails the incident:
// the ladder asks again at the next rung.
func (b *Board) ring(ctx context.Context, inc Incident) {
	if b.opts.Voice == nil {
		return
	}
	req := care.CallRequest{IncidentID: inc.ID, ElderID: inc.ElderID, DeviceID: inc.DeviceID, Priority: inc.Priority}
	if inc.Source == "device" && inc.DeviceID != "" && inc.Rung == 0 {
		req.VoiceExpect = b.now().Add(b.opts.Ladder.VoiceWait)
	}
	if err := b.opts.Voice.RequestCall(ctx, req); err != nil {
		b.voiceFails.Inc()
		b.log.Error("the call centre refused a call", zap.String("incident_id", string(inc.ID)), zap.Error(err))
	}
}
