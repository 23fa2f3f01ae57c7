package media

import (
	"encoding/binary"
	"math"
	"strings"
	"sync"
)

// keys are the events 0 to 15 of RFC 4733 3.2.
const keys = "0123456789*#ABCD"

// digits turns telephone events into keys: one per timestamp, however many
// packets tell of it, and in whatever order they come.
type digits struct {
	set  bool
	last uint32 // timestamp of the newest event
}

func (d *digits) hear(payload []byte, ts uint32, out *notes) {
	event := payload[0]
	if int(event) >= len(keys) {
		return
	}
	if d.set && int32(ts-d.last) <= 0 {
		return
	}
	d.set, d.last = true, ts
	out.add(Event{Kind: DTMF, Digit: keys[event]})
}

const (
	keyTicks   = 5  // 100 ms of tone
	keyEnds    = 3  // end packets (RFC 4733 2.5.1.4)
	keyRest    = 4  // 80 ms between keys
	maxKeys    = 64 // waiting to be sent
	keyVolume  = 10 // -10 dBm0
	endBit     = 0x80
	eventBytes = 4
)

// dialler sends keys, a packet each tick: as telephone events where they were
// agreed, else as tones in the audio.
type dialler struct {
	queue []byte // events 0-15
	step  int    // tick within the current key
	ts    uint32 // timestamp of the current event
}

// push appends what is a key of a telephone and ignores the rest.
func (d *dialler) push(s string) {
	for _, c := range strings.ToUpper(s) {
		if i := strings.IndexRune(keys, c); i >= 0 && len(d.queue) < maxKeys {
			d.queue = append(d.queue, byte(i))
		}
	}
}

func (d *dialler) busy() bool { return len(d.queue) > 0 }

// event writes the packet of this tick; false is a tick of rest.
func (d *dialler) event(dst []byte) bool {
	if d.step >= keyTicks+keyEnds-1 {
		return false
	}
	dst[0], dst[1] = d.queue[0], keyVolume
	if d.step >= keyTicks-1 {
		dst[1] |= endBit
	}
	binary.BigEndian.PutUint16(dst[2:], uint16(min(d.step+1, keyTicks)*frameBytes))
	return true
}

// next moves to the next tick.
func (d *dialler) next() {
	if d.step++; d.step >= keyTicks+keyEnds-1+keyRest {
		d.step = 0
		d.queue = d.queue[:copy(d.queue, d.queue[1:])]
	}
}

var (
	rowHz = [4]float64{697, 770, 852, 941}
	colHz = [4]float64{1209, 1336, 1477, 1633}
	pad   = [4]string{"123A", "456B", "789C", "*0#D"}
)

// keyTones are 100 ms of each key's two tones (Q.23), in A-law.
var keyTones = sync.OnceValue(func() *[16][keyTicks * frameBytes]byte {
	var all [16][keyTicks * frameBytes]byte
	for row, line := range pad {
		for col, key := range line {
			tone := &all[strings.IndexRune(keys, key)]
			for i := range tone {
				t := float64(i) / SampleRate * 2 * math.Pi
				tone[i] = EncodeA(int16(7000*math.Sin(t*rowHz[row]) + 8000*math.Sin(t*colHz[col])))
			}
		}
	}
	return &all
})
