package acd

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"anling/care"
)

// TestAnyOrderOfEvents drives a queue through random days and checks, after every
// step, what must always be so.
func TestAnyOrderOfEvents(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		q := New(Limits{})
		now := t0
		calls, live := 0, map[care.CallID]bool{}
		var standing []Offer
		n := rapid.IntRange(1, 6).Draw(r, "operators")
		for i := range n {
			q.SignOn(now, Agent{ID: care.UserID(fmt.Sprint("o", i)), State: Ready, Phone: true, Idle: now.Add(-time.Duration(i) * time.Second)})
		}
		pickOffer := func() (Offer, bool) {
			if len(standing) == 0 {
				return Offer{}, false
			}
			return rapid.SampledFrom(standing).Draw(r, "offer"), true // may be stale: must be harmless
		}
		operator := func() care.UserID { return care.UserID(fmt.Sprint("o", rapid.IntRange(0, n-1).Draw(r, "operator"))) }
		call := func() (care.CallID, bool) {
			if calls == 0 {
				return "", false
			}
			return care.CallID(fmt.Sprint("c", rapid.IntRange(1, calls).Draw(r, "call"))), true
		}
		r.Repeat(map[string]func(*rapid.T){
			"call arrives": func(*rapid.T) {
				calls++
				id := care.CallID(fmt.Sprint("c", calls))
				live[id] = true
				c := Class(rapid.IntRange(0, 3).Draw(r, "class"))
				q.Put(now, Entry{Call: id, Class: c, Due: now})
			},
			"caller leaves": func(*rapid.T) {
				if id, ok := call(); ok {
					q.Drop(now, id)
					q.End(now, id, rapid.Bool().Draw(r, "wrap"))
					delete(live, id)
				}
			},
			"call is raised": func(*rapid.T) {
				if id, ok := call(); ok {
					q.Raise(id, SOS)
				}
			},
			"telephone rings": func(*rapid.T) {
				if o, ok := pickOffer(); ok {
					q.Rings(now, o)
				}
			},
			"operator answers": func(*rapid.T) {
				if o, ok := pickOffer(); ok {
					losers, won := q.Accept(now, o)
					if won {
						for _, l := range losers {
							if l.Call != o.Call || l.Operator == o.Operator {
								r.Fatalf("loser %v of %v", l, o)
							}
						}
						if _, again := q.Accept(now, o); again {
							r.Fatalf("%v was accepted twice", o)
						}
					}
				}
			},
			"operator misses": func(*rapid.T) {
				if o, ok := pickOffer(); ok {
					q.Miss(now, o, rapid.Bool().Draw(r, "unreachable"))
				}
			},
			"operator asks": func(*rapid.T) {
				to := rapid.SampledFrom([]State{Ready, Break, Offline}).Draw(r, "to")
				_, _ = q.SetState(now, operator(), to, "", rapid.Bool().Draw(r, "supervisor")) // a refusal changes nothing
			},
			"telephone comes or goes": func(*rapid.T) { q.SetPhone(operator(), rapid.Bool().Draw(r, "on")) },
			"hold": func(*rapid.T) {
				if id, ok := call(); ok {
					q.Hold(now, id, rapid.Bool().Draw(r, "on"))
				}
			},
			"time passes": func(*rapid.T) {
				now = now.Add(time.Duration(rapid.IntRange(1, 40_000).Draw(r, "ms")) * time.Millisecond)
				for id := range live {
					q.Renew(now, id)
				}
				q.Tick(now)
				if repairs := q.Sweep(now); len(repairs) > 0 {
					r.Fatalf("repaired: %v", repairs)
				}
			},
			"": func(*rapid.T) {
				offers, _ := q.Match(now)
				standing = append(standing, offers...)
				if len(standing) > 20 {
					standing = standing[len(standing)-20:]
				}
				check(r, q, now)
			},
		})
	})
}

func check(r *rapid.T, q *Queue, now time.Time) {
	if q.Idle(now) {
		r.Fatalf("a call waits although an operator is free for it")
	}
	// Nobody is offered two calls, and every offer is known on both sides.
	engaged := map[care.UserID]care.CallID{}
	for id, e := range q.entries {
		if limit := q.fan(e); len(e.offers) > limit {
			// A class that was raised or a fan that was filled never exceeds its limit.
			r.Fatalf("%s is offered to %d", id, len(e.offers))
		}
		for op, epoch := range e.offers {
			if other, twice := engaged[op]; twice {
				r.Fatalf("%s is offered %s and %s", op, id, other)
			}
			engaged[op] = id
			a := q.agents[op]
			if a.Call != id || a.Epoch != epoch || (a.State != Reserved && a.State != Ringing) || a.Until.IsZero() {
				r.Fatalf("%s was offered %s and is %+v", op, id, a)
			}
		}
	}
	for id, a := range q.agents {
		switch a.State {
		case Reserved, Ringing:
			if engaged[id] != a.Call {
				r.Fatalf("%s is %s without an offer of %s", id, a.State, a.Call)
			}
		case Talking, Hold:
			if _, ok := q.talks[a.Call]; !ok {
				r.Fatalf("%s talks on %s, which nobody carries", id, a.Call)
			}
		case WrapUp:
			if a.Until.IsZero() {
				r.Fatalf("%s is in wrap-up without an end", id)
			}
		default:
			if a.Call != "" {
				r.Fatalf("%s is %s with %s", id, a.State, a.Call)
			}
		}
	}
	// While an SOS has nobody at all, no operator whom it has not passed over is being
	// rung for a lesser call.
	for _, e := range q.entries {
		if e.Class != SOS || len(e.offers) > 0 {
			continue
		}
		for op, lesser := range engaged {
			if _, missed := e.skip[op]; !missed && q.entries[lesser].Class != SOS && q.agents[op].Phone {
				r.Fatalf("SOS %s waits while %s is rung for %s", e.Call, op, lesser)
			}
		}
	}
	// Nobody waits behind a less urgent one.
	order := q.Order(now)
	for i := 1; i < len(order); i++ {
		if a, b := q.entries[order[i-1]], q.entries[order[i]]; a.Class > b.Class && b.Class < Normal {
			r.Fatalf("%s (%s) stands before %s (%s)", a.Call, a.Class, b.Call, b.Class)
		}
	}
}
