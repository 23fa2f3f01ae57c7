package sip

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"anling/callcenter/leg"
	"anling/callcenter/media"
)

func answer(t *testing.T, l leg.Leg) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := l.Answer(ctx); err != nil {
		t.Fatalf("answer: %v", err)
	}
}

func TestInboundCallIsAnsweredAndCallerHangsUp(t *testing.T) {
	both(t, func(t *testing.T, o *office, p *peer) {
		d := p.dial("12345", "13800138000")
		d.invite()
		l := o.call()
		if i := l.Info(); i.From != "+8613800138000" || i.DID != "12345" || i.Kind != leg.Trunk || i.Trunk != "carrier" || i.SOS {
			t.Errorf("info %+v", i)
		}
		l.Ring()
		p.status(180, "INVITE")
		answer(t, l)
		ok := p.status(200, "INVITE")
		d.answered(ok)
		expect(t, l, leg.Answered)
		d.ack("")
		expect(t, l, leg.Confirmed)
		if l.Media() == nil {
			t.Error("no media")
		}
		d.next("BYE", "")
		p.status(200, "BYE")
		if e := expect(t, l, leg.Ended); e.Cause != leg.CallerHangup {
			t.Errorf("ended: %+v", e)
		}
	})
}

// established is a call that has been answered and acknowledged.
func established(t *testing.T, o *office, p *peer, extra ...string) (*dial, leg.Leg, *message) {
	t.Helper()
	d := p.dial("12345", "13800138000")
	d.invite(extra...)
	l := o.call()
	answer(t, l)
	ok := p.status(200, "INVITE")
	d.answered(ok)
	d.ack("")
	expect(t, l, leg.Confirmed)
	return d, l, ok
}

func endedWith(t *testing.T, l leg.Leg, cause leg.Cause) leg.Event {
	t.Helper()
	e := expect(t, l, leg.Ended)
	if e.Cause != cause {
		t.Fatalf("ended with %s (%+v), want %s", e.Cause, e, cause)
	}
	if _, open := <-l.Events(); open {
		t.Error("an event after Ended")
	}
	return e
}

func TestWeHangUp(t *testing.T) {
	both(t, func(t *testing.T, o *office, p *peer) {
		_, l, _ := established(t, o, p)
		l.Hangup(leg.Normal)
		l.Hangup(leg.Normal)
		bye := p.request("BYE")
		if bye.get("Reason") != "Q.850;cause=16" {
			t.Errorf("Reason %q", bye.get("Reason"))
		}
		p.reply(bye, 200, "", "")
		endedWith(t, l, leg.Normal)
		eventually(t, "the leg to go", func() bool { return o.s.count() == 0 })
	})
}

func TestT1LateAnswerIsOneCall(t *testing.T) {
	o := newOffice(t, nil)
	p := newPeer(t, o.s.Addr())
	d := p.dial("12345", "13800138000")
	raw := d.compose("INVITE", 1, g711)
	p.send(raw)
	l := o.call()
	p.status(100, "INVITE")
	p.send(raw) // retransmission, long before the answer
	p.status(100, "INVITE")
	p.send(raw)
	l.Ring()
	p.status(180, "INVITE")
	p.send(raw)
	p.status(180, "INVITE") // the last provisional answer again
	answer(t, l)
	d.answered(p.status(200, "INVITE"))
	d.ack("")
	expect(t, l, leg.Confirmed)
	select {
	case <-o.calls:
		t.Error("a retransmitted INVITE made a second leg")
	default:
	}
}

func TestT1CancelMatchesAfterAWhile(t *testing.T) {
	both(t, func(t *testing.T, o *office, p *peer) {
		d := p.dial("12345", "13800138000")
		d.invite()
		l := o.call()
		p.status(100, "INVITE")
		l.Ring()
		p.status(180, "INVITE")
		d.cancel()
		p.status(200, "CANCEL")
		p.status(487, "INVITE")
		endedWith(t, l, leg.Cancelled)
		if err := l.Answer(t.Context()); !errors.Is(err, leg.ErrCancelled) {
			t.Errorf("answer after cancel: %v", err)
		}
	})
}

func TestT2TwoHundredIsResentUntilAckThenBye(t *testing.T) {
	both(t, func(t *testing.T, o *office, p *peer) {
		d := p.dial("12345", "13800138000")
		d.invite()
		l := o.call()
		start := time.Now()
		answer(t, l)
		var at []time.Duration
		var bye *message
		for bye == nil {
			m := p.wait("200 or BYE", func(m *message) bool { return m.status() == 200 || m.method() == "BYE" })
			if m.method() == "BYE" {
				bye = m
			} else {
				at = append(at, time.Since(start))
			}
		}
		// 0 and then T1, 3, 7, 15, 23 … 63 times T1: the gaps double up to T2.
		if len(at) < 9 || len(at) > 12 {
			t.Errorf("%d times 200: %v", len(at), at)
		}
		if at[1] < testT1 || at[2] < 3*testT1 { // they may come late, and never early
			t.Errorf("sent again after %s and %s", at[1], at[2])
		}
		if all := time.Since(start); all < 60*testT1 {
			t.Errorf("BYE after %s, want %s", all, 64*testT1)
		}
		d.answered(&message{headers: [][2]string{{"To", bye.get("From")}, {"Contact", "<sip:x@" + o.s.Addr().String() + ">"}}})
		p.reply(bye, 200, "", "")
		endedWith(t, l, leg.NoAck)
	})
}

func TestLostTwoHundredIsMadeGood(t *testing.T) {
	both(t, func(t *testing.T, o *office, p *peer) {
		d := p.dial("12345", "13800138000")
		d.invite()
		l := o.call()
		answer(t, l)
		p.status(200, "INVITE") // lost
		p.status(200, "INVITE") // lost
		d.answered(p.status(200, "INVITE"))
		d.ack("")
		expect(t, l, leg.Confirmed)
		p.none(20*testT1, "200 after ACK", func(m *message) bool { return m.status() == 200 })
	})
}

// hold stops the leg's goroutine until the returned function is called.
func hold(t *testing.T, l leg.Leg) (release func()) {
	t.Helper()
	gate, in := make(chan struct{}), make(chan struct{})
	if !l.(*line).post(func() { close(in); <-gate }) {
		t.Fatal("the leg is gone")
	}
	<-in
	return func() { close(gate) }
}

func TestT3AnswerThatLosesAgainstCancelDoesNotPoisonIt(t *testing.T) {
	both(t, func(t *testing.T, o *office, p *peer) {
		d := p.dial("12345", "13800138000")
		d.invite()
		l := o.call()
		release := hold(t, l)
		result := make(chan error, 1)
		queued := len(l.(*line).inbox)
		go func() { result <- l.Answer(context.Background()) }()
		eventually(t, "the answer to queue", func() bool { return len(l.(*line).inbox) > queued })
		d.cancel() // the answer stands before the CANCEL in the inbox
		p.status(487, "INVITE")
		release()
		if err := <-result; !errors.Is(err, leg.ErrCancelled) {
			t.Errorf("answer: %v", err)
		}
		endedWith(t, l, leg.Cancelled)
		if p.udp != nil { // without ACK the 487 is sent again, and nothing else
			p.status(487, "INVITE")
			p.send(d.composeBranch("INVITE", 1, d.branch, g711))
			p.status(487, "INVITE")
		}
		p.none(10*testT1, "200 to INVITE", func(m *message) bool { return m.status() == 200 && strings.HasSuffix(m.cseq(), "INVITE") })
	})
}

func TestT3AckOfAPoisonedTwoHundredGetsBye(t *testing.T) {
	o := newOffice(t, nil)
	p := newPeer(t, o.s.Addr())
	d := p.dial("12345", "13800138000")
	d.invite()
	l := o.call()
	d.cancel()
	p.status(487, "INVITE")
	endedWith(t, l, leg.Cancelled)
	d.remote = l.(*line).dialog.localTag // as if a 200 had slipped out
	d.ack("")
	p.reply(p.request("BYE"), 200, "", "")
}

func TestT4CancelCallbackDoesNotDeadlock(t *testing.T) {
	o := newOffice(t, nil)
	p := newPeer(t, o.s.Addr())
	for range 20 {
		d := p.dial("12345", "13800138000")
		d.invite()
		l := o.call()
		go func() { _ = l.Answer(context.Background()) }()
		d.cancel()
		m := p.wait("200 or 487 to INVITE", func(m *message) bool {
			return m.status() >= 200 && strings.HasSuffix(m.cseq(), "INVITE") && m.get("Call-ID") == d.callID
		})
		if m.status() == 200 { // the answer won: the caller must take it and hang up
			d.answered(m)
			d.ack("")
			d.next("BYE", "")
			endedWith(t, l, leg.CallerHangup)
			continue
		}
		endedWith(t, l, leg.Cancelled)
	}
}

func TestLateOffer(t *testing.T) {
	both(t, func(t *testing.T, o *office, p *peer) {
		d := p.dial("12345", "13800138000")
		p.send(d.compose("INVITE", 1, ""))
		l := o.call()
		answer(t, l)
		ok := p.status(200, "INVITE")
		if !strings.Contains(ok.body, "RTP/AVP 8 0 101") {
			t.Errorf("offer in 200:\n%s", ok.body)
		}
		d.answered(ok)
		d.ack(g711)
		expect(t, l, leg.Confirmed)
		if a := l.(*line).peer; a.codec != media.PCMA || a.addr.Port() != 30000 {
			t.Errorf("agreed %+v", a)
		}
	})
}

func TestLateOfferWithoutAnswerEndsTheCall(t *testing.T) {
	o := newOffice(t, nil)
	p := newPeer(t, o.s.Addr())
	d := p.dial("12345", "13800138000")
	p.send(d.compose("INVITE", 1, ""))
	l := o.call()
	answer(t, l)
	d.answered(p.status(200, "INVITE"))
	d.ack("")
	p.reply(p.request("BYE"), 200, "", "")
	endedWith(t, l, leg.MediaLost)
}

func TestHoldAndResume(t *testing.T) {
	both(t, func(t *testing.T, o *office, p *peer) {
		d, l, ok := established(t, o, p)
		version := func(m *message) string { return strings.Fields(m.body)[3] }
		before := version(ok)
		for _, c := range []struct {
			name, body, want string
			kind             leg.EventKind
		}{
			{"sendonly", g711 + "a=sendonly\r\n", "a=recvonly", leg.Held},
			{"back", g711, "a=sendrecv", leg.Resumed},
			{"inactive", g711 + "a=inactive\r\n", "a=inactive", leg.Held},
			{"back again", g711 + "a=sendrecv\r\n", "a=sendrecv", leg.Resumed},
			{"old way", strings.Replace(g711, "c=IN IP4 127.0.0.1", "c=IN IP4 0.0.0.0", 1), "a=recvonly", leg.Held},
			{"and back", g711, "a=sendrecv", leg.Resumed},
		} {
			d.next("INVITE", c.body)
			ok := p.status(200, "INVITE")
			d.ack("")
			if !strings.Contains(ok.body, c.want) {
				t.Errorf("%s: answer\n%s", c.name, ok.body)
			}
			if v := version(ok); v == before {
				t.Errorf("%s: version stays %s though the answer changed", c.name, v)
			} else {
				before = v
			}
			expect(t, l, c.kind)
		}
		d.next("INVITE", g711) // a refresh: nothing changes
		if ok := p.status(200, "INVITE"); version(ok) != before {
			t.Error("version rises without a change")
		}
		d.ack("")
		d.next("INVITE", "") // late offer in a re-INVITE
		if ok := p.status(200, "INVITE"); !strings.Contains(ok.body, "RTP/AVP 8 0 101") {
			t.Errorf("offer %s", ok.body)
		}
		d.ack(g711)
		d.next("BYE", "")
		p.status(200, "BYE")
		endedWith(t, l, leg.CallerHangup)
	})
}

func TestReinviteWithoutCommonCodecKeepsTheCall(t *testing.T) {
	o := newOffice(t, nil)
	p := newPeer(t, o.s.Addr())
	d, l, _ := established(t, o, p)
	d.next("INVITE", strings.Replace(g711, "8 0 101", "18", 1))
	p.status(488, "INVITE")
	d.ack("")
	d.next("INVITE", "v=0\r\nrubbish")
	p.status(400, "INVITE")
	d.next("BYE", "")
	p.status(200, "BYE")
	endedWith(t, l, leg.CallerHangup)
}

func TestReinviteLostAckIsMadeGood(t *testing.T) {
	t.Parallel()
	o := newOffice(t, nil)
	p := newPeer(t, o.s.Addr())
	d, _, _ := established(t, o, p)
	d.next("INVITE", g711+"a=sendonly\r\n")
	p.status(200, "INVITE")
	p.status(200, "INVITE")
	d.ack("")
	p.none(20*testT1, "200", func(m *message) bool { return m.status() == 200 })
}

func TestSecondInviteBeforeTheFirstIsAnswered(t *testing.T) {
	o := newOffice(t, nil)
	p := newPeer(t, o.s.Addr())
	d := p.dial("12345", "13800138000")
	d.invite()
	l := o.call()
	l.Ring()
	d.remote = p.status(180, "INVITE").tag("To")
	d.next("INVITE", g711)
	if m := p.status(500, "INVITE"); m.get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
}

func TestCSeqOutOfOrderIs500(t *testing.T) {
	o := newOffice(t, nil)
	p := newPeer(t, o.s.Addr())
	d, _, _ := established(t, o, p)
	d.next("OPTIONS", "")
	p.status(200, "OPTIONS")
	d.seq--
	d.seq--
	d.next("OPTIONS", "")
	p.status(500, "OPTIONS")
}

func TestT17RequestsThatOvertakeEachOtherAreSorted(t *testing.T) {
	o := newOffice(t, nil)
	p := newPeer(t, o.s.Addr())
	d, l, _ := established(t, o, p)
	key := func(seq int, digit string) string {
		body := "Signal=" + digit + "\r\nDuration=160\r\n"
		raw := d.compose("INFO", seq, body)
		return strings.Replace(raw, "application/sdp", "application/dtmf-relay", 1)
	}
	// Handed to the leg in the wrong order, as sipgo's goroutines may.
	release := hold(t, l)
	p.send(key(3, "2"))
	eventually(t, "the second key to queue", func() bool { return len(l.(*line).inbox) == 1 })
	p.send(key(2, "1"))
	eventually(t, "the first key to queue", func() bool { return len(l.(*line).inbox) == 2 })
	release()
	for _, want := range "12" {
		if e := expect(t, l, leg.DTMF); e.Digit != byte(want) {
			t.Errorf("key %c, want %c", e.Digit, want)
		}
	}
	p.status(200, "INFO")
	p.status(200, "INFO")
	d.seq = 9 // a gap that stays is a gap of the peer
	d.next("OPTIONS", "")
	p.status(200, "OPTIONS")
}

func TestT7AckIsMatchedByTheInvitesCSeq(t *testing.T) {
	o := newOffice(t, nil)
	p := newPeer(t, o.s.Addr())
	d := p.dial("12345", "13800138000")
	d.invite()
	l := o.call()
	answer(t, l)
	d.answered(p.status(200, "INVITE"))
	d.next("OPTIONS", "") // CSeq 2, before the ACK of CSeq 1
	p.status(200, "OPTIONS")
	d.seq = 1
	d.ack("")
	expect(t, l, leg.Confirmed)
}

func TestHangupBeforeAckWaitsForIt(t *testing.T) {
	both(t, func(t *testing.T, o *office, p *peer) {
		d := p.dial("12345", "13800138000")
		d.invite()
		l := o.call()
		answer(t, l)
		d.answered(p.status(200, "INVITE"))
		l.Hangup(leg.Normal)
		endedWith(t, l, leg.Normal) // the owner does not wait
		p.none(2*testT1, "BYE before ACK", func(m *message) bool { return m.method() == "BYE" })
		d.ack("")
		p.reply(p.request("BYE"), 200, "", "")
		eventually(t, "the leg to go", func() bool { return o.s.count() == 0 })
	})
}

func TestByeBeforeAck(t *testing.T) {
	o := newOffice(t, nil)
	p := newPeer(t, o.s.Addr())
	d := p.dial("12345", "13800138000")
	d.invite()
	l := o.call()
	answer(t, l)
	d.answered(p.status(200, "INVITE"))
	d.next("BYE", "")
	p.status(200, "BYE")
	endedWith(t, l, leg.CallerHangup)
	p.none(20*testT1, "200 to INVITE", func(m *message) bool { return m.status() == 200 && strings.HasSuffix(m.cseq(), "INVITE") })
}

func TestByesThatCross(t *testing.T) {
	o := newOffice(t, nil)
	p := newPeer(t, o.s.Addr())
	d, l, _ := established(t, o, p)
	l.Hangup(leg.Normal)
	bye := p.request("BYE")
	d.next("BYE", "")
	p.status(200, "BYE")
	p.reply(bye, 200, "", "")
	endedWith(t, l, leg.Normal)
}

func TestHangupOfAnUnansweredCall(t *testing.T) {
	for cause, want := range map[leg.Cause]int{leg.Busy: 486, leg.Rejected: 603, leg.NoAnswer: 480, leg.Overload: 503, leg.Normal: 480, leg.Fault: 500} {
		both(t, func(t *testing.T, o *office, p *peer) {
			d := p.dial("12345", "13800138000")
			d.invite()
			l := o.call()
			l.Hangup(cause)
			m := p.status(want, "INVITE")
			d.remote = m.tag("To")
			p.send(d.composeBranch("ACK", 1, d.branch, ""))
			endedWith(t, l, cause)
			p.none(4*testT1, "second answer", func(m *message) bool { return m.status() >= 200 })
		})
	}
}

func TestNobodyTakesTheCall(t *testing.T) {
	o := newOffice(t, func(o *Options) { o.RingTimeout = 100 * time.Millisecond })
	p := newPeer(t, o.s.Addr())
	p.dial("12345", "13800138000").invite()
	l := o.call()
	p.status(480, "INVITE")
	endedWith(t, l, leg.NoAnswer)
}

func TestMergedRequestIs482(t *testing.T) {
	o := newOffice(t, nil)
	p := newPeer(t, o.s.Addr())
	d := p.dial("12345", "13800138000")
	d.invite()
	o.call()
	d.invite() // same Call-ID, CSeq and tag by another branch
	p.status(482, "INVITE")
}

func TestT9T10RequestsOfOursFollowTheRefreshedTargetAndTheRoute(t *testing.T) {
	o := newOffice(t, nil)
	proxy, p := newPeer(t, o.s.Addr()), newPeer(t, o.s.Addr())
	d := p.dial("12345", "13800138000")
	d.route = "Record-Route: <sip:" + proxy.addr().String() + ";lr>\r\n"
	d.invite()
	l := o.call()
	answer(t, l)
	d.answered(p.status(200, "INVITE"))
	d.ack("")
	expect(t, l, leg.Confirmed)
	d.seq++
	raw := d.compose("INVITE", d.seq, g711)
	p.send(strings.Replace(raw, "Contact: <sip:13800138000@"+p.addr().String(), "Contact: <sip:moved@"+p.addr().String(), 1))
	p.status(200, "INVITE")
	d.ack("")
	l.Hangup(leg.Normal)
	bye := proxy.request("BYE")
	if !strings.HasPrefix(bye.start, "BYE sip:moved@") || bye.get("Route") == "" {
		t.Errorf("%v with Route %q", bye, bye.get("Route"))
	}
	proxy.reply(bye, 200, "", "")
	endedWith(t, l, leg.Normal)
}

func TestNoCommonCodecIsStillPresented(t *testing.T) {
	o := newOffice(t, nil)
	p := newPeer(t, o.s.Addr())
	d := p.dial("12345", "13800138000")
	p.send(d.compose("INVITE", 1, strings.Replace(g711, "8 0 101", "18", 1)))
	l := o.call()
	if err := l.Answer(t.Context()); err == nil {
		t.Error("answered without a codec")
	}
	if m := p.status(488, "INVITE"); m.get("Warning") == "" {
		t.Error("no Warning")
	}
	endedWith(t, l, leg.MediaLost)
}

func TestOverloadShedsOrdinaryCallsOnly(t *testing.T) {
	o := newOffice(t, func(o *Options) { o.Admit = func(leg.Info) bool { return false } })
	p := newPeer(t, o.s.Addr())
	p.dial("12345", "13800138000").invite()
	if m := p.status(503, "INVITE"); m.get("Retry-After") == "" {
		t.Error("503 without Retry-After")
	}
	d := p.dial("12349", "13800138000")
	d.invite()
	l := o.call()
	if !l.Info().SOS {
		t.Error("the SOS line is not known")
	}
	answer(t, l)
	d.answered(p.status(200, "INVITE"))
	d.ack("")
	expect(t, l, leg.Confirmed)
}

func TestLegsAreCappedButNotForSOS(t *testing.T) {
	o := newOffice(t, func(o *Options) { o.MaxLegs = 1 })
	p := newPeer(t, o.s.Addr())
	_, l, _ := established(t, o, p)
	p.dial("12345", "13800138000").invite()
	p.status(503, "INVITE")
	p.dial("12349", "13800138000").invite()
	o.call()
	l.Hangup(leg.Normal)
	p.reply(p.request("BYE"), 200, "", "")
	eventually(t, "the place to be free", func() bool { return o.s.ordinary.Load() == 0 })
	p.dial("12345", "13800138000").invite()
	o.call()
}

func TestCallerIdentity(t *testing.T) {
	o := newOffice(t, nil)
	p := newPeer(t, o.s.Addr())
	for _, c := range []struct {
		name, from, to string
		extra          []string
		want           leg.Info
	}{
		{"mobile with country code", "008613800138000", "087112349", nil, leg.Info{From: "+8613800138000"}},
		{"local number gets the area code", "68112233", "12345", nil, leg.Info{From: "+8687168112233"}},
		{"long distance", "01068112233", "12345", nil, leg.Info{From: "+861068112233"}},
		{"asserted identity wins", "1000", "12345", []string{`P-Asserted-Identity: "x" <sip:+8613900139000@carrier>`}, leg.Info{From: "+8613900139000"}},
		{"asserted tel", "1000", "12345", []string{"P-Asserted-Identity: <tel:+8613900139000>"}, leg.Info{From: "+8613900139000"}},
		{"withheld", "anonymous", "12345", nil, leg.Info{Anonymous: true}},
		{"withheld but asserted", "anonymous", "12345", []string{"P-Asserted-Identity: <tel:+8613900139000>", "Privacy: id"}, leg.Info{From: "+8613900139000", Anonymous: true}},
		{"sos line", "13800138000", "12349", nil, leg.Info{From: "+8613800138000", SOS: true}},
		{"short code", "12345", "12345", nil, leg.Info{From: "12345"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := p.dial(c.to, c.from)
			d.invite(c.extra...)
			l := o.call()
			i := l.Info()
			if i.From != c.want.From || i.Anonymous != c.want.Anonymous || i.SOS != c.want.SOS {
				t.Errorf("got From %q anonymous %v sos %v", i.From, i.Anonymous, i.SOS)
			}
			l.Hangup(leg.Busy)
			endedWith(t, l, leg.Busy)
		})
	}
}

func TestSessionTimerPeerRefreshes(t *testing.T) {
	t.Parallel()
	o := newOffice(t, func(o *Options) { o.MinSession = time.Second })
	p := newPeer(t, o.s.Addr())
	d, l, ok := established(t, o, p, "Supported: timer", "Session-Expires: 1")
	if v := ok.get("Session-Expires"); v != "1;refresher=uac" || ok.get("Require") != "timer" {
		t.Errorf("Session-Expires %q, Require %q", v, ok.get("Require"))
	}
	d.next("UPDATE", "", "Supported: timer", "Session-Expires: 2;refresher=uac")
	if v := p.status(200, "UPDATE").get("Session-Expires"); v != "2;refresher=uac" {
		t.Errorf("Session-Expires %q", v)
	}
	start := time.Now()
	p.reply(p.request("BYE"), 200, "", "") // and then no more
	if d := time.Since(start); d < time.Second {
		t.Errorf("ended after %s: the refresh did not count", d)
	}
	endedWith(t, l, leg.Timer)
}

func TestSessionTimerWeRefresh(t *testing.T) {
	t.Parallel()
	for _, knowsUpdate := range []bool{true, false} {
		o := newOffice(t, func(o *Options) { o.MinSession = time.Second })
		p := newPeer(t, o.s.Addr())
		allow := "Allow: INVITE, ACK, BYE"
		want := "INVITE"
		if knowsUpdate {
			allow += ", UPDATE"
			want = "UPDATE"
		}
		_, l, ok := established(t, o, p, allow, "Session-Expires: 1")
		if v := ok.get("Session-Expires"); v != "1;refresher=uas" {
			t.Errorf("Session-Expires %q", v)
		}
		for range 2 {
			m := p.request(want)
			if want == "INVITE" {
				p.reply(m, 200, "", g711, "Session-Expires: 1;refresher=uac")
				p.request("ACK")
			} else {
				p.reply(m, 200, "", "", "Session-Expires: 1;refresher=uac")
			}
		}
		p.reply(p.request(want), 481, "", "")
		if want == "INVITE" {
			p.request("ACK")
		}
		p.reply(p.request("BYE"), 200, "", "")
		endedWith(t, l, leg.Timer)
	}
}

func TestSessionIntervalTooSmall(t *testing.T) {
	o := newOffice(t, nil)
	p := newPeer(t, o.s.Addr())
	d := p.dial("12345", "13800138000")
	d.invite("Supported: timer", "Session-Expires: 30")
	if m := p.status(422, "INVITE"); m.get("Min-SE") != "90" {
		t.Errorf("Min-SE %q", m.get("Min-SE"))
	}
}

func TestGlare(t *testing.T) {
	t.Parallel()
	o := newOffice(t, func(o *Options) { o.MinSession = time.Second })
	p := newPeer(t, o.s.Addr())
	d, l, _ := established(t, o, p, "Session-Expires: 1")
	ours := p.request("INVITE") // the refresh
	d.next("INVITE", g711)
	p.status(491, "INVITE")
	d.ack("")
	p.reply(ours, 491, "", "")
	p.request("ACK")
	again := p.request("INVITE") // after 0 to 2 s: the Call-ID is the peer's
	p.reply(again, 200, "", g711)
	p.request("ACK")
	d.next("INVITE", g711)
	p.status(200, "INVITE")
	d.ack("")
	l.Hangup(leg.Normal)
}

func TestDrainedOnShutdown(t *testing.T) {
	o := newOffice(t, nil)
	p := newPeer(t, o.s.Addr())
	_, l, _ := established(t, o, p)
	o.stop()
	p.reply(p.request("BYE"), 200, "", "")
	endedWith(t, l, leg.Drained)
	<-o.stopped
}
