package sip

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/icholy/digest"

	"anling/callcenter/leg"
)

// memory is a Bindings that outlives a server.
type memory struct {
	mu   sync.Mutex
	rows map[string]Binding
}

func newMemory() *memory { return &memory{rows: map[string]Binding{}} }

func (m *memory) SaveBinding(_ context.Context, b Binding) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.rows[b.Account+" "+b.Contact] = b
	return nil
}

func (m *memory) DeleteBinding(_ context.Context, account, contact string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.rows, account+" "+contact)
	return nil
}

func (m *memory) LoadBindings(context.Context) (bs []Binding, _ error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, b := range m.rows {
		bs = append(bs, b)
	}
	return bs, nil
}

func (m *memory) len() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.rows)
}

// phone is a telephone of the peer.
type phone struct {
	p               *peer
	account, secret string
	contact         string
	callID          string
	cseq, nc        int
	alg, nonce      string
}

func (p *peer) phone(account, secret string) *phone {
	return &phone{p: p, account: account, secret: secret, callID: unique(), alg: algSHA256,
		contact: fmt.Sprintf("<sip:%s@%s;transport=%s>", account, p.addr(), strings.ToLower(p.transport()))}
}

// credentials answers the nonce that the phone knows.
func (f *phone) credentials(method, uri string) string {
	f.nc++
	c := &digest.Credentials{Username: f.account, Realm: "anling", Nonce: f.nonce, URI: uri, Algorithm: f.alg, Cnonce: "cn", QOP: "auth", Nc: f.nc}
	c.Response = digestResponse(f.alg, hexOf(f.alg, f.account, "anling", f.secret), c, method)
	return "Authorization: " + c.String()
}

func (f *phone) send(extra ...string) {
	f.p.t.Helper()
	f.cseq++
	f.p.send(fmt.Sprintf("REGISTER sip:%s SIP/2.0\r\nVia: SIP/2.0/%s %s;branch=z9hG4bK%s\r\nMax-Forwards: 70\r\nFrom: <sip:%s@anling>;tag=%s\r\nTo: <sip:%s@anling>\r\n"+
		"Call-ID: %s\r\nCSeq: %d REGISTER\r\n%sContent-Length: 0\r\n\r\n",
		f.p.to, f.p.transport(), f.p.addr(), unique(), f.account, unique(), f.account, f.callID, f.cseq, strings.Join(append(extra, ""), "\r\n")))
}

// login learns a nonce.
func (f *phone) login() *message {
	f.p.t.Helper()
	f.send("Contact: " + f.contact)
	m := f.p.status(401, "REGISTER")
	f.learn(m)
	return m
}

func (f *phone) learn(m *message) {
	f.p.t.Helper()
	for _, v := range m.all("WWW-Authenticate") {
		ch, err := digest.ParseChallenge(v)
		if err != nil {
			f.p.t.Fatal(err)
		}
		if ch.Algorithm == f.alg {
			f.nonce, f.nc = ch.Nonce, 0
		}
	}
}

// register signs the phone in.
func (f *phone) register(extra ...string) *message {
	f.p.t.Helper()
	if f.nonce == "" {
		f.login()
	}
	f.send(append([]string{"Contact: " + f.contact, f.credentials("REGISTER", "sip:"+f.p.to.String())}, extra...)...)
	return f.p.final("REGISTER")
}

func TestRegisterAndRingAPhone(t *testing.T) {
	both(t, func(t *testing.T, o *office, p *peer) {
		changes := make(chan string, 8)
		o.s.OnRegistration(func(account string, in bool) { changes <- fmt.Sprint(account, in) })
		f := p.phone("op1", "secret")
		m := f.login()
		if v := m.all("WWW-Authenticate"); len(v) != 2 || !strings.Contains(v[0], "SHA-256") || !strings.Contains(v[1], "MD5") {
			t.Errorf("challenges %q", v)
		}
		if m := f.register("Expires: 120"); m.status() != 200 || !strings.Contains(m.get("Contact"), ";expires=120") {
			t.Fatalf("%v %v", m, m.headers)
		}
		if c := <-changes; c != "op1true" || !o.s.Registered("op1") || o.s.Registered("op2") {
			t.Errorf("change %s", c)
		}
		l, err := o.s.Dial(t.Context(), leg.Call{To: "phone:op1", CallerID: "+8613800138000"})
		if err != nil {
			t.Fatal(err)
		}
		inv := p.request("INVITE")
		if !strings.HasPrefix(inv.start, "INVITE sip:op1@"+p.addr().String()) || !strings.Contains(inv.get("From"), "+8613800138000") {
			t.Errorf("%s from %s", inv.start, inv.get("From"))
		}
		p.reply(inv, 180, "x", "")
		expect(t, l, leg.Ringing)
		p.reply(inv, 200, "x", g711)
		p.request("ACK")
		expect(t, l, leg.Confirmed)
		p.hangup(inv, "x")
		p.status(200, "BYE")
		endedWith(t, l, leg.CallerHangup)

		f.send("Contact: *", "Expires: 0", f.credentials("REGISTER", "sip:"+p.to.String()))
		if m := p.final("REGISTER"); m.status() != 200 || m.get("Contact") != "" {
			t.Errorf("%v %v", m, m.headers)
		}
		if c := <-changes; c != "op1false" {
			t.Errorf("change %s", c)
		}
	})
}

func TestRegisterRefusals(t *testing.T) {
	o := newOffice(t, nil)
	p := newPeer(t, o.s.Addr())
	unknown := p.phone("nobody", "x").login()
	known := p.phone("op1", "x").login()
	shape := func(m *message) string {
		var b strings.Builder
		for _, h := range m.headers {
			if strings.HasPrefix(h[0], "WWW") {
				h[1] = h[1][:20]
			} else {
				h[1] = ""
			}
			b.WriteString(h[0] + h[1] + "\n")
		}
		return m.start + b.String()
	}
	if a, b := shape(unknown), shape(known); a != b {
		t.Errorf("an unknown account is told apart:\n%s\n%s", a, b)
	}
	if m := p.phone("op1", "wrong").register(); m.status() != 401 || strings.Contains(m.get("WWW-Authenticate"), "stale") {
		t.Errorf("wrong password: %v", m)
	}
	if m := p.phone("nobody", "wrong").register(); m.status() != 401 || strings.Contains(m.get("WWW-Authenticate"), "stale") {
		t.Errorf("unknown account: %v", m)
	}
	f := p.phone("op1", "secret")
	if m := f.register("Expires: 30"); m.status() != 423 || m.get("Min-Expires") != "60" {
		t.Errorf("short: %v", m)
	}
	if m := f.register("Expires: 999999"); m.status() != 200 || !strings.Contains(m.get("Contact"), "expires=3600") {
		t.Errorf("long: %v %v", m, m.headers)
	}
	f.cseq -= 2
	if m := f.register("Expires: 120"); m.status() != 500 {
		t.Errorf("old CSeq: %v", m)
	}
	f.cseq += 5
	f.send("Contact: *", f.credentials("REGISTER", "sip:"+p.to.String()))
	if m := p.final("REGISTER"); m.status() != 400 {
		t.Errorf("* without Expires 0: %v", m)
	}
	f.send("Contact: tel:123", f.credentials("REGISTER", "sip:"+p.to.String()))
	if m := p.final("REGISTER"); m.status() != 400 {
		t.Errorf("tel contact: %v", m)
	}
	// Signed in as one account, it may not register another.
	f.send("Contact: "+f.contact, f.credentials("REGISTER", "sip:"+p.to.String()))
	p.final("REGISTER")
	other := p.phone("op2", "secret2")
	other.login()
	other.account = "op2"
	raw := other.credentials("REGISTER", "sip:"+p.to.String())
	other.account = "op1"
	other.send("Contact: "+f.contact, raw)
	if m := p.final("REGISTER"); m.status() != 403 {
		t.Errorf("for another account: %v", m)
	}
}

func TestDigestReplayAndWindow(t *testing.T) {
	o := newOffice(t, nil)
	p := newPeer(t, o.s.Addr())
	f := p.phone("op1", "secret")
	f.alg = algMD5
	if m := f.register(); m.status() != 200 {
		t.Fatalf("MD5: %v", m)
	}
	f.nc-- // overheard and sent again
	if m := f.register(); m.status() != 401 || !strings.Contains(m.get("WWW-Authenticate"), "stale=true") {
		t.Errorf("replay: %v", m)
	}
	f.nc = 10
	if m := f.register(); m.status() != 200 {
		t.Errorf("jump: %v", m)
	}
	f.nc = 5
	if m := f.register(); m.status() != 200 {
		t.Errorf("inside the window: %v", m)
	}
	f.nc = 200
	f.register()
	f.nc = 100
	if m := f.register(); m.status() != 401 {
		t.Errorf("outside the window: %v", m)
	}
	d := newDigestServer("r", nil, time.Now)
	for _, bad := range []string{"", "x", strings.Repeat("A", 43), d.nonce() + "x", newDigestServer("r", nil, time.Now).nonce()} {
		if ours, _ := d.checkNonce(bad); ours {
			t.Errorf("nonce %q is taken for ours", bad)
		}
	}
}

func TestStaleNonce(t *testing.T) {
	var late sync.Map
	o := newOffice(t, func(o *Options) {
		o.Now = func() time.Time {
			if _, ok := late.Load("late"); ok {
				return time.Now().Add(nonceLife + time.Minute)
			}
			return time.Now()
		}
	})
	p := newPeer(t, o.s.Addr())
	f := p.phone("op1", "secret")
	f.login()
	late.Store("late", true)
	m := f.register()
	if m.status() != 401 || !strings.Contains(m.get("WWW-Authenticate"), "stale=true") {
		t.Fatalf("%v %v", m, m.headers)
	}
	f.learn(m)
	if m := f.register(); m.status() != 200 {
		t.Errorf("%v", m)
	}
}

func TestTwoPlacesRingAtOnceAndTheFirstAnswerWins(t *testing.T) {
	o := newOffice(t, nil)
	a, b, c := newPeer(t, o.s.Addr()), newTCPPeer(t, o.s.Addr()), newPeer(t, o.s.Addr())
	for _, p := range []*peer{c, a, b} { // c came first and is the third: it goes
		if m := p.phone("op1", "secret").register(); m.status() != 200 {
			t.Fatal(m)
		}
	}
	l, err := o.s.Dial(t.Context(), leg.Call{To: "phone:op1"})
	if err != nil {
		t.Fatal(err)
	}
	ia, ib := a.request("INVITE"), b.request("INVITE")
	a.reply(ia, 180, "a", "")
	b.reply(ib, 180, "b", "")
	expect(t, l, leg.Ringing)
	b.reply(ib, 200, "b", g711)
	b.request("ACK")
	expect(t, l, leg.Answered)
	cancel := a.request("CANCEL")
	if !strings.Contains(cancel.get("Reason"), "completed elsewhere") {
		t.Errorf("Reason %q", cancel.get("Reason"))
	}
	a.reply(cancel, 200, "a", "")
	a.reply(ia, 487, "a", "")
	a.request("ACK")
	c.none(2*testT1, "INVITE to a place that was replaced", func(m *message) bool { return m.method() == "INVITE" })
}

func TestBusyPhoneEndsAtOnce(t *testing.T) {
	o := newOffice(t, nil)
	p := newPeer(t, o.s.Addr())
	p.phone("op1", "secret").register()
	l, err := o.s.Dial(t.Context(), leg.Call{To: "phone:op1"})
	if err != nil {
		t.Fatal(err)
	}
	p.reply(p.request("INVITE"), 486, "a", "")
	endedWith(t, l, leg.Busy)
}

func TestBindingsSurviveARestart(t *testing.T) {
	rows := newMemory()
	first := newOffice(t, func(o *Options) { o.Bindings = rows })
	p := newPeer(t, first.s.Addr())
	q := newTCPPeer(t, first.s.Addr())
	if m := p.phone("op1", "secret").register("Expires: 600"); m.status() != 200 {
		t.Fatal(m)
	}
	q.phone("op2", "secret2").register()
	eventually(t, "both rows", func() bool { return rows.len() == 2 })
	first.stop()
	<-first.stopped
	second := newOffice(t, func(o *Options) { o.Bindings = rows })
	p.to = second.s.Addr()
	if !second.s.Registered("op1") || second.s.Registered("op2") {
		t.Error("the datagram flow is kept, the stream is not")
	}
	told := make(chan string, 4)
	second.s.OnRegistration(func(a string, in bool) { told <- fmt.Sprint(a, in) })
	if got := <-told; got != "op1true" {
		t.Errorf("told %s", got)
	}
	if _, err := second.s.Dial(t.Context(), leg.Call{To: "phone:op1"}); err != nil {
		t.Fatal(err)
	}
	p.request("INVITE")
}

func TestT20PhoneOnAStreamIsReachedByItsConnectionAndGoneWithIt(t *testing.T) {
	o := newOffice(t, nil)
	a, b := newTCPPeer(t, o.s.Addr()), newTCPPeer(t, o.s.Addr())
	fa, fb := a.phone("op1", "secret"), b.phone("op2", "secret2")
	fa.contact, fb.contact = "<sip:op1@192.0.2.1:5060;transport=tcp>", "<sip:op2@192.0.2.2:5060;transport=tcp>"
	fa.register()
	fb.register()
	for account, p := range map[string]*peer{"op1": a, "op2": b} {
		if _, err := o.s.Dial(t.Context(), leg.Call{To: "phone:" + account}); err != nil {
			t.Fatal(err)
		}
		if inv := p.request("INVITE"); !strings.Contains(inv.start, account) {
			t.Errorf("%s got %s", account, inv.start)
		}
	}
	changes := make(chan string, 8)
	o.s.OnRegistration(func(account string, in bool) {
		if !in {
			changes <- account
		}
	})
	a.tcp.Close()
	select {
	case c := <-changes:
		if c != "op1" {
			t.Errorf("%s went", c)
		}
	case <-time.After(patience):
		t.Fatal("nobody heard that the phone went")
	}
}

func TestQualify(t *testing.T) {
	t.Parallel()
	o := newOffice(t, func(o *Options) { o.QualifyPhone = 100 * time.Millisecond })
	p := newPeer(t, o.s.Addr())
	changes := make(chan bool, 16)
	o.s.OnRegistration(func(_ string, in bool) { changes <- in })
	p.phone("op1", "secret").register()
	next := func(want bool) {
		t.Helper()
		select {
		case in := <-changes:
			if in != want {
				t.Fatalf("registered %v, want %v", in, want)
			}
		case <-time.After(patience):
			t.Fatalf("no change to %v", want)
		}
	}
	next(true)
	next(false) // two questions without an answer
	stop := make(chan struct{})
	go func() {
		for {
			select {
			case m := <-p.in:
				if m.method() == "OPTIONS" {
					p.reply(m, 200, "x", "")
				}
			case <-stop:
				return
			}
		}
	}()
	next(true)
	close(stop)
}

func TestRegistrationExpires(t *testing.T) {
	t.Parallel()
	o := newOffice(t, func(o *Options) { o.MinExpires = time.Second; o.QualifyPhone = 3 * time.Second })
	p := newPeer(t, o.s.Addr())
	f := p.phone("op1", "secret")
	if m := f.register("Expires: 1"); m.status() != 200 {
		t.Fatal(m)
	}
	eventually(t, "the registration to expire", func() bool { return !o.s.Registered("op1") && !o.s.phones.isFlow(p.addr()) })
}

func TestInviteFromAPhoneIsAuthenticatedAgain(t *testing.T) {
	o := newOffice(t, nil)
	p := newPeer(t, o.s.Addr())
	f := p.phone("op1", "secret")
	f.register()
	d := p.dial("12345", "op1")
	d.invite()
	m := p.status(401, "INVITE")
	d.remote = m.tag("To")
	p.send(d.composeBranch("ACK", 1, d.branch, ""))
	f.learn(m)
	d.remote = ""
	d.seq++
	p.send(d.compose("INVITE", d.seq, g711, f.credentials("INVITE", d.target)))
	l := o.call()
	if i := l.Info(); i.Kind != leg.Phone || i.Account != "op1" || i.To != "12345" {
		t.Errorf("%+v", i)
	}
	answer(t, l)
	d.answered(p.status(200, "INVITE"))
	d.ack("")
	expect(t, l, leg.Confirmed)
}

func TestATelephoneThatCannotReadSHA256GetsMD5(t *testing.T) {
	var later atomic.Int64
	o := newOffice(t, func(o *Options) {
		o.Now = func() time.Time { return time.Now().Add(time.Duration(later.Load())) }
	})
	p := newPeer(t, o.s.Addr())
	f := p.phone("op1", "secret")
	f.alg = algMD5
	if v := f.login().all("WWW-Authenticate"); len(v) != 2 {
		t.Errorf("%q", v)
	}
	later.Store(int64(30 * time.Second)) // it comes back without an answer
	if v := f.login().all("WWW-Authenticate"); len(v) != 1 || !strings.Contains(v[0], "MD5") {
		t.Errorf("%q", v)
	}
	if m := f.register(); m.status() != 200 {
		t.Errorf("%v", m)
	}
	later.Store(int64(60 * time.Second))
	if v := f.login().all("WWW-Authenticate"); len(v) != 2 {
		t.Errorf("after a success: %q", v)
	}
	f.send("Contact: "+f.contact, "User-Agent: baresip v1.0.0 (x86_64/linux)")
	if v := p.status(401, "REGISTER").all("WWW-Authenticate"); len(v) != 1 {
		t.Errorf("known for it: %q", v)
	}
}
