package sip

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"

	"anling/callcenter/leg"
	"anling/callcenter/media"
)

// testT1 makes every timer of RFC 3261 ten times as fast.
const testT1 = 50 * time.Millisecond

// patience is how long a test waits for what must come.
const patience = 20 * time.Second

// office is a Server under test with what it was told to do.
type office struct {
	t       *testing.T
	s       *Server
	media   *media.Engine
	calls   chan leg.Leg
	stop    context.CancelFunc
	stopped chan struct{}
	metrics *prometheus.Registry
}

// metric is the value of a counter, of the row that has this label value.
func (f *office) metric(name, label string) float64 {
	f.t.Helper()
	families, err := f.metrics.Gather()
	if err != nil {
		f.t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() != name {
			continue
		}
		for _, m := range family.GetMetric() {
			if len(m.GetLabel()) == 0 && label == "" || len(m.GetLabel()) > 0 && m.GetLabel()[0].GetValue() == label {
				return m.GetCounter().GetValue()
			}
		}
	}
	return 0
}

var portBase struct {
	sync.Mutex
	next int
}

// mediaPorts gives each server a range of its own.
func mediaPorts() (int, int) {
	portBase.Lock()
	defer portBase.Unlock()
	if portBase.next == 0 {
		portBase.next = 34000 + os.Getpid()%100*200 // other packages' tests run beside
	}
	from := portBase.next
	if portBase.next += 200; portBase.next > 58000 {
		portBase.next = 34000
	}
	return from, from + 199
}

func newOffice(t *testing.T, change func(*Options)) *office {
	t.Helper()
	from, to := mediaPorts()
	engine, err := media.New(media.Options{IP: netip.MustParseAddr("127.0.0.1"), PortMin: from, PortMax: to, Quarantine: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	f := &office{t: t, media: engine, calls: make(chan leg.Leg, 64), stopped: make(chan struct{}), metrics: prometheus.NewRegistry()}
	o := Options{
		Listen: "127.0.0.1:0", T1: testT1, Media: engine, PhoneAreaCode: "0871", Hotline: "+8687112349",
		Trunks:       []Trunk{{Name: "carrier", Peers: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}, TrustIdentity: true}},
		SOSNumbers:   []string{"12349"},
		Accounts:     secrets{"op1": "secret", "op2": "secret2"},
		OnInvite:     func(l leg.Leg) { f.calls <- l },
		QualifyPhone: time.Hour, QualifyTrunk: time.Hour,
		Log: zap.NewNop(), Metrics: f.metrics,
	}
	if testing.Verbose() {
		o.Log = zaptest.NewLogger(t, zaptest.Level(zap.WarnLevel), zaptest.WrapOptions(zap.WithCaller(false)))
	}
	if change != nil {
		change(&o)
	}
	if f.s, err = New(o); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	f.stop = stop
	var running sync.WaitGroup
	running.Go(func() { _ = engine.Run(ctx) })
	running.Go(func() {
		if err := f.s.Run(ctx); err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	go func() { running.Wait(); close(f.stopped) }()
	t.Cleanup(func() {
		stop()
		select {
		case <-f.stopped:
		case <-time.After(patience):
			t.Error("the server does not stop")
		}
	})
	return f
}

// call is the next inbound leg.
func (f *office) call() leg.Leg {
	f.t.Helper()
	select {
	case l := <-f.calls:
		return l
	case <-time.After(patience):
		f.t.Fatal("no inbound leg")
		return nil
	}
}

// expect waits for an event of a kind and lets others pass.
func expect(t *testing.T, l leg.Leg, kind leg.EventKind) leg.Event {
	t.Helper()
	deadline := time.After(patience)
	var seen []leg.EventKind
	for {
		select {
		case e, ok := <-l.Events():
			if !ok {
				t.Fatalf("no event %s, only %v", kind, seen)
			}
			if e.Kind == kind {
				return e
			}
			seen = append(seen, e.Kind)
		case <-deadline:
			t.Fatalf("no event %s, only %v", kind, seen)
		}
	}
}

// secrets are accounts with clear passwords.
type secrets map[string]string

func (s secrets) Digest(_ context.Context, account, realm, algorithm string) (string, bool) {
	p, ok := s[account]
	if !ok {
		return "", false
	}
	return hexOf(algorithm, account, realm, p), true
}

// message is a SIP message as the peer sees it: nothing is repaired or hidden.
type message struct {
	start   string
	headers [][2]string
	body    string
	from    net.Addr
}

func parseMessage(b []byte) *message {
	head, body, _ := strings.Cut(string(b), "\r\n\r\n")
	lines := strings.Split(head, "\r\n")
	m := &message{start: lines[0], body: body}
	for _, l := range lines[1:] {
		k, v, _ := strings.Cut(l, ":")
		m.headers = append(m.headers, [2]string{k, strings.TrimSpace(v)})
	}
	return m
}

func (m *message) get(name string) string {
	for _, h := range m.headers {
		if strings.EqualFold(h[0], name) {
			return h[1]
		}
	}
	return ""
}

func (m *message) all(name string) (vs []string) {
	for _, h := range m.headers {
		if strings.EqualFold(h[0], name) {
			vs = append(vs, h[1])
		}
	}
	return vs
}

func (m *message) status() int {
	if f := strings.Fields(m.start); strings.HasPrefix(m.start, "SIP/2.0") && len(f) > 1 {
		n, _ := strconv.Atoi(f[1])
		return n
	}
	return 0
}

func (m *message) method() string {
	if m.status() > 0 {
		return ""
	}
	method, _, _ := strings.Cut(m.start, " ")
	return method
}

func (m *message) cseq() string { return m.get("CSeq") }

func (m *message) tag(header string) string {
	for p := range strings.SplitSeq(m.get(header), ";") {
		if v, ok := strings.CutPrefix(p, "tag="); ok {
			return v
		}
	}
	return ""
}

func (m *message) String() string { return m.start + " [" + m.cseq() + "]" }

// peer is the other end of the wire, which does only what a test says.
type peer struct {
	t    *testing.T
	to   netip.AddrPort
	udp  net.PacketConn
	tcp  net.Conn
	in   chan *message
	seen []*message // taken from in and not yet asked for
}

func newPeer(t *testing.T, to netip.AddrPort) *peer {
	t.Helper()
	return newPeerAt(t, to, "127.0.0.1:0")
}

func newPeerAt(t *testing.T, to netip.AddrPort, at string) *peer {
	t.Helper()
	conn, err := net.ListenPacket("udp", at)
	if err != nil {
		t.Fatal(err)
	}
	p := &peer{t: t, to: to, udp: conn, in: make(chan *message, 1024)}
	t.Cleanup(func() { conn.Close() })
	go func() {
		b := make([]byte, 65536)
		for {
			n, from, err := conn.ReadFrom(b)
			if err != nil {
				return
			}
			m := parseMessage(b[:n])
			m.from = from
			p.in <- m
		}
	}()
	return p
}

func newTCPPeer(t *testing.T, to netip.AddrPort) *peer {
	t.Helper()
	conn, err := net.Dial("tcp", to.String())
	if err != nil {
		t.Fatal(err)
	}
	return streamPeer(t, conn)
}

func streamPeer(t *testing.T, conn net.Conn) *peer {
	p := &peer{t: t, to: addrPort(conn.RemoteAddr()), tcp: conn, in: make(chan *message, 1024)}
	t.Cleanup(func() { conn.Close() })
	go func() {
		defer close(p.in)
		var in []byte
		b := make([]byte, 65536)
		for {
			n, err := conn.Read(b)
			if err != nil {
				return
			}
			in = append(in, b[:n]...)
			for {
				for bytes.HasPrefix(in, []byte("\r\n")) {
					in = in[2:]
				}
				size, err := frame(in)
				if err != nil || size == 0 {
					break
				}
				p.in <- parseMessage(in[:size])
				in = in[size:]
			}
		}
	}()
	return p
}

func (p *peer) addr() netip.AddrPort {
	if p.tcp != nil {
		return addrPort(p.tcp.LocalAddr())
	}
	return addrPort(p.udp.LocalAddr())
}

func (p *peer) transport() string {
	if p.tcp != nil {
		return "TCP"
	}
	return "UDP"
}

func (p *peer) send(raw string) {
	p.t.Helper()
	var err error
	if p.tcp != nil {
		_, err = p.tcp.Write([]byte(raw))
	} else {
		_, err = p.udp.WriteTo([]byte(raw), net.UDPAddrFromAddrPort(p.to))
	}
	if err != nil {
		p.t.Errorf("send: %v", err)
	}
}

// wait returns the next message that match takes; others stay for later.
func (p *peer) wait(what string, match func(*message) bool) *message {
	p.t.Helper()
	for i, m := range p.seen {
		if match(m) {
			p.seen = append(p.seen[:i], p.seen[i+1:]...)
			return m
		}
	}
	deadline := time.After(patience)
	for {
		select {
		case m, ok := <-p.in:
			if !ok {
				p.t.Fatalf("no %s: connection closed; seen %v", what, p.seen)
			}
			if match(m) {
				return m
			}
			p.seen = append(p.seen, m)
		case <-deadline:
			p.t.Fatalf("no %s; seen %v", what, p.seen)
		}
	}
}

// status waits for an answer to a request of that method.
func (p *peer) status(code int, method string) *message {
	p.t.Helper()
	return p.wait(fmt.Sprintf("%d to %s", code, method), func(m *message) bool {
		return m.status() == code && strings.HasSuffix(m.cseq(), " "+method)
	})
}

// final waits for whatever final answer comes.
func (p *peer) final(method string) *message {
	p.t.Helper()
	return p.wait("final answer to "+method, func(m *message) bool {
		return m.status() >= 200 && strings.HasSuffix(m.cseq(), " "+method)
	})
}

func (p *peer) request(method string) *message {
	p.t.Helper()
	return p.wait(method, func(m *message) bool { return m.method() == method })
}

// none makes sure that nothing like it comes before something else is over.
func (p *peer) none(within time.Duration, what string, match func(*message) bool) {
	p.t.Helper()
	for _, m := range p.seen {
		if match(m) {
			p.t.Fatalf("unwanted %s: %v", what, m)
		}
	}
	deadline := time.After(within)
	for {
		select {
		case m, ok := <-p.in:
			if !ok {
				return
			}
			if match(m) {
				p.t.Fatalf("unwanted %s: %v", what, m)
			}
			p.seen = append(p.seen, m)
		case <-deadline:
			return
		}
	}
}

var serial struct {
	sync.Mutex
	n int
}

func unique() string {
	serial.Lock()
	defer serial.Unlock()
	serial.n++
	return strconv.Itoa(serial.n) + "x" + newTag()[:6]
}

// dial is a call of the peer, by hand.
type dial struct {
	p              *peer
	to, from       string
	callID, tag    string
	remote, branch string
	target         string // Contact of the server
	seq            int
	route          string
}

func (p *peer) dial(to, from string) *dial {
	return &dial{p: p, to: to, from: from, callID: unique() + "@peer", tag: unique(), seq: 1,
		target: "sip:" + to + "@" + p.to.String()}
}

const g711 = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n" +
	"m=audio 30000 RTP/AVP 8 0 101\r\na=rtpmap:101 telephone-event/8000\r\n"

// compose writes a request of the dialog.
func (d *dial) compose(method string, seq int, body string, extra ...string) string {
	d.branch = "z9hG4bK" + unique()
	return d.composeBranch(method, seq, d.branch, body, extra...)
}

func (d *dial) composeBranch(method string, seq int, branch, body string, extra ...string) string {
	to := fmt.Sprintf("<sip:%s@%s>", d.to, d.p.to)
	if d.remote != "" {
		to += ";tag=" + d.remote
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s SIP/2.0\r\nVia: SIP/2.0/%s %s;branch=%s\r\n", method, d.target, d.p.transport(), d.p.addr(), branch)
	if d.route != "" {
		b.WriteString(d.route)
	}
	fmt.Fprintf(&b, "Max-Forwards: 70\r\nFrom: <sip:%s@%s>;tag=%s\r\nTo: %s\r\nCall-ID: %s\r\nCSeq: %d %s\r\nContact: <sip:%s@%s;transport=%s>\r\n",
		d.from, d.p.addr(), d.tag, to, d.callID, seq, method, d.from, d.p.addr(), strings.ToLower(d.p.transport()))
	for _, h := range extra {
		b.WriteString(h + "\r\n")
	}
	if body != "" {
		b.WriteString("Content-Type: application/sdp\r\n")
	}
	fmt.Fprintf(&b, "Content-Length: %d\r\n\r\n%s", len(body), body)
	return b.String()
}

func (d *dial) invite(extra ...string) {
	d.p.t.Helper()
	d.p.send(d.compose("INVITE", d.seq, g711, extra...))
}

// answered learns the dialog from a 2xx.
func (d *dial) answered(m *message) {
	d.remote = m.tag("To")
	c := m.get("Contact")
	d.target = c[strings.Index(c, "<")+1 : strings.Index(c, ">")]
}

func (d *dial) ack(body string) { d.p.t.Helper(); d.p.send(d.compose("ACK", d.seq, body)) }

func (d *dial) next(method, body string, extra ...string) {
	d.p.t.Helper()
	d.seq++
	d.p.send(d.compose(method, d.seq, body, extra...))
}

// cancel sends CANCEL with the INVITE's branch.
func (d *dial) cancel() {
	d.p.t.Helper()
	d.p.send(d.composeBranch("CANCEL", d.seq, d.branch, ""))
}

// reply answers a request that the peer got.
func (p *peer) reply(m *message, code int, tag, body string, extra ...string) {
	p.t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "SIP/2.0 %d Test\r\n", code)
	for _, v := range m.all("Via") {
		fmt.Fprintf(&b, "Via: %s\r\n", v)
	}
	to := m.get("To")
	if tag != "" && m.tag("To") == "" {
		to += ";tag=" + tag
	}
	fmt.Fprintf(&b, "From: %s\r\nTo: %s\r\nCall-ID: %s\r\nCSeq: %s\r\nContact: <sip:peer@%s;transport=%s>\r\n",
		m.get("From"), to, m.get("Call-ID"), m.cseq(), p.addr(), strings.ToLower(p.transport()))
	for _, h := range extra {
		b.WriteString(h + "\r\n")
	}
	if body != "" {
		b.WriteString("Content-Type: application/sdp\r\n")
	}
	fmt.Fprintf(&b, "Content-Length: %d\r\n\r\n%s", len(body), body)
	p.send(b.String())
}

// both runs a test over UDP and over TCP.
func both(t *testing.T, f func(t *testing.T, o *office, p *peer)) {
	t.Run("udp", func(t *testing.T) {
		t.Parallel() // both wait for timers
		o := newOffice(t, nil)
		f(t, o, newPeer(t, o.s.Addr()))
	})
	t.Run("tcp", func(t *testing.T) {
		t.Parallel()
		o := newOffice(t, nil)
		f(t, o, newTCPPeer(t, o.s.Addr()))
	})
}
