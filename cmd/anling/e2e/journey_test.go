package e2e

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"anling/cmd/internal/simclient"
	"anling/cmd/internal/simdevice"
	"anling/cmd/internal/simoperator"
	"anling/cmd/internal/simphone"
	"anling/cmd/internal/simresponder"
	"anling/geo"
)

const hotline = "+8687190000000" // of the demo's settings

// crew is an operator with a telephone, and responders, who do their work.
type crew struct {
	operator *simoperator.Operator
	phone    *simphone.Phone
	closed   chan string
}

// engage lets the crew work until the test ends.
func (s *server) engage(responders int) *crew {
	s.t.Helper()
	c := &crew{closed: make(chan string, 64)}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	s.t.Cleanup(func() {
		cancel()
		running.Wait()
	})
	run := func(f func(context.Context) error) {
		running.Go(func() { _ = f(ctx) }) // what fails is seen by the test's own waits
	}
	var err error
	c.phone, err = simphone.New(simphone.Options{Server: s.sip, Account: "1001", Password: s.password, Register: true, Tone: 440})
	if err != nil {
		s.t.Fatal(err)
	}
	run(c.phone.Run)
	c.operator, err = simoperator.New(simoperator.Options{Server: "http://" + s.http, Name: "operator1", Password: s.password,
		OnStep: func(x simoperator.Step) {
			if x.What == "closed" {
				select {
				case c.closed <- x.IncidentID:
				default:
				}
			}
		}})
	if err != nil {
		s.t.Fatal(err)
	}
	run(c.operator.Run)
	for i := range responders {
		r, err := simresponder.New(simresponder.Options{Server: "http://" + s.http, Name: fmt.Sprintf("responder%d", i+1), Password: s.password, Seed: uint64(i),
			Temper: simresponder.Temper{Travel: time.Second, Stay: 300 * time.Millisecond, Step: 200 * time.Millisecond}})
		if err != nil {
			s.t.Fatal(err)
		}
		run(r.Run)
		if err := r.WaitReady(s.ctx()); err != nil {
			s.t.Fatal(err)
		}
	}
	if err := c.operator.WaitReady(s.ctx()); err != nil {
		s.t.Fatal(err)
	}
	if err := c.phone.WaitRegistered(s.ctx()); err != nil {
		s.t.Fatal(err)
	}
	return c
}

// device finds a device of the district by its protocol, with an elder.
func (s *server) device(t *testing.T, admin *simclient.Client, protocol string) simclient.Device {
	t.Helper()
	all, err := admin.Devices(s.ctx(), "")
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(all, func(d simclient.Device) bool { return d.Protocol == protocol && d.ElderID != "" && d.State == "active" })
	if i < 0 {
		t.Fatalf("the district has no %s device", protocol)
	}
	return all[i]
}

// plug keeps a device connected until the test ends.
func (s *server) plug(t *testing.T, o simdevice.Options) *simdevice.Device {
	t.Helper()
	d := simdevice.New(o)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- d.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		<-ended
	})
	if err := d.WaitReady(s.ctx()); err != nil {
		t.Fatal(err)
	}
	return d
}

// told fails unless the incident's timeline tells these steps, in this order, each
// with its time.
func told(t *testing.T, f simclient.IncidentFile, want ...string) {
	t.Helper()
	var steps []string
	last := time.Time{}
	for _, m := range f.Timeline {
		steps = append(steps, m.Type)
		if m.At.IsZero() || m.At.Before(last.Add(-time.Second)) {
			t.Errorf("%s is told at %s, after %s", m.Type, m.At, last)
		}
		last = m.At
	}
	at := 0
	for _, w := range want {
		i := slices.Index(steps[at:], w)
		if i < 0 {
			t.Fatalf("the timeline does not tell %s after the %d steps before it:\n%s", w, at, strings.Join(steps, "\n"))
		}
		at += i + 1
	}
}

// TestPressToClosure is the promise to an elder: a press is answered, somebody comes,
// and a person closes it; by a pendant, by a watch, and by a telephone call alone.
func TestPressToClosure(t *testing.T) {
	beside(t, waiting)
	s := newServer(t)
	s.start()
	admin := s.login("admin")
	crew := s.engage(6)
	way := []string{"dispatch.assignment.accepted", "dispatch.assignment.en_route", "dispatch.assignment.on_scene", "dispatch.assignment.done", "dispatch.incident.resolved", "dispatch.incident.closed"}
	for _, protocol := range []string{simdevice.GT06, simdevice.Watch} {
		t.Run(protocol, func(t *testing.T) {
			who := s.device(t, admin, protocol)
			addr := s.gt06
			if protocol == simdevice.Watch {
				addr = s.watch
			}
			d := s.plug(t, simdevice.Options{Identity: simdevice.Identity{Protocol: protocol, ID: who.ExternalID}, Addr: addr, Point: geo.Point{Lat: 25.0401, Lng: 102.7203}, Battery: 8})
			if _, err := d.Press(s.ctx(), simdevice.Press{LowBattery: true, Point: geo.Point{Lat: 25.0401, Lng: 102.7203}, Battery: 8}); err != nil {
				t.Fatalf("press: %v", err)
			}
			f := crew.closure(t, s)
			if f.Incident.ElderID != who.ElderID || !slices.Contains(f.Incident.Kinds, "sos") || !slices.Contains(f.Incident.Kinds, "battery") {
				t.Errorf("the incident is of elder %s with %v, want %s with sos and battery", f.Incident.ElderID, f.Incident.Kinds, who.ElderID)
			}
			told(t, f, append([]string{"dispatch.incident.opened", "dispatch.offer.sent"}, way...)...)
		})
	}
	t.Run("sip", func(t *testing.T) {
		who := s.device(t, admin, "sip")
		s.talk(t, crew, simphone.CallOptions{From: who.ExternalID}, func(c *simphone.Call) {})
		f := crew.closure(t, s)
		if f.Incident.Source != "call" || f.Incident.ElderID != who.ElderID {
			t.Errorf("the incident is by %s of elder %s, want a call of %s", f.Incident.Source, f.Incident.ElderID, who.ElderID)
		}
		told(t, f, append([]string{"dispatch.incident.opened", "callcenter.call.queued", "callcenter.call.answered", "callcenter.call.bridged"}, way...)...)
	})
}

// closure waits until the operator has closed an incident and reads its file.
func (c *crew) closure(t *testing.T, s *server) simclient.IncidentFile {
	t.Helper()
	select {
	case id := <-c.closed:
		f, err := c.operator.Client().File(s.ctx(), id)
		if err != nil {
			t.Fatal(err)
		}
		if f.Incident.Status != "closed" {
			t.Errorf("the incident is %s", f.Incident.Status)
		}
		return f
	case <-time.After(patience):
		t.Fatalf("no incident was closed; the operator did %v", c.operator.Counts())
	}
	return simclient.IncidentFile{}
}

// talk rings the hotline as a carrier would, and does f while both hear each other.
func (s *server) talk(t *testing.T, c *crew, o simphone.CallOptions, f func(*simphone.Call)) {
	t.Helper()
	trunk, err := simphone.New(simphone.Options{Server: s.sip, Account: "carrier", Tone: 800})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- trunk.Run(ctx) }()
	defer func() {
		cancel()
		<-ended
	}()
	call, err := trunk.Call(hotline, o)
	if err != nil {
		t.Fatal(err)
	}
	if err := call.Wait(s.ctx(), simphone.Answered); err != nil {
		t.Fatal(err)
	}
	if err := call.Audio().WaitTone(s.ctx(), 440); err != nil {
		t.Fatalf("the caller does not hear the operator: %v", err)
	}
	for _, desk := range c.phone.Calls() {
		if err := desk.Audio().WaitTone(s.ctx(), 800); err != nil {
			t.Fatalf("the operator does not hear the caller: %v", err)
		}
	}
	f(call)
	call.Hangup()
	<-call.Done()
}
