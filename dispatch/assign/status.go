// Package assign sends somebody: it ranks responders with reasons, makes offers in
// waves, takes the first acceptance, fenced, and watches the way to the door. It
// serves incidents and orders alike and knows neither.
package assign

import (
	"slices"

	"anling/care"
)

// Status of an assignment.
//
//	searching → offered → accepted → en_route → on_scene → (transport) → done
//	    ↑__________|___________|__________|__________|  reassigned: searched again
//	    └→ escalated ⇄                                  cancelled from any open one
type Status string

const (
	Searching  Status = "searching"
	Offered    Status = "offered"
	Accepted   Status = "accepted"
	EnRoute    Status = "en_route"
	OnScene    Status = "on_scene"
	Transport  Status = "transport"
	Done       Status = "done"
	Cancelled  Status = "cancelled"
	Reassigned Status = "reassigned" // passing: the responder lost it, the search begins again
	Escalated  Status = "escalated"  // nobody was found: an operator has it as a task
)

var moves = map[Status][]Status{
	Searching:  {Offered, Escalated, Cancelled},
	Offered:    {Searching, Accepted, Escalated, Cancelled},
	Escalated:  {Searching, Offered, Accepted, Cancelled},
	Accepted:   {EnRoute, OnScene, Reassigned, Cancelled},
	EnRoute:    {OnScene, Reassigned, Cancelled},
	OnScene:    {Transport, Done, Reassigned, Cancelled},
	Transport:  {Done, Reassigned, Cancelled},
	Reassigned: {Searching, Cancelled},
}

// Statuses lists all of them.
func Statuses() []Status {
	return []Status{Searching, Offered, Accepted, EnRoute, OnScene, Transport, Done, Cancelled, Reassigned, Escalated}
}

// CanMove tells whether a status may follow another.
func CanMove(from, to Status) bool { return slices.Contains(moves[from], to) }

// Open tells whether an assignment is still to be done.
func (s Status) Open() bool { return s != Done && s != Cancelled }

// Underway tells whether a responder has taken it.
func (s Status) Underway() bool {
	return s == Accepted || s == EnRoute || s == OnScene || s == Transport
}

// OfferStatus of an offer.
//
//	sent → delivered → seen → accepted | declined | expired | taken | withdrawn
type OfferStatus string

const (
	Sent           OfferStatus = "sent"
	Delivered      OfferStatus = "delivered"
	Seen           OfferStatus = "seen"
	OfferAccepted  OfferStatus = "accepted"
	OfferDeclined  OfferStatus = "declined"
	OfferExpired   OfferStatus = "expired"   // its clock ran out; still good while nobody has it
	OfferTaken     OfferStatus = "taken"     // another was first
	OfferWithdrawn OfferStatus = "withdrawn" // the need is gone, or the epoch moved on
)

var offerMoves = map[OfferStatus][]OfferStatus{
	Sent:         {Delivered, Seen, OfferAccepted, OfferDeclined, OfferExpired, OfferTaken, OfferWithdrawn},
	Delivered:    {Seen, OfferAccepted, OfferDeclined, OfferExpired, OfferTaken, OfferWithdrawn},
	Seen:         {OfferAccepted, OfferDeclined, OfferExpired, OfferTaken, OfferWithdrawn},
	OfferExpired: {OfferAccepted, OfferTaken, OfferWithdrawn},
}

// OfferStatuses lists all of them.
func OfferStatuses() []OfferStatus {
	return []OfferStatus{Sent, Delivered, Seen, OfferAccepted, OfferDeclined, OfferExpired, OfferTaken, OfferWithdrawn}
}

// CanMoveOffer tells whether an offer's status may follow another.
func CanMoveOffer(from, to OfferStatus) bool { return slices.Contains(offerMoves[from], to) }

// Waiting tells whether the responder may still answer within the clock.
func (s OfferStatus) Waiting() bool { return s == Sent || s == Delivered || s == Seen }

func (a *Assignment) move(to Status) error {
	if !CanMove(a.Status, to) {
		return care.Refuse(care.ErrTransition, "assignment %s is %s: it cannot become %s", a.ID, a.Status, to)
	}
	a.Status = to
	return nil
}

func (o *Offer) move(to OfferStatus) error {
	if !CanMoveOffer(o.Status, to) {
		return care.Refuse(care.ErrTransition, "offer %s is %s: it cannot become %s", o.ID, o.Status, to)
	}
	o.Status = to
	return nil
}
