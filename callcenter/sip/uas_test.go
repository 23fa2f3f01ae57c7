package sip

import (
	"context"
	"testing"

	"anling/callcenter/leg"
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
