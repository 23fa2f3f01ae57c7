package watch

import (
	"fmt"
	"math"
	"strconv"
	"time"

	"anling/geo"
)

// Encode makes a frame. index is empty for the variant without one; content is
// escaped already where it is binary.
func Encode(maker, id, index, content string) []byte {
	if index != "" {
		index += "*"
	}
	return fmt.Appendf(make([]byte, 0, len(content)+48), "[%s*%s*%s%04X*%s]", maker, id, index, len(content)&0xFFFF, content)
}

// Reply makes the server's frame to the watch that sent m: its maker, id and index
// are echoed.
func (m *Message) Reply(content string) []byte { return Encode(m.Maker, m.ID, m.Index, content) }

// EncodeHeartbeat is a watch's sign of life.
func EncodeHeartbeat(id string, steps, rolls, battery int) []byte {
	return Encode("3G", id, "", fmt.Sprintf("LK,%d,%d,%d", steps, rolls, battery))
}

// EncodeVoice is a voice message; the audio is escaped.
func EncodeVoice(id string, audio []byte) []byte {
	return Encode("3G", id, "", "TK,"+string(escape(audio)))
}

// Report is what a watch states in an alarm or a position.
type Report struct {
	Time       time.Time
	Point      geo.Point
	Fix        bool
	SpeedKMH   float64
	Course     int
	AltitudeM  int
	Satellites int
	Signal     int // percent
	Battery    int // percent
	Steps      int
	Rolls      int
	Status     uint32 // StatusSOS …
	Cell       Cell
	AccuracyM  float64
}

// EncodeReport writes a report under a keyword: AL_LTE and AL are alarms, UD and
// UD_LTE positions, UD2 a position that was stored.
func EncodeReport(id, keyword string, r Report) []byte {
	valid, ns, ew := "V", "N", "E"
	if r.Fix {
		valid = "A"
	}
	if r.Point.Lat < 0 {
		ns = "S"
	}
	if r.Point.Lng < 0 {
		ew = "W"
	}
	t := r.Time.UTC()
	content := fmt.Sprintf("%s,%s,%s,%s,%.6f,%s,%.6f,%s,%.1f,%d,%d,%d,%d,%d,%d,%d,%08X", keyword, t.Format("020106"), t.Format("150405"), valid,
		math.Abs(r.Point.Lat), ns, math.Abs(r.Point.Lng), ew, r.SpeedKMH, r.Course, r.AltitudeM, r.Satellites, r.Signal, r.Battery, r.Steps, r.Rolls, r.Status)
	c := r.Cell
	if c.CID != "" {
		content += fmt.Sprintf(",1,1,%s,%s,%s,%s,%d", c.MCC, c.MNC, c.LAC, c.CID, c.RSSI)
	} else {
		content += ",0,1"
	}
	return Encode("3G", id, "", content+",0,"+strconv.FormatFloat(r.AccuracyM, 'f', 1, 64))
}

// EncodeAlarm is an alarm of a 4G watch.
func EncodeAlarm(id string, r Report) []byte { return EncodeReport(id, "AL_LTE", r) }

// EncodePosition is a position; stored ones are sent as UD2.
func EncodePosition(id string, r Report, stored bool) []byte {
	if stored {
		return EncodeReport(id, "UD2", r)
	}
	return EncodeReport(id, "UD_LTE", r)
}
