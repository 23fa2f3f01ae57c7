package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"anling/bus"
	"anling/care"
	"anling/dispatch/assign"
	"anling/geo"
)

// partners carries out what provider apps ask over NATS. The server has checked
// which provider speaks; here each command is held to what is that provider's own.
type partners struct {
	engine     *assign.Engine
	responders interface {
		Responder(ctx context.Context, id care.ResponderID) (care.Responder, error)
	}
	duty func(ctx context.Context, id care.ResponderID, duty, actor string) error
	move func(ctx context.Context, id care.ResponderID, fix care.Fix) error
	now  func() time.Time
}

// partnerCommand is the body of every command; a kind reads the fields it needs.
type partnerCommand struct {
	OfferID      care.OfferID      `json:"offer_id"`
	AssignmentID care.AssignmentID `json:"assignment_id"`
	ResponderID  care.ResponderID  `json:"responder_id"`
	Epoch        int64             `json:"epoch"`
	DeviceID     string            `json:"device_id"`
	DeviceSeq    int64             `json:"device_seq"`
	Reason       string            `json:"reason"`
	Status       assign.Status     `json:"status"`
	Outcome      string            `json:"outcome"`
	Duty         string            `json:"duty"`
	Lat          float64           `json:"lat"`
	Lng          float64           `json:"lng"`
	AccuracyM    float64           `json:"accuracy_m"`
	Datum        geo.Datum         `json:"datum"`
	At           time.Time         `json:"at"`
}

// Do implements bus.Commands.
func (p *partners) Do(ctx context.Context, c bus.Command) (any, error) {
	var in partnerCommand
	d := json.NewDecoder(bytes.NewReader(c.Body))
	d.DisallowUnknownFields()
	if err := d.Decode(&in); err != nil {
		return nil, care.Invalid("body", "%s: %s", c.Kind, err.Error())
	}
	actor := "provider:" + c.Provider
	switch c.Kind {
	case "offer.seen", "offer.accept", "offer.decline":
		return p.answer(ctx, c, in, actor)
	case "assignment.advance", "assignment.give_up":
		return p.advance(ctx, c, in, actor)
	case "responder.position":
		return p.position(ctx, c, in)
	case "responder.duty":
		if err := p.owns(ctx, c, in.ResponderID); err != nil {
			return nil, err
		}
		return map[string]string{"duty": in.Duty}, p.duty(ctx, in.ResponderID, in.Duty, actor)
	}
	return nil, care.Invalid("subject", "%q is not a command; offer.seen, offer.accept, offer.decline, assignment.advance, assignment.give_up, responder.position and responder.duty are", c.Kind)
}

func (p *partners) answer(ctx context.Context, c bus.Command, in partnerCommand, actor string) (any, error) {
	o, err := p.engine.Offer(ctx, in.OfferID)
	if err != nil {
		return nil, err
	}
	if string(o.ProviderID) != c.Provider {
		return nil, care.NotFound("offer", string(in.OfferID))
	}
	a := assign.Answer{OfferID: in.OfferID, ResponderID: o.ResponderID, Epoch: in.Epoch, DeviceID: in.DeviceID, DeviceSeq: in.DeviceSeq, Reason: in.Reason, Actor: actor}
	switch c.Kind {
	case "offer.accept":
		return p.engine.Accept(ctx, a)
	case "offer.decline":
		return p.engine.Decline(ctx, a)
	}
	return p.engine.SeenBy(ctx, a)
}

func (p *partners) advance(ctx context.Context, c bus.Command, in partnerCommand, actor string) (any, error) {
	a, err := p.engine.Assignment(ctx, in.AssignmentID)
	if err != nil {
		return nil, err
	}
	if string(a.ProviderID) != c.Provider || a.ResponderID == "" {
		return nil, care.NotFound("assignment", string(in.AssignmentID))
	}
	if c.Kind == "assignment.give_up" {
		a, err = p.engine.GiveUp(ctx, a.ID, a.ResponderID, in.Reason, actor)
	} else {
		a, err = p.engine.Advance(ctx, a.ID, a.ResponderID, in.Status, in.Outcome, actor)
	}
	if err != nil {
		return nil, err
	}
	return map[string]any{"assignment_id": a.ID, "status": a.Status, "epoch": a.Epoch}, nil
}

func (p *partners) position(ctx context.Context, c bus.Command, in partnerCommand) (any, error) {
	if err := p.owns(ctx, c, in.ResponderID); err != nil {
		return nil, err
	}
	if in.Lat < -90 || in.Lat > 90 || in.Lng < -180 || in.Lng > 180 || (in.Lat == 0 && in.Lng == 0) {
		return nil, care.Invalid("lat", "%g, %g is no position", in.Lat, in.Lng)
	}
	point, err := geo.ToWGS84(geo.Point{Lat: in.Lat, Lng: in.Lng}, in.Datum)
	if err != nil {
		return nil, care.Invalid("datum", "%s", err.Error())
	}
	at := in.At
	if now := p.now(); at.IsZero() || at.After(now) {
		at = now
	}
	fix := care.Fix{Point: point, Source: care.FixApp, AccuracyM: in.AccuracyM, At: at, Datum: string(in.Datum)}
	if err := p.move(ctx, in.ResponderID, fix); err != nil {
		return nil, err
	}
	return map[string]any{"at": at}, nil
}

// owns refuses a responder of another provider as if there were none.
func (p *partners) owns(ctx context.Context, c bus.Command, id care.ResponderID) error {
	r, err := p.responders.Responder(ctx, id)
	if err != nil && !errors.Is(err, care.ErrNotFound) {
		return fmt.Errorf("responder of provider %s: %w", c.Provider, err)
	}
	if err != nil || string(r.ProviderID) != c.Provider {
		return care.NotFound("responder", string(id))
	}
	return nil
}
