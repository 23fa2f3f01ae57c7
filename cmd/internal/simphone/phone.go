// Package simphone is the other end of a telephone line: a SIP phone or trunk over
// UDP or TCP with its own parser, transactions, digest, SDP and RTP. It shares no
// code with the server, so that a mistake there is not made here too. Calls speak a
// tone and measure what they hear.
package simphone

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"
)

// Timers of RFC 3261 table 4.
const (
	t1      = 500 * time.Millisecond
	t2      = 4 * time.Second
	timeout = 64 * t1
)

// Answer is what a phone does with an incoming call.
type Answer struct {
	Ring   time.Duration // rings so long, then answers or rejects
	Code   int           // rejects with this status instead of answering
	Ignore bool          // rings until the caller gives up
	Deaf   bool          // does not even say that it rings
	Manual bool          // rings; the program decides by Call.Answer or Call.Reject
}

// Options of a Phone.
type Options struct {
	Network  string        // "udp" (default) or "tcp"
	Listen   string        // "127.0.0.1:0" by default
	Server   string        // host:port of the server
	Account  string        // user part of our address
	Password string        // for digest
	Domain   string        // of our address, the server's host by default
	Register bool          // keep a registration
	Expires  time.Duration // of the registration, 60 s by default
	Tone     float64       // Hz that is spoken, 0 for silence
	Codecs   []byte        // PCMA, PCMU by default
	NoDTMF   bool          // offer no telephone-event
	Answer   Answer
	Capture  bool                                            // keep what is heard, for Audio.Captured
	Frames   func(c *Call, pcm []int16, at time.Time)        // every frame heard; must not block
	OnCall   func(c *Call)                                   // every incoming call; must not block
	Drop     func(incoming bool, first string) bool          // true loses a message: "INVITE", "ACK", "200 INVITE"
	Trace    func(incoming bool, m string, a netip.AddrPort) // every message, for a failing test
	Log      *zap.Logger
}

// Phone is one phone or, without a registration, one trunk. Run must be called: it
// closes what New opened.
type Phone struct {
	opts   Options
	w      *wire
	server netip.AddrPort
	log    *zap.Logger
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu         sync.Mutex
	answer     Answer                   // guarded by mu, as all below
	calls      map[string]*Call         // by Call-ID
	pending    map[string]chan *message // client transactions by branch and method
	served     map[string]served        // server transactions by branch and method
	acks       map[string]sentAck       // acknowledgements to be repeated, by branch of the INVITE
	registered bool
	regChanged chan struct{} // closed and renewed when registered changes
	regErr     error
	regID      string // Call-ID of the registrations
	regSeq     uint32
	auth       challenge // last one of the server
	nonceCount int
}

type served struct {
	response *message // nil until there is one
	from     netip.AddrPort
	at       time.Time
}

type sentAck struct {
	m  *message
	to netip.AddrPort
	at time.Time
}

// New opens the sockets of a phone.
func New(o Options) (*Phone, error) {
	if o.Network == "" {
		o.Network = "udp"
	}
	if o.Listen == "" {
		o.Listen = "127.0.0.1:0"
	}
	if len(o.Codecs) == 0 {
		o.Codecs = []byte{PCMA, PCMU}
	}
	if o.Expires == 0 {
		o.Expires = time.Minute
	}
	if o.Account == "" {
		o.Account = "sim"
	}
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	server, err := net.ResolveUDPAddr("udp", o.Server)
	if err != nil {
		return nil, fmt.Errorf("server %q: %w", o.Server, err)
	}
	if o.Domain == "" {
		o.Domain, _, _ = net.SplitHostPort(o.Server)
	}
	p := &Phone{opts: o, server: plain(server.AddrPort()), log: o.Log, answer: o.Answer, calls: map[string]*Call{}, pending: map[string]chan *message{},
		served: map[string]served{}, acks: map[string]sentAck{}, regChanged: make(chan struct{}), regID: token(12)}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	if p.w, err = listen(o.Network, o.Listen, o.Drop, p.take); err != nil {
		p.cancel()
		return nil, fmt.Errorf("phone %s: %w", o.Account, err)
	}
	p.w.serve()
	return p, nil
}

// Addr is where the phone listens.
func (p *Phone) Addr() netip.AddrPort { return p.w.local }

// SetAnswer changes what is done with the next incoming call.
func (p *Phone) SetAnswer(a Answer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.answer = a
}

// Run keeps the registration until ctx ends, then hangs up, unregisters and closes.
func (p *Phone) Run(ctx context.Context) error {
	defer func() {
		p.cancel()
		p.w.close()
		p.wg.Wait()
	}()
	for p.opts.Register {
		wait := p.opts.Expires * 4 / 5
		expires, err := p.register(ctx, p.opts.Expires)
		if err == nil && expires > 0 {
			wait = expires * 4 / 5
		}
		p.noteRegistration(err)
		if err != nil {
			wait = time.Second
			p.log.Warn("registration refused", zap.Error(err))
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
			continue
		}
		break
	}
	<-ctx.Done()
	p.leave()
	return nil
}

// leave ends the calls and the registration, within two seconds.
func (p *Phone) leave() {
	for _, c := range p.Calls() {
		c.Hangup()
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	for _, c := range p.Calls() {
		select {
		case <-c.done:
		case <-ctx.Done():
		}
	}
	if p.Registered() {
		if _, err := p.register(ctx, 0); err != nil {
			p.log.Debug("unregister", zap.Error(err))
		}
	}
}

func (p *Phone) noteRegistration(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.registered, p.regErr = err == nil, err
	close(p.regChanged)
	p.regChanged = make(chan struct{})
}

// Registered tells whether the server has taken our last registration.
func (p *Phone) Registered() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.registered
}

// WaitRegistered waits for a registration that is taken.
func (p *Phone) WaitRegistered(ctx context.Context) error {
	for {
		p.mu.Lock()
		ok, changed, last := p.registered, p.regChanged, p.regErr
		p.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("phone %s is not registered: %w", p.opts.Account, errors.Join(ctx.Err(), last))
		case <-changed:
		}
	}
}

// Calls are those that have not ended.
func (p *Phone) Calls() []*Call {
	p.mu.Lock()
	defer p.mu.Unlock()
	var all []*Call
	for _, c := range p.calls {
		if c.State() != Ended {
			all = append(all, c)
		}
	}
	return all
}

// WaitCall waits for an incoming or outgoing call that has not ended.
func (p *Phone) WaitCall(ctx context.Context) (*Call, error) {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		if all := p.Calls(); len(all) > 0 {
			return all[0], nil
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("phone %s is not called: %w", p.opts.Account, ctx.Err())
		case <-tick.C:
		}
	}
}

func (p *Phone) register(ctx context.Context, expires time.Duration) (time.Duration, error) {
	seconds := int(expires / time.Second)
	for attempt := range 4 {
		p.mu.Lock()
		p.regSeq++
		seq := p.regSeq
		p.mu.Unlock()
		m := &message{method: "REGISTER", uri: "sip:" + p.opts.Domain}
		p.via(m)
		m.add("From", fmt.Sprintf("<%s>;tag=%s", p.address(), token(6)))
		m.add("To", fmt.Sprintf("<%s>", p.address()))
		m.add("Call-ID", p.regID)
		m.add("CSeq", fmt.Sprintf("%d REGISTER", seq))
		m.add("Contact", p.contact())
		m.add("Expires", strconv.Itoa(seconds))
		p.authorize(m)
		final, err := p.exchange(ctx, m, p.server, nil)
		if err != nil {
			return 0, err
		}
		switch {
		case final.code == 200:
			granted := seconds
			if n, err := strconv.Atoi(final.get("Expires")); err == nil {
				granted = n
			}
			if n, err := strconv.Atoi(param(final.get("Contact"), "expires")); err == nil {
				granted = n
			}
			return time.Duration(granted) * time.Second, nil
		case p.challenged(final, attempt):
		case final.code == 423:
			n, err := strconv.Atoi(final.get("Min-Expires"))
			if err != nil {
				return 0, fmt.Errorf("423 without Min-Expires")
			}
			seconds = n
		default:
			return 0, fmt.Errorf("REGISTER: %d %s", final.code, final.reason)
		}
	}
	return 0, errors.New("REGISTER: challenged again and again")
}

// challenged takes the challenge of a 401 or 407, and tells whether to try again:
// once, or when the nonce was only too old.
func (p *Phone) challenged(m *message, attempt int) bool {
	if m.code != 401 && m.code != 407 {
		return false
	}
	c, ok := strongest(m)
	p.mu.Lock()
	defer p.mu.Unlock()
	fresh := p.auth.nonce == "" || attempt == 0 || c.stale
	p.auth, p.nonceCount = c, 0
	return ok && p.opts.Password != "" && fresh
}

func (p *Phone) authorize(m *message) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.auth.nonce == "" || p.opts.Password == "" {
		return
	}
	p.nonceCount++
	m.add("Authorization", p.auth.answer(p.opts.Account, p.opts.Password, m.method, m.uri, p.nonceCount))
}

func (p *Phone) address() string { return "sip:" + p.opts.Account + "@" + p.opts.Domain }

func (p *Phone) contact() string {
	uri := "sip:" + p.opts.Account + "@" + p.w.local.String()
	if p.opts.Network == "tcp" {
		uri += ";transport=tcp"
	}
	return "<" + uri + ">"
}

func (p *Phone) via(m *message) string {
	branch := "z9hG4bK" + token(10)
	m.add("Via", fmt.Sprintf("SIP/2.0/%s %s;branch=%s;rport", strings.ToUpper(p.opts.Network), p.w.local, branch))
	m.add("Max-Forwards", "70")
	return branch
}

func (p *Phone) send(m *message, to netip.AddrPort) error {
	if p.opts.Trace != nil {
		p.opts.Trace(false, string(m.bytes()), to)
	}
	return p.w.send(m, to)
}

// exchange runs a client transaction (RFC 3261 17.1): the request is repeated until
// it is answered, provisional responses go to early, the final one is returned. A
// refused INVITE is acknowledged here.
func (p *Phone) exchange(ctx context.Context, m *message, to netip.AddrPort, early func(*message)) (*message, error) {
	key := m.branch() + "|" + m.method
	in := make(chan *message, 32)
	p.mu.Lock()
	p.pending[key] = in
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		delete(p.pending, key)
		p.mu.Unlock()
	}()
	if err := p.send(m, to); err != nil {
		return nil, fmt.Errorf("%s: %w", m.method, err)
	}
	repeat, wait := time.NewTimer(t1), t1
	defer repeat.Stop()
	giveUp := time.NewTimer(timeout)
	defer giveUp.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("%s: %w", m.method, ctx.Err())
		case <-p.ctx.Done():
			return nil, fmt.Errorf("%s: the phone is closed", m.method)
		case <-giveUp.C:
			return nil, fmt.Errorf("%s: no answer in %s", m.method, timeout)
		case <-repeat.C:
			if p.opts.Network != "udp" {
				continue
			}
			if err := p.send(m, to); err != nil {
				return nil, fmt.Errorf("%s: %w", m.method, err)
			}
			if wait *= 2; m.method != "INVITE" {
				wait = min(wait, t2)
			}
			repeat.Reset(wait)
		case r := <-in:
			if r.code >= 200 {
				if m.method == "INVITE" && r.code >= 300 {
					p.ack(m, r, to)
				}
				return r, nil
			}
			if m.method == "INVITE" {
				repeat.Stop()
				giveUp.Stop()
			}
			if early != nil {
				early(r)
			}
		}
	}
}

// ack acknowledges a refusal within the transaction (17.1.1.3).
func (p *Phone) ack(invite, final *message, to netip.AddrPort) {
	a := &message{method: "ACK", uri: invite.uri}
	a.add("Via", invite.get("Via"))
	a.add("Max-Forwards", "70")
	a.add("From", invite.get("From"))
	a.add("To", final.get("To"))
	a.add("Call-ID", invite.get("Call-ID"))
	n, _ := invite.cseq()
	a.add("CSeq", fmt.Sprintf("%d ACK", n))
	p.keepAck(invite.branch(), a, to)
}

// keepAck sends an acknowledgement and remembers it for a repeated response.
func (p *Phone) keepAck(branch string, a *message, to netip.AddrPort) {
	now := time.Now()
	p.mu.Lock()
	if len(p.acks) >= 4096 {
		for k, old := range p.acks {
			if now.Sub(old.at) > timeout {
				delete(p.acks, k)
			}
		}
	}
	p.acks[branch] = sentAck{a, to, now}
	p.mu.Unlock()
	if err := p.send(a, to); err != nil {
		p.log.Debug("send ACK", zap.Error(err))
	}
}

// take sorts what comes in. It runs on the reader and does not block.
func (p *Phone) take(m *message, from netip.AddrPort) {
	if p.opts.Trace != nil {
		p.opts.Trace(true, string(m.bytes()), from)
	}
	if !m.request() {
		p.takeResponse(m)
		return
	}
	if m.method == "ACK" {
		if c := p.call(m); c != nil {
			c.acked(m)
		}
		return
	}
	key := m.branch() + "|" + m.method
	now := time.Now()
	p.mu.Lock()
	old, repeated := p.served[key]
	if !repeated {
		if len(p.served) >= 8192 {
			for k, s := range p.served {
				if now.Sub(s.at) > timeout {
					delete(p.served, k)
				}
			}
		}
		p.served[key] = served{from: from, at: now}
	}
	p.mu.Unlock()
	if repeated {
		if old.response != nil {
			if err := p.send(old.response, from); err != nil {
				p.log.Debug("repeat response", zap.Error(err))
			}
		}
		return
	}
	p.takeRequest(m, from)
}

func (p *Phone) takeResponse(m *message) {
	_, method := m.cseq()
	branch := m.branch()
	p.mu.Lock()
	in := p.pending[branch+"|"+method]
	ack, known := p.acks[branch]
	p.mu.Unlock()
	switch {
	case in != nil:
		select {
		case in <- m:
		default: // a flood of provisional responses; the final one is repeated
		}
	case known && method == "INVITE" && m.code >= 200:
		if err := p.send(ack.m, ack.to); err != nil {
			p.log.Debug("repeat ACK", zap.Error(err))
		}
	}
}

func (p *Phone) call(m *message) *Call {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.calls[m.get("Call-ID")]
}

func (p *Phone) takeRequest(m *message, from netip.AddrPort) {
	c := p.call(m)
	inDialog := param(m.get("To"), "tag") != ""
	switch {
	case m.method == "OPTIONS":
		p.respond(m, from, 200, "OK", "", func(r *message) { r.add("Allow", "INVITE, ACK, CANCEL, BYE, OPTIONS, UPDATE, INFO") })
	case c != nil && (inDialog || m.method == "CANCEL"):
		c.request(m, from)
	case m.method == "INVITE" && !inDialog:
		p.invited(m, from)
	case m.method == "NOTIFY" || m.method == "MESSAGE":
		p.respond(m, from, 200, "OK", "", nil)
	default:
		p.respond(m, from, 481, "Call/Transaction Does Not Exist", "", nil)
	}
}

// respond answers a request and remembers the answer for its repeats.
func (p *Phone) respond(m *message, from netip.AddrPort, code int, reason, tag string, more func(r *message)) *message {
	r := &message{code: code, reason: reason}
	for _, h := range m.headers {
		switch strings.ToLower(h.name) {
		case "via":
			r.add("Via", h.value)
		case "from", "call-id", "cseq", "record-route":
			r.add(h.name, h.value)
		case "to":
			to := h.value
			if tag == "" && code > 100 {
				tag = token(6)
			}
			if param(to, "tag") == "" && code > 100 {
				to += ";tag=" + tag
			}
			r.add("To", to)
		}
	}
	if more != nil {
		more(r)
	}
	key := m.branch() + "|" + m.method
	p.mu.Lock()
	s := p.served[key]
	s.response, s.at = r, time.Now()
	p.served[key] = s
	p.mu.Unlock()
	if err := p.send(r, from); err != nil {
		p.log.Debug("send response", zap.Error(err))
	}
	return r
}

// Options asks the server whether it is alive; the status of the answer is returned.
func (p *Phone) Options(ctx context.Context) (int, error) {
	m := &message{method: "OPTIONS", uri: "sip:" + p.opts.Domain}
	p.via(m)
	m.add("From", fmt.Sprintf("<%s>;tag=%s", p.address(), token(6)))
	m.add("To", "<sip:"+p.opts.Domain+">")
	m.add("Call-ID", token(12))
	m.add("CSeq", "1 OPTIONS")
	m.add("Contact", p.contact())
	final, err := p.exchange(ctx, m, p.server, nil)
	if err != nil {
		return 0, err
	}
	return final.code, nil
}
