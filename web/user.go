package web

import (
	"context"
	"crypto/md5" //nolint:gosec // RFC 2617: HA1 of old telephones is MD5
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"math/big"
	"net/http"
	"regexp"
	"strings"

	"anling/care"
)

// letters of generated secrets: none that can be taken for another.
const letters = "abcdefghjkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789"

// NewSecret makes a secret of n letters.
func NewSecret(n int) string {
	var b strings.Builder
	for range n {
		i, _ := rand.Int(rand.Reader, big.NewInt(int64(len(letters)))) // never fails
		b.WriteByte(letters[i.Int64()])
	}
	return b.String()
}

// NewTelephone is a SIP account with the HA1 values of its secret, by algorithm
// (RFC 8760): all that is kept of it.
func NewTelephone(account, realm, secret string) care.Telephone {
	text := []byte(account + ":" + realm + ":" + secret)
	old, now := md5.Sum(text), sha256.Sum256(text) //nolint:gosec // as above
	return care.Telephone{Account: account, Realm: realm, Digests: map[string]string{"MD5": hex.EncodeToString(old[:]), "SHA-256": hex.EncodeToString(now[:])}}
}

var phoneAccount = regexp.MustCompile(`^[0-9a-z]{2,32}$`)

// CheckPhone tells what is wrong with the account name of a telephone.
func CheckPhone(account string) error {
	if !phoneAccount.MatchString(account) {
		return care.Invalid("phone", "must be 2 to 32 digits or letters")
	}
	return nil
}

// UserView is an account in the administrator's list.
type UserView struct {
	care.User
	Secret   string `json:"secret,omitempty" doc:"Of the telephone; shown once, when it is made"`
	Password string `json:"password,omitempty" doc:"A generated password; shown once, when it is made"`
}

// OfUser names an account in the path.
type OfUser struct {
	ID care.UserID `path:"id" maxLength:"64"`
}

type newUserInput struct {
	Body struct {
		Name        string           `json:"name" minLength:"1" maxLength:"64"`
		DisplayName string           `json:"display_name" minLength:"1" maxLength:"50"`
		Role        care.Role        `json:"role" enum:"admin,supervisor,operator,responder,provider"`
		ResponderID care.ResponderID `json:"responder_id,omitempty" maxLength:"64"`
		ProviderID  care.ProviderID  `json:"provider_id,omitempty" maxLength:"64"`
		Skills      []string         `json:"skills,omitempty" maxItems:"20"`
		Phone       string           `json:"phone,omitempty" maxLength:"32" doc:"SIP account of the telephone; its secret is in the answer"`
		Password    string           `json:"password,omitempty" maxLength:"256" doc:"At least 8 characters; generated when empty"`
	}
}

type changeUserInput struct {
	OfUser
	Body struct {
		DisplayName *string    `json:"display_name,omitempty" minLength:"1" maxLength:"50"`
		Role        *care.Role `json:"role,omitempty" enum:"admin,supervisor,operator,responder,provider"`
		Skills      *[]string  `json:"skills,omitempty" maxItems:"20"`
		Disabled    *bool      `json:"disabled,omitempty"`
		Password    *string    `json:"password,omitempty" maxLength:"256"`
		Lang        *string    `json:"lang,omitempty" enum:"zh-CN,en"`
		Version     int64      `json:"version" doc:"As read; another's change in between is refused"`
	}
}

// AuditPage is lines of the audit log, latest first.
type AuditPage struct {
	Items []care.AuditEntry `json:"items"`
	Lines int64             `json:"lines" doc:"Lines of the whole log, when the chain was checked"`
	Whole bool              `json:"whole" doc:"The chain was checked and is whole"`
	Fault string            `json:"fault,omitempty" doc:"What is wrong with the chain"`
}

func (s *Server) userDoors() {
	const tag = "users"
	add(s, door{id: "list-users", method: http.MethodGet, path: "/users", tag: tag, summary: "Accounts", roles: admins},
		func(ctx context.Context, _ reader, _ *none) (list[UserView], error) {
			all, err := s.opts.Users.Users(ctx)
			views := make([]UserView, len(all))
			for n, u := range all {
				views[n].User = u
			}
			return listOf(views), err
		})
	add(s, door{id: "add-user", method: http.MethodPost, path: "/users", tag: tag, summary: "Make an account, with a telephone when one is named", roles: admins},
		func(ctx context.Context, u reader, in *newUserInput) (UserView, error) { return s.addUser(ctx, u, in) })
	add(s, door{id: "change-user", method: http.MethodPatch, path: "/users/{id}", tag: tag, summary: "Change an account; another role, password or disabling ends its sessions", roles: admins},
		func(ctx context.Context, u reader, in *changeUserInput) (UserView, error) {
			return s.changeUser(ctx, u, in)
		})
	add(s, door{id: "list-audit", method: http.MethodGet, path: "/audit", tag: tag, summary: "The audit log, latest first", roles: admins},
		func(ctx context.Context, _ reader, in *struct {
			Below int64 `query:"below" minimum:"0" doc:"Lines below this position"`
			Limit int   `query:"limit" minimum:"0" maximum:"1000" doc:"100 by default"`
			Check bool  `query:"check" doc:"Prove the chain of the whole log"`
		}) (AuditPage, error) {
			items, err := s.opts.Users.AuditLog(ctx, in.Below, within(in.Limit, 100, 1000))
			p := AuditPage{Items: items}
			if err == nil && in.Check {
				lines, fault := s.opts.Users.CheckAudit(ctx)
				p.Lines, p.Whole = lines, fault == nil
				if fault != nil {
					p.Fault = fault.Error()
				}
			}
			return p, err
		})
}

func (s *Server) addUser(ctx context.Context, by reader, in *newUserInput) (UserView, error) {
	b := in.Body
	v := UserView{User: care.User{Name: strings.ToLower(trimmed(b.Name)), DisplayName: trimmed(b.DisplayName), Role: b.Role, ResponderID: b.ResponderID, ProviderID: b.ProviderID, Skills: b.Skills}}
	if b.Phone != "" {
		if err := CheckPhone(b.Phone); err != nil {
			return UserView{}, err
		}
	}
	password := b.Password
	if password == "" {
		password = NewSecret(16)
		v.Password = password
	}
	phc, err := HashPassword(password)
	if err != nil {
		return UserView{}, err
	}
	v.User.Password = phc
	if s.opts.Registry != nil {
		if err := v.User.CheckStanding(ctx, s.opts.Registry); err != nil {
			return UserView{}, err
		}
	}
	var phone *care.Telephone
	if b.Phone != "" {
		v.Secret = NewSecret(20)
		phone = ptr(NewTelephone(b.Phone, s.opts.Realm, v.Secret))
	}
	if v.User, err = s.opts.Users.AddUser(ctx, v.User, phone, by.actor()); err != nil {
		return UserView{}, err
	}
	s.userSaved(v.User)
	return v, nil
}

func (s *Server) changeUser(ctx context.Context, by reader, in *changeUserInput) (UserView, error) {
	u, err := s.opts.Users.User(ctx, in.ID)
	if err != nil {
		return UserView{}, err
	}
	old, b := u, in.Body
	set(&u.DisplayName, b.DisplayName)
	set(&u.Role, b.Role)
	set(&u.Skills, b.Skills)
	set(&u.Disabled, b.Disabled)
	set(&u.Lang, b.Lang)
	u.Version, u.Password = b.Version, ""
	if u.ID == by.ID && (u.Disabled || u.Role != old.Role) {
		return UserView{}, care.Refuse(care.ErrForbidden, "nobody takes his own rights: another administrator must")
	}
	if b.Password != nil {
		if u.Password, err = HashPassword(*b.Password); err != nil {
			return UserView{}, err
		}
	}
	if u, err = s.opts.Users.SaveUser(ctx, u, by.actor()); err != nil {
		return UserView{}, err
	}
	if u.Role != old.Role || u.Disabled != old.Disabled || b.Password != nil {
		s.hub.rightsChanged(u.ID)
	}
	s.userSaved(u)
	return UserView{User: u}, nil
}

func set[T any](to *T, from *T) {
	if from != nil {
		*to = *from
	}
}

func (s *Server) userSaved(u care.User) {
	s.names.forget()
	if s.opts.OnUser != nil {
		u.Password = ""
		s.opts.OnUser(u)
	}
}
