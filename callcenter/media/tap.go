package media

import "time"

// Channel is a side of a stereo recording.
type Channel uint8

// Left is the caller, Right is our side: prompts, music, the operator.
const (
	Left Channel = iota
	Right
)

// Tap hears a party's audio; recording.Recording is one. Write is called by the
// media goroutines: it must not block, and must not keep payload. at is when the
// first sample was spoken on the call's clock, freed of the network's jitter.
type Tap interface {
	Write(ch Channel, at time.Time, payload []byte, law Codec)
}

type tapping struct {
	tap Tap
	ch  Channel
}
