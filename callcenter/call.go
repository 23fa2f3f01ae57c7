// Package callcenter answers the lines: it owns calls, operators and call-backs. A
// call is one goroutine from the first ring to the last byte of its recording. Who
// waits first is decided in acd, what the caller hears before that in ivr; sockets
// and dialogs are callcenter/sip's, audio is callcenter/media's. Incidents are
// dispatch's: they are opened and joined through Opener and Incidents.
package callcenter

import (
	"slices"
	"time"

	"anling/callcenter/acd"
	"anling/callcenter/leg"
	"anling/care"
	"anling/event"
)

// CallState of a call.
//
//	in:   arrived → greeting → queued → offered → talking ⇄ held → ended
//	out:  queued → offered → dialling → talking ⇄ held → ended
//
// An offer that nobody takes leads back to queued; so does an operator who is lost
// in the middle of a call. A call for an incident begins in awaiting while the
// device's own call may still come.
type CallState string

const (
	Awaiting CallState = "awaiting"
	Arrived  CallState = "arrived"
	Greeting CallState = "greeting"
	Queued   CallState = "queued"
	Offered  CallState = "offered"  // operators' telephones ring
	Dialling CallState = "dialling" // the operator is there, the elder or caller is being rung
	Talking  CallState = "talking"
	Held     CallState = "held"
	Ended    CallState = "ended"
)

var callMoves = map[CallState][]CallState{
	Awaiting: {Queued, Ended},
	Arrived:  {Greeting, Queued, Ended},
	Greeting: {Queued, Ended},
	Queued:   {Offered, Dialling, Talking, Ended},
	Offered:  {Queued, Dialling, Talking, Ended},
	Dialling: {Talking, Queued, Ended},
	Talking:  {Held, Queued, Ended},
	Held:     {Talking, Queued, Ended},
}

// CallStates lists all of them.
func CallStates() []CallState {
	return []CallState{Awaiting, Arrived, Greeting, Queued, Offered, Dialling, Talking, Held, Ended}
}

// CanMove tells whether a state may follow another.
func CanMove(from, to CallState) bool { return slices.Contains(callMoves[from], to) }

// Purposes of a call.
const (
	Hotline     = "hotline"
	SOSCall     = "sos"      // from a device, to an SOS line, or of an elder with an open incident
	ForIncident = "incident" // the centre rings the elder of an incident
	ForCallback = "callback" // the centre rings back who was lost
)

// Call is one call and its record. Numbers are whole here: who shows them masks them.
type Call struct {
	ID         care.CallID     `json:"id"`
	Direction  leg.Direction   `json:"direction"`
	Purpose    string          `json:"purpose"`
	State      CallState       `json:"state"`
	Class      acd.Class       `json:"class"`
	From       string          `json:"from,omitempty"`
	To         string          `json:"to,omitempty"`
	DID        string          `json:"did,omitempty"`
	Trunk      string          `json:"trunk,omitempty"`
	Anonymous  bool            `json:"anonymous,omitempty"`
	SIPCallID  string          `json:"sip_call_id,omitempty"`
	ElderID    care.ElderID    `json:"elder_id,omitempty"`
	DeviceID   care.DeviceID   `json:"device_id,omitempty"`
	IncidentID care.IncidentID `json:"incident_id,omitempty"`
	Match      string          `json:"match,omitempty"` // device, elder, contact, responder, probable, none
	Matches    []Match         `json:"matches,omitempty"`
	OperatorID care.UserID     `json:"operator_id,omitempty"`
	Offered    []care.UserID   `json:"offered,omitempty"`  // those who are being rung now
	Position   int             `json:"position,omitempty"` // 1 is next; 0 when it does not wait
	CallbackID string          `json:"callback_id,omitempty"`
	Keys       string          `json:"keys,omitempty"`    // pressed by the caller, the last 32
	Unsaved    bool            `json:"unsaved,omitempty"` // the store does not take it; it is rung through all the same
	Trouble    string          `json:"trouble,omitempty"` // no_rtp, silent, lost_rtp, operator_audio, no_incident
	ArrivedAt  time.Time       `json:"arrived_at"`
	LineAt     time.Time       `json:"line_at,omitzero"` // the line was answered; the prompts begin
	QueuedAt   time.Time       `json:"queued_at,omitzero"`
	OfferedAt  time.Time       `json:"offered_at,omitzero"`
	AnsweredAt time.Time       `json:"answered_at,omitzero"` // by the first operator
	BridgedAt  time.Time       `json:"bridged_at,omitzero"`
	HeldSec    float64         `json:"held_sec,omitempty"`
	EndedAt    time.Time       `json:"ended_at,omitzero"`
	Cause      leg.Cause       `json:"cause,omitempty"`
	Result     string          `json:"result,omitempty"` // talked, lost, unreachable, superseded, cancelled
	Recording  *Recording      `json:"recording,omitempty"`
	Epoch      int64           `json:"epoch"` // life of the server that carried it
	Version    int64           `json:"version"`
}

// Live tells whether the call is not over.
func (c Call) Live() bool { return c.State != Ended }

// Match is one person or device that the caller's number belongs to.
type Match struct {
	Kind     string        `json:"kind"` // device, elder, contact, responder
	ElderID  care.ElderID  `json:"elder_id,omitempty"`
	DeviceID care.DeviceID `json:"device_id,omitempty"`
	Name     string        `json:"name,omitempty"`
	Relation string        `json:"relation,omitempty"`
}

// Recording is the audio of a call: left the caller, right our side.
type Recording struct {
	State   string  `json:"state"` // recording, saved, failed
	Path    string  `json:"path,omitempty"`
	SHA256  string  `json:"sha256,omitempty"`
	Seconds float64 `json:"seconds,omitempty"`
	Bytes   int64   `json:"bytes,omitempty"`
	Gaps    int     `json:"gaps,omitempty"`
}

// State is what an operator does; its drawing is in acd.
type State = acd.State

// Operator is one who answers calls: at the console, with a telephone beside it.
type Operator struct {
	UserID   care.UserID `json:"user_id"`
	Name     string      `json:"name"`
	Account  string      `json:"account"` // of the SIP telephone
	Skills   []string    `json:"skills,omitempty"`
	Role     string      `json:"role"`
	State    State       `json:"state"`
	Reason   string      `json:"reason,omitempty"` // of a break
	Phone    bool        `json:"phone"`            // the telephone is signed in: calls can be offered
	CallID   care.CallID `json:"call_id,omitempty"`
	Since    time.Time   `json:"since,omitzero"`      // of the state
	Idle     time.Time   `json:"idle_since,omitzero"` // the longest idle one is rung first
	Deadline time.Time   `json:"deadline,omitzero"`   // wrap-up ends, the offer ends
	Misses   int         `json:"misses,omitempty"`    // offers missed in a row
	Epoch    int64       `json:"epoch"`               // grows with every reservation: its fencing token
	Version  int64       `json:"version"`
}

// CallbackState of a debt to a caller.
//
//	due → dialling → reached
//	        └ due again, at last unreachable → closed by a person
type CallbackState string

const (
	Due         CallbackState = "due"
	Calling     CallbackState = "dialling"
	Reached     CallbackState = "reached"
	Unreachable CallbackState = "unreachable"
	Closed      CallbackState = "closed"
)

var callbackMoves = map[CallbackState][]CallbackState{
	Due:         {Calling, Unreachable, Reached, Closed},
	Calling:     {Due, Unreachable, Reached, Closed},
	Unreachable: {Due, Calling, Reached, Closed},
}

// CallbackStates lists all of them.
func CallbackStates() []CallbackState {
	return []CallbackState{Due, Calling, Reached, Unreachable, Closed}
}

// CanBecome tells whether a state may follow another.
func (s CallbackState) CanBecome(to CallbackState) bool { return slices.Contains(callbackMoves[s], to) }

// Open tells whether the caller is still owed something.
func (s CallbackState) Open() bool { return s != Reached && s != Closed }

// Callback is the debt to a caller who was not answered. Calls of one number within
// ten minutes are one debt.
type Callback struct {
	ID         string          `json:"id"`
	State      CallbackState   `json:"state"`
	Class      acd.Class       `json:"class"`
	Number     string          `json:"number,omitempty"` // whole; empty when withheld
	ElderID    care.ElderID    `json:"elder_id,omitempty"`
	DeviceID   care.DeviceID   `json:"device_id,omitempty"`
	IncidentID care.IncidentID `json:"incident_id,omitempty"`
	Reason     string          `json:"reason"` // hung_up, dropped, media, transport, no_ack, crash, overload
	CallIDs    []care.CallID   `json:"call_ids"`
	Attempts   []Attempt       `json:"attempts,omitempty"`
	OpenedAt   time.Time       `json:"opened_at"`
	LastAt     time.Time       `json:"last_at"` // of the last lost call
	DueAt      time.Time       `json:"due_at,omitzero"`
	DoneBy     care.UserID     `json:"done_by,omitempty"`
	DoneAt     time.Time       `json:"done_at,omitzero"`
	Outcome    string          `json:"outcome,omitempty"`
	Note       string          `json:"note,omitempty"`
	Version    int64           `json:"version"`
}

// Attempt is one try to reach the caller.
type Attempt struct {
	At     time.Time   `json:"at"`
	By     care.UserID `json:"by,omitempty"`
	CallID care.CallID `json:"call_id,omitempty"`
	Result string      `json:"result"` // reached, busy, no_answer, no_operator …
}

// Outcomes are what DoneCallback takes.
var Outcomes = []string{"reached", "called_again", "wrong_number", "no_answer", "home_visit", "incident", "other"}

// CallbackTimer is the kind of the deadline that starts a call-back.
const CallbackTimer = "callcenter.callback"

// Facts of this package. Those of an incident's call are in its timeline.
const (
	CallReceived    event.Type = "callcenter.call.received"
	CallRequested   event.Type = "callcenter.call.requested" // by an incident or a call-back
	CallMatched     event.Type = "callcenter.call.matched"   // with an incident
	CallQueued      event.Type = "callcenter.call.queued"
	CallOffered     event.Type = "callcenter.call.offered"
	CallMissed      event.Type = "callcenter.call.missed" // an operator did not take the offer
	CallAnswered    event.Type = "callcenter.call.answered"
	CallDialled     event.Type = "callcenter.call.dialled"
	CallBridged     event.Type = "callcenter.call.bridged"
	CallHeld        event.Type = "callcenter.call.held"
	CallResumed     event.Type = "callcenter.call.resumed"
	CallTrouble     event.Type = "callcenter.call.trouble" // silence on an SOS line, audio lost
	CallLost        event.Type = "callcenter.call.lost"
	CallEnded       event.Type = "callcenter.call.ended"
	CallbackOpened  event.Type = "callcenter.callback.opened"
	CallbackDialled event.Type = "callcenter.callback.dialled"
	CallbackDone    event.Type = "callcenter.callback.done"
	OperatorState   event.Type = "callcenter.operator.state"
	RecordingSaved  event.Type = "callcenter.recording.saved"
	RecordingFailed event.Type = "callcenter.recording.failed"
	QueueRepaired   event.Type = "callcenter.queue.repaired"
	NodeRecovered   event.Type = "callcenter.node.recovered"
)
