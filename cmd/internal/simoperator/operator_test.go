package simoperator

import (
	"context"
	"strings"
	"testing"
	"time"

	"anling/cmd/internal/simclient"
	"anling/cmd/internal/simfake"
)

func TestOperatorTakesAnIncidentToItsEnd(t *testing.T) {
	s := simfake.New(t)
	steps := make(chan Step, 20)
	p, err := New(Options{Server: s.URL, Name: "operator1", Password: simfake.Password, OnStep: func(x Step) { steps <- x }})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	if err := p.WaitReady(ctx); err != nil {
		t.Fatal(err)
	}
	s.With(func() { s.Incident = simclient.Incident{ID: "i1", Status: "raised", Claim: 4} })
	s.Say("dispatch.incident.opened", "incident", "i1", nil)
	for _, want := range []string{"took", "noted", "dispatched", "resolved", "closed"} {
		if want == "resolved" { // the responder is done
			s.With(func() { s.Assignment.Status = "done" })
			s.Say("dispatch.assignment.done", "assignment", "a1", nil)
		}
		select {
		case x := <-steps:
			if x.What != want || x.IncidentID != "i1" {
				t.Fatalf("did %+v, want %s", x, want)
			}
		case <-ctx.Done():
			t.Fatalf("did not: %s", want)
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	want := "operators/me/state ready\nincidents/i1/take\nincidents/i1/note\nincidents/i1/dispatch\nincidents/i1/resolve\nincidents/i1/close helped_at_home\noperators/me/state offline"
	if got := s.Did(); got != want {
		t.Errorf("the server took\n%s\nwant\n%s", got, want)
	}
}

func TestOperatorLeavesAloneWhatIsAnothers(t *testing.T) {
	s := simfake.New(t)
	s.Incident = simclient.Incident{ID: "i1", Status: "answered", Owner: "u-operator2", Claim: 1}
	seen := make(chan simclient.Event, 5)
	p, err := New(Options{Server: s.URL, Name: "operator1", Password: simfake.Password, Poll: time.Millisecond, OnEvent: func(e simclient.Event) { seen <- e }})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	if err := p.WaitReady(ctx); err != nil {
		t.Fatal(err)
	}
	s.Say("dispatch.incident.noted", "incident", "i1", nil)
	select {
	case <-seen:
	case <-ctx.Done():
		t.Fatal("no event")
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if strings.Contains(s.Did(), "incidents/") {
		t.Errorf("the server took\n%s", s.Did())
	}
}
