package callcenter

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"anling/callcenter/acd"
	"anling/callcenter/leg"
	"anling/callcenter/media"
	"anling/care"
	"anling/event"
)

func TestHotlineCallFromTheFirstRingToTheEnd(t *testing.T) {
	bubble(t, 1, func(c *centre) {
		caller := c.ring(stranger)
		c.wait(25 * time.Millisecond)
		if !caller.rung || !caller.up() {
			t.Fatal("the caller was not answered")
		}
		c.wait(time.Second)
		if x := c.want(Offered); x.Class != acd.Normal || x.Match != "none" || len(x.Offered) != 1 {
			t.Errorf("%+v", x)
		}
		phone := c.phone("a")
		phone.pickUp()
		c.wait(0)
		x := c.want(Talking)
		if x.OperatorID != "a" || x.BridgedAt.IsZero() {
			t.Errorf("%+v", x)
		}
		c.wantOperator("a", acd.Talking)
		c.wait(time.Minute)
		caller.end(leg.CallerHangup)
		c.wait(0)
		if !phone.isOver() {
			t.Error("the operator was left on the line")
		}
		c.wantOperator("a", acd.WrapUp)
		c.wait(16 * time.Second)
		c.wantOperator("a", acd.Ready)
		x = c.want(Ended)
		if x.Result != "talked" || x.Cause != leg.CallerHangup {
			t.Errorf("%+v", x)
		}
		want := []event.Type{CallReceived, CallMatched, CallQueued, CallOffered, CallAnswered, CallBridged, CallEnded}
		if got := c.facts(x.ID); !slices.Equal(got, want) {
			t.Errorf("facts %v", got)
		}
		if len(c.store.callbacks) != 0 {
			t.Error("who was answered is owed a call")
		}
	})
}

func TestOperatorHangsUp(t *testing.T) {
	bubble(t, 1, func(c *centre) {
		caller := c.ring(stranger)
		c.wait(time.Second)
		phone := c.phone("a")
		phone.pickUp()
		c.wait(time.Second)
		phone.end(leg.CallerHangup)
		c.wait(0)
		if !caller.isOver() || c.want(Ended).Result != "talked" {
			t.Error("the caller was left on the line")
		}
		c.wantOperator("a", acd.WrapUp)
	})
}

func TestDeviceCallIsAnIncidentBeforeAnOperatorIsFound(t *testing.T) {
	bubble(t, 4, func(c *centre) {
		caller := c.ring(simDevice)
		c.wait(25 * time.Millisecond)
		x := c.want(Offered)
		if x.Class != acd.SOS || x.IncidentID != "i1" || x.ElderID != "elder1" || x.DeviceID != "device1" || x.Match != "device" {
			t.Fatalf("%+v", x)
		}
		if r := c.town.opened[0]; r.Source != "call" || r.CallID != x.ID || r.Key != "call:"+caller.info.SIPCallID || r.Area != "990100" {
			t.Errorf("opened with %+v", r)
		}
		if len(x.Offered) != 3 {
			t.Errorf("%d telephones ring", len(x.Offered))
		}
		first, second := c.phone("a"), c.phone("b")
		first.say(leg.Ringing)
		c.wait(0)
		if len(c.town.rings) != 1 {
			t.Error("the board was not told that operators are rung")
		}
		second.pickUp()
		c.wait(0)
		first.say(leg.Answered) // too late
		c.wait(0)
		x = c.want(Talking)
		if x.OperatorID != "b" || c.town.owner["i1"] != "b" {
			t.Errorf("operator %s, owner %s", x.OperatorID, c.town.owner["i1"])
		}
		if !first.isOver() || len(c.net.ringing("phone:c")) != 0 {
			t.Error("the others still ring")
		}
		c.wantOperator("a", acd.Ready)
		c.wait(time.Minute)
		caller.end(leg.CallerHangup)
	})
}

func TestSOSLineWithoutANumber(t *testing.T) {
	bubble(t, 1, func(c *centre) {
		caller := c.bring(newLine(leg.Info{Direction: leg.In, Anonymous: true, SOS: true}))
		c.wait(25 * time.Millisecond)
		x := c.want(Offered)
		if x.Class != acd.SOS || x.IncidentID == "" || c.town.opened[0].ElderID != "" {
			t.Errorf("%+v", x)
		}
		caller.end(leg.CallerHangup)
		c.wait(0)
		if cb := c.debt(); cb.State != Unreachable || cb.IncidentID != "i1" || cb.Class != acd.SOS {
			t.Errorf("%+v", cb)
		}
	})
}

func TestHomeTelephoneOfAnElderWhoHasPressed(t *testing.T) {
	bubble(t, 3, func(c *centre) {
		c.town.open["elder1"], c.town.owner["i7"] = "i7", "c"
		c.ring(homePhone)
		c.wait(25 * time.Millisecond)
		x := c.want(Offered)
		if x.Class != acd.SOS || x.IncidentID != "i7" || x.Offered[0] != "c" {
			t.Errorf("%+v", x)
		}
		if got := c.town.attached["i7"]; len(got) != 1 || got[0] != x.ID {
			t.Errorf("attached %v", got)
		}
	})
}

func TestNumberThatIsFoundLate(t *testing.T) {
	bubble(t, 1, func(c *centre) {
		slow := make(chan struct{})
		c.s.o.Directory = late{c.town, slow}
		c.ring(simDevice)
		c.wait(300 * time.Millisecond)
		if x := c.only(); x.Class != acd.Normal {
			t.Fatalf("%+v", x)
		}
		close(slow)
		c.wait(time.Second)
		if x := c.want(Offered); x.Class != acd.SOS || x.IncidentID != "i1" {
			t.Errorf("%+v", x)
		}
	})
}

type late struct {
	*town
	until chan struct{}
}

func (l late) MatchPhone(ctx context.Context, n string) ([]care.PhoneMatch, error) {
	<-l.until
	return l.town.MatchPhone(ctx, n)
}

func TestKeyOneIsUrgent(t *testing.T) {
	bubble(t, 0, func(c *centre) {
		other := c.ring("+8613700000001")
		c.wait(time.Second)
		caller := c.ring(stranger)
		c.wait(100 * time.Millisecond) // in the greeting
		caller.press('1')
		c.wait(100 * time.Millisecond)
		calls := c.s.Calls()
		if len(calls) != 2 || calls[0].From != stranger || calls[0].Class != acd.Urgent || calls[0].Position != 1 || calls[0].Keys != "1" || calls[1].Position != 2 {
			t.Errorf("%+v", calls)
		}
		other.end(leg.CallerHangup)
		caller.end(leg.CallerHangup)
	})
}

func TestStoreIsDownAndTheSOSIsRungThrough(t *testing.T) {
	bubble(t, 1, func(c *centre) {
		down := errors.New("disk full")
		c.store.setFail(down)
		c.town.openErr = down
		c.ring(simDevice)
		c.wait(100 * time.Millisecond)
		x := c.want(Offered)
		if !x.Unsaved || x.Trouble != "no_incident" || len(c.loud) == 0 {
			t.Errorf("not loud: %+v, %v", x, c.loud)
		}
		phone := c.phone("a")
		phone.pickUp()
		c.wait(0)
		c.want(Talking)
		// The store comes back: everything is there after all, and the operator owns it.
		c.store.setFail(nil)
		c.town.mu.Lock()
		c.town.openErr = nil
		c.town.mu.Unlock()
		c.wait(10 * time.Second)
		x = c.want(Talking)
		if x.Unsaved || x.IncidentID != "i1" || c.town.owner["i1"] != "a" {
			t.Errorf("after: %+v, owner %q", x, c.town.owner["i1"])
		}
		if !c.has(x.ID, CallReceived) || !c.has(x.ID, CallBridged) {
			t.Errorf("facts %v", c.facts(x.ID))
		}
		phone.end(leg.CallerHangup)
	})
}

func TestIncidentThatTakesLongDoesNotHoldTheOperatorsUp(t *testing.T) {
	bubble(t, 1, func(c *centre) {
		c.town.openSlow = 5 * time.Second
		caller := c.ring(simDevice)
		c.wait(1100 * time.Millisecond)
		c.phone("a").pickUp()
		c.wait(0)
		if x := c.want(Talking); x.IncidentID != "" {
			t.Fatalf("%+v", x)
		}
		c.wait(5 * time.Second)
		if x := c.want(Talking); x.IncidentID != "i1" || c.town.owner["i1"] != "a" {
			t.Errorf("%+v", x)
		}
		c.wait(10 * time.Second)
		caller.end(leg.CallerHangup)
	})
}

func TestLostInEveryStateIsOwedACall(t *testing.T) {
	states := map[string]func(c *centre, l *line){
		"before the answer":       func(c *centre, l *line) { l.end(leg.Cancelled) },
		"as it is answered":       func(c *centre, l *line) { c.wait(20 * time.Millisecond); l.end(leg.CallerHangup) },
		"in the greeting":         func(c *centre, l *line) { c.wait(100 * time.Millisecond); l.end(leg.CallerHangup) },
		"while a telephone rings": func(c *centre, l *line) { c.wait(time.Second); c.phone("a").say(leg.Ringing); l.end(leg.CallerHangup) },
		"never confirmed":         func(c *centre, l *line) { c.wait(time.Second); l.end(leg.NoAck) },
		"line breaks in the talk": func(c *centre, l *line) {
			c.wait(time.Second)
			c.phone("a").pickUp()
			c.wait(20 * time.Second)
			l.end(leg.Transport)
		},
	}
	for name, f := range states {
		for _, from := range []string{stranger, simDevice} {
			t.Run(name+" "+from, func(t *testing.T) {
				bubble(t, 1, func(c *centre) {
					l := c.ring(from)
					f(c, l)
					c.wait(time.Second)
					x := c.want(Ended)
					if x.Result != "lost" {
						t.Fatalf("%+v", x)
					}
					cb := c.debt()
					due := 3 * time.Minute
					class := acd.Callback
					if from == simDevice {
						due, class = 30*time.Second, acd.SOS
					}
					if cb.Class != class || cb.Number != from || cb.State != Due || cb.DueAt.Sub(x.EndedAt) != due {
						t.Errorf("%+v", cb)
					}
				})
			})
		}
	}
}

func TestSOSThatIsCutOffAtOnceIsRungBack(t *testing.T) {
	bubble(t, 1, func(c *centre) {
		l := c.ring(simDevice)
		c.wait(100 * time.Millisecond)
		c.phone("a").pickUp()
		c.wait(4 * time.Second)
		l.end(leg.CallerHangup)
		c.wait(0)
		if cb := c.debt(); cb.Reason != "dropped" {
			t.Errorf("%+v", cb)
		}
	})
}

// Two events at once, in either order: the end is orderly in every case.
func TestRaces(t *testing.T) {
	type move struct {
		name string
		do   func(c *centre, caller, phone *line)
	}
	moves := []move{
		{"operator answers", func(c *centre, _, p *line) { p.say(leg.Answered) }},
		{"operator rejects", func(c *centre, _, p *line) { p.end(leg.Rejected) }},
		{"operator's line breaks", func(c *centre, _, p *line) { p.end(leg.Transport) }},
		{"caller cancels", func(c *centre, l, _ *line) { l.end(leg.Cancelled) }},
		{"caller holds", func(c *centre, l, _ *line) { l.say(leg.Held) }},
		{"operator holds", func(c *centre, _, p *line) { p.say(leg.Held) }},
		{"operator resumes", func(c *centre, _, p *line) { p.say(leg.Resumed) }},
		{"console hangs up", func(c *centre, l, _ *line) {
			for _, x := range c.s.Calls() {
				if x.From == l.info.From {
					_ = c.s.Hangup(context.Background(), x.ID, "boss") // it may be over already
				}
			}
		}},
		{"operator signs out", func(c *centre, _, _ *line) { _ = c.s.SetState(context.Background(), "a", acd.Offline, "") }},
		{"telephone signs out", func(c *centre, _, _ *line) { c.net.register("a", false) }},
		{"store fails", func(c *centre, _, _ *line) { c.store.setFail(errors.New("down")) }},
	}
	for _, talking := range []bool{false, true} {
		for _, from := range []string{stranger, simDevice} {
			for i, first := range moves {
				for j, second := range moves {
					if i == j {
						continue
					}
					for _, atOnce := range []bool{true, false} {
						bubble(t, 2, func(c *centre) {
							caller := c.ring(from)
							c.wait(time.Second)
							phone := c.phone("a")
							phone.say(leg.Ringing)
							if talking {
								phone.say(leg.Answered)
							}
							c.wait(0)
							first.do(c, caller, phone)
							if !atOnce {
								c.wait(time.Millisecond)
							}
							second.do(c, caller, phone)
							c.wait(time.Second)
							c.store.setFail(nil)
							c.wait(30 * time.Second)
							caller.end(leg.CallerHangup)
							c.wait(30 * time.Second)
							if live := c.s.Calls(); len(live) != 0 {
								t.Errorf("%s, %s, talking %v: left %v", first.name, second.name, talking, live)
							}
							for _, o := range []string{"a", "b"} {
								if len(c.net.ringing("phone:"+o)) > 0 {
									t.Errorf("%s, %s, talking %v: the telephone of %s still rings", first.name, second.name, talking, o)
								}
							}
						})
						if t.Failed() {
							t.Fatalf("%s, %s, talking %v, at once %v, from %s", first.name, second.name, talking, atOnce, from)
						}
					}
				}
			}
		}
	}
}

func TestBrokenOperatorLineLeadsBackToTheHeadOfTheQueue(t *testing.T) {
	bubble(t, 2, func(c *centre) {
		caller := c.ring(stranger)
		c.wait(time.Second)
		c.phone("a").pickUp()
		c.wait(time.Minute)
		c.phone("a").end(leg.Transport)
		c.wait(0)
		if caller.isOver() {
			t.Fatal("the caller was hung up on")
		}
		c.want(Offered)
		c.phone("b").pickUp()
		c.wait(0)
		if x := c.want(Talking); x.OperatorID != "b" {
			t.Errorf("%+v", x)
		}
		c.wantOperator("a", acd.Ready)
		caller.end(leg.CallerHangup)
	})
}

func TestHold(t *testing.T) {
	bubble(t, 1, func(c *centre) {
		caller := c.ring(stranger)
		c.wait(time.Second)
		phone := c.phone("a")
		phone.pickUp()
		c.wait(0)
		phone.say(leg.Held)
		c.wait(0)
		c.want(Held)
		c.wantOperator("a", acd.Hold)
		c.wait(10 * time.Second)
		phone.say(leg.Resumed)
		c.wait(0)
		x := c.want(Talking)
		if x.HeldSec != 10 {
			t.Errorf("held for %v s", x.HeldSec)
		}
		if err := c.s.Hold(context.Background(), x.ID, "a"); err != nil {
			t.Error(err)
		}
		c.want(Held)
		if err := c.s.Resume(context.Background(), x.ID, "a"); err != nil {
			t.Error(err)
		}
		c.want(Talking)
		caller.end(leg.CallerHangup)
		c.wait(0)
		if err := c.s.Hold(context.Background(), x.ID, "a"); !errors.Is(err, care.ErrNotFound) {
			t.Errorf("hold of a past call: %v", err)
		}
	})
}

func TestSilenceNeverHangsUpAnSOS(t *testing.T) {
	bubble(t, 1, func(c *centre) {
		c.ring(simDevice)
		c.wait(100 * time.Millisecond)
		c.phone("a").pickUp()
		c.wait(0)
		x := c.want(Talking)
		a, err := c.s.actor(x.ID)
		if err != nil {
			t.Fatal(err)
		}
		a.send(func(a *actor) { a.sounded(a.caller, media.Event{Kind: media.Lost, Gap: 2 * time.Second}) })
		c.wait(0)
		if c.only().Trouble != "lost_rtp" {
			t.Errorf("%+v", c.only())
		}
		c.wait(10 * time.Minute)
		if x := c.want(Talking); x.Trouble != "no_answer_emergency" {
			t.Errorf("%+v", x)
		}
		a.send(func(a *actor) { a.sounded(a.caller, media.Event{Kind: media.Back}) })
		c.wait(0)
		if x := c.want(Talking); x.Trouble != "" {
			t.Errorf("%+v", x)
		}
		c.phone("a").end(leg.CallerHangup)
	})
}

func TestSilenceEndsAnOrdinaryCallButNotOnHold(t *testing.T) {
	bubble(t, 1, func(c *centre) {
		caller := c.ring(stranger)
		c.wait(time.Second)
		c.phone("a").pickUp()
		c.wait(0)
		a, err := c.s.actor(c.only().ID)
		if err != nil {
			t.Fatal(err)
		}
		lost := func() {
			a.send(func(a *actor) { a.sounded(a.caller, media.Event{Kind: media.Lost, Gap: 2 * time.Second}) })
			c.wait(0)
		}
		caller.say(leg.Held)
		c.wait(0)
		lost()
		c.wait(time.Minute)
		c.want(Talking)
		caller.say(leg.Resumed)
		c.wait(0)
		lost()
		c.wait(12 * time.Second)
		c.want(Talking)
		a.send(func(a *actor) { a.sounded(a.caller, media.Event{Kind: media.Back}) })
		c.wait(time.Minute)
		c.want(Talking)
		lost()
		c.wait(13 * time.Second)
		if x := c.want(Ended); x.Cause != leg.MediaLost || x.Result != "lost" {
			t.Errorf("%+v", x)
		}
	})
}

func TestNobodySignedInAndThenSomebodyComes(t *testing.T) {
	bubble(t, 0, func(c *centre) {
		c.s.PutOperator(Operator{UserID: "a", Account: "a"})
		if err := c.s.SetState(context.Background(), "a", acd.Ready, ""); err != nil {
			t.Fatal(err)
		}
		caller := c.ring(stranger)
		c.wait(time.Minute)
		if x := c.want(Queued); x.Position != 1 {
			t.Errorf("%+v", x)
		}
		c.net.register("a", true) // the telephone was missing
		c.wait(0)
		c.want(Offered)
		caller.end(leg.CallerHangup)
	})
}

func TestOperatorsKnownBeforeRun(t *testing.T) {
	bubble(t, 0, func(c *centre) {
		c.end()
		c.store.mu.Lock()
		c.store.operators["a"] = Operator{UserID: "a", State: acd.Ready, Version: 5, Epoch: 9}
		c.store.events = nil
		c.store.mu.Unlock()
		c.net.register("a", true)
		c.before = func(s *Service) { s.PutOperator(Operator{UserID: "a", Account: "a"}) }
		c.open(0)
		caller := c.ring(simDevice)
		c.wait(25 * time.Millisecond)
		if x := c.want(Offered); len(x.Offered) != 1 {
			t.Errorf("%+v", x)
		}
		c.phone("a").pickUp()
		c.wait(20 * time.Second)
		caller.end(leg.CallerHangup)
		c.wait(time.Second)
		if o := c.store.operators["a"]; o.Epoch != 10 || o.Version <= 5 || o.State != acd.WrapUp {
			t.Errorf("%+v", o)
		}
	})
}

func TestNewOperatorWhoIsMadeKnownTwiceIsStored(t *testing.T) {
	bubble(t, 0, func(c *centre) {
		c.end()
		c.net.register("a", true)
		c.before = func(s *Service) {
			s.PutOperator(Operator{UserID: "a", Account: "a"})
			s.PutOperator(Operator{UserID: "a", Account: "a", Name: "Li"})
		}
		c.open(0)
		c.wait(5 * time.Second)
		if o := c.store.operators["a"]; o.Name != "Li" || !o.Phone || o.Version == 0 {
			t.Errorf("stored %+v", o)
		}
	})
}

func TestQueueIsRepairedWhenACallDiesInSilence(t *testing.T) {
	bubble(t, 1, func(c *centre) {
		c.s.act(func(q *acd.Queue) []acd.Offer {
			q.Put(time.Now(), acd.Entry{Call: "ghost", Class: acd.Normal})
			return nil
		})
		c.wait(20 * time.Second)
		c.wantOperator("a", acd.Ready)
		c.store.mu.Lock()
		defer c.store.mu.Unlock()
		if !slices.ContainsFunc(c.store.events, func(e event.Event) bool { return e.Type == QueueRepaired }) {
			t.Error("nobody was told")
		}
	})
}

func TestOfferMissedTwiceGoesToTheNext(t *testing.T) {
	bubble(t, 2, func(c *centre) {
		caller := c.ring(stranger)
		c.wait(time.Second)
		c.phone("a").say(leg.Ringing)
		c.wait(16 * time.Second)
		if len(c.net.ringing("phone:a")) != 0 {
			t.Error("the telephone of a still rings")
		}
		c.phone("b").end(leg.Rejected)
		c.wait(6 * time.Second)
		c.phone("a").pickUp() // nobody else is left
		c.wait(0)
		x := c.want(Talking)
		n := 0
		for _, f := range c.facts(x.ID) {
			if f == CallMissed {
				n++
			}
		}
		if n != 2 {
			t.Errorf("%d misses: %v", n, c.facts(x.ID))
		}
		caller.end(leg.CallerHangup)
	})
}

func TestPanicInAStepDoesNotEndTheCall(t *testing.T) {
	bubble(t, 1, func(c *centre) {
		caller := c.ring(stranger)
		c.wait(time.Second)
		c.phone("a").pickUp()
		c.wait(0)
		a, err := c.s.actor(c.only().ID)
		if err != nil {
			t.Fatal(err)
		}
		a.send(func(*actor) { panic("boom") })
		c.wait(time.Second)
		c.want(Talking)
		a.send(func(*actor) { panic("boom") })
		c.wait(time.Second)
		if x := c.want(Ended); x.Cause != leg.Fault || !caller.isOver() {
			t.Errorf("%+v", x)
		}
	})
}

func TestUnknownOutcomeOfACommitIsNotDoubled(t *testing.T) {
	bubble(t, 1, func(c *centre) {
		c.store.mu.Lock()
		c.store.unknown = true
		c.store.mu.Unlock()
		caller := c.ring(stranger)
		c.wait(5 * time.Second)
		c.store.mu.Lock()
		c.store.unknown = true
		c.store.mu.Unlock()
		caller.end(leg.CallerHangup)
		c.wait(10 * time.Second)
		if cb := c.debt(); len(cb.CallIDs) != 1 || cb.Version != 1 {
			t.Errorf("%+v", cb)
		}
		c.want(Ended)
	})
}

func TestStoreIsDownAtTheEndOfACall(t *testing.T) {
	bubble(t, 1, func(c *centre) {
		caller := c.ring(simDevice)
		c.wait(time.Second)
		c.store.setFail(errors.New("down"))
		caller.end(leg.CallerHangup)
		c.wait(time.Minute)
		if len(c.s.Calls()) != 0 {
			t.Error("the call lives on")
		}
		c.store.setFail(nil)
		c.wait(2 * time.Second)
		if cb := c.debt(); cb.Number != simDevice || cb.Class != acd.SOS {
			t.Errorf("%+v", cb)
		}
	})
}

func TestStatesOfCallsAndCallbacks(t *testing.T) {
	calls := map[CallState]string{
		Awaiting: "queued ended", Arrived: "greeting queued ended", Greeting: "queued ended", Queued: "offered dialling talking ended",
		Offered: "queued dialling talking ended", Dialling: "talking queued ended", Talking: "held queued ended", Held: "talking queued ended",
	}
	for _, from := range CallStates() {
		for _, to := range CallStates() {
			if got, want := CanMove(from, to), slices.Contains(strings.Fields(calls[from]), string(to)); got != want {
				t.Errorf("call %s → %s: %v", from, to, got)
			}
		}
	}
	debts := map[CallbackState]string{Due: "dialling unreachable reached closed", Calling: "due unreachable reached closed", Unreachable: "due dialling reached closed"}
	for _, from := range CallbackStates() {
		for _, to := range CallbackStates() {
			if got, want := from.CanBecome(to), slices.Contains(strings.Fields(debts[from]), string(to)); got != want {
				t.Errorf("call-back %s → %s: %v", from, to, got)
			}
		}
		if got, want := from.Open(), debts[from] != ""; got != want {
			t.Errorf("%s open: %v", from, got)
		}
	}
}
