package simdevice

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"anling/geo"
)

// Protocols of the devices.
const (
	GT06  = "gt06"
	Watch = "watch"
)

// Message numbers of GT06.
const (
	gt06Login     = 0x01
	gt06Heartbeat = 0x13
	gt06Position  = 0x22
	gt06Alarm     = 0x26
)

// Press is one alarm of a device. At is cut to the second: that is what the
// protocols carry.
type Press struct {
	Serial     uint16 // set by the device
	At         time.Time
	Fall       bool // the device noticed a fall; the SOS button otherwise
	LowBattery bool // stated in the same frame
	Point      geo.Point
	Battery    int // percent
}

// crcX25 is CRC-16/X-25, bit by bit.
func crcX25(b []byte) uint16 {
	crc := uint16(0xffff)
	for _, x := range b {
		crc ^= uint16(x)
		for range 8 {
			if crc&1 != 0 {
				crc = crc>>1 ^ 0x8408
			} else {
				crc >>= 1
			}
		}
	}
	return ^crc
}

// gt06Frame wraps content: 78 78 | len | proto | content | serial | crc | 0D 0A.
func gt06Frame(proto byte, content []byte, serial uint16) []byte {
	b := []byte{0x78, 0x78, byte(len(content) + 5), proto}
	b = append(b, content...)
	b = binary.BigEndian.AppendUint16(b, serial)
	b = binary.BigEndian.AppendUint16(b, crcX25(b[2:]))
	return append(b, '\r', '\n')
}

// gt06LoginFrame states the IMEI as BCD, a type and the zone +8:00.
func gt06LoginFrame(imei string, serial uint16) ([]byte, error) {
	bcd, err := hex.DecodeString("0" + imei)
	if err != nil || len(bcd) != 8 {
		return nil, fmt.Errorf("%q is not an IMEI of 15 digits", imei)
	}
	return gt06Frame(gt06Login, append(bcd, 0x27, 0x00, 0x32, 0x00), serial), nil
}

func gt06HeartbeatFrame(serial uint16) []byte {
	return gt06Frame(gt06Heartbeat, []byte{0x44, 0x06, 0x04, 0x00, 0x02}, serial)
}

// gt06GPS is the GPS block; a zero point is sent as no fix.
func gt06GPS(at time.Time, p geo.Point) []byte {
	at = at.UTC()
	b := []byte{byte(at.Year() - 2000), byte(at.Month()), byte(at.Day()), byte(at.Hour()), byte(at.Minute()), byte(at.Second()), 0xc8}
	lat, lng, flags := p.Lat, p.Lng, uint16(1<<10)
	if lat < 0 {
		lat, flags = -lat, flags&^(1<<10)
	}
	if lng < 0 {
		lng, flags = -lng, flags|1<<11
	}
	if !p.IsZero() {
		flags |= 1 << 12
	} else {
		b[6] = 0xc0
	}
	b = binary.BigEndian.AppendUint32(b, uint32(lat*1_800_000+0.5))
	b = binary.BigEndian.AppendUint32(b, uint32(lng*1_800_000+0.5))
	b = append(b, 0)
	return binary.BigEndian.AppendUint16(b, flags)
}

var gt06Cell = []byte{0x01, 0xcc, 0x00, 0x12, 0x34, 0x00, 0x56, 0x78} // MCC 460, MNC 0, LAC, CID

func gt06PositionFrame(at time.Time, p geo.Point, serial uint16) []byte {
	content := append(gt06GPS(at, p), gt06Cell...)
	return gt06Frame(gt06Position, append(content, 0, 0, 0), serial)
}

func gt06AlarmFrame(p Press) []byte {
	content := append(gt06GPS(p.At, p.Point), 9)
	content = append(content, gt06Cell...)
	info, code, volts := byte(4<<3|1<<2), byte(0x01), byte(min(6, p.Battery/15))
	if p.Fall {
		info, code = 1<<2, 0x23
	}
	if p.LowBattery { // the state displaces SOS in the info bits; the alarm byte keeps it
		info, volts = 3<<3, 1
	}
	if !p.Point.IsZero() {
		info |= 1 << 6
	}
	return gt06Frame(gt06Alarm, append(content, info, volts, 3, code, 1), p.Serial)
}

// watchFrame is [3G*ID*LEN*CONTENT].
func watchFrame(id, content string) []byte {
	return fmt.Appendf(nil, "[3G*%s*%04X*%s]", id, len(content), content)
}

func watchHeartbeatFrame(id string, battery int) []byte {
	return watchFrame(id, fmt.Sprintf("LK,0,0,%d", battery))
}

// watchPlaceFrame is a position (UD) or an alarm (AL); status is the hex word of
// states and alarms.
func watchPlaceFrame(id, keyword string, at time.Time, p geo.Point, battery int, status uint32) []byte {
	at = at.UTC()
	fix, ns, ew, lat, lng := "A", "N", "E", p.Lat, p.Lng
	if p.IsZero() {
		fix = "V"
	}
	if lat < 0 {
		ns, lat = "S", -lat
	}
	if lng < 0 {
		ew, lng = "W", -lng
	}
	return watchFrame(id, fmt.Sprintf("%s,%s,%s,%s,%.6f,%s,%.6f,%s,0.0,0,1890,9,80,%d,100,0,%08X,1,1,460,0,1234,5678,100,0,10.0",
		keyword, at.Format("020106"), at.Format("150405"), fix, lat, ns, lng, ew, battery, status))
}

func watchAlarmFrame(id string, p Press) []byte {
	status := uint32(1 << 16)
	if p.Fall {
		status = 1 << 21
	}
	if p.LowBattery {
		status |= 1 << 17
	}
	return watchPlaceFrame(id, "AL", p.At, p.Point, p.Battery, status)
}

// answer is what the server said: a message number or keyword, and for GT06 the
// serial that it repeats.
type answer struct {
	kind   string // "01", "13", "26" or "LK", "AL", a command's keyword
	serial uint16
	text   string // content of a watch's command
}

var errAnswer = errors.New("not an answer of the protocol")

// readAnswer reads one frame of the server.
func readAnswer(protocol string, r *bufio.Reader) (answer, error) {
	if protocol == Watch {
		return readWatch(r)
	}
	return readGT06(r)
}

func readGT06(r *bufio.Reader) (answer, error) {
	head, err := r.Peek(3)
	if err != nil {
		return answer{}, err
	}
	if head[0] != 0x78 || head[1] != 0x78 {
		return answer{}, fmt.Errorf("%w: begins with % x", errAnswer, head)
	}
	frame := make([]byte, int(head[2])+5)
	if _, err := readFull(r, frame); err != nil {
		return answer{}, err
	}
	n := len(frame)
	if n < 10 || frame[n-2] != '\r' || frame[n-1] != '\n' {
		return answer{}, fmt.Errorf("%w: % x", errAnswer, frame)
	}
	if want, got := crcX25(frame[2:n-4]), binary.BigEndian.Uint16(frame[n-4:]); want != got {
		return answer{}, fmt.Errorf("%w: checksum %04x, want %04x in % x", errAnswer, got, want, frame)
	}
	return answer{kind: hex.EncodeToString(frame[3:4]), serial: binary.BigEndian.Uint16(frame[n-6:])}, nil
}

func readFull(r *bufio.Reader, b []byte) (int, error) {
	for n := 0; n < len(b); {
		m, err := r.Read(b[n:])
		if n += m; err != nil {
			return n, err
		}
	}
	return len(b), nil
}

func readWatch(r *bufio.Reader) (answer, error) {
	frame, err := r.ReadBytes(']')
	if err != nil {
		return answer{}, err
	}
	parts := strings.SplitN(string(bytes.TrimSpace(frame[:len(frame)-1])), "*", 4)
	if len(parts) != 4 || !strings.HasPrefix(parts[0], "[") {
		return answer{}, fmt.Errorf("%w: %q", errAnswer, frame)
	}
	if n, err := strconv.ParseUint(parts[2], 16, 16); err != nil || int(n) != len(parts[3]) {
		return answer{}, fmt.Errorf("%w: length %q of %q", errAnswer, parts[2], frame)
	}
	keyword, rest, _ := strings.Cut(parts[3], ",")
	return answer{kind: keyword, text: rest}, nil
}
