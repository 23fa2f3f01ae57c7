package care

import "github.com/google/uuid"

// Typed identifiers: an argument cannot be swapped unseen. All are UUIDv7 text,
// lower case, ordered by time, safe as a NATS subject token.
type (
	ElderID      string
	ContactID    string
	DeviceID     string
	ProviderID   string
	ResponderID  string
	UserID       string // an account that signs in; an operator is one
	AlarmID      string
	IncidentID   string
	AssignmentID string
	OfferID      string
	CallID       string
	TaskID       string
)

// AreaCode is an administrative code: 2, 4 or 6 digits of GB/T 2260, 9 for a
// street, 12 for a community, then "-gNN" (group) and "-bNN" (building).
type AreaCode string

// NewID makes an identifier of any of the types above.
func NewID[T ~string]() T { return T(uuid.Must(uuid.NewV7()).String()) }
