package media

import (
	"math"
	"testing"
)

func TestG711KnownValues(t *testing.T) {
	// ITU-T G.711 tables 1a, 1b, 2a, 2b, scaled to 16 bits.
	for _, c := range []struct {
		law  Codec
		code byte
		want int16
	}{
		{PCMA, 0xD5, 8}, {PCMA, 0x55, -8}, {PCMA, 0xAA, 32256}, {PCMA, 0x2A, -32256}, {PCMA, 0x80, 5504},
		{PCMU, 0xFF, 0}, {PCMU, 0x7F, 0}, {PCMU, 0x80, 32124}, {PCMU, 0x00, -32124}, {PCMU, 0xEF, 132},
	} {
		if got := c.law.Linear(c.code); got != c.want {
			t.Errorf("%v %#02x is %d, want %d", c.law, c.code, got, c.want)
		}
	}
}

// TestEncodersPickTheNearest compares every sample with a search of the table.
func TestEncodersPickTheNearest(t *testing.T) {
	for _, c := range []struct {
		law    Codec
		encode func(int16) byte
	}{{PCMA, EncodeA}, {PCMU, encodeMu}} {
		for v := math.MinInt16; v <= math.MaxInt16; v += 3 {
			got := int(c.law.Linear(c.encode(int16(v))))
			best := math.MaxInt
			for code := range 256 {
				best = min(best, abs(int(c.law.Linear(byte(code)))-v))
			}
			// The laws decide by truncation at the segment's resolution: never worse
			// than one step of it.
			if step := max(16, abs(v)/16); abs(got-v) > best+step/2+4 {
				t.Fatalf("%v: %d becomes %d, the nearest is %d away", c.law, v, got, best)
			}
		}
	}
}

func abs(v int) int {
	if v < 0 {
		return -v
	}
	return v
}

func TestConversionBetweenTheLaws(t *testing.T) {
	tone := Tone(1000, -10, 800)
	mu, back := make([]byte, len(tone)), make([]byte, len(tone))
	Convert(mu, tone, PCMA, PCMU)
	Convert(back, mu, PCMU, PCMA)
	for i := range tone {
		a, b := int(PCMA.Linear(tone[i])), int(PCMA.Linear(back[i]))
		if abs(a-b) > max(64, abs(a)/16) {
			t.Fatalf("sample %d: %d comes back as %d", i, a, b)
		}
	}
	if a := PCMA.Linear(muToA[PCMU.Silence()]); abs(int(a)) > 8 {
		t.Errorf("µ-law silence becomes %d in A-law", a)
	}
	if m := PCMU.Linear(aToMu[PCMA.Silence()]); abs(int(m)) > 8 {
		t.Errorf("A-law silence becomes %d in µ-law", m)
	}
}

func TestLevel(t *testing.T) {
	for _, db := range []float64{-6, -20, -40, -50} {
		tone := Tone(400, db, 8000)
		if got := dbov(energy(tone, PCMA), len(tone)); math.Abs(got-db) > 0.7 {
			t.Errorf("a tone of %v dBov measures %.1f", db, got)
		}
	}
	// A-law's silence is ±8, about -72 dBov; nothing at all is the bottom.
	if got := dbov(energy(silentA[:], PCMA), len(silentA)); got > -70 {
		t.Errorf("silence measures %.1f dBov", got)
	}
	if dbov(0, 160) != silentDB {
		t.Error("no energy is not the bottom")
	}
}
