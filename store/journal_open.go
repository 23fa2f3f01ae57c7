package store

import (
	"encoding/json"
	"fmt"
	"time"

	"anling/care"
	"anling/dispatch"
)

// openKind marks requests for an incident among the journal's entries.
const openKind = "open"

// requests is the emergency journal as dispatch.Guard uses it.
type requests struct{ j *Journal }

var _ dispatch.Journal = requests{}

// Requests is the journal of requests for an incident.
func (j *Journal) Requests() dispatch.Journal { return requests{j} }

// Keep implements dispatch.Journal.
func (r requests) Keep(id string, q care.OpenRequest) error {
	body, err := json.Marshal(q)
	if err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	return r.j.Append(Entry{ID: id, Kind: openKind, At: time.Now(), Body: body})
}

// Settle implements dispatch.Journal.
func (r requests) Settle(id string) error { return r.j.Settle(id) }

// Kept implements dispatch.Journal.
func (r requests) Kept() ([]string, []care.OpenRequest, error) {
	var ids []string
	var all []care.OpenRequest
	for _, e := range r.j.Pending() {
		if e.Kind != openKind {
			continue
		}
		var q care.OpenRequest
		if err := json.Unmarshal(e.Body, &q); err != nil {
			return nil, nil, fmt.Errorf("journal: entry %s: %w", e.ID, err)
		}
		ids, all = append(ids, e.ID), append(all, q)
	}
	return ids, all, nil
}
