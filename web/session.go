package web

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"go.uber.org/zap"

	"anling/care"
)

const cookieName = "anling_session"

// Me is the signed-in account.
type Me struct {
	ID          care.UserID      `json:"id"`
	Name        string           `json:"name" doc:"What is typed at sign-in"`
	DisplayName string           `json:"display_name"`
	Role        care.Role        `json:"role" enum:"admin,supervisor,operator,responder,provider"`
	ResponderID care.ResponderID `json:"responder_id,omitempty"`
	ProviderID  care.ProviderID  `json:"provider_id,omitempty"`
	Lang        string           `json:"lang,omitempty" doc:"zh-CN or en"`
}

func me(u care.User) Me {
	return Me{ID: u.ID, Name: u.Name, DisplayName: u.DisplayName, Role: u.Role, ResponderID: u.ResponderID, ProviderID: u.ProviderID, Lang: u.Lang}
}

// reader is who asks: account, session and where from.
type reader struct {
	care.User
	session string // hash of its token
	address string
}

// actor is how the reader is named in facts and in the audit log.
func (r reader) actor() string {
	switch r.Role {
	case care.RoleResponder:
		return "responder:" + string(r.ResponderID)
	case care.RoleProvider:
		return "provider:" + string(r.ProviderID)
	case care.RoleOperator:
		return "operator:" + string(r.ID)
	}
	return string(r.Role) + ":" + string(r.ID)
}

func hashToken(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:])
}

// session finds the reader of a request, or an *Error with 401.
func (s *Server) session(r *http.Request) (reader, error) {
	c, err := r.Cookie(cookieName)
	if err != nil {
		return reader{}, refuse("unauthorized", "sign in first")
	}
	return s.sessionOf(r.Context(), hashToken(c.Value), address(r))
}

func (s *Server) sessionOf(ctx context.Context, hash, from string) (reader, error) {
	x, u, err := s.opts.Users.Session(ctx, hash)
	if errors.Is(err, care.ErrNotFound) {
		return reader{}, refuse("unauthorized", "sign in first")
	}
	if err != nil {
		return reader{}, err
	}
	now := s.now()
	if !now.Before(x.Expires) {
		return reader{}, refuse("unauthorized", "the session is over, sign in again")
	}
	if now.Sub(x.Seen) > s.opts.SessionTTL/60 {
		// A session that cannot be prolonged is still a session: the disk may be full.
		if err := s.opts.Users.TouchSession(ctx, hash, now, now.Add(s.opts.SessionTTL)); err != nil {
			s.log.Warn("prolong a session", zap.String("operator_id", string(u.ID)), zap.Error(err))
		}
	}
	return reader{User: u, session: hash, address: from}, nil
}

// credentials is what the sign-in page sends.
type credentials struct {
	Name     string `json:"name" minLength:"1" maxLength:"64" doc:"Account, as in anling user list"`
	Password string `json:"password" minLength:"1" maxLength:"256"`
}

// login checks a password and opens a session; it returns the cookie.
func (s *Server) login(ctx context.Context, in credentials, from string, secure bool) (Me, *http.Cookie, error) {
	name := strings.ToLower(strings.TrimSpace(in.Name))
	if wait := s.gate.wait(name, from); wait > 0 {
		s.metrics.logins.WithLabelValues("throttled").Inc()
		return Me{}, nil, huma.ErrorWithHeaders(refuse("too_many", "too many wrong passwords; wait before the next try"),
			http.Header{"Retry-After": {strconv.Itoa(int(wait.Seconds()) + 1)}})
	}
	u, err := s.opts.Users.UserByName(ctx, name)
	unknown := errors.Is(err, care.ErrNotFound)
	if err != nil && !unknown {
		return Me{}, nil, err
	}
	phc := u.Password
	if unknown {
		phc = nobody
	}
	good, err := CheckPassword(ctx, phc, in.Password)
	if err != nil {
		return Me{}, nil, err
	}
	if !good || unknown || u.Disabled {
		s.gate.failed(name, from)
		s.metrics.logins.WithLabelValues("refused").Inc()
		return Me{}, nil, refuse("unauthorized", "wrong account or password")
	}
	s.gate.succeeded(name, from)
	cookie, err := s.openSession(ctx, u, secure)
	if err != nil {
		return Me{}, nil, err
	}
	s.metrics.logins.WithLabelValues("ok").Inc()
	s.audit(ctx, reader{User: u}, "session.opened", "user:"+string(u.ID), from)
	return me(u), cookie, nil
}

func (s *Server) openSession(ctx context.Context, u care.User, secure bool) (*http.Cookie, error) {
	token := make([]byte, 32)
	_, _ = rand.Read(token) // never fails
	text := base64.RawURLEncoding.EncodeToString(token)
	now := s.now()
	err := s.opts.Users.OpenSession(ctx, care.Session{Hash: hashToken(text), UserID: u.ID, Created: now, Seen: now, Expires: now.Add(s.opts.SessionTTL)})
	if err != nil {
		return nil, err
	}
	return &http.Cookie{Name: cookieName, Value: text, Path: "/", HttpOnly: true, Secure: secure, SameSite: http.SameSiteStrictMode}, nil
}

func clearCookie(secure bool) *http.Cookie {
	return &http.Cookie{Name: cookieName, Path: "/", HttpOnly: true, Secure: secure, SameSite: http.SameSiteStrictMode, MaxAge: -1, Expires: time.Unix(1, 0)}
}

// audit appends a line; its failure is logged loudly, for what follows is then unproven.
func (s *Server) audit(ctx context.Context, u reader, action, object, detail string) {
	if err := s.mustAudit(ctx, u, action, object, detail); err != nil {
		s.log.Error("the audit log takes no line", zap.String("action", action), zap.Error(err))
	}
}

// mustAudit is audit for what may not happen without its line.
func (s *Server) mustAudit(ctx context.Context, u reader, action, object, detail string) error {
	return s.opts.Users.Audit(ctx, care.AuditEntry{Actor: string(u.Role) + ":" + string(u.ID), Action: action, Object: object, Detail: detail})
}
