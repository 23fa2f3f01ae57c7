package sip

import (
	"bytes"
	"fmt"
	"strconv"
)

// Limits of one message. Nothing that a telephone sends comes near them.
const (
	maxMessage    = 16 << 10
	maxHeaders    = 64
	maxHeaderLine = 8 << 10
	maxVias       = 40 // RFC 4475 longreq has 34
	maxCSeq       = 1<<31 - 1
)

// envelope is what a look at the bytes tells before the parser sees them.
type envelope struct {
	request bool
	method  string
	uri     string
	bad     int    // status that the sender deserves, 0 when the parser may have it
	why     string // the reason phrase for it

	via, from, to, callID, cseq []byte // header values, for an answer without parser
}

// longNames are the compact header names (RFC 3261 7.3.3) written out, so that
// the rest of this package looks for one name only.
var longNames = map[string]string{
	"v": "Via", "f": "From", "t": "To", "m": "Contact", "i": "Call-ID", "l": "Content-Length",
	"c": "Content-Type", "k": "Supported", "e": "Content-Encoding", "s": "Subject", "o": "Event",
	"r": "Refer-To", "b": "Referred-By", "u": "Allow-Events", "x": "Session-Expires", "a": "Accept-Contact",
}

// scanner rewrites one message for sipgo's parser and judges it on the way. It is
// used by one goroutine: its buffer is the result's memory until the next call.
type scanner struct{ out []byte }

// scan returns the message with lines unfolded, spaces around ";", "=" and "/"
// removed where RFC 3261 25.1 allows them and sipgo does not (T24), compact names
// written out, and rport in the top Via of a datagram, so that every answer, also
// those which sipgo sends by itself, returns to the source (RFC 3581). A message
// that the parser could not take has env.bad set.
func (s *scanner) scan(data []byte, datagram bool) (out []byte, env envelope) {
	s.out = s.out[:0]
	head, body, whole := bytes.Cut(data, []byte("\r\n\r\n"))
	line, rest, _ := bytes.Cut(head, []byte("\r\n"))
	env.startLine(line)
	if len(data) > maxMessage {
		env.reject(400, "Message Too Long")
	}
	if !whole {
		env.reject(400, "Headers Not Terminated")
	}
	s.out = append(append(s.out, line...), "\r\n"...)

	headers, vias := 0, 0
	for len(rest) > 0 {
		var raw []byte
		raw, rest = cutHeader(rest)
		if headers++; headers > maxHeaders || len(raw) > maxHeaderLine {
			env.reject(400, "Too Many Or Too Long Headers")
			break
		}
		name, value, ok := bytes.Cut(raw, []byte(":"))
		name = bytes.TrimRight(name, " \t")
		if !ok || !isToken(name) {
			env.reject(400, "Malformed Header Line")
			continue
		}
		canonical := canonicalName(name)
		s.out = append(append(s.out, canonical...), ": "...)
		start := len(s.out)
		s.out = appendValue(s.out, value, canonical)
		switch canonical {
		case "Via":
			if vias++; vias == 1 {
				if datagram && env.request && !hasParam(s.out[start:], "rport") {
					s.out = insertRport(s.out, start)
				}
				env.via = bytes.Clone(s.out[start:])
			}
			if vias > maxVias {
				env.reject(400, "Too Many Via")
			}
			if !viaLooksGood(s.out[start:]) {
				env.reject(400, "Malformed Via")
			}
		case "From":
			keep(&env.from, s.out[start:])
			env.balanced(s.out[start:], canonical)
		case "To":
			keep(&env.to, s.out[start:])
			env.balanced(s.out[start:], canonical)
		case "Contact", "Route", "Record-Route":
			env.balanced(s.out[start:], canonical)
		case "Call-ID":
			keep(&env.callID, s.out[start:])
		case "CSeq":
			keep(&env.cseq, s.out[start:])
			env.checkCSeq(s.out[start:])
		case "Max-Forwards":
			if n, err := strconv.Atoi(string(s.out[start:])); err != nil || n < 0 || n > 255 {
				env.reject(400, "Malformed Max-Forwards")
			}
		case "Content-Length":
			n, err := strconv.Atoi(string(s.out[start:]))
			if err != nil || n < 0 || n > 1<<20 {
				env.reject(400, "Malformed Content-Length")
			} else if datagram && n > len(body) {
				env.reject(400, "Body Shorter Than Content-Length")
			}
		}
		s.out = append(s.out, "\r\n"...)
	}
	s.out = append(append(s.out, "\r\n"...), body...)
	for i, c := range head {
		if c == 0 && (i == 0 || head[i-1] != '\\') { // RFC 4475 intmeth quotes one
			env.reject(400, "NUL In Headers")
		}
	}
	if bareLine(head) {
		env.reject(400, "Line Without CRLF")
	}
	for _, h := range []struct {
		value []byte
		name  string
	}{{env.via, "Via"}, {env.from, "From"}, {env.to, "To"}, {env.callID, "Call-ID"}, {env.cseq, "CSeq"}} {
		if len(h.value) == 0 {
			env.reject(400, "Missing "+h.name)
		}
	}
	return s.out, env
}

func (e *envelope) reject(status int, why string) {
	if e.bad == 0 {
		e.bad, e.why = status, why
	}
}

// keep remembers the first value of a header for a stateless answer.
func keep(to *[]byte, value []byte) {
	if *to == nil {
		*to = bytes.Clone(value)
	}
}

// startLine reads "METHOD uri SIP/2.0" or "SIP/2.0 200 OK".
func (e *envelope) startLine(line []byte) {
	if len(line) >= 4 && bytes.EqualFold(line[:4], []byte("SIP/")) {
		if f := bytes.SplitN(line, []byte(" "), 3); len(f) < 2 || len(f[1]) != 3 || !bytes.EqualFold(f[0], []byte("SIP/2.0")) {
			e.reject(400, "Malformed Status Line")
		}
		return
	}
	e.request = true
	f := bytes.Split(line, []byte(" "))
	if len(f) > 0 && isToken(f[0]) {
		e.method = string(f[0])
	}
	version := f[len(f)-1]
	switch {
	case e.method == "":
		e.reject(400, "Malformed Method")
	case len(f) < 3:
		e.reject(400, "Malformed Request Line")
	case len(version) > 4 && bytes.EqualFold(version[:4], []byte("SIP/")) && !bytes.EqualFold(version, []byte("SIP/2.0")):
		e.reject(505, "Version Not Supported")
	case len(f) != 3 || !bytes.EqualFold(version, []byte("SIP/2.0")):
		// RFC 4475 3.1.2.9, 3.1.2.10: spaces inside or after are not repaired.
		e.reject(400, "Malformed Request Line")
	default:
		e.uri = string(f[1])
		scheme, rest, ok := bytes.Cut(f[1], []byte(":"))
		switch {
		case bytes.ContainsAny(f[1], "<>\""):
			e.reject(400, "Malformed Request-URI")
		case !ok || !isToken(scheme) || len(rest) == 0:
			e.reject(416, "Unsupported URI Scheme")
		case !knownScheme(string(bytes.ToLower(scheme))):
			e.reject(416, "Unsupported URI Scheme")
		}
	}
}

func knownScheme(s string) bool { return s == "sip" || s == "sips" || s == "tel" }

func (e *envelope) checkCSeq(value []byte) {
	number, method, ok := bytes.Cut(value, []byte(" "))
	n, err := strconv.ParseUint(string(number), 10, 64)
	if !ok || err != nil || n > maxCSeq || !isToken(method) {
		e.reject(400, "Malformed CSeq")
	}
}

// balanced refuses an address whose quotes or brackets do not close, or whose
// display name without quotes holds what only a quoted one may (RFC 4475 3.1.2.6,
// 3.1.2.15).
func (e *envelope) balanced(value []byte, name string) {
	quoted, bracket := false, false
	for i := 0; i < len(value); i++ {
		switch c := value[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			if !bracket {
				quoted = !quoted
			}
		case quoted:
		case c == '<':
			if bracket {
				e.reject(400, "Malformed "+name)
				return
			}
			bracket = true
		case c == '>':
			if !bracket {
				e.reject(400, "Malformed "+name)
				return
			}
			bracket = false
		case bracket && (c == ' ' || c == '\t'):
			// RFC 4475 3.1.2.14: spaces inside an addr-spec.
			e.reject(400, "Malformed "+name)
			return
		}
	}
	if quoted || bracket {
		e.reject(400, "Malformed "+name)
		return
	}
	if name == "Contact" && bytes.IndexByte(value, '?') >= 0 && bytes.IndexByte(value, '<') < 0 {
		e.reject(400, "Malformed "+name) // RFC 4475 regbadct: a URI with headers needs brackets
		return
	}
	if open := bytes.IndexByte(value, '<'); open > 0 && value[0] != '"' && (name == "From" || name == "To") {
		for _, c := range bytes.TrimSpace(value[:open]) {
			if c != ' ' && c != '\t' && !tokenByte(c) && c < 0x80 {
				e.reject(400, "Malformed "+name)
				return
			}
		}
	}
}

// cutHeader takes one header with its continuation lines from the front of b.
func cutHeader(b []byte) (header, rest []byte) {
	for i := 0; ; {
		j := bytes.Index(b[i:], []byte("\r\n"))
		if j < 0 {
			return b, nil
		}
		i += j + 2
		if i >= len(b) || (b[i] != ' ' && b[i] != '\t') {
			return b[:i-2], b[i:]
		}
	}
}

// appendValue writes a header value with folding undone, and in the headers whose
// grammar has separators with optional spaces, without these spaces.
func appendValue(out, value []byte, name string) []byte {
	start := len(out)
	tight := ""
	switch name {
	case "From", "To", "Contact", "Route", "Record-Route":
		tight = ";=,"
	case "Via":
		tight = ";=/:,"
	}
	quoted, space := false, false
	for i := 0; i < len(value); i++ {
		c := value[i]
		if quoted {
			out = append(out, c)
			if c == '\\' && i+1 < len(value) {
				i++
				out = append(out, value[i])
			} else if c == '"' {
				quoted = false
			}
			continue
		}
		switch {
		case c == ' ' || c == '\t' || c == '\r' || c == '\n':
			space = true
			continue
		case tight != "" && bytes.IndexByte([]byte(tight), c) >= 0:
			space = false
		case space:
			if n := len(out); n > start && (tight == "" || bytes.IndexByte([]byte(tight), out[n-1]) < 0) {
				out = append(out, ' ')
			}
			space = false
		}
		if c == '"' {
			quoted = true
		}
		out = append(out, c)
	}
	return out
}

// viaLooksGood refuses a Via that is none, or has empty values or parameters
// (RFC 4475 badinv01).
func viaLooksGood(v []byte) bool {
	if len(v) < 5 || !bytes.EqualFold(v[:4], []byte("SIP/")) || v[len(v)-1] == ',' || v[len(v)-1] == ';' {
		return false
	}
	for _, empty := range []string{";;", ",,", ";,", ",;"} {
		if bytes.Contains(v, []byte(empty)) {
			return false
		}
	}
	return true
}

// hasParam tells whether the first value of a header has the parameter.
func hasParam(value []byte, name string) bool {
	if i := bytes.IndexByte(value, ','); i >= 0 {
		value = value[:i]
	}
	for _, p := range bytes.Split(value, []byte(";"))[1:] {
		k, _, _ := bytes.Cut(p, []byte("="))
		if bytes.EqualFold(k, []byte(name)) {
			return true
		}
	}
	return false
}

// insertRport adds ";rport" to the first Via of the value that begins at start.
func insertRport(out []byte, start int) []byte {
	end := len(out)
	if i := bytes.IndexByte(out[start:], ','); i >= 0 {
		end = start + i
	}
	tail := bytes.Clone(out[end:])
	return append(append(out[:end], ";rport"...), tail...)
}

func canonicalName(name []byte) string {
	if len(name) == 1 {
		if long, ok := longNames[string(bytes.ToLower(name))]; ok {
			return long
		}
	}
	for _, known := range []string{"Via", "From", "To", "Call-ID", "CSeq", "Contact", "Content-Length",
		"Content-Type", "Max-Forwards", "Route", "Record-Route"} {
		if len(known) == len(name) && bytes.EqualFold(name, []byte(known)) {
			return known
		}
	}
	return string(name)
}

func isToken(b []byte) bool {
	for _, c := range b {
		if !tokenByte(c) {
			return false
		}
	}
	return len(b) > 0
}

// tokenByte is RFC 3261 25.1 token.
func tokenByte(c byte) bool {
	switch {
	case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		return true
	}
	return bytes.IndexByte([]byte("-.!%*_+`'~"), c) >= 0
}

// bareLine tells of a CR or LF that is not part of CRLF.
func bareLine(b []byte) bool {
	for i, c := range b {
		if c == '\n' && (i == 0 || b[i-1] != '\r') || c == '\r' && (i+1 < len(b) && b[i+1] != '\n') {
			return true
		}
	}
	return false
}

// statelessAnswer is the response to a request that no parser could take, made
// from its bytes; nil when there is nothing to answer to.
func statelessAnswer(env envelope, extra string) []byte {
	if !env.request || env.method == "" || env.method == "ACK" {
		return nil
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "SIP/2.0 %d %s\r\n", env.bad, env.why)
	for _, h := range []struct {
		name  string
		value []byte
	}{{"Via", env.via}, {"From", env.from}, {"To", env.to}, {"Call-ID", env.callID}, {"CSeq", env.cseq}} {
		if h.value != nil {
			fmt.Fprintf(&b, "%s: %s\r\n", h.name, h.value)
		}
	}
	fmt.Fprintf(&b, "%sServer: Anling\r\nContent-Length: 0\r\n\r\n", extra)
	return b.Bytes()
}
