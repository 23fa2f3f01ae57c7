package simphone

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// Payload types of the audio codecs.
const (
	PCMU byte = 0
	PCMA byte = 8
)

const dtmfType byte = 101

// session is what an SDP body says of its one audio stream.
type session struct {
	addr      netip.AddrPort
	codecs    []byte // PCMU and PCMA, in the order offered
	dtmf      byte   // payload type of telephone-event, 0 for none
	direction string // sendrecv, sendonly, recvonly, inactive
}

func (s session) sends() bool    { return s.direction == "sendrecv" || s.direction == "sendonly" }
func (s session) receives() bool { return s.direction == "sendrecv" || s.direction == "recvonly" }

// describe writes an SDP body.
func describe(id, version int64, addr netip.AddrPort, codecs []byte, dtmf byte, direction string) []byte {
	var b strings.Builder
	family := "IP4"
	if addr.Addr().Is6() {
		family = "IP6"
	}
	fmt.Fprintf(&b, "v=0\r\no=- %d %d IN %s %s\r\ns=-\r\nc=IN %s %s\r\nt=0 0\r\nm=audio %d RTP/AVP", id, version, family, addr.Addr(), family, addr.Addr(), addr.Port())
	for _, c := range codecs {
		fmt.Fprintf(&b, " %d", c)
	}
	if dtmf != 0 {
		fmt.Fprintf(&b, " %d", dtmf)
	}
	b.WriteString("\r\n")
	for _, c := range codecs {
		name := "PCMU"
		if c == PCMA {
			name = "PCMA"
		}
		fmt.Fprintf(&b, "a=rtpmap:%d %s/8000\r\n", c, name)
	}
	if dtmf != 0 {
		fmt.Fprintf(&b, "a=rtpmap:%d telephone-event/8000\r\na=fmtp:%d 0-15\r\n", dtmf, dtmf)
	}
	fmt.Fprintf(&b, "a=ptime:20\r\na=%s\r\n", direction)
	return []byte(b.String())
}

// parseSDP reads the first audio stream of a body.
func parseSDP(body []byte) (session, error) {
	s := session{direction: "sendrecv"}
	var host string
	port, media := 0, 0
	for _, line := range strings.FieldsFunc(string(body), func(r rune) bool { return r == '\r' || r == '\n' }) {
		kind, value, found := strings.Cut(line, "=")
		if !found {
			return s, fmt.Errorf("SDP line %q", line)
		}
		switch {
		case kind == "c" && media <= 1:
			if f := strings.Fields(value); len(f) == 3 {
				host = f[2]
			}
		case kind == "m":
			media++
			f := strings.Fields(value)
			if media > 1 || len(f) < 4 || f[0] != "audio" {
				continue
			}
			port, _ = strconv.Atoi(f[1])
			for _, pt := range f[3:] {
				if pt == "0" || pt == "8" {
					s.codecs = append(s.codecs, pt[0]-'0')
				}
			}
		case kind == "a" && media <= 1:
			s.attribute(value)
		}
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return s, fmt.Errorf("SDP address %q: %w", host, err)
	}
	if port <= 0 || port > 65535 || len(s.codecs) == 0 {
		return s, fmt.Errorf("SDP has no usable audio: port %d, codecs %v", port, s.codecs)
	}
	if ip.IsUnspecified() {
		s.direction = "inactive" // RFC 2543's way of holding
	}
	s.addr = netip.AddrPortFrom(ip, uint16(port))
	return s, nil
}

func (s *session) attribute(value string) {
	switch {
	case value == "sendrecv" || value == "sendonly" || value == "recvonly" || value == "inactive":
		s.direction = value
	case strings.HasPrefix(value, "rtpmap:") && strings.Contains(strings.ToLower(value), "telephone-event/8000"):
		n, _, _ := strings.Cut(strings.TrimPrefix(value, "rtpmap:"), " ")
		if pt, err := strconv.ParseUint(n, 10, 7); err == nil {
			s.dtmf = byte(pt)
		}
	}
}

// common is the first codec of theirs that is one of ours.
func common(theirs, ours []byte) (byte, bool) {
	for _, c := range theirs {
		for _, o := range ours {
			if c == o {
				return c, true
			}
		}
	}
	return 0, false
}
