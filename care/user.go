package care

import (
	"context"
	"errors"
	"regexp"
	"slices"
	"time"
)

// Role is what an account may do; web holds the table of role and door.
type Role string

const (
	RoleAdmin      Role = "admin"      // accounts, devices, imports; no health data
	RoleSupervisor Role = "supervisor" // sees everything masked, reveals with a purpose
	RoleOperator   Role = "operator"   // the desk: incidents, calls, responders
	RoleResponder  Role = "responder"  // own offers and assignments
	RoleProvider   Role = "provider"   // own responders and their offers
)

// Roles lists all of them.
func Roles() []Role {
	return []Role{RoleAdmin, RoleSupervisor, RoleOperator, RoleResponder, RoleProvider}
}

// User is an account that signs in.
type User struct {
	ID          UserID      `json:"id"`
	Name        string      `json:"name"` // what is typed at sign-in, lower case, unique
	DisplayName string      `json:"display_name"`
	Role        Role        `json:"role"`
	ResponderID ResponderID `json:"responder_id,omitempty"` // whom a responder's account stands for
	ProviderID  ProviderID  `json:"provider_id,omitempty"`
	Phone       string      `json:"phone,omitempty"`  // SIP account of the operator's telephone
	Skills      []string    `json:"skills,omitempty"` // of an operator: dialects, languages
	Lang        string      `json:"lang,omitempty"`   // "zh-CN" by default
	Disabled    bool        `json:"disabled,omitempty"`
	Version     int64       `json:"version"`
	CreatedAt   time.Time   `json:"created_at"`
	UpdatedAt   time.Time   `json:"updated_at"`

	// Password is the PHC string of the password; it leaves the store only to be
	// compared with.
	Password string `json:"-"`
}

var userName = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,63}$`)

// Check tells what is wrong with an account.
func (u User) Check() error {
	switch {
	case !userName.MatchString(u.Name):
		return Invalid("name", "must be 1 to 64 of a-z, 0-9, dot, dash, underscore")
	case u.DisplayName == "" || len([]rune(u.DisplayName)) > 50:
		return Invalid("display_name", "must have 1 to 50 characters")
	case !slices.Contains(Roles(), u.Role):
		return Invalid("role", "%q is not one of %v", u.Role, Roles())
	case u.Role == RoleResponder && u.ResponderID == "":
		return Invalid("responder_id", "is empty; a responder's account stands for one")
	case u.Role == RoleProvider && u.ProviderID == "":
		return Invalid("provider_id", "is empty; a provider's account stands for one")
	case u.Lang != "" && u.Lang != "zh-CN" && u.Lang != "en":
		return Invalid("lang", "%q is not zh-CN or en", u.Lang)
	}
	return nil
}

// Staff knows responders and providers; Registry and its store are one.
type Staff interface {
	Responder(ctx context.Context, id ResponderID) (Responder, error)
	Provider(ctx context.Context, id ProviderID) (Provider, error)
}

// CheckStanding refuses an account for a responder or provider whom nobody knows.
func (u User) CheckStanding(ctx context.Context, known Staff) error {
	if u.ResponderID != "" {
		if _, err := known.Responder(ctx, u.ResponderID); errors.Is(err, ErrNotFound) {
			return Invalid("responder_id", "there is no responder %s", u.ResponderID)
		} else if err != nil {
			return err
		}
	}
	if u.ProviderID != "" {
		if _, err := known.Provider(ctx, u.ProviderID); errors.Is(err, ErrNotFound) {
			return Invalid("provider_id", "there is no provider %s", u.ProviderID)
		} else if err != nil {
			return err
		}
	}
	return nil
}

// Telephone is the SIP account of a user. The secret itself is never kept.
type Telephone struct {
	Account string
	Realm   string
	Digests map[string]string // HA1 by algorithm, for the realm
}

// Session is one sign-in. Only the hash of its token is known here.
type Session struct {
	Hash    string // SHA-256 of the token, hex
	UserID  UserID
	Created time.Time
	Seen    time.Time
	Expires time.Time
}

// AuditEntry is one line of the audit log. Hash covers the line and the hash of the
// one before, so that nothing can be changed or taken out unseen.
type AuditEntry struct {
	Pos    int64     `json:"pos"`
	At     time.Time `json:"at"`
	Actor  string    `json:"actor"`  // "operator:<id>", "admin:<id>", "cli:<name>"
	Action string    `json:"action"` // "elder.reveal", "recording.play", "user.saved" …
	Object string    `json:"object"` // "elder:<id>"
	Detail string    `json:"detail,omitempty"`
	Hash   string    `json:"hash"`
}
