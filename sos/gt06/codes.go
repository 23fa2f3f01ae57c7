package gt06

import (
	"fmt"
	"strings"

	"anling/care"
)

// Profile is what differs between models. The zero Profile is the protocol's
// default; never guess one from the codes of a frame.
type Profile struct {
	Name           string
	Codes          map[uint16]care.Kind // alarm codes that mean something else; "" is information
	HeartbeatAlarm bool                 // the alarm byte of a short heartbeat is an alarm
	NoHeartbeatSOS bool                 // bits 5–3 of a heartbeat's info byte say nothing
	KeyIsSOS       bool                 // a position sent by the key (mode 07) is an SOS
	AckPositions   bool                 // old 10 and 12 firmware waits for an answer
}

// ProfileFor returns the profile of a model by its name in the registry; a name
// nobody knows has the default.
func ProfileFor(model string) Profile {
	p := Profile{Name: model}
	switch name := strings.ToUpper(strings.TrimSpace(model)); {
	case name == "VL103", name == "LL303", name == "VL512", name == "G18":
		p.Codes = map[uint16]care.Kind{0x09: "", 0x28: care.KindPowerOff, 0x30: ""}
	case name == "JM-VL03":
		p.Codes = map[uint16]care.Kind{0x0C: "", 0x18: care.KindTamper, 0x29: "", 0x30: ""}
	case strings.HasPrefix(name, "LW"):
		p.Codes = map[uint16]care.Kind{0x18: care.KindCollision, 0x19: ""}
	case name == "SEEWORLD":
		p.Codes = map[uint16]care.Kind{0x29: care.KindCollision}
	}
	return p
}

// alarmKinds has the kinds of the alarm codes; an empty list is information.
var alarmKinds = map[uint16][]care.Kind{
	0x00: nil,
	0x01: {care.KindSOS},
	0x02: {care.KindMains},
	0x03: nil, 0x04: nil, // vibration, fence in
	0x05: {care.KindGeofenceExit},
	0x06: nil, 0x09: nil, 0x0A: nil, 0x0B: nil, 0x0D: nil, // overspeed, vibration, GNSS
	0x0C: {care.KindTamper},
	0x0E: {care.KindBattery}, 0x0F: {care.KindBattery}, 0x19: {care.KindBattery},
	0x10: {care.KindSimChanged},
	0x11: {care.KindPowerOff},
	0x12: nil, // flight mode
	0x13: {care.KindTamper}, 0x25: {care.KindTamper}, 0x32: {care.KindTamper},
	0x14: {care.KindDoor},
	0x15: {care.KindPowerOff, care.KindBattery},
	0x16: nil, 0x17: nil, // sound, rogue cell
	0x18: {care.KindRemoved},
	0x20: nil, // sleep
	0x23: {care.KindFall},
	0x1A: nil, 0x1B: nil, 0x26: nil, 0x27: nil, 0x28: nil, 0x29: nil, // driving
	0x2A: nil, 0x2B: nil, 0x2E: nil, 0xF0: nil, 0xF1: nil,
	0x2C: {care.KindCollision}, 0xF2: {care.KindCollision},
	0x33: nil, 0x34: nil, // lock
	0x30: {care.KindFault}, 0x0107: {care.KindFault}, 0x010B: {care.KindFault}, // jamming
	0x53: nil, 0x5B: nil, 0x5C: nil, 0xC9: nil, 0xFE: nil, 0xFF: nil,
}

// eventKinds has the events of module 34 of a modular message.
var eventKinds = map[uint16][]care.Kind{
	0x10: {care.KindDoor},
	0x12: {care.KindRemoved},
	0x14: nil, // fence in
	0x15: {care.KindGeofenceExit},
	0x1A: {care.KindBattery},
	0x1C: nil, // on
	0x1D: {care.KindPowerOff},
	0x20: nil, // vibration
	0x21: {care.KindMains},
	0x23: {care.KindTamper},
}

// cameraKinds has the events of a camera alarm (95) other than 01.
var cameraKinds = map[uint16][]care.Kind{
	0x0E: {care.KindBattery},
	0x80: nil, 0x91: nil, // vibration, braking
	0x88: {care.KindMains},
	0x93: {care.KindCollision},
}

// alarmCode adds the kinds of an alarm code. A code nobody knows is unspecified.
func (m *Message) alarmCode(p Profile, code uint16) {
	if code > 0xFF {
		m.Codes = append(m.Codes, care.Code{Carrier: "alarm", Value: fmt.Sprintf("%04x", code)})
	} else {
		m.code("alarm", byte(code))
	}
	if kind, ok := p.Codes[code]; ok {
		m.add(kind)
		return
	}
	m.mapped(alarmKinds, code)
}

func (m *Message) mapped(table map[uint16][]care.Kind, code uint16) {
	kinds, known := table[code]
	if !known {
		m.add(care.KindUnspecified)
	}
	for _, k := range kinds {
		m.add(k)
	}
}

// alarmInfo adds the kind that bits 5–3 of an info byte state.
func (m *Message) alarmInfo(info byte) {
	m.info(info)
	switch info >> 3 & 7 {
	case 4:
		m.add(care.KindSOS)
	case 3:
		m.add(care.KindBattery)
	case 2:
		m.add(care.KindMains)
	case 7:
		m.add(care.KindRemoved)
	}
}

// info takes what an info byte states besides alarms.
func (m *Message) info(info byte) {
	m.code("info", info)
	charging := info&4 != 0
	m.Charging = &charging
}

// voltage reads the battery: 0–6 are steps, 7–100 percent, above that nothing.
func (m *Message) voltage(v byte) {
	switch {
	case v <= 6:
		m.Battery = percent(int(v) * 100 / 6)
	case v <= 100:
		m.Battery = percent(int(v))
	}
}

// signal reads the strength: 0–4 are steps, 5–100 percent, above that nothing.
func (m *Message) signal(v byte) {
	switch {
	case v <= 4:
		m.Signal = percent(int(v) * 25)
	case v <= 100:
		m.Signal = percent(int(v))
	}
}

func percent(v int) *int { return &v }
