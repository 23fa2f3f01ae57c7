package watch

import (
	"fmt"
	"hash/crc32"
	"time"

	"anling/care"
	"anling/geo"
)

// Type says what a message is for; Keyword has the word itself.
type Type string

const (
	Heartbeat Type = "heartbeat" // LK
	Position  Type = "position"  // UD…, WT
	Alarm     Type = "alarm"     // AL…
	Setup     Type = "setup"     // INIT, CONFIG, TKQ, TKQ2
	Voice     Type = "voice"     // TK, TK2, JXTK, img
	Vitals    Type = "vitals"    // bphrt, heart, PULSE, BLOOD, oxygen, TEMP, btemp2
	Unknown   Type = "unknown"   // anything else: keep it raw
)

// When tells when the answer of a message may leave.
type When int

const (
	Never       When = iota // no answer is due
	Now                     // at once, also while the store is down
	AfterCommit             // only after what the message says is durable
)

// Message is one decoded frame. Pointers are nil for what the frame does not say.
type Message struct {
	Type    Type
	Maker   string // 3G, SG, CS, ZJ …
	ID      string // 10 digits, part of the IMEI, or 15
	Index   string // of the variant that has one
	Keyword string // as sent
	Content []byte // from the keyword to the bracket, unescaped
	LenOK   bool   // LEN was right: it often is not

	Time      time.Time // device time in UTC; zero when absent or impossible
	Point     geo.Point // as sent, also without a fix
	Fix       *care.Fix // nil unless the watch says that the position is good
	History   bool      // stored by the watch and sent late
	Cells     []Cell
	Wifis     []AccessPoint
	Status    uint32
	HasStatus bool
	Kinds     []care.Kind // most urgent first; SOS is never removed by anything
	Levels    []care.Kind // the subset that is a state and not an edge
	Codes     []care.Code
	Battery   *int // percent
	Signal    *int // percent
	Steps     *int
	Vitals    map[string]float64
	Uncertain []string

	AckWhen When
	Ack     []byte // the exact answer

	key string
}

// Cell is a radio cell near the watch; numbers as sent, decimal or hexadecimal.
type Cell struct {
	MCC, MNC string
	LAC, CID string
	RSSI     int
}

// AccessPoint is a Wi-Fi station near the watch.
type AccessPoint struct {
	SSID string
	MAC  string // lower case, with colons
	RSSI int
}

// IsAlarm reports whether the message opens or joins an incident.
func (m *Message) IsAlarm() bool { return len(m.Kinds) > 0 }

// Has reports whether the set of kinds holds k.
func (m *Message) Has(k care.Kind) bool { return hasKind(m.Kinds, k) }

// DedupKey is the key that a repeat of this message shares with it. A press that
// comes as AL and once more in a stored position is one press: its time, status and
// place are the same.
func (m *Message) DedupKey() string {
	if m.Time.IsZero() {
		return fmt.Sprintf("watch:%s:%s:%08x", m.ID, m.Index, crc32.ChecksumIEEE(m.Content))
	}
	return fmt.Sprintf("watch:%s:%s:%s", m.ID, m.Index, m.key)
}

func (m *Message) add(kind care.Kind) {
	if hasKind(m.Kinds, kind) {
		return
	}
	at := len(m.Kinds)
	for at > 0 && care.PriorityOf(m.Kinds[at-1]) > care.PriorityOf(kind) {
		at--
	}
	if kind == care.KindSOS {
		at = 0
	}
	m.Kinds = append(m.Kinds, "")
	copy(m.Kinds[at+1:], m.Kinds[at:])
	m.Kinds[at] = kind
}

func (m *Message) doubt(why string) { m.Uncertain = append(m.Uncertain, why) }

func hasKind(set []care.Kind, k care.Kind) bool {
	for _, have := range set {
		if have == k {
			return true
		}
	}
	return false
}
