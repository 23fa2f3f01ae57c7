package media

import "math"

// earBlock is 25.6 ms: long enough to tell 697 from 770 Hz.
const earBlock = 205

const (
	earShare = 0.80  // of the energy lies in the two tones; a voice is spread wider
	earTwist = 6.3   // 8 dB between the two tones (Q.24)
	earQuiet = 2.5e3 // mean square below which nothing is a key, about -56 dBov
	earHits  = 2     // blocks in a row
	earRest  = 2     // blocks of rest before the same key counts again
)

var earCoeff = func() (c [8]float64) {
	for i, hz := range append(rowHz[:], colHz[:]...) {
		c[i] = 2 * math.Cos(2*math.Pi*hz/SampleRate)
	}
	return c
}()

// ear finds keys in the audio of a party that has no telephone events (Goertzel).
// It is strict, as a voice must never accept a job: keys of 80 ms and more.
type ear struct {
	s1, s2 [8]float64
	energy float64
	n      int

	key  byte // of the last block with one; 0 none
	hits int
	rest int
}

func (e *ear) hear(payload []byte, law Codec, out *notes) {
	t := &linearOf[law.table()]
	for _, b := range payload {
		v := float64(t[b])
		e.energy += v * v
		for i := range earCoeff {
			e.s1[i], e.s2[i] = v+earCoeff[i]*e.s1[i]-e.s2[i], e.s1[i]
		}
		if e.n++; e.n == earBlock {
			e.judge(e.block(), out)
		}
	}
}

// block ends a block and returns its key, or 0.
func (e *ear) block() byte {
	var power [8]float64
	for i, c := range earCoeff {
		power[i] = e.s1[i]*e.s1[i] + e.s2[i]*e.s2[i] - c*e.s1[i]*e.s2[i]
	}
	energy := e.energy
	e.s1, e.s2, e.energy, e.n = [8]float64{}, [8]float64{}, 0, 0
	if energy < earQuiet*earBlock {
		return 0
	}
	row, col := strongest(power[:4]), strongest(power[4:])
	low, high := power[row], power[4+col]
	if 2*(low+high) < earShare*earBlock*energy || low > earTwist*high || high > earTwist*low {
		return 0
	}
	return pad[row][col]
}

func strongest(p []float64) (best int) {
	for i := range p {
		if p[i] > p[best] {
			best = i
		}
	}
	return best
}

func (e *ear) judge(key byte, out *notes) {
	switch {
	case key == 0:
		if e.rest++; e.rest >= earRest {
			e.key, e.hits = 0, 0
		}
		return
	case key != e.key:
		e.key, e.hits = key, 0
	}
	e.rest = 0
	if e.hits++; e.hits == earHits {
		out.add(Event{Kind: DTMF, Digit: key})
	}
}
