package media

import (
	"math"
	"sync"
)

// Ids of what is made by code instead of read from a file.
const (
	PromptMusic = "music.hold" // endless when looped
	PromptBeep  = "tone.beep"  // stands in for a missing prompt
)

// beep is two short tones, for a prompt that is missing: never silence.
var beep = sync.OnceValue(func() []byte {
	s := newScore(1.2)
	s.note(0.0, 0.25, 660, 0.25)
	s.note(0.45, 0.25, 660, 0.25)
	return s.audio()
})

// music is a calm loop of 19.2 s, four chords in quiet broken notes. It is written
// here so that nobody's rights are touched.
var music = sync.OnceValue(func() []byte {
	const beat = 0.6
	chords := [][]float64{ // C, a minor, F, G; the fifth below, then the notes
		{130.81, 261.63, 329.63, 392.00, 523.25},
		{110.00, 220.00, 261.63, 329.63, 440.00},
		{87.31, 220.00, 261.63, 349.23, 440.00},
		{98.00, 246.94, 293.66, 392.00, 493.88},
	}
	order := []int{1, 2, 3, 4, 3, 2, 3, 2}
	s := newScore(beat * float64(len(chords)*len(order)))
	for c, chord := range chords {
		for n, i := range order {
			at := float64(c*len(order)+n) * beat
			s.note(at, 1.6, chord[i], 0.10)
			if n%4 == 0 {
				s.note(at, 2.4, chord[0]*2, 0.06)
			}
		}
	}
	return s.audio()
})

// score adds notes; what rings over the end is heard at the beginning, so that the
// loop has no seam.
type score []float64

func newScore(seconds float64) score { return make(score, int(seconds*SampleRate)) }

// note adds a tone that fades like a plucked string.
func (s score) note(at, seconds, hz, gain float64) {
	from, n := int(at*SampleRate), int(seconds*SampleRate)
	for i := range n {
		t := float64(i) / SampleRate
		attack := min(1, t/0.01)
		release := min(1, (seconds-t)/0.05)
		v := math.Sin(2*math.Pi*hz*t) + 0.3*math.Sin(4*math.Pi*hz*t)
		s[(from+i)%len(s)] += gain * attack * release * math.Exp(-2.2*t/seconds) * v
	}
}

func (s score) audio() []byte {
	b := make([]byte, len(s))
	for i, v := range s {
		b[i] = EncodeA(int16(32000 * max(-1, min(1, v))))
	}
	return b
}

// Tone is a sine in A-law at so many dBov, for tests and devices' checks.
func Tone(hz, db float64, samples int) []byte {
	b := make([]byte, samples)
	peak := 32768 * math.Sqrt2 * math.Pow(10, db/20)
	for i := range b {
		b[i] = EncodeA(int16(max(-32768, min(32767, peak*math.Sin(2*math.Pi*hz*float64(i)/SampleRate)))))
	}
	return b
}
