package simphone_test

import (
	"context"
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"net/netip"
	"sync"
	"testing"
	"time"

	"anling/callcenter/leg"
	"anling/callcenter/media"
	"anling/callcenter/sip"
	"anling/cmd/internal/simphone"
)

// secrets are accounts with one password each.
type secrets map[string]string

func (s secrets) Digest(_ context.Context, account, realm, algorithm string) (string, bool) {
	password, ok := s[account]
	plain := []byte(account + ":" + realm + ":" + password)
	switch algorithm {
	case "SHA-256":
		sum := sha256.Sum256(plain)
		return hex.EncodeToString(sum[:]), ok
	case "MD5":
		sum := md5.Sum(plain)
		return hex.EncodeToString(sum[:]), ok
	}
	return "", false
}

// office is the server's telephone line with the smallest call centre behind it: who
// calls is answered and joined with the telephone op1.
func office(t *testing.T) string {
	t.Helper()
	engine, err := media.New(media.Options{IP: netip.MustParseAddr("127.0.0.1"), PortMin: 39000, PortMax: 39399, Quarantine: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	var s *sip.Server
	s, err = sip.New(sip.Options{Listen: "127.0.0.1:0", Media: engine, Accounts: secrets{"op1": "secret"},
		Trunks:   []sip.Trunk{{Name: "carrier", Peers: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}}},
		OnInvite: func(l leg.Leg) { running.Go(func() { join(ctx, s, l) }) }})
	if err != nil {
		stop()
		t.Fatal(err)
	}
	running.Go(func() { _ = engine.Run(ctx) })
	running.Go(func() {
		if err := s.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { stop(); running.Wait() })
	return s.Addr().String()
}

// join answers a caller, rings the telephone and joins the two until one leaves.
func join(ctx context.Context, d leg.Dialer, caller leg.Leg) {
	defer caller.Hangup(leg.Normal)
	caller.Ring()
	phone, err := d.Dial(ctx, leg.Call{To: "phone:op1", CallerID: caller.Info().From})
	if err != nil {
		return
	}
	defer phone.Hangup(leg.Normal)
	for {
		select {
		case <-ctx.Done():
			return
		case e, open := <-caller.Events():
			if !open || e.Kind == leg.Ended {
				return
			}
		case e, open := <-phone.Events():
			if !open || e.Kind == leg.Ended {
				return
			}
			if e.Kind == leg.Answered {
				if err := caller.Answer(ctx); err != nil {
					return
				}
				media.Join(caller.Media(), phone.Media())
			}
		}
	}
}

func start(t *testing.T, o simphone.Options) *simphone.Phone {
	t.Helper()
	p, err := simphone.New(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := p.Run(ctx); err != nil {
			t.Error(err)
		}
	}()
	t.Cleanup(func() { cancel(); <-done })
	return p
}

// The phones speak with the real server's line: registration, a call through it with
// both voices, digits, hold, and whoever hangs up.
func TestPhonesThroughTheServersLine(t *testing.T) {
	server := office(t)
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	check := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	desk := start(t, simphone.Options{Server: server, Account: "op1", Password: "secret", Register: true, Tone: 1000, Codecs: []byte{simphone.PCMU}})
	check("register", desk.WaitRegistered(ctx))
	for _, network := range []string{"udp", "tcp"} {
		trunk := start(t, simphone.Options{Network: network, Server: server, Account: "trunk", Tone: 440, Codecs: []byte{simphone.PCMA}})
		code, err := trunk.Options(ctx)
		if check("OPTIONS", err); code != 200 {
			t.Errorf("OPTIONS is answered %d", code)
		}
		call, err := trunk.Call("12349", simphone.CallOptions{From: "13800000001"})
		check("call", err)
		check("answer", call.Wait(ctx, simphone.Answered))
		other, err := desk.WaitCall(ctx)
		check("ring the desk", err)
		check("caller hears the desk", call.Audio().WaitTone(ctx, 1000))
		check("desk hears the caller", other.Audio().WaitTone(ctx, 440))
		if call.Codec() == other.Codec() {
			t.Error("both sides have the same codec: nothing is converted")
		}
		call.Audio().SendDTMF("15")
		check("digits", other.Audio().WaitDigits(ctx, "15"))
		check("hold", other.Hold(ctx))
		check("resume", other.Resume(ctx))
		check("desk hears the caller again", other.Audio().WaitTone(ctx, 440))
		if network == "udp" {
			call.Hangup()
		} else {
			other.Hangup()
		}
		check("caller's end", call.Wait(ctx, simphone.Ended))
		check("desk's end", other.Wait(ctx, simphone.Ended))
		if s := call.Audio().Stats(); s.Lost > 0 || s.Foreign > 0 {
			t.Errorf("%s: %+v", network, s)
		}
	}
	desk.SetAnswer(simphone.Answer{Ignore: true})
	trunk := start(t, simphone.Options{Server: server, Account: "trunk"})
	call, err := trunk.Call("12349", simphone.CallOptions{From: "13800000001"})
	check("call", err)
	check("ringing", call.Wait(ctx, simphone.Ringing))
	other, err := desk.WaitCall(ctx)
	check("ring the desk", err)
	call.Hangup()
	check("caller gives up", call.Wait(ctx, simphone.Ended))
	check("the desk stops ringing", other.Wait(ctx, simphone.Ended))
	if code, _, _ := call.Result(); code != 487 {
		t.Errorf("given up with %d", code)
	}
}

func TestWrongPasswordIsRefused(t *testing.T) {
	server := office(t)
	p := start(t, simphone.Options{Server: server, Account: "op1", Password: "guess", Register: true})
	ctx, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
	defer cancel()
	if err := p.WaitRegistered(ctx); err == nil {
		t.Error("is registered")
	}
}
