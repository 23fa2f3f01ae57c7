// Package gt06 reads and writes the GT06 protocol of Concox, Jimi and the many
// makers that followed them: binary frames over TCP, big-endian.
//
// It owns bytes only: Split finds frames in a stream, Decode turns one frame into a
// Message with the whole set of alarm kinds and the exact bytes of the answer, the
// encoders write both the server's and the device's side. It holds no socket, no
// clock and no session; who the device is comes with the login, and the caller
// keeps it. An answer marked AfterCommit must not leave before the alarm is durable.
package gt06

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
)

// Bounds of the framer, in bytes.
const (
	MaxFrame = 4096 // the longest frame taken, start and stop included
	MaxJunk  = 256  // junk between two frames before a peer is no GT06 device
	minFrame = 10   // start 2, length 1, protocol 1, serial 2, checksum 2, stop 2
)

// Errors a caller decides on; Decode and Framer wrap them.
var (
	ErrShort    = errors.New("frame too short")
	ErrStart    = errors.New("no start mark")
	ErrLength   = errors.New("length does not match")
	ErrChecksum = errors.New("checksum does not match") // drop, never answer
	ErrContent  = errors.New("content cannot be read")
	ErrJunk     = errors.New("too much junk between frames")
)

// Checksum is CRC-16/X-25: polynomial 0x1021 reflected, initial and final FFFF. It
// covers a frame from the length to the serial.
func Checksum(b []byte) uint16 {
	crc := uint16(0xFFFF)
	for _, c := range b {
		crc = crc>>8 ^ crcTable[byte(crc)^c]
	}
	return ^crc
}

var crcTable = func() (t [256]uint16) {
	for i := range t {
		crc := uint16(i)
		for range 8 {
			if crc&1 != 0 {
				crc = crc>>1 ^ 0x8408
			} else {
				crc >>= 1
			}
		}
		t[i] = crc
	}
	return t
}()

// Framer cuts the stream of one connection into frames.
type Framer struct {
	junk int // bytes skipped since the last frame
}

// Split is a bufio.SplitFunc: each token is one whole frame with its start and stop
// marks. It ends with ErrJunk after more than MaxJunk bytes that belong to no frame.
// The scanner's buffer must hold MaxFrame+1 bytes at least.
//
//	78 78 | len u8  | proto u8 | content | serial u16 | crc u16 | 0D 0A
//	79 79 | len u16 | proto u8 | content | serial u16 | crc u16 | 0D 0A
//
// A length that lies (some Wi-Fi frames put a count there) is mended: when the stop
// mark is not where the length says, the frame ends at the next 0D 0A. A short frame
// with a right checksum inside a longer one shows that the longer one is torn; it is
// then cut before the good one, so a torn length does not swallow the alarm after it.
func (f *Framer) Split(data []byte, atEOF bool) (advance int, token []byte, err error) {
	advance, token, skipped := next(data, atEOF)
	f.junk += skipped
	if f.junk > MaxJunk {
		return advance, nil, fmt.Errorf("%w: %d bytes", ErrJunk, f.junk)
	}
	if token != nil {
		f.junk = 0
	}
	return advance, token, nil
}

// next finds one frame; skipped counts the bytes of advance that are in no frame.
func next(data []byte, atEOF bool) (advance int, token []byte, skipped int) {
	start := findStart(data)
	if start > 0 {
		return start, nil, start
	}
	if end, junk := frameEnd(data); end > 0 {
		if junk {
			return end, nil, end
		}
		return end, data[:end], 0
	}
	if atEOF && len(data) > 0 { // an unfinished frame at the end of the stream
		return len(data), nil, len(data)
	}
	return 0, nil, 0
}

// findStart returns the offset of the first start mark, or of a last byte that may
// be half of one, or len(b).
func findStart(b []byte) int {
	for i, c := range b {
		if c != 0x78 && c != 0x79 {
			continue
		}
		if i+1 == len(b) || b[i+1] == c {
			return i
		}
	}
	return len(b)
}

// frameEnd returns where the frame at the beginning of b ends, 0 when more bytes are
// needed; junk tells that the bytes up to end are no frame. What it decides does not
// depend on how many bytes follow the decision.
func frameEnd(b []byte) (end int, junk bool) {
	total, ok := declared(b)
	if !ok {
		return 0, false
	}
	fits := total >= minFrame && total <= MaxFrame
	window := min(total, len(b))
	if !fits {
		window = min(MaxFrame, len(b))
	}
	if at := innerFrame(b[:window]); at > 0 {
		return at, !bytes.HasSuffix(b[:at], stop)
	}
	if fits && len(b) < total {
		return 0, false
	}
	if fits && bytes.HasSuffix(b[:total], stop) {
		return total, false
	}
	if i := bytes.Index(b[4:min(len(b), MaxFrame)], stop); i >= 0 {
		return 4 + i + len(stop), false
	}
	if len(b) >= MaxFrame {
		return 1, true
	}
	return 0, false
}

var stop = []byte{0x0D, 0x0A}

// declared is the total size the length field states.
func declared(b []byte) (int, bool) {
	switch {
	case len(b) < 4:
		return 0, false
	case b[0] == 0x78:
		return int(b[2]) + 5, true
	}
	return int(binary.BigEndian.Uint16(b[2:])) + 6, true
}

// innerFrame returns the offset of the 7878 frame with a right checksum that ends
// first inside b, not counting one at offset 0; 0 when there is none.
func innerFrame(b []byte) int {
	best, bestEnd := 0, len(b)+1
	for i := 1; i+minFrame <= len(b); i++ {
		if b[i] != 0x78 || b[i+1] != 0x78 {
			continue
		}
		end := i + int(b[i+2]) + 5
		if end-i < minFrame || end >= bestEnd || !bytes.HasSuffix(b[i:end], stop) {
			continue
		}
		if Checksum(b[i+2:end-4]) == binary.BigEndian.Uint16(b[end-4:]) {
			best, bestEnd = i, end
		}
	}
	return best
}

// envelope is a frame taken apart.
type envelope struct {
	proto    byte
	extended bool // 79 79
	counted  bool // Wi-Fi frame with a count for a length: no serial, no checksum
	length   int  // the length field
	content  []byte
	serial   uint16
}

// open checks a frame and takes it apart. unchecked skips checksum and length, for
// frames from logs.
func open(b []byte, unchecked bool) (envelope, error) {
	if len(b) < minFrame {
		return envelope{}, fmt.Errorf("%w: %d < %d", ErrShort, len(b), minFrame)
	}
	if b[0] != b[1] || b[0] != 0x78 && b[0] != 0x79 {
		return envelope{}, fmt.Errorf("%w: %02x%02x", ErrStart, b[0], b[1])
	}
	e := envelope{extended: b[0] == 0x79, length: int(b[2]), proto: b[3]}
	head := 4
	if e.extended {
		e.length, e.proto, head = int(binary.BigEndian.Uint16(b[2:])), b[4], 5
	}
	total, _ := declared(b)
	if !e.extended && total != len(b) && (e.proto == 0x17 || e.proto == 0x69) && bytes.HasSuffix(b, stop) {
		e.counted = true
		e.content = b[4 : len(b)-2]
		return e, nil
	}
	if len(b) < head+6 {
		return envelope{}, fmt.Errorf("%w: %d < %d", ErrShort, len(b), head+6)
	}
	body := b[:len(b)-6]
	e.content = body[head:]
	e.serial = binary.BigEndian.Uint16(b[len(b)-6:])
	if unchecked {
		return e, nil
	}
	if total != len(b) || !bytes.HasSuffix(b, stop) {
		return envelope{}, fmt.Errorf("%w: %d stated, %d there", ErrLength, total, len(b))
	}
	if sum, want := Checksum(b[2:len(b)-4]), binary.BigEndian.Uint16(b[len(b)-4:]); sum != want {
		return envelope{}, fmt.Errorf("%w: %04x, stated %04x", ErrChecksum, sum, want)
	}
	return e, nil
}
