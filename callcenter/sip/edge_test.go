package sip

import (
	"bytes"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"anling/callcenter/leg"
)

// strangers is an office that knows no address: everybody is unknown to it.
func strangers(t *testing.T, l Limits) *office {
	return newOffice(t, func(o *Options) { o.Trunks, o.Limits = nil, l })
}

func TestT13TheListenerOutlivesEverything(t *testing.T) {
	o := newOffice(t, nil)
	p := newPeer(t, o.s.Addr())
	for _, garbage := range []string{"", "\r\n\r\n", "\x00\x00", "x", strings.Repeat("A", 60000), "INVITE", "SIP/2.0 200 OK\r\n\r\n",
		"INVITE sip:a SIP/2.0\r\n" + strings.Repeat("Via: x\r\n", 2000) + "\r\n", "REGISTER \xff SIP/2.0\r\n\xff\xfe: \x00\r\n\r\n"} {
		p.send(garbage)
	}
	gone, err := net.Dial("udp", o.s.Addr().String()) // its port is closed when the answer comes: ICMP
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(gone, "OPTIONS sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP %s;branch=z9hG4bKgone\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:a@b>\r\nCall-ID: 1\r\nCSeq: 1 OPTIONS\r\n\r\n", gone.LocalAddr())
	gone.Close()
	established(t, o, p)
}

func TestT14SourcesDoNotPileUp(t *testing.T) {
	o := newOffice(t, func(o *Options) { o.Limits.Sources = 10 })
	p := newPeer(t, o.s.Addr())
	d, l, _ := established(t, o, p)
	for range 50 { // five generations of sources
		q := newPeer(t, o.s.Addr())
		x := q.dial("12345", "1")
		q.send(x.compose("OPTIONS", 1, ""))
		q.status(200, "OPTIONS")
		q.udp.Close()
	}
	// What was in progress goes on, from both sides.
	d.next("INVITE", g711+"a=sendonly\r\n")
	p.status(200, "INVITE")
	d.ack("")
	expect(t, l, leg.Held)
	l.Hangup(leg.Normal)
	p.reply(p.request("BYE"), 200, "", "")
	endedWith(t, l, leg.Normal)
}

func TestT15TheLogCannotBeFilledFromOutside(t *testing.T) {
	core, logs := observer.New(zapcore.DebugLevel)
	h := &sampler{log: zap.New(core)}
	log := slog.New(h)
	for range 1000 {
		log.Error("failed to parse", "data", strings.Repeat("call 13800138000 ", 100), "error", "x")
	}
	log.Info("not even this")
	all := logs.All()
	if n := len(all); n == 0 || n > 3*samplePerSecond {
		t.Errorf("%d lines for 1000 errors", n)
	}
	for _, e := range all {
		if len(e.Message) > sampleBytes || strings.Contains(e.Message, "13800138000") {
			t.Errorf("line %q", e.Message)
		}
	}
}

func TestT16LongMessagesAreAnswered(t *testing.T) {
	o := newOffice(t, nil)
	p := newPeer(t, o.s.Addr())
	d := p.dial("12345", "1")
	raw := d.compose("OPTIONS", 1, "")
	via := strings.Repeat("Via: SIP/2.0/UDP a.very.long.name.of.a.proxy.example.com:5060;branch=z9hG4bK"+strings.Repeat("x", 250)+"\r\n", 8)
	p.send(strings.Replace(raw, "Max-Forwards", via+"Max-Forwards", 1))
	if m := p.status(200, "OPTIONS"); len(m.all("Via")) != 9 {
		t.Errorf("%d Via", len(m.all("Via")))
	}
}

func TestT18TheSocketAsksForALargeBuffer(t *testing.T) {
	o := newOffice(t, nil)
	got := receiveBuffer(o.s.udp.conn)
	limit := 0
	if b, err := os.ReadFile("/proc/sys/net/core/rmem_max"); err == nil {
		fmt.Sscan(string(b), &limit)
	}
	if limit >= udpBuffer && got < udpBuffer || got == 0 {
		t.Errorf("receive buffer %d, kernel allows %d", got, limit)
	}
}

func TestT19AWildcardIsRefused(t *testing.T) {
	for _, at := range []string{"0.0.0.0:0", "[::]:0", ":5060", "nonsense"} {
		if s, err := New(Options{Listen: at}); err == nil {
			s.Close()
			t.Errorf("listen %q is accepted", at)
		}
	}
}

func TestT22StreamsHaveCapsAndDeadlines(t *testing.T) {
	o := newOffice(t, func(o *Options) { o.Trunks = nil; o.Limits.PerIP = 3 })
	var conns []net.Conn
	for range 3 {
		c, err := net.Dial("tcp", o.s.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		conns = append(conns, c)
	}
	eventually(t, "three connections", func() bool {
		o.s.tcp.mu.Lock()
		defer o.s.tcp.mu.Unlock()
		return o.s.tcp.total == 3
	})
	fourth, err := net.Dial("tcp", o.s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	closed(t, fourth, "the fourth connection of an address")
	// Framing that cannot be told: two lengths.
	fmt.Fprintf(conns[0], "OPTIONS sip:a SIP/2.0\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab")
	closed(t, conns[0], "a stream with two lengths")
	fmt.Fprintf(conns[1], "%s", strings.Repeat("A", maxMessage+2))
	closed(t, conns[1], "a stream without an end of headers")
	eventually(t, "the places to be free", func() bool {
		o.s.tcp.mu.Lock()
		defer o.s.tcp.mu.Unlock()
		return o.s.tcp.total == 1 && len(o.s.tcp.perIP) == 1
	})
}

func closed(t *testing.T, c net.Conn, what string) {
	t.Helper()
	if err := c.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if n, err := c.Read(make([]byte, 1)); n > 0 || err == nil || os.IsTimeout(err) {
		t.Errorf("%s stays open: %d %v", what, n, err)
	}
}

// slowPipe is a stream whose clock a test can move: it only remembers deadlines.
type slowPipe struct {
	net.Conn
	deadline time.Time
	reads    [][]byte
}

func (s *slowPipe) SetReadDeadline(t time.Time) error { s.deadline = t; return nil }
func (s *slowPipe) SetWriteDeadline(time.Time) error  { return nil }
func (s *slowPipe) Write(b []byte) (int, error)       { return len(b), nil }
func (s *slowPipe) Read(b []byte) (int, error) {
	if len(s.reads) == 0 {
		return 0, os.ErrDeadlineExceeded
	}
	n := copy(b, s.reads[0])
	s.reads = s.reads[1:]
	return n, nil
}

func TestT22SlowLorisEndsAtTheDeadlineOfItsMessage(t *testing.T) {
	e := newEdge(nil, Limits{}.withDefaults(), newMetrics(nil), time.Now)
	pipe := &slowPipe{reads: [][]byte{[]byte("OPT"), []byte("IONS"), []byte(" sip")}}
	s := &stream{Conn: pipe, l: &listener{edge: e, log: zap.NewNop()}, first: false}
	start := time.Now()
	if _, err := s.Read(make([]byte, 100)); err == nil {
		t.Fatal("no end")
	}
	// One byte after the other does not move the deadline: it counts from the first.
	if d := pipe.deadline.Sub(start); d > streamMessage+time.Second {
		t.Errorf("deadline %s", d)
	}
}

func TestStreamKeepAlive(t *testing.T) {
	o := newOffice(t, nil)
	c, err := net.Dial("tcp", o.s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprint(c, "\r\n\r\n")
	b := make([]byte, 8)
	c.SetReadDeadline(time.Now().Add(patience))
	if n, err := c.Read(b); err != nil || string(b[:n]) != "\r\n" {
		t.Errorf("%q %v", b[:n], err)
	}
}

func TestStreamInPieces(t *testing.T) {
	o := newOffice(t, nil)
	p := newTCPPeer(t, o.s.Addr())
	d := p.dial("12345", "13800138000")
	raw := d.compose("INVITE", 1, g711)
	for i := 0; i < len(raw); i += 7 {
		p.send(raw[i:min(i+7, len(raw))])
	}
	l := o.call()
	answer(t, l)
	d.answered(p.status(200, "INVITE"))
	// And two messages in one segment.
	ack := d.compose("ACK", 1, "")
	d.seq++
	p.send(ack + d.compose("BYE", d.seq, ""))
	p.status(200, "BYE")
	endedWith(t, l, leg.CallerHangup)
}

func TestT23APanicInAHandlerIsContained(t *testing.T) {
	calls := make(chan leg.Leg, 4)
	first := true
	o := newOffice(t, func(o *Options) {
		o.OnInvite = func(l leg.Leg) {
			if first {
				first = false
				panic("injected")
			}
			calls <- l
		}
	})
	p := newPeer(t, o.s.Addr())
	p.dial("12345", "13800138000").invite()
	p.status(500, "INVITE")
	p.dial("12345", "13800138000").invite()
	l := <-calls
	if n := o.metric("anling_sip_faults_total", ""); n != 1 {
		t.Errorf("%v faults counted", n)
	}
	// In the leg: the first leaves the call alone, the second within ten seconds ends it.
	answer(t, l)
	l.(*line).post(func() { panic("injected") })
	sync := make(chan struct{})
	if !l.(*line).post(func() { close(sync) }) {
		t.Fatal("the leg did not survive one panic")
	}
	<-sync
	l.(*line).post(func() { panic("injected") })
	endedWith(t, l, leg.Fault)
}

func TestT26UnmatchedAckAndCancel(t *testing.T) {
	both(t, func(t *testing.T, o *office, p *peer) {
		d := p.dial("12345", "13800138000")
		d.branch = "z9hG4bK" + unique()
		d.cancel()
		p.status(481, "CANCEL")
		d.remote = "nobody"
		d.ack("")
		d.next("BYE", "")
		p.status(481, "BYE")
		p.none(2*testT1, "answer to ACK", func(m *message) bool { return strings.HasSuffix(m.cseq(), "ACK") })
	})
}

func TestT27MethodsThatWeDoNotDo(t *testing.T) {
	both(t, func(t *testing.T, o *office, p *peer) {
		for method, want := range map[string]int{
			"OPTIONS": 200, "MESSAGE": 405, "REFER": 405, "PUBLISH": 405, "NOTIFY": 405, "INFO": 405, "UPDATE": 405,
			"SUBSCRIBE": 489, "PRACK": 481, "BYE": 481, "FLURB": 501,
		} {
			d := p.dial("12345", "1")
			p.send(d.compose(method, 1, ""))
			m := p.status(want, method)
			if (want == 405 || want == 501 || want == 200) && !strings.Contains(m.get("Allow"), "INVITE") {
				t.Errorf("%s: Allow %q", method, m.get("Allow"))
			}
		}
		scaip := p.dial("12345", "1").compose("MESSAGE", 1, "<mrq/>")
		p.send(strings.Replace(scaip, "application/sdp", "application/scaip+xml", 1))
		p.status(415, "MESSAGE") // the device must know that nobody heard it
	})
}

func TestMethodsInADialogThatWeDoNotDo(t *testing.T) {
	o := newOffice(t, nil)
	p := newPeer(t, o.s.Addr())
	d, _, _ := established(t, o, p)
	for _, c := range []struct {
		method string
		want   int
	}{{"REFER", 405}, {"MESSAGE", 405}, {"PRACK", 481}, {"SUBSCRIBE", 489}, {"NOTIFY", 405}, {"OPTIONS", 200}, {"FLURB", 501}} {
		d.next(c.method, "", "Refer-To: <sip:evil@203.0.113.1>")
		p.status(c.want, c.method)
		if c.want == 501 {
			d.seq-- // refused before it reached the dialog
		}
	}
	body := d.compose("INFO", d.seq+1, "x")
	d.seq++
	p.send(strings.Replace(body, "application/sdp", "application/unknown", 1))
	p.status(415, "INFO")
}

func TestT29GlobalsAreSetOnce(t *testing.T) {
	newOffice(t, nil)
	newOffice(t, func(o *Options) { o.T1 = time.Second })
	if sip.T1 != testT1 || sip.UDPMTUSize != 65535 {
		t.Errorf("T1 %s, MTU %d", sip.T1, sip.UDPMTUSize)
	}
}

func TestT30NothingOfACallStays(t *testing.T) {
	o := newOffice(t, nil)
	p := newPeer(t, o.s.Addr())
	for range 50 {
		d, l, _ := established(t, o, p)
		d.next("BYE", "")
		p.status(200, "BYE")
		endedWith(t, l, leg.CallerHangup)
	}
	eventually(t, "the tables to be empty", func() bool {
		o.s.mu.RLock()
		defer o.s.mu.RUnlock()
		o.s.edge.mu.RLock()
		defer o.s.edge.mu.RUnlock()
		return len(o.s.all)+len(o.s.legs)+len(o.s.merge)+len(o.s.edge.calls)+len(o.s.edge.flows) == 0 && o.media.Sessions() == 0
	})
}

func TestUnknownSourcesHearNothing(t *testing.T) {
	o := strangers(t, Limits{PerSecond: 0.001, Burst: 5})
	p := newPeer(t, o.s.Addr())
	d := p.dial("12345", "1")
	for _, method := range []string{"BYE", "MESSAGE", "SUBSCRIBE", "FLURB"} {
		p.send(d.compose(method, 1, ""))
	}
	p.send("SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP x;branch=z9hG4bKx\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:a@b>\r\nCall-ID: 1\r\nCSeq: 1 OPTIONS\r\n\r\n")
	eventually(t, "all to be dropped", func() bool { return o.metric("anling_sip_dropped_total", "unknown_source") == 5 })
	p.send(d.compose("OPTIONS", 1, "")) // the bucket is empty
	eventually(t, "the rate limit", func() bool { return o.metric("anling_sip_dropped_total", "rate") == 1 })
	if len(p.in) > 0 {
		t.Errorf("an unknown source heard %v", <-p.in)
	}
}

func TestUnknownInviteIsChallengedNeverPutThrough(t *testing.T) {
	o := strangers(t, Limits{})
	p := newPeer(t, o.s.Addr())
	p.dial("12345", "1").invite()
	p.status(401, "INVITE")
	select {
	case l := <-o.calls:
		t.Errorf("a stranger came through: %+v", l.Info())
	default:
	}
}

func TestAPeerThatMovesMidCallIsStillHeard(t *testing.T) {
	o := strangers(t, Limits{})
	p := newPeer(t, o.s.Addr())
	f := p.phone("op1", "secret")
	d := p.dial("12345", "op1")
	d.invite()
	m := p.status(401, "INVITE")
	f.learn(m)
	d.seq++
	p.send(d.compose("INVITE", d.seq, g711, f.credentials("INVITE", d.target)))
	l := o.call()
	answer(t, l)
	d.answered(p.status(200, "INVITE"))
	d.ack("")
	expect(t, l, leg.Confirmed)
	moved := newPeer(t, o.s.Addr()) // its NAT chose another port
	d.p = moved
	d.next("UPDATE", "")
	moved.status(200, "UPDATE")
	l.Hangup(leg.Normal)
	moved.reply(moved.request("BYE"), 200, "", "")
	endedWith(t, l, leg.Normal)
}

func TestBucketsAreBoundedAndRefill(t *testing.T) {
	b := newBuckets(10, 3)
	now := time.Now()
	ip := netip.MustParseAddr("192.0.2.1")
	for i := range 3 {
		if !b.take(ip, now) {
			t.Fatalf("take %d", i)
		}
	}
	if b.take(ip, now) {
		t.Error("more than the burst")
	}
	if now = now.Add(100 * time.Millisecond); !b.take(ip, now) {
		t.Error("no refill")
	}
	b.charge(ip, 3, now)
	if now = now.Add(200 * time.Millisecond); b.take(ip, now) {
		t.Error("a penalty is not felt")
	}
	for i := range 5 * bucketsMax {
		b.take(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), now)
	}
	if n := len(b.young) + len(b.old); n > 2*bucketsMax {
		t.Errorf("%d buckets", n)
	}
}

func TestT24ScanRepairsWhatTheParserCannotRead(t *testing.T) {
	var s scanner
	raw := "INVITE sip:a@b SIP/2.0\r\nv:  SIP  /   2.0\r\n /UDP\r\n    192.0.2.2 ; branch = z9hG4bKx , SIP/2.0/TCP c;branch=z9hG4bKy\r\n" +
		"f: \"A ; B = \\\" C\" <sip:a@b> ;\r\n  tag = 98asjd8\r\nTO :\r\n <sip:b@c;x=1> ;   tag    = 19n\r\ni: 1\r\ncseq: 0009\r\n  INVITE\r\nm: <sip:a@b> ; q = 0.3\r\nSubject: a ; b = c\r\n d\r\nl: 0\r\n\r\n"
	out, env := s.scan([]byte(raw), true)
	want := "INVITE sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.2;branch=z9hG4bKx;rport,SIP/2.0/TCP c;branch=z9hG4bKy\r\n" +
		"From: \"A ; B = \\\" C\" <sip:a@b>;tag=98asjd8\r\nTo: <sip:b@c;x=1>;tag=19n\r\nCall-ID: 1\r\nCSeq: 0009 INVITE\r\nContact: <sip:a@b>;q=0.3\r\nSubject: a ; b = c d\r\nContent-Length: 0\r\n\r\n"
	if string(out) != want || env.bad != 0 {
		t.Errorf("%d %s\ngot\n%s\nwant\n%s", env.bad, env.why, out, want)
	}
	again := bytes.Clone(out)
	if out, _ = s.scan(again, true); string(out) != want {
		t.Errorf("a second scan changes\n%s", out)
	}
	msg, err := sip.ParseMessage(out)
	if err != nil {
		t.Fatal(err)
	}
	req := msg.(*sip.Request)
	if tagOf(req.From().Params) != "98asjd8" || tagOf(req.To().Params) != "19n" || req.CSeq().SeqNo != 9 || len(req.GetHeaders("Via")) != 2 {
		t.Errorf("%s", req)
	}
}

func torture(tb testing.TB) map[string][]byte {
	tb.Helper()
	dir := moduleDir(tb, "github.com/emiago/sipgo")
	files, err := filepath.Glob(filepath.Join(dir, "sip/testdata/torture/*/*.dat"))
	if err != nil || len(files) < 50 {
		tb.Fatalf("%d torture files in %s: %v", len(files), dir, err)
	}
	all := map[string][]byte{}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			tb.Fatal(err)
		}
		all[strings.TrimSuffix(filepath.Base(f), ".dat")] = b
	}
	return all
}

func FuzzScan(f *testing.F) {
	for _, b := range torture(f) {
		f.Add(b)
	}
	e := newEdge(nil, Limits{}.withDefaults(), newMetrics(nil), time.Now)
	var s scanner
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, datagram := range []bool{true, false} {
			out, env := s.scan(b, datagram)
			if answer := statelessAnswer(env, ""); env.bad != 0 && answer != nil {
				if env.bad < 400 || bytes.Count(answer, []byte("\r\n\r\n")) != 1 {
					t.Errorf("answer %q", answer)
				}
			}
			if len(out) > 2*len(b)+64 {
				t.Errorf("%d bytes became %d", len(b), len(out))
			}
			if env.bad == 0 {
				once := bytes.Clone(out)
				if twice, again := s.scan(once, datagram); !bytes.Equal(once, twice) || again.bad != 0 {
					t.Errorf("not stable (%d %s):\n%q\n%q", again.bad, again.why, once, twice)
				}
			}
		}
		if _, err := frame(b); err == nil {
			e.filter(&s, netip.MustParseAddrPort("192.0.2.1:5060"), carrier, b, false)
		}
		if msg, err := sip.ParseMessage(b); err == nil {
			if req, ok := msg.(*sip.Request); ok {
				validate(req)
				registered(req)
			}
		}
	})
}
