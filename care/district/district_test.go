package district

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"
	"testing"
	"time"

	"anling/care"
	"anling/geo"
)

// golden is the demo district of seed 1. A change of the generator changes it: say
// so in the changelog, for screens and tests show its people.
const golden = "3cbf19d65c252a961a1636c51f36fefbc7b5f1b35dd7c43313ec37836a86ab58"

// demo is a district of the demo's size.
func demo(seed uint64) Options { return Options{Seed: seed, Elders: 300, Responders: 40} }

func TestTheSeedDecidesEverything(t *testing.T) {
	sum := func(seed uint64) string {
		h := sha256.New()
		d := New(demo(seed))
		for _, err := range []error{d.WriteElders(h), d.WriteDevices(h), d.WriteProviders(h), d.WriteResponders(h)} {
			if err != nil {
				t.Fatal(err)
			}
		}
		for _, s := range d.Roads().Segments {
			h.Write([]byte(s.Name + s.Class))
		}
		return hex.EncodeToString(h.Sum(nil))
	}
	if got := sum(1); got != golden {
		t.Errorf("the demo district is %s", got)
	}
	if sum(2) == golden {
		t.Error("another seed gives the same district")
	}
}

func TestRecordsAreValidAndNobodyTwice(t *testing.T) {
	d := New(Options{Seed: 7, Elders: 130_000, Responders: 100})
	now := time.Date(2026, 11, 25, 0, 0, 0, 0, time.UTC)
	ids, phones := map[string]int{}, map[string]int{}
	abilities, living := map[string]int{}, map[string]int{}
	for i := 0; i < d.o.Elders; i++ {
		e := d.Elder(i)
		if other, twice := ids[e.IDNumber]; twice {
			t.Fatalf("elders %d and %d have one ID number", i, other)
		}
		ids[e.IDNumber] = i
		if i%50 == 0 || i < 200 {
			id, err := care.ParseIDNumber(e.IDNumber, now, true)
			if err != nil || id.BirthDate() != e.BirthDate || id.Sex() != e.Sex || !strings.HasPrefix(e.IDNumber, care.DemoProvince) || len(id.Questions) > 0 {
				t.Fatalf("elder %d: %s, %s, %s: %+v, %v", i, e.IDNumber, e.BirthDate, e.Sex, id, err)
			}
			if name, err := care.NormalizeName(e.Name); err != nil || name != e.Name {
				t.Errorf("elder %d is called %q: %v", i, e.Name, err)
			}
			if age := care.AgeAt(e.BirthDate, now); age < 60 || age > 103 {
				t.Errorf("elder %d is %d", i, age)
			}
			if dist := geo.Distance(e.Home, Centre); dist > 8000 {
				t.Errorf("elder %d lives %.0f m away", i, dist)
			}
			for _, c := range e.Contacts {
				for _, p := range c.Phones {
					if n, err := care.NormalizePhone(p, ""); err != nil || !strings.HasPrefix(n, "+86154") {
						t.Errorf("a contact has %s: %v", p, err)
					}
				}
			}
		}
		for _, p := range e.Phones {
			n, err := care.NormalizePhone(p, "")
			if err != nil || !strings.HasPrefix(n, "+86154") && !strings.HasPrefix(n, "+86390") {
				t.Fatalf("elder %d has %s: %v", i, p, err)
			}
			if phones[n]++; strings.HasPrefix(n, "+86154") && phones[n] > 1 {
				t.Fatalf("%s is given twice", n)
			}
		}
		abilities[e.Ability]++
		living[e.LivingState]++
	}
	if len(abilities) != 5 || len(living) < 5 {
		t.Errorf("abilities %v, living %v: not varied", abilities, living)
	}
}

func TestCouplesShareHomeAndTelephone(t *testing.T) {
	d := New(demo(1))
	he, she := d.Elder(0), d.Elder(1)
	if he.Sex != "male" || she.Sex != "female" || he.Address != she.Address || he.UnitFloorRoom != she.UnitFloorRoom || he.Home != she.Home || he.AreaCode != she.AreaCode {
		t.Errorf("a couple lives at %s%s and %s%s", he.Address, he.UnitFloorRoom, she.Address, she.UnitFloorRoom)
	}
	if he.Contacts[0].Name != she.Name || she.Contacts[0].Name != he.Name || he.Contacts[0].Relation != "spouse" {
		t.Errorf("%s names %s, %s names %s", he.Name, he.Contacts[0].Name, she.Name, she.Contacts[0].Name)
	}
	shared := 0
	for i := 0; i < 300; i += 10 {
		a, b := d.Elder(i), d.Elder(i+1)
		if slices.ContainsFunc(a.Phones, func(p string) bool { return slices.Contains(b.Phones, p) }) {
			shared++
		}
	}
	if shared == 0 {
		t.Error("no couple shares a telephone")
	}
}

func TestDevicesAndResponders(t *testing.T) {
	d := New(demo(1))
	seen := map[string]int{}
	for v := range d.Devices() {
		seen[v.Protocol]++
		if v.Protocol == "gt06" {
			if n := len(v.ExternalID); n != 15 || care.LuhnDigit(v.ExternalID[:14]) != v.ExternalID[14] {
				t.Errorf("%s is no IMEI", v.ExternalID)
			}
		}
	}
	if seen["gt06"] == 0 || seen["watch"] == 0 || seen["sip"] == 0 {
		t.Errorf("devices %v", seen)
	}
	for _, p := range d.Providers() {
		if _, err := care.ParseUSCC(p.USCC); err != nil {
			t.Errorf("%s: %v", p.USCC, err)
		}
	}
	all := d.Responders()
	on, kinds := 0, map[string]bool{}
	for _, r := range all {
		kinds[r.Kind] = true
		if r.Duty == "on" {
			on++
		}
	}
	if len(all) != 40 || on < 25 || len(kinds) < 8 {
		t.Errorf("%d responders, %d on duty, kinds %v", len(all), on, kinds)
	}
}

// TestRoadsAreOnePiece: from every junction one gets to every other.
func TestRoadsAreOnePiece(t *testing.T) {
	for seed := range uint64(5) {
		roads := New(demo(seed)).Roads()
		next := map[int][]int{}
		for _, s := range roads.Segments {
			next[s.From], next[s.To] = append(next[s.From], s.To), append(next[s.To], s.From)
			if s.LengthM < 300 || s.LengthM > 1500 {
				t.Errorf("a segment of %.0f m", s.LengthM)
			}
		}
		reached, queue := map[int]bool{0: true}, []int{0}
		for len(queue) > 0 {
			at := queue[0]
			queue = queue[1:]
			for _, n := range next[at] {
				if !reached[n] {
					reached[n] = true
					queue = append(queue, n)
				}
			}
		}
		if len(reached) != len(roads.Points) {
			t.Errorf("seed %d: %d of %d junctions reached", seed, len(reached), len(roads.Points))
		}
	}
}
