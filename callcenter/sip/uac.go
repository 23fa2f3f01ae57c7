package sip

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"
	"go.uber.org/zap"

	"anling/callcenter/leg"
	"anling/callcenter/media"
)

// Errors of Dial.
var (
	ErrNotRegistered = errors.New("telephone is not registered")
	ErrNoTrunk       = errors.New("no trunk for outbound calls")
	ErrNumber        = errors.New("not a number that can be dialled")
	ErrBusy          = errors.New("too many legs")
)

// outbound is what an outbound leg tries: groups one after the other, the attempts
// of a group at once (the two places of one telephone account).
type outbound struct {
	call   leg.Call
	groups [][]*attempt
	active []*attempt
	best   outcome // of what failed so far
	won    *attempt
	wonAt  time.Time
	rang   bool
	early  bool
}

type outcome struct {
	cause  leg.Cause
	code   int
	reason string
	rank   int
}

// attempt is one INVITE to one place.
type attempt struct {
	d      *dialog
	trunk  *trunk // nil for a telephone
	req    *sip.Request
	stop   func() // ends the transaction
	live   bool   // its success is wanted
	heard  bool   // a 1xx came: CANCEL may be sent (RFC 3261 9.1)
	final  bool
	cancel bool   // wanted
	why    string // its Reason
	sent   bool   // and sent
	quiet  time.Time
	tries  int // with credentials
	minSE  string
	auth   [2]string
	acks   map[string]*sip.Request // To-tag -> ACK, sent again for each 2xx (T7)
}

// Dial implements leg.Dialer.
func (s *Server) Dial(_ context.Context, c leg.Call) (leg.Leg, error) {
	if !c.SOS && (s.draining.Load() || s.ordinary.Load() >= int64(s.o.MaxLegs)) {
		return nil, fmt.Errorf("dial %s: %w", maskNumber(c.To), ErrBusy)
	}
	info := leg.Info{Direction: leg.Out, From: c.CallerID, To: c.To, SOS: c.SOS}
	out := &outbound{call: c}
	var err error
	if account, ok := strings.CutPrefix(c.To, "phone:"); ok {
		info.Kind, info.Account = leg.Phone, account
		out.groups, err = s.toPhone(account, c)
	} else {
		info.Kind = leg.Trunk
		out.groups, err = s.toTrunks(c)
	}
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", maskNumber(c.To), err)
	}
	first := out.groups[0][0]
	info.SIPCallID, info.Remote = first.d.callID, first.d.dest.String()
	if first.trunk != nil {
		info.Trunk = first.trunk.Name
	}
	session, err := s.openMedia(c.SOS)
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", maskNumber(c.To), err)
	}
	l := s.newLine(info)
	l.out, l.session = out, session
	timeout := c.Timeout
	if timeout <= 0 {
		timeout = s.o.RingTimeout
	}
	l.after(alarmRing, timeout)
	l.inbox <- l.nextGroup // the inbox is new: there is room
	if !l.start() {
		session.Close()
		return nil, fmt.Errorf("dial %s: %w", maskNumber(c.To), errClosed)
	}
	return l, nil
}

func (s *Server) openMedia(sos bool) (*media.Session, error) {
	if sos {
		return s.o.Media.OpenSOS()
	}
	return s.o.Media.Open()
}

// toPhone rings every place where the account is signed in, by the flow that it
// registered over, whatever its Contact says.
func (s *Server) toPhone(account string, c leg.Call) ([][]*attempt, error) {
	places := s.phones.places(account)
	if len(places) == 0 {
		return nil, ErrNotRegistered
	}
	var group []*attempt
	for _, b := range places {
		var target sip.Uri
		if err := sip.ParseUri(b.Contact, &target); err != nil {
			continue
		}
		target.Headers = nil // kept for the telephone, never sent back in a Request-URI
		to := uri(account, s.advertise)
		group = append(group, s.attempt(target, s.callerURI(c.CallerID), to, b.network(), b.flow(), nil))
	}
	if len(group) == 0 {
		return nil, ErrNotRegistered
	}
	return [][]*attempt{group}, nil
}

// toTrunks tries the carriers in their order.
func (s *Server) toTrunks(c leg.Call) (groups [][]*attempt, err error) {
	if !dialable(c.To) || c.To == "" {
		return nil, ErrNumber
	}
	for _, t := range s.route() {
		number, ok := dialString(c.To, t.NumberForm, t.AreaCode)
		if !ok {
			return nil, ErrNumber
		}
		at, ok := t.address()
		if !ok {
			continue
		}
		target := uri(number, at)
		if t.network == "TCP" {
			target.UriParams = sip.HeaderParams{{K: "transport", V: "tcp"}}
		}
		groups = append(groups, []*attempt{s.attempt(target, s.callerURI(s.shown(t, c.CallerID)), uri(number, at), t.network, at, t)})
	}
	if len(groups) == 0 {
		return nil, ErrNoTrunk
	}
	return groups, nil
}

// shown is the caller's number on a trunk: only one that the carrier assigned.
func (s *Server) shown(t *trunk, wanted string) string {
	switch {
	case wanted != "" && t.mayShow(wanted):
		return wanted
	case t.CallerID != "":
		return t.CallerID
	default:
		return s.o.Hotline
	}
}

func (s *Server) callerURI(number string) sip.Uri {
	if safe(number) != nil || number == "" {
		number = "anonymous"
	}
	return uri(number, s.advertise)
}

func (s *Server) attempt(target, from, to sip.Uri, network string, at netip.AddrPort, t *trunk) *attempt {
	return &attempt{
		trunk: t, acks: map[string]*sip.Request{},
		d: &dialog{
			callID: newTag() + "@" + s.advertise.Addr().String(), localTag: newTag(),
			localURI: from, remoteURI: to, target: target,
			network: network, dest: at, fixed: true,
		},
	}
}

// nextGroup goes on to the next place, or ends the leg with what was heard.
func (l *line) nextGroup() {
	if l.state == ended {
		return
	}
	if len(l.out.groups) == 0 {
		b := l.out.best
		if b.cause == "" {
			b.cause = leg.NoAnswer
		}
		l.end(b.cause, b.code, b.reason)
		return
	}
	group := l.out.groups[0]
	l.out.groups = l.out.groups[1:]
	for _, a := range group {
		a.live = true
		l.out.active = append(l.out.active, a)
	}
	for _, a := range group {
		l.invite(a)
	}
}

// invite sends the INVITE of an attempt, with what the last answer asked for.
func (l *line) invite(a *attempt) {
	s := l.s
	req := s.request(a.d, sip.INVITE)
	req.AppendHeader(allow())
	req.AppendHeader(sip.NewHeader("Supported", strings.Join(extensions, ", ")))
	interval := 1800 * time.Second
	if a.minSE != "" {
		if n, err := strconv.Atoi(a.minSE); err == nil && n > 1800 && n < 86400 {
			interval = time.Duration(n) * time.Second
		}
		req.AppendHeader(header("Min-SE", a.minSE))
	}
	l.interval = interval
	req.AppendHeader(sip.NewHeader("Session-Expires", seconds(interval)))
	if a.trunk != nil {
		req.AppendHeader(header("P-Asserted-Identity", "<"+a.d.localURI.String()+">"))
	}
	if l.out.call.SOS {
		req.AppendHeader(sip.NewHeader("Priority", "psap-callback")) // RFC 7090; harmless if ignored
	}
	if a.auth[0] != "" {
		req.AppendHeader(header(a.auth[0], a.auth[1]))
	}
	setBody(req, l.sdp.offer(l.session.Local(), sendRecv))
	a.req, a.final, a.heard = req, false, false
	a.quiet = time.Now().Add(s.o.NoReply)
	l.scheduleQuiet()
	l.open++
	a.stop = s.transactStop(req, func(res *sip.Response, err error) {
		l.post(func() { l.replied(a, req, res, err) })
	})
}

func (l *line) scheduleQuiet() {
	l.stop(alarmNoReply)
	for _, a := range l.out.active {
		if due := &l.due[alarmNoReply]; !a.heard && (due.IsZero() || a.quiet.Before(*due)) {
			*due = a.quiet
		}
	}
}

// replied takes what an INVITE of ours brought. There is no count of provisional
// answers: a carrier may repeat 183 as long as it rings (T5).
func (l *line) replied(a *attempt, req *sip.Request, res *sip.Response, err error) {
	if req != a.req { // of the INVITE before the challenge
		return
	}
	switch {
	case err != nil:
		if a.final {
			return
		}
		a.final = true
		l.open--
		l.log.Info("invite", zap.Error(err))
		l.failed(a, outcome{cause: leg.Transport, reason: "no answer from the line", rank: 1}, true)
	case res.StatusCode < 200:
		l.progress(a, res)
	case res.StatusCode < 300:
		l.taken(a, res)
	default:
		if a.final {
			return
		}
		a.final = true
		l.open--
		l.rejected(a, res)
	}
}

func (l *line) progress(a *attempt, res *sip.Response) {
	a.heard = true
	l.scheduleQuiet()
	if a.trunk != nil {
		a.trunk.heard()
	}
	if a.cancel {
		l.sendCancel(a)
		return
	}
	if !a.live || l.state == ended {
		return
	}
	if l.state == calling {
		l.to(proceeding)
	}
	if res.StatusCode == 180 && !l.out.rang {
		l.out.rang = true
		l.to(ringing)
		l.tell(leg.Event{Kind: leg.Ringing, Code: res.StatusCode})
	}
	// Early media is the network's announcement, never an answer.
	if res.StatusCode > 100 && len(res.Body()) > 0 && !l.out.early {
		l.out.early = true
		l.tell(leg.Event{Kind: leg.Early, Code: res.StatusCode})
	}
}

// taken takes a 2xx. Each is acknowledged, each time it comes; what is not wanted,
// an answer after our CANCEL (T6) or of another fork (T7), is then said BYE to.
func (l *line) taken(a *attempt, res *sip.Response) {
	if !a.final {
		a.final = true
		l.open--
	}
	tag := tagOf(res.To().Params)
	if ack, again := a.acks[tag]; again {
		l.s.send(ack)
		return
	}
	d := *a.d
	d.remoteTag = tag
	d.fixed = a.trunk == nil || d.network != "UDP"
	d.refresh(res)
	if d.routeSet(res, true) {
		l.log.Warn("a strict router is on the way; it may lose requests")
	}
	ack := l.s.requestSeq(&d, sip.ACK, a.req.CSeq().SeqNo)
	if a.auth[0] != "" {
		ack.AppendHeader(header(a.auth[0], a.auth[1]))
	}
	a.acks[tag] = ack
	l.s.send(ack)
	l.adopt(&d)
	if !a.live || l.state == ended || l.out.won != nil {
		l.sendBye(&d, "SIP;cause=487")
		l.linger(64 * l.s.o.T1)
		return
	}
	l.win(a, &d, res)
}

func (l *line) win(a *attempt, d *dialog, res *sip.Response) {
	l.out.won, l.out.wonAt, l.dialog = a, time.Now(), d
	l.stop(alarmRing)
	l.stop(alarmNoReply)
	for _, other := range l.out.active {
		if other != a {
			l.giveUpOn(other, `SIP;cause=200;text="Call completed elsewhere"`)
		}
	}
	l.out.active, l.out.groups = nil, nil
	if a.trunk != nil {
		a.trunk.heard()
	}
	l.source = d.dest
	l.s.edge.know(l.source)
	l.updates = contains(list(res, "Allow"), "UPDATE")
	if err := l.lateAnswer(res); err != nil {
		l.log.Warn("answer", zap.Error(err))
		l.sendBye(d, `SIP;cause=488;text="No Usable Answer"`)
		l.end(leg.MediaLost, 488, err.Error())
		l.linger(64 * l.s.o.T1)
		return
	}
	l.session.Start()
	l.audio.Store(l.session)
	l.to(confirmed)
	if !l.info.SOS {
		l.after(alarmLongest, l.s.o.MaxCall)
	}
	if secs, who := sessionInterval(res); secs > 0 {
		l.runTimer(time.Duration(secs)*time.Second, who != "uas")
	}
	l.tell(leg.Event{Kind: leg.Answered})
	l.tell(leg.Event{Kind: leg.Confirmed})
	if l.held {
		l.tell(leg.Event{Kind: leg.Held})
	}
}

// linger keeps an ended leg for the 2xx that come again.
func (l *line) linger(d time.Duration) { l.after(alarmLinger, d) }

// rejected takes a final answer that is no 2xx.
func (l *line) rejected(a *attempt, res *sip.Response) {
	code, text := res.StatusCode, maskText(res.Reason, 80)
	if r := reasonOf(res); r != "" {
		text = r
	}
	o := outcome{code: code, reason: text}
	switch {
	case (code == 401 || code == 407) && l.challenged(a, res):
		return
	case code == 422 && a.minSE == "" && a.live && !a.cancel:
		if hs := res.GetHeaders("Min-SE"); len(hs) > 0 {
			if v, _, _ := strings.Cut(hs[0].Value(), ";"); allDigits(strings.TrimSpace(v)) {
				a.minSE = strings.TrimSpace(v)
				l.invite(a)
				return
			}
		}
		o.cause, o.rank = leg.Rejected, 3
	case code == 486 || code == 600:
		o.cause, o.rank = leg.Busy, 5
	case code == 408 || code == 480 || code == 487:
		o.cause, o.rank = leg.NoAnswer, 2
	case code >= 500 && code < 600:
		o.cause, o.rank = leg.Transport, 1
		if a.trunk != nil {
			a.trunk.rest(l.s.now(), retryAfterOf(res))
		}
	default: // 3xx too: nobody sends our calls elsewhere
		o.cause, o.rank = leg.Rejected, 4
	}
	l.failed(a, o, code == 408 || code >= 500 && code < 600)
}

// retryAfterOf is how long a carrier wants to be left alone, within reason.
func retryAfterOf(res *sip.Response) time.Duration {
	d := 10 * time.Second
	if hs := res.GetHeaders("Retry-After"); len(hs) > 0 {
		v, _, _ := strings.Cut(strings.TrimSpace(hs[0].Value()), ";")
		v, _, _ = strings.Cut(v, " ")
		if n, err := strconv.Atoi(v); err == nil && n > 0 {
			d = min(time.Duration(n)*time.Second, 5*time.Minute)
		}
	}
	return d
}

// challenged repeats the INVITE with credentials: once, and once more when the
// carrier says that only its nonce was too old.
func (l *line) challenged(a *attempt, res *sip.Response) bool {
	if a.trunk == nil || a.trunk.User == "" || !a.live || a.cancel || l.state == ended {
		return false
	}
	if a.tries++; a.tries > 2 || a.tries == 2 && !isStale(res) {
		return false
	}
	name, value, err := digestClient(res, "INVITE", a.d.target.String(), credentials{a.trunk.User, a.trunk.Password}, 1)
	if err != nil {
		l.log.Warn("challenge", zap.Error(err))
		return false
	}
	a.auth = [2]string{name, value}
	l.invite(a)
	return true
}

func isStale(res *sip.Response) bool {
	for _, h := range append(res.GetHeaders("WWW-Authenticate"), res.GetHeaders("Proxy-Authenticate")...) {
		if strings.Contains(strings.ToLower(strings.ReplaceAll(h.Value(), " ", "")), "stale=true") {
			return true
		}
	}
	return false
}

// failed takes an attempt out; the next group is tried only after what says
// nothing about the callee: silence, transport, 408, 5xx.
func (l *line) failed(a *attempt, o outcome, next bool) {
	if !a.live {
		return
	}
	a.live = false
	l.drop(a)
	if o.rank > l.out.best.rank {
		l.out.best = o
	}
	if l.state == ended {
		return
	}
	if !next {
		l.out.groups = nil
	}
	if a.trunk != nil && next && o.code == 0 {
		a.trunk.rest(l.s.now(), 30*time.Second)
	}
	if len(l.out.active) == 0 {
		l.stop(alarmNoReply)
		l.nextGroup()
	}
}

func (l *line) drop(a *attempt) {
	for i, b := range l.out.active {
		if a == b {
			l.out.active = append(l.out.active[:i:i], l.out.active[i+1:]...)
			return
		}
	}
}

// silent leaves targets that did not even say 100 (RFC 3263 4.3). Their INVITE may
// still arrive: what they answer later is cancelled or said BYE to.
func (l *line) silent(now time.Time) {
	for _, a := range append([]*attempt(nil), l.out.active...) {
		if a.heard || now.Before(a.quiet) {
			continue
		}
		a.cancel = true
		l.failed(a, outcome{cause: leg.Transport, reason: "no reply", rank: 1}, true)
	}
	if l.state != ended {
		l.scheduleQuiet()
	}
}

// cancelAll gives up what is being tried.
func (l *line) cancelAll() {
	l.out.groups = nil
	for _, a := range l.out.active {
		l.giveUpOn(a, "")
	}
	l.out.active = nil
	l.stop(alarmNoReply)
}

// giveUpOn cancels an attempt: at once when it has been heard, else with its first
// 1xx, for before that CANCEL may overtake the INVITE (RFC 3261 9.1).
func (l *line) giveUpOn(a *attempt, why string) {
	a.live, a.cancel, a.why = false, true, why
	if a.heard && !a.final {
		l.sendCancel(a)
	}
}

func (l *line) sendCancel(a *attempt) {
	if a.sent || a.final {
		return
	}
	a.sent = true
	inv := a.req
	req := sip.NewRequest(sip.CANCEL, *inv.Recipient.Clone())
	req.AppendHeader(inv.Via().Clone()) // same branch
	for _, h := range inv.GetHeaders("Route") {
		req.AppendHeader(sip.HeaderClone(h))
	}
	maxForwards := sip.MaxForwardsHeader(70)
	req.AppendHeader(&maxForwards)
	req.AppendHeader(sip.HeaderClone(inv.From()))
	req.AppendHeader(sip.HeaderClone(inv.To()))
	req.AppendHeader(sip.HeaderClone(inv.CallID()))
	req.AppendHeader(&sip.CSeqHeader{SeqNo: inv.CSeq().SeqNo, MethodName: sip.CANCEL})
	if a.why != "" {
		req.AppendHeader(header("Reason", a.why))
	}
	req.SetBody(nil)
	l.s.direct(req, a.d.network, a.d.dest)
	l.converse(req, func(*sip.Response, error) {})
	l.after(alarmCancel, 64*l.s.o.T1)
	l.cancelling = append(l.cancelling, a)
}

// cancelUnheard ends INVITEs whose CANCEL brought no final answer (RFC 3261 9.1).
func (l *line) cancelUnheard() {
	for _, a := range l.cancelling {
		if !a.final && a.stop != nil {
			a.stop()
		}
	}
	l.cancelling = nil
}
