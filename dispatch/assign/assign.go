package assign

import (
	"context"
	"time"

	"anling/care"
	"anling/event"
)

// Assignment is one need to send one responder.
type Assignment struct {
	ID          care.AssignmentID  `json:"id"`
	For         string             `json:"for"`    // "incident" or "order"
	ForID       string             `json:"for_id"` // its id
	IncidentID  care.IncidentID    `json:"incident_id,omitempty"`
	ElderID     care.ElderID       `json:"elder_id,omitempty"`
	Priority    care.Priority      `json:"priority"`
	Place       care.Fix           `json:"place"`
	Skills      []string           `json:"skills,omitempty"`
	Plan        string             `json:"plan"`
	Status      Status             `json:"status"`
	Epoch       int64              `json:"epoch"` // grows when a responder loses it; older offers are void
	Wave        int                `json:"wave"`
	Exclude     []care.ResponderID `json:"exclude,omitempty"`
	Only        []care.ResponderID `json:"only,omitempty"`
	ResponderID care.ResponderID   `json:"responder_id,omitempty"` // who has it
	ProviderID  care.ProviderID    `json:"provider_id,omitempty"`
	OfferID     care.OfferID       `json:"offer_id,omitempty"` // the accepted offer
	Reasons     []Candidate        `json:"reasons,omitempty"`  // of the last search: picked and passed over
	Actor       string             `json:"actor"`
	CreatedAt   time.Time          `json:"created_at"`
	AcceptedAt  time.Time          `json:"accepted_at,omitzero"`
	EnRouteAt   time.Time          `json:"en_route_at,omitzero"`
	OnSceneAt   time.Time          `json:"on_scene_at,omitzero"`
	DoneAt      time.Time          `json:"done_at,omitzero"`
	ArriveBy    time.Time          `json:"arrive_by,omitzero"`
	Outcome     string             `json:"outcome,omitempty"`
	Version     int64              `json:"version"`
}

// Offer is an assignment put to one responder.
type Offer struct {
	ID           care.OfferID      `json:"id"`
	AssignmentID care.AssignmentID `json:"assignment_id"`
	IncidentID   care.IncidentID   `json:"incident_id,omitempty"`
	ResponderID  care.ResponderID  `json:"responder_id"`
	ProviderID   care.ProviderID   `json:"provider_id,omitempty"`
	Priority     care.Priority     `json:"priority"`
	Wave         int               `json:"wave"`
	Epoch        int64             `json:"epoch"`
	Status       OfferStatus       `json:"status"`
	Place        care.Fix          `json:"place"`
	DistanceM    float64           `json:"distance_m"` // along the way, estimated
	TravelSec    int               `json:"travel_sec"`
	SentAt       time.Time         `json:"sent_at"`
	Deadline     time.Time         `json:"deadline"`
	SeenAt       time.Time         `json:"seen_at,omitzero"`
	AnsweredAt   time.Time         `json:"answered_at,omitzero"`
	Reason       string            `json:"reason,omitempty"` // of a refusal
	DeviceID     string            `json:"device_id,omitempty"`
	DeviceSeq    int64             `json:"device_seq,omitempty"`
	Version      int64             `json:"version"`
}

// Answer is what a responder's device sends. DeviceID and DeviceSeq make it
// idempotent; Epoch, when set, fences it.
type Answer struct {
	OfferID     care.OfferID
	ResponderID care.ResponderID // who answers; checked against the offer
	Epoch       int64
	DeviceID    string
	DeviceSeq   int64
	Reason      string
	Actor       string
}

// Facts of this package.
const (
	OfferSentEvent  event.Type = "dispatch.offer.sent"
	OfferSeenEvent  event.Type = "dispatch.offer.seen"
	OfferDeclEvent  event.Type = "dispatch.offer.declined"
	OfferExpEvent   event.Type = "dispatch.offer.expired"
	OfferTakenEvent event.Type = "dispatch.offer.taken"
	OfferVoidEvent  event.Type = "dispatch.offer.withdrawn"
	OfferAccEvent   event.Type = "dispatch.offer.accepted"
	RequestedEvent  event.Type = "dispatch.assignment.requested"
	OfferedEvent    event.Type = "dispatch.assignment.offered"
	AcceptedEvent   event.Type = "dispatch.assignment.accepted"
	EnRouteEvent    event.Type = "dispatch.assignment.en_route"
	OnSceneEvent    event.Type = "dispatch.assignment.on_scene"
	TransportEvent  event.Type = "dispatch.assignment.transport"
	DoneEvent       event.Type = "dispatch.assignment.done"
	CancelledEvent  event.Type = "dispatch.assignment.cancelled"
	ReassignedEvent event.Type = "dispatch.assignment.reassigned"
	EscalatedEvent  event.Type = "dispatch.assignment.escalated"
	LateEvent       event.Type = "dispatch.assignment.late"
)

// Deadlines of this package; AggID is the assignment.
const (
	WaveTimer   = "assign.wave"      // the offers of the wave run out
	DepartTimer = "assign.depart_by" // who accepted must be on the way
	ArriveTimer = "assign.arrive_by" // and there
	SafetyTimer = "assign.safety"    // and well, while he is there
)

// Timers lists the kinds of deadlines.
func Timers() []string { return []string{WaveTimer, DepartTimer, ArriveTimer, SafetyTimer} }

// Tx is one change of assignments.
type Tx interface {
	event.Ledger
	Assignment(id care.AssignmentID) (Assignment, error)
	SaveAssignment(a Assignment, was int64) error // was 0 inserts
	AssignmentsFor(kind, id string) ([]Assignment, error)
	Offer(id care.OfferID) (Offer, error)
	OffersOf(id care.AssignmentID) ([]Offer, error)
	SaveOffer(o Offer, was int64) error
	// Claim takes the responder for the assignment; care.ErrBusy if another has him.
	Claim(r care.ResponderID, a care.AssignmentID) error
	Release(r care.ResponderID, a care.AssignmentID) error
}

// Store keeps assignments and offers.
type Store interface {
	ChangeAssignments(ctx context.Context, f func(Tx) error) error
	Assignment(ctx context.Context, id care.AssignmentID) (Assignment, error)
	AssignmentsFor(ctx context.Context, kind, id string) ([]Assignment, error)
	OpenAssignments(ctx context.Context) ([]Assignment, error)
	Offer(ctx context.Context, id care.OfferID) (Offer, error)
	OffersOf(ctx context.Context, id care.AssignmentID) ([]Offer, error)
	OffersOfResponder(ctx context.Context, id care.ResponderID, limit int) ([]Offer, error)
	Claims(ctx context.Context) (map[care.ResponderID]care.AssignmentID, error)
}

// Owner is told, inside the same change, how an assignment of his kind went.
type Owner interface {
	AssignmentMoved(tx Tx, a Assignment, now time.Time) error
	// AssignmentLate says that a clock ran out: what is one of "depart", "arrive",
	// "safety".
	AssignmentLate(tx Tx, a Assignment, what string, now time.Time) error
}

// plan is the waves and clocks of one kind of need.
type plan struct {
	waves    []wave
	departBy time.Duration
	safety   time.Duration
	anySkill bool // any one of the skills is enough
	hardOnly bool // only the hard gates of an SOS
}

type wave struct {
	size  int
	clock time.Duration
}

var plans = map[string]plan{
	"sos": {waves: []wave{{3, 15 * time.Second}, {5, 15 * time.Second}}, departBy: 2 * time.Minute,
		safety: 15 * time.Minute, anySkill: true, hardOnly: true},
	"order": {waves: []wave{{1, time.Minute}, {1, time.Minute}, {1, time.Minute}, {1, time.Minute}, {1, time.Minute}},
		departBy: 10 * time.Minute, safety: 2 * time.Hour},
}
