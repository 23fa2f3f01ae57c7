package bus

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// ErrToken says that a token is not ours, was changed, or is over.
var ErrToken = errors.New("token refused")

// Grant is who may connect, and until when.
type Grant struct {
	Provider string    `json:"p"` // the provider whose subjects are open to the user
	User     string    `json:"u"`
	Expires  time.Time `json:"e"`
}

// Signer makes and checks the short-lived tokens of provider apps. The check
// needs neither SQL nor NATS, because the server waits for it at the door.
type Signer struct {
	key []byte
	now func() time.Time
}

// NewSigner signs with key, at least 32 bytes, the same on every node.
func NewSigner(key []byte) (*Signer, error) {
	if len(key) < 32 {
		return nil, fmt.Errorf("nats signing key has %d bytes, want 32 or more", len(key))
	}
	return &Signer{key: key, now: time.Now}, nil
}

// name is what may stand as one token of a subject.
var name = regexp.MustCompile(`^[a-z0-9-]{1,64}$`)

// Sign makes a token for the grant. Provider and User must be subject tokens:
// lower-case letters, digits and "-".
func (s *Signer) Sign(g Grant) (string, error) {
	if !name.MatchString(g.Provider) || !name.MatchString(g.User) {
		return "", fmt.Errorf("grant for provider %q, user %q: want lower-case letters, digits and '-'", g.Provider, g.User)
	}
	body, err := json.Marshal(g)
	if err != nil {
		return "", fmt.Errorf("sign grant: %w", err)
	}
	text := base64.RawURLEncoding.EncodeToString(body)
	return text + "." + base64.RawURLEncoding.EncodeToString(s.mac(text)), nil
}

// Check returns the grant of a token, or ErrToken.
func (s *Signer) Check(token string) (Grant, error) {
	text, sum, ok := strings.Cut(token, ".")
	if !ok || len(token) > 1024 {
		return Grant{}, ErrToken
	}
	given, err := base64.RawURLEncoding.DecodeString(sum)
	if err != nil || !hmac.Equal(given, s.mac(text)) {
		return Grant{}, ErrToken
	}
	body, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		return Grant{}, ErrToken
	}
	var g Grant
	if err := json.Unmarshal(body, &g); err != nil || !name.MatchString(g.Provider) || !name.MatchString(g.User) {
		return Grant{}, ErrToken
	}
	if !s.now().Before(g.Expires) {
		return Grant{}, fmt.Errorf("%w: expired", ErrToken)
	}
	return g, nil
}

func (s *Signer) mac(text string) []byte {
	h := hmac.New(sha256.New, s.key)
	h.Write([]byte(text))
	return h.Sum(nil)
}

// gate lets in our own connection by its random token and provider apps by a
// signed one. Connections of other kinds (leaf, route) are refused.
type gate struct {
	internal string
	signer   *Signer
}

func (g *gate) Check(c server.ClientAuthentication) bool {
	if c.Kind() != server.CLIENT {
		return false
	}
	o := c.GetOpts()
	if c.RemoteAddress() == nil || c.RemoteAddress().Network() == "pipe" {
		return subtle.ConstantTimeCompare([]byte(o.Token), []byte(g.internal)) == 1
	}
	if g.signer == nil {
		return false
	}
	token := o.Token
	if token == "" {
		token = o.Password
	}
	grant, err := g.signer.Check(token)
	if err != nil || (o.Username != "" && o.Username != grant.User) {
		return false
	}
	c.RegisterUser(&server.User{
		Username:           grant.User,
		Permissions:        permissions(grant),
		ConnectionDeadline: grant.Expires,
	})
	return true
}

// permissions of a provider's user: its own subjects and its own inbox.
func permissions(g Grant) *server.Permissions {
	return &server.Permissions{
		Publish:   &server.SubjectPermission{Allow: []string{"anling.prov." + g.Provider + ".up.>"}},
		Subscribe: &server.SubjectPermission{Allow: []string{"anling.prov." + g.Provider + ".down.>", "_INBOX_" + g.User + ".>"}},
	}
}
