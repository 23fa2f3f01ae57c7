package sip

import (
	"bytes"
	"fmt"
	"mime"
	"slices"
	"strings"

	"github.com/emiago/sipgo/sip"
)

// Option tags that we understand.
var extensions = []string{"timer"}

// refusal is the answer to a request that may not go further; status 0 lets it.
type refusal struct {
	status int
	reason string
	extra  []sip.Header
}

func refuse(status int, reason string, extra ...sip.Header) refusal {
	return refusal{status, reason, extra}
}

// knownMethods are those of the RFCs; others are not implemented (501), these are
// not allowed (405) when we do not do them.
var knownMethods = []sip.RequestMethod{sip.INVITE, sip.ACK, sip.CANCEL, sip.BYE, sip.REGISTER, sip.OPTIONS,
	sip.SUBSCRIBE, sip.NOTIFY, sip.REFER, sip.INFO, sip.MESSAGE, sip.PRACK, sip.UPDATE, sip.PUBLISH}

// validate is the layer between the parser and everything else; the order is that
// of the telephony specification 2.3. Source classes and syntax are behind us: the
// edge saw to them.
func validate(req *sip.Request) refusal {
	if !strings.EqualFold(req.SipVersion, "SIP/2.0") {
		return refuse(505, "Version Not Supported")
	}
	if r := single(req); r.status != 0 {
		return r
	}
	cseq := req.CSeq()
	if cseq.MethodName != req.Method {
		if !slices.Contains(knownMethods, req.Method) {
			return refuse(501, "Not Implemented", allow())
		}
		return refuse(400, "CSeq Method Does Not Match")
	}
	switch req.Recipient.Scheme {
	case "sip", "sips":
	case "tel":
		if req.Method == sip.REGISTER {
			return refuse(416, "Unsupported URI Scheme")
		}
	default:
		return refuse(416, "Unsupported URI Scheme")
	}
	if req.Recipient.Headers.Length() > 0 {
		return refuse(400, "Headers In Request-URI")
	}
	if req.Method == sip.REGISTER {
		for _, u := range []sip.Uri{req.To().Address, req.From().Address} {
			if u.Scheme != "sip" && u.Scheme != "sips" {
				return refuse(400, "Address Of Record Is Not SIP")
			}
		}
	}
	if tags := unsupported(req); len(tags) > 0 && req.Method != sip.ACK && req.Method != sip.CANCEL {
		return refuse(420, "Bad Extension", header("Unsupported", strings.Join(tags, ", ")))
	}
	if !slices.Contains(knownMethods, req.Method) {
		return refuse(501, "Not Implemented", allow())
	}
	return body(req)
}

// single refuses requests in which a header that rules the transaction is missing
// or stands twice: which one counts would be a guess.
func single(req *sip.Request) refusal {
	count := map[string]int{}
	for _, h := range req.Headers() {
		count[strings.ToLower(h.Name())]++
	}
	for _, name := range []string{"From", "To", "Call-ID", "CSeq"} {
		switch n := count[strings.ToLower(name)]; {
		case n == 0:
			return refuse(400, "Missing "+name)
		case n > 1:
			return refuse(400, "Multiple "+name)
		}
	}
	if count["via"] == 0 || req.Via() == nil {
		return refuse(400, "Missing Via")
	}
	for _, name := range []string{"Max-Forwards", "Content-Length", "Content-Type", "Expires", "Session-Expires"} {
		if count[strings.ToLower(name)] > 1 {
			return refuse(400, "Multiple "+name)
		}
	}
	if req.Method == sip.INVITE {
		switch count["contact"] {
		case 0:
			return refuse(400, "Missing Contact")
		case 1:
		default:
			return refuse(400, "Multiple Contact")
		}
	}
	if len(req.Headers()) > maxHeaders || count["via"] > maxVias {
		return refuse(400, "Too Many Headers")
	}
	return refusal{}
}

func unsupported(req *sip.Request) (tags []string) {
	for _, tag := range list(req, "Require") {
		if !slices.Contains(extensions, strings.ToLower(tag)) && len(tags) < 16 {
			tags = append(tags, tag)
		}
	}
	return tags
}

// body checks that we can read what comes with a request.
func body(req *sip.Request) refusal {
	accept := sip.NewHeader("Accept", "application/sdp")
	if h := req.GetHeader("Content-Encoding"); h != nil && !strings.EqualFold(h.Value(), "identity") && len(req.Body()) > 0 {
		return refuse(415, "Unsupported Content Encoding", sip.NewHeader("Accept-Encoding", "identity"))
	}
	if req.Method == sip.INVITE && req.GetHeader("Accept") != nil && !accepts(req, "application/sdp") {
		return refuse(406, "Not Acceptable")
	}
	if len(req.Body()) == 0 || !isOneOf(req.Method, sip.INVITE, sip.UPDATE, sip.ACK) {
		return refusal{}
	}
	if req.ContentType() == nil {
		return refuse(400, "Missing Content-Type")
	}
	if _, ok := sdpBody(req); !ok {
		return refuse(415, "Unsupported Media Type", accept)
	}
	return refusal{}
}

func isOneOf(m sip.RequestMethod, of ...sip.RequestMethod) bool { return slices.Contains(of, m) }

func accepts(req *sip.Request, kind string) bool {
	for _, v := range list(req, "Accept") {
		t, _, _ := strings.Cut(v, ";")
		t = strings.ToLower(strings.TrimSpace(t))
		if t == kind || t == "*/*" || t == "application/*" || t == "multipart/mixed" && kind == t {
			return true
		}
	}
	return false
}

// list is the comma separated values of all headers of that name.
func list(m interface{ GetHeaders(string) []sip.Header }, name string) (values []string) {
	for _, h := range m.GetHeaders(name) {
		for v := range strings.SplitSeq(h.Value(), ",") {
			if v = strings.TrimSpace(v); v != "" {
				values = append(values, v)
			}
		}
	}
	return values
}

// sdpBody finds the session description in a message: the body itself, or its
// part of a multipart/mixed. nil with true is a message without a body.
func sdpBody(m sip.Message) ([]byte, bool) {
	b := m.Body()
	if len(b) == 0 {
		return nil, true
	}
	var kind string
	if h, ok := m.(interface{ ContentType() *sip.ContentTypeHeader }); ok && h.ContentType() != nil {
		kind = h.ContentType().Value()
	}
	mt, params, err := mime.ParseMediaType(kind)
	if err != nil {
		return nil, false
	}
	switch mt {
	case "application/sdp":
		return b, true
	case "multipart/mixed":
		return sdpPart(b, params["boundary"])
	}
	return nil, false
}

func sdpPart(b []byte, boundary string) ([]byte, bool) {
	if boundary == "" || len(boundary) > 70 {
		return nil, false
	}
	for part := range bytes.SplitSeq(b, []byte("--"+boundary)) {
		head, content, ok := bytes.Cut(part, []byte("\r\n\r\n"))
		if ok && bytes.Contains(bytes.ToLower(head), []byte("content-type: application/sdp")) {
			return bytes.TrimSuffix(content, []byte("\r\n")), true
		}
	}
	return nil, false
}

// check answers what validate refuses; true means that the request may go on.
func (s *Server) check(req *sip.Request, tx sip.ServerTransaction) bool {
	r := validate(req)
	if r.status == 0 {
		return true
	}
	if req.To() == nil || req.From() == nil {
		return false
	}
	s.reply(req, tx, r.status, r.reason, r.extra...)
	return false
}

func (r refusal) String() string { return fmt.Sprintf("%d %s", r.status, r.reason) }
