package simphone

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"
)

// State of a call.
//
//	calling → ringing → answered → ended      an incoming call begins with ringing
type State string

const (
	Calling  State = "calling"
	Ringing  State = "ringing"
	Answered State = "answered" // the voice is open
	Ended    State = "ended"
)

var order = []State{Calling, Ringing, Answered, Ended}

// Event is something that happened to a call.
type Event struct {
	Kind   string // ringing, early, answered, confirmed, held, resumed, dtmf (by INFO), ended
	Code   int    // status, when the peer refused
	Reason string
	At     time.Time
}

// CallOptions of an outgoing call.
type CallOptions struct {
	From      string // number shown, the account by default
	Name      string // display name
	PAI       string // number in P-Asserted-Identity
	Anonymous bool   // From is anonymous, as RFC 3323 has it
	LateOffer bool   // INVITE without SDP
	Headers   map[string]string
	Tone      float64 // instead of the phone's
}

// Times of a call; zero for what did not happen.
type Times struct{ Invited, Proceeding, Ringing, Answered, Ended time.Time }

// Call is one call of a phone.
type Call struct {
	ID       string // Call-ID
	Incoming bool
	From, To string // user parts

	p      *Phone
	audio  *Audio
	invite *message // the first INVITE
	peer   netip.AddrPort
	events chan Event
	done   chan struct{}
	sdpID  int64

	refused     chan struct{} // closed by the ACK of our refusal
	refusedOnce sync.Once

	mu        sync.Mutex
	state     State         // guarded by mu, as all below
	changed   chan struct{} // closed and renewed at each change of state
	times     Times
	code      int
	reason    string
	byPeer    bool
	localTag  string
	remote    string // From or To of the peer, with its tag
	target    string // Contact of the peer
	routes    []string
	seq       uint32
	remoteSeq uint32
	version   int64 // of our SDP
	codec     byte
	held      bool // by us
	heldPeer  bool // by the peer
	leave     bool // hang up as soon as the protocol allows
	cancelled bool
	acks      map[uint32]chan struct{} // 2xx that wait for their ACK, by CSeq
	answer    *message                 // the 2xx of the peer
}

func (p *Phone) newCall(id string) *Call {
	return &Call{ID: id, p: p, events: make(chan Event, 64), done: make(chan struct{}), changed: make(chan struct{}), state: Calling,
		localTag: token(6), sdpID: time.Now().UnixNano() / 1000, acks: map[uint32]chan struct{}{}, refused: make(chan struct{})}
}

func (p *Phone) openAudio(c *Call, tone float64) (err error) {
	var frames func([]int16, time.Time)
	if p.opts.Frames != nil {
		frames = func(pcm []int16, at time.Time) { p.opts.Frames(c, pcm, at) }
	}
	c.audio, err = newAudio(p.w.local.Addr(), tone, p.opts.Capture, frames)
	return err
}

// Call rings a number or an account at the server. It returns once the INVITE is
// out; Wait tells what became of it.
func (p *Phone) Call(to string, o CallOptions) (*Call, error) {
	c := p.newCall(token(12))
	if o.Tone == 0 {
		o.Tone = p.opts.Tone
	}
	if err := p.openAudio(c, o.Tone); err != nil {
		return nil, err
	}
	from := o.From
	if from == "" {
		from = p.opts.Account
	}
	c.From, c.To, c.peer, c.seq = from, to, p.server, 1
	c.target = "sip:" + to + "@" + p.opts.Server
	c.remote = "<" + c.target + ">"
	c.times.Invited = time.Now()
	p.mu.Lock()
	p.calls[c.ID] = c
	p.mu.Unlock()
	p.wg.Go(func() { c.originate(o) })
	return c, nil
}

func (c *Call) inviteMessage(o CallOptions) *message {
	m := &message{method: "INVITE", uri: c.target}
	c.p.via(m)
	from := fmt.Sprintf("<sip:%s@%s>", c.From, c.p.opts.Domain)
	if o.Name != "" {
		from = fmt.Sprintf("%q %s", o.Name, from)
	}
	if o.Anonymous {
		from = `"Anonymous" <sip:anonymous@anonymous.invalid>`
		m.add("Privacy", "id")
	}
	m.add("From", from+";tag="+c.localTag)
	m.add("To", c.remote)
	m.add("Call-ID", c.ID)
	m.add("CSeq", fmt.Sprintf("%d INVITE", c.seq))
	m.add("Contact", c.p.contact())
	m.add("Allow", "INVITE, ACK, CANCEL, BYE, OPTIONS, UPDATE, INFO")
	if o.PAI != "" {
		m.add("P-Asserted-Identity", fmt.Sprintf("<sip:%s@%s>", o.PAI, c.p.opts.Domain))
	}
	for k, v := range o.Headers {
		m.add(k, v)
	}
	c.p.authorize(m)
	if !o.LateOffer {
		m.add("Content-Type", "application/sdp")
		m.body = c.describe("sendrecv", nil)
	}
	return m
}

// originate runs the outgoing INVITE to its final answer.
func (c *Call) originate(o CallOptions) {
	for attempt := range 3 {
		m := c.inviteMessage(o)
		c.mu.Lock()
		c.invite = m
		c.mu.Unlock()
		final, err := c.p.exchange(c.p.ctx, m, c.peer, c.early)
		if err != nil {
			c.end(0, err.Error(), false)
			return
		}
		if final.code < 300 {
			c.answered(m, final)
			return
		}
		if !c.p.challenged(final, attempt) || c.leaving() {
			c.end(final.code, final.reason, true)
			return
		}
		c.mu.Lock()
		c.seq++
		c.mu.Unlock()
	}
	c.end(401, "challenged again and again", true)
}

func (c *Call) leaving() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.leave
}

// early takes the provisional responses.
func (c *Call) early(r *message) {
	c.mu.Lock()
	if c.times.Proceeding.IsZero() {
		c.times.Proceeding = time.Now()
	}
	cancel := c.leave && !c.cancelled
	c.cancelled = c.cancelled || cancel
	c.mu.Unlock()
	if cancel {
		c.sendCancel()
		return
	}
	if r.code == 100 {
		return
	}
	c.move(Ringing, Event{Kind: "ringing", Code: r.code, Reason: r.reason})
	if s, err := parseSDP(r.body); err == nil {
		c.apply(s)
		c.note(Event{Kind: "early"})
	}
}

// answered takes the 2xx: ACK, then voice; or BYE when we wanted to leave.
func (c *Call) answered(invite, final *message) {
	c.mu.Lock()
	c.remote = final.get("To")
	c.answer = final
	if contact := final.get("Contact"); contact != "" {
		c.target = uriOf(contact)
	}
	c.routes = final.all("Record-Route")
	slices.Reverse(c.routes)
	leave := c.leave
	c.mu.Unlock()
	ack := c.inDialog("ACK", c.cseqOf(invite))
	theirs, err := parseSDP(final.body)
	if err == nil && len(invite.body) == 0 {
		ack.add("Content-Type", "application/sdp")
		ack.body = c.describe(reversed(theirs.direction), &theirs)
	}
	c.p.keepAck(invite.branch(), ack, c.destination())
	if leave || err != nil {
		if err != nil {
			c.p.log.Warn("answer without usable SDP", zap.Error(err))
		}
		c.bye()
		return
	}
	c.apply(theirs)
	c.audio.start()
	c.move(Answered, Event{Kind: "answered", Code: final.code})
	if c.leaving() { // hung up while the answer was being taken
		c.bye()
	}
}

func (c *Call) cseqOf(m *message) uint32 {
	n, _ := m.cseq()
	return n
}

// invited takes a new incoming call.
func (p *Phone) invited(m *message, from netip.AddrPort) {
	c := p.newCall(m.get("Call-ID"))
	c.Incoming, c.state, c.invite, c.peer = true, Ringing, m, from
	c.From, c.To = userOf(uriOf(m.get("From"))), userOf(uriOf(m.get("To")))
	c.remote, c.target, c.routes = m.get("From"), uriOf(m.get("Contact")), m.all("Record-Route")
	c.remoteSeq, _ = m.cseq()
	c.times.Invited, c.times.Ringing = time.Now(), time.Now()
	if err := p.openAudio(c, p.opts.Tone); err != nil {
		p.respond(m, from, 500, "No Audio", "", nil)
		return
	}
	p.mu.Lock()
	p.calls[c.ID] = c
	a := p.answer
	p.mu.Unlock()
	if !a.Deaf {
		p.respond(m, from, 180, "Ringing", c.localTag, func(r *message) { r.add("Contact", p.contact()) })
	}
	c.note(Event{Kind: "ringing"})
	if p.opts.OnCall != nil {
		p.opts.OnCall(c)
	}
	if a.Manual || a.Ignore || a.Deaf {
		return
	}
	p.wg.Go(func() {
		ring := time.NewTimer(a.Ring)
		defer ring.Stop()
		select {
		case <-c.done:
		case <-p.ctx.Done():
		case <-ring.C:
			if a.Code != 0 {
				c.Reject(a.Code)
			} else {
				c.Answer()
			}
		}
	})
}

// Answer takes an incoming call.
func (c *Call) Answer() {
	theirs, err := parseSDP(c.invite.body)
	late := len(c.invite.body) == 0
	if err != nil && !late {
		c.Reject(488)
		return
	}
	if _, ok := common(theirs.codecs, c.p.opts.Codecs); !ok && !late {
		c.Reject(488)
		return
	}
	if !c.move(Answered, Event{Kind: "answered"}) {
		return
	}
	direction, offer := "sendrecv", (*session)(nil)
	if !late {
		c.apply(theirs)
		direction, offer = reversed(theirs.direction), &theirs
		c.audio.start()
	}
	c.accept(c.invite, c.peer, c.describe(direction, offer))
}

// accept sends the 2xx of an INVITE and repeats it until the ACK (13.3.1.4).
func (c *Call) accept(invite *message, from netip.AddrPort, body []byte) {
	n, _ := invite.cseq()
	got := make(chan struct{})
	c.mu.Lock()
	c.acks[n] = got
	c.mu.Unlock()
	r := c.p.respond(invite, from, 200, "OK", c.localTag, func(r *message) {
		r.add("Contact", c.p.contact())
		r.add("Content-Type", "application/sdp")
		r.body = body
	})
	c.p.wg.Go(func() {
		if !c.repeat(r, from, got) {
			c.p.log.Debug("no ACK", zap.String("sip_call_id", c.ID))
			c.Hangup()
		}
	})
}

// repeat sends a final response again until got is closed; false after 32 s.
func (c *Call) repeat(r *message, to netip.AddrPort, got <-chan struct{}) bool {
	end := time.NewTimer(timeout)
	defer end.Stop()
	for wait := t1; ; wait = min(2*wait, t2) {
		again := time.NewTimer(wait)
		select {
		case <-got:
			again.Stop()
			return true
		case <-c.p.ctx.Done():
			again.Stop()
			return true
		case <-end.C:
			again.Stop()
			return false
		case <-again.C:
			if err := c.p.send(r, to); err != nil {
				c.p.log.Debug("repeat response", zap.Error(err))
			}
		}
	}
}

// Reject refuses an incoming call that is not answered.
func (c *Call) Reject(code int) {
	c.refuse(code, map[int]string{486: "Busy Here", 480: "Temporarily Unavailable", 487: "Request Terminated", 488: "Not Acceptable Here", 603: "Decline"}[code], false)
}

func (c *Call) refuse(code int, reason string, byPeer bool) {
	if reason == "" {
		reason = "Refused"
	}
	if !c.end(code, reason, byPeer) {
		return
	}
	r := c.p.respond(c.invite, c.peer, code, reason, c.localTag, nil)
	c.p.wg.Go(func() { c.repeat(r, c.peer, c.refused) })
}

// acked takes an ACK of the peer.
func (c *Call) acked(m *message) {
	n, _ := m.cseq()
	c.mu.Lock()
	got := c.acks[n]
	delete(c.acks, n)
	first := c.Incoming && n == c.cseqOf(c.invite)
	ended := c.state == Ended
	c.mu.Unlock()
	if ended {
		c.refusedOnce.Do(func() { close(c.refused) })
	}
	if got == nil {
		return
	}
	close(got)
	if len(m.body) > 0 { // the answer to our offer
		if s, err := parseSDP(m.body); err == nil {
			c.apply(s)
			c.audio.start()
		}
	}
	if first && !ended {
		c.note(Event{Kind: "confirmed"})
	}
}

// request takes a request within the call.
func (c *Call) request(m *message, from netip.AddrPort) {
	switch m.method {
	case "BYE":
		c.p.respond(m, from, 200, "OK", c.localTag, nil)
		c.end(200, m.get("Reason"), true)
	case "CANCEL":
		if m.branch() != c.invite.branch() {
			c.p.respond(m, from, 481, "Call/Transaction Does Not Exist", c.localTag, nil)
			return
		}
		c.p.respond(m, from, 200, "OK", c.localTag, nil)
		if c.State() == Ringing {
			c.refuse(487, "Request Terminated", true)
		}
	case "INVITE", "UPDATE":
		c.reinvited(m, from)
	case "INFO":
		c.p.respond(m, from, 200, "OK", c.localTag, nil)
		for _, line := range strings.Split(string(m.body), "\n") {
			if k, v, _ := strings.Cut(line, "="); strings.EqualFold(strings.TrimSpace(k), "signal") {
				c.note(Event{Kind: "dtmf", Reason: strings.TrimSpace(v)})
			}
		}
	default:
		c.p.respond(m, from, 405, "Method Not Allowed", c.localTag, func(r *message) { r.add("Allow", "INVITE, ACK, CANCEL, BYE, OPTIONS, UPDATE, INFO") })
	}
}

// reinvited answers a change of the session by the peer.
func (c *Call) reinvited(m *message, from netip.AddrPort) {
	n, _ := m.cseq()
	c.mu.Lock()
	old := n <= c.remoteSeq
	c.remoteSeq = max(n, c.remoteSeq)
	state := c.state
	if contact := m.get("Contact"); contact != "" {
		c.target = uriOf(contact)
	}
	c.mu.Unlock()
	switch {
	case old || state != Answered:
		c.p.respond(m, from, 500, "Out Of Order", c.localTag, func(r *message) { r.add("Retry-After", "1") })
		return
	case len(m.body) == 0 && m.method == "UPDATE":
		c.p.respond(m, from, 200, "OK", c.localTag, func(r *message) { r.add("Contact", c.p.contact()) })
		return
	case len(m.body) == 0:
		c.accept(m, from, c.describe("sendrecv", nil))
		return
	}
	theirs, err := parseSDP(m.body)
	if err != nil {
		c.p.respond(m, from, 488, "Not Acceptable Here", c.localTag, nil)
		return
	}
	c.apply(theirs)
	body := c.describe(reversed(theirs.direction), &theirs)
	if m.method == "UPDATE" {
		c.p.respond(m, from, 200, "OK", c.localTag, func(r *message) {
			r.add("Contact", c.p.contact())
			r.add("Content-Type", "application/sdp")
			r.body = body
		})
		return
	}
	c.accept(m, from, body)
}

// apply takes the peer's SDP.
func (c *Call) apply(theirs session) {
	codec, ok := common(theirs.codecs, c.p.opts.Codecs)
	if !ok {
		codec = theirs.codecs[0]
	}
	if c.p.opts.NoDTMF {
		theirs.dtmf = 0
	}
	c.mu.Lock()
	c.codec = codec
	held := !theirs.sends() || !theirs.receives()
	was := c.heldPeer
	c.heldPeer = held && !c.held
	now := c.heldPeer
	c.mu.Unlock()
	c.audio.configure(theirs, codec)
	if now && !was {
		c.note(Event{Kind: "held"})
	} else if was && !now {
		c.note(Event{Kind: "resumed"})
	}
}

// describe is our SDP: an answer to theirs, or an offer.
func (c *Call) describe(direction string, theirs *session) []byte {
	c.mu.Lock()
	c.version++
	version := c.version
	if c.held && direction == "sendrecv" {
		direction = "sendonly"
	}
	c.mu.Unlock()
	codecs, dtmf := c.p.opts.Codecs, dtmfType
	if theirs != nil {
		codec, ok := common(theirs.codecs, codecs)
		if ok {
			codecs = []byte{codec}
		}
		dtmf = theirs.dtmf
	}
	if c.p.opts.NoDTMF {
		dtmf = 0
	}
	return describe(c.sdpID, version, c.audio.local, codecs, dtmf, direction)
}

func reversed(direction string) string {
	switch direction {
	case "sendonly":
		return "recvonly"
	case "recvonly":
		return "sendonly"
	}
	return direction
}

// inDialog begins a request within the dialog.
func (c *Call) inDialog(method string, seq uint32) *message {
	c.mu.Lock()
	defer c.mu.Unlock()
	m := &message{method: method, uri: c.target}
	c.p.via(m)
	local := c.invite.get("From")
	if c.Incoming {
		local = c.invite.get("To")
		if param(local, "tag") == "" {
			local += ";tag=" + c.localTag
		}
	}
	m.add("From", local)
	m.add("To", c.remote)
	m.add("Call-ID", c.ID)
	m.add("CSeq", fmt.Sprintf("%d %s", seq, method))
	m.add("Contact", c.p.contact())
	for _, r := range c.routes {
		m.add("Route", r)
	}
	return m
}

func (c *Call) nextSeq() uint32 {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seq++
	return c.seq
}

// destination is where requests within the dialog go: over TCP the connection that
// the call came on, over UDP the first route or the peer's Contact.
func (c *Call) destination() netip.AddrPort {
	if c.p.opts.Network != "udp" {
		return c.peer
	}
	c.mu.Lock()
	uri := c.target
	if len(c.routes) > 0 {
		uri = uriOf(c.routes[0])
	}
	c.mu.Unlock()
	if a, err := netip.ParseAddrPort(hostOf(uri)); err == nil {
		return a
	}
	return c.peer
}

// Hangup ends the call by whatever fits: CANCEL, BYE or a refusal. It does not wait.
func (c *Call) Hangup() {
	c.mu.Lock()
	already := c.leave
	c.leave = true
	state, incoming := c.state, c.Incoming
	proceeding := !c.times.Proceeding.IsZero()
	cancel := !incoming && proceeding && (state == Calling || state == Ringing) && !c.cancelled
	c.cancelled = c.cancelled || cancel
	c.mu.Unlock()
	switch {
	case state == Ended:
	case incoming && state == Ringing:
		c.Reject(603)
	case cancel:
		c.sendCancel()
	case state == Answered && !already:
		c.p.wg.Go(c.bye)
	}
}

func (c *Call) sendCancel() {
	c.mu.Lock()
	invite := c.invite
	c.mu.Unlock()
	m := &message{method: "CANCEL", uri: invite.uri}
	m.add("Via", invite.get("Via"))
	m.add("Max-Forwards", "70")
	for _, name := range []string{"From", "To", "Call-ID"} {
		m.add(name, invite.get(name))
	}
	n, _ := invite.cseq()
	m.add("CSeq", fmt.Sprintf("%d CANCEL", n))
	c.p.wg.Go(func() {
		if _, err := c.p.exchange(c.p.ctx, m, c.peer, nil); err != nil {
			c.end(0, err.Error(), false)
			return
		}
		final := time.NewTimer(timeout) // 9.1: the INVITE's own answer does not come for ever
		defer final.Stop()
		select {
		case <-c.done:
		case <-c.p.ctx.Done():
		case <-final.C:
			c.end(0, "CANCEL: the INVITE has no final answer", false)
		}
	})
}

func (c *Call) bye() {
	final, err := c.p.exchange(c.p.ctx, c.inDialog("BYE", c.nextSeq()), c.destination(), nil)
	switch {
	case err != nil:
		c.end(0, err.Error(), false)
	default:
		c.end(final.code, "hung up", false)
	}
}

// Hold puts the peer on hold by a re-INVITE; Resume ends that.
func (c *Call) Hold(ctx context.Context) error   { return c.reinvite(ctx, true) }
func (c *Call) Resume(ctx context.Context) error { return c.reinvite(ctx, false) }

func (c *Call) reinvite(ctx context.Context, hold bool) error {
	if c.State() != Answered {
		return fmt.Errorf("call is %s", c.State())
	}
	c.mu.Lock()
	was := c.held
	c.held = hold
	c.mu.Unlock()
	m := c.inDialog("INVITE", c.nextSeq())
	m.add("Content-Type", "application/sdp")
	m.body = c.describe("sendrecv", nil)
	final, err := c.p.exchange(ctx, m, c.destination(), nil)
	if err != nil {
		return err
	}
	if final.code >= 300 {
		c.mu.Lock()
		c.held = was
		c.mu.Unlock()
		return fmt.Errorf("re-INVITE: %d %s", final.code, final.reason)
	}
	c.p.keepAck(m.branch(), c.inDialog("ACK", c.cseqOf(m)), c.destination())
	theirs, err := parseSDP(final.body)
	if err != nil {
		return err
	}
	c.apply(theirs)
	return nil
}

// Audio is the voice of the call.
func (c *Call) Audio() *Audio { return c.audio }

// Events tells what happens to the call; it is closed after "ended". What nobody
// reads is lost beyond 64.
func (c *Call) Events() <-chan Event { return c.events }

// Done is closed when the call has ended.
func (c *Call) Done() <-chan struct{} { return c.done }

// State is where the call is.
func (c *Call) State() State {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state
}

// Times tells when the call did what.
func (c *Call) Times() Times {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.times
}

// HeldByPeer tells whether the peer holds us.
func (c *Call) HeldByPeer() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.heldPeer
}

// Codec is the payload type agreed.
func (c *Call) Codec() byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.codec
}

// Header is a header of the INVITE that came in, or of the answer to ours.
func (c *Call) Header(name string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.Incoming {
		return c.invite.get(name)
	}
	if c.answer != nil {
		return c.answer.get(name)
	}
	return ""
}

// Result tells how an ended call ended: the status, the words, and whether the peer did it.
func (c *Call) Result() (code int, reason string, byPeer bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.code, c.reason, c.byPeer
}

// Wait waits for a state or one after it; a call that ended instead is an error.
func (c *Call) Wait(ctx context.Context, want State) error {
	for {
		c.mu.Lock()
		state, changed, code, reason, done := c.state, c.changed, c.code, c.reason, c.times
		c.mu.Unlock()
		if state == Ended && want != Ended && !(want == Answered && !done.Answered.IsZero()) && !(want == Ringing && !done.Ringing.IsZero()) {
			return fmt.Errorf("call ended before it was %s: %d %s", want, code, reason)
		}
		if slices.Index(order, state) >= slices.Index(order, want) {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("call is %s, not %s: %w", state, want, ctx.Err())
		case <-changed:
		}
	}
}

// move goes forward to a state; false when the call is there or beyond.
func (c *Call) move(to State, e Event) bool {
	c.mu.Lock()
	if slices.Index(order, c.state) >= slices.Index(order, to) {
		c.mu.Unlock()
		return false
	}
	c.state = to
	now := time.Now()
	switch to {
	case Ringing:
		c.times.Ringing = now
	case Answered:
		c.times.Answered = now
	}
	close(c.changed)
	c.changed = make(chan struct{})
	c.mu.Unlock()
	c.note(e)
	return true
}

func (c *Call) note(e Event) {
	e.At = time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state == Ended {
		return
	}
	select {
	case c.events <- e:
	default:
	}
}

// end finishes the call; false when it had ended.
func (c *Call) end(code int, reason string, byPeer bool) bool {
	c.mu.Lock()
	if c.state == Ended {
		c.mu.Unlock()
		return false
	}
	c.state, c.code, c.reason, c.byPeer = Ended, code, reason, byPeer
	c.times.Ended = time.Now()
	for n, got := range c.acks {
		close(got)
		delete(c.acks, n)
	}
	select {
	case c.events <- Event{Kind: "ended", Code: code, Reason: reason, At: c.times.Ended}:
	default:
	}
	close(c.events)
	close(c.changed)
	c.changed = make(chan struct{})
	c.mu.Unlock()
	close(c.done)
	c.p.wg.Go(func() {
		c.audio.close()
		// A repeated request of the peer, or the ACK of a refusal, may still come.
		linger := time.NewTimer(4 * t1)
		defer linger.Stop()
		select {
		case <-linger.C:
		case <-c.refused:
		case <-c.p.ctx.Done():
		}
		c.p.mu.Lock()
		if c.p.calls[c.ID] == c {
			delete(c.p.calls, c.ID)
		}
		c.p.mu.Unlock()
	})
	return true
}
