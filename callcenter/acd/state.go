package acd

import "slices"

// State of an operator.
//
//	offline → ready → reserved → ringing → talking ⇄ hold → wrap_up → ready
//	                     |          └ no answer: ready, at the second time break
//	                     └ not reachable: ready
//	ready, wrap_up ⇄ break;  any → offline
//
// Wrap-up and break are interrupted by an SOS: they too may be reserved.
type State string

const (
	Offline  State = "offline"
	Ready    State = "ready"
	Reserved State = "reserved" // chosen, the telephone does not ring yet
	Ringing  State = "ringing"
	Talking  State = "talking"
	Hold     State = "hold"
	WrapUp   State = "wrap_up"
	Break    State = "break"
)

var moves = map[State][]State{
	Offline:  {Ready, Break},
	Ready:    {Reserved, Break, Offline},
	Reserved: {Ringing, Talking, Ready, WrapUp, Break, Offline},
	Ringing:  {Talking, Ready, WrapUp, Break, Offline},
	Talking:  {Hold, WrapUp, Ready, Break, Offline},
	Hold:     {Talking, WrapUp, Ready, Break, Offline},
	WrapUp:   {Ready, Reserved, Break, Offline},
	Break:    {Ready, Reserved, Offline},
}

// States lists all of them.
func States() []State {
	return []State{Offline, Ready, Reserved, Ringing, Talking, Hold, WrapUp, Break}
}

// CanMove tells whether a state may follow another.
func CanMove(from, to State) bool { return slices.Contains(moves[from], to) }

// Engaged tells whether the operator is with a call, or is being rung for one.
func (s State) Engaged() bool {
	return s == Reserved || s == Ringing || s == Talking || s == Hold
}
