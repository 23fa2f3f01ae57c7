package acd

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"anling/care"
)

var t0 = time.Date(2026, 1, 1, 8, 0, 0, 0, time.UTC)

// floor is a queue with operators, and a clock.
type floor struct {
	*Queue
	t   *testing.T
	now time.Time
}

func newFloor(t *testing.T, ready ...string) *floor {
	f := &floor{Queue: New(Limits{}), t: t, now: t0}
	for i, id := range ready {
		f.SignOn(t0, Agent{ID: care.UserID(id), State: Ready, Idle: t0.Add(time.Duration(i) * time.Second), Phone: true})
	}
	return f
}

func (f *floor) pass(d time.Duration) []Offer {
	f.now = f.now.Add(d)
	ended := f.Tick(f.now)
	for call := range f.entries {
		f.Renew(f.now, call)
	}
	for call := range f.talks {
		f.Renew(f.now, call)
	}
	return ended
}

func (f *floor) call(id string, c Class) { f.Put(f.now, Entry{Call: care.CallID(id), Class: c}) }

// match runs Match and says who is rung for what.
func (f *floor) match() []string {
	offers, _ := f.Match(f.now)
	var all []string
	for _, o := range offers {
		f.Rings(f.now, o)
		all = append(all, fmt.Sprintf("%s:%s", o.Call, o.Operator))
	}
	return all
}

func (f *floor) offerOf(op string) Offer {
	a := f.agents[care.UserID(op)]
	return Offer{Call: a.Call, Operator: a.ID, Epoch: a.Epoch, Class: SOS}
}

func (f *floor) want(op string, s State) {
	f.t.Helper()
	if got := f.agents[care.UserID(op)].State; got != s {
		f.t.Errorf("%s is %s, want %s", op, got, s)
	}
}

func (f *floor) wantMatch(want ...string) {
	f.t.Helper()
	if got := f.match(); !slices.Equal(got, want) {
		f.t.Errorf("rung: %v, want %v", got, want)
	}
}

func TestSOSGoesBeforeAnHourOfNormalCalls(t *testing.T) {
	f := newFloor(t)
	f.call("normal", Normal)
	f.pass(time.Hour)
	f.call("sos", SOS)
	f.SignOn(f.now, Agent{ID: "a", State: Ready, Phone: true})
	f.wantMatch("sos:a")
}

func TestLongestIdleIsRung(t *testing.T) {
	f := newFloor(t, "b", "a", "c")
	f.call("1", Normal)
	f.wantMatch("1:b")
	f.call("2", Normal)
	f.wantMatch("2:a")
}

func TestSOSRingsThreeAtOnceAndTheFirstAnswerWins(t *testing.T) {
	f := newFloor(t, "a", "b", "c", "d")
	f.call("sos", SOS)
	f.wantMatch("sos:a", "sos:b", "sos:c")
	f.pass(2 * time.Second)
	second := f.offerOf("c")
	losers, won := f.Accept(f.now, f.offerOf("b"))
	if !won || len(losers) != 2 {
		t.Fatalf("won %v, losers %v", won, losers)
	}
	if _, won := f.Accept(f.now, second); won {
		t.Error("two operators have the call")
	}
	f.want("a", Ready)
	f.want("b", Talking)
	f.want("c", Ready)
	if a := f.agents["a"]; !a.Idle.Equal(t0) || a.Misses != 0 {
		t.Errorf("the loser was punished: %+v", a)
	}
	f.call("next", Normal)
	f.wantMatch("next:a") // with his old place among the idle
}

func TestTwoSOSShareTheOperators(t *testing.T) {
	f := newFloor(t, "a", "b", "c")
	f.call("sos1", SOS)
	f.call("sos2", SOS)
	got := f.match()
	if !slices.Contains(got, "sos2:b") || len(got) != 3 {
		t.Errorf("rung: %v", got)
	}
}

func TestAnOldEpochIsVoid(t *testing.T) {
	f := newFloor(t, "a")
	f.call("1", Normal)
	f.match()
	old := f.offerOf("a")
	f.Drop(f.now, "1")
	f.call("2", Normal)
	f.match()
	if _, won := f.Accept(f.now, old); won {
		t.Error("an answer to the call before won")
	}
	if f.Miss(f.now, old, false) {
		t.Error("a miss of the call before counted")
	}
	f.want("a", Ringing)
}

func TestAMissIsPassedOverForAWhile(t *testing.T) {
	f := newFloor(t, "a", "b")
	f.call("1", Normal)
	f.wantMatch("1:a")
	if ended := f.pass(15 * time.Second); len(ended) != 1 || ended[0].Operator != "a" {
		t.Fatalf("ended: %v", ended)
	}
	f.want("a", Ready)
	f.wantMatch("1:b")
	// b does not answer either: a, who missed it longer ago, is not rung before his time
	// while there is another; now there is none who has not missed it.
	f.pass(15 * time.Second)
	f.wantMatch("1:a")
}

func TestTheOnlyOperatorIsRungAgainButNotAtOnce(t *testing.T) {
	f := newFloor(t, "a")
	f.call("1", Normal)
	f.match()
	f.Miss(f.now, f.offerOf("a"), false)
	f.wantMatch()
	f.pass(4 * time.Second)
	f.wantMatch()
	f.pass(time.Second)
	f.wantMatch("1:a")
}

func TestTwoMissesAreABreakExceptForTheLastOne(t *testing.T) {
	f := newFloor(t, "a", "b")
	for range 2 {
		f.call("1", Normal)
		f.match()
		f.Miss(f.now, f.offerOf("a"), false)
		f.Drop(f.now, "1")
		f.agents["a"].Idle = t0 // he is chosen again
	}
	f.want("a", Break)
	if f.agents["a"].Reason != "no_answer" {
		t.Errorf("reason %q", f.agents["a"].Reason)
	}
	for range 5 {
		f.call("2", SOS)
		f.match()
		if f.agents["b"].State == Ringing {
			f.Miss(f.now, f.offerOf("b"), false)
		}
		f.pass(2 * time.Second)
	}
	f.match()
	f.want("b", Ringing)
	f.Drop(f.now, "2")
	f.want("b", Ready)
}

func TestAnUnreachableTelephoneIsNoMiss(t *testing.T) {
	f := newFloor(t, "a", "b")
	f.call("1", Normal)
	offers, _ := f.Match(f.now) // does not ring
	if ended := f.pass(4 * time.Second); len(ended) != 1 {
		t.Fatalf("after %v: %v", offers, ended)
	}
	f.want("a", Ready)
	if f.agents["a"].Misses != 0 {
		t.Error("it counted as a miss")
	}
	f.wantMatch("1:b")
}

func TestWrapUpEndsByItselfAndIsInterruptedByAnSOSOnly(t *testing.T) {
	f := newFloor(t, "a")
	f.call("1", Normal)
	f.match()
	f.Accept(f.now, f.offerOf("a"))
	f.End(f.now, "1", true)
	f.want("a", WrapUp)
	f.pass(5 * time.Second)
	f.call("2", Normal)
	f.wantMatch()
	f.call("sos", SOS)
	f.wantMatch("sos:a")
	f.Drop(f.now, "sos")
	f.want("a", WrapUp) // and goes on where it was
	f.wantMatch()
	f.pass(10 * time.Second)
	f.want("a", Ready)
	f.wantMatch("2:a")
}

func TestBreakIsInterruptedWhenAnSOSHasWaited(t *testing.T) {
	f := newFloor(t, "a", "b")
	if _, err := f.SetState(f.now, "a", Break, "lunch", false); err != nil {
		t.Fatal(err)
	}
	f.SetPhone("b", false)
	f.call("sos", SOS)
	f.wantMatch()
	f.pass(10 * time.Second)
	f.wantMatch("sos:a")
	f.pass(8 * time.Second)
	f.want("a", Break)
}

func TestAnSOSTakesTheOperatorWhoIsBeingRungForALesserCall(t *testing.T) {
	f := newFloor(t, "a")
	f.call("1", Normal)
	f.wantMatch("1:a")
	f.call("sos", SOS)
	offers, withdrawn := f.Match(f.now)
	if len(offers) != 1 || offers[0].Call != "sos" || len(withdrawn) != 1 || withdrawn[0].Call != "1" {
		t.Fatalf("offers %v, withdrawn %v", offers, withdrawn)
	}
	if _, won := f.Accept(f.now, withdrawn[0]); won {
		t.Error("the withdrawn offer was taken")
	}
	if _, won := f.Accept(f.now, offers[0]); !won {
		t.Error("the SOS was not")
	}
	if !slices.Contains(f.Order(f.now), "1") {
		t.Error("the lesser call lost its place")
	}
}

func TestCallbacksNeitherStarveNorAreStarved(t *testing.T) {
	f := newFloor(t, "a")
	f.Put(f.now, Entry{Call: "cb", Class: Callback, At: f.now.Add(-time.Hour), Due: f.now})
	var served []string
	for i := range 8 {
		f.call(fmt.Sprint("n", i), Normal)
	}
	for range 5 {
		served = append(served, f.match()...)
		o := f.offerOf("a")
		f.Accept(f.now, o)
		f.End(f.now, o.Call, false)
	}
	if want := []string{"n0:a", "n1:a", "n2:a", "cb:a", "n3:a"}; !slices.Equal(served, want) {
		t.Errorf("served %v, want %v", served, want)
	}
}

func TestAnOverdueCallbackStandsByItsAge(t *testing.T) {
	f := newFloor(t)
	f.call("n", Normal)
	f.Put(f.now, Entry{Call: "cb", Class: Callback, At: f.now.Add(-time.Minute), Due: f.now})
	if got := f.Order(f.now); got[0] != "n" {
		t.Errorf("due now: %v", got)
	}
	f.pass(2 * time.Minute)
	if got := f.Order(f.now); got[0] != "cb" {
		t.Errorf("two minutes late: %v", got)
	}
}

func TestSkillsAreWaitedForOnlyIfSomebodyHasThem(t *testing.T) {
	f := newFloor(t, "a", "b")
	f.agents["b"].Skills = []string{"hakka"}
	put := func(id string) { f.Put(f.now, Entry{Call: care.CallID(id), Class: Normal, Skills: []string{"hakka"}}) }
	put("1")
	f.wantMatch("1:b")
	f.Accept(f.now, f.offerOf("b"))
	put("2")
	f.wantMatch()
	f.pass(20 * time.Second)
	if got := f.match(); !slices.Contains(got, "2:a") {
		t.Errorf("after the wait: %v", got)
	}
	g := newFloor(t, "a")
	g.Put(g.now, Entry{Call: "3", Class: Normal, Skills: []string{"hakka"}})
	g.wantMatch("3:a")
}

func TestTheOwnerIsPreferred(t *testing.T) {
	f := newFloor(t, "a", "b", "c")
	f.Put(f.now, Entry{Call: "1", Class: Normal, Prefer: "c"})
	f.wantMatch("1:c")
}

func TestOwnCallbackIsNobodyElses(t *testing.T) {
	f := newFloor(t, "a", "b")
	if _, err := f.SetState(f.now, "b", Break, "", false); err != nil {
		t.Fatal(err)
	}
	f.Put(f.now, Entry{Call: "cb", Class: Callback, Only: "b"})
	f.wantMatch("cb:b")
}

func TestStatesAskedFor(t *testing.T) {
	f := newFloor(t, "a", "b")
	if _, err := f.SetState(f.now, "nobody", Ready, "", false); err == nil {
		t.Error("an unknown operator")
	}
	if _, err := f.SetState(f.now, "a", Talking, "", false); err == nil {
		t.Error("talking cannot be asked for")
	}
	if _, err := f.SetState(f.now, "a", Break, "tea", false); err != nil {
		t.Error(err)
	}
	if _, err := f.SetState(f.now, "b", Break, "tea", false); err == nil {
		t.Error("the last one took a break")
	}
	if _, err := f.SetState(f.now, "b", Break, "tea", true); err != nil {
		t.Errorf("with a supervisor: %v", err)
	}
	for _, id := range []care.UserID{"a", "b"} {
		if _, err := f.SetState(f.now, id, Ready, "", false); err != nil {
			t.Error(err)
		}
	}
	// While talking it waits for the end of the call.
	f.call("1", Normal)
	f.match()
	f.Accept(f.now, f.offerOf("a"))
	if _, err := f.SetState(f.now, "a", Offline, "", false); err != nil {
		t.Error(err)
	}
	f.want("a", Talking)
	f.End(f.now, "1", true)
	f.want("a", WrapUp)
	f.pass(15 * time.Second)
	f.want("a", Offline)
	// While being rung it ends the offer.
	f.call("2", Normal)
	f.match()
	gone, err := f.SetState(f.now, "b", Offline, "", false)
	if err != nil || len(gone) != 1 || gone[0].Call != "2" {
		t.Errorf("%v, %v", gone, err)
	}
	f.want("b", Offline)
}

func TestHold(t *testing.T) {
	f := newFloor(t, "a")
	f.call("1", Normal)
	f.match()
	f.Accept(f.now, f.offerOf("a"))
	f.Hold(f.now, "1", true)
	f.want("a", Hold)
	f.Hold(f.now, "1", false)
	f.want("a", Talking)
	f.Hold(f.now, "1", true)
	f.End(f.now, "1", true)
	f.want("a", WrapUp)
}

func TestSweepEndsWhatNobodyOwns(t *testing.T) {
	f := newFloor(t, "a", "b")
	f.call("1", Normal)
	f.call("2", Normal)
	f.match()
	f.Accept(f.now, f.offerOf("a"))
	f.now = f.now.Add(16 * time.Second) // nobody renews
	if got := f.Sweep(f.now); len(got) != 2 {
		t.Errorf("repairs: %v", got)
	}
	f.want("a", Ready)
	f.want("b", Ready)
	if got := f.Sweep(f.now); len(got) != 0 {
		t.Errorf("again: %v", got)
	}
	f.agents["a"].State, f.agents["a"].Call = Ringing, "ghost"
	if got := f.Sweep(f.now); len(got) != 1 || got[0].What != "engaged_without_call" {
		t.Errorf("a ghost: %v", got)
	}
}

func TestSignOnGoesOnWhereItWas(t *testing.T) {
	for was, now := range map[State]State{"": Offline, Ready: Ready, Break: Break, Talking: Ready, Ringing: Ready, WrapUp: Ready, Offline: Offline} {
		f := newFloor(t)
		f.SignOn(t0, Agent{ID: "a", State: was, Epoch: 7})
		f.want("a", now)
		if f.agents["a"].Epoch != 7 {
			t.Error("the epoch began anew")
		}
	}
}
