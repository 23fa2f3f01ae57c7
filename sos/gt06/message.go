package gt06

import (
	"encoding/hex"
	"fmt"
	"time"

	"anling/care"
	"anling/geo"
)

// Type says what a message is for; Proto has the number.
type Type string

const (
	Login       Type = "login"        // 01: the only message that carries the identity
	Heartbeat   Type = "heartbeat"    // 13, 23
	Position    Type = "position"     // 10, 11, 12, 22, A0
	Alarm       Type = "alarm"        // 16, 26, 27, 19, 39, 95, A3, A4, A5, A9
	Cells       Type = "cells"        // 24, 28, 2E, A1, 19 with several cells
	Wifi        Type = "wifi"         // 17, 69, 2C, A2
	Info        Type = "info"         // 94
	Status      Type = "status"       // A3 of lengths 0C and 18: no alarm
	TimeRequest Type = "time_request" // 8A
	Address     Type = "address"      // 2A
	Reply       Type = "reply"        // 15, 21: the device's text after a command
	Modular     Type = "modular"      // 70
	Unknown     Type = "unknown"      // anything else: keep it raw
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
	Type     Type
	Proto    byte
	Extended bool // came in a 79 79 frame
	Serial   uint16
	Content  []byte // between protocol number and serial; shares the frame's memory

	IMEI        string // 15 digits; login, and 94/0A as a check
	IMSI, ICCID string
	Model       uint16 // type code of the login, 0 when absent
	Zone        *int   // seconds east of UTC, from the login
	Language    byte   // 1 Chinese, 2 English

	Time      time.Time // device time in UTC; zero when absent or impossible
	GPS       *GPS
	Fix       *care.Fix // nil unless the receiver had satellites and the point is possible
	History   bool      // stored by the device and sent late
	Cells     []Cell
	Wifis     []AccessPoint
	Kinds     []care.Kind // most urgent first; SOS is never removed by anything
	Levels    []care.Kind // the subset that is a state and not an edge
	Codes     []care.Code // the bytes the kinds were read from
	Battery   *int        // percent
	Volts     *float64
	Signal    *int // percent
	Charging  *bool
	Mode      *byte // why a position was sent: 07 is the key
	Text      string
	Encoding  byte   // of Text in a 21 reply: 1 ASCII, 2 UTF-16BE
	Flag      uint32 // server flag that a reply echoes
	Uncertain []string

	AckWhen When
	Ack     []byte // the exact answer; nil for a time request: see EncodeTimeAnswer

	length int
}

// GPS is the block of 18 bytes that most messages begin with.
type GPS struct {
	Time       time.Time // UTC
	Point      geo.Point // as sent, also without a fix; zero when outside the earth
	Valid      bool      // the receiver says it has a fix
	Satellites int
	SpeedKMH   int
	Course     int // degrees from north, 0–1023 as sent
	AccKnown   bool
	Acc        bool
}

// Cell is a radio cell near the device.
type Cell struct {
	MCC, MNC int
	LAC      uint32
	CID      uint64
	RSSI     int // as sent; 0 when the layout has none
}

// AccessPoint is a Wi-Fi station near the device.
type AccessPoint struct {
	MAC  string // lower case, with colons
	RSSI int    // as sent
}

// IsAlarm reports whether the message opens or joins an incident.
func (m *Message) IsAlarm() bool { return len(m.Kinds) > 0 }

// Has reports whether the set of kinds holds k.
func (m *Message) Has(k care.Kind) bool { return hasKind(m.Kinds, k) }

// DedupKey is the key that a repeat of this message shares with it, for 24 hours;
// without a device time it holds for 10 minutes only. imei is the connection's.
func (m *Message) DedupKey(imei string) string {
	if m.Time.IsZero() {
		return fmt.Sprintf("gt06:%s:%02x:%04x:%04x", imei, m.Proto, m.Serial, Checksum(m.Content))
	}
	code := ""
	for _, c := range m.Codes {
		if c.Carrier == "alarm" || c.Carrier == "event" {
			code += "." + c.Value
		}
	}
	return fmt.Sprintf("gt06:%s:%02x:%04x:%d%s", imei, m.Proto, m.Serial, m.Time.Unix(), code)
}

func (m *Message) add(kind care.Kind) {
	if kind == "" || hasKind(m.Kinds, kind) {
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

// level adds a kind that holds as a state.
func (m *Message) level(kind care.Kind) {
	m.add(kind)
	if !hasKind(m.Levels, kind) {
		m.Levels = append(m.Levels, kind)
	}
}

// code notes one byte of the frame, in hexadecimal.
func (m *Message) code(carrier string, v byte) {
	m.Codes = append(m.Codes, care.Code{Carrier: carrier, Value: hex.EncodeToString([]byte{v})})
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
