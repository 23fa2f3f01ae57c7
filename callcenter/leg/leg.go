// Package leg is what the call centre knows of a line: a party to a call, how one
// is dialled, and which telephones are signed in. callcenter/sip fills it; a test
// and the browser's audio leg may fill it as well. It owns no socket and no state.
package leg

import (
	"context"
	"errors"
	"time"

	"anling/callcenter/media"
)

// ErrCancelled is the answer of Answer when the caller left first.
var ErrCancelled = errors.New("caller left before the answer")

// Kind is where a leg comes from or goes to.
type Kind string

const (
	Trunk Kind = "trunk" // the public network
	Phone Kind = "phone" // a registered telephone or a device with an account
)

// Direction is seen from this server.
type Direction string

const (
	In  Direction = "in"
	Out Direction = "out"
)

// Info is what is known of a leg when it begins; it does not change afterwards.
type Info struct {
	ID        string // UUIDv7
	Kind      Kind
	Direction Direction
	From      string // E.164 when it could be told, else what the peer sent; empty when withheld
	FromRaw   string // what the peer sent, for the record
	To        string // E.164, or "phone:<account>"
	DID       string // called number as the carrier sent it: it chooses the service
	SOS       bool   // the called number is an SOS line, or the caller said so: never shed
	Anonymous bool   // the number is withheld or is not a number
	Account   string // registered account, for a Phone
	Trunk     string // name of the carrier, for a Trunk
	SIPCallID string
	Remote    string // address and port of the peer
	At        time.Time
}

// Leg is one party. Its methods are safe from any goroutine.
type Leg interface {
	Info() Info
	// Events tells what happens on the leg, in order. The channel is closed after
	// the Ended event, which is never dropped.
	Events() <-chan Event
	// Ring tells an inbound caller that it rings.
	Ring()
	// Answer takes an inbound call. It returns nil once the 2xx has been sent: it
	// is resent until the caller confirms it (event Confirmed) or the leg ends
	// with no_ack. It returns ErrCancelled when the caller left first.
	Answer(ctx context.Context) error
	// Hangup ends the leg in whatever state it is: BYE, CANCEL or a final
	// response that fits the cause. It does not block and may be repeated.
	Hangup(cause Cause)
	// Media is the leg's audio; nil until both sides have agreed on it.
	Media() *media.Session
}

// EventKind is what happened on a leg.
type EventKind string

const (
	Ringing   EventKind = "ringing"   // outbound: the other side rings
	Early     EventKind = "early"     // outbound: the network plays audio before the answer; it is not an answer
	Answered  EventKind = "answered"  // the 2xx was sent or received; media runs
	Confirmed EventKind = "confirmed" // the three-way handshake is complete
	Held      EventKind = "held"      // the peer does not want to hear us now
	Resumed   EventKind = "resumed"
	DTMF      EventKind = "dtmf" // a key, when the peer sends it in signalling; see also media.Session.Events
	Ended     EventKind = "ended"
)

// Event is one fact of a leg.
type Event struct {
	Kind   EventKind
	Digit  byte   // DTMF
	Cause  Cause  // Ended
	Code   int    // Ended: the SIP status that ended it, 0 for a BYE
	Reason string // Ended: the peer's Reason header or status text
	At     time.Time
}

// Cause is why a leg ended.
type Cause string

const (
	Normal       Cause = "normal"        // we hung up after the conversation
	CallerHangup Cause = "caller_hangup" // the peer hung up
	Busy         Cause = "busy"
	NoAnswer     Cause = "no_answer"
	Rejected     Cause = "rejected"
	Cancelled    Cause = "cancelled" // given up before the answer
	NoAck        Cause = "no_ack"    // answered, but never confirmed
	Transport    Cause = "transport" // the peer cannot be reached
	Timer        Cause = "timer"     // session timer or maximum duration
	MediaLost    Cause = "media"     // no common codec or no audio
	Overload     Cause = "overload"
	Fault        Cause = "fault"
	Drained      Cause = "drained" // the server stops
)

// Call asks for a leg to be dialled.
type Call struct {
	To       string        // E.164 number or short code, or "phone:<account>"
	CallerID string        // shown to the callee; empty: the trunk's own number
	Timeout  time.Duration // of ringing; 0 for the default
	SOS      bool          // of an emergency: not subject to limits, marked for the network
}

// Dialer makes outbound legs; sip.Server is one.
type Dialer interface {
	// Dial returns at once with a leg that calls. A target that cannot even be
	// tried is an error.
	Dial(ctx context.Context, c Call) (Leg, error)
}

// Phones knows which accounts are signed in; sip.Server is one.
type Phones interface {
	Registered(account string) bool
	// OnRegistration calls f after an account became reachable or unreachable.
	// f must not block.
	OnRegistration(f func(account string, registered bool))
}
