package media

import "time"

const (
	levelWindow = SampleRate / 5 // 200 ms
	// Silence is below -50 dBov, or less than 6 dB above the line's own noise, as
	// long as that noise is not itself as loud as speech.
	silenceDB  = -50.0
	aboveNoise = 6.0
	noiseCap   = -35.0
	noiseRise  = 0.05 // dB per window: the floor follows a louder line slowly
)

// level measures how loud the party is and when it was last heard.
type level struct {
	sum     uint64
	samples int
	db      float64 // of the last full window
	floor   float64
	set     bool
	heard   int64 // last window with sound
	silent  bool  // Silent was said
}

func (l *level) hear(payload []byte, law Codec, now int64, out *notes) {
	l.sum += energy(payload, law)
	l.samples += len(payload)
	if l.samples < levelWindow {
		return
	}
	l.db = dbov(l.sum, l.samples)
	l.sum, l.samples = 0, 0
	if !l.set {
		l.set, l.floor, l.heard = true, min(l.db, silenceDB-aboveNoise), now
	}
	if l.db < l.floor {
		l.floor = l.db
	} else {
		l.floor = min(l.floor+noiseRise, l.db)
	}
	if l.db <= min(noiseCap, max(silenceDB, l.floor+aboveNoise)) {
		return
	}
	if l.silent {
		l.silent = false
		out.add(Event{Kind: Heard, Gap: time.Duration(now - l.heard)})
	}
	l.heard = now
}

func (l *level) watch(now int64, limit time.Duration, out *notes) {
	if !l.set || l.silent {
		return
	}
	if gap := time.Duration(now - l.heard); gap >= limit {
		l.silent = true
		out.add(Event{Kind: Silent, Gap: gap})
	}
}
