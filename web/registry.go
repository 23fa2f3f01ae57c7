package web

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"anling/care"
	"anling/dispatch/assign"
)

// DeviceBrief is a device beside an incident.
type DeviceBrief struct {
	ID               care.DeviceID `json:"id"`
	Kind             string        `json:"kind"`
	Protocol         string        `json:"protocol"`
	Model            string        `json:"model,omitempty"`
	ExternalIDMasked string        `json:"external_id_masked,omitempty"`
}

// Device is a device of the registry as the reader may see it.
type Device struct {
	DeviceBrief
	ExternalID   string       `json:"external_id,omitempty" doc:"For operators and administrators"`
	SIMMasked    string       `json:"sim_masked,omitempty"`
	ElderID      care.ElderID `json:"elder_id,omitempty"`
	ElderName    string       `json:"elder_name,omitempty"`
	State        string       `json:"state,omitempty"`
	Class        string       `json:"class,omitempty"`
	Battery      *int         `json:"battery,omitempty" doc:"Percent"`
	LastSeen     time.Time    `json:"last_seen,omitzero"`
	LastFix      *care.Fix    `json:"last_fix,omitempty"`
	OfflineSince time.Time    `json:"offline_since,omitzero"`
	Version      int64        `json:"version"`
}

// elderView is an elder by sight, or nil when there is none.
func (s *Server) elderView(ctx context.Context, id care.ElderID, sight care.Sight) *care.ElderView {
	if id == "" || s.opts.Registry == nil {
		return nil
	}
	e, err := s.opts.Registry.Elder(ctx, id)
	if err != nil {
		return nil // the incident is shown without its card, not withheld
	}
	v := e.View(sight, s.now())
	return &v
}

func (s *Server) deviceBrief(ctx context.Context, id care.DeviceID) *DeviceBrief {
	if id == "" || s.opts.Registry == nil {
		return nil
	}
	d, err := s.opts.Registry.Device(ctx, id)
	if err != nil {
		return nil
	}
	b := brief(d)
	return &b
}

func brief(d care.Device) DeviceBrief {
	return DeviceBrief{ID: d.ID, Kind: d.Kind, Protocol: d.Protocol, Model: d.Model, ExternalIDMasked: care.MaskExternal(d.ExternalID)}
}

func (s *Server) deviceView(ctx context.Context, u reader, d care.Device) Device {
	v := Device{DeviceBrief: brief(d), SIMMasked: care.MaskPhone(d.SIMNumber), ElderID: d.ElderID, State: d.State, Class: d.Class, Battery: d.Battery,
		LastSeen: d.LastSeen, OfflineSince: d.OfflineSince, Version: d.Version}
	if u.Role == care.RoleOperator || u.Role == care.RoleAdmin {
		v.ExternalID = d.ExternalID
	}
	if e := s.elderView(ctx, d.ElderID, u.sight()); e != nil {
		v.ElderName = e.Name
	}
	if d.LastFix != nil {
		f := *d.LastFix
		if u.masked() {
			f = coarse(f)
		}
		v.LastFix = &f
	}
	return v
}

// ElderFile is an elder with the latest incidents.
type ElderFile struct {
	care.ElderView
	Incidents []Incident `json:"incidents" doc:"The latest, newest first"`
}

// errNoRegistry is the answer while no registry is joined.
var errNoRegistry = refuse("unavailable", "the registry is not available")

// OfElder names an elder in the path.
type OfElder struct {
	ID care.ElderID `path:"id" maxLength:"64"`
}

func (s *Server) registryDoors() {
	const tag = "registry"
	add(s, door{id: "search-elders", method: http.MethodGet, path: "/elders", tag: tag, summary: "Find elders by telephone, last digits, name, pinyin, initials or device", roles: deskReads},
		func(ctx context.Context, u reader, in *struct {
			Q     string `query:"q" maxLength:"64" required:"true"`
			Limit int    `query:"limit" minimum:"0" maximum:"100" doc:"20 by default"`
		}) (list[care.ElderHit], error) {
			if s.opts.Registry == nil {
				return list[care.ElderHit]{}, errNoRegistry
			}
			hits, err := s.opts.Registry.Search(ctx, in.Q, within(in.Limit, 20, 100))
			for n := range hits {
				hits[n] = hits[n].Masked(u.sight())
			}
			return listOf(hits), err
		})
	add(s, door{id: "get-elder", method: http.MethodGet, path: "/elders/{id}", tag: tag, summary: "One elder, as far as the reader may see", roles: deskReads},
		func(ctx context.Context, u reader, in *OfElder) (ElderFile, error) { return s.elderFile(ctx, u, in.ID) })
	add(s, door{id: "reveal", method: http.MethodPost, path: "/elders/{id}/reveal", tag: tag, summary: "One hidden value in full, with a purpose; written to the audit log first", roles: deskReads},
		func(ctx context.Context, u reader, in *revealInput) (Revealed, error) { return s.reveal(ctx, u, in) })
	add(s, door{id: "list-devices", method: http.MethodGet, path: "/devices", tag: tag, summary: "Devices, by part of their identity or by elder", roles: overview},
		func(ctx context.Context, u reader, in *struct {
			Q       string       `query:"q" maxLength:"64" doc:"First or last characters of the identity"`
			ElderID care.ElderID `query:"elder_id" maxLength:"64"`
			Limit   int          `query:"limit" minimum:"0" maximum:"1000" doc:"100 by default"`
		}) (list[Device], error) {
			if s.opts.Registry == nil {
				return list[Device]{}, errNoRegistry
			}
			all, err := s.opts.Registry.Devices(ctx, care.DeviceFilter{Query: in.Q, ElderID: in.ElderID, Limit: within(in.Limit, 100, 1000)})
			views := make([]Device, len(all))
			for n, d := range all {
				views[n] = s.deviceView(ctx, u, d)
			}
			return listOf(views), err
		})
	add(s, door{id: "get-device", method: http.MethodGet, path: "/devices/{id}", tag: tag, summary: "One device", roles: overview},
		func(ctx context.Context, u reader, in *struct {
			ID care.DeviceID `path:"id" maxLength:"64"`
		}) (Device, error) {
			if s.opts.Registry == nil {
				return Device{}, errNoRegistry
			}
			d, err := s.opts.Registry.Device(ctx, in.ID)
			if err != nil {
				return Device{}, err
			}
			return s.deviceView(ctx, u, d), nil
		})
	s.providerDoors(tag)
}

func (s *Server) elderFile(ctx context.Context, u reader, id care.ElderID) (ElderFile, error) {
	if s.opts.Registry == nil {
		return ElderFile{}, errNoRegistry
	}
	e, err := s.opts.Registry.Elder(ctx, id)
	if err != nil {
		return ElderFile{}, err
	}
	latest, err := s.opts.Incidents.IncidentsOfElder(ctx, id, 10)
	if err != nil {
		return ElderFile{}, err
	}
	f := ElderFile{ElderView: e.View(u.sight(), s.now()), Incidents: make([]Incident, len(latest))}
	for n, i := range latest {
		f.Incidents[n] = s.incidentView(ctx, u, i)
		f.Incidents[n].Elder = nil // it is this one
	}
	return f, nil
}

type revealInput struct {
	OfElder
	Body struct {
		Field     string         `json:"field" enum:"phone,id_number,address,key_safe,door_code,duress_word"`
		ContactID care.ContactID `json:"contact_id,omitempty" maxLength:"64" doc:"Whose telephone, when it is a contact's"`
		Purpose   string         `json:"purpose" minLength:"2" maxLength:"200" doc:"Why; kept in the audit log"`
	}
}

// Revealed is a hidden value in full.
type Revealed struct {
	Value  string   `json:"value" doc:"The first of values"`
	Values []string `json:"values"`
}

// reveal gives nothing unless the audit log has taken its line.
func (s *Server) reveal(ctx context.Context, u reader, in *revealInput) (Revealed, error) {
	if s.opts.Registry == nil {
		return Revealed{}, errNoRegistry
	}
	if trimmed(in.Body.Purpose) == "" {
		return Revealed{}, care.Invalid("purpose", "is empty; every reveal needs one")
	}
	e, err := s.opts.Registry.Elder(ctx, in.ID)
	if err != nil {
		return Revealed{}, err
	}
	values, err := e.Reveal(in.Body.Field, in.Body.ContactID)
	if err != nil {
		return Revealed{}, err
	}
	detail := in.Body.Field + ": " + trimmed(in.Body.Purpose)
	if in.Body.ContactID != "" {
		detail = in.Body.Field + " of contact " + string(in.Body.ContactID) + ": " + trimmed(in.Body.Purpose)
	}
	if err := s.mustAudit(ctx, u, "elder.reveal", "elder:"+string(in.ID), detail); err != nil {
		return Revealed{}, err
	}
	return Revealed{Value: values[0], Values: values}, nil
}

// ProviderView is a provider in a list.
type ProviderView struct {
	ID             care.ProviderID `json:"id"`
	Name           string          `json:"name"`
	Class          string          `json:"class,omitempty"`
	State          string          `json:"state,omitempty"`
	Areas          []care.AreaCode `json:"areas,omitempty"`
	SuspendedUntil time.Time       `json:"suspended_until,omitzero"`
}

// Token is the credential of a provider's app.
type Token struct {
	Token   string    `json:"token" doc:"Password of the NATS connection; it is shown once"`
	User    string    `json:"user"`
	Expires time.Time `json:"expires"`
	Publish string    `json:"publish" doc:"Subjects that the app may publish"`
	Listen  string    `json:"listen" doc:"Subjects that the app may subscribe"`
}

func (s *Server) providerDoors(tag string) {
	add(s, door{id: "list-providers", method: http.MethodGet, path: "/providers", tag: tag, summary: "Providers; a provider sees itself", roles: append(slices.Clone(overview), care.RoleProvider)},
		func(ctx context.Context, u reader, _ *none) (list[ProviderView], error) {
			if s.opts.Registry == nil {
				return list[ProviderView]{}, errNoRegistry
			}
			all, err := s.opts.Registry.Providers(ctx)
			views := []ProviderView{}
			for _, p := range all {
				if u.Role != care.RoleProvider || p.ID == u.ProviderID {
					views = append(views, ProviderView{ID: p.ID, Name: p.Name, Class: p.Class, State: p.State, Areas: p.Areas, SuspendedUntil: p.SuspendedUntil})
				}
			}
			return listOf(views), err
		})
	add(s, door{id: "make-provider-token", method: http.MethodPost, path: "/providers/{id}/token", tag: tag, summary: "A NATS token for the provider's app", roles: admins},
		func(ctx context.Context, u reader, in *struct {
			ID   care.ProviderID `path:"id" maxLength:"64"`
			Body struct {
				User  string `json:"user,omitempty" pattern:"^[a-z0-9-]{1,64}$" doc:"Name of the app; app by default"`
				Hours int    `json:"hours,omitempty" minimum:"0" maximum:"8760" doc:"Until it ends; 24 by default"`
			} `required:"false"`
		}) (Token, error) {
			return s.providerToken(ctx, u, in.ID, in.Body.User, in.Body.Hours)
		})
}

func (s *Server) providerToken(ctx context.Context, u reader, id care.ProviderID, user string, hours int) (Token, error) {
	if s.opts.Registry == nil || s.opts.Signer == nil {
		return Token{}, refuse("unavailable", "no tokens are made here")
	}
	if _, err := s.opts.Registry.Provider(ctx, id); err != nil {
		return Token{}, err
	}
	if user == "" {
		user = "app"
	}
	if hours == 0 {
		hours = 24
	}
	until := s.now().Add(time.Duration(hours) * time.Hour).UTC().Truncate(time.Second)
	token, err := s.opts.Signer.SignProvider(id, user, until)
	if err != nil {
		return Token{}, err
	}
	if err := s.mustAudit(ctx, u, "provider.token", "provider:"+string(id), user+" until "+until.Format(time.RFC3339)); err != nil {
		return Token{}, err
	}
	prefix := "anling.prov." + strings.ToLower(string(id))
	return Token{Token: token, User: user, Expires: until, Publish: prefix + ".up.>", Listen: prefix + ".down.>"}, nil
}

// Person is a responder in a list.
type Person struct {
	ID           care.ResponderID  `json:"id"`
	Name         string            `json:"name"`
	Kind         string            `json:"kind,omitempty"`
	ProviderID   care.ProviderID   `json:"provider_id,omitempty"`
	Skills       []string          `json:"skills"`
	Duty         string            `json:"duty" enum:"on,off,paused"`
	Slot         assign.Slot       `json:"slot" doc:"free, held, busy, off"`
	Fix          *care.Fix         `json:"fix,omitempty"`
	AssignmentID care.AssignmentID `json:"assignment_id,omitempty"`
	PhoneMasked  string            `json:"phone_masked,omitempty"`
	Online       bool              `json:"online" doc:"The responder's page is open"`
}

// staffOf lists the responders of a provider.
func (s *Server) staffOf(ctx context.Context, id care.ProviderID) ([]care.ResponderID, error) {
	if s.opts.Registry == nil {
		return nil, errNoRegistry
	}
	all, err := s.opts.Registry.Responders(ctx)
	if err != nil {
		return nil, err
	}
	var staff []care.ResponderID
	for _, r := range all {
		if r.ProviderID == id {
			staff = append(staff, r.ID)
		}
	}
	return staff, nil
}

// responderViews lists responders with where they are and what they do.
func (s *Server) responderViews(ctx context.Context, u reader) ([]Person, error) {
	if s.opts.Registry == nil {
		return nil, errNoRegistry
	}
	all, err := s.opts.Registry.Responders(ctx)
	if err != nil {
		return nil, err
	}
	now := map[care.ResponderID]assign.Snapshot{}
	for _, x := range s.opts.Engine.Snapshot() {
		now[x.ID] = x
	}
	views := []Person{}
	for _, r := range all {
		if u.Role == care.RoleProvider && r.ProviderID != u.ProviderID {
			continue
		}
		p := person(u, r, now[r.ID])
		p.Online = s.online("responder", string(r.ID))
		views = append(views, p)
	}
	return views, nil
}

func person(u reader, r care.Responder, x assign.Snapshot) Person {
	p := Person{ID: r.ID, Name: r.Name, Kind: r.Kind, ProviderID: r.ProviderID, Skills: r.Skills, Duty: r.Duty, Slot: x.Slot, AssignmentID: x.Assignment}
	if p.Skills == nil {
		p.Skills = []string{}
	}
	if p.Slot == "" {
		p.Slot = assign.Off
	}
	if len(r.Phones) > 0 {
		p.PhoneMasked = care.MaskPhone(r.Phones[0])
	}
	if !x.Fix.Point.IsZero() && r.Duty != "off" {
		f := x.Fix
		if u.masked() {
			f = coarse(f)
		}
		p.Fix = &f
	}
	return p
}

// ownResponder refuses a responder that is not the reader's own or his provider's.
func (s *Server) ownResponder(ctx context.Context, u reader, id care.ResponderID) error {
	switch u.Role {
	case care.RoleResponder:
		if id != u.ResponderID {
			return care.Refuse(care.ErrForbidden, "this is another responder")
		}
	case care.RoleProvider:
		r, err := s.opts.Registry.Responder(ctx, id)
		if err != nil {
			return err
		}
		if r.ProviderID != u.ProviderID {
			return care.NotFound("responder", string(id))
		}
	}
	return nil
}

func (s *Server) responderDoors() {
	const tag = "responders"
	add(s, door{id: "list-responders", method: http.MethodGet, path: "/responders", tag: tag, summary: "Responders with duty, slot and position", roles: append(slices.Clone(overview), care.RoleProvider)},
		func(ctx context.Context, u reader, _ *none) (list[Person], error) {
			views, err := s.responderViews(ctx, u)
			return listOf(views), err
		})
	add(s, door{id: "set-duty", method: http.MethodPost, path: "/responders/{id}/duty", tag: tag, summary: "Go on duty, pause, or go off", roles: []care.Role{care.RoleResponder, care.RoleProvider, care.RoleOperator}},
		func(ctx context.Context, u reader, in *struct {
			ID   care.ResponderID `path:"id" maxLength:"64"`
			Body struct {
				Duty string `json:"duty" enum:"on,off,paused"`
			}
		}) (Person, error) {
			return s.setDuty(ctx, u, in.ID, in.Body.Duty)
		})
	add(s, door{id: "send-position", method: http.MethodPost, path: "/positions", tag: tag, summary: "Where the responder is; kept only while on duty", roles: []care.Role{care.RoleResponder}},
		func(ctx context.Context, u reader, in *positionInput) (Taken, error) { return s.position(ctx, u, in) })
}

func (s *Server) setDuty(ctx context.Context, u reader, id care.ResponderID, duty string) (Person, error) {
	if s.opts.Registry == nil {
		return Person{}, errNoRegistry
	}
	if err := s.ownResponder(ctx, u, id); err != nil {
		return Person{}, err
	}
	if err := s.opts.Registry.SetDuty(ctx, id, duty, u.actor()); err != nil {
		return Person{}, err
	}
	r, err := s.opts.Registry.Responder(ctx, id)
	if err != nil {
		return Person{}, err
	}
	return person(u, r, s.snapshotOf(id)), nil
}

func (s *Server) snapshotOf(id care.ResponderID) assign.Snapshot {
	all := s.opts.Engine.Snapshot()
	n, found := slices.BinarySearchFunc(all, id, func(x assign.Snapshot, id care.ResponderID) int { return strings.Compare(string(x.ID), string(id)) })
	if !found {
		return assign.Snapshot{ID: id, Slot: assign.Off}
	}
	return all[n]
}

type positionInput struct {
	Body struct {
		Place
		AccuracyM float64   `json:"accuracy_m,omitempty" minimum:"0" maximum:"100000"`
		At        time.Time `json:"at,omitzero" doc:"When it was taken; now by default"`
	}
}

// Taken tells what became of a position.
type Taken struct {
	Stored bool `json:"stored" doc:"False when a newer one is known, or the responder is off duty"`
}

const (
	positionAhead = time.Minute      // a telephone's clock may be wrong by so much
	positionOld   = 15 * time.Minute // older ones say nothing
)

func (s *Server) position(ctx context.Context, u reader, in *positionInput) (Taken, error) {
	now, b := s.now(), in.Body
	at := b.At
	switch {
	case at.IsZero() || at.After(now) && at.Before(now.Add(positionAhead)):
		at = now
	case at.After(now):
		return Taken{}, care.Invalid("at", "is in the future by the server's clock")
	case now.Sub(at) > positionOld:
		return Taken{}, care.Invalid("at", "is over %d minutes old", int(positionOld.Minutes()))
	}
	f := b.fix(care.FixApp, at)
	if f.Point.IsZero() {
		return Taken{}, care.Invalid("lat", "0, 0 is no fix")
	}
	f.AccuracyM = b.AccuracyM
	if x := s.snapshotOf(u.ResponderID); x.Duty == "off" && x.Assignment == "" {
		return Taken{}, nil
	}
	moved := s.opts.Engine.Move(u.ResponderID, f)
	if moved && s.opts.Positions != nil {
		s.opts.Positions(ctx, u.ResponderID, f)
	}
	return Taken{Stored: moved}, nil
}
