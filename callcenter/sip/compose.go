package sip

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/emiago/sipgo/sip"
	"github.com/google/uuid"
)

// Methods that this server answers with more than a refusal.
const allowHeader = "INVITE, ACK, CANCEL, BYE, OPTIONS, REGISTER, UPDATE, INFO"

const agent = "Anling"

var errUnsafe = errors.New("unsafe header value")

// safe refuses a value that would break out of its header (T31): sipgo writes
// CR, LF and NUL as they are.
func safe(v string) error {
	if strings.ContainsAny(v, "\r\n\x00") {
		return fmt.Errorf("%w: control characters", errUnsafe)
	}
	return nil
}

// header makes a header of a value that we composed; an unsafe value is left out,
// never sent.
func header(name, value string) sip.Header {
	if safe(name) != nil || safe(value) != nil {
		return sip.NewHeader("X-Removed", "1")
	}
	return sip.NewHeader(name, value)
}

// escapeUser writes the user part of a URI (RFC 3261 25.1 user).
func escapeUser(s string) string {
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-_.!~*'()&=+$,;?/", c) >= 0 {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}

// unescape undoes %HH; what is malformed stays as it is.
func unescape(s string) string {
	if !strings.Contains(s, "%") {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			hi, lo := hexDigit(s[i+1]), hexDigit(s[i+2])
			if hi >= 0 && lo >= 0 {
				b.WriteByte(byte(hi<<4 | lo))
				i += 2
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

func hexDigit(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'a' && c <= 'f':
		return int(c-'a') + 10
	case c >= 'A' && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

// uri makes a SIP address; user may be empty.
func uri(user string, at netip.AddrPort) sip.Uri {
	return sip.Uri{Scheme: "sip", User: escapeUser(user), Host: hostOf(at.Addr()), Port: int(at.Port())}
}

func hostOf(a netip.Addr) string {
	if a.Is6() {
		return "[" + a.String() + "]"
	}
	return a.String()
}

// contact is our own address for one dialog, each time a header of its own (T8).
func (s *Server) contact(transport string) sip.Header {
	v := "<sip:anling@" + s.advertise.String()
	if transport != "UDP" {
		v += ";transport=" + strings.ToLower(transport)
	}
	return sip.NewHeader("Contact", v+">")
}

// response answers a request. It always goes back to where the request came from
// (RFC 3581 4), from the socket that got it.
func (s *Server) response(req *sip.Request, status int, reason, tag string, extra ...sip.Header) *sip.Response {
	res := sip.NewResponseFromRequest(req, status, reason, nil)
	res.SipVersion = "SIP/2.0"
	if to := res.To(); to != nil && status > 100 {
		if had, ok := req.To().Params.Get("tag"); ok && had != "" {
			tag = had
		} else if tag == "" {
			tag = newTag()
		}
		to.Params.Add("tag", tag)
	}
	for _, h := range extra {
		res.AppendHeader(h)
	}
	res.AppendHeader(sip.NewHeader("Server", agent))
	res.SetDestination(req.Source())
	return res
}

// reply answers and forgets: for requests that belong to no leg.
func (s *Server) reply(req *sip.Request, tx sip.ServerTransaction, status int, reason string, extra ...sip.Header) {
	if req.IsAck() {
		return
	}
	s.metrics.responses.WithLabelValues(methodLabel(req.Method), fmt.Sprint(status)).Inc()
	if err := tx.Respond(s.response(req, status, reason, "", extra...)); err != nil {
		s.log.Debug("respond", errField(err))
	}
}

func allow() sip.Header { return sip.NewHeader("Allow", allowHeader) }

func setBody(res interface {
	AppendHeader(sip.Header)
	SetBody([]byte)
}, body []byte) {
	res.AppendHeader(sip.NewHeader("Content-Type", "application/sdp"))
	res.SetBody(body)
}

func newTag() string { return strings.ReplaceAll(uuid.NewString(), "-", "")[:16] }

func methodLabel(m sip.RequestMethod) string {
	switch m {
	case sip.INVITE, sip.REGISTER, sip.OPTIONS, sip.BYE, sip.CANCEL, sip.UPDATE, sip.INFO, sip.MESSAGE, sip.REFER:
		return string(m)
	}
	return "other"
}
