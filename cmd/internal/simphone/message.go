package simphone

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// message is one SIP request or response (RFC 3261 section 7), as plain text parts.
type message struct {
	method, uri string // of a request
	code        int    // of a response
	reason      string
	headers     []header
	body        []byte
}

type header struct{ name, value string }

const (
	maxMessage = 64 << 10
	maxHeaders = 128
)

var errMessage = errors.New("not a SIP message")

var compact = map[string]string{
	"v": "Via", "f": "From", "t": "To", "i": "Call-ID", "m": "Contact", "l": "Content-Length", "c": "Content-Type", "k": "Supported", "e": "Content-Encoding", "s": "Subject",
}

func (m *message) request() bool { return m.method != "" }

// get is the first value of a header, or "".
func (m *message) get(name string) string {
	for _, h := range m.headers {
		if strings.EqualFold(h.name, name) {
			return h.value
		}
	}
	return ""
}

// all are the values of a header, those separated by commas too.
func (m *message) all(name string) []string {
	var out []string
	for _, h := range m.headers {
		if strings.EqualFold(h.name, name) {
			out = append(out, splitList(h.value)...)
		}
	}
	return out
}

func (m *message) add(name, value string) { m.headers = append(m.headers, header{name, value}) }

// cseq is the number and the method of CSeq.
func (m *message) cseq() (uint32, string) {
	number, method, _ := strings.Cut(strings.TrimSpace(m.get("CSeq")), " ")
	n, err := strconv.ParseUint(number, 10, 32)
	if err != nil {
		return 0, ""
	}
	return uint32(n), strings.TrimSpace(method)
}

// branch is that of the topmost Via.
func (m *message) branch() string {
	via := m.all("Via")
	if len(via) == 0 {
		return ""
	}
	return param(via[0], "branch")
}

// bytes writes the message; Content-Length is set here.
func (m *message) bytes() []byte {
	var b bytes.Buffer
	if m.request() {
		fmt.Fprintf(&b, "%s %s SIP/2.0\r\n", m.method, m.uri)
	} else {
		fmt.Fprintf(&b, "SIP/2.0 %d %s\r\n", m.code, m.reason)
	}
	for _, h := range m.headers {
		fmt.Fprintf(&b, "%s: %s\r\n", h.name, h.value)
	}
	fmt.Fprintf(&b, "Content-Length: %d\r\n\r\n", len(m.body))
	b.Write(m.body)
	return b.Bytes()
}

// parse reads a datagram.
func parse(b []byte) (*message, error) {
	m, err := read(bufio.NewReader(bytes.NewReader(b)), true)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errMessage, err)
	}
	return m, nil
}

// read takes one message from a stream; in a datagram the body may end with it.
func read(r *bufio.Reader, datagram bool) (*message, error) {
	m := &message{}
	line, err := readLine(r)
	for err == nil && line == "" {
		line, err = readLine(r)
	}
	if err != nil {
		return nil, err
	}
	if err := m.start(line); err != nil {
		return nil, err
	}
	for {
		line, err := readLine(r)
		if err != nil {
			return nil, err
		}
		if line == "" {
			break
		}
		if (line[0] == ' ' || line[0] == '\t') && len(m.headers) > 0 {
			m.headers[len(m.headers)-1].value += " " + strings.TrimSpace(line)
			continue
		}
		name, value, found := strings.Cut(line, ":")
		if !found || len(m.headers) == maxHeaders {
			return nil, fmt.Errorf("header %q", line)
		}
		name = strings.TrimSpace(name)
		if long, short := compact[strings.ToLower(name)]; short {
			name = long
		}
		m.add(name, strings.TrimSpace(value))
	}
	return m, m.readBody(r, datagram)
}

func (m *message) readBody(r *bufio.Reader, datagram bool) error {
	length := m.get("Content-Length")
	kept := m.headers[:0]
	for _, h := range m.headers {
		if !strings.EqualFold(h.name, "Content-Length") {
			kept = append(kept, h)
		}
	}
	m.headers = kept
	if length == "" {
		if !datagram {
			return errors.New("no Content-Length on a stream")
		}
		body, err := io.ReadAll(io.LimitReader(r, maxMessage))
		m.body = body
		return err
	}
	n, err := strconv.Atoi(length)
	if err != nil || n < 0 || n > maxMessage {
		return fmt.Errorf("content length %q", length)
	}
	m.body = make([]byte, n)
	_, err = io.ReadFull(r, m.body)
	return err
}

func (m *message) start(line string) error {
	if rest, found := strings.CutPrefix(line, "SIP/2.0 "); found {
		code, reason, _ := strings.Cut(rest, " ")
		n, err := strconv.Atoi(code)
		if err != nil || n < 100 || n > 699 {
			return fmt.Errorf("status line %q", line)
		}
		m.code, m.reason = n, reason
		return nil
	}
	parts := strings.Split(line, " ")
	if len(parts) != 3 || parts[2] != "SIP/2.0" || parts[0] == "" {
		return fmt.Errorf("request line %q", line)
	}
	m.method, m.uri = parts[0], parts[1]
	return nil
}

func readLine(r *bufio.Reader) (string, error) {
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		line = append(line, part...)
		if len(line) > maxMessage {
			return "", errors.New("line too long")
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		if err != nil {
			return "", err
		}
		return strings.TrimRight(string(line), "\r\n"), nil
	}
}

// splitList cuts at commas outside quotes and angle brackets.
func splitList(s string) []string {
	var out []string
	quoted, angle, from := false, false, 0
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' && (i == 0 || s[i-1] != '\\'):
			quoted = !quoted
		case quoted:
		case c == '<':
			angle = true
		case c == '>':
			angle = false
		case c == ',' && !angle:
			out = append(out, strings.TrimSpace(s[from:i]))
			from = i + 1
		}
	}
	return append(out, strings.TrimSpace(s[from:]))
}

// param is a header parameter: what stands behind the angle brackets, or in a Via.
func param(value, name string) string {
	if i := strings.LastIndexByte(value, '>'); i >= 0 {
		value = value[i+1:]
	}
	for i, p := range strings.Split(value, ";") {
		k, v, _ := strings.Cut(p, "=")
		if i > 0 && strings.EqualFold(strings.TrimSpace(k), name) {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

// uriOf is the URI of a From, To, Contact or Route value.
func uriOf(value string) string {
	if _, rest, found := strings.Cut(value, "<"); found {
		uri, _, _ := strings.Cut(rest, ">")
		return uri
	}
	uri, _, _ := strings.Cut(value, ";")
	return strings.TrimSpace(uri)
}

// userOf is the user part of a URI.
func userOf(uri string) string {
	_, rest, found := strings.Cut(uri, ":")
	if !found {
		return ""
	}
	user, _, found := strings.Cut(rest, "@")
	if !found {
		return ""
	}
	return user
}

// hostOf is host:port of a URI, with the default port of SIP.
func hostOf(uri string) string {
	_, rest, _ := strings.Cut(uri, ":")
	if _, after, found := strings.Cut(rest, "@"); found {
		rest = after
	}
	rest, _, _ = strings.Cut(rest, ";")
	rest, _, _ = strings.Cut(rest, "?")
	if strings.HasSuffix(rest, "]") || (!strings.Contains(rest, "]") && !strings.Contains(rest, ":")) {
		rest += ":5060"
	}
	return rest
}
