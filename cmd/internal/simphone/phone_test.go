package simphone

import (
	"context"
	"fmt"
	"math"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// run starts a phone for the length of a test.
func run(t *testing.T, o Options) *Phone {
	t.Helper()
	p, err := New(o)
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

func limit(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// pair is a caller whose server is the other phone.
func pair(t *testing.T, network string, caller, callee Options) (a, b *Phone) {
	callee.Network, callee.Server, callee.Account = network, "127.0.0.1:9", "callee"
	b = run(t, callee)
	caller.Network, caller.Server, caller.Account = network, b.Addr().String(), "caller"
	return run(t, caller), b
}

func TestTwoPhonesHearEachOther(t *testing.T) {
	for _, c := range []struct {
		name, network string
		codecs        []byte
		late          bool
	}{
		{"UDP, A-law", "udp", []byte{PCMA}, false},
		{"TCP, mu-law", "tcp", []byte{PCMU}, false},
		{"offer in the answer", "udp", []byte{PCMA, PCMU}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, b := pair(t, c.network, Options{Tone: 440}, Options{Tone: 1000, Codecs: c.codecs})
			call, err := a.Call("62", CallOptions{From: "13800000000", LateOffer: c.late})
			must(t, err)
			must(t, call.Wait(limit(t), Answered))
			other, err := b.WaitCall(limit(t))
			must(t, err)
			if other.From != "13800000000" || other.To != "62" {
				t.Errorf("called by %q for %q", other.From, other.To)
			}
			must(t, call.Audio().WaitTone(limit(t), 1000))
			must(t, other.Audio().WaitTone(limit(t), 440))
			if call.Audio().Hears(440) {
				t.Error("hears its own tone")
			}
			if call.Codec() != c.codecs[0] {
				t.Errorf("codec %d", call.Codec())
			}
			call.Audio().SendDTMF("1")
			must(t, other.Audio().WaitDigits(limit(t), "1"))
			call.Audio().SendDTMF("#7")
			must(t, other.Audio().WaitDigits(limit(t), "1#7"))
			other.Hangup()
			must(t, call.Wait(limit(t), Ended))
			if _, _, byPeer := call.Result(); !byPeer {
				t.Error("the peer hung up")
			}
			if s := call.Audio().Stats(); s.Lost != 0 || s.Received < 10 || s.SSRCs != 1 || s.Foreign != 0 {
				t.Errorf("stats %+v", s)
			}
		})
	}
}

func TestHoldAndResume(t *testing.T) {
	a, b := pair(t, "udp", Options{Tone: 440}, Options{Tone: 1000})
	call, err := a.Call("62", CallOptions{})
	must(t, err)
	must(t, call.Audio().WaitTone(limit(t), 1000))
	other, err := b.WaitCall(limit(t))
	must(t, err)
	must(t, other.Hold(limit(t)))
	if !call.HeldByPeer() {
		t.Fatal("is not held")
	}
	must(t, other.Audio().WaitQuiet(limit(t)))
	must(t, other.Resume(limit(t)))
	if call.HeldByPeer() {
		t.Fatal("is still held")
	}
	must(t, other.Audio().WaitTone(limit(t), 440))
	var kinds []string
	call.Hangup()
	for e := range call.Events() {
		kinds = append(kinds, e.Kind)
	}
	if got := strings.Join(kinds, " "); got != "ringing answered held resumed ended" {
		t.Errorf("events %q", got)
	}
}

func TestCallsThatAreNotAnswered(t *testing.T) {
	for _, c := range []struct {
		name   string
		answer Answer
		cancel bool
		code   int
	}{
		{"busy", Answer{Code: 486}, false, 486},
		{"rings, then declined", Answer{Ring: 20 * time.Millisecond, Code: 603}, false, 603},
		{"caller gives up", Answer{Ignore: true}, true, 487},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, b := pair(t, "udp", Options{}, Options{Answer: c.answer})
			call, err := a.Call("62", CallOptions{})
			must(t, err)
			if c.cancel {
				must(t, call.Wait(limit(t), Ringing))
				call.Hangup()
			}
			must(t, call.Wait(limit(t), Ended))
			if code, reason, _ := call.Result(); code != c.code {
				t.Errorf("ended with %d %s", code, reason)
			}
			for len(b.Calls()) > 0 {
				must(t, b.Calls()[0].Wait(limit(t), Ended))
			}
		})
	}
}

func TestLostMessagesAreSentAgain(t *testing.T) {
	var lost atomic.Int32
	drop := func(incoming bool, first string) bool {
		if incoming || lost.Load() >= 4 {
			return false
		}
		want := []string{"180 INVITE", "200 INVITE", "200 INVITE", "200 BYE"}[lost.Load()]
		return first == want && lost.Add(1) > 0
	}
	a, _ := pair(t, "udp", Options{Tone: 440}, Options{Drop: drop})
	call, err := a.Call("62", CallOptions{})
	must(t, err)
	must(t, call.Wait(limit(t), Answered))
	call.Hangup()
	must(t, call.Wait(limit(t), Ended))
	if lost.Load() != 4 {
		t.Errorf("%d messages were lost", lost.Load())
	}
}

func TestTwoHundredComesAgainUntilAcknowledged(t *testing.T) {
	var acks, twohundreds atomic.Int32
	a, b := pair(t, "udp", Options{Drop: func(in bool, first string) bool { return !in && first == "ACK" && acks.Add(1) < 3 }},
		Options{Drop: func(in bool, first string) bool {
			if !in && first == "200 INVITE" {
				twohundreds.Add(1)
			}
			return false
		}})
	call, err := a.Call("62", CallOptions{})
	must(t, err)
	must(t, call.Wait(limit(t), Answered))
	other, err := b.WaitCall(limit(t))
	must(t, err)
	for e := range other.Events() {
		if e.Kind == "confirmed" {
			break
		}
	}
	if acks.Load() != 3 || twohundreds.Load() != 3 {
		t.Errorf("%d ACK, %d times 200", acks.Load(), twohundreds.Load())
	}
}

// registrar is a server of one account: it challenges with both algorithms and finds
// the first nonce stale.
func registrar(t *testing.T, algorithms ...string) (netip.AddrPort, chan string) {
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	must(t, err)
	t.Cleanup(func() { conn.Close() })
	taken := make(chan string, 8)
	go func() {
		buf := make([]byte, 4096)
		nonces := 0
		for {
			n, from, err := conn.ReadFromUDP(buf)
			if err != nil {
				return
			}
			m, err := parse(buf[:n])
			if err != nil {
				t.Error(err)
				continue
			}
			r := &message{code: 401, reason: "Unauthorized"}
			for _, name := range []string{"Via", "From", "To", "Call-ID", "CSeq"} {
				r.add(name, m.get(name))
			}
			authorization := m.get("Authorization")
			if right(authorization, fmt.Sprintf("nonce-%d", nonces)) && nonces > 1 {
				r.code, r.reason = 200, "OK"
				r.add("Contact", m.get("Contact")+";expires=1")
				taken <- authorization
			} else {
				nonces++
				for _, a := range algorithms {
					r.add("WWW-Authenticate", fmt.Sprintf(`Digest realm="anling", nonce="nonce-%d", algorithm=%s, qop="auth", stale=%t`, nonces, a, nonces > 1))
				}
			}
			if _, err := conn.WriteToUDP(r.bytes(), from); err != nil {
				return
			}
		}
	}()
	return conn.LocalAddr().(*net.UDPAddr).AddrPort(), taken
}

// right computes the answer anew from the header's own parts.
func right(authorization, nonce string) bool {
	c, ok := parseChallenge(authorization)
	if !ok || c.nonce != nonce {
		return false
	}
	part := func(name string) string {
		_, rest, _ := strings.Cut(authorization, name+"=")
		rest, _, _ = strings.Cut(rest, ",")
		return strings.Trim(rest, `"`)
	}
	c.qop = ""
	bare := c.answer("op1", "secret", "REGISTER", part("uri"), 1)
	return strings.HasPrefix(authorization, `Digest username="op1"`) && bare != "" && part("nc") == "00000001" && len(part("response")) == map[string]int{"MD5": 32, "SHA-256": 64}[c.algorithm]
}

func TestRegistersWithTheStrongerDigest(t *testing.T) {
	addr, taken := registrar(t, "MD5", "SHA-256")
	p := run(t, Options{Server: addr.String(), Account: "op1", Password: "secret", Register: true})
	must(t, p.WaitRegistered(limit(t)))
	if got := <-taken; !strings.Contains(got, "algorithm=SHA-256") {
		t.Errorf("answered %q", got)
	}
}

// The examples of RFC 7616 3.9.1 without the random part, RFC 2069 form.
func TestDigestByHand(t *testing.T) {
	c := challenge{realm: "testrealm@host.com", nonce: "dcd98b7102dd2f0e8b11d0f600bfb0c093", algorithm: "MD5"}
	got := c.answer("Mufasa", "CircleOfLife", "GET", "/dir/index.html", 1)
	// RFC 2069 errata: 1949323746fe6a43ef61f9606e7febea
	if !strings.Contains(got, `response="1949323746fe6a43ef61f9606e7febea"`) {
		t.Errorf("answered %s", got)
	}
}

func TestG711RoundTrip(t *testing.T) {
	for s := -32768; s <= 32767; s += 7 {
		for _, codec := range []byte{PCMA, PCMU} {
			back := decode(codec, []byte{encode(codec, int16(s))}, nil)[0]
			if d := math.Abs(float64(back) - float64(s)); d > math.Max(20, math.Abs(float64(s))/15) {
				t.Fatalf("codec %d: %d became %d", codec, s, back)
			}
		}
	}
	// Fixed points of ITU-T G.711: silence, and the loudest.
	if decodeALaw(0xd5) != 8 || decodeULaw(0xff) != 0 || decodeALaw(0xaa) != 32256 || decodeULaw(0x80) != 32124 {
		t.Errorf("A %d %d, mu %d %d", decodeALaw(0xd5), decodeALaw(0xaa), decodeULaw(0xff), decodeULaw(0x80))
	}
}

func TestToneAmongNoise(t *testing.T) {
	x := make([]int16, windowLen)
	for i := range x {
		x[i] = int16(8000*math.Sin(2*math.Pi*440*float64(i)/sampleRate) + 2000*math.Sin(2*math.Pi*1710*float64(i)/sampleRate))
	}
	if share := goertzel(x, 440); share < 0.9 {
		t.Errorf("440 Hz has %.2f", share)
	}
	if share := goertzel(x, 1000); share > 0.05 {
		t.Errorf("1000 Hz has %.2f", share)
	}
}

func TestParseRefusesWhatIsNoMessage(t *testing.T) {
	for _, s := range []string{"", "\r\n\r\n", "INVITE\r\n\r\n", "SIP/2.0 9 x\r\n\r\n", "INVITE sip:a SIP/2.0\r\nnonsense\r\n\r\n", "INVITE sip:a SIP/2.0\r\nl: 9\r\n\r\nab"} {
		if m, err := parse([]byte(s)); err == nil {
			t.Errorf("%q is %+v", s, m)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("INVITE sip:a@b SIP/2.0\r\nv: SIP/2.0/UDP c;branch=z9hG4bK1\r\nl: 0\r\n\r\n"))
	f.Add([]byte("SIP/2.0 200 OK\r\nContact: \"a, b\" <sip:x@[::1]:5>;q=1\r\n\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := parse(b)
		if err != nil {
			return
		}
		m.all("Contact")
		hostOf(uriOf(m.get("Contact")))
		if s, err := parseSDP(m.body); err == nil && !s.addr.IsValid() {
			t.Error("an address that is none")
		}
		if again, err := parse(m.bytes()); err != nil || again.method != m.method || again.code != m.code || len(again.headers) != len(m.headers) {
			t.Errorf("%v: %+v became %+v", err, m, again)
		}
	})
}
