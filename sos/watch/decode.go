package watch

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"

	"anling/care"
	"anling/geo"
)

// Bits of STATUS. The low half are states, the high half alarms.
const (
	StatusLow     uint32 = 1 << 0
	StatusOutside uint32 = 1 << 1
	StatusMains   uint32 = 1 << 14
	StatusSOS     uint32 = 1 << 16
	StatusBattery uint32 = 1 << 17
	StatusLeft    uint32 = 1 << 18
	StatusEntered uint32 = 1 << 19
	StatusRemoved uint32 = 1 << 20
	StatusFall    uint32 = 1 << 21
	StatusVital   uint32 = 1 << 22
)

var alarmBits = []struct {
	bit  uint32
	kind care.Kind
}{
	{StatusSOS, care.KindSOS}, {StatusBattery, care.KindBattery}, {StatusLeft, care.KindGeofenceExit},
	{StatusRemoved, care.KindRemoved}, {StatusFall, care.KindFall}, {StatusVital, care.KindVital},
}

const (
	alarmHalf = 0xFFFF0000
	knownBits = StatusSOS | StatusBattery | StatusLeft | StatusEntered | StatusRemoved | StatusFall | StatusVital
)

// Decode reads one frame. Every alarm bit of it is in the set of kinds; a low battery
// hides nothing.
func Decode(frame []byte) (Message, error) {
	var m Message
	err := decode(frame, &m)
	return m, err
}

// decode is Decode into a message of the caller: sessions keep their stacks small.
func decode(frame []byte, m *Message) error {
	if len(frame) < 2 || frame[0] != '[' || frame[len(frame)-1] != ']' {
		return fmt.Errorf("%w: no brackets", ErrHeader)
	}
	h, ok := parseHeader(frame)
	if !ok || h.content > len(frame)-1 {
		return fmt.Errorf("%w: %.40q", ErrHeader, frame)
	}
	raw := frame[h.content : len(frame)-1]
	m.Type, m.Maker, m.ID, m.Index, m.Content, m.LenOK = Unknown, h.maker, h.id, h.index, unescape(raw), h.length == len(raw)
	word, rest, _ := strings.Cut(string(m.Content[:min(len(m.Content), MaxFrame)]), ",")
	m.Keyword = word
	upper := strings.ToUpper(word)
	switch {
	case upper == "LK":
		m.heartbeat(rest)
	case strings.HasPrefix(upper, "AL"):
		m.Type = Alarm
		m.position(strings.Split(rest, ","), true)
		m.answer(AfterCommit, "AL")
	case strings.HasPrefix(upper, "UD"), upper == "WT":
		m.Type = Position
		m.History = strings.HasPrefix(upper, "UD2")
		m.position(strings.Split(rest, ","), false)
	case upper == "INIT", upper == "CONFIG":
		m.Type = Setup
		m.answer(Now, upper+",1")
	case upper == "TKQ", upper == "TKQ2":
		m.Type = Setup
		m.answer(Now, upper)
	case upper == "TK", upper == "TK2":
		m.Type = Voice // no voice is kept: say so
		m.answer(Now, "TK,0")
	case upper == "JXTK", upper == "IMG":
		m.Type = Voice
	default:
		m.vitals(upper, rest)
	}
	return nil
}

func (m *Message) answer(when When, content string) {
	m.AckWhen, m.Ack = when, m.Reply(content)
}

// heartbeat is LK[,steps,rolls,battery]; some makers leave out the middle.
func (m *Message) heartbeat(rest string) {
	m.Type = Heartbeat
	m.answer(Now, "LK")
	f := strings.Split(rest, ",")
	if len(f) < 2 {
		return
	}
	m.Steps = count(f[0])
	m.Battery = percentage(f[len(f)-1])
}

// position is the list of section 3.2; edges tells that the frame is an alarm.
func (m *Message) position(f []string, edges bool) {
	field := func(i int) string {
		if i < len(f) {
			return strings.TrimSpace(f[i])
		}
		return ""
	}
	m.Time = clock(field(0), field(1))
	m.place(field(2), field(3), field(4), field(5), field(6))
	m.Signal, m.Battery, m.Steps = percentage(field(11)), percentage(field(12)), count(field(13))
	m.status(field(15), edges)
	m.key = strings.Join([]string{field(0), field(1), field(15), field(3), field(5)}, ":")
	if len(f) > 16 {
		m.surroundings(f[16:])
	}
}

// status reads the bits: 8 hex digits, or the 4 of the low half.
func (m *Message) status(text string, edges bool) {
	v, err := strconv.ParseUint(text, 16, 32)
	if err != nil {
		if edges {
			m.doubt("status cannot be read")
			m.add(care.KindUnspecified)
		}
		return
	}
	m.Status, m.HasStatus = uint32(v), true
	m.Codes = append(m.Codes, care.Code{Carrier: "status", Value: text})
	for _, b := range alarmBits {
		if m.Status&b.bit != 0 {
			m.add(b.kind)
		}
	}
	if edges {
		m.alarmWithoutBits()
	}
	m.state(m.Status&StatusLow != 0, care.KindBattery, edges)
	m.state(m.Status&StatusMains != 0, care.KindMains, edges)
}

// alarmWithoutBits finds what an alarm is about when its alarm half says nothing we
// know. Fence in alone is information.
func (m *Message) alarmWithoutBits() {
	if m.Status&alarmHalf&^knownBits != 0 {
		m.add(care.KindUnspecified)
	}
	if m.Status&alarmHalf != 0 {
		return
	}
	if m.Status&StatusOutside != 0 {
		m.add(care.KindGeofenceExit)
	}
	if m.Status&(StatusLow|StatusOutside) == 0 {
		m.add(care.KindUnspecified)
	}
}

// state adds a kind of the low half: a level, unless the frame is an alarm.
func (m *Message) state(set bool, kind care.Kind, edges bool) {
	if !set {
		return
	}
	if !edges && !hasKind(m.Kinds, kind) {
		m.Levels = append(m.Levels, kind)
	}
	m.add(kind)
}

// place reads the position. The sign may stand in the number and in the letter.
func (m *Message) place(valid, lat, ns, lng, ew string) {
	p := geo.Point{Lat: degrees(lat, ns == "S"), Lng: degrees(lng, ew == "W")}
	if math.IsNaN(p.Lat) || math.IsNaN(p.Lng) || math.Abs(p.Lat) > 90 || math.Abs(p.Lng) > 180 {
		if lat != "" || lng != "" {
			m.doubt("position cannot be read")
		}
		return
	}
	m.Point = p
	if strings.EqualFold(valid, "A") && !p.IsZero() {
		m.Fix = &care.Fix{Point: p, Source: care.FixGNSS, At: m.Time}
	}
}

func degrees(s string, negative bool) float64 {
	v, err := strconv.ParseFloat(s, 64)
	if err != nil {
		return math.NaN()
	}
	if negative || v < 0 {
		return -math.Abs(v)
	}
	return v
}

var macPattern = regexp.MustCompile(`^[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5}$`)

// surroundings reads cells and Wi-Fi stations. Names of stations may hold commas, so
// each station is found by its address.
func (m *Message) surroundings(f []string) {
	n, _ := strconv.Atoi(strings.TrimSpace(f[0]))
	if n > 0 && n <= 16 && len(f) >= 4 {
		mcc, mnc := f[2], f[3]
		for i := 4; n > 0 && i+2 < len(f) && !macPattern.MatchString(f[i+1]); i, n = i+3, n-1 {
			rssi, _ := strconv.Atoi(strings.TrimSpace(f[i+2]))
			m.Cells = append(m.Cells, Cell{MCC: mcc, MNC: mnc, LAC: f[i], CID: f[i+1], RSSI: rssi})
		}
	}
	for i := 1; i < len(f); i++ {
		if !macPattern.MatchString(f[i]) || len(m.Wifis) >= 64 {
			continue
		}
		w := AccessPoint{SSID: f[i-1], MAC: strings.ToLower(f[i])}
		if i+1 < len(f) {
			w.RSSI, _ = strconv.Atoi(strings.TrimSpace(f[i+1]))
		}
		m.Wifis = append(m.Wifis, w)
	}
	if last := strings.TrimSpace(f[len(f)-1]); m.Fix != nil && strings.Contains(last, ".") {
		if v, err := strconv.ParseFloat(last, 64); err == nil && v > 0 && v < 100_000 {
			m.Fix.AccuracyM = v
		}
	}
}

// vitals are measurements; 0 is invalid. Anything else is unknown.
func (m *Message) vitals(word, rest string) {
	f := strings.Split(rest, ",")
	value := func(name string, i int) {
		if i >= len(f) {
			return
		}
		v, err := strconv.ParseFloat(strings.TrimSpace(f[i]), 64)
		if err != nil || v == 0 || math.IsNaN(v) || math.IsInf(v, 0) {
			return
		}
		if m.Vitals == nil {
			m.Vitals = map[string]float64{}
		}
		m.Vitals[name] = v
	}
	m.Type = Vitals
	switch word {
	case "BPHRT":
		value("systolic", 0)
		value("diastolic", 1)
		value("heart_rate", 2)
		m.answer(Now, "bphrt")
	case "HEART", "PULSE":
		value("heart_rate", 0)
	case "BLOOD":
		value("systolic", 0)
		value("diastolic", 1)
	case "OXYGEN":
		value("oxygen", 1)
		m.answer(Now, "oxygen,1")
	case "TEMP":
		value("temperature", 0)
	case "BTEMP2":
		value("temperature", 1)
		m.answer(Now, "btemp2")
		if len(f) > 1 && (f[1] == "0" || f[1] == "1") { // abnormally low, high
			m.Vitals = nil
			m.Codes = append(m.Codes, care.Code{Carrier: "btemp2", Value: f[1]})
			m.add(care.KindVital)
			m.AckWhen = AfterCommit
		}
	default:
		m.Type = Unknown
	}
}

// clock reads ddmmyy and hhmmss in UTC; an impossible time is the zero time.
func clock(date, hour string) time.Time {
	t, err := time.Parse("020106150405", date+hour)
	if err != nil || len(date) != 6 {
		return time.Time{}
	}
	if t.Year() < 2000 { // time.Parse takes 69–99 for the last century
		return time.Time{}
	}
	return t
}

func percentage(s string) *int {
	v := count(s)
	if v == nil || *v > 100 {
		return nil
	}
	return v
}

func count(s string) *int {
	v, err := strconv.Atoi(strings.TrimSpace(s))
	if err != nil || v < 0 {
		return nil
	}
	return &v
}
