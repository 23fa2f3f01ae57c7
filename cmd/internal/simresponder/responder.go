// Package simresponder is a responder with the app: signed in and on duty, it hears of
// offers, answers them by its temper, and goes: position by position along the
// straight line, to the door, until the job is done.
package simresponder

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"sync"
	"time"

	"go.uber.org/zap"

	"anling/cmd/internal/simclient"
	"anling/geo"
)

// Temper is how a responder behaves. The zero value accepts everything at once.
type Temper struct {
	Decline float64       // share of offers that are refused
	Ignore  float64       // share of offers that are never answered
	Think   time.Duration // before answering; half to one and a half of it
	Travel  time.Duration // how long the way takes here, whatever its length; 2 s by default
	Stay    time.Duration // at the elder's, 1 s by default
	Step    time.Duration // between positions, 1 s by default
}

// Options of a Responder. Server, Name and Password are needed.
type Options struct {
	Server   string
	Name     string
	Password string
	Temper   Temper
	Start    geo.Point     // where it waits; zero: no position until the first job
	Poll     time.Duration // the list of offers is read so often besides the live channel, 5 s by default
	Seed     uint64
	OnStep   func(Step) // must not block
	Log      *zap.Logger
}

// Step is something the responder did.
type Step struct {
	What         string // offered, accepted, taken, declined, ignored, en_route, on_scene, done
	OfferID      string
	AssignmentID string
	IncidentID   string
	At           time.Time
}

// Responder is one of them. Run does all.
type Responder struct {
	opts   Options
	client *simclient.Client
	random *rand.Rand
	wake   chan struct{}
	seq    int64
	place  geo.Point
	known  map[string]bool // offers that were looked at
	log    *zap.Logger

	ready  chan struct{}
	mu     sync.Mutex
	counts map[string]int // guarded by mu: steps and errors by what
}

// New makes a responder.
func New(o Options) (*Responder, error) {
	t := &o.Temper
	for _, d := range []struct {
		of *time.Duration
		is time.Duration
	}{{&t.Travel, 2 * time.Second}, {&t.Stay, time.Second}, {&t.Step, time.Second}, {&o.Poll, 5 * time.Second}} {
		if *d.of <= 0 {
			*d.of = d.is
		}
	}
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	c, err := simclient.New(o.Server)
	if err != nil {
		return nil, err
	}
	return &Responder{opts: o, client: c, random: rand.New(rand.NewPCG(o.Seed, 2)), wake: make(chan struct{}, 1), place: o.Start,
		known: map[string]bool{}, ready: make(chan struct{}), counts: map[string]int{}, log: o.Log}, nil
}

// WaitReady waits until it is signed in, on duty and listening.
func (r *Responder) WaitReady(ctx context.Context) error {
	select {
	case <-r.ready:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("responder %s is not on duty: %w", r.opts.Name, ctx.Err())
	}
}

// Counts are the steps and errors so far.
func (r *Responder) Counts() map[string]int {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := map[string]int{}
	for k, n := range r.counts {
		c[k] = n
	}
	return c
}

func (r *Responder) count(what string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.counts[what]++
}

func (r *Responder) step(what string, o simclient.Offer) {
	r.count(what)
	if r.opts.OnStep != nil {
		r.opts.OnStep(Step{What: what, OfferID: o.ID, AssignmentID: o.AssignmentID, IncidentID: o.IncidentID, At: time.Now()})
	}
}

// fault counts an error; what the next poll repairs is not the end.
func (r *Responder) fault(what string, err error) {
	var refused *simclient.Refusal
	if errors.As(err, &refused) {
		r.count("error: " + what + ": " + refused.Code)
	} else {
		r.count("error: " + what)
	}
	r.log.Warn(what, zap.String("name", r.opts.Name), zap.Error(err))
}

// Run signs in, goes on duty and works until ctx ends, then goes off duty.
func (r *Responder) Run(ctx context.Context) error {
	defer r.client.Close()
	if err := r.client.Login(ctx, r.opts.Name, r.opts.Password); err != nil {
		return err
	}
	if r.client.Me.ResponderID == "" {
		return fmt.Errorf("account %s is no responder's", r.opts.Name)
	}
	if err := r.duty(ctx, "on"); err != nil {
		return err
	}
	r.post(ctx)
	ctx, cancel := context.WithCancel(ctx)
	var line sync.WaitGroup
	defer line.Wait()
	defer cancel()
	var once sync.Once
	line.Go(func() {
		err := r.client.Follow(ctx, simclient.Follower{Views: []string{"responder"},
			Event: func(simclient.Event) { r.poke() },
			Line: func(up bool, err error) {
				if up {
					once.Do(func() { close(r.ready) })
					r.poke()
				}
			}})
		if err != nil {
			r.fault("live channel", err)
		}
	})
	poll := time.NewTicker(r.opts.Poll)
	defer poll.Stop()
	for {
		select {
		case <-ctx.Done():
			off, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
			defer cancel()
			if err := r.duty(off, "off"); err != nil {
				r.fault("off duty", err)
			}
			return nil
		case <-r.wake:
		case <-poll.C:
		}
		if err := r.look(ctx); err != nil && ctx.Err() == nil {
			r.fault("offers", err)
		}
	}
}

func (r *Responder) poke() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

func (r *Responder) duty(ctx context.Context, duty string) error {
	return r.client.Post(ctx, "/responders/"+url.PathEscape(r.client.Me.ResponderID)+"/duty", map[string]string{"duty": duty}, nil)
}

// post tells where the responder is.
func (r *Responder) post(ctx context.Context) {
	if r.place.IsZero() {
		return
	}
	err := r.client.Post(ctx, "/positions", map[string]any{"lat": r.place.Lat, "lng": r.place.Lng, "accuracy_m": 10, "at": time.Now().UTC(), "datum": "wgs84"}, nil)
	if err != nil && ctx.Err() == nil {
		r.fault("position", err)
	}
}

// look reads the offers and answers those that are new. A job that was left in the
// middle, by a restart of the simulator, is gone on with.
func (r *Responder) look(ctx context.Context) error {
	if a, err := r.job(ctx); err != nil {
		return err
	} else if a.ID != "" {
		r.work(ctx, simclient.Offer{AssignmentID: a.ID, IncidentID: a.IncidentID}, a)
	}
	var list simclient.Items[simclient.Offer]
	if err := r.client.Get(ctx, "/offers", &list); err != nil {
		return err
	}
	for _, o := range list.Items {
		if !o.Waiting() || r.known[o.ID] {
			continue
		}
		if len(r.known) > 10_000 {
			clear(r.known)
		}
		r.known[o.ID] = true
		r.step("offered", o)
		if err := r.consider(ctx, o); err != nil {
			return err
		}
	}
	return nil
}

func (r *Responder) job(ctx context.Context) (simclient.Assignment, error) {
	var list simclient.Items[simclient.Assignment]
	if err := r.client.Get(ctx, "/assignments?mine=true", &list); err != nil {
		return simclient.Assignment{}, err
	}
	for _, a := range list.Items {
		switch a.Status {
		case "accepted", "en_route", "on_scene", "transport":
			return a, nil
		}
	}
	return simclient.Assignment{}, nil
}

// consider answers an offer.
func (r *Responder) consider(ctx context.Context, o simclient.Offer) error {
	if _, err := r.answer(ctx, o, "seen", ""); err != nil {
		return err
	}
	if think := r.opts.Temper.Think; think > 0 && !pause(ctx, think/2+time.Duration(r.random.Int64N(int64(think)))) {
		return nil
	}
	switch x := r.random.Float64(); {
	case x < r.opts.Temper.Ignore:
		r.step("ignored", o)
		return nil
	case x < r.opts.Temper.Ignore+r.opts.Temper.Decline:
		if _, err := r.answer(ctx, o, "decline", "busy elsewhere"); err != nil {
			return err
		}
		r.step("declined", o)
		return nil
	}
	res, err := r.answer(ctx, o, "accept", "")
	if simclient.Refused(err, "busy", "taken", "expired") {
		r.step("taken", o)
		return nil
	}
	if err != nil {
		return err
	}
	if res.Status != "accepted" {
		r.step("taken", o)
		return nil
	}
	r.step("accepted", o)
	var a simclient.Assignment
	if err := r.client.Get(ctx, "/assignments/"+url.PathEscape(o.AssignmentID), &a); err != nil {
		return err
	}
	r.work(ctx, o, a)
	return nil
}

func (r *Responder) answer(ctx context.Context, o simclient.Offer, how, reason string) (simclient.Result, error) {
	r.seq++
	body := map[string]any{"epoch": o.Epoch, "device_id": "sim-" + r.opts.Name, "device_seq": r.seq}
	if reason != "" {
		body["reason"] = reason
	}
	var res simclient.Result
	err := r.client.Post(ctx, "/offers/"+url.PathEscape(o.ID)+"/"+how, body, &res)
	return res, err
}

// work does a job from where it is to its end.
func (r *Responder) work(ctx context.Context, o simclient.Offer, a simclient.Assignment) {
	next := map[string]string{"accepted": "en_route", "en_route": "on_scene", "on_scene": "done", "transport": "done"}
	for status := a.Status; next[status] != "" && ctx.Err() == nil; status = next[status] {
		switch status {
		case "en_route":
			if !r.travel(ctx, a) {
				return
			}
		case "on_scene", "transport":
			if !pause(ctx, r.opts.Temper.Stay) {
				return
			}
		}
		body := map[string]any{"status": next[status]}
		if next[status] == "done" {
			body["outcome"] = "helped up, well"
		}
		err := r.client.Post(ctx, "/assignments/"+url.PathEscape(a.ID)+"/advance", body, nil)
		if simclient.Refused(err, "transition", "taken", "not_found") { // withdrawn meanwhile
			r.count("withdrawn")
			return
		}
		if err != nil {
			if ctx.Err() == nil {
				r.fault("advance", err)
			}
			return // the next look goes on with it
		}
		r.step(next[status], o)
	}
}

// travel goes along the straight line.
func (r *Responder) travel(ctx context.Context, a simclient.Assignment) bool {
	to := geo.Point{Lat: a.Place.Point.Lat, Lng: a.Place.Point.Lng}
	from := r.place
	if from.IsZero() {
		from = geo.Offset(to, 600, 400)
	}
	steps := max(1, int(r.opts.Temper.Travel/r.opts.Temper.Step))
	for i := 1; i <= steps; i++ {
		if !pause(ctx, r.opts.Temper.Travel/time.Duration(steps)) {
			return false
		}
		if to.IsZero() {
			continue
		}
		share := float64(i) / float64(steps)
		r.place = geo.Point{Lat: from.Lat + (to.Lat-from.Lat)*share, Lng: from.Lng + (to.Lng-from.Lng)*share}
		r.post(ctx)
	}
	return true
}

// pause waits, and tells whether ctx goes on.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
