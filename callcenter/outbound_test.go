package callcenter

import (
	"context"
	"errors"
	"testing"
	"time"

	"anling/callcenter/acd"
	"anling/callcenter/leg"
	"anling/callcenter/recording"
	"anling/care"
	"anling/event"
)

func (c *centre) request(r care.CallRequest) {
	c.Helper()
	if err := c.s.RequestCall(context.Background(), r); err != nil {
		c.Fatal(err)
	}
	c.wait(0)
}

func pressed() care.CallRequest {
	return care.CallRequest{IncidentID: "i1", ElderID: "elder1", DeviceID: "device1", Priority: care.P1,
		VoiceExpect: time.Now().Add(time.Minute)}
}

// outside is the line to a number, which must be ringing.
func (c *centre) outside(number string) *line {
	c.Helper()
	all := c.net.ringing(number)
	if len(all) != 1 {
		c.Fatalf("%d lines to %s; %s", len(all), number, c.states())
	}
	return all[0]
}

func TestNumbersAreFoundLater(t *testing.T) {
	bubble(t, 1, func(c *centre) {
		c.town.numbers = nil
		c.request(care.CallRequest{IncidentID: "i1", Priority: care.P1})
		c.wait(100 * time.Millisecond)
		if x := c.want(Offered); x.To != "" {
			t.Errorf("to be rung: %q", x.To)
		}
		// Who pressed was found out meanwhile.
		c.town.mu.Lock()
		c.town.numbers = []string{homePhone}
		c.town.mu.Unlock()
		c.request(care.CallRequest{IncidentID: "i1", ElderID: "elder1", Priority: care.P1})
		c.phone("a").pickUp()
		c.wait(0)
		c.outside(homePhone).pickUp()
		c.wait(0)
		if x := c.want(Talking); x.To != homePhone || x.ElderID != "elder1" {
			t.Errorf("%+v", x)
		}
		c.phone("a").end(leg.CallerHangup)
	})
}

func TestDeviceDoesNotCallSoTheCentreDoes(t *testing.T) {
	bubble(t, 2, func(c *centre) {
		c.request(pressed())
		c.wait(59 * time.Second)
		c.want(Awaiting)
		c.wait(2 * time.Second)
		c.want(Offered)
		c.phone("a").say(leg.Ringing)
		c.wait(0)
		if len(c.town.rings) != 1 || c.town.rings[0] != "i1" {
			t.Errorf("told %v", c.town.rings)
		}
		c.phone("b").pickUp()
		c.wait(0)
		x := c.want(Dialling)
		if c.town.owner["i1"] != "b" || x.To != simDevice {
			t.Errorf("%+v", x)
		}
		c.outside(simDevice).end(leg.Busy)
		c.wait(0)
		elder := c.outside(homePhone)
		elder.say(leg.Early)
		c.wait(time.Second)
		c.want(Dialling) // early audio is no answer
		elder.pickUp()
		c.wait(0)
		if x := c.want(Talking); x.To != homePhone || x.OperatorID != "b" {
			t.Errorf("%+v", x)
		}
		elder.end(leg.CallerHangup)
		c.wait(0)
		if x := c.want(Ended); x.Result != "talked" {
			t.Errorf("%+v", x)
		}
		c.wantOperator("b", acd.WrapUp)
	})
}

func TestDeviceCallsItself(t *testing.T) {
	bubble(t, 1, func(c *centre) {
		c.town.open["elder1"] = "i1"
		c.request(pressed())
		c.wait(10 * time.Second)
		caller := c.ring(simDevice)
		c.wait(100 * time.Millisecond)
		live := c.s.Calls()
		if len(live) != 1 || live[0].Direction != leg.In || live[0].IncidentID != "i1" {
			t.Fatalf("%+v", live)
		}
		c.phone("a").pickUp()
		c.wait(2 * time.Minute)
		if len(c.net.ringing(simDevice)) != 0 {
			t.Error("the centre rings a device that is on the line")
		}
		// A request while it talks rings nobody.
		r := pressed()
		r.VoiceExpect = time.Time{}
		c.request(r)
		if n := len(c.s.Calls()); n != 1 {
			t.Errorf("%d calls", n)
		}
		caller.end(leg.CallerHangup)
	})
}

func TestBothDirectionsCollide(t *testing.T) {
	bubble(t, 1, func(c *centre) {
		c.town.open["elder1"] = "i1"
		r := pressed()
		r.VoiceExpect = time.Time{}
		c.request(r)
		c.wait(100 * time.Millisecond)
		c.phone("a").pickUp()
		c.wait(0)
		ours := c.outside(simDevice)
		caller := c.ring(simDevice)
		c.wait(100 * time.Millisecond)
		if !ours.isOver() || caller.isOver() {
			t.Fatal("the inbound line must be kept and ours given up")
		}
		c.phone("a").pickUp() // the operator who was with ours comes along
		c.wait(0)
		live := c.s.Calls()
		if len(live) != 1 || live[0].Direction != leg.In || live[0].State != Talking || live[0].OperatorID != "a" {
			t.Errorf("%+v", live)
		}
		c.wait(time.Minute)
		caller.end(leg.CallerHangup)
	})
}

func TestSecondRequestRaisesAndEndsTheWaiting(t *testing.T) {
	bubble(t, 1, func(c *centre) {
		r := pressed()
		r.Priority = care.P2
		c.request(r)
		if x := c.want(Awaiting); x.Class != acd.Urgent {
			t.Errorf("%+v", x)
		}
		c.wait(10 * time.Second)
		r = pressed()
		r.VoiceExpect = time.Time{} // the ladder's next rung
		c.request(r)
		if x := c.want(Offered); x.Class != acd.SOS {
			t.Errorf("%+v", x)
		}
		c.phone("a").pickUp()
		c.wait(0)
		c.outside(simDevice).pickUp()
		c.wait(0)
		c.want(Talking)
		c.phone("a").end(leg.CallerHangup)
	})
}

func TestNoTrunkAndNoNumber(t *testing.T) {
	for name, numbers := range map[string][]string{"no number": nil, "no trunk": {simDevice, homePhone}} {
		t.Run(name, func(t *testing.T) {
			bubble(t, 1, func(c *centre) {
				c.net.dead[simDevice], c.net.dead[homePhone] = true, true
				r := pressed()
				r.VoiceExpect, c.town.numbers = time.Time{}, numbers
				c.request(r)
				c.wait(100 * time.Millisecond)
				phone := c.phone("a")
				phone.pickUp()
				c.wait(0)
				if c.town.owner["i1"] != "a" || len(c.town.rings) != 1 {
					t.Errorf("owner %v, rung %v", c.town.owner, c.town.rings)
				}
				c.wait(time.Minute)
				if !phone.isOver() {
					t.Error("the operator is held for nothing")
				}
				if x := c.want(Ended); x.Result != "unreachable" {
					t.Errorf("%+v", x)
				}
			})
		})
	}
}

func TestNobodyAnswersTheRequest(t *testing.T) {
	bubble(t, 1, func(c *centre) {
		r := pressed()
		r.VoiceExpect = time.Time{}
		c.request(r)
		c.wait(100 * time.Millisecond)
		for range 20 { // it goes on ringing
			for _, l := range c.net.ringing("phone:a") {
				l.say(leg.Ringing)
			}
			c.wait(time.Second)
		}
		c.wait(3 * time.Second)
		c.phone("a").pickUp()
		c.wait(0)
		c.outside(simDevice).pickUp()
		c.wait(0)
		c.want(Talking)
		c.phone("a").end(leg.CallerHangup)
	})
}

func TestWithheldNumberIsProbablyTheOneAlarmWithoutACall(t *testing.T) {
	bubble(t, 1, func(c *centre) {
		c.request(pressed())
		caller := c.bring(newLine(leg.Info{Direction: leg.In, Anonymous: true, SOS: true}))
		c.wait(100 * time.Millisecond)
		var in Call
		for _, x := range c.s.Calls() {
			if x.Direction == leg.In {
				in = x
			}
		}
		if in.Match != "probable" || in.IncidentID != "i1" || len(c.town.opened) != 0 {
			t.Errorf("%+v, opened %v", in, c.town.opened)
		}
		if n := len(c.s.Calls()); n != 2 {
			t.Errorf("%d calls: a guess must not end the waiting", n)
		}
		c.phone("a").pickUp()
		c.wait(0)
		if n := len(c.s.Calls()); n != 1 {
			t.Errorf("%d calls: the operator talks to him", n)
		}
		c.wait(time.Minute)
		caller.end(leg.CallerHangup)
	})
}

func (c *centre) lose(from string) {
	l := c.ring(from)
	c.wait(2 * time.Second)
	l.end(leg.CallerHangup)
	c.wait(100 * time.Millisecond)
}

func TestCallbackIsMadeWhenItIsDue(t *testing.T) {
	bubble(t, 1, func(c *centre) {
		c.lose(stranger)
		c.lose(stranger)
		cb := c.debt()
		if len(cb.CallIDs) != 2 || cb.State != Due {
			t.Fatalf("two calls of one number: %+v", cb)
		}
		c.wait(2 * time.Minute)
		c.fire()
		if len(c.s.Calls()) != 0 {
			t.Error("it was made before it was due")
		}
		c.wait(time.Minute)
		c.fire()
		c.wait(100 * time.Millisecond)
		if c.debt().State != Calling {
			t.Errorf("%+v", c.debt())
		}
		c.phone("a").pickUp()
		c.wait(0)
		c.outside(stranger).pickUp()
		c.wait(time.Second)
		c.phone("a").end(leg.CallerHangup)
		c.wait(100 * time.Millisecond)
		cb = c.debt()
		if cb.State != Reached || cb.DoneBy != "a" || cb.Outcome != "reached" || len(cb.Attempts) != 1 {
			t.Errorf("%+v", cb)
		}
	})
}

func TestCallbackIsTriedThreeTimesAndThenAPersonDecides(t *testing.T) {
	bubble(t, 1, func(c *centre) {
		c.lose(stranger)
		for i, pause := range []time.Duration{3 * time.Minute, 5 * time.Minute, 10 * time.Minute} {
			c.wait(pause)
			c.fire()
			c.wait(100 * time.Millisecond)
			c.phone("a").pickUp()
			c.wait(0)
			c.outside(stranger).end(leg.NoAnswer)
			c.wait(30 * time.Second)
			cb := c.debt()
			if len(cb.Attempts) != i+1 || cb.Attempts[i].Result != "no_answer" {
				t.Fatalf("try %d: %+v", i, cb)
			}
		}
		cb := c.debt()
		if cb.State != Unreachable {
			t.Fatalf("%+v", cb)
		}
		ctx := context.Background()
		if err := c.s.DoneCallback(ctx, cb.ID, "a", "shrugged", ""); !errors.Is(err, care.ErrInvalid) {
			t.Errorf("an outcome that is none: %v", err)
		}
		for range 2 { // twice is once
			if err := c.s.DoneCallback(ctx, cb.ID, "a", "home_visit", "on the way"); err != nil {
				t.Error(err)
			}
		}
		if err := c.s.DoneCallback(ctx, cb.ID, "b", "other", ""); !errors.Is(err, care.ErrTransition) {
			t.Errorf("closed by another: %v", err)
		}
		if cb := c.debt(); cb.State != Closed || cb.DoneBy != "a" {
			t.Errorf("%+v", cb)
		}
	})
}

func TestOperatorMakesTheCallbackHimself(t *testing.T) {
	bubble(t, 2, func(c *centre) {
		ctx := context.Background()
		c.lose(stranger)
		id := c.debt().ID
		if err := c.s.DialCallback(ctx, id, "nobody"); !errors.Is(err, care.ErrBusy) {
			t.Errorf("without a telephone: %v", err)
		}
		if err := c.s.SetState(ctx, "b", acd.Break, "paper"); err != nil {
			t.Fatal(err)
		}
		if err := c.s.DialCallback(ctx, id, "b"); err != nil {
			t.Fatal(err)
		}
		c.wait(0)
		if err := c.s.DialCallback(ctx, id, "a"); !errors.Is(err, care.ErrTaken) {
			t.Errorf("a second one: %v", err)
		}
		c.phone("b").pickUp()
		c.wait(0)
		c.outside(stranger).pickUp()
		c.wait(time.Minute)
		c.outside(stranger).end(leg.CallerHangup)
		c.wait(100 * time.Millisecond)
		if cb := c.debt(); cb.State != Reached || cb.DoneBy != "b" {
			t.Errorf("%+v", cb)
		}
	})
}

func TestWhoCallsAgainIsOwedNothingMore(t *testing.T) {
	bubble(t, 1, func(c *centre) {
		c.lose(stranger)
		c.wait(3 * time.Minute)
		again := c.ring(stranger)
		c.wait(time.Second)
		c.fire() // due, but he is on the line
		if n := len(c.s.Calls()); n != 1 {
			t.Fatalf("%d calls", n)
		}
		c.phone("a").pickUp()
		c.wait(time.Second)
		if cb := c.debt(); cb.State != Reached || cb.Outcome != "called_again" {
			t.Errorf("%+v", cb)
		}
		again.end(leg.CallerHangup)
	})
}

func TestLostSOSIsRungBackOnEveryNumber(t *testing.T) {
	bubble(t, 1, func(c *centre) {
		c.town.numbers = []string{simDevice, homePhone}
		c.lose(simDevice)
		c.wait(30 * time.Second)
		c.fire()
		c.wait(100 * time.Millisecond)
		if x := c.s.Calls(); len(x) != 1 || x[0].Class != acd.SOS || x[0].IncidentID != "i1" {
			t.Fatalf("%+v", x)
		}
		c.phone("a").pickUp()
		c.wait(0)
		c.outside(simDevice).end(leg.NoAnswer)
		c.wait(0)
		c.outside(homePhone).pickUp()
		c.wait(time.Minute)
		c.phone("a").end(leg.CallerHangup)
		c.wait(time.Second)
		if cb := c.debt(); cb.State != Reached {
			t.Errorf("%+v", cb)
		}
	})
}

func TestCrashAndTheNextLife(t *testing.T) {
	bubble(t, 1, func(c *centre) {
		ctx := context.Background()
		// What a crash leaves: rows that are live, of the life before.
		c.store.mu.Lock()
		epoch := c.store.epoch
		for i, x := range []Call{
			{Purpose: Hotline, Direction: leg.In, State: Talking, Class: acd.Normal, From: stranger, OperatorID: "a"},
			{Purpose: SOSCall, Direction: leg.In, State: Offered, Class: acd.SOS, From: simDevice, IncidentID: "i1"},
			{Purpose: ForIncident, Direction: leg.Out, State: Awaiting, Class: acd.SOS, To: homePhone, IncidentID: "i2"},
		} {
			x.ID, x.Epoch, x.Version, x.ArrivedAt = care.CallID(rune('x'+i)), epoch, 1, time.Now()
			if i < 2 {
				x.Recording = &Recording{State: "recording"}
			}
			c.store.calls[x.ID] = x
			c.store.events = append(c.store.events, event.Event{Type: CallReceived, Agg: "call", AggID: string(x.ID), Seq: 1})
		}
		o := c.store.operators["a"]
		o.State, o.Version = acd.Talking, o.Version+1
		c.store.operators["a"] = o
		c.store.mu.Unlock()
		c.end()
		c.repaired = []recording.Result{{Path: "2026-11-24/x.wav", Seconds: 3, Recovered: true}}
		c.open(0)
		c.s.PutOperator(Operator{UserID: "a", Account: "a"})
		c.wait(time.Second)
		c.wantOperator("a", acd.Ready)
		for id, want := range map[care.CallID]string{"x": "saved", "y": "failed"} {
			if r := c.store.calls[id].Recording; r == nil || r.State != want {
				t.Errorf("the recording of %s is %+v, want %s", id, r, want)
			}
		}
		open, err := c.s.Callbacks(ctx)
		if err != nil || len(open) != 2 {
			t.Fatalf("%v, %v", open, err)
		}
		c.wait(time.Second)
		c.fire()
		c.wait(100 * time.Millisecond)
		live := c.s.Calls()
		if len(live) != 1 || live[0].Class != acd.SOS || live[0].To != simDevice {
			t.Fatalf("the SOS is not rung back at once: %+v", live)
		}
		c.phone("a").pickUp()
		c.wait(0)
		c.outside(simDevice).pickUp()
		c.wait(time.Second)
		c.phone("a").end(leg.CallerHangup)
		c.wait(time.Second)
	})
}

func TestEndOfTheServer(t *testing.T) {
	bubble(t, 1, func(c *centre) {
		talking := c.ring(stranger)
		c.wait(time.Second)
		c.phone("a").pickUp()
		c.wait(0)
		waiting := c.ring(simDevice)
		c.wait(time.Second)
		c.end()
		if !talking.isOver() || !waiting.isOver() {
			t.Error("a line was left open")
		}
		c.store.mu.Lock()
		n := len(c.store.callbacks)
		c.store.mu.Unlock()
		if n != 2 {
			t.Errorf("%d are owed a call, want 2", n)
		}
		late := newLine(leg.Info{Direction: leg.In, From: stranger})
		c.s.Take(late)
		if late.hung != leg.Drained {
			t.Errorf("a call after the end: %q", late.hung)
		}
		if err := c.s.RequestCall(context.Background(), pressed()); err == nil {
			t.Error("a request after the end was taken")
		}
	})
}
