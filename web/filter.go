package web

import (
	"encoding/json"
	"slices"

	"anling/care"
	"anling/event"
)

// group is a kind of data inside the body of a fact. Bodies carry ids and states by
// rule; the table below is the second lock, and decides per role what goes out.
type group string

const (
	state    group = "state"    // words of the state machines, numbers, times
	subjects group = "subjects" // ids of elders and devices
	people   group = "people"   // ids of operators and responders
	words    group = "words"    // free text of people
	internal group = "internal" // everything that is not named here
)

// fields puts each member of a body into its group. What is not listed is internal.
var fields = map[string]group{
	"status": state, "state": state, "priority": state, "epoch": state, "wave": state, "deadline": state, "offers": state, "kinds": state,
	"kind": state, "count": state, "no": state, "source": state, "rung": state, "what": state, "claim": state, "taken_over": state, "presses": state,
	"outcome": state, "false_class": state, "note": state, "eta_sec": state, "for": state, "need": state, "chosen": state, "protocol": state,
	"device_time": state, "battery": state, "history": state, "trust": state, "duty": state, "class": state, "position": state, "cause": state,
	"direction": state, "purpose": state, "result": state, "seconds": state, "trouble": state, "match": state, "attempt": state, "offered": people,
	"elder_id": subjects, "device_id": subjects, "call_id": subjects, "callback_id": subjects, "into": subjects, "merged_from": subjects,
	"assignment_id": subjects, "offer_id": subjects, "alarm_id": subjects,
	"responder_id": people, "operator_id": people, "user_id": people, "by": people, "provider_id": people,
	"reason": words, "how": words,
}

// sees is the groups that a role gets.
var sees = map[care.Role][]group{
	care.RoleOperator:   {state, subjects, people, words, internal},
	care.RoleSupervisor: {state, subjects, people, words},
	care.RoleAdmin:      {state, subjects, people},
	care.RoleResponder:  {state, people},
	care.RoleProvider:   {state, people},
}

// ownFields are what a responder or provider gets besides, in facts about his own.
var ownFields = []string{"assignment_id", "offer_id"}

func (u reader) groups() []group { return sees[u.Role] }

// filterBody keeps the members of a body that belong to the groups; absent means
// absent.
func filterBody(e event.Event, groups []group) map[string]any {
	var all map[string]any
	if len(e.Body) == 0 || json.Unmarshal(e.Body, &all) != nil {
		return map[string]any{}
	}
	for name := range all {
		g, known := fields[name]
		if !known {
			g = internal
		}
		if !slices.Contains(groups, g) && !slices.Contains(ownFields, name) {
			delete(all, name)
		}
	}
	if all == nil {
		all = map[string]any{}
	}
	return all
}

// about is whom a fact concerns besides the desk; the hub finds it out once.
type about struct {
	responders []care.ResponderID
	provider   care.ProviderID
}

// hears tells whether a reader hears a fact at all, wherever it comes from.
func hears(u reader, e event.Event, a about) bool {
	switch u.Role {
	case care.RoleOperator, care.RoleSupervisor:
		return true
	case care.RoleAdmin:
		return e.Type.Owner() == "care" || e.Agg == "incident" || e.Agg == "alarm"
	case care.RoleResponder:
		return slices.Contains(a.responders, u.ResponderID)
	case care.RoleProvider:
		return a.provider != "" && a.provider == u.ProviderID
	}
	return false
}
