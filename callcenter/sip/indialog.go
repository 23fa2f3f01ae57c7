package sip

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"

	"anling/callcenter/leg"
)

// orderWait is how long a request waits for one with a lower number: sipgo handles
// each message in a goroutine of its own, so they may overtake each other (T17).
const orderWait = 10 * time.Millisecond

// respond answers a request of the peer in the dialog.
func (l *line) respond(in *inbound, status int, text string, extra ...sip.Header) {
	_ = in.tx.Respond(l.s.response(in.req, status, text, l.dialog.localTag, extra...))
	in.release()
}

// request takes a request of the peer, in order (RFC 3261 12.2.2).
func (l *line) request(in *inbound) {
	d := l.dialogOf(in.req)
	n := in.req.CSeq().SeqNo
	switch {
	case d == nil || l.state == ended || d != l.dialog:
		// Over on our side. A BYE that crossed ours is agreed to.
		if in.req.Method == sip.BYE && d != nil {
			l.dropAccepted()
			l.respond(in, 200, "OK")
			return
		}
		l.respond(in, 481, "Call/Transaction Does Not Exist")
		return
	case d.remoteSeq != 0 && n <= d.remoteSeq:
		l.respond(in, 500, "CSeq Out Of Order")
		return
	case d.remoteSeq != 0 && n > d.remoteSeq+1 && in.req.Method != sip.BYE && len(l.waiting) < 8:
		l.waiting = append(l.waiting, in)
		l.after(alarmOrder, orderWait)
		return
	}
	l.handle(d, in)
	for {
		i := slices.IndexFunc(l.waiting, func(w *inbound) bool { return w.req.CSeq().SeqNo == d.remoteSeq+1 })
		if i < 0 {
			return
		}
		w := l.waiting[i]
		l.waiting = slices.Delete(l.waiting, i, i+1)
		l.handle(d, w)
	}
}

// gap lets go what waited for a number that does not come: numbers may jump.
func (l *line) gap() {
	waiting := l.waiting
	l.waiting = nil
	slices.SortFunc(waiting, func(a, b *inbound) int { return int(a.req.CSeq().SeqNo) - int(b.req.CSeq().SeqNo) })
	for _, in := range waiting {
		if l.state == ended {
			l.respond(in, 481, "Call/Transaction Does Not Exist")
			continue
		}
		l.handle(l.dialog, in)
	}
}

func (l *line) dialogOf(m sip.Message) *dialog {
	from, to := tagOf(m.From().Params), tagOf(m.To().Params)
	for _, d := range l.dialogs {
		if d.remoteTag == from && d.localTag == to {
			return d
		}
	}
	return nil
}

func (l *line) handle(d *dialog, in *inbound) {
	if l.state == ended {
		l.respond(in, 481, "Call/Transaction Does Not Exist")
		return
	}
	d.remoteSeq = in.req.CSeq().SeqNo
	if d.fixed { // a NAT may have moved the peer
		if src := parseAddrPort(in.req.Source()); src.IsValid() && in.req.Transport() == d.network {
			d.dest = src
		}
	}
	switch in.req.Method {
	case sip.BYE:
		l.byed(in)
	case sip.INVITE:
		l.reinvite(in)
	case sip.UPDATE:
		l.update(in)
	case sip.INFO:
		l.infoReceived(in)
	case sip.OPTIONS:
		l.respond(in, 200, "OK", l.s.abilities()...)
	case sip.PRACK:
		l.respond(in, 481, "Call/Transaction Does Not Exist")
	case sip.SUBSCRIBE:
		l.respond(in, 489, "Bad Event")
	default: // REFER, MESSAGE, NOTIFY, PUBLISH: not here
		l.respond(in, 405, "Method Not Allowed", allow())
	}
}

func (l *line) byed(in *inbound) {
	reason := reasonOf(in.req)
	l.respond(in, 200, "OK")
	if l.info.Direction == leg.In && (l.state == offered || l.state == ringing) {
		l.refuse(487, "Request Terminated")
		l.end(leg.Cancelled, 487, reason)
		return
	}
	l.dropAccepted()
	l.end(leg.CallerHangup, 0, reason)
}

func (l *line) dropAccepted() {
	for _, a := range l.accepted {
		a.in.release()
	}
	l.accepted, l.byeDue = nil, false
	l.stop(alarmResend)
}

// busyOffer refuses an offer that meets another one (RFC 3261 14.2, RFC 3311 5.2).
func (l *line) busyOffer(in *inbound) bool {
	switch {
	case l.state != answered && l.state != confirmed:
		l.respond(in, 500, "Server Internal Error", sip.NewHeader("Retry-After", fmt.Sprint(rand.IntN(11))))
	case l.reoffer, slices.ContainsFunc(l.accepted, func(a *accepted) bool { return a.late }):
		l.respond(in, 491, "Request Pending")
	default:
		return false
	}
	return true
}

// renegotiate agrees to a new offer, or refuses it and keeps what was (RFC 6141).
func (l *line) renegotiate(in *inbound, b []byte) (body []byte, ok bool) {
	d, err := parseSDP(b)
	if err != nil {
		l.log.Warn("offer", errField(err))
		l.respond(in, 400, "Malformed Session Description")
		return nil, false
	}
	a, err := d.agree(l.dialog.dest.Addr())
	if err != nil {
		l.respond(in, 488, "Not Acceptable Here", sip.NewHeader("Warning", `304 anling "G.711 audio is needed"`))
		return nil, false
	}
	l.apply(a)
	return l.sdp.answer(d, a, l.session.Local()), true
}

// intervalTooSmall answers 422 (RFC 4028 9).
func (l *line) intervalTooSmall(in *inbound) bool {
	if secs, _ := sessionInterval(in.req); secs > 0 && time.Duration(secs)*time.Second < l.s.o.MinSession {
		l.respond(in, 422, "Session Interval Too Small", sip.NewHeader("Min-SE", seconds(l.s.o.MinSession)))
		return true
	}
	return false
}

// reinvite is hold, resume, a new address, or a session refresh.
func (l *line) reinvite(in *inbound) {
	if l.busyOffer(in) || l.intervalTooSmall(in) {
		return
	}
	b, _ := sdpBody(in.req)
	var body []byte
	if len(b) == 0 {
		body = l.sdp.offer(l.session.Local(), l.direction())
	} else {
		var ok bool
		if body, ok = l.renegotiate(in, b); !ok {
			return
		}
	}
	l.dialog.refresh(in.req)
	res := l.s.response(in.req, 200, "OK", l.dialog.localTag, l.s.contact(l.dialog.network), allow(),
		sip.NewHeader("Supported", strings.Join(extensions, ", ")))
	for _, h := range l.agreeTimer(in.req) {
		res.AppendHeader(h)
	}
	setBody(res, body)
	if err := in.tx.Respond(res); err != nil {
		in.release()
		return
	}
	l.keep(&accepted{in: in, res: res, late: len(b) == 0})
}

// direction is what we offer: what was agreed, so that a refresh changes nothing.
func (l *line) direction() direction {
	if l.peer.dir == "" {
		return sendRecv
	}
	return l.peer.dir.answer()
}

// update is a refresh with or without an offer (RFC 3311); it has no ACK.
func (l *line) update(in *inbound) {
	b, ok := sdpBody(in.req)
	if !ok {
		l.respond(in, 415, "Unsupported Media Type", sip.NewHeader("Accept", "application/sdp"))
		return
	}
	if len(b) > 0 && l.busyOffer(in) || l.intervalTooSmall(in) {
		return
	}
	var body []byte
	if len(b) > 0 {
		if body, ok = l.renegotiate(in, b); !ok {
			return
		}
	}
	l.dialog.refresh(in.req)
	res := l.s.response(in.req, 200, "OK", l.dialog.localTag, l.s.contact(l.dialog.network), allow(),
		sip.NewHeader("Supported", strings.Join(extensions, ", ")))
	for _, h := range l.agreeTimer(in.req) {
		res.AppendHeader(h)
	}
	if body != nil {
		setBody(res, body)
	}
	_ = in.tx.Respond(res)
	in.release()
}

// infoReceived takes keys that are sent in signalling.
func (l *line) infoReceived(in *inbound) {
	kind := ""
	if ct := in.req.ContentType(); ct != nil {
		kind, _, _ = strings.Cut(strings.ToLower(ct.Value()), ";")
	}
	digit, ok := dtmfInfo(strings.TrimSpace(kind), in.req.Body())
	switch {
	case ok:
		l.respond(in, 200, "OK")
		l.tell(leg.Event{Kind: leg.DTMF, Digit: digit})
	case len(in.req.Body()) == 0:
		l.respond(in, 200, "OK")
	default:
		l.respond(in, 415, "Unsupported Media Type", sip.NewHeader("Accept", "application/dtmf-relay, application/dtmf"))
	}
}

// dtmfInfo reads "Signal=5" (dtmf-relay) or "5" (dtmf).
func dtmfInfo(kind string, body []byte) (byte, bool) {
	var v string
	switch kind {
	case "application/dtmf-relay":
		for line := range bytes.Lines(body) {
			k, val, ok := strings.Cut(string(line), "=")
			if ok && strings.EqualFold(strings.TrimSpace(k), "signal") {
				v = strings.TrimSpace(val)
			}
		}
	case "application/dtmf":
		v = strings.TrimSpace(string(body))
	}
	switch v {
	case "10":
		v = "*"
	case "11":
		v = "#"
	}
	if len(v) == 1 && strings.Contains("0123456789*#ABCD", strings.ToUpper(v)) {
		return strings.ToUpper(v)[0], true
	}
	return 0, false
}

// bye ends the dialog, now or as soon as the ACK of our 2xx allows it.
func (l *line) bye(why string) {
	for _, a := range l.accepted {
		if a.first {
			l.byeDue, l.byeWhy = true, why
			return
		}
	}
	l.sendBye(l.dialog, why)
}

// sendBye says BYE and waits for the answer, once more with credentials when the
// carrier asks for them.
func (l *line) sendBye(d *dialog, why string) {
	if d == nil {
		return
	}
	req := l.s.request(d, sip.BYE)
	req.AppendHeader(header("Reason", why))
	l.converse(req, func(res *sip.Response, err error) {
		if err == nil && (res.StatusCode == 401 || res.StatusCode == 407) {
			l.withCredentials(d, req, res, func(again *sip.Request) { l.converse(again, func(*sip.Response, error) {}) })
		}
	})
}

// converse sends a request that is no INVITE and brings its final answer here.
func (l *line) converse(req *sip.Request, final func(*sip.Response, error)) {
	l.open++
	l.s.transact(req, func(res *sip.Response, err error) {
		if err == nil && res.StatusCode < 200 {
			return
		}
		l.post(func() {
			l.open--
			final(res, err)
		})
	})
}

// withCredentials repeats a request of ours with an answer to the challenge.
func (l *line) withCredentials(d *dialog, req *sip.Request, res *sip.Response, send func(*sip.Request)) bool {
	t := l.s.trunkByName(l.info.Trunk)
	if t == nil || t.User == "" {
		return false
	}
	again := l.s.request(d, req.Method)
	name, value, err := digestClient(res, string(req.Method), again.Recipient.String(), credentials{t.User, t.Password}, 1)
	if err != nil {
		l.log.Warn("challenge", errField(err))
		return false
	}
	again.AppendHeader(header(name, value))
	send(again)
	return true
}

// agreeTimer answers the session timer that a request asks for (RFC 4028 9): the
// peer refreshes unless it cannot or says that we shall.
func (l *line) agreeTimer(req *sip.Request) []sip.Header {
	secs, who := sessionInterval(req)
	if secs == 0 {
		l.timerOn = false
		l.stop(alarmRefresh)
		l.stop(alarmExpire)
		return nil
	}
	knows := contains(list(req, "Supported"), "timer") || contains(list(req, "Require"), "timer")
	if !knows || who != "uas" && who != "uac" {
		who = "uac"
		if !knows {
			who = "uas"
		}
	}
	l.runTimer(time.Duration(secs)*time.Second, who == "uas")
	hs := []sip.Header{sip.NewHeader("Session-Expires", fmt.Sprintf("%d;refresher=%s", secs, who))}
	if who == "uac" {
		hs = append(hs, sip.NewHeader("Require", "timer"))
	}
	return hs
}

// runTimer arms the session timer anew: the refresher at half, the other side a
// little before the end (RFC 4028 10).
func (l *line) runTimer(interval time.Duration, weAsk bool) {
	l.timerOn, l.interval, l.weAsk = true, interval, weAsk
	l.stop(alarmRefresh)
	l.stop(alarmExpire)
	if weAsk {
		l.after(alarmRefresh, interval/2)
	} else {
		l.after(alarmExpire, interval-min(32*time.Second, interval/3))
	}
}

// refresh tells the peer that we are still here: UPDATE when it knows it, else a
// re-INVITE with what was agreed.
func (l *line) refresh() {
	if l.state != confirmed || l.reoffer {
		return
	}
	if slices.ContainsFunc(l.accepted, func(a *accepted) bool { return a.late }) {
		l.after(alarmGlare, l.s.o.T1)
		return
	}
	l.reoffer = true
	method := sip.UPDATE
	if !l.updates {
		method = sip.INVITE
	}
	req := l.s.request(l.dialog, method)
	req.AppendHeader(allow())
	req.AppendHeader(sip.NewHeader("Supported", strings.Join(extensions, ", ")))
	req.AppendHeader(sip.NewHeader("Session-Expires", fmt.Sprintf("%d;refresher=uac", int(l.interval/time.Second))))
	req.AppendHeader(sip.NewHeader("Min-SE", seconds(l.s.o.MinSession)))
	if method == sip.INVITE {
		setBody(req, l.sdp.offer(l.session.Local(), l.direction()))
	}
	l.open++
	finalSeen := false
	seq := l.dialog.localSeq
	l.s.transact(req, func(res *sip.Response, err error) {
		if err == nil && res.StatusCode < 200 {
			return
		}
		l.post(func() {
			if err == nil && method == sip.INVITE && res.StatusCode < 300 {
				l.s.send(l.s.requestSeq(l.dialog, sip.ACK, seq))
			}
			if finalSeen {
				return
			}
			finalSeen = true
			l.open--
			l.refreshed(method, res, err)
		})
	})
}

func (l *line) refreshed(method sip.RequestMethod, res *sip.Response, err error) {
	l.reoffer = false
	if l.state != confirmed {
		return
	}
	status := 408
	if err == nil {
		status = res.StatusCode
	}
	switch {
	case status < 300:
		l.dialog.refresh(res)
		if method == sip.INVITE {
			if err := l.lateAnswer(res); err != nil {
				l.log.Warn("answer to refresh", errField(err))
			}
		}
		secs, who := sessionInterval(res)
		if secs > 0 {
			l.runTimer(time.Duration(secs)*time.Second, who != "uas")
		} else {
			l.runTimer(l.interval, true)
		}
	case status == 491:
		// RFC 3261 14.1: who owns the Call-ID waits longer.
		wait := time.Duration(rand.IntN(201)) * 10 * time.Millisecond
		if l.info.Direction == leg.Out {
			wait = 2100*time.Millisecond + time.Duration(rand.IntN(191))*10*time.Millisecond
		}
		l.after(alarmGlare, wait)
	case status == 408 || status == 481:
		l.bye(`SIP;cause=408;text="Refresh Failed"`)
		l.end(leg.Timer, status, "refresh failed")
	case status == 422:
		if hs := res.GetHeaders("Min-SE"); len(hs) > 0 {
			var n int
			if _, err := fmt.Sscan(hs[0].Value(), &n); err == nil && n > 0 && n < 86400 {
				l.interval = time.Duration(n) * time.Second
			}
		}
		l.after(alarmRefresh, l.s.o.T1)
	case method == sip.UPDATE && (status == 405 || status == 501):
		l.updates = false
		l.after(alarmRefresh, 0)
	default: // the peer is there, it only did not like it
		l.after(alarmRefresh, l.interval/4)
	}
}

func (s *Server) trunkByName(name string) *trunk {
	for _, t := range s.trunks {
		if t.Name == name {
			return t
		}
	}
	return nil
}
