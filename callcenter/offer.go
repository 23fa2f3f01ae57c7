package callcenter

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"

	"anling/callcenter/acd"
	"anling/callcenter/leg"
	"anling/care"
)

const (
	dropWithin = 10 * time.Second // an SOS whose line ends so soon was cut off
	takeLimit  = 5 * time.Second
	takeFor    = 2 * time.Minute // the incident may not be stored yet
	takeAgain  = 2 * time.Second
)

// offer rings one operator's telephone.
func (a *actor) offer(o acd.Offer, account string) {
	if a.ended || a.op != nil {
		a.s.act(func(q *acd.Queue) []acd.Offer { q.Drop(a.s.now(), a.c.ID); return nil })
		return
	}
	if !a.s.stands(o) {
		return // withdrawn meanwhile
	}
	clocks := a.s.o.Clocks
	ring := clocks.Ring
	if o.Class == acd.SOS {
		ring = clocks.SOSRing
	}
	shown := a.c.From
	if a.c.Direction == leg.Out {
		shown = ""
		if len(a.numbers) > 0 {
			shown = a.numbers[0]
		}
	}
	// The queue ends the ringing; the leg's own limit is the safety behind it.
	l, err := a.s.o.Dialer.Dial(a.ctx, leg.Call{To: "phone:" + account, CallerID: shown, Timeout: ring + 5*time.Second, SOS: o.Class == acd.SOS})
	if err != nil {
		a.log.Warn("ring an operator", zap.String("operator_id", string(o.Operator)), zap.Error(err))
		a.missed(o, "unreachable", true)
		return
	}
	p := &party{leg: l, offer: o}
	a.offers[o.Operator] = p
	a.follow(p)
	now := a.s.now()
	if a.c.OfferedAt.IsZero() {
		a.c.OfferedAt = now
	}
	a.c.Offered = append(a.c.Offered, o.Operator)
	a.move(Offered)
	a.fact(CallOffered, "system", map[string]any{"operator_id": o.Operator, "epoch": o.Epoch})
}

// rings is an operator's telephone that rings.
func (a *actor) rings(p *party) {
	if a.offers[p.offer.Operator] != p {
		return
	}
	a.s.act(func(q *acd.Queue) []acd.Offer { q.Rings(a.s.now(), p.offer); return nil })
	a.rung = true
	a.tellRinging()
}

// tellRinging tells the board, once, that operators are rung for the incident.
func (a *actor) tellRinging() {
	id := a.c.IncidentID
	if !a.rung || a.toldRing || id == "" {
		return
	}
	a.toldRing = true
	a.aside(takeLimit, func(ctx context.Context) func(*actor) {
		if err := a.s.o.Incidents.Ringing(ctx, id); err != nil {
			a.log.Warn("tell an incident that operators are rung", zap.String("incident_id", string(id)), zap.Error(err))
		}
		return nil
	})
}

// silence is an offer that the queue ended: no answer, or another call needed the
// operator more.
func (a *actor) silence(o acd.Offer) {
	p := a.offers[o.Operator]
	if p == nil || p.offer.Epoch != o.Epoch {
		return
	}
	a.withdrawn(p)
	p.leg.Hangup(leg.Cancelled)
	a.s.metrics.offers.WithLabelValues("ended").Inc()
	a.fact(CallMissed, "rule:clock", map[string]any{"operator_id": o.Operator, "result": "no_answer"})
}

// withdrawn forgets an offer; without any the call waits again.
func (a *actor) withdrawn(p *party) {
	delete(a.offers, p.offer.Operator)
	a.c.Offered = nil
	for id := range a.offers {
		a.c.Offered = append(a.c.Offered, id)
	}
	if len(a.offers) == 0 && a.c.State == Offered {
		a.move(Queued)
	}
}

// offerGone is an operator's telephone that rejected, was busy or could not be reached.
func (a *actor) offerGone(p *party, cause leg.Cause) {
	a.withdrawn(p)
	unreachable := cause != leg.NoAnswer && cause != leg.Rejected
	a.missed(p.offer, string(cause), unreachable)
}

func (a *actor) missed(o acd.Offer, result string, unreachable bool) {
	a.s.metrics.offers.WithLabelValues(result).Inc()
	a.fact(CallMissed, "operator:"+string(o.Operator), map[string]any{"operator_id": o.Operator, "result": result})
	a.s.act(func(q *acd.Queue) []acd.Offer { q.Miss(a.s.now(), o, unreachable); return nil })
}

// operatorAnswered is an operator who picked up: the first one has the call.
func (a *actor) operatorAnswered(p *party) {
	now := a.s.now()
	var won bool
	a.s.act(func(q *acd.Queue) []acd.Offer {
		if !a.ended {
			_, won = q.Accept(now, p.offer)
		}
		return nil
	})
	if !won {
		a.withdrawn(p)
		p.leg.Hangup(leg.Cancelled)
		return
	}
	delete(a.offers, p.offer.Operator)
	for id, other := range a.offers {
		delete(a.offers, id)
		other.leg.Hangup(leg.Cancelled)
		a.s.metrics.offers.WithLabelValues("taken").Inc()
	}
	a.s.metrics.offers.WithLabelValues("answered").Inc()
	a.op = p
	a.c.Offered, a.c.OperatorID = nil, p.offer.Operator
	first := a.c.AnsweredAt.IsZero()
	if first {
		a.c.AnsweredAt = now
		a.s.metrics.wait.WithLabelValues(a.c.Class.String()).Observe(now.Sub(a.c.ArrivedAt).Seconds())
	}
	a.never("comfort")
	a.never("only")
	a.listen(p)
	by := "operator:" + string(a.c.OperatorID)
	if a.c.Direction == leg.In {
		a.scribe.with(a, a.s.settles(a.c.From, a.c.ID, a.c.OperatorID))
	}
	a.fact(CallAnswered, by, map[string]any{"waited": now.Sub(a.c.ArrivedAt).Seconds(), "epoch": p.offer.Epoch})
	a.taken = false
	a.take()
	a.s.talksFor(a)
	switch {
	case a.caller != nil && a.caller.up:
		a.bridge()
	case a.caller != nil && a.caller.inbound:
		a.answerLine() // the line is still being answered: joined when it is up
	default:
		a.dialElder()
	}
}

// take makes the operator the owner of the incident.
func (a *actor) take() {
	if a.taken || a.op == nil || a.c.IncidentID == "" {
		return
	}
	a.taken = true
	id, user := a.c.IncidentID, a.c.OperatorID
	a.aside(takeFor, func(ctx context.Context) func(*actor) {
		for {
			once, cancel := context.WithTimeout(ctx, takeLimit)
			err := a.s.o.Incidents.Take(once, id, user, false)
			cancel()
			if err == nil {
				return nil
			}
			if errors.Is(err, care.ErrTaken) || errors.Is(err, care.ErrTransition) {
				a.log.Info("an incident stays with another", zap.String("incident_id", string(id)), zap.String("operator_id", string(user)), zap.Error(err))
				return nil
			}
			select {
			case <-ctx.Done():
				a.log.Error("an incident has no owner although an operator answered", zap.String("incident_id", string(id)), zap.Error(err))
				return nil
			case <-time.After(takeAgain):
			}
		}
	})
}

// bridge joins the two: what was being played is cut.
func (a *actor) bridge() {
	now := a.s.now()
	a.never("comfort")
	a.join()
	a.record()
	if a.c.BridgedAt.IsZero() {
		a.c.BridgedAt = now
	}
	a.talked = true
	a.move(Talking)
	a.fact(CallBridged, "system", nil)
}

// operatorGone is the end of the operator's line. Hanging up ends the call; a line
// that broke does not: the caller goes back to the head of the queue.
func (a *actor) operatorGone(cause leg.Cause) {
	a.op.over = true
	if a.ended {
		return
	}
	if cause == leg.CallerHangup || cause == leg.Normal || a.caller == nil || a.caller.over {
		result := "talked"
		if !a.talked {
			result = "cancelled"
		}
		a.end(leg.Normal, result, "operator:"+string(a.c.OperatorID))
		return
	}
	a.log.Warn("an operator's line broke in a call", zap.String("operator_id", string(a.c.OperatorID)), zap.String("cause", string(cause)))
	a.s.act(func(q *acd.Queue) []acd.Offer { q.End(a.s.now(), a.c.ID, false); return nil })
	a.fact(CallTrouble, "system", map[string]any{"what": "operator_lost", "cause": cause})
	a.op = nil
	a.c.OperatorID = ""
	if !a.caller.up && !a.caller.inbound {
		return // the elder is being rung: who answers finds the queue again
	}
	a.part()
	a.enqueue()
	a.play(a.caller, promptRequeued, false)
}

// legHeld is a hold or its end by the telephone of a party.
func (a *actor) legHeld(p *party, on bool) {
	p.held = on
	switch p {
	case a.op:
		_ = a.hold(on, "operator:"+string(a.c.OperatorID)) // in another state there is nothing to hold
	case a.caller:
		a.never("media") // silence is what a hold sounds like
	}
}

// hold lets the caller hear music, or joins the two again.
func (a *actor) hold(on bool, by string) error {
	switch {
	case on && a.c.State == Talking:
		a.part()
		a.move(Held)
		a.heldAt = a.s.now()
		a.play(a.caller, promptHold, false) // music follows
		a.fact(CallHeld, by, nil)
	case !on && a.c.State == Held:
		a.c.HeldSec += a.s.now().Sub(a.heldAt).Seconds()
		a.move(Talking)
		a.join()
		a.fact(CallResumed, by, nil)
	case on && a.c.State == Held, !on && a.c.State == Talking:
		return nil
	default:
		return care.Refuse(care.ErrTransition, "the call is %s: it cannot be held or resumed", a.c.State)
	}
	a.s.act(func(q *acd.Queue) []acd.Offer { q.Hold(a.s.now(), a.c.ID, on); return nil })
	return nil
}
