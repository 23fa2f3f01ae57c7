package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"anling/care"
	"anling/cmd/internal/simdevice"
	"anling/cmd/internal/simoperator"
	"anling/cmd/internal/simphone"
	"anling/cmd/internal/simresponder"
	"anling/dispatch/assign"
)

// The tones by which the demo proves that both sides hear each other.
const (
	operatorHz = 440
	callerHz   = 800
	playLimit  = 2 * time.Minute
	callTalk   = 3 * time.Second
	sosTalk    = 11 * time.Second // a shorter SOS call counts as cut off, and is rung back
)

// rankNear asks for the responders of an SOS at an elder's home.
func rankNear(e care.Elder) assign.Query {
	return assign.Query{Place: e.Home, ElderID: e.ID, Skills: []string{"first_aid", "cpr"}, Plan: "sos", Limit: demoResponders}
}

// play plays one SOS press and one hotline call through the doors of the running
// server, with an operator, his telephone and responders as its peers. The telephone
// stays until ctx ends.
func (a *app) play(ctx context.Context, people *cast, show *narrator) error {
	limited, cancel := context.WithTimeout(ctx, playLimit)
	defer cancel()
	base := "http://" + a.cfg.HTTP.Listen
	phone, err := simphone.New(simphone.Options{Server: a.cfg.SIP.Listen, Account: demoPhone, Password: people.password, Register: true, Tone: operatorHz,
		Answer: simphone.Answer{Ring: time.Second}})
	if err != nil {
		return err
	}
	staying := make(chan error, 1)
	go func() { staying <- phone.Run(ctx) }() // ends with ctx; its sockets are of this process
	if err := phone.WaitRegistered(limited); err != nil {
		return fmt.Errorf("the operator's telephone: %w", err)
	}
	crew, dismiss := context.WithCancel(limited)
	g, crew := errgroup.WithContext(crew)
	defer func() {
		dismiss()
		_ = g.Wait() // their errors come after the play is over
	}()
	closed := make(chan string, 16)
	operator, err := simoperator.New(simoperator.Options{Server: base, Name: "operator1", Password: people.password, Think: time.Second,
		OnStep: func(s simoperator.Step) {
			if s.What == "closed" {
				select {
				case closed <- s.IncidentID:
				default:
				}
			}
		}})
	if err != nil {
		return err
	}
	g.Go(func() error { return operator.Run(crew) })
	for i := range people.responders {
		r, err := simresponder.New(simresponder.Options{Server: base, Name: fmt.Sprintf("responder%d", i+1), Password: people.password, Seed: uint64(i),
			Start: people.responders[i].Base, Temper: simresponder.Temper{Think: 2 * time.Second, Travel: 5 * time.Second, Stay: 3 * time.Second}})
		if err != nil {
			return err
		}
		g.Go(func() error { return r.Run(crew) })
		if err := r.WaitReady(limited); err != nil {
			return err
		}
	}
	if err := operator.WaitReady(limited); err != nil {
		return err
	}
	if err := a.playPress(limited, people, phone, closed, show); err != nil {
		return fmt.Errorf("SOS press: %w", err)
	}
	// The operator does not use up the time after a call.
	if err := operator.Client().Post(limited, "/operators/me/state", map[string]string{"state": "ready"}, nil); err != nil {
		return fmt.Errorf("operator is ready: %w", err)
	}
	if err := a.playCall(limited, people, phone, show); err != nil {
		return fmt.Errorf("hotline call: %w", err)
	}
	return nil
}

// playPress presses the button, lets the device call, and waits until the incident
// is closed.
func (a *app) playPress(ctx context.Context, people *cast, phone *simphone.Phone, closed <-chan string, show *narrator) error {
	show.title("1. 一键呼叫  One press of a pendant's SOS button, low battery, over GT06")
	e, err := a.registry.Elder(ctx, people.presser.ElderID)
	if err != nil {
		return err
	}
	device := simdevice.New(simdevice.Options{Identity: simdevice.Identity{Protocol: simdevice.GT06, ID: people.presser.ExternalID}, Addr: a.cfg.SOS.GT06, Point: e.Home, Battery: 9})
	inner, off := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- device.Run(inner) }()
	defer func() {
		off()
		<-ended
	}()
	if err := device.WaitReady(ctx); err != nil {
		return err
	}
	saved := show.await("callcenter.recording.saved")
	show.start()
	entry, err := device.Press(ctx, simdevice.Press{LowBattery: true, Point: e.Home, Battery: 9})
	if err != nil {
		return err
	}
	show.note("设备收到应答 the device is acknowledged (%s after its first byte)", entry.Acked.Sub(entry.Sent).Round(100*time.Microsecond))
	if people.presser.SIMNumber != "" {
		if err := a.talk(ctx, people.presser.SIMNumber, sosTalk, phone, show); err != nil {
			return err
		}
	}
	select {
	case <-closed:
	case <-ctx.Done():
		return errors.New("the incident was not closed in time")
	}
	if people.presser.SIMNumber != "" {
		select {
		case <-saved:
		case <-ctx.Done():
			return errors.New("the recording was not saved in time")
		}
	}
	show.drain()
	return nil
}

// playCall is an elder who rings the hotline from a number of the registry.
func (a *app) playCall(ctx context.Context, people *cast, phone *simphone.Phone, show *narrator) error {
	show.title("2. 热线来电  One call to the hotline from an elder's telephone")
	show.start()
	saved := show.await("callcenter.recording.saved")
	if err := a.talk(ctx, people.caller.Phones[0], callTalk, phone, show); err != nil {
		return err
	}
	select {
	case <-saved:
		show.drain()
		return nil
	case <-ctx.Done():
		return errors.New("the recording was not saved in time")
	}
}

// talk rings the hotline from a number, waits for the operator's voice, is heard by
// him, and hangs up.
func (a *app) talk(ctx context.Context, from string, words time.Duration, phone *simphone.Phone, show *narrator) error {
	trunk, err := simphone.New(simphone.Options{Server: a.cfg.SIP.Listen, Account: from, Tone: callerHz})
	if err != nil {
		return err
	}
	inner, hangUp := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- trunk.Run(inner) }()
	defer func() {
		hangUp()
		<-ended
	}()
	call, err := trunk.Call(a.cfg.SIP.Hotline, simphone.CallOptions{From: from})
	if err != nil {
		return err
	}
	if err := call.Wait(ctx, simphone.Answered); err != nil {
		return err
	}
	if err := call.Audio().WaitTone(ctx, operatorHz); err != nil {
		return fmt.Errorf("the caller does not hear the operator: %w", err)
	}
	heard := false
	for _, c := range phone.Calls() {
		if c.State() == simphone.Answered {
			if err := c.Audio().WaitTone(ctx, callerHz); err != nil {
				return fmt.Errorf("the operator does not hear the caller: %w", err)
			}
			heard = true
		}
	}
	if !heard {
		return errors.New("the operator's telephone has no call")
	}
	show.note("双方通话 both hear each other (%d Hz and %d Hz), recorded in stereo", callerHz, operatorHz)
	pause := time.NewTimer(words)
	defer pause.Stop()
	select {
	case <-pause.C:
	case <-ctx.Done():
		return ctx.Err()
	}
	call.Hangup()
	select {
	case <-call.Done():
		return nil
	case <-ctx.Done():
		return errors.New("the call does not end")
	}
}
