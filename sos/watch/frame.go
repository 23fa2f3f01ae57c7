// Package watch reads and writes the "3G*" protocol of children's and elders'
// watches (SeTracker, Beesure, Wonlex): ASCII between brackets over TCP, with binary
// inserts for voice.
//
// There is no login and no secret: the identity stands in every frame. An alarm is
// answered only when it is durable, a heartbeat at once and always.
package watch

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Bounds of the framer, in bytes.
const (
	MaxFrame = 4096      // a frame of text
	MaxVoice = 64 * 1024 // a frame of voice or a picture, from a watch that said who it is
	MaxJunk  = 256       // junk between two frames before a peer is no watch
)

// Errors a caller decides on.
var (
	ErrHeader  = errors.New("header cannot be read")
	ErrContent = errors.New("content cannot be read")
	ErrJunk    = errors.New("too much junk between frames")
	ErrTooLong = errors.New("frame too long")
)

// Framer finds frames in a stream; one per connection.
//
//	[ MM * ID * LEN * CONTENT ]          MM two letters, LEN four hex digits
//	[ MM * ID * IDX * LEN * CONTENT ]
//
// A third of the frames on record have a wrong LEN, so brackets decide: a frame ends
// where they balance. An opening bracket in the name of a Wi-Fi station would keep it
// open; it then ends at the bracket that LEN points to, or before the next header.
type Framer struct {
	Voice bool // long frames of voice are taken
	junk  int
}

// Split is a bufio.SplitFunc; each token is one frame with its brackets.
func (f *Framer) Split(data []byte, _ bool) (advance int, token []byte, err error) {
	start := bytes.IndexByte(data, '[')
	if start != 0 {
		if start < 0 {
			start = len(data)
		}
		if f.junk += start; f.junk > MaxJunk {
			return start, nil, fmt.Errorf("%w: %d bytes", ErrJunk, f.junk)
		}
		return start, nil, nil
	}
	end := frameEnd(data)
	if most := f.most(data); end > most || end == 0 && len(data) > most {
		return 0, nil, fmt.Errorf("%w: more than %d bytes", ErrTooLong, most)
	}
	if end == 0 {
		return 0, nil, nil
	}
	f.junk = 0
	return end, data[:end], nil
}

// most is how long the frame at the beginning of b may be.
func (f *Framer) most(b []byte) int {
	if !f.Voice {
		return MaxFrame
	}
	h, ok := parseHeader(b)
	if !ok {
		return MaxFrame
	}
	word := strings.ToUpper(string(b[h.content:min(len(b), h.content+5)]))
	for _, long := range []string{"TK,", "TK2,", "JXTK,", "IMG,"} {
		if strings.HasPrefix(word, long) {
			return MaxVoice
		}
	}
	return MaxFrame
}

// frameEnd returns the size of the frame at the beginning of b, 0 when it is not whole.
func frameEnd(b []byte) int {
	stated := -1
	if h, ok := parseHeader(b); ok {
		stated = h.content + h.length
	}
	depth := 0
	for i, c := range b {
		switch c {
		case '[':
			depth++
		case ']':
			depth--
			if depth == 0 || i == stated || headerFollows(b[i+1:]) {
				return i + 1
			}
		}
	}
	return 0
}

// headerFollows reports whether b begins like a frame.
func headerFollows(b []byte) bool {
	if len(b) < 9 || b[0] != '[' || b[3] != '*' || !letter(b[1]) || !letter(b[2]) {
		return false
	}
	for _, c := range b[4:9] {
		if c < '0' || c > '9' {
			return false
		}
	}
	return true
}

func letter(c byte) bool { return c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' }

// header is what stands before the content.
type header struct {
	maker, id, index string
	length           int
	content          int // offset of the content
}

// parseHeader reads the header of a frame that begins with '['.
func parseHeader(b []byte) (h header, ok bool) {
	fields := make([]string, 0, 4)
	at := 1
	for len(fields) < 4 {
		star := bytes.IndexByte(b[at:min(len(b), at+24)], '*')
		if star < 0 {
			break
		}
		fields = append(fields, string(b[at:at+star]))
		at += star + 1
		if len(fields) == 3 {
			h.content = at
		}
	}
	if len(fields) < 3 || len(fields[0]) != 2 || !digits(fields[1]) {
		return header{}, false
	}
	h.maker, h.id = fields[0], fields[1]
	length := fields[2]
	if len(fields) == 4 && hex4(fields[3]) {
		h.index, length, h.content = fields[2], fields[3], at
	}
	n, err := strconv.ParseUint(length, 16, 16)
	if err != nil || !hex4(length) {
		return header{}, false
	}
	h.length = int(n)
	return h, true
}

func digits(s string) bool {
	if len(s) < 5 || len(s) > 20 {
		return false
	}
	return strings.Trim(s, "0123456789") == ""
}

func hex4(s string) bool { return len(s) == 4 && strings.Trim(s, "0123456789abcdefABCDEF") == "" }

// unescape undoes the escapes of binary content: 7D 01 … 7D 05.
func unescape(b []byte) []byte {
	if bytes.IndexByte(b, 0x7D) < 0 {
		return b
	}
	out := make([]byte, 0, len(b))
	for i := 0; i < len(b); i++ {
		if b[i] == 0x7D && i+1 < len(b) && b[i+1] >= 1 && int(b[i+1]) <= len(escaped) {
			i++
			out = append(out, escaped[b[i]-1])
			continue
		}
		out = append(out, b[i])
	}
	return out
}

// escape is the inverse of unescape.
func escape(b []byte) []byte {
	out := make([]byte, 0, len(b)+len(b)/16)
	for _, c := range b {
		if i := strings.IndexByte(escaped, c); i >= 0 {
			out = append(out, 0x7D, byte(i+1))
			continue
		}
		out = append(out, c)
	}
	return out
}

const escaped = "\x7D[],*"
