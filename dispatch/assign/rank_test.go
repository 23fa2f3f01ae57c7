package assign

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"anling/care"
	"anling/geo"
)

var place = geo.Point{Lat: 25.04, Lng: 102.72}

func who(id string, eastM float64) care.Responder {
	return care.Responder{ID: care.ResponderID(id), Duty: "on", Skills: []string{"first_aid"}, Mode: "ebike", Base: geo.Offset(place, eastM, 0)}
}

func TestEachPassedOverHasItsReason(t *testing.T) {
	now := time.Date(2026, 11, 24, 8, 0, 0, 0, time.UTC)
	r := NewRoster()
	put := func(id string, east float64, f func(*care.Responder)) {
		p := who(id, east)
		if f != nil {
			f(&p)
		}
		r.Put(p, false)
	}
	put("near", 300, nil)
	put("far", 2000, nil)
	put("cook", 100, func(p *care.Responder) { p.Skills = []string{"meals"} })
	put("home", 50, func(p *care.Responder) { p.Duty = "off" })
	put("lunch", 60, func(p *care.Responder) { p.Duty = "paused" })
	put("feud", 70, func(p *care.Responder) { p.BlockedPairs = []care.ElderID{"e1"} })
	put("expired", 500, func(p *care.Responder) { p.Certificates = []care.Certificate{{Kind: "first_aid", Until: "2026-01-01"}} })
	put("busy", 80, nil)
	r.occupy("busy", "other", time.Time{})
	put("held", 90, nil)
	r.hold("held", "other")
	put("refused", 110, nil)
	r.refused("refused", "a1", now.Add(-time.Minute))
	put("asked", 120, nil)
	got := map[care.ResponderID]Candidate{}
	ranked := r.Rank(Query{Place: place, ElderID: "e1", Skills: []string{"first_aid"}, Plan: "sos", For: "a1", Exclude: []care.ResponderID{"asked"}}, now)
	for _, c := range ranked {
		got[c.ResponderID] = c
	}
	for id, want := range map[care.ResponderID]Verdict{"near": Picked, "far": Picked, "cook": NotSkilled, "home": OffDuty, "lunch": Paused, "feud": Blacklisted,
		"expired": Picked, "busy": BusyElsewhere, "held": HeldElsewhere, "refused": RefusedRecently, "asked": SentAlready} {
		if got[id].Verdict != want {
			t.Errorf("%s is %s, want %s", id, got[id].Verdict, want)
		}
	}
	if ranked[0].ResponderID != "near" || len(got["expired"].Remarks) == 0 {
		t.Errorf("first is %s, remarks of the expired %v", ranked[0].ResponderID, got["expired"].Remarks)
	}
	order := r.Rank(Query{Place: place, Skills: []string{"first_aid"}, Plan: "order"}, now)
	for _, c := range order {
		if c.ResponderID == "expired" && c.Verdict != CertExpired {
			t.Errorf("an order takes an expired certificate: %s", c.Verdict)
		}
	}
}

// TestTheNearestIsFirst holds the ranking to the plain minimum over random towns.
func TestTheNearestIsFirst(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := NewRoster()
		n := rapid.IntRange(1, 60).Draw(t, "n")
		best := -1.0
		for i := range n {
			p := who(fmt.Sprint("r", i), 0)
			p.Base = geo.Offset(place, rapid.Float64Range(-30000, 30000).Draw(t, "e"), rapid.Float64Range(-30000, 30000).Draw(t, "n"))
			p.Mode = rapid.SampledFrom([]string{"walk", "ebike", "drive"}).Draw(t, "mode")
			p.Duty = rapid.SampledFrom([]string{"on", "on", "off"}).Draw(t, "duty")
			r.Put(p, false)
			if s := geo.Travel(p.Base, place, geo.Mode(p.Mode)).Time.Seconds(); p.Duty == "on" && geo.Distance(p.Base, place) <= 40000 && (best < 0 || s < best) {
				best = s
			}
		}
		ranked := r.Rank(Query{Place: place, Skills: []string{"first_aid"}, Plan: "sos", RadiusM: 5000, Limit: 100}, time.Now())
		if best < 0 {
			for _, c := range ranked {
				if c.Verdict == Picked {
					t.Fatalf("%v is picked", c)
				}
			}
			return
		}
		// Who is within the circle at three good ones may beat the farther but faster:
		// the first must be the best of those looked at, and never far from the optimum.
		if ranked[0].Verdict != Picked {
			t.Fatalf("nobody is picked of %d", n)
		}
		for _, c := range ranked[1:] {
			if c.Verdict == Picked && c.Score < ranked[0].Score-equalWithin-1 {
				t.Fatalf("%v is ranked after %v", c, ranked[0])
			}
		}
	})
}
