package media

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

func TestSequenceCountsLossReorderAndDoubles(t *testing.T) {
	var q sequence
	take := func(seq uint16) int { return q.take(seq, uint32(seq)*160, int64(seq)*160) }
	for _, c := range []struct {
		seq  uint16
		want int
	}{
		{65534, seqNew}, {65535, seqNew}, {0, seqNew}, {0, seqDuplicate}, {3, seqNew}, {2, seqLate}, {2, seqDuplicate},
		{3, seqDuplicate}, {4, seqNew}, {65533, seqDuplicate}, {30000, seqJump}, {5, seqNew},
	} {
		if got := take(c.seq); got != c.want {
			t.Fatalf("number %d: got %d, want %d", c.seq, got, c.want)
		}
	}
	// 65534 to 5 are eight numbers, 1 is missing.
	if q.expected() != 8 || q.lost() != 1 || q.reordered != 1 || q.duplicates != 4 {
		t.Errorf("expected %d, lost %d, reordered %d, duplicates %d", q.expected(), q.lost(), q.reordered, q.duplicates)
	}
	if f := q.fraction(); f != 32 { // 1/8 of 256
		t.Errorf("fraction %d", f)
	}
	take(6)
	if f := q.fraction(); f != 0 {
		t.Errorf("fraction of the next interval %d", f)
	}
}

// TestStatsAgainstSyntheticNetwork loses, delays and swaps packets and compares
// with what was really done.
func TestStatsAgainstSyntheticNetwork(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var q sequence
	type arrival struct {
		seq uint16
		at  int64 // samples
	}
	var all []arrival
	lost := uint64(0)
	const n = 20000
	for i := range n {
		if i > 0 && i < n-1 && r.Float64() < 0.05 {
			lost++
			continue
		}
		// Uniform delay of 0 to 10 ms: packets keep their order.
		all = append(all, arrival{uint16(65000 + i), int64(i*160) + r.Int64N(80)})
	}
	swaps := uint64(0)
	for i := 100; i+1 < len(all)-1; i += 400 {
		if all[i+1].seq == all[i].seq+1 {
			all[i].seq, all[i+1].seq = all[i+1].seq, all[i].seq
			swaps++
		}
	}
	for _, a := range all {
		q.take(a.seq, uint32(a.seq-65000)*160, a.at)
	}
	if q.lost() != lost || q.reordered != swaps {
		t.Errorf("lost %d, really %d; reordered %d, really %d", q.lost(), lost, q.reordered, swaps)
	}
	// The mean of |d1-d2| of two uniform delays of 80 samples is a third: 26.7.
	if q.jitter < 13 || q.jitter > 45 {
		t.Errorf("jitter %.1f samples, about 27 expected", q.jitter)
	}
}

func TestMOS(t *testing.T) {
	ms := time.Millisecond
	clean := mos(40*ms, 0, 0, 1)
	if clean < 4.3 || clean > 4.5 {
		t.Errorf("a clean call has %.2f", clean)
	}
	if m := mos(40*ms, 0, 0.01, 1); m > clean-0.2 || m < 3.5 {
		t.Errorf("1 %% loss without concealment: %.2f", m)
	}
	if a, b := mos(40*ms, 0, 0.03, 1), mos(40*ms, 0, 0.03, 3); b >= a {
		t.Errorf("bursts do not make it worse: %.2f, %.2f", a, b)
	}
	if a, b := mos(200*ms, 0, 0, 1), mos(800*ms, 0, 0, 1); b > a-0.3 {
		t.Errorf("delay does not make it worse: %.2f, %.2f", a, b)
	}
	if m := mos(2*time.Second, 100*ms, 0.6, 4); m != 1 {
		t.Errorf("a hopeless call has %.2f", m)
	}
	if got := burstRatio(10, 5, 0.1); math.Abs(got-1.8) > 1e-9 {
		t.Errorf("burst ratio %v", got)
	}
}

func TestTimeOfPacketsIsFreedOfJitter(t *testing.T) {
	var s spoken
	r := rand.New(rand.NewPCG(3, 4))
	const start = int64(time.Hour)
	ts := uint32(1<<32 - 80000) // wraps in the middle
	for i := range 3000 {
		said := start + int64(i)*int64(tick)
		now := said + r.Int64N(int64(40*time.Millisecond)) // jitter of 40 ms
		at := s.at(ts, now)
		if off := time.Duration(at - said); i > 200 && (off < -time.Millisecond || off > 6*time.Millisecond) {
			t.Fatalf("packet %d is placed %v off", i, off)
		}
		ts += 160
	}
	// The party's clock runs 200 ppm fast for ten minutes.
	s = spoken{}
	for i := range 30000 {
		said := start + int64(float64(i)*float64(tick)*(1-200e-6))
		at := s.at(ts, said+r.Int64N(int64(10*time.Millisecond)))
		if off := time.Duration(at - said); off < -time.Millisecond || off > 11*time.Millisecond {
			t.Fatalf("packet %d is placed %v off by drift", i, off)
		}
		ts += 160
	}
}
