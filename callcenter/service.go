package callcenter

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"anling/callcenter/acd"
	"anling/callcenter/ivr"
	"anling/callcenter/leg"
	"anling/callcenter/media"
	"anling/callcenter/recording"
	"anling/care"
)

// Opener makes an incident stand; dispatch.Guard or dispatch.Board.
type Opener interface {
	Open(ctx context.Context, r care.OpenRequest) (care.Opened, error)
}

// Incidents is what a call tells dispatch.Board and asks of it; cmd joins the two.
type Incidents interface {
	OpenIncidentOf(ctx context.Context, elder care.ElderID, device care.DeviceID) (care.IncidentID, bool, error)
	AttachCall(ctx context.Context, id care.IncidentID, call care.CallID, actor string) error
	// Ringing says that operators are being rung for it.
	Ringing(ctx context.Context, id care.IncidentID) error
	// Take makes the operator its owner; care.ErrTaken when it has another.
	Take(ctx context.Context, id care.IncidentID, u care.UserID, takeOver bool) error
	// Owner is empty while nobody has taken it.
	Owner(ctx context.Context, id care.IncidentID) (care.UserID, error)
}

// Directory knows whose number it is; care.Registry is one.
type Directory interface {
	MatchPhone(ctx context.Context, e164 string) ([]care.PhoneMatch, error)
	Elder(ctx context.Context, id care.ElderID) (care.Elder, error)
	Device(ctx context.Context, id care.DeviceID) (care.Device, error)
	NumbersOf(ctx context.Context, elder care.ElderID, device care.DeviceID) ([]string, error)
}

// Clocks of the call centre. Zero values take the default.
type Clocks struct {
	Ring        time.Duration // an operator's telephone: 15 s
	SOSRing     time.Duration // 8 s
	WrapUp      time.Duration // 15 s
	CallbackSOS time.Duration // a lost SOS call is rung back within: 30 s
	Callback    time.Duration // and others: 3 min
	VoiceExpect time.Duration // a device's own call is awaited at most: 60 s
	ElderRing   time.Duration // each number of an elder: 25 s
	Drain       time.Duration // conversations may go on so long after the end of Run: 0
}

func (c Clocks) complete() Clocks {
	for _, d := range []struct {
		at *time.Duration
		to time.Duration
	}{{&c.Ring, 15 * time.Second}, {&c.SOSRing, 8 * time.Second}, {&c.WrapUp, 15 * time.Second}, {&c.CallbackSOS, 30 * time.Second},
		{&c.Callback, 3 * time.Minute}, {&c.VoiceExpect, time.Minute}, {&c.ElderRing, 25 * time.Second}} {
		if *d.at <= 0 {
			*d.at = d.to
		}
	}
	return c
}

// Options of a Service. Store, Opener, Incidents, Directory, Dialer and Phones are
// needed; without Prompts tones are played, without Recordings nothing is recorded.
type Options struct {
	Store      Store
	Opener     Opener
	Incidents  Incidents
	Directory  Directory
	Dialer     leg.Dialer
	Phones     leg.Phones
	Prompts    *media.Prompts
	Recordings *recording.Pool
	Repaired   []recording.Result // files that an earlier life left open, now finished
	Flow       ivr.Flow           // what the hotline's caller hears first; ivr.Hotline by default
	Clocks     Clocks
	// Emergency tells every console what the store does not take; it must not block.
	Emergency func(map[string]any)
	Log       *zap.Logger
	Metrics   prometheus.Registerer
	Now       func() time.Time
}

const (
	tickEvery  = 200 * time.Millisecond
	sweepEvery = time.Second
	actorsMax  = 5000             // live calls; an SOS is taken beyond it
	endWithin  = 12 * time.Second // of a call after its last leg: recording and store
)

var errStopped = errors.New("the call centre is stopping")

// Service carries the calls. It is safe for concurrent use.
type Service struct {
	o       Options
	log     *zap.Logger
	now     func() time.Time
	metrics *metrics
	work    sync.WaitGroup // every goroutine of every call
	ready   chan struct{}  // closed when the rows of earlier lives are read
	wake    chan struct{}  // operators have changed

	mu       sync.Mutex
	queue    *acd.Queue                      // guarded by mu
	actors   map[care.CallID]*actor          // guarded by mu: live calls
	views    map[care.CallID]Call            // guarded by mu: their state as told last
	incident map[care.IncidentID]care.CallID // guarded by mu: the live call of an incident
	desk     map[care.UserID]*desk           // guarded by mu
	early    []Operator                      // guarded by mu: made known before ready
	debts    []debt                          // guarded by mu: what ended calls could not store
	epoch    int64                           // guarded by mu
	stopping bool                            // guarded by mu
}

// New makes a call centre; it carries calls at once, and does everything that goes
// by the clock while Run runs.
func New(o Options) (*Service, error) {
	switch {
	case o.Store == nil, o.Opener == nil, o.Incidents == nil, o.Directory == nil, o.Dialer == nil, o.Phones == nil:
		return nil, errors.New("callcenter: Store, Opener, Incidents, Directory, Dialer and Phones are needed")
	}
	if o.Flow.ID == "" {
		o.Flow = ivr.Hotline()
	}
	if err := o.Flow.Check(); err != nil {
		return nil, fmt.Errorf("callcenter: %w", err)
	}
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	o.Clocks = o.Clocks.complete()
	s := &Service{o: o, log: o.Log, now: o.Now, metrics: newMetrics(o.Metrics), ready: make(chan struct{}), wake: make(chan struct{}, 1),
		queue:  acd.New(acd.Limits{Ring: o.Clocks.Ring, SOSRing: o.Clocks.SOSRing, WrapUp: o.Clocks.WrapUp}),
		actors: map[care.CallID]*actor{}, views: map[care.CallID]Call{}, incident: map[care.IncidentID]care.CallID{}, desk: map[care.UserID]*desk{}}
	o.Phones.OnRegistration(s.phoneChanged)
	return s, nil
}

// Run recovers what an earlier life left, keeps the clocks of the queue and stores
// the operators' states until ctx ends; then it ends the calls and returns.
func (s *Service) Run(ctx context.Context) error {
	s.load(ctx)
	s.checkPhones()
	var own sync.WaitGroup
	clerks, stop := context.WithCancel(context.WithoutCancel(ctx)) // they work until the calls have ended
	own.Go(func() { s.storeOperators(clerks) })
	own.Go(func() { s.payDebts(clerks) })
	own.Go(func() { s.recover(ctx) })
	tick := time.NewTicker(tickEvery)
	defer tick.Stop()
	swept := s.now()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-tick.C:
			now := s.now()
			s.tick(now, now.Sub(swept) >= sweepEvery)
			if now.Sub(swept) >= sweepEvery {
				swept = now
			}
		}
	}
	s.drain()
	stop()
	own.Wait()
	s.lastWords()
	return nil
}

// load reads the rows of earlier lives and begins a new one. A store that does not
// answer must not keep the lines waiting: after a while it goes on without.
func (s *Service) load(ctx context.Context) {
	defer close(s.ready)
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	var rows []Operator
	for {
		var epoch int64
		err := s.o.Store.Change(ctx, func(tx Tx) (err error) {
			epoch, err = tx.NextEpoch()
			return err
		})
		if err == nil {
			rows, err = s.o.Store.Operators(ctx)
		}
		if err == nil {
			s.mu.Lock()
			s.epoch = epoch
			s.mu.Unlock()
			break
		}
		s.log.Error("read operators", zap.Error(err))
		select {
		case <-ctx.Done():
			s.log.Error("the call centre starts without its rows")
		case <-time.After(500 * time.Millisecond):
			continue
		}
		break
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range rows {
		s.desk[r.UserID] = &desk{row: r, saved: r.Version}
	}
	for _, o := range s.early {
		s.signOn(o)
	}
	s.early = nil
}

func (s *Service) tick(now time.Time, sweep bool) {
	if sweep {
		s.checkPhones()
	}
	s.act(func(q *acd.Queue) []acd.Offer {
		ended := q.Tick(now)
		if sweep {
			for _, r := range q.Sweep(now) {
				s.metrics.repaired.Inc()
				s.log.Error("queue repaired", zap.String("what", r.What), zap.String("call_id", string(r.Call)), zap.String("operator_id", string(r.Operator)))
				s.announce(QueueRepaired, map[string]any{"what": r.What, "call_id": r.Call, "operator_id": r.Operator})
			}
			s.metrics.waiting.Set(float64(len(q.Order(now))))
			s.metrics.live.Set(float64(len(s.actors)))
		}
		return ended
	})
}

// act changes the queue and puts into effect what follows from it: offers that ended
// are silenced, those who wait are matched with those who are free, operators' new
// states are noted. f runs under the lock and returns the offers that it ended.
func (s *Service) act(f func(q *acd.Queue) []acd.Offer) {
	s.mu.Lock()
	now := s.now()
	gone := f(s.queue)
	var offers []acd.Offer
	if !s.stopping {
		var yielded []acd.Offer
		offers, yielded = s.queue.Match(now)
		gone = append(gone, yielded...)
		if s.queue.Idle(now) {
			s.metrics.idle.Inc()
		}
	}
	s.note(s.queue.Changed())
	type errand struct {
		a *actor
		f func(*actor)
	}
	var errands []errand
	for _, o := range gone {
		if a := s.actors[o.Call]; a != nil {
			errands = append(errands, errand{a, func(a *actor) { a.silence(o) }})
		}
	}
	var orphans []acd.Offer
	for _, o := range offers {
		a, d := s.actors[o.Call], s.desk[o.Operator]
		if a == nil || d == nil {
			orphans = append(orphans, o)
			continue
		}
		account := d.row.Account
		errands = append(errands, errand{a, func(a *actor) { a.offer(o, account) }})
	}
	for _, o := range orphans {
		s.queue.Miss(now, o, true)
	}
	s.mu.Unlock()
	for _, e := range errands {
		e.a.send(e.f)
	}
}

// drain ends what lives: conversations may go on for the time that is set.
func (s *Service) drain() {
	s.mu.Lock()
	s.stopping = true
	all := make([]*actor, 0, len(s.actors))
	for _, a := range s.actors {
		all = append(all, a)
	}
	s.mu.Unlock()
	for _, a := range all {
		a.send(func(a *actor) { a.drain(s.o.Clocks.Drain) })
	}
	done := make(chan struct{})
	go func() { s.work.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(s.o.Clocks.Drain + endWithin + 5*time.Second):
		s.log.Error("calls did not end in time")
	}
}

// Take carries an inbound call; it is what sip calls for every INVITE.
func (s *Service) Take(l leg.Leg) {
	info := l.Info()
	a := s.newActor(Call{ID: care.NewID[care.CallID](), Direction: leg.In, Purpose: Hotline, State: Arrived, Class: acd.Normal, From: info.From, To: info.To,
		DID: info.DID, Trunk: info.Trunk, Anonymous: info.Anonymous, SIPCallID: info.SIPCallID, ArrivedAt: s.now()})
	a.caller = &party{leg: l, inbound: true}
	if !s.start(a, info.SOS, func(a *actor) { a.arrive(info) }) {
		l.Hangup(leg.Drained)
	}
}

// start lets the actor live. It refuses when the service is stopping, or when there
// are more calls than it can carry and this one is no SOS.
func (s *Service) start(a *actor, sos bool, first func(*actor)) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopping || (len(s.actors) >= actorsMax && !sos) {
		return false
	}
	a.c.Epoch = s.epoch
	s.actors[a.c.ID] = a
	s.views[a.c.ID] = a.c
	if a.c.IncidentID != "" {
		s.incident[a.c.IncidentID] = a.c.ID
	}
	s.work.Go(func() { a.run(first) })
	return true
}

// forget is the end of an actor.
func (s *Service) forget(a *actor) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.actors, a.c.ID)
	delete(s.views, a.c.ID)
	if s.incident[a.c.IncidentID] == a.c.ID {
		delete(s.incident, a.c.IncidentID)
	}
}

func (s *Service) actor(id care.CallID) (*actor, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if a := s.actors[id]; a != nil {
		return a, nil
	}
	return nil, care.NotFound("live call", string(id))
}

// Calls are the live ones: those who wait in the order in which they will be served,
// then those who are being put through, then the conversations.
func (s *Service) Calls() []Call {
	s.mu.Lock()
	defer s.mu.Unlock()
	place := map[care.CallID]int{}
	for i, id := range s.queue.Order(s.now()) {
		place[id] = i + 1
	}
	all := make([]Call, 0, len(s.views))
	for _, c := range s.views {
		if c.Live() {
			c.Position = place[c.ID]
			all = append(all, c)
		}
	}
	group := func(c Call) int {
		switch {
		case c.Position > 0:
			return 0
		case c.State == Talking || c.State == Held:
			return 2
		}
		return 1
	}
	slices.SortFunc(all, func(a, b Call) int {
		if g := group(a) - group(b); g != 0 {
			return g
		}
		if p := a.Position - b.Position; p != 0 {
			return p
		}
		return a.ArrivedAt.Compare(b.ArrivedAt)
	})
	return all
}

// Call is one call, live or past.
func (s *Service) Call(ctx context.Context, id care.CallID) (Call, error) {
	s.mu.Lock()
	c, live := s.views[id]
	s.mu.Unlock()
	if live {
		return c, nil
	}
	return s.o.Store.Call(ctx, id)
}

// RecentCalls are the newest records.
func (s *Service) RecentCalls(ctx context.Context, limit int) ([]Call, error) {
	return s.o.Store.RecentCalls(ctx, limit)
}

// CallsOfIncident are the calls of one incident, oldest first.
func (s *Service) CallsOfIncident(ctx context.Context, id care.IncidentID, limit int) ([]Call, error) {
	return s.o.Store.CallsOfIncident(ctx, id, limit)
}

// CallsOfElder are the calls of one elder, newest first.
func (s *Service) CallsOfElder(ctx context.Context, id care.ElderID, limit int) ([]Call, error) {
	return s.o.Store.CallsOfElder(ctx, id, limit)
}

// RecordingPath is the file of a call's recording.
func (s *Service) RecordingPath(ctx context.Context, id care.CallID) (string, error) {
	c, err := s.Call(ctx, id)
	if err != nil {
		return "", err
	}
	if c.Recording == nil || c.Recording.State != "saved" || s.o.Recordings == nil {
		return "", care.NotFound("recording of call", string(id))
	}
	return s.o.Recordings.File(c.Recording.Path)
}

// Hangup ends a live call.
func (s *Service) Hangup(ctx context.Context, id care.CallID, by care.UserID) error {
	return s.order(ctx, id, func(a *actor) error { return a.hangup(by) })
}

// Hold lets the caller hear music; Resume joins the two again.
func (s *Service) Hold(ctx context.Context, id care.CallID, by care.UserID) error {
	return s.order(ctx, id, func(a *actor) error { return a.hold(true, "operator:"+string(by)) })
}

// Resume ends a Hold.
func (s *Service) Resume(ctx context.Context, id care.CallID, by care.UserID) error {
	return s.order(ctx, id, func(a *actor) error { return a.hold(false, "operator:"+string(by)) })
}

// order has an actor do something and waits for its answer.
func (s *Service) order(ctx context.Context, id care.CallID, f func(*actor) error) error {
	a, err := s.actor(id)
	if err != nil {
		return err
	}
	answer := make(chan error, 1)
	a.send(func(a *actor) { answer <- f(a) })
	select {
	case err := <-answer:
		return err
	case <-a.done:
		select {
		case err := <-answer:
			return err
		default:
			return care.NotFound("live call", string(id))
		}
	case <-ctx.Done():
		return fmt.Errorf("call %s: %w", id, ctx.Err())
	}
}
