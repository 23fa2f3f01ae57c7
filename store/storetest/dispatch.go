package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap/zaptest"

	"anling/care"
	"anling/dispatch"
	"anling/dispatch/assign"
	"anling/event"
	"anling/geo"
	"anling/store"
)

// city is a board over a store, with responders round one place.
type city struct {
	store  *store.Store
	keep   *store.Dispatch
	engine *assign.Engine
	board  *dispatch.Board
	voice  *voice
	now    atomic.Int64
	name   string // keeps apart the responders of two cities on one store
}

func (c *city) responder(i int) care.ResponderID {
	return care.ResponderID(fmt.Sprintf("%s-r%d", c.name, i))
}

type voice struct {
	mu    sync.Mutex
	calls []care.CallRequest
}

func (v *voice) RequestCall(_ context.Context, r care.CallRequest) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.calls = append(v.calls, r)
	return nil
}

func (v *voice) count() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return len(v.calls)
}

var home = geo.Point{Lat: 25.04, Lng: 102.72}

func newCity(t *testing.T, s *store.Store, responders int) *city {
	t.Helper()
	c := &city{store: s, keep: store.NewDispatch(s), voice: &voice{}, name: t.Name()}
	c.now.Store(time.Now().UnixMicro())
	c.build(t, responders)
	return c
}

// build makes engine and board anew, as a restart does.
func (c *city) build(t *testing.T, responders int) {
	t.Helper()
	now := func() time.Time { return time.UnixMicro(c.now.Load()) }
	c.engine = assign.NewEngine(assign.Options{Store: c.keep, Log: zaptest.NewLogger(t), Now: now})
	c.board = dispatch.NewBoard(dispatch.Options{Store: c.keep, Engine: c.engine, Voice: c.voice, OfferAtOnce: true, Log: zaptest.NewLogger(t), Now: now})
	var all []care.Responder
	for i := range responders {
		all = append(all, care.Responder{ID: c.responder(i), Duty: "on", Skills: []string{"first_aid"}, Mode: "ebike", ProviderID: "p1",
			Base: geo.Offset(home, float64(200*(i+1)), 0)})
	}
	if err := c.engine.Load(t.Context(), all, nil); err != nil {
		t.Fatal(err)
	}
}

func (c *city) pass(d time.Duration) { c.now.Add(d.Microseconds()) }

func press(key string, elder care.ElderID) care.OpenRequest {
	return care.OpenRequest{Key: key, Digest: "sos", Source: "device", Actor: "device:d1", Kinds: []care.Kind{care.KindSOS}, ElderID: elder, DeviceID: care.DeviceID("d-" + string(elder)),
		Locations: []care.Fix{{Point: home, Source: care.FixGNSS}},
		Alarm:     &care.Alarm{ID: care.NewID[care.AlarmID](), Protocol: "gt06", Kinds: []care.Kind{care.KindSOS}, SourceEventID: key, ReceivedAt: time.Now()}}
}

func (c *city) open(t *testing.T, r care.OpenRequest) care.Opened {
	t.Helper()
	o, err := c.board.Open(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func (c *city) detail(t *testing.T, id care.IncidentID) dispatch.Detail {
	t.Helper()
	d, err := c.board.Incident(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if ids, err := c.board.CheckInvariant(t.Context()); err != nil || len(ids) > 0 {
		t.Fatalf("unwatched incidents: %v, %v", ids, err)
	}
	return d
}

// fire fires every timer that is due by now, as store.Timers does.
func (c *city) fire(t *testing.T) {
	t.Helper()
	rows, err := c.store.Read().ArmedTimers(t.Context(), c.now.Load(), 1000)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rows {
		x := event.Timer{AggID: r.AggID, Kind: r.Kind, Due: time.UnixMicro(r.DueUs), Version: r.Version}
		handle := c.engine.HandleTimer
		if r.Kind == dispatch.DeadlineTimer {
			handle = c.board.HandleTimer
		}
		if err := handle(t.Context(), x); err != nil && !errors.Is(err, event.ErrStale) {
			t.Fatalf("timer %s: %v", r.Kind, err)
		}
	}
}

func types(d dispatch.Detail) []event.Type {
	var all []event.Type
	for _, e := range d.Timeline {
		all = append(all, e.Type)
	}
	return all
}

// Dispatch is the suite of dispatch over a store.
func Dispatch(t *testing.T, s *store.Store) {
	t.Run("from the press to the closure", func(t *testing.T) { pressToClosure(t, newCity(t, s, 6)) })
	t.Run("a repeat and a second press", func(t *testing.T) { repeatAndJoin(t, newCity(t, s, 3)) })
	t.Run("one acceptance wins", func(t *testing.T) { oneWins(t, newCity(t, s, 6)) })
	t.Run("declines and silence climb", func(t *testing.T) { climbing(t, newCity(t, s, 5)) })
	t.Run("giving up begins again", func(t *testing.T) { givingUp(t, newCity(t, s, 6)) })
	t.Run("unknown devices and small alarms", func(t *testing.T) { unknownDevices(t, newCity(t, s, 1)) })
	t.Run("a restart in the middle", func(t *testing.T) { restart(t, newCity(t, s, 6)) })
	t.Run("a device changes hands", func(t *testing.T) { changingHands(t, newCity(t, s, 3)) })
	t.Run("a repeat after its key is forgotten", func(t *testing.T) { lateRepeat(t, newCity(t, s, 3)) })
	t.Run("nobody answers and nobody was asked", func(t *testing.T) { nobodyAsked(t, newCity(t, s, 6)) })
	t.Run("a crash before the first offers", func(t *testing.T) { crashBeforeOffers(t, newCity(t, s, 6)) })
	t.Run("taken before the first offers", func(t *testing.T) { takenBeforeOffers(t, newCity(t, s, 6)) })
	t.Run("a deadline that is lost is armed again", func(t *testing.T) { lostDeadline(t, newCity(t, s, 3)) })
	t.Run("merge and reopen", func(t *testing.T) { mergeAndReopen(t, newCity(t, s, 6)) })
}

func pressToClosure(t *testing.T, c *city) {
	o := c.open(t, press("flow-1", "e-flow"))
	d := c.detail(t, o.IncidentID)
	if d.Incident.Status != dispatch.Dispatching || len(d.Offers) != 3 || len(d.Alarms) != 1 || c.voice.count() != 1 {
		t.Fatalf("after the press: %s, %d offers, %d alarms, %d calls", d.Incident.Status, len(d.Offers), len(d.Alarms), c.voice.count())
	}
	if d.Offers[0].ResponderID != c.responder(0) || len(d.Assignments[0].Reasons) != 6 {
		t.Errorf("first offer to %s, %d reasons", d.Offers[0].ResponderID, len(d.Assignments[0].Reasons))
	}
	if _, err := c.board.Close(t.Context(), o.IncidentID, "u1", 0, dispatch.Closing{Outcome: "other"}); !errors.Is(err, care.ErrTaken) {
		t.Errorf("closing another's incident: %v", err)
	}
	inc, err := c.board.Take(t.Context(), o.IncidentID, "u1", false)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.board.Take(t.Context(), o.IncidentID, "u2", false); !errors.Is(err, care.ErrTaken) {
		t.Errorf("taking a taken incident: %v", err)
	}
	a := answer(d.Offers[1], "phone", 1)
	for range 2 { // the second is the same press of the same button
		res, err := c.engine.Accept(t.Context(), a)
		if err != nil || res.Status != assign.OfferAccepted {
			t.Fatalf("accept: %+v, %v", res, err)
		}
	}
	id := d.Assignments[0].ID
	for _, to := range []assign.Status{assign.EnRoute, assign.EnRoute, assign.OnScene} {
		if _, err := c.engine.Advance(t.Context(), id, d.Offers[1].ResponderID, to, "", "responder:x"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.engine.Advance(t.Context(), id, "r9", assign.Done, "", "responder:r9"); !errors.Is(err, care.ErrNotFound) {
		t.Errorf("another's assignment can be moved: %v", err)
	}
	if _, err := c.engine.Advance(t.Context(), id, d.Offers[1].ResponderID, assign.Done, "helped", "responder:x"); err != nil {
		t.Fatal(err)
	}
	if _, err := c.board.Close(t.Context(), o.IncidentID, "u1", inc.Claim, dispatch.Closing{Outcome: "helped_at_home"}); !errors.Is(err, care.ErrTransition) {
		t.Errorf("closing before resolving: %v", err)
	}
	if _, err := c.board.Resolve(t.Context(), o.IncidentID, "u1", inc.Claim, "seen by responder"); err != nil {
		t.Fatal(err)
	}
	if _, err := c.board.Close(t.Context(), o.IncidentID, "u1", inc.Claim, dispatch.Closing{Outcome: "nonsense"}); !errors.Is(err, care.ErrInvalid) {
		t.Errorf("a made-up outcome: %v", err)
	}
	if _, err := c.board.Close(t.Context(), o.IncidentID, "u1", inc.Claim, dispatch.Closing{Outcome: "helped_at_home"}); err != nil {
		t.Fatal(err)
	}
	d = c.detail(t, o.IncidentID)
	for _, want := range []event.Type{dispatch.OpenedEvent, dispatch.AlarmReceived, assign.OfferSentEvent, dispatch.AnsweredEvent, assign.AcceptedEvent, assign.OfferTakenEvent,
		dispatch.AttendingEvent, assign.EnRouteEvent, assign.OnSceneEvent, assign.DoneEvent, dispatch.ResolvedEvent, dispatch.ClosedEvent} {
		if !slices.Contains(types(d), want) {
			t.Errorf("the timeline lacks %s: %v", want, types(d))
		}
	}
	claims, err := c.keep.Claims(t.Context())
	if err != nil || len(claims) != 0 {
		t.Errorf("claims left: %v, %v", claims, err)
	}
	if again := c.open(t, press("flow-2", "e-flow")); again.IncidentID == o.IncidentID {
		t.Error("a press after the closure joins the closed incident")
	}
}

func answer(o assign.Offer, device string, seq int64) assign.Answer {
	return assign.Answer{OfferID: o.ID, ResponderID: o.ResponderID, Epoch: o.Epoch, DeviceID: device, DeviceSeq: seq, Actor: "responder:" + string(o.ResponderID)}
}

func repeatAndJoin(t *testing.T, c *city) {
	const n = 40
	results := make([]care.Opened, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			o, err := c.board.Open(context.WithoutCancel(t.Context()), press(fmt.Sprintf("join-%d", i%10), "e-join"))
			if err != nil {
				t.Error(err)
			}
			results[i] = o
		})
	}
	wg.Wait()
	fresh, joined, repeats := 0, 0, 0
	for _, o := range results {
		switch {
		case o.IncidentID != results[0].IncidentID:
			t.Errorf("two incidents of one elder: %s and %s", o.IncidentID, results[0].IncidentID)
		case o.Repeat:
			repeats++
		case o.Joined:
			joined++
		default:
			fresh++
		}
	}
	if fresh != 1 || joined != 9 || repeats != 30 {
		t.Errorf("%d opened, %d joined, %d repeats", fresh, joined, repeats)
	}
	d := c.detail(t, results[0].IncidentID)
	if d.Incident.Presses != 10 || len(d.Alarms) != 10 || len(d.Assignments) != 1 {
		t.Errorf("%d presses, %d alarms, %d assignments", d.Incident.Presses, len(d.Alarms), len(d.Assignments))
	}
	other := press("join-0", "e-join")
	other.Digest = "sos+fall"
	if o := c.open(t, other); o.Repeat || !o.Joined {
		t.Errorf("the same counter with another meaning is swallowed: %+v", o)
	}
}

func oneWins(t *testing.T, c *city) {
	o := c.open(t, press("win-1", "e-win"))
	d := c.detail(t, o.IncidentID)
	var won, taken atomic.Int64
	var wg sync.WaitGroup
	for _, offer := range d.Offers {
		for seq := range 3 {
			wg.Go(func() {
				res, err := c.engine.Accept(context.WithoutCancel(t.Context()), answer(offer, fmt.Sprint("dev", seq), int64(seq)))
				switch {
				case err != nil:
					t.Error(err)
				case res.Status == assign.OfferAccepted:
					won.Add(1)
				case res.Status == assign.OfferTaken:
					taken.Add(1)
				}
			})
		}
	}
	wg.Wait()
	if won.Load() != 3 || taken.Load() != 6 {
		t.Errorf("%d answers of a winner, %d taken; want the three of one and the six of the others", won.Load(), taken.Load())
	}
	winner := c.detail(t, o.IncidentID).Assignments[0].ResponderID
	// He is busy: a second emergency is not offered to him, and he cannot accept it.
	second := c.detail(t, c.open(t, press("win-2", "e-win2")).IncidentID)
	for _, offer := range second.Offers {
		if offer.ResponderID == winner {
			t.Error("an offer goes to a responder on the way")
		}
	}
	for _, x := range second.Assignments[0].Reasons {
		if x.ResponderID == winner && x.Verdict != assign.BusyElsewhere {
			t.Errorf("his reason is %s", x.Verdict)
		}
	}
}

func climbing(t *testing.T, c *city) {
	o := c.open(t, press("climb-1", "e-climb"))
	d := c.detail(t, o.IncidentID)
	for i, offer := range d.Offers {
		in := answer(offer, "p", int64(i))
		in.Reason = "too far"
		if _, err := c.engine.Decline(t.Context(), in); err != nil {
			t.Fatal(err)
		}
	}
	d = c.detail(t, o.IncidentID)
	if len(d.Offers) != 5 || d.Assignments[0].Wave != 2 {
		t.Fatalf("after three refusals %d offers, wave %d", len(d.Offers), d.Assignments[0].Wave)
	}
	calls := c.voice.count()
	c.pass(16 * time.Second)
	c.fire(t)
	d = c.detail(t, o.IncidentID)
	if d.Assignments[0].Status != assign.Escalated || c.voice.count() == calls || d.Incident.Rung != 1 {
		t.Fatalf("after silence: %s, rung %d, %d calls", d.Assignments[0].Status, d.Incident.Rung, c.voice.count())
	}
	tasks, err := c.board.Tasks(t.Context())
	if err != nil || !slices.ContainsFunc(tasks, func(k dispatch.Task) bool { return k.IncidentID == o.IncidentID && k.Kind == dispatch.TaskNoResponder }) {
		t.Errorf("no task that nobody was found: %v, %v", tasks, err)
	}
	for range 6 {
		c.pass(31 * time.Second)
		c.fire(t)
	}
	d = c.detail(t, o.IncidentID)
	if !d.Incident.Unattended || d.Incident.Rung < 4 || !d.Incident.Status.Open() {
		t.Errorf("after minutes alone: unattended %t, rung %d, %s", d.Incident.Unattended, d.Incident.Rung, d.Incident.Status)
	}
	// A late acceptance of an expired offer still helps.
	late := d.Offers[4]
	if res, err := c.engine.Accept(t.Context(), answer(late, "p", 9)); err != nil || res.Status != assign.OfferAccepted {
		t.Errorf("late acceptance: %+v, %v", res, err)
	}
	if got := c.detail(t, o.IncidentID).Incident.Status; got != dispatch.Attending {
		t.Errorf("then the incident is %s", got)
	}
}

func givingUp(t *testing.T, c *city) {
	o := c.open(t, press("up-1", "e-up"))
	d := c.detail(t, o.IncidentID)
	first := d.Offers[0]
	if _, err := c.engine.Accept(t.Context(), answer(first, "p", 1)); err != nil {
		t.Fatal(err)
	}
	c.pass(3 * time.Minute)
	c.fire(t)
	tasks, err := c.board.Tasks(t.Context())
	if err != nil || !slices.ContainsFunc(tasks, func(k dispatch.Task) bool { return k.Kind == dispatch.TaskLate && k.IncidentID == o.IncidentID }) {
		t.Errorf("nobody hears that he does not depart: %v", err)
	}
	if _, err := c.engine.GiveUp(t.Context(), first.AssignmentID, first.ResponderID, "flat tyre", "responder:r0"); err != nil {
		t.Fatal(err)
	}
	d = c.detail(t, o.IncidentID)
	if d.Incident.Status != dispatch.Dispatching || d.Assignments[0].Epoch != 2 || d.Assignments[0].Status != assign.Offered {
		t.Fatalf("after giving up: %s, epoch %d, %s", d.Incident.Status, d.Assignments[0].Epoch, d.Assignments[0].Status)
	}
	if res, err := c.engine.Accept(t.Context(), answer(d.Offers[1], "p", 2)); err != nil || res.Status != assign.OfferWithdrawn {
		t.Errorf("an offer of the old epoch: %+v, %v", res, err)
	}
	for _, offer := range d.Offers {
		if offer.Epoch == 2 && offer.ResponderID == first.ResponderID {
			t.Error("it is offered to him again")
		}
	}
}

func unknownDevices(t *testing.T, c *city) {
	r := care.OpenRequest{Key: "ghost-1", Source: "device", Kinds: []care.Kind{care.KindSOS},
		Alarm: &care.Alarm{Protocol: "gt06", ClaimedID: "860000000000001", Kinds: []care.Kind{care.KindSOS}, SourceEventID: "ghost-1", ReceivedAt: time.Now(), Trust: "unverified"}}
	o := c.open(t, r)
	tasks, err := c.board.Tasks(t.Context())
	if err != nil || !slices.ContainsFunc(tasks, func(k dispatch.Task) bool { return k.Kind == dispatch.TaskUnknown && k.IncidentID == o.IncidentID }) {
		t.Errorf("an unknown device makes no task: %v, %v", tasks, err)
	}
	low := care.OpenRequest{Key: "low-1", Source: "device", DeviceID: "d-low", Kinds: []care.Kind{care.KindBattery},
		Alarm: &care.Alarm{DeviceID: "d-low", Protocol: "gt06", Kinds: []care.Kind{care.KindBattery}, SourceEventID: "low-1", ReceivedAt: time.Now()}}
	if o := c.open(t, low); o.IncidentID != "" || o.AlarmID == "" {
		t.Errorf("a low battery opens an incident: %+v", o)
	}
	task, err := c.board.DoneTask(t.Context(), "device-d-low", "u1", "battery changed")
	if err != nil || task.Open {
		t.Errorf("the task of the battery: %+v, %v", task, err)
	}
}

func restart(t *testing.T, c *city) {
	o := c.open(t, press("re-1", "e-re"))
	d := c.detail(t, o.IncidentID)
	if _, err := c.engine.Accept(t.Context(), answer(d.Offers[0], "p", 1)); err != nil {
		t.Fatal(err)
	}
	second := c.open(t, press("re-2", "e-re2"))
	c.build(t, 6)
	for _, s := range c.engine.Snapshot() {
		if (s.ID == d.Offers[0].ResponderID) != (s.Slot == assign.Busy) {
			t.Errorf("after the restart %s is %s", s.ID, s.Slot)
		}
	}
	c.pass(20 * time.Second)
	c.fire(t)
	if got := c.detail(t, second.IncidentID); got.Assignments[0].Wave < 2 && got.Assignments[0].Status != assign.Escalated {
		t.Errorf("the waves do not go on: wave %d, %s", got.Assignments[0].Wave, got.Assignments[0].Status)
	}
}

// changingHands: a device whose incident is open gets an elder, an operator names one,
// a closed incident is opened again. Further presses find the incident that stands.
func changingHands(t *testing.T, c *city) {
	found := press("h-1", "")
	found.DeviceID = "d-hands"
	first := c.open(t, found)
	mine := press("h-2", "e-hands")
	mine.DeviceID = "d-hands"
	if o := c.open(t, mine); o.IncidentID != first.IncidentID {
		t.Errorf("the device's second press opens %s beside %s", o.IncidentID, first.IncidentID)
	}
	byElder := press("h-3", "e-hands")
	byElder.DeviceID = "d-other"
	if o := c.open(t, byElder); o.IncidentID != first.IncidentID {
		t.Errorf("the elder's press by another device opens %s", o.IncidentID)
	}
	d := c.detail(t, first.IncidentID)
	if d.Incident.ElderID != "e-hands" || d.Incident.Presses != 3 {
		t.Errorf("the incident is of %q with %d presses", d.Incident.ElderID, d.Incident.Presses)
	}
	inc, err := c.board.Take(t.Context(), first.IncidentID, "u1", false)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.board.Classify(t.Context(), inc.ID, "u1", inc.Claim, nil, care.P1, "e-named"); err != nil {
		t.Fatal(err)
	}
	named := press("h-4", "e-named")
	named.DeviceID = "d-named"
	if o := c.open(t, named); o.IncidentID != inc.ID {
		t.Errorf("the press of whom the operator named opens %s", o.IncidentID)
	}
	_, err = c.board.Resolve(t.Context(), inc.ID, "u1", inc.Claim, "seen")
	if err == nil {
		_, err = c.board.Close(t.Context(), inc.ID, "u1", inc.Claim, dispatch.Closing{Outcome: "helped_at_home"})
	}
	if err == nil {
		_, err = c.board.Reopen(t.Context(), inc.ID, "u1", "fell again")
	}
	if err != nil {
		t.Fatal(err)
	}
	again := press("h-5", "e-named")
	again.DeviceID = "d-named"
	if o := c.open(t, again); o.IncidentID != inc.ID {
		t.Errorf("after reopening a press opens %s", o.IncidentID)
	}
}

// lateRepeat: the key of an alarm is forgotten, the device sends it again all the same.
func lateRepeat(t *testing.T, c *city) {
	first := c.open(t, press("late-1", "e-late"))
	if _, err := c.keep.Incident(t.Context(), first.IncidentID); err != nil {
		t.Fatal(err)
	}
	err := c.store.Write(t.Context(), store.Normal, func(tx *store.Tx) error {
		_, err := tx.DeleteOldKeys(tx.Context(), time.Now().Add(time.Hour).UnixMicro())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if o := c.open(t, press("late-1", "e-late")); !o.Repeat || o.IncidentID != first.IncidentID || o.AlarmID != first.AlarmID {
			t.Errorf("weeks later the same alarm is %+v, first %+v", o, first)
		}
	}
	if d := c.detail(t, first.IncidentID); d.Incident.Presses != 1 || len(d.Alarms) != 1 {
		t.Errorf("%d presses, %d alarms", d.Incident.Presses, len(d.Alarms))
	}
}

// nobodyAsked: the policy leaves the offers to the operator, and no operator comes.
func nobodyAsked(t *testing.T, c *city) {
	c.board = dispatch.NewBoard(dispatch.Options{Store: c.keep, Engine: c.engine, Voice: c.voice, Log: zaptest.NewLogger(t),
		Now: func() time.Time { return time.UnixMicro(c.now.Load()) }})
	o := c.open(t, press("alone-1", "e-alone"))
	if d := c.detail(t, o.IncidentID); len(d.Assignments) != 0 {
		t.Fatal("the policy is not kept")
	}
	for range 5 {
		c.pass(31 * time.Second)
		c.fire(t)
	}
	d := c.detail(t, o.IncidentID)
	if len(d.Assignments) != 1 || len(d.Offers) == 0 || !d.Incident.Unattended {
		t.Errorf("after minutes alone: %d searches, %d offers, unattended %t", len(d.Assignments), len(d.Offers), d.Incident.Unattended)
	}
}

// stand makes an incident stand without what follows, as if the program died then.
func (c *city) stand(t *testing.T, r care.OpenRequest) dispatch.Incident {
	t.Helper()
	calls := c.voice.count()
	o, _, err := c.board.Stand(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	d := c.detail(t, o.IncidentID)
	if len(d.Offers) > 0 || !d.Incident.Unoffered || c.voice.count() != calls {
		t.Fatalf("standing alone it has %d offers, due %t, %d calls", len(d.Offers), d.Incident.Unoffered, c.voice.count()-calls)
	}
	return d.Incident
}

func crashBeforeOffers(t *testing.T, c *city) {
	inc := c.stand(t, press("crash-1", "e-crash"))
	c.build(t, 6)
	c.pass(2 * time.Second)
	c.fire(t)
	d := c.detail(t, inc.ID)
	if len(d.Offers) != 3 || d.Incident.Unoffered || d.Incident.Rung != 0 || c.voice.count() != 1 {
		t.Fatalf("after two seconds: %d offers, still due %t, rung %d, %d calls", len(d.Offers), d.Incident.Unoffered, d.Incident.Rung, c.voice.count())
	}
	if first := inc.OpenedAt.Add(10 * time.Second); !d.Incident.Deadline.Equal(first) {
		t.Errorf("the next step is due at %s, not at the first rung %s", d.Incident.Deadline, first)
	}
	c.pass(2 * time.Second)
	c.fire(t)
	if again := c.detail(t, inc.ID); len(again.Offers) != 3 || len(again.Assignments) != 1 {
		t.Errorf("offered twice: %d offers of %d searches", len(again.Offers), len(again.Assignments))
	}
	c.pass(7 * time.Second)
	c.fire(t)
	if d := c.detail(t, inc.ID); d.Incident.Rung != 1 {
		t.Errorf("the ladder is at rung %d after eleven seconds", d.Incident.Rung)
	}
}

func takenBeforeOffers(t *testing.T, c *city) {
	inc := c.stand(t, press("taken-1", "e-taken"))
	if _, err := c.board.Take(t.Context(), inc.ID, "u1", false); err != nil {
		t.Fatal(err)
	}
	c.pass(2 * time.Second)
	c.fire(t)
	d := c.detail(t, inc.ID)
	if len(d.Offers) != 3 || d.Incident.Unoffered || d.Incident.Owner != "u1" {
		t.Errorf("an operator was quicker: %d offers, still due %t, owner %q", len(d.Offers), d.Incident.Unoffered, d.Incident.Owner)
	}
	over := c.stand(t, press("taken-2", "e-taken2"))
	taken, err := c.board.Take(t.Context(), over.ID, "u1", false)
	if err == nil {
		_, err = c.board.Resolve(t.Context(), over.ID, "u1", taken.Claim, "talked")
	}
	if err != nil {
		t.Fatal(err)
	}
	c.pass(2 * time.Second)
	c.fire(t)
	if d := c.detail(t, over.ID); len(d.Offers) != 0 {
		t.Errorf("%d offers for what is over", len(d.Offers))
	}
}

// lostDeadline: the row says that a deadline is armed and it is not.
func lostDeadline(t *testing.T, c *city) {
	o := c.open(t, press("lost-1", "e-lost"))
	before := c.detail(t, o.IncidentID).Incident.Deadline
	err := c.store.Write(t.Context(), store.Urgent, func(tx *store.Tx) error { return tx.Disarm(string(o.IncidentID), dispatch.DeadlineTimer) })
	if err != nil {
		t.Fatal(err)
	}
	ids, err := c.board.CheckInvariant(t.Context())
	if err != nil || !slices.Contains(ids, o.IncidentID) {
		t.Fatalf("found %v, %v", ids, err)
	}
	if after := c.detail(t, o.IncidentID).Incident.Deadline; !after.Equal(before) {
		t.Errorf("armed for %s, not for %s", after, before)
	}
}

func mergeAndReopen(t *testing.T, c *city) {
	a, b := c.open(t, press("m-1", "e-m1")), c.open(t, press("m-2", "e-m2"))
	if _, err := c.board.Merge(t.Context(), b.IncidentID, a.IncidentID, "u1"); err != nil {
		t.Fatal(err)
	}
	if d := c.detail(t, b.IncidentID); d.Incident.Status != dispatch.Merged || d.Assignments[0].Status != assign.Cancelled {
		t.Errorf("the merged one is %s, its search %s", d.Incident.Status, d.Assignments[0].Status)
	}
	inc, err := c.board.Take(t.Context(), a.IncidentID, "u1", false)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.board.Resolve(t.Context(), a.IncidentID, "u1", inc.Claim, "talked"); err != nil {
		t.Fatal(err)
	}
	if o := c.open(t, press("m-3", "e-m1")); o.IncidentID != a.IncidentID {
		t.Error("a press before the wrap-up opens another incident")
	}
	if got := c.detail(t, a.IncidentID).Incident.Status; got != dispatch.Answered {
		t.Errorf("pressed again it is %s", got)
	}
}
