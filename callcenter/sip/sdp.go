package sip

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"anling/callcenter/media"
)

// Limits of a session description.
const (
	maxMediaLines = 4
	maxAttributes = 20
	maxFormats    = 32
)

// direction is what the peer wants to do, seen from the peer.
type direction string

const (
	sendRecv direction = "sendrecv"
	sendOnly direction = "sendonly"
	recvOnly direction = "recvonly"
	inactive direction = "inactive"
)

// answer is the direction that agrees with an offered one (RFC 3264 6.1).
func (d direction) answer() direction {
	switch d {
	case sendOnly:
		return recvOnly
	case recvOnly:
		return sendOnly
	case inactive:
		return inactive
	default:
		return sendRecv
	}
}

func (d direction) sends() bool    { return d == sendRecv || d == sendOnly }
func (d direction) receives() bool { return d == sendRecv || d == recvOnly }

// description is a session description as far as a telephone call needs it.
type description struct {
	media []mediaLine
}

// mediaLine is one m= section.
type mediaLine struct {
	kind    string // audio, video, …
	port    uint16
	proto   string
	formats []string
	addr    netip.Addr // invalid when the peer named a host
	dir     direction
	maps    map[string]string // payload type -> "PCMA/8000", upper case
}

var errSDP = errors.New("session description")

// parseSDP reads a description. Unknown lines are ignored, as RFC 4566 5 asks;
// what is read must be well formed.
func parseSDP(body []byte) (*description, error) {
	if len(body) > maxMessage {
		return nil, fmt.Errorf("%w: %d bytes", errSDP, len(body))
	}
	d := &description{}
	var session netip.Addr
	sessionDir := sendRecv
	attributes, first := 0, true
	for line := range bytes.Lines(body) {
		text := strings.TrimRight(string(line), "\r\n")
		if text == "" {
			continue
		}
		key, value, ok := strings.Cut(text, "=")
		if !ok || len(key) != 1 {
			return nil, fmt.Errorf("%w: line %.40q", errSDP, text)
		}
		if first && (key != "v" || value != "0") {
			return nil, fmt.Errorf("%w: begins with %.20q", errSDP, text)
		}
		first = false
		var m *mediaLine
		if n := len(d.media); n > 0 {
			m = &d.media[n-1]
		}
		switch key {
		case "c":
			addr, err := parseConnection(value)
			if err != nil {
				return nil, err
			}
			if m != nil {
				m.addr = addr
			} else {
				session = addr
			}
		case "m":
			next, err := parseMedia(value)
			if err != nil {
				return nil, err
			}
			if len(d.media) == maxMediaLines {
				return nil, fmt.Errorf("%w: more than %d media lines", errSDP, maxMediaLines)
			}
			next.addr, next.dir = session, sessionDir
			d.media = append(d.media, next)
			attributes = 0
		case "a":
			if attributes++; attributes > 2*maxAttributes {
				return nil, fmt.Errorf("%w: more than %d attributes", errSDP, 2*maxAttributes)
			}
			name, arg, _ := strings.Cut(value, ":")
			switch dir := direction(name); {
			case dir == sendRecv || dir == sendOnly || dir == recvOnly || dir == inactive:
				if m != nil {
					m.dir = dir
				} else {
					sessionDir = dir
				}
			case name == "rtpmap" && m != nil:
				if pt, enc, ok := strings.Cut(arg, " "); ok {
					m.maps[pt] = strings.ToUpper(strings.TrimSpace(enc))
				}
			}
		}
	}
	if first {
		return nil, fmt.Errorf("%w: empty", errSDP)
	}
	return d, nil
}

func parseConnection(value string) (netip.Addr, error) {
	f := strings.Fields(value)
	if len(f) != 3 || f[0] != "IN" || f[1] != "IP4" && f[1] != "IP6" {
		return netip.Addr{}, fmt.Errorf("%w: connection %.40q", errSDP, value)
	}
	host, _, _ := strings.Cut(f[2], "/")
	addr, err := netip.ParseAddr(host)
	if err != nil {
		return netip.Addr{}, nil // a name: media goes to where the signalling comes from
	}
	return addr.Unmap(), nil
}

func parseMedia(value string) (mediaLine, error) {
	f := strings.Fields(value)
	if len(f) < 4 || len(f) > 3+maxFormats {
		return mediaLine{}, fmt.Errorf("%w: media %.60q", errSDP, value)
	}
	ports, _, _ := strings.Cut(f[1], "/")
	port, err := strconv.ParseUint(ports, 10, 16)
	if err != nil {
		return mediaLine{}, fmt.Errorf("%w: port %.20q", errSDP, f[1])
	}
	return mediaLine{kind: f[0], port: uint16(port), proto: f[2], formats: f[3:], dir: sendRecv, maps: map[string]string{}}, nil
}

// agreed is the one audio stream that both sides can do.
type agreed struct {
	line  int // index of its m= line
	codec media.Codec
	dtmf  uint8 // payload type of telephone-event, 0 for none
	addr  netip.AddrPort
	dir   direction // of the peer
	zero  bool      // c=0.0.0.0, the old way to hold (RFC 3264 8.4)
}

var errNoCodec = errors.New("no common codec")

// agree finds the first audio line with G.711. PCMA wins wherever it stands: the
// carriers of this country speak it, so nothing has to be converted. fallback is
// where the signalling comes from; it replaces an address that is a name or of a
// family that our media does not have.
func (d *description) agree(fallback netip.Addr) (agreed, error) {
	for i, m := range d.media {
		if m.kind != "audio" || m.port == 0 || m.proto != "RTP/AVP" {
			continue
		}
		a := agreed{line: i, dir: m.dir}
		found := false
		for _, pt := range m.formats {
			enc, mapped := m.maps[pt]
			switch {
			case pt == "8" && (!mapped || strings.HasPrefix(enc, "PCMA/8000")):
				a.codec, found = media.PCMA, true
			case pt == "0" && (!mapped || strings.HasPrefix(enc, "PCMU/8000")):
				if !found {
					a.codec, found = media.PCMU, true
				}
			case strings.HasPrefix(enc, "TELEPHONE-EVENT/8000") && a.dtmf == 0:
				if n, err := strconv.ParseUint(pt, 10, 8); err == nil && n >= 96 && n <= 127 {
					a.dtmf = uint8(n)
				}
			}
		}
		if !found {
			continue
		}
		addr := m.addr
		if addr.IsValid() && addr.IsUnspecified() {
			a.zero, a.dir = true, sendOnly
			addr = fallback
		}
		if !addr.IsValid() || addr.Is4() != fallback.Is4() || addr.IsMulticast() {
			addr = fallback
		}
		a.addr = netip.AddrPortFrom(addr, m.port)
		return a, nil
	}
	return agreed{}, fmt.Errorf("%w among %d media lines", errNoCodec, len(d.media))
}

// remote is what the media session needs of an agreement.
func (a agreed) remote() media.Remote {
	return media.Remote{Addr: a.addr, Codec: a.codec, DTMF: a.dtmf, Send: a.dir.receives(), Receive: a.dir.sends()}
}

const ourDTMF = 101

// local is our side of a session; every body is written from scratch.
type local struct {
	id      uint64
	version uint64
	last    string // body without origin line, to see whether it changed
}

// write renders a body; the version in o= rises only when something changed
// (RFC 3264 8).
func (l *local) write(addr netip.Addr, lines string) []byte {
	if l.last != lines {
		l.version++
		l.last = lines
	}
	family := "IP4"
	if addr.Is6() {
		family = "IP6"
	}
	return fmt.Appendf(nil, "v=0\r\no=- %d %d IN %s %s\r\ns=-\r\nc=IN %s %s\r\nt=0 0\r\n%s",
		l.id, l.version, family, addr, family, addr, lines)
}

// offer is our own proposal: both laws, PCMA first, and keys.
func (l *local) offer(at netip.AddrPort, dir direction) []byte {
	return l.write(at.Addr(), audioLine(at.Port(), []media.Codec{media.PCMA, media.PCMU}, ourDTMF, dir))
}

// answer agrees to one audio line and refuses the others: m= lines are never
// removed, only set to port 0 (RFC 3264 6).
func (l *local) answer(d *description, a agreed, at netip.AddrPort) []byte {
	var b strings.Builder
	for i, m := range d.media {
		if i == a.line {
			b.WriteString(audioLine(at.Port(), []media.Codec{a.codec}, a.dtmf, a.dir.answer()))
			continue
		}
		fmt.Fprintf(&b, "m=%s 0 %s %s\r\n", token(m.kind), token(m.proto), token(m.formats[0]))
	}
	return l.write(at.Addr(), b.String())
}

func audioLine(port uint16, codecs []media.Codec, dtmf uint8, dir direction) string {
	var formats, maps strings.Builder
	for _, c := range codecs {
		name := "PCMU"
		if c == media.PCMA {
			name = "PCMA"
		}
		fmt.Fprintf(&formats, " %d", c)
		fmt.Fprintf(&maps, "a=rtpmap:%d %s/8000\r\n", c, name)
	}
	if dtmf != 0 {
		fmt.Fprintf(&formats, " %d", dtmf)
		fmt.Fprintf(&maps, "a=rtpmap:%d telephone-event/8000\r\na=fmtp:%d 0-15\r\n", dtmf, dtmf)
	}
	return fmt.Sprintf("m=audio %d RTP/AVP%s\r\n%sa=ptime:20\r\na=%s\r\n", port, formats.String(), maps.String(), dir)
}

// token keeps what a peer wrote only if it is harmless in our own body.
func token(s string) string {
	for i := range len(s) {
		if c := s[i]; !tokenByte(c) && c != '/' {
			return "audio"
		}
	}
	return s
}
