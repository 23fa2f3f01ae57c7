package sip

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/icholy/digest"

	"anling/callcenter/leg"
)

// carriers is an office with trunks to peers, in order.
func carriers(t *testing.T, n int, change func(*Options, []*peer)) (*office, []*peer) {
	t.Helper()
	var peers []*peer
	for range n {
		peers = append(peers, newPeer(t, netip.AddrPort{}))
	}
	o := newOffice(t, func(o *Options) {
		o.Trunks = nil
		for i, p := range peers {
			o.Trunks = append(o.Trunks, Trunk{
				Name: string(rune('a' + i)), Peers: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")},
				Target: p.addr().String(), CallerID: "+8687112349",
			})
		}
		if change != nil {
			change(o, peers)
		}
	})
	for _, p := range peers {
		p.to = o.s.Addr()
	}
	return o, peers
}

func dialOut(t *testing.T, o *office, to string) leg.Leg {
	t.Helper()
	l, err := o.s.Dial(t.Context(), leg.Call{To: to, SOS: true})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestOutboundCall(t *testing.T) {
	o, ps := carriers(t, 1, nil)
	p := ps[0]
	l := dialOut(t, o, "+8613900139000")
	inv := p.request("INVITE")
	if !strings.HasPrefix(inv.start, "INVITE sip:+8613900139000@"+p.addr().String()) || !strings.Contains(inv.get("From"), "<sip:+8687112349@") ||
		!strings.Contains(inv.get("P-Asserted-Identity"), "+8687112349") || inv.get("Priority") != "psap-callback" || !strings.Contains(inv.body, "RTP/AVP 8 0 101") {
		t.Errorf("%v\n%v\n%s", inv.start, inv.headers, inv.body)
	}
	p.reply(inv, 100, "", "")
	p.reply(inv, 180, "a", "")
	expect(t, l, leg.Ringing)
	if l.Media() != nil {
		t.Error("media before the answer")
	}
	p.reply(inv, 200, "a", g711)
	p.request("ACK")
	expect(t, l, leg.Answered)
	expect(t, l, leg.Confirmed)
	if l.Media() == nil {
		t.Error("no media")
	}
	p.reply(inv, 200, "a", g711) // our ACK was lost
	p.request("ACK")
	l.Hangup(leg.Normal)
	p.reply(p.request("BYE"), 200, "", "")
	endedWith(t, l, leg.Normal)
	p.reply(inv, 200, "a", g711) // and again after the end
	p.request("ACK")
}

func TestOutboundPeerHangsUp(t *testing.T) {
	o, ps := carriers(t, 1, nil)
	p := ps[0]
	l := dialOut(t, o, "120")
	inv := p.request("INVITE")
	p.reply(inv, 200, "a", g711)
	p.request("ACK")
	expect(t, l, leg.Confirmed)
	p.hangup(inv, "a", `Reason: Q.850;cause=16;text="Normal"`)
	p.status(200, "BYE")
	if e := endedWith(t, l, leg.CallerHangup); !strings.Contains(e.Reason, "Q.850") {
		t.Errorf("reason %q", e.Reason)
	}
}

// hangup sends BYE in the dialog of an INVITE that the peer took.
func (p *peer) hangup(inv *message, tag string, extra ...string) {
	p.t.Helper()
	target := inv.get("Contact")
	target = target[strings.Index(target, "<")+1 : strings.Index(target, ">")]
	p.send("BYE " + target + " SIP/2.0\r\nVia: SIP/2.0/" + p.transport() + " " + p.addr().String() + ";branch=z9hG4bK" + unique() +
		"\r\nMax-Forwards: 70\r\nFrom: " + inv.get("To") + ";tag=" + tag + "\r\nTo: " + inv.get("From") + "\r\nCall-ID: " + inv.get("Call-ID") +
		"\r\nCSeq: 1 BYE\r\n" + strings.Join(append(extra, ""), "\r\n") + "Content-Length: 0\r\n\r\n")
}

func TestT5AnyNumberOfProvisionalAnswers(t *testing.T) {
	o, ps := carriers(t, 1, nil)
	p := ps[0]
	l := dialOut(t, o, "120")
	inv := p.request("INVITE")
	for range 15 {
		p.reply(inv, 183, "a", g711)
	}
	expect(t, l, leg.Early)
	if l.Media() != nil {
		t.Error("early media was taken for an answer")
	}
	p.reply(inv, 200, "a", g711)
	p.request("ACK")
	expect(t, l, leg.Answered)
}

func TestT6CancelWaitsForTheFirstProvisional(t *testing.T) {
	o, ps := carriers(t, 1, nil)
	p := ps[0]
	l := dialOut(t, o, "120")
	inv := p.request("INVITE")
	l.Hangup(leg.Cancelled)
	endedWith(t, l, leg.Cancelled)
	p.none(2*testT1, "CANCEL before 1xx", func(m *message) bool { return m.method() == "CANCEL" })
	p.reply(inv, 180, "a", "")
	cancel := p.request("CANCEL")
	if cancel.get("Via") != inv.get("Via") || cancel.get("CSeq") != strings.Replace(inv.get("CSeq"), "INVITE", "CANCEL", 1) {
		t.Errorf("CANCEL of another transaction: %v", cancel.headers)
	}
	p.reply(cancel, 200, "a", "")
	p.reply(inv, 487, "a", "")
	p.request("ACK")
	eventually(t, "the leg to go", func() bool { return o.s.count() == 0 })
}

func TestT6TwoHundredAfterCancelIsAcknowledgedAndEnded(t *testing.T) {
	o, ps := carriers(t, 1, nil)
	p := ps[0]
	l := dialOut(t, o, "120")
	inv := p.request("INVITE")
	p.reply(inv, 180, "a", "")
	expect(t, l, leg.Ringing)
	l.Hangup(leg.Cancelled)
	cancel := p.request("CANCEL")
	p.reply(inv, 200, "a", g711) // crossing
	p.reply(cancel, 200, "a", "")
	p.request("ACK")
	p.reply(p.request("BYE"), 200, "", "")
	endedWith(t, l, leg.Cancelled)
}

func TestT6TwoHundredWithoutProvisionalAfterHangup(t *testing.T) {
	o, ps := carriers(t, 1, nil)
	p := ps[0]
	l := dialOut(t, o, "120")
	inv := p.request("INVITE")
	l.Hangup(leg.Cancelled)
	endedWith(t, l, leg.Cancelled)
	p.reply(inv, 200, "a", g711)
	p.request("ACK")
	p.reply(p.request("BYE"), 200, "", "")
}

func TestT7ASecondForkIsAcknowledgedAndEnded(t *testing.T) {
	o, ps := carriers(t, 1, nil)
	p := ps[0]
	l := dialOut(t, o, "120")
	inv := p.request("INVITE")
	p.reply(inv, 200, "a", g711)
	if ack := p.request("ACK"); ack.tag("To") != "a" {
		t.Errorf("ACK to %q", ack.tag("To"))
	}
	expect(t, l, leg.Confirmed)
	p.reply(inv, 200, "b", g711)
	if ack := p.request("ACK"); ack.tag("To") != "b" {
		t.Errorf("ACK to %q", ack.tag("To"))
	}
	bye := p.request("BYE")
	if bye.tag("To") != "b" {
		t.Errorf("BYE to %q", bye.tag("To"))
	}
	p.reply(bye, 200, "", "")
	select {
	case e := <-l.Events():
		t.Errorf("the call felt it: %+v", e)
	default:
	}
	l.Hangup(leg.Normal)
	if bye := p.request("BYE"); bye.tag("To") != "a" {
		t.Errorf("BYE to %q", bye.tag("To"))
	}
}

func TestT11RingTimeoutCancelsAndCancelWithoutAnswerGivesUp(t *testing.T) {
	t.Parallel()
	o, ps := carriers(t, 1, func(o *Options, _ []*peer) { o.RingTimeout = 150 * time.Millisecond })
	p := ps[0]
	l := dialOut(t, o, "120")
	inv := p.request("INVITE")
	p.reply(inv, 180, "a", "")
	cancel := p.request("CANCEL")
	p.reply(cancel, 200, "a", "")
	endedWith(t, l, leg.NoAnswer)
	// No final answer ever comes: after 64*T1 the leg's last goroutine goes.
	eventually(t, "the leg to go", func() bool { return o.s.count() == 0 })
}

func TestFailover(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		code int
	}{{"503", 503}, {"500", 500}, {"408", 408}, {"silence", 0}} {
		t.Run(c.name, func(t *testing.T) {
			o, ps := carriers(t, 2, nil)
			l := dialOut(t, o, "120")
			inv := ps[0].request("INVITE")
			if c.code != 0 {
				ps[0].reply(inv, c.code, "a", "", "Retry-After: 60")
				ps[0].request("ACK")
			}
			second := ps[1].request("INVITE")
			ps[1].reply(second, 200, "b", g711)
			ps[1].request("ACK")
			expect(t, l, leg.Confirmed)
			if c.code == 0 { // it wakes up: what it says must not ring on
				ps[0].reply(inv, 180, "a", "")
				ps[0].reply(ps[0].request("CANCEL"), 200, "a", "")
				ps[0].reply(inv, 487, "a", "")
			}
			l.Hangup(leg.Normal)
			ps[1].reply(ps[1].request("BYE"), 200, "", "")
			if c.code == 503 { // it asked to be left alone: next time the other comes first
				dialOut(t, o, "120")
				ps[1].request("INVITE")
			}
		})
	}
}

func TestNoFailoverWhenTheCalleeHasSpoken(t *testing.T) {
	for code, cause := range map[int]leg.Cause{486: leg.Busy, 600: leg.Busy, 603: leg.Rejected, 404: leg.Rejected, 302: leg.Rejected, 480: leg.NoAnswer} {
		o, ps := carriers(t, 2, nil)
		l := dialOut(t, o, "120")
		inv := ps[0].request("INVITE")
		ps[0].reply(inv, code, "a", "", "Contact: <sip:elsewhere@203.0.113.1>")
		ps[0].request("ACK")
		if e := endedWith(t, l, cause); e.Code != code {
			t.Errorf("code %d, want %d", e.Code, code)
		}
	}
}

func TestEveryCarrierFails(t *testing.T) {
	o, ps := carriers(t, 2, nil)
	l := dialOut(t, o, "120")
	for _, p := range ps {
		p.reply(p.request("INVITE"), 503, "a", "")
		p.request("ACK")
	}
	if e := endedWith(t, l, leg.Transport); e.Code != 503 {
		t.Errorf("%+v", e)
	}
}

func TestT28DigestClientTakesTheStrongestAndStaleOnce(t *testing.T) {
	o, ps := carriers(t, 1, func(o *Options, _ []*peer) { o.Trunks[0].User, o.Trunks[0].Password = "us", "pw" })
	p := ps[0]
	l := dialOut(t, o, "120")
	inv := p.request("INVITE")
	challenge := func(alg, nonce, extra string) string {
		return `WWW-Authenticate: Digest realm="c", nonce="` + nonce + `", algorithm=` + alg + `, qop="auth"` + extra
	}
	p.reply(inv, 401, "a", "", challenge("MD5", "n1", ""), challenge("SHA-256", "n2", ""))
	p.request("ACK")
	inv = p.request("INVITE")
	cred, err := digest.ParseCredentials(inv.get("Authorization"))
	if err != nil || cred.Algorithm != "SHA-256" || cred.Nonce != "n2" || cred.Username != "us" {
		t.Fatalf("%+v %v", cred, err)
	}
	if want := digestResponse(algSHA256, hexOf(algSHA256, "us", "c", "pw"), cred, "INVITE"); cred.Response != want {
		t.Errorf("response %s, want %s", cred.Response, want)
	}
	p.reply(inv, 401, "b", "", challenge("SHA-256", "n3", ", stale=true"))
	p.request("ACK")
	inv = p.request("INVITE")
	if !strings.Contains(inv.get("Authorization"), "n3") || inv.get("CSeq") != "3 INVITE" {
		t.Errorf("%v", inv.headers)
	}
	p.reply(inv, 200, "c", g711)
	p.request("ACK")
	expect(t, l, leg.Confirmed)
	l.Hangup(leg.Normal)
	bye := p.request("BYE")
	p.reply(bye, 407, "", "", strings.Replace(challenge("MD5", "n4", ""), "WWW", "Proxy", 1))
	if again := p.request("BYE"); !strings.Contains(again.get("Proxy-Authorization"), "n4") {
		t.Errorf("%v", again.headers)
	} else {
		p.reply(again, 200, "", "")
	}
}

func TestWrongCredentialsEndTheCall(t *testing.T) {
	o, ps := carriers(t, 1, func(o *Options, _ []*peer) { o.Trunks[0].User, o.Trunks[0].Password = "us", "pw" })
	p := ps[0]
	l := dialOut(t, o, "120")
	for range 2 {
		p.reply(p.request("INVITE"), 401, "a", "", `WWW-Authenticate: Digest realm="c", nonce="n", algorithm=MD5, qop="auth"`)
		p.request("ACK")
	}
	if e := endedWith(t, l, leg.Rejected); e.Code != 401 {
		t.Errorf("%+v", e)
	}
}

func TestSessionIntervalIsRaised(t *testing.T) {
	o, ps := carriers(t, 1, nil)
	p := ps[0]
	l := dialOut(t, o, "120")
	p.reply(p.request("INVITE"), 422, "a", "", "Min-SE: 3600")
	p.request("ACK")
	inv := p.request("INVITE")
	if inv.get("Session-Expires") != "3600" || inv.get("Min-SE") != "3600" {
		t.Errorf("%v", inv.headers)
	}
	p.reply(inv, 200, "b", g711)
	p.request("ACK")
	expect(t, l, leg.Confirmed)
}

func TestTwoHundredWithoutUsableAnswer(t *testing.T) {
	for _, body := range []string{"", strings.Replace(g711, "8 0 101", "18", 1), "v=0\r\nnonsense"} {
		o, ps := carriers(t, 1, nil)
		p := ps[0]
		l := dialOut(t, o, "120")
		p.reply(p.request("INVITE"), 200, "a", body)
		p.request("ACK")
		p.reply(p.request("BYE"), 200, "", "")
		endedWith(t, l, leg.MediaLost)
	}
}

func TestOutboundOverTCP(t *testing.T) {
	// The carrier's side of the stream is a listener: the server must dial it.
	o, ps := tcpCarrier(t)
	l := dialOut(t, o, "120")
	p := <-ps
	inv := p.request("INVITE")
	p.reply(inv, 180, "a", "")
	expect(t, l, leg.Ringing)
	p.reply(inv, 200, "a", g711)
	p.request("ACK")
	expect(t, l, leg.Confirmed)
	l.Hangup(leg.Normal)
	p.reply(p.request("BYE"), 200, "", "")
	endedWith(t, l, leg.Normal)
}

func TestDialRefusals(t *testing.T) {
	o := newOffice(t, nil)
	for to, want := range map[string]error{
		"phone:op1":                        ErrNotRegistered,
		"+8613900139000":                   ErrNoTrunk,
		"":                                 ErrNumber,
		"12\r\nX: y":                       ErrNumber,
		"sip:evil@x":                       ErrNumber,
		"phone:x\r\nRoute: <sip:evil@evil": ErrNotRegistered,
	} {
		if _, err := o.s.Dial(t.Context(), leg.Call{To: to}); !errors.Is(err, want) {
			t.Errorf("dial %q: %v, want %v", to, err, want)
		}
	}
}

func TestT31NothingThatWeComposeBreaksOutOfItsHeader(t *testing.T) {
	o, ps := carriers(t, 1, func(o *Options, _ []*peer) {
		o.Trunks[0].CallerIDs = []string{"123"}
	})
	p := ps[0]
	if _, err := o.s.Dial(t.Context(), leg.Call{To: "120", CallerID: "1\r\nX-Evil: 1", SOS: true}); err != nil {
		t.Fatal(err)
	}
	inv := p.request("INVITE")
	if inv.get("X-Evil") != "" || !strings.Contains(inv.get("From"), "+8687112349") {
		t.Errorf("%v", inv.headers)
	}
	if h := header("Reason", "a\r\nX-Evil: 1"); strings.Contains(h.String(), "\n") {
		t.Errorf("header %q", h.String())
	}
	if u := uri("a\r\nb@c", o.s.Addr()); strings.ContainsAny(u.String(), "\r\n") || u.User != "a%0D%0Ab%40c" {
		t.Errorf("uri %q", u.String())
	}
	d := &dialog{callID: "x\r\nX-Evil: 1", localTag: "a", localURI: uri("a", o.s.Addr()), remoteURI: uri("b", o.s.Addr()),
		target: uri("b", p.addr()), network: "UDP", dest: p.addr(), fixed: true}
	failed := make(chan error, 1)
	o.s.transact(o.s.request(d, "OPTIONS"), func(_ *sipResponse, err error) { failed <- err })
	if err := <-failed; !errors.Is(err, errUnsafe) {
		t.Errorf("an unsafe request left: %v", err)
	}
}

func TestStateMoves(t *testing.T) {
	states := []state{offered, calling, proceeding, ringing, answered, confirmed, ended}
	for _, from := range states {
		for _, to := range states {
			if from == to {
				continue
			}
			l := &line{state: from, log: o0().log}
			moved := func() (ok bool) {
				defer func() { ok = recover() == nil }()
				l.to(to)
				return
			}()
			if want := slices.Contains(moves[from], to); moved != want {
				t.Errorf("%s -> %s: %v, want %v", from, to, moved, want)
			}
		}
	}
}
