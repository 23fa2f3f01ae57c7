package geo

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var kunming = Point{Lat: 25.0389, Lng: 102.7183}

func TestDistanceOfKnownPairs(t *testing.T) {
	for _, c := range []struct {
		a, b Point
		want float64
	}{
		{kunming, kunming, 0},
		{Point{0, 0}, Point{0, 1}, 111195},
		{Point{Lat: 39.9042, Lng: 116.4074}, kunming, 2087000},
	} {
		if got := Distance(c.a, c.b); math.Abs(got-c.want) > math.Max(1, c.want*0.005) {
			t.Errorf("Distance(%v, %v) = %.0f, want %.0f", c.a, c.b, got, c.want)
		}
	}
}

func TestOffsetIsDistance(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		east := rapid.Float64Range(-5000, 5000).Draw(t, "east")
		north := rapid.Float64Range(-5000, 5000).Draw(t, "north")
		if got, want := Distance(kunming, Offset(kunming, east, north)), math.Hypot(east, north); math.Abs(got-want) > 0.01+want*0.002 {
			t.Fatalf("offset of %.1f m is %.1f m away", want, got)
		}
	})
}

func TestDatumRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := Point{Lat: rapid.Float64Range(18, 53).Draw(t, "lat"), Lng: rapid.Float64Range(75, 134).Draw(t, "lng")}
		back, err := ToWGS84(ToGCJ02(p), GCJ02)
		if err != nil {
			t.Fatal(err)
		}
		if d := Distance(p, back); d > 0.01 {
			t.Fatalf("%v comes back %.3f m away", p, d)
		}
		if d := Distance(p, ToGCJ02(p)); d < 20 || d > 1500 {
			t.Fatalf("%v is shifted by %.0f m", p, d)
		}
	})
	if _, err := ToWGS84(kunming, "mars"); err == nil {
		t.Error("an unknown datum is taken")
	}
	if far := (Point{Lat: 48.85, Lng: 2.35}); ToGCJ02(far) != far {
		t.Error("a point outside China is shifted")
	}
}

// TestNearestEqualsTheScan compares the grid with the plain scan while things move.
func TestNearestEqualsTheScan(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var x Index
		at := map[string]Point{}
		spread := rapid.SampledFrom([]float64{300, 5000, 60000}).Draw(t, "spread")
		for i := range rapid.IntRange(0, 300).Draw(t, "puts") {
			id := fmt.Sprintf("r%d", i%120)
			if i%17 == 16 {
				x.Remove(id)
				delete(at, id)
				continue
			}
			p := Offset(kunming, (rand.Float64()-0.5)*spread, (rand.Float64()-0.5)*spread)
			x.Put(id, p)
			at[id] = p
		}
		radius := rapid.Float64Range(0, 40000).Draw(t, "radius")
		limit := rapid.IntRange(1, 20).Draw(t, "limit")
		var want []Hit
		for id, p := range at {
			if d := Distance(kunming, p); d <= radius {
				want = append(want, Hit{id, p, d})
			}
		}
		even := rapid.Bool().Draw(t, "only even ids")
		want = slices.DeleteFunc(want, func(h Hit) bool { return even && odd(h.ID) })
		slices.SortFunc(want, compare)
		want = want[:min(limit, len(want))]
		got := x.NearestWhere(kunming, radius, limit, func(id string) bool { return !even || !odd(id) })
		if len(got) != len(want) {
			t.Fatalf("%d hits, the scan finds %d", len(got), len(want))
		}
		for i := range got {
			if got[i] != want[i] {
				t.Fatalf("hit %d is %v, the scan finds %v", i, got[i], want[i])
			}
		}
		if x.Len() != len(at) {
			t.Fatalf("Len is %d, want %d", x.Len(), len(at))
		}
	})
}

func odd(id string) bool { return id[len(id)-1]%2 == 1 }

func TestTravelOrdersModes(t *testing.T) {
	near, far := Offset(kunming, 100, 0), Offset(kunming, 3000, 0)
	if Travel(kunming, near, Walk).Time > Travel(kunming, near, Drive).Time {
		t.Error("driving 100 m beats walking it")
	}
	if Travel(kunming, far, Drive).Time > Travel(kunming, far, Walk).Time {
		t.Error("walking 3 km beats driving it")
	}
	if e := Travel(kunming, kunming, Ebike); e.DistanceM != 0 || e.Time != time.Minute {
		t.Errorf("no way at all is %v", e)
	}
}

func BenchmarkNearest10k(b *testing.B) {
	var x Index
	r := rand.New(rand.NewPCG(1, 2))
	for i := range 10000 {
		x.Put(fmt.Sprint(i), Offset(kunming, (r.Float64()-0.5)*40000, (r.Float64()-0.5)*40000))
	}
	for b.Loop() {
		x.Nearest(kunming, 5000, 20)
	}
}
