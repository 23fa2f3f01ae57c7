// Package event holds the contracts of facts: the envelope in which a change is
// announced, the names of the types, and the ledger through which a change, its
// events, its idempotency key and its deadlines become one write.
//
// It imports the standard library only, so that every room can speak it.
package event

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// Event is one fact about one aggregate. Order is promised per AggID by Seq only.
// A body carries ids and states; names, addresses, health notes and full telephone
// numbers are read over HTTP by those who may see them.
type Event struct {
	ID         string          `json:"id"`                    // UUIDv7, also the Nats-Msg-Id
	Type       Type            `json:"type"`                  // past and dotted, "dispatch.incident.opened"
	V          int             `json:"v"`                     // version of the body's meaning
	Agg        string          `json:"agg"`                   // kind of aggregate, "incident"
	AggID      string          `json:"agg_id"`                // its id
	Seq        int64           `json:"seq"`                   // 1, 2, 3 … within AggID
	IncidentID string          `json:"incident_id,omitempty"` // the incident whose timeline shows it
	ProviderID string          `json:"provider_id,omitempty"` // the provider whose app may hear it
	At         time.Time       `json:"at"`
	Actor      string          `json:"actor"` // "operator:<id>", "device:<id>", "rule:<name>", "system"
	Body       json.RawMessage `json:"body"`
}

// Type names a fact. A name is never reused with another meaning.
type Type string

// Owner is the first token of the type: the package that states the fact.
func (t Type) Owner() string { return token(string(t), 0) }

// Noun is the second token of the type: what the fact is about.
func (t Type) Noun() string { return token(string(t), 1) }

// Verb is the rest of the type: what happened, in the past tense.
func (t Type) Verb() string {
	parts := strings.SplitN(string(t), ".", 3)
	if len(parts) < 3 {
		return ""
	}
	return parts[2]
}

func token(s string, i int) string {
	parts := strings.Split(s, ".")
	if i >= len(parts) {
		return ""
	}
	return parts[i]
}

// Subject is the NATS subject of the event under the given root ("evt" for the
// stream, "fast" for the copy sent at once): anling.<root>.<owner>.<noun>.<verb>.<id>.
func (e Event) Subject(root string) string {
	return fmt.Sprintf("anling.%s.%s.%s.%s.%s", root, e.Type.Owner(), e.Type.Noun(), e.Type.Verb(), strings.ToLower(e.AggID))
}

// Body marshals v; it panics on a value that JSON cannot hold, which only a
// mistake in the program can bring about.
func Body(v any) json.RawMessage {
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("event: body %T: %v", v, err))
	}
	return b
}
