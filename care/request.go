package care

import "time"

// OpenRequest asks for an incident to stand. sos and callcenter make it,
// dispatch.Board answers it.
type OpenRequest struct {
	Key string // idempotency key, unique over the life of the source
	// IncidentID is the id that a new incident gets; empty for any. Who rings for a
	// request that is not stored yet knows by it what will be stored.
	IncidentID IncidentID
	Digest     string // the meaning only: device and set of kinds
	Source     string // "device", "call", "sensor", "manual"
	Actor      string // who states it: "device:<id>", "operator:<id>", "system"
	Kinds      []Kind
	Priority   Priority // 0 for the highest of the kinds
	ElderID    ElderID  // empty when unknown
	DeviceID   DeviceID
	CallID     CallID // the call that speaks for it, may come later by AttachCall
	Alarm      *Alarm // kept in the same commit, with its raw frame
	Locations  []Fix  // the location ladder, best first
	Note       string // free text of an operator; no personal data from machines
	Area       AreaCode
	Drill      bool
	At         time.Time // when it was received
}

// Opened is the answer: an incident stands, durably.
type Opened struct {
	IncidentID IncidentID
	No         string // human-readable number
	AlarmID    AlarmID
	Joined     bool // it was open already; the alarm was appended to it
	Repeat     bool // this very key had been done before
}

// CallRequest asks the call centre to put an operator in touch with the elder of
// an incident. A second request for the same incident raises its priority only.
type CallRequest struct {
	IncidentID  IncidentID
	ElderID     ElderID
	DeviceID    DeviceID
	Priority    Priority
	VoiceExpect time.Time // until then the device's own call is awaited; zero: dial at once
}

// AssignRequest asks for responders to be sent, for an incident or an order alike.
type AssignRequest struct {
	Key        string // idempotency key: one need, one assignment
	For        string // "incident" or "order"
	ForID      string
	IncidentID IncidentID // shown in its timeline, may be empty for an order
	ElderID    ElderID
	Priority   Priority
	Place      Fix      // where to go
	Skills     []string // any one is enough for an SOS; all for an order
	Need       int      // responders wanted, 1 by default
	Plan       string   // plan of waves and clocks: "sos", "order"
	Exclude    []ResponderID
	Only       []ResponderID // an operator's own choice: offered first, in this order
	Actor      string
}

// PhoneMatch is one person or device that a telephone number may be.
type PhoneMatch struct {
	Kind     string // "device", "elder", "contact", "responder"
	ElderID  ElderID
	DeviceID DeviceID
	Name     string
	Relation string
}
