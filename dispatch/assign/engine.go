package assign

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"anling/care"
	"anling/event"
)

// Options of an Engine. Store is needed.
type Options struct {
	Store   Store
	RadiusM float64 // of the first search, 5000 by default
	Log     *zap.Logger
	Metrics prometheus.Registerer
	Now     func() time.Time
}

// Engine makes offers and takes answers. It is safe for concurrent use.
type Engine struct {
	*Roster
	store  Store
	radius float64
	log    *zap.Logger
	now    func() time.Time
	owners map[string]Owner
	offers *prometheus.CounterVec
	loaded atomic.Bool
}

// NewEngine makes an engine; Load it before the first request.
func NewEngine(o Options) *Engine {
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.RadiusM <= 0 {
		o.RadiusM = defaultRadiusM
	}
	if o.Metrics == nil {
		o.Metrics = prometheus.NewRegistry()
	}
	e := &Engine{Roster: NewRoster(), store: o.Store, radius: o.RadiusM, log: o.Log, now: o.Now, owners: map[string]Owner{},
		offers: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "anling_assign_offers_total", Help: "Offers by how they ended."}, []string{"status"})}
	o.Metrics.MustRegister(e.offers)
	return e
}

// Own sets who is told about assignments of a kind ("incident", "order").
func (e *Engine) Own(kind string, o Owner) { e.owners[kind] = o }

// Load brings the roster to what SQL says is held and claimed.
func (e *Engine) Load(ctx context.Context, responders []care.Responder, suspended map[care.ProviderID]bool) error {
	for _, r := range responders {
		e.Put(r, suspended[r.ProviderID])
	}
	claims, err := e.store.Claims(ctx)
	if err != nil {
		return fmt.Errorf("load claims: %w", err)
	}
	for r, a := range claims {
		e.occupy(r, a, time.Time{})
	}
	open, err := e.store.OpenAssignments(ctx)
	if err != nil {
		return fmt.Errorf("load assignments: %w", err)
	}
	for _, a := range open {
		offers, err := e.store.OffersOf(ctx, a.ID)
		if err != nil {
			return fmt.Errorf("load offers of %s: %w", a.ID, err)
		}
		for _, o := range offers {
			if o.Status.Waiting() {
				e.hold(o.ResponderID, a.ID)
			}
		}
	}
	e.loaded.Store(true)
	return nil
}

// Recommend ranks without offering.
func (e *Engine) Recommend(q Query) []Candidate {
	if q.RadiusM <= 0 {
		q.RadiusM = e.radius
	}
	return e.Rank(q, e.now())
}

// Request opens an assignment and makes its first wave of offers, in one change. A
// request whose key is known returns the assignment of the first.
func (e *Engine) Request(ctx context.Context, r care.AssignRequest) (Assignment, error) {
	if plans[r.Plan].waves == nil {
		return Assignment{}, care.Invalid("plan", "%q is not a plan", r.Plan)
	}
	var made Assignment
	var did outcome
	ahead := e.Ahead(r)
	err := e.store.ChangeAssignments(ctx, func(tx Tx) (err error) {
		did = ahead
		made, err = e.RequestIn(tx, r, &did)
		return err
	})
	if err != nil {
		return Assignment{}, err
	}
	e.apply(did)
	return made, nil
}

// Made is what a change did to the roster; give it to Committed after the commit.
type Made = outcome

// Ahead ranks for a request before its change, so that whoever else wants to write does
// not wait for it; RequestIn goes on with the answer. It ranks by itself without.
func (e *Engine) Ahead(r care.AssignRequest) Made {
	q := Query{Place: r.Place.Point, ElderID: r.ElderID, Skills: r.Skills, Plan: r.Plan, Exclude: r.Exclude, Only: r.Only}
	return Made{ahead: &ranking{query: q, all: e.Recommend(q)}}
}

// ranking is the answer to a query.
type ranking struct {
	query Query
	all   []Candidate
}

// answers tells whether it is good for another query: whose assignment it is does not
// matter before the first offer.
func (r *ranking) answers(q Query) bool {
	return r != nil && r.query.Place == q.Place && r.query.ElderID == q.ElderID && r.query.Plan == q.Plan &&
		slices.Equal(r.query.Skills, q.Skills) && slices.Equal(r.query.Exclude, q.Exclude) && slices.Equal(r.query.Only, q.Only)
}

// RequestIn is Request inside the caller's change; give did to Committed after the
// commit.
func (e *Engine) RequestIn(tx Tx, r care.AssignRequest, did *Made) (Assignment, error) {
	now := e.now()
	a := Assignment{
		ID: care.NewID[care.AssignmentID](), For: r.For, ForID: r.ForID, IncidentID: r.IncidentID, ElderID: r.ElderID,
		Priority: r.Priority, Place: r.Place, Skills: r.Skills, Plan: r.Plan, Status: Searching, Epoch: 1,
		Exclude: r.Exclude, Only: r.Only, Actor: r.Actor, CreatedAt: now,
	}
	taken, err := tx.TakeKey("assign", r.Key, string(a.ID), "")
	if err != nil {
		return Assignment{}, err
	}
	if taken.Repeat {
		id := care.AssignmentID(taken.Ref)
		if taken.Reply != nil {
			if err := json.Unmarshal(taken.Reply, &id); err != nil {
				return Assignment{}, fmt.Errorf("stored reply: %w", err)
			}
		}
		return tx.Assignment(id)
	}
	others, err := tx.AssignmentsFor(r.For, r.ForID)
	if err != nil {
		return Assignment{}, err
	}
	for _, o := range others {
		if o.Status.Underway() {
			a.Exclude = append(a.Exclude, o.ResponderID)
		} else if o.Status.Open() {
			// A search is open: it is steered, or begun again, never doubled.
			if err := tx.SetReply("assign", r.Key, event.Body(o.ID)); err != nil {
				return Assignment{}, err
			}
			return e.steer(tx, o, r, did)
		}
	}
	w := e.begin(tx, &a, 0, did)
	w.fact(RequestedEvent, r.Actor, map[string]any{"for": a.For, "need": 1})
	if err := e.nextWave(w); err != nil {
		return Assignment{}, err
	}
	return a, w.save()
}

// Committed brings the roster to what the change did.
func (e *Engine) Committed(did Made) { e.apply(did) }

// outcome is what the roster learns after the commit, never before: a slot taken in
// memory for a change that failed would block a free responder.
type outcome struct {
	steps []func(*Roster)
	count map[string]int
	ahead *ranking // made before the change; nil: none
}

func (o *outcome) then(f func(*Roster)) { o.steps = append(o.steps, f) }
func (o *outcome) counted(s OfferStatus) {
	if o.count == nil {
		o.count = map[string]int{}
	}
	o.count[string(s)]++
}

func (e *Engine) apply(o outcome) {
	for _, f := range o.steps {
		f(e.Roster)
	}
	for s, n := range o.count {
		e.offers.WithLabelValues(s).Add(float64(n))
	}
}

// work is one change of one assignment.
type work struct {
	e      *Engine
	tx     Tx
	a      *Assignment
	was    int64
	did    *outcome
	now    time.Time
	events []event.Event
	moved  bool
}

func (e *Engine) begin(tx Tx, a *Assignment, was int64, did *outcome) *work {
	return &work{e: e, tx: tx, a: a, was: was, did: did, now: e.now()}
}

// fact notes an event of the assignment.
func (w *work) fact(t event.Type, actor string, body map[string]any) {
	if body == nil {
		body = map[string]any{}
	}
	body["status"], body["epoch"] = w.a.Status, w.a.Epoch
	if w.a.ResponderID != "" {
		body["responder_id"] = w.a.ResponderID
	}
	w.a.Version++
	w.moved = true
	w.events = append(w.events, event.Event{ID: uuid.Must(uuid.NewV7()).String(), Type: t, V: 1, Agg: "assignment", AggID: string(w.a.ID),
		Seq: w.a.Version, IncidentID: string(w.a.IncidentID), ProviderID: string(w.a.ProviderID), At: w.now, Actor: actor, Body: event.Body(body)})
}

// save writes the assignment, its facts, and tells its owner.
func (w *work) save() error {
	if !w.moved {
		return nil
	}
	if err := w.tx.SaveAssignment(*w.a, w.was); err != nil {
		return err
	}
	w.was = w.a.Version
	if err := w.tx.Append(w.events...); err != nil {
		return err
	}
	w.events, w.moved = nil, false
	if o := w.e.owners[w.a.For]; o != nil {
		return o.AssignmentMoved(w.tx, *w.a, w.now)
	}
	return nil
}

// saveOffer writes an offer with its fact.
func (w *work) saveOffer(o Offer, t event.Type, actor string) error {
	was := o.Version
	o.Version++
	body := map[string]any{"assignment_id": o.AssignmentID, "responder_id": o.ResponderID, "status": o.Status, "wave": o.Wave, "epoch": o.Epoch, "deadline": o.Deadline, "priority": o.Priority}
	if o.Reason != "" {
		body["reason"] = o.Reason
	}
	if err := w.tx.SaveOffer(o, was); err != nil {
		return err
	}
	w.did.counted(o.Status)
	return w.tx.Append(event.Event{ID: uuid.Must(uuid.NewV7()).String(), Type: t, V: 1, Agg: "offer", AggID: string(o.ID), Seq: o.Version,
		IncidentID: string(o.IncidentID), ProviderID: string(o.ProviderID), At: w.now, Actor: actor, Body: event.Body(body)})
}

// nextWave offers to the best who were not asked yet, or escalates.
func (e *Engine) nextWave(w *work) error {
	p := plans[w.a.Plan]
	a := w.a
	if a.Wave >= len(p.waves) && len(a.Only) == 0 {
		return e.escalate(w, "waves_used_up")
	}
	size := p.waves[min(a.Wave, len(p.waves)-1)].size
	clock := p.waves[min(a.Wave, len(p.waves)-1)].clock
	if len(a.Only) > 0 {
		size = len(a.Only)
	}
	ranked := e.ranked(w)
	a.Reasons = ranked
	var picked []Candidate
	for i := range ranked {
		if ranked[i].Verdict != Picked {
			continue
		}
		if len(picked) == size {
			a.Reasons[i].Verdict = Slower
			continue
		}
		picked = append(picked, ranked[i])
	}
	a.Only = nil // an operator's choice is asked once
	if len(picked) == 0 {
		return e.nobody(w)
	}
	a.Wave++
	deadline := w.now.Add(clock)
	for _, c := range picked {
		o := Offer{ID: care.NewID[care.OfferID](), AssignmentID: a.ID, IncidentID: a.IncidentID, ResponderID: c.ResponderID,
			ProviderID: e.provider(c.ResponderID), Priority: a.Priority, Wave: a.Wave, Epoch: a.Epoch, Status: Sent, Place: a.Place,
			DistanceM: c.DistanceM, TravelSec: c.TravelSec, SentAt: w.now, Deadline: deadline}
		if err := w.saveOffer(o, OfferSentEvent, "rule:wave"); err != nil {
			return err
		}
		a.Exclude = append(a.Exclude, c.ResponderID)
		w.did.then(func(r *Roster) { r.hold(c.ResponderID, a.ID) })
	}
	if a.Status != Offered {
		if err := a.move(Offered); err != nil {
			return err
		}
	}
	w.moved = true
	a.Version++
	w.events = append(w.events, event.Event{ID: uuid.Must(uuid.NewV7()).String(), Type: OfferedEvent, V: 1, Agg: "assignment", AggID: string(a.ID),
		Seq: a.Version, IncidentID: string(a.IncidentID), At: w.now, Actor: "rule:wave", Body: event.Body(map[string]any{"wave": a.Wave, "offers": len(picked), "status": a.Status})})
	return w.tx.Arm(event.Timer{AggID: string(a.ID), Kind: WaveTimer, Due: deadline})
}

// ranked is the ranking for the next wave.
func (e *Engine) ranked(w *work) []Candidate {
	a := w.a
	q := Query{Place: a.Place.Point, ElderID: a.ElderID, Skills: a.Skills, Plan: a.Plan, Exclude: a.Exclude, Only: a.Only, For: a.ID}
	if w.was == 0 && w.did.ahead.answers(q) {
		return slices.Clone(w.did.ahead.all)
	}
	return e.Recommend(q)
}

// nobody escalates, unless offers of an earlier wave still wait for an answer.
func (e *Engine) nobody(w *work) error {
	offers, err := w.tx.OffersOf(w.a.ID)
	if err != nil {
		return err
	}
	if w.a.Status == Offered && slices.ContainsFunc(offers, func(o Offer) bool { return o.Status.Waiting() }) {
		return nil
	}
	return e.escalate(w, "nobody_found")
}

func (e *Engine) escalate(w *work, reason string) error {
	if err := w.tx.Disarm(string(w.a.ID), WaveTimer); err != nil {
		return err
	}
	if w.a.Status == Escalated {
		return nil
	}
	if err := w.a.move(Escalated); err != nil {
		return err
	}
	w.fact(EscalatedEvent, "rule:ladder", map[string]any{"reason": reason})
	return nil
}

// change runs f over one assignment and brings the roster to the result.
func (e *Engine) change(ctx context.Context, id care.AssignmentID, f func(w *work) error) (Assignment, error) {
	var a Assignment
	var did outcome
	err := e.store.ChangeAssignments(ctx, func(tx Tx) (err error) {
		did = outcome{}
		if a, err = tx.Assignment(id); err != nil {
			return err
		}
		w := e.begin(tx, &a, a.Version, &did)
		if err := f(w); err != nil {
			return err
		}
		return w.save()
	})
	if err != nil {
		return Assignment{}, err
	}
	e.apply(did)
	return a, nil
}

// Cancel ends an assignment that is not needed any more.
func (e *Engine) Cancel(ctx context.Context, id care.AssignmentID, actor, reason string) (Assignment, error) {
	return e.change(ctx, id, func(w *work) error { return e.cancel(w, actor, reason) })
}

// CancelIn cancels every open assignment of a need inside the caller's change.
func (e *Engine) CancelIn(tx Tx, kind, id, actor, reason string, did *Made) error {
	all, err := tx.AssignmentsFor(kind, id)
	if err != nil {
		return err
	}
	for _, a := range all {
		if !a.Status.Open() {
			continue
		}
		w := e.begin(tx, &a, a.Version, did)
		if err := errors.Join(e.cancel(w, actor, reason), w.save()); err != nil {
			return err
		}
	}
	return nil
}

func (e *Engine) cancel(w *work, actor, reason string) error {
	if w.a.Status == Cancelled {
		return nil
	}
	if err := w.a.move(Cancelled); err != nil {
		return err
	}
	if err := e.void(w, OfferWithdrawn, "", actor); err != nil {
		return err
	}
	if err := e.release(w); err != nil {
		return err
	}
	w.fact(CancelledEvent, actor, map[string]any{"reason": reason})
	return e.disarm(w)
}

// void ends all offers that wait, but one.
func (e *Engine) void(w *work, to OfferStatus, but care.OfferID, actor string) error {
	offers, err := w.tx.OffersOf(w.a.ID)
	if err != nil {
		return err
	}
	kind := OfferVoidEvent
	if to == OfferTaken {
		kind = OfferTakenEvent
	}
	for _, o := range offers {
		if o.ID == but || !CanMoveOffer(o.Status, to) {
			continue
		}
		if err := o.move(to); err != nil {
			return err
		}
		if err := w.saveOffer(o, kind, actor); err != nil {
			return err
		}
		w.did.then(func(r *Roster) { r.unhold(o.ResponderID, o.AssignmentID) })
	}
	return nil
}

// release gives back the responder who has the assignment.
func (e *Engine) release(w *work) error {
	r, id := w.a.ResponderID, w.a.ID
	if r == "" {
		return nil
	}
	w.did.then(func(ro *Roster) { ro.free(r, id) })
	return w.tx.Release(r, id)
}

func (e *Engine) disarm(w *work) error {
	for _, kind := range Timers() {
		if err := w.tx.Disarm(string(w.a.ID), kind); err != nil {
			return err
		}
	}
	return nil
}

// Assignments lists those of a need, oldest first.
func (e *Engine) Assignments(ctx context.Context, kind, id string) ([]Assignment, error) {
	return e.store.AssignmentsFor(ctx, kind, id)
}

// Assignment reads one.
func (e *Engine) Assignment(ctx context.Context, id care.AssignmentID) (Assignment, error) {
	return e.store.Assignment(ctx, id)
}

// Offer reads one.
func (e *Engine) Offer(ctx context.Context, id care.OfferID) (Offer, error) {
	return e.store.Offer(ctx, id)
}

// Offers lists the offers of an assignment in the order they were sent.
func (e *Engine) Offers(ctx context.Context, id care.AssignmentID) ([]Offer, error) {
	return e.store.OffersOf(ctx, id)
}

// OffersOf lists a responder's latest offers, newest first.
func (e *Engine) OffersOf(ctx context.Context, id care.ResponderID) ([]Offer, error) {
	return e.store.OffersOfResponder(ctx, id, 50)
}

// steer offers an open search to those the request names, or begins it again.
func (e *Engine) steer(tx Tx, a Assignment, r care.AssignRequest, did *Made) (Assignment, error) {
	w := e.begin(tx, &a, a.Version, did)
	a.Only = r.Only
	if len(r.Only) > 0 {
		a.Exclude = slices.DeleteFunc(a.Exclude, func(id care.ResponderID) bool {
			return slices.Contains(r.Only, id) && !waitsFor(tx, a.ID, id)
		})
	} else if a.Status == Offered {
		return a, nil // the waves go on by themselves
	} else {
		a.Wave, a.Exclude = 0, nil
	}
	if a.Status == Escalated {
		if err := a.move(Searching); err != nil {
			return Assignment{}, err
		}
	}
	w.fact(RequestedEvent, r.Actor, map[string]any{"for": a.For, "chosen": len(r.Only)})
	if err := e.nextWave(w); err != nil {
		return Assignment{}, err
	}
	return a, w.save()
}

// waitsFor tells whether an offer of the assignment waits for this responder.
func waitsFor(tx Tx, a care.AssignmentID, id care.ResponderID) bool {
	offers, err := tx.OffersOf(a)
	return err == nil && slices.ContainsFunc(offers, func(o Offer) bool { return o.ResponderID == id && o.Status.Waiting() })
}
