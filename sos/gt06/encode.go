package gt06

import (
	"encoding/binary"
	"fmt"
	"math"
	"time"

	"anling/geo"
)

// EncodeFrame makes a 78 78 frame. Content beyond 250 bytes needs EncodeLong.
func EncodeFrame(proto byte, content []byte, serial uint16) []byte {
	b := make([]byte, 0, len(content)+minFrame)
	b = append(b, 0x78, 0x78, byte(5+len(content)), proto)
	return finish(append(b, content...), serial)
}

// EncodeLong makes a 79 79 frame.
func EncodeLong(proto byte, content []byte, serial uint16) []byte {
	b := make([]byte, 0, len(content)+minFrame+1)
	b = append(b, 0x79, 0x79)
	b = binary.BigEndian.AppendUint16(b, uint16(5+len(content)))
	b = append(b, proto)
	return finish(append(b, content...), serial)
}

func finish(b []byte, serial uint16) []byte {
	b = binary.BigEndian.AppendUint16(b, serial)
	b = binary.BigEndian.AppendUint16(b, Checksum(b[2:]))
	return append(b, stop...)
}

// EncodeReply is the server's answer to most messages: the same number and serial.
func EncodeReply(proto byte, serial uint16) []byte { return EncodeFrame(proto, nil, serial) }

// EncodeTimeAnswer answers a time request (8A) with the time in UTC.
func EncodeTimeAnswer(serial uint16, now time.Time) []byte {
	return EncodeFrame(0x8A, appendTime(nil, now), serial)
}

// encodeWifiAnswer answers 17 and 69, whose frames have no serial and no checksum.
func encodeWifiAnswer(proto byte, clock []byte) []byte {
	return append(append([]byte{0x78, 0x78, 0x00, proto}, clock...), stop...)
}

// EncodeCommand sends text to a device; its reply echoes flag. lang 0 leaves the
// language out.
func EncodeCommand(text string, flag uint32, lang uint16, serial uint16) ([]byte, error) {
	if len(text) == 0 || len(text) > 240 {
		return nil, fmt.Errorf("command of %d bytes: 1 to 240 are possible", len(text))
	}
	b := binary.BigEndian.AppendUint32([]byte{byte(4 + len(text))}, flag)
	b = append(b, text...)
	if lang != 0 {
		b = binary.BigEndian.AppendUint16(b, lang)
	}
	return EncodeFrame(0x80, b, serial), nil
}

// EncodeLogin is a device's first message. zone is in seconds east of UTC; nil leaves
// type, zone and language out.
func EncodeLogin(imei string, model uint16, zone *int, lang byte, serial uint16) ([]byte, error) {
	id, err := bcdIMEI(imei)
	if err != nil {
		return nil, err
	}
	if zone == nil {
		return EncodeFrame(0x01, id, serial), nil
	}
	b := binary.BigEndian.AppendUint16(id, model)
	abs := *zone
	west := uint16(0)
	if abs < 0 {
		abs, west = -abs, 8
	}
	hhmm := uint16(abs/3600*100 + abs%3600/60)
	b = binary.BigEndian.AppendUint16(b, hhmm<<4|west|uint16(lang&3))
	return EncodeFrame(0x01, b, serial), nil
}

// EncodeHeartbeat is a device's sign of life (13).
func EncodeHeartbeat(info, voltage, signal, lang byte, serial uint16) []byte {
	return EncodeFrame(0x13, []byte{info, voltage, signal, 0, lang}, serial)
}

// EncodeTimeRequest asks for the time (8A).
func EncodeTimeRequest(serial uint16) []byte { return EncodeFrame(0x8A, nil, serial) }

// Info bytes of a device, bits 5–3, and alarm codes.
const (
	InfoArmed    = 0x01
	InfoCharging = 0x04
	InfoBattery  = 0x18
	InfoSOS      = 0x20
	InfoFix      = 0x40
	CodeSOS      = 0x01
	CodeMains    = 0x02
	CodeBattery  = 0x0E
	CodeRemoved  = 0x18
	CodeFall     = 0x23
)

// Report is what a device states in an alarm or a position.
type Report struct {
	Time       time.Time
	Point      geo.Point
	Fix        bool // the point is one of now; without it, the last one
	Satellites int
	SpeedKMH   int
	Course     int
	Cell       Cell
	Info       byte // InfoSOS …
	Voltage    byte // 0–6
	Signal     byte // 0–4
	Code       byte // CodeSOS …; alarms only
	Language   byte
	Mode       byte // 07 is the key; positions only
	History    bool // stored and sent late; positions only
}

// EncodeAlarm is an alarm with GPS block and cell (26).
func EncodeAlarm(r Report, serial uint16) []byte {
	b := appendCell(append(r.appendGPS(nil), 9), r.Cell, false)
	return EncodeFrame(0x26, r.appendAlarm(b), serial)
}

// EncodeAlarm4G is the alarm of 4G devices (A4), which also states the fence.
func EncodeAlarm4G(r Report, fence byte, serial uint16) []byte {
	size := byte(16)
	if r.Cell.MNC > 0xFF {
		size = 17
	}
	b := appendCell(append(r.appendGPS(nil), size), r.Cell, true)
	return EncodeFrame(0xA4, append(r.appendAlarm(b), fence), serial)
}

// EncodeCellAlarm is an alarm without position and without time (19).
func EncodeCellAlarm(r Report, serial uint16) []byte {
	return EncodeFrame(0x19, r.appendAlarm(appendCell(nil, r.Cell, false)), serial)
}

// EncodePosition is a position with its cell (22).
func EncodePosition(r Report, serial uint16) []byte {
	b := appendCell(r.appendGPS(nil), r.Cell, false)
	late := byte(0)
	if r.History {
		late = 1
	}
	return EncodeFrame(0x22, append(b, r.Info>>1&1, r.Mode, late), serial)
}

func (r Report) appendAlarm(b []byte) []byte {
	return append(b, r.Info, r.Voltage, r.Signal, r.Code, r.Language)
}

// appendGPS writes the block of 18 bytes.
func (r Report) appendGPS(b []byte) []byte {
	b = appendTime(b, r.Time)
	b = append(b, 0xC0|byte(min(r.Satellites, 15)))
	b = binary.BigEndian.AppendUint32(b, uint32(math.Round(math.Abs(r.Point.Lat)*unitsPerDegree)))
	b = binary.BigEndian.AppendUint32(b, uint32(math.Round(math.Abs(r.Point.Lng)*unitsPerDegree)))
	flags := uint16(r.Course) & 0x3FF
	if r.Point.Lat >= 0 {
		flags |= 1 << 10
	}
	if r.Point.Lng < 0 {
		flags |= 1 << 11
	}
	if r.Fix {
		flags |= 1 << 12
	}
	return binary.BigEndian.AppendUint16(append(b, byte(min(r.SpeedKMH, 255))), flags)
}

// appendCell writes a cell; an MNC above 255 needs the wide form, and bit 15 says so.
func appendCell(b []byte, c Cell, wide bool) []byte {
	if c.MNC > 0xFF {
		b = binary.BigEndian.AppendUint16(b, uint16(c.MCC)|0x8000)
		b = binary.BigEndian.AppendUint16(b, uint16(c.MNC))
	} else {
		b = append(binary.BigEndian.AppendUint16(b, uint16(c.MCC)), byte(c.MNC))
	}
	if wide {
		b = binary.BigEndian.AppendUint32(b, c.LAC)
		return binary.BigEndian.AppendUint64(b, c.CID)
	}
	b = binary.BigEndian.AppendUint16(b, uint16(c.LAC))
	return append(b, byte(c.CID>>16), byte(c.CID>>8), byte(c.CID))
}

func appendTime(b []byte, t time.Time) []byte {
	if t.IsZero() {
		return append(b, 0, 0, 0, 0, 0, 0)
	}
	t = t.UTC()
	return append(b, byte(t.Year()-2000), byte(t.Month()), byte(t.Day()), byte(t.Hour()), byte(t.Minute()), byte(t.Second()))
}

// bcdIMEI packs 15 digits into 8 bytes behind a leading 0.
func bcdIMEI(imei string) ([]byte, error) {
	if len(imei) != 15 {
		return nil, fmt.Errorf("IMEI of %d digits: 15 are needed", len(imei))
	}
	b := make([]byte, 8)
	for i, c := range []byte("0" + imei) {
		if c < '0' || c > '9' {
			return nil, fmt.Errorf("IMEI has %q at %d", c, i-1)
		}
		b[i/2] = b[i/2]<<4 | (c - '0')
	}
	return b, nil
}
