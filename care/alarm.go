package care

import "time"

// Kind is what an alarm says. An alarm holds a set of kinds; none ever masks
// another, and SOS is never removed from a set.
type Kind string

const (
	KindSOS          Kind = "sos"
	KindFall         Kind = "fall"
	KindDuress       Kind = "duress"
	KindMedical      Kind = "medical"
	KindSmoke        Kind = "smoke"
	KindFire         Kind = "fire"
	KindHeat         Kind = "heat"
	KindGas          Kind = "gas"
	KindCO           Kind = "co"
	KindUnspecified  Kind = "unspecified" // an alarm code nobody knows: P1
	KindWander       Kind = "wander"
	KindGeofenceExit Kind = "geofence_exit"
	KindInactivity   Kind = "inactivity"
	KindBedExit      Kind = "bed_exit"
	KindVital        Kind = "vital"
	KindWater        Kind = "water"
	KindCollision    Kind = "collision"
	KindIntruder     Kind = "intruder"
	KindAssist       Kind = "assist"
	KindDeviceOff    Kind = "device_offline"
	KindBattery      Kind = "battery"
	KindMains        Kind = "mains"
	KindRemoved      Kind = "removed"
	KindTamper       Kind = "tamper"
	KindPowerOff     Kind = "power_off"
	KindLinkLost     Kind = "link_lost"
	KindFault        Kind = "fault"
	KindSimChanged   Kind = "sim_changed"
	KindMedication   Kind = "medication"
	KindDoor         Kind = "door"
	KindTest         Kind = "test"
)

// Known tells whether a kind is one of these.
func (k Kind) Known() bool {
	switch k {
	case KindSOS, KindFall, KindDuress, KindMedical, KindSmoke, KindFire, KindHeat, KindGas, KindCO, KindUnspecified:
		return true
	}
	return PriorityOf(k) != P1 // of the others each has its own
}

// Priority orders what waits: P1 is danger to life, P4 information. The number is
// the field's own: 1 is the most urgent.
type Priority int

const (
	P1 Priority = 1 + iota
	P2
	P3
	P4
)

// PriorityOf gives a kind's priority by default; an unknown kind is P1.
func PriorityOf(k Kind) Priority {
	switch k {
	case KindWander, KindGeofenceExit, KindInactivity, KindBedExit, KindVital, KindWater, KindCollision, KindIntruder, KindAssist:
		return P2
	case KindDeviceOff, KindBattery, KindMains, KindRemoved, KindTamper, KindPowerOff, KindLinkLost, KindFault, KindSimChanged, KindMedication, KindDoor:
		return P3
	case KindTest:
		return P4
	}
	return P1
}

// Alarm is what a device said, normalised. It is kept as a row of its own, with
// the raw frame, in the same commit as the incident it opened or joined.
type Alarm struct {
	ID            AlarmID
	DeviceID      DeviceID // empty when the device is unknown
	ClaimedID     string   // the identity the device stated: IMEI, watch id, telephone number
	Protocol      string   // "gt06", "watch", "sip" …
	Kinds         []Kind   // the whole set, most urgent first
	Levels        []Kind   // the subset asserted as a state, not as an edge
	Codes         []Code   // what was on the wire, for the reader who doubts the kinds
	DeviceTime    time.Time
	TimeQuality   string // "good", "skewed", "absent", "suspect"
	ReceivedAt    time.Time
	History       bool // the device stored it and sends it late
	Position      *Fix
	Battery       *int // percent
	Charging      *bool
	Signal        *int   // percent
	SourceEventID string // unique over the life of the source: the idempotency key
	Raw           []byte // the whole frame, at most 4 KiB
	Trust         string // "ok", "unverified", "suspect"
	Reasons       []string
}

// Code is one carrier of a frame and its value: {"alarm", "01"}, {"info", "64"}.
type Code struct {
	Carrier string `json:"carrier"`
	Value   string `json:"value"`
}
