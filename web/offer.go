package web

import (
	"context"
	"net/http"
	"time"

	"anling/care"
	"anling/dispatch/assign"
)

// Offer is an offer as the reader may see it. Before acceptance a responder sees kind,
// priority, distance and minutes; the place is rounded to a kilometre.
type Offer struct {
	assign.Offer
	ResponderName string          `json:"responder_name,omitempty"`
	Kinds         []care.Kind     `json:"kinds,omitempty"`
	Elder         *care.ElderView `json:"elder,omitempty"`
}

// Assignment is an assignment as the reader may see it.
type Assignment struct {
	assign.Assignment
	ResponderName string          `json:"responder_name,omitempty"`
	Kinds         []care.Kind     `json:"kinds,omitempty"`
	Elder         *care.ElderView `json:"elder,omitempty"`
}

// jobSight is how long after the end a responder still sees where he was.
const jobSight = 24 * time.Hour

// hasJob tells whether a responder may see the whole of an assignment.
func (s *Server) hasJob(u reader, a assign.Assignment) bool {
	if u.Role != care.RoleResponder || a.ResponderID != u.ResponderID {
		return false
	}
	return a.Status.Underway() || (a.Status == assign.Done && s.now().Sub(a.DoneAt) < jobSight)
}

func (s *Server) kindsOf(ctx context.Context, id care.IncidentID) []care.Kind {
	if id == "" {
		return nil
	}
	i, err := s.opts.Incidents.Record(ctx, id)
	if err != nil {
		return nil // the offer is shown all the same
	}
	return i.Kinds
}

// offerView shows an offer. Its assignment is read only for who may see more by it.
func (s *Server) offerView(ctx context.Context, u reader, o assign.Offer) Offer {
	v := Offer{Offer: o, Kinds: s.kindsOf(ctx, o.IncidentID)}
	if u.Role != care.RoleResponder {
		v.ResponderName = s.names.responder(ctx, o.ResponderID)
	}
	if u.Role == care.RoleOperator {
		return v
	}
	v.DeviceID, v.DeviceSeq = "", 0
	a, err := s.opts.Engine.Assignment(ctx, o.AssignmentID)
	if err == nil && a.OfferID == o.ID && s.hasJob(u, a) {
		v.Elder = s.elderView(ctx, a.ElderID, care.SightJob)
		return v
	}
	v.Place = coarse(o.Place)
	return v
}

// assignmentView shows an assignment; kinds may be given when they are known.
func (s *Server) assignmentView(ctx context.Context, u reader, a assign.Assignment, kinds []care.Kind) Assignment {
	v := Assignment{Assignment: a, Kinds: kinds, ResponderName: s.names.responder(ctx, a.ResponderID)}
	if v.Kinds == nil {
		v.Kinds = s.kindsOf(ctx, a.IncidentID)
	}
	switch {
	case u.Role == care.RoleOperator:
		return v
	case u.Role == care.RoleResponder:
		// Who else was looked at, and why not, is the desk's.
		v.Reasons, v.Exclude, v.Only, v.Actor = nil, nil, nil, ""
		if s.hasJob(u, a) {
			v.Elder = s.elderView(ctx, a.ElderID, care.SightJob)
			return v
		}
		v.ElderID = ""
	}
	v.Place = coarse(a.Place)
	return v
}

func (s *Server) assigned(ctx context.Context, u reader, a assign.Assignment, err error) (Assignment, error) {
	if err != nil {
		return Assignment{}, err
	}
	return s.assignmentView(ctx, u, a, nil), nil
}

// offersOf lists the offers of a responder that wait or are of the last day, newest
// first.
func (s *Server) offersOf(ctx context.Context, u reader, id care.ResponderID) ([]Offer, error) {
	all, err := s.opts.Engine.OffersOf(ctx, id)
	if err != nil {
		return nil, err
	}
	views, now := []Offer{}, s.now()
	for _, o := range all {
		if o.Status.Waiting() || now.Sub(o.SentAt) < jobSight {
			views = append(views, s.offerView(ctx, u, o))
		}
	}
	return views, nil
}

// listOffers lists offers by who asks: a responder his own, a provider those of its
// responders, the desk those of an incident.
func (s *Server) listOffers(ctx context.Context, u reader, incident care.IncidentID) ([]Offer, error) {
	switch u.Role {
	case care.RoleResponder:
		return s.offersOf(ctx, u, u.ResponderID)
	case care.RoleProvider:
		staff, err := s.staffOf(ctx, u.ProviderID)
		if err != nil {
			return nil, err
		}
		views := []Offer{}
		for _, id := range staff {
			some, err := s.offersOf(ctx, u, id)
			if err != nil {
				return nil, err
			}
			views = append(views, some...)
		}
		return views, nil
	}
	if incident == "" {
		return nil, care.Invalid("incident_id", "is empty; offers are listed by incident")
	}
	assignments, err := s.opts.Engine.Assignments(ctx, "incident", string(incident))
	if err != nil {
		return nil, err
	}
	views := []Offer{}
	for _, a := range assignments {
		offers, err := s.opts.Engine.Offers(ctx, a.ID)
		if err != nil {
			return nil, err
		}
		for _, o := range offers {
			views = append(views, s.offerView(ctx, u, o))
		}
	}
	return views, nil
}

// listAssignments lists those of an incident, or a responder's own of the last day.
func (s *Server) listAssignments(ctx context.Context, u reader, incident care.IncidentID) ([]Assignment, error) {
	views := []Assignment{}
	if u.Role != care.RoleResponder {
		if incident == "" {
			return nil, care.Invalid("incident_id", "is empty; assignments are listed by incident")
		}
		all, err := s.opts.Engine.Assignments(ctx, "incident", string(incident))
		if err != nil {
			return nil, err
		}
		for _, a := range all {
			views = append(views, s.assignmentView(ctx, u, a, nil))
		}
		return views, nil
	}
	offers, err := s.opts.Engine.OffersOf(ctx, u.ResponderID)
	if err != nil {
		return nil, err
	}
	for _, o := range offers {
		if o.Status != assign.OfferAccepted || (incident != "" && o.IncidentID != incident) {
			continue
		}
		a, err := s.opts.Engine.Assignment(ctx, o.AssignmentID)
		if err != nil {
			return nil, err
		}
		if a.OfferID == o.ID && s.hasJob(u, a) {
			views = append(views, s.assignmentView(ctx, u, a, nil))
		}
	}
	return views, nil
}

// answerInput is what a responder's device sends; an operator sends it for a responder
// who is on the telephone.
type answerInput struct {
	ID   care.OfferID `path:"id" maxLength:"64"`
	Key  string       `header:"Idempotency-Key" maxLength:"128"`
	Body struct {
		Epoch     int64  `json:"epoch,omitempty" minimum:"0" doc:"Of the offer; an older one changes nothing"`
		DeviceID  string `json:"device_id,omitempty" maxLength:"128" doc:"Of the telephone; with device_seq it makes a repeat safe. The Idempotency-Key stands in for it"`
		DeviceSeq int64  `json:"device_seq,omitempty" minimum:"0"`
		Reason    string `json:"reason,omitempty" maxLength:"200" doc:"Of a refusal"`
	}
}

func (in *answerInput) answer(u reader) assign.Answer {
	a := assign.Answer{OfferID: in.ID, Epoch: in.Body.Epoch, DeviceID: in.Body.DeviceID, DeviceSeq: in.Body.DeviceSeq, Reason: trimmed(in.Body.Reason), Actor: u.actor()}
	if u.Role == care.RoleResponder {
		a.ResponderID = u.ResponderID
	}
	if a.DeviceID == "" && in.Key != "" {
		a.DeviceID = "key:" + commandKey(u, in.Key)
	}
	return a
}

// OfAssignment names an assignment in the path.
type OfAssignment struct {
	ID care.AssignmentID `path:"id" maxLength:"64"`
}

type ofIncidentInput struct {
	IncidentID care.IncidentID `query:"incident_id" maxLength:"64" doc:"For the desk"`
	Mine       bool            `query:"mine" doc:"A responder always gets his own"`
}

func (s *Server) offerDoors() {
	const tag = "offers"
	add(s, door{id: "list-offers", method: http.MethodGet, path: "/offers", tag: tag, summary: "Offers of an incident, or one's own",
		roles: []care.Role{care.RoleOperator, care.RoleSupervisor, care.RoleResponder, care.RoleProvider}},
		func(ctx context.Context, u reader, in *struct {
			IncidentID care.IncidentID `query:"incident_id" maxLength:"64" doc:"For the desk"`
		}) (list[Offer], error) {
			views, err := s.listOffers(ctx, u, in.IncidentID)
			return listOf(views), err
		})
	add(s, door{id: "make-offers", method: http.MethodPost, path: "/offers", tag: tag, summary: "Offer an incident to the named responders, in this order", roles: desk},
		func(ctx context.Context, u reader, in *struct {
			Key  string `header:"Idempotency-Key" maxLength:"128"`
			Body struct {
				IncidentID   care.IncidentID    `json:"incident_id" minLength:"1" maxLength:"64"`
				Claim        int64              `json:"claim,omitempty"`
				ResponderIDs []care.ResponderID `json:"responder_ids" minItems:"1" maxItems:"20"`
			}
		}) (list[Offer], error) {
			_, err := s.opts.Incidents.Dispatch(ctx, in.Body.IncidentID, u.ID, in.Body.Claim, commandKey(u, in.Key), in.Body.ResponderIDs)
			if err != nil {
				return list[Offer]{}, err
			}
			views, err := s.listOffers(ctx, u, in.Body.IncidentID)
			return listOf(views), err
		})
	for _, x := range []struct {
		verb, summary string
		do            func(context.Context, assign.Answer) (assign.Result, error)
	}{
		{"seen", "The responder looks at it", s.opts.Engine.SeenBy},
		{"accept", "Take it; the first acceptance wins, a repeat gets the first answer", s.opts.Engine.Accept},
		{"decline", "Refuse it with a reason; the next is asked at once", s.opts.Engine.Decline},
	} {
		add(s, door{id: x.verb + "-offer", method: http.MethodPost, path: "/offers/{id}/" + x.verb, tag: tag, summary: x.summary, roles: field},
			func(ctx context.Context, u reader, in *answerInput) (assign.Result, error) {
				return x.do(ctx, in.answer(u))
			})
	}
	s.assignmentDoors()
}

func (s *Server) assignmentDoors() {
	const tag = "assignments"
	readers := []care.Role{care.RoleOperator, care.RoleSupervisor, care.RoleResponder}
	add(s, door{id: "list-assignments", method: http.MethodGet, path: "/assignments", tag: tag, summary: "Assignments of an incident, or one's own of the last day", roles: readers},
		func(ctx context.Context, u reader, in *ofIncidentInput) (list[Assignment], error) {
			views, err := s.listAssignments(ctx, u, in.IncidentID)
			return listOf(views), err
		})
	add(s, door{id: "get-assignment", method: http.MethodGet, path: "/assignments/{id}", tag: tag, summary: "One assignment; for its responder with where to go and what to know", roles: readers},
		func(ctx context.Context, u reader, in *OfAssignment) (Assignment, error) {
			a, err := s.opts.Engine.Assignment(ctx, in.ID)
			if err == nil && u.Role == care.RoleResponder && !s.hasJob(u, a) {
				err = care.NotFound("assignment", string(in.ID))
			}
			return s.assigned(ctx, u, a, err)
		})
	add(s, door{id: "advance-assignment", method: http.MethodPost, path: "/assignments/{id}/advance", tag: tag, summary: "Move it on: en_route, on_scene, transport, done; a repeat is safe", roles: field},
		func(ctx context.Context, u reader, in *struct {
			OfAssignment
			Body struct {
				Status  assign.Status `json:"status" enum:"en_route,on_scene,transport,done"`
				Outcome string        `json:"outcome,omitempty" maxLength:"200"`
			}
		}) (Assignment, error) {
			a, err := s.opts.Engine.Advance(ctx, in.ID, own(u), in.Body.Status, trimmed(in.Body.Outcome), u.actor())
			return s.assigned(ctx, u, a, err)
		})
	reason := func(ctx context.Context, u reader, in *reasonInput) (Assignment, error) {
		a, err := s.opts.Engine.GiveUp(ctx, in.ID, own(u), trimmed(in.Body.Reason), u.actor())
		return s.assigned(ctx, u, a, err)
	}
	add(s, door{id: "give-up-assignment", method: http.MethodPost, path: "/assignments/{id}/give_up", tag: tag, summary: "The responder cannot do it: the search begins again without him", roles: field}, reason)
	add(s, door{id: "withdraw-assignment", method: http.MethodPost, path: "/assignments/{id}/withdraw", tag: tag, summary: "Nobody is needed any more", roles: desk},
		func(ctx context.Context, u reader, in *reasonInput) (Assignment, error) {
			a, err := s.opts.Incidents.Withdraw(ctx, in.ID, u.ID, in.Body.Reason)
			return s.assigned(ctx, u, a, err)
		})
}

type reasonInput struct {
	OfAssignment
	Body struct {
		Reason string `json:"reason" minLength:"1" maxLength:"200"`
	}
}

// own binds a responder to what is his; an operator acts for anybody.
func own(u reader) care.ResponderID {
	if u.Role == care.RoleResponder {
		return u.ResponderID
	}
	return ""
}
