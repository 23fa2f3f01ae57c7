package simresponder

import (
	"context"
	"strings"
	"testing"
	"time"

	"anling/cmd/internal/simclient"
	"anling/cmd/internal/simfake"
	"anling/geo"
)

func TestResponderGoesFromTheOfferToTheEnd(t *testing.T) {
	for _, c := range []struct {
		name   string
		temper Temper
		steps  string
		log    string
	}{
		{"accepts", Temper{}, "offered accepted en_route on_scene done",
			"responders/r-responder1/duty on\npositions\noffers/o1/seen\noffers/o1/accept\nassignments/a1/advance en_route\npositions\nassignments/a1/advance on_scene\nassignments/a1/advance done"},
		{"declines", Temper{Decline: 1}, "offered declined", "responders/r-responder1/duty on\npositions\noffers/o1/seen\noffers/o1/decline"},
		{"does not answer", Temper{Ignore: 1}, "offered ignored", "responders/r-responder1/duty on\npositions\noffers/o1/seen"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := simfake.New(t)
			place := simclient.Place{Point: simclient.Point{Lat: 25.04, Lng: 102.71}}
			s.Incident = simclient.Incident{ID: "i1"}
			s.Assignment = simclient.Assignment{ID: "a1", IncidentID: "i1", Status: "offered", Place: place}
			c.temper.Travel, c.temper.Stay, c.temper.Step = 20*time.Millisecond, 5*time.Millisecond, 5*time.Millisecond
			steps := make(chan Step, 20)
			r, err := New(Options{Server: s.URL, Name: "responder1", Password: simfake.Password, Temper: c.temper, Start: geo.Point{Lat: 25.03, Lng: 102.71}, OnStep: func(x Step) { steps <- x }})
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			defer cancel()
			done := make(chan error, 1)
			go func() { done <- r.Run(ctx) }()
			if err := r.WaitReady(ctx); err != nil {
				t.Fatal(err)
			}
			s.With(func() {
				s.Offers = []simclient.Offer{{ID: "o0", Status: "taken"}, {ID: "o1", AssignmentID: "a1", IncidentID: "i1", ResponderID: "r-responder1", Status: "sent", Epoch: 3, Place: place}}
			})
			s.Say("dispatch.offer.sent", "offer", "o1", nil)
			var got []string
			for want := strings.Fields(c.steps); len(got) < len(want); {
				select {
				case x := <-steps:
					got = append(got, x.What)
					if x.IncidentID != "i1" || x.OfferID != "o1" {
						t.Errorf("step %+v", x)
					}
				case <-ctx.Done():
					t.Fatalf("did %v", got)
				}
			}
			if strings.Join(got, " ") != c.steps {
				t.Errorf("did %v", got)
			}
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
			if log := strings.TrimSuffix(s.Did(), "\nresponders/r-responder1/duty off"); log != c.log {
				t.Errorf("the server took\n%s\nwant\n%s", log, c.log)
			}
			if !strings.HasSuffix(s.Did(), "duty off") {
				t.Error("stays on duty")
			}
		})
	}
}

func TestJobLeftInTheMiddleIsGoneOnWith(t *testing.T) {
	s := simfake.New(t)
	s.Incident = simclient.Incident{ID: "i1"}
	s.Assignment = simclient.Assignment{ID: "a1", IncidentID: "i1", Status: "en_route", ResponderID: "r-responder1"}
	s.Fail = 0
	steps := make(chan Step, 20)
	r, err := New(Options{Server: s.URL, Name: "responder1", Password: simfake.Password, Poll: 20 * time.Millisecond, OnStep: func(x Step) { steps <- x },
		Temper: Temper{Travel: time.Millisecond, Stay: time.Millisecond}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	if err := r.WaitReady(ctx); err != nil {
		t.Fatal(err)
	}
	s.With(func() { s.Fail = 2 }) // and an error of the server does not end it
	for _, want := range []string{"on_scene", "done"} {
		select {
		case x := <-steps:
			if x.What != want {
				t.Fatalf("did %s", x.What)
			}
		case <-ctx.Done():
			t.Fatal(ctx.Err())
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
