package assign

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"anling/care"
	"anling/event"
)

// Result is the stored answer to a responder: the same again for a repeat.
type Result struct {
	OfferID      care.OfferID      `json:"offer_id"`
	AssignmentID care.AssignmentID `json:"assignment_id"`
	IncidentID   care.IncidentID   `json:"incident_id,omitempty"`
	Status       OfferStatus       `json:"status"` // accepted, or taken, expired, withdrawn
	Epoch        int64             `json:"epoch"`
}

// Accept takes an offer for its responder. The first acceptance wins; a repeat gets
// the first answer; an offer of an older epoch changes nothing. care.ErrBusy means
// that the responder has another assignment.
func (e *Engine) Accept(ctx context.Context, in Answer) (Result, error) {
	return e.answer(ctx, in, "accept", func(w *work, o Offer) (Result, error) {
		res := Result{OfferID: o.ID, AssignmentID: o.AssignmentID, IncidentID: o.IncidentID, Epoch: o.Epoch}
		switch {
		case w.a.OfferID == o.ID && w.a.Status.Underway():
			res.Status = OfferAccepted // by another channel of the same responder
			return res, nil
		case o.Epoch != w.a.Epoch || (in.Epoch != 0 && in.Epoch != o.Epoch), o.Status == OfferWithdrawn, o.Status == OfferDeclined:
			res.Status = OfferWithdrawn
			return res, nil
		case w.a.Status.Underway() || !w.a.Status.Open():
			res.Status = OfferTaken
			return res, nil
		}
		if err := w.tx.Claim(o.ResponderID, w.a.ID); err != nil {
			return res, err
		}
		if err := o.move(OfferAccepted); err != nil {
			return res, err
		}
		o.AnsweredAt, o.DeviceID, o.DeviceSeq = w.now, in.DeviceID, in.DeviceSeq
		if err := w.saveOffer(o, OfferAccEvent, in.Actor); err != nil {
			return res, err
		}
		res.Status = OfferAccepted
		return res, e.win(w, o, in.Actor)
	})
}

// win gives the assignment to the responder of an offer and ends the others.
func (e *Engine) win(w *work, o Offer, actor string) error {
	a := w.a
	if a.Status == Searching {
		if err := a.move(Offered); err != nil {
			return err
		}
	}
	if err := a.move(Accepted); err != nil {
		return err
	}
	a.ResponderID, a.ProviderID, a.OfferID, a.AcceptedAt = o.ResponderID, o.ProviderID, o.ID, w.now
	travel := time.Duration(o.TravelSec) * time.Second
	a.ArriveBy = w.now.Add(travel*3/2 + time.Minute)
	if err := e.void(w, OfferTaken, o.ID, "rule:first_wins"); err != nil {
		return err
	}
	w.did.then(func(r *Roster) { r.occupy(o.ResponderID, a.ID, w.now) })
	w.fact(AcceptedEvent, actor, map[string]any{"offer_id": o.ID, "eta_sec": o.TravelSec})
	return errors.Join(w.tx.Disarm(string(a.ID), WaveTimer),
		w.tx.Arm(event.Timer{AggID: string(a.ID), Kind: DepartTimer, Due: w.now.Add(plans[a.Plan].departBy)}),
		w.tx.Arm(event.Timer{AggID: string(a.ID), Kind: ArriveTimer, Due: a.ArriveBy}))
}

// Decline refuses an offer; when all of a wave have answered the next begins at once.
func (e *Engine) Decline(ctx context.Context, in Answer) (Result, error) {
	return e.answer(ctx, in, "decline", func(w *work, o Offer) (Result, error) {
		res := Result{OfferID: o.ID, AssignmentID: o.AssignmentID, IncidentID: o.IncidentID, Epoch: o.Epoch, Status: o.Status}
		if !CanMoveOffer(o.Status, OfferDeclined) {
			return res, nil
		}
		if err := o.move(OfferDeclined); err != nil {
			return res, err
		}
		o.Reason, o.AnsweredAt = in.Reason, w.now
		if err := w.saveOffer(o, OfferDeclEvent, in.Actor); err != nil {
			return res, err
		}
		res.Status = OfferDeclined
		w.did.then(func(r *Roster) { r.refused(o.ResponderID, w.a.ID, w.now) })
		offers, err := w.tx.OffersOf(w.a.ID)
		if err != nil {
			return res, err
		}
		for _, other := range offers {
			if other.Status.Waiting() {
				return res, nil
			}
		}
		if w.a.Status != Offered {
			return res, nil
		}
		return res, e.nextWave(w)
	})
}

// SeenBy notes that the responder looked at the offer.
func (e *Engine) SeenBy(ctx context.Context, in Answer) (Result, error) {
	return e.answer(ctx, in, "seen", func(w *work, o Offer) (Result, error) {
		res := Result{OfferID: o.ID, AssignmentID: o.AssignmentID, IncidentID: o.IncidentID, Epoch: o.Epoch, Status: o.Status}
		if !CanMoveOffer(o.Status, Seen) {
			return res, nil
		}
		if err := o.move(Seen); err != nil {
			return res, err
		}
		o.SeenAt, res.Status = w.now, Seen
		return res, w.saveOffer(o, OfferSeenEvent, in.Actor)
	})
}

// answer finds offer and assignment, and makes the answer idempotent.
func (e *Engine) answer(ctx context.Context, in Answer, what string, f func(*work, Offer) (Result, error)) (Result, error) {
	if in.DeviceID == "" {
		return Result{}, care.Invalid("device_id", "is empty; it makes a repeated answer safe")
	}
	o, err := e.store.Offer(ctx, in.OfferID)
	if err != nil {
		return Result{}, err
	}
	if in.ResponderID != "" && o.ResponderID != in.ResponderID {
		return Result{}, care.NotFound("offer", string(in.OfferID))
	}
	var res Result
	_, err = e.change(ctx, o.AssignmentID, func(w *work) error {
		res = Result{}
		key := fmt.Sprintf("%s/%s/%d/%s", in.OfferID, in.DeviceID, in.DeviceSeq, what)
		taken, err := w.tx.TakeKey("offer", key, string(in.OfferID), "")
		if err != nil {
			return err
		}
		if taken.Repeat && taken.Reply != nil {
			return json.Unmarshal(taken.Reply, &res)
		}
		o, err := w.tx.Offer(in.OfferID)
		if err != nil {
			return err
		}
		if res, err = f(w, o); err != nil {
			return err
		}
		return w.tx.SetReply("offer", key, event.Body(res))
	})
	return res, err
}

// Advance moves an assignment on: en_route, on_scene, transport, done. Moving to
// where it already is changes nothing, so a repeat is safe.
func (e *Engine) Advance(ctx context.Context, id care.AssignmentID, by care.ResponderID, to Status, outcome, actor string) (Assignment, error) {
	return e.change(ctx, id, func(w *work) error {
		a := w.a
		if by != "" && a.ResponderID != by {
			return care.NotFound("assignment", string(id))
		}
		if a.Status == to {
			return nil
		}
		if to != EnRoute && to != OnScene && to != Transport && to != Done {
			return care.Invalid("status", "%q cannot be set; en_route, on_scene, transport and done can", to)
		}
		if err := a.move(to); err != nil {
			return err
		}
		return e.arrived(w, to, outcome, actor)
	})
}

func (e *Engine) arrived(w *work, to Status, outcome, actor string) error {
	a := w.a
	id := string(a.ID)
	switch to {
	case EnRoute:
		a.EnRouteAt = w.now
		w.fact(EnRouteEvent, actor, nil)
		return w.tx.Disarm(id, DepartTimer)
	case OnScene:
		a.OnSceneAt = w.now
		w.fact(OnSceneEvent, actor, nil)
		return errors.Join(w.tx.Disarm(id, DepartTimer), w.tx.Disarm(id, ArriveTimer),
			w.tx.Arm(event.Timer{AggID: id, Kind: SafetyTimer, Due: w.now.Add(plans[a.Plan].safety)}))
	case Transport:
		w.fact(TransportEvent, actor, nil)
		return nil
	default:
		a.DoneAt, a.Outcome = w.now, outcome
		if err := e.release(w); err != nil {
			return err
		}
		w.fact(DoneEvent, actor, map[string]any{"outcome": outcome})
		return e.disarm(w)
	}
}

// GiveUp takes the assignment from its responder, by himself or by an operator; the
// search begins again, without him.
func (e *Engine) GiveUp(ctx context.Context, id care.AssignmentID, by care.ResponderID, reason, actor string) (Assignment, error) {
	return e.change(ctx, id, func(w *work) error {
		a := w.a
		if by != "" && a.ResponderID != by {
			return care.NotFound("assignment", string(id))
		}
		if err := a.move(Reassigned); err != nil {
			return err
		}
		gone := a.ResponderID
		if err := e.release(w); err != nil {
			return err
		}
		w.fact(ReassignedEvent, actor, map[string]any{"reason": reason})
		if err := errors.Join(e.disarm(w), e.void(w, OfferWithdrawn, a.OfferID, actor)); err != nil {
			return err
		}
		a.Epoch++
		a.Wave, a.ResponderID, a.ProviderID, a.OfferID = 0, "", "", ""
		a.Exclude = []care.ResponderID{gone}
		w.did.then(func(r *Roster) { r.refused(gone, a.ID, w.now) })
		if err := a.move(Searching); err != nil {
			return err
		}
		return e.nextWave(w)
	})
}

// HandleTimer fires a deadline of this package.
func (e *Engine) HandleTimer(ctx context.Context, t event.Timer) error {
	_, err := e.change(ctx, care.AssignmentID(t.AggID), func(w *work) error {
		if err := w.tx.Fire(t); err != nil {
			return err
		}
		switch t.Kind {
		case WaveTimer:
			return e.waveOver(w)
		case DepartTimer:
			return e.late(w, "depart", w.a.Status == Accepted)
		case ArriveTimer:
			return e.late(w, "arrive", w.a.Status == Accepted || w.a.Status == EnRoute)
		case SafetyTimer:
			if err := w.tx.Arm(event.Timer{AggID: t.AggID, Kind: SafetyTimer, Due: w.now.Add(plans[w.a.Plan].safety)}); err != nil {
				return err
			}
			return e.late(w, "safety", w.a.Status == OnScene || w.a.Status == Transport)
		}
		return fmt.Errorf("timer kind %s is not of this package", t.Kind)
	})
	return err
}

// waveOver expires the offers of the wave, which stay acceptable while nobody has
// it, and makes the next wave.
func (e *Engine) waveOver(w *work) error {
	if w.a.Status != Offered {
		return nil
	}
	offers, err := w.tx.OffersOf(w.a.ID)
	if err != nil {
		return err
	}
	for _, o := range offers {
		if !o.Status.Waiting() {
			continue
		}
		if err := o.move(OfferExpired); err != nil {
			return err
		}
		if err := w.saveOffer(o, OfferExpEvent, "rule:wave"); err != nil {
			return err
		}
		w.did.then(func(r *Roster) { r.unhold(o.ResponderID, o.AssignmentID) })
	}
	return e.nextWave(w)
}

func (e *Engine) late(w *work, what string, applies bool) error {
	if !applies {
		return nil
	}
	w.fact(LateEvent, "rule:clock", map[string]any{"what": what})
	if o := e.owners[w.a.For]; o != nil {
		return o.AssignmentLate(w.tx, *w.a, what, w.now)
	}
	return nil
}
