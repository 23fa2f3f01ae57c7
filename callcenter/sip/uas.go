package sip

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"

	"anling/callcenter/leg"
)

// tryingAfter is how long an INVITE waits for our first own answer before 100 goes
// out; sipgo would wait 200 ms.
const tryingAfter = 20 * time.Millisecond

// onInvite is the door of every INVITE. The handler classifies, hands over and
// stays: when it returned, sipgo would end the transaction (T1).
func (s *Server) onInvite(req *sip.Request, tx sip.ServerTransaction) {
	if !s.check(req, tx) {
		return
	}
	if tagOf(req.To().Params) != "" {
		s.inDialog(req, tx)
		return
	}
	info, ok := s.caller(req, tx)
	if !ok {
		return
	}
	if !s.admit(info, req, tx) {
		return
	}
	if secs, _ := sessionInterval(req); secs > 0 && time.Duration(secs)*time.Second < s.o.MinSession {
		s.reply(req, tx, 422, "Session Interval Too Small", sip.NewHeader("Min-SE", seconds(s.o.MinSession)))
		return
	}
	l, done, ok := s.receive(info, req, tx)
	if !ok {
		return
	}
	if s.o.OnInvite == nil {
		l.Hangup(leg.Normal)
	} else {
		s.o.OnInvite(l)
	}
	l.attend(tx, done)
}

// caller tells who calls: a carrier by its address, a telephone by its password.
// false means that the request has been answered.
func (s *Server) caller(req *sip.Request, tx sip.ServerTransaction) (leg.Info, bool) {
	src := parseAddrPort(req.Source())
	info := leg.Info{
		Direction: leg.In, SIPCallID: req.CallID().Value(), Remote: req.Source(),
	}
	t := s.trunkOf(src.Addr())
	if t == nil || s.phones.isFlow(src) || req.GetHeader("Authorization") != nil {
		account, ok := s.authenticate(req, tx)
		if !ok {
			return info, false
		}
		info.Kind, info.Account, info.From, info.FromRaw = leg.Phone, account, "phone:"+account, req.From().Address.String()
		info.DID = unescape(req.Recipient.User)
		info.To, info.SOS = s.called(info.DID, s.o.PhoneAreaCode)
		return info, true
	}
	info.Kind, info.Trunk = leg.Trunk, t.Name
	s.identity(&info, req, t)
	info.DID = s.did(req)
	info.To, info.SOS = s.called(info.DID, t.AreaCode)
	return info, true
}

// identity reads the caller's number. A carrier that is trusted knows it better
// than From does (RFC 3325). Nobody is refused for hiding it.
func (s *Server) identity(info *leg.Info, req *sip.Request, t *trunk) {
	from := req.From()
	info.FromRaw = maskControl(unescape(userOf(from.Address)))
	raw := info.FromRaw
	if t.TrustIdentity {
		for _, v := range list(req, "P-Asserted-Identity") {
			var u sip.Uri
			if _, err := sip.ParseAddressValue(v, &u, &sip.HeaderParams{}); err == nil && userOf(u) != "" {
				raw = unescape(userOf(u))
				break
			}
		}
	}
	number, ok := normalizeNumber(raw, t.AreaCode)
	if ok {
		info.From = number
	}
	privacy := strings.ToLower(strings.Join(list(req, "Privacy"), ";"))
	info.Anonymous = !ok || strings.EqualFold(info.FromRaw, "anonymous") ||
		strings.EqualFold(from.Address.Host, "anonymous.invalid") || strings.Contains(privacy, "id") || strings.Contains(privacy, "user")
}

// userOf is the user part of a sip URI, the number of a tel URI.
func userOf(u sip.Uri) string {
	if u.Scheme == "tel" {
		number, _, _ := strings.Cut(u.Raw(), ";")
		return number
	}
	user, _, _ := strings.Cut(u.User, ";")
	return user
}

// did is the called number: the Request-URI, else To.
func (s *Server) did(req *sip.Request) string {
	for _, u := range []sip.Uri{req.Recipient, req.To().Address} {
		if user := unescape(userOf(u)); user != "" && dialable(strings.NewReplacer("-", "", ".", "").Replace(user)) {
			return user
		}
	}
	return maskControl(unescape(userOf(req.Recipient)))
}

// called is the called number in E.164, and whether it is an SOS line.
func (s *Server) called(did, areaCode string) (to string, sos bool) {
	to, ok := normalizeNumber(did, areaCode)
	if !ok {
		to = did
	}
	return to, s.sos[did] || s.sos[to]
}

// admit sheds ordinary calls when the server stops, is full or overloaded. An SOS
// call is never asked for.
func (s *Server) admit(info leg.Info, req *sip.Request, tx sip.ServerTransaction) bool {
	if info.SOS {
		return true
	}
	switch {
	case s.draining.Load(),
		s.ordinary.Load() >= int64(s.o.MaxLegs),
		s.o.Admit != nil && !s.o.Admit(info):
		s.metrics.ended.WithLabelValues(string(leg.In), string(leg.Overload)).Inc()
		s.reply(req, tx, 503, "Service Unavailable", retryAfter())
		return false
	}
	return true
}

func mergeKey(req *sip.Request) string {
	return req.CallID().Value() + "\x00" + fmt.Sprint(req.CSeq().SeqNo) + "\x00" + tagOf(req.From().Params)
}

// receive makes the leg of a new call. false means that the request is answered.
func (s *Server) receive(info leg.Info, req *sip.Request, tx sip.ServerTransaction) (*line, chan struct{}, bool) {
	key, branch := mergeKey(req), req.Via().Params.GetOr("branch", "")
	s.mu.Lock()
	_, merged := s.merge[key]
	if !merged {
		s.merge[key] = branch
	}
	s.mu.Unlock()
	if merged {
		// The same call came by two ways (RFC 3261 8.2.2.2).
		s.reply(req, tx, 482, "Loop Detected")
		return nil, nil, false
	}
	l := s.newLine(info)
	l.in = &inbound{req: req, tx: tx, done: make(chan struct{})}
	l.dialog = s.calledDialog(req)
	l.dialogs = []*dialog{l.dialog}
	l.updates = contains(list(req, "Allow"), "UPDATE")
	if b, ok := sdpBody(req); ok && len(b) > 0 {
		d, err := parseSDP(b)
		if err != nil {
			l.log.Warn("offer", errField(err))
			d = &description{} // it is presented all the same, and cannot be answered
		}
		l.offer = d
	}
	l.after(alarmTrying, tryingAfter)
	l.after(alarmRing, 3*s.o.RingTimeout)
	if !l.start() {
		s.mu.Lock()
		delete(s.merge, key)
		s.mu.Unlock()
		s.reply(req, tx, 503, "Service Unavailable", retryAfter())
		return nil, nil, false
	}
	// The callback runs under the transaction's lock (T4).
	if !tx.OnCancel(func(r *sip.Request) { l.enqueue(func() { l.cancelled(r) }) }) {
		l.enqueue(func() { l.cancelled(nil) })
	}
	return l, l.in.done, true
}

// calledDialog is the dialog of the called side (RFC 3261 12.1.1).
func (s *Server) calledDialog(req *sip.Request) *dialog {
	d := &dialog{
		callID: req.CallID().Value(), localTag: newTag(), remoteTag: tagOf(req.From().Params),
		localURI: *req.To().Address.Clone(), remoteURI: *req.From().Address.Clone(),
		remoteSeq: req.CSeq().SeqNo,
		network:   req.Transport(), dest: parseAddrPort(req.Source()),
	}
	d.fixed = d.network != "UDP" || s.trunkOf(d.dest.Addr()) == nil
	d.refresh(req)
	if d.routeSet(req, false) {
		s.log.Warn("a strict router is on the way; it may lose requests", errField(errors.New("Record-Route without lr")))
	}
	return d
}

// enqueue is post for callers that must not wait.
func (l *line) enqueue(f func()) {
	select {
	case l.inbox <- f:
	default:
		go l.post(f)
	}
}

func (l *line) trying() {
	if l.state == offered {
		_ = l.in.tx.Respond(l.s.response(l.in.req, 100, "Trying", ""))
	}
}

func (l *line) ringBack() {
	if l.state != offered {
		return
	}
	l.stop(alarmTrying)
	res := l.s.response(l.in.req, 180, "Ringing", l.dialog.localTag, l.s.contact(l.dialog.network), allow())
	if err := l.in.tx.Respond(res); err == nil {
		l.to(ringing)
	}
}

// accept is Answer in the leg's goroutine.
func (l *line) accept() error {
	switch l.state {
	case answered, confirmed:
		return nil
	case ended:
		return leg.ErrCancelled
	}
	if l.info.Direction == leg.Out {
		return fmt.Errorf("answer leg %s: it is outbound", l.info.ID)
	}
	var a agreed
	if l.offer != nil {
		var err error
		if a, err = l.offer.agree(l.dialog.dest.Addr()); err != nil {
			l.refuse(488, "Not Acceptable Here", sip.NewHeader("Warning", `304 anling "G.711 audio is needed"`))
			l.end(leg.MediaLost, 488, err.Error())
			return fmt.Errorf("answer leg %s: %w", l.info.ID, err)
		}
	}
	session, err := l.s.openMedia(l.info.SOS)
	if err != nil {
		l.refuse(503, "Service Unavailable", retryAfter())
		l.end(leg.Overload, 503, err.Error())
		return fmt.Errorf("answer leg %s: %w", l.info.ID, err)
	}
	l.session = session
	var body []byte
	if l.offer != nil {
		l.apply(a)
		body = l.sdp.answer(l.offer, a, session.Local())
	} else { // a late offer: ours goes out now, theirs comes in the ACK
		body = l.sdp.offer(session.Local(), sendRecv)
	}
	res := l.s.response(l.in.req, 200, "OK", l.dialog.localTag, l.s.contact(l.dialog.network), allow(),
		sip.NewHeader("Supported", strings.Join(extensions, ", ")))
	for _, h := range l.agreeTimer(l.in.req) {
		res.AppendHeader(h)
	}
	setBody(res, body)
	// Media runs from the 200, not from the ACK (RFC 3261 13.3.1.4).
	session.Start()
	if err := l.in.tx.Respond(res); err != nil {
		if errors.Is(err, sip.ErrTransactionCanceled) {
			// The CANCEL was faster. Our 200 now stands where the 487 stood, and would be
			// sent again in its place: put the 487 back (T3).
			_ = l.in.tx.Respond(l.s.response(l.in.req, 487, "Request Terminated", l.dialog.localTag))
			l.cancelled(nil)
			return leg.ErrCancelled
		}
		l.in.release()
		l.end(leg.Transport, 0, err.Error())
		return fmt.Errorf("answer leg %s: %w", l.info.ID, err)
	}
	l.to(answered)
	l.stop(alarmTrying)
	l.stop(alarmRing)
	if !l.info.SOS {
		l.after(alarmLongest, l.s.o.MaxCall)
	}
	l.audio.Store(session)
	l.keep(&accepted{in: l.in, res: res, late: l.offer == nil, first: true})
	l.tell(leg.Event{Kind: leg.Answered})
	if l.held {
		l.tell(leg.Event{Kind: leg.Held})
	}
	return nil
}

// keep sends a 2xx again at T1, 2*T1, 4*T1 … T2 until its ACK, on streams too, and
// for 64*T1 in all (RFC 3261 13.3.1.4; sipgo's own loop is wrong, T2).
func (l *line) keep(a *accepted) {
	now := time.Now()
	a.cseq, a.every = a.in.req.CSeq().SeqNo, l.s.o.T1
	a.next, a.until = now.Add(a.every), now.Add(64*l.s.o.T1)
	l.accepted = append(l.accepted, a)
	l.scheduleResend()
}

func (l *line) scheduleResend() {
	l.stop(alarmResend)
	for _, a := range l.accepted {
		if due := &l.due[alarmResend]; due.IsZero() || a.next.Before(*due) {
			*due = a.next
		}
	}
}

func (l *line) resend(now time.Time) {
	rest := l.accepted[:0]
	expired := false
	for _, a := range l.accepted {
		switch {
		case !now.Before(a.until):
			expired = true
			a.in.release()
			continue
		case !now.Before(a.next):
			l.s.metrics.resent.Inc()
			_ = a.in.tx.Respond(a.res) // a lost stream ends at the deadline like a lost ACK
			a.every = min(2*a.every, 8*l.s.o.T1)
			if a.next = now.Add(a.every); a.next.After(a.until) {
				a.next = a.until
			}
		}
		rest = append(rest, a)
	}
	l.accepted = rest
	l.scheduleResend()
	if !expired {
		return
	}
	// Only now may the called side say BYE without an ACK (RFC 3261 15).
	why := l.byeWhy
	if why == "" {
		why = `SIP;cause=408;text="No ACK"`
	}
	l.sendBye(l.dialog, why)
	l.end(leg.NoAck, 0, "no ACK")
}

// acked matches an ACK by the CSeq of its INVITE (T7).
func (l *line) acked(ack *sip.Request) {
	for i, a := range l.accepted {
		if a.cseq != ack.CSeq().SeqNo {
			continue
		}
		l.accepted = append(l.accepted[:i:i], l.accepted[i+1:]...)
		l.scheduleResend()
		a.in.release()
		l.confirm(a, ack)
		return
	}
	if l.state == ended && l.info.Direction == leg.In && l.wasCancelled && tagOf(ack.To().Params) == l.dialog.localTag {
		// Our 200 slipped out before the 487: the caller believes in a dialog (T3).
		l.sendBye(l.dialog, "SIP;cause=487")
	}
}

func (l *line) confirm(a *accepted, ack *sip.Request) {
	if l.state == ended {
		if l.byeDue {
			l.byeDue = false
			l.sendBye(l.dialog, l.byeWhy)
		}
		return
	}
	if a.late {
		if err := l.lateAnswer(ack); err != nil {
			l.log.Warn("answer in ack", errField(err))
			if a.first {
				l.sendBye(l.dialog, `SIP;cause=488;text="No Usable Answer"`)
				l.end(leg.MediaLost, 488, err.Error())
				return
			}
		}
	}
	if a.first {
		l.to(confirmed)
		l.tell(leg.Event{Kind: leg.Confirmed})
	}
}

// lateAnswer takes the answer to our offer from an ACK.
func (l *line) lateAnswer(m sip.Message) error {
	b, ok := sdpBody(m)
	if !ok || len(b) == 0 {
		return fmt.Errorf("%w: no answer", errSDP)
	}
	d, err := parseSDP(b)
	if err != nil {
		return err
	}
	a, err := d.agree(l.dialog.dest.Addr())
	if err != nil {
		return err
	}
	l.apply(a)
	return nil
}

// apply makes an agreement the media's, and tells when the peer holds or returns.
func (l *line) apply(a agreed) {
	l.session.Configure(a.remote())
	l.peer = a
	was := l.held
	l.held = !a.dir.receives()
	if l.state != answered && l.state != confirmed {
		return
	}
	switch {
	case l.held && !was:
		l.tell(leg.Event{Kind: leg.Held})
	case !l.held && was:
		l.tell(leg.Event{Kind: leg.Resumed})
	}
}

// refuse is the final answer to an INVITE that is not taken.
func (l *line) refuse(status int, text string, extra ...sip.Header) {
	if status == 503 && len(extra) == 0 {
		extra = append(extra, retryAfter())
	}
	_ = l.in.tx.Respond(l.s.response(l.in.req, status, text, l.dialog.localTag, extra...))
	l.in.release()
}

// cancelled ends an unanswered leg: sipgo has answered the CANCEL and the INVITE.
func (l *line) cancelled(cancel *sip.Request) {
	if l.state != offered && l.state != ringing {
		return
	}
	reason := ""
	if cancel != nil {
		reason = reasonOf(cancel)
	}
	l.wasCancelled = true
	l.in.release()
	l.end(leg.Cancelled, 487, reason)
	l.after(alarmLinger, 8*l.s.o.T1)
}

// lost is an INVITE transaction that ended before our answer.
func (l *line) lost(tx sip.ServerTransaction) {
	if l.in == nil || l.in.tx != tx || l.state != offered && l.state != ringing {
		return
	}
	err := tx.Err()
	if errors.Is(err, sip.ErrTransactionCanceled) {
		l.cancelled(nil)
		return
	}
	l.in.release()
	l.end(leg.Transport, 0, "transaction lost")
}

// unanswered is the end of ringing, on both sides.
func (l *line) unanswered() {
	switch l.state {
	case offered, ringing:
		if l.info.Direction == leg.In {
			l.refuse(480, "Temporarily Unavailable")
			l.end(leg.NoAnswer, 480, "")
			return
		}
		fallthrough
	case calling, proceeding:
		l.cancelAll()
		l.end(leg.NoAnswer, 0, "ring timeout")
	}
}

func contains(values []string, want string) bool {
	for _, v := range values {
		if strings.EqualFold(v, want) {
			return true
		}
	}
	return false
}

func seconds(d time.Duration) string { return fmt.Sprint(int(d / time.Second)) }

// maskControl keeps what may stand in a record.
func maskControl(s string) string {
	if len(s) > 64 {
		s = s[:64]
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return -1
		}
		return r
	}, s)
}
