package media

import (
	"sync"
	"time"
)

// EventKind says what happened on a party's audio. None of them ends a call: that
// is decided by whoever reads them.
type EventKind string

// The events of a session.
const (
	FirstPacket EventKind = "first_packet" // the party is heard for the first time
	Lost        EventKind = "lost"         // no RTP for Gap; Never when there was none since Start
	Back        EventKind = "back"         // RTP again, after Gap
	DTMF        EventKind = "dtmf"         // Digit, once per key
	PlayEnded   EventKind = "play_ended"   // Prompt is over; Cut when something replaced it
	Silent      EventKind = "silent"       // RTP flows, but no sound for Gap
	Heard       EventKind = "heard"        // sound again after Silent: a voice, a knock
	OneWay      EventKind = "one_way"      // the party reports that it receives nothing
)

// Event is one fact about a party's audio.
type Event struct {
	Kind   EventKind
	Digit  byte   // 0-9 * # A-D
	Prompt string // id of what was played
	Cut    bool
	Never  bool
	Gap    time.Duration
	At     time.Time
}

// eventQueue is the size of Session.Events: a key a second for a minute.
const eventQueue = 64

// events is a bounded queue whose writers never wait.
type events struct {
	mu     sync.Mutex
	c      chan Event // guarded by mu against a send after close
	closed bool       // guarded by mu
}

// put reports false when the queue is full; a full queue keeps the older facts.
func (q *events) put(e Event) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return true
	}
	select {
	case q.c <- e:
		return true
	default:
		return false
	}
}

func (q *events) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.closed {
		q.closed = true
		close(q.c)
	}
}
