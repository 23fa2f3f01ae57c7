package sos

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"anling/care"
)

// pipes is a listener whose connections are pipes: they live in a bubble's time.
type pipes struct {
	conns chan net.Conn
	once  sync.Once
	done  chan struct{}
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn), done: make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { p.once.Do(func() { close(p.done) }); return nil }
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

// from is a pipe that seems to come from an address.
type from struct {
	net.Conn
	addr netip.Addr
}

func (f from) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(netip.AddrPortFrom(f.addr, 4000)) }

// dial connects from an address.
func (p *pipes) dial(ip string) net.Conn {
	ours, theirs := net.Pipe()
	p.conns <- from{theirs, netip.MustParseAddr(ip)}
	return ours
}

// ear is a Receiver that can be slow or refuse.
type ear struct {
	mu     sync.Mutex
	alarms []care.Alarm
	seen   []Sign
	block  chan struct{}
	fail   error
}

func (e *ear) Receive(ctx context.Context, a care.Alarm) (care.Opened, error) {
	e.mu.Lock()
	e.alarms = append(e.alarms, a)
	block, fail := e.block, e.fail
	e.mu.Unlock()
	if block != nil {
		select {
		case <-block:
		case <-ctx.Done():
			return care.Opened{}, ctx.Err()
		}
	}
	return care.Opened{}, fail
}

func (e *ear) Seen(s Sign) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.seen = append(e.seen, s)
}

func (e *ear) Keep(context.Context, RawFrame) error { return nil }

func (e *ear) all() []care.Alarm {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.alarms)
}

// parlour is a door with a protocol of lines: "id X" identifies, "sos K" is an alarm
// with the key K that is answered "ok K", anything else is answered at once.
type parlour struct {
	*Door
	ear   *ear
	pipes *pipes
	stop  func()
}

func newParlour(t *testing.T, limits Limits) *parlour {
	p := &parlour{ear: &ear{}, pipes: newPipes()}
	p.Door = NewDoor(DoorOptions{Protocol: "lines", Receiver: p.ear, Limits: limits, Metrics: prometheus.NewRegistry()})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- p.Serve(ctx, p.pipes, p.session) }()
	p.stop = func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	return p
}

func (p *parlour) session(ctx context.Context, c *Conn) {
	for {
		line, err := c.Frame(bufio.ScanLines, 4096)
		if err != nil {
			c.Close(err, "")
			return
		}
		c.Good("line")
		word, rest, _ := strings.Cut(string(line), " ")
		switch word {
		case "id":
			c.Identify(rest)
			c.Send([]byte("hello\n"))
		case "sos":
			c.Alarm(ctx, care.Alarm{ClaimedID: c.ID(), Kinds: []care.Kind{care.KindSOS}, SourceEventID: rest}, []byte("ok "+rest+"\n"))
		case "fall":
			c.Alarm(ctx, care.Alarm{ClaimedID: c.ID(), Kinds: []care.Kind{care.KindFall}, SourceEventID: rest}, []byte("ok "+rest+"\n"))
		default:
			c.Send([]byte("pong\n"))
		}
	}
}

// peer reads lines with a deadline.
type peer struct {
	net.Conn
	r *bufio.Reader
}

func (p *parlour) peer(ip string) *peer {
	c := p.pipes.dial(ip)
	return &peer{c, bufio.NewReader(c)}
}

func (p *peer) say(t *testing.T, s string) {
	t.Helper()
	if _, err := io.WriteString(p, s); err != nil {
		t.Fatalf("say %q: %v", s, err)
	}
}

func (p *peer) hear(t *testing.T, want string) {
	t.Helper()
	_ = p.SetReadDeadline(time.Now().Add(time.Minute))
	if got, err := p.r.ReadString('\n'); err != nil || got != want+"\n" {
		t.Fatalf("heard %q %v, want %q", got, err, want)
	}
}

// silent reports that nothing comes for a while.
func (p *peer) silent(t *testing.T, d time.Duration) {
	t.Helper()
	_ = p.SetReadDeadline(time.Now().Add(d))
	if b, err := p.r.ReadString('\n'); err == nil || errors.Is(err, io.EOF) {
		t.Fatalf("heard %q %v, want nothing", b, err)
	}
}

// lasts is how long the door keeps a connection that is read only.
func (p *peer) lasts(t *testing.T) time.Duration {
	t.Helper()
	start := time.Now()
	_ = p.SetReadDeadline(start.Add(time.Hour))
	if _, err := p.r.ReadByte(); !errors.Is(err, io.EOF) {
		t.Fatalf("not closed: %v", err)
	}
	return time.Since(start)
}

func TestNobodyIsWaitedForForever(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newParlour(t, Limits{Idle: 10 * time.Minute})
		defer p.stop()
		if got := p.peer("192.0.2.1").lasts(t); got != 10*time.Second {
			t.Errorf("who says nothing is kept for %v", got)
		}
		chatty := p.peer("192.0.2.1")
		chatty.say(t, "ping\n")
		chatty.hear(t, "pong")
		if got := chatty.lasts(t); got != 10*time.Second {
			t.Errorf("who never says its name is kept for %v", got)
		}
		idle := p.peer("192.0.2.1")
		idle.say(t, "id a\n")
		idle.hear(t, "hello")
		if got := idle.lasts(t); got != 10*time.Minute {
			t.Errorf("who is silent is kept for %v", got)
		}
		slow := p.peer("192.0.2.1")
		slow.say(t, "id a\n")
		slow.hear(t, "hello")
		start := time.Now()
		for {
			if _, err := slow.Write([]byte("x")); err != nil {
				break
			}
			time.Sleep(time.Second)
		}
		if got := time.Since(start); got < 19*time.Second || got > 21*time.Second {
			t.Errorf("a byte a second is suffered for %v", got)
		}
	})
}

func TestFrameHasABoundAndGivesItsBufferBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newParlour(t, Limits{})
		defer p.stop()
		c := p.peer("192.0.2.1")
		c.say(t, "id a\n")
		c.hear(t, "hello")
		c.say(t, strings.Repeat("x", 4000)+"\n")
		c.hear(t, "pong")
		synctest.Wait() // it reads again
		p.mu.Lock()
		size := len(p.holders["a"].buf)
		p.mu.Unlock()
		if size != smallBuffer {
			t.Errorf("the buffer stays at %d bytes", size)
		}
		go func() { _, _ = c.Write(bytes.Repeat([]byte("y"), 5000)) }()
		if got := c.lasts(t); got != 0 {
			t.Errorf("a frame without end is suffered for %v", got)
		}
	})
}

func TestFullHouse(t *testing.T) {
	refused := func(c *peer) bool {
		_ = c.SetReadDeadline(time.Now().Add(time.Millisecond))
		_, err := c.r.ReadByte()
		return errors.Is(err, io.EOF)
	}
	count := func(p *parlour, n int, ip func(i int) string) (in int) {
		for i := range n {
			if !refused(p.peer(ip(i))) {
				in++
			}
		}
		return in
	}
	one := func(int) string { return "192.0.2.1" }
	many := func(i int) string { return fmt.Sprintf("192.0.2.%d", i+1) }
	private := Network{Prefix: netip.MustParsePrefix("10.0.0.0/8"), PerIP: 9, Reserved: true}
	for name, c := range map[string]struct {
		limits Limits
		n      int
		ip     func(int) string
		want   int
	}{
		"in all": {Limits{Connections: 5}, 8, many, 5}, "of one address": {Limits{PerIP: 3}, 8, one, 3},
		"that have no name": {Limits{Unidentified: 4}, 8, many, 4}, "in a moment": {Limits{AcceptRate: 1, AcceptBurst: 6}, 8, many, 6},
		"while places are kept": {Limits{Connections: 10, Networks: []Network{private}}, 20, many, 7},
		"of a private network":  {Limits{Connections: 20, PerIP: 2, Networks: []Network{private}}, 20, func(int) string { return "10.1.2.3" }, 9},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newParlour(t, c.limits)
				defer p.stop()
				if got := count(p, c.n, c.ip); got != c.want {
					t.Errorf("%d of %d let in, want %d", got, c.n, c.want)
				}
			})
		})
	}
	t.Run("places are given back", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			p := newParlour(t, Limits{Connections: 3, PerIP: 2})
			defer p.stop()
			for range 50 {
				c := p.peer("192.0.2.1")
				c.say(t, "id a\n")
				c.hear(t, "hello")
				_ = c.Close()
				synctest.Wait()
			}
			if n := p.Connections(); n != 0 || len(p.perIP) != 0 || p.unidentified != 0 || p.common != 0 || len(p.holders) != 0 {
				t.Errorf("%d open, %v, %d without name, %d common, %d held", n, p.perIP, p.unidentified, p.common, len(p.holders))
			}
		})
	})
}

// The first promise: what is acknowledged stands. Nothing positive leaves before
// Receive returned, and never when it failed.
func TestAlarmIsAnsweredAfterItsCommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newParlour(t, Limits{})
		defer p.stop()
		c := p.peer("192.0.2.1")
		c.say(t, "id a\n")
		c.hear(t, "hello")
		p.ear.block = make(chan struct{})
		c.say(t, "sos 1\n")
		c.silent(t, 2*time.Second)
		c.say(t, "ping\n") // a heartbeat behind the alarm does not wait for the store
		c.hear(t, "pong")
		c.say(t, "sos 1\n") // sent again, while the first is in hand
		c.silent(t, time.Second)
		close(p.ear.block)
		c.hear(t, "ok 1")
		c.hear(t, "ok 1")

		p.ear.mu.Lock()
		p.ear.block, p.ear.fail = nil, errors.New("disk is full")
		p.ear.mu.Unlock()
		c.say(t, "sos 2\n")
		c.say(t, "ping\n")
		c.hear(t, "pong")
		c.silent(t, time.Minute)
		p.ear.mu.Lock()
		p.ear.fail = nil
		p.ear.mu.Unlock()
		c.say(t, "sos 2\n")
		c.hear(t, "ok 2")
	})
}

func TestCommitThatHangsIsGivenUpAndNotAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newParlour(t, Limits{})
		defer p.stop()
		c := p.peer("192.0.2.1")
		c.say(t, "id a\n")
		c.hear(t, "hello")
		p.ear.block = make(chan struct{})
		c.say(t, "sos 1\n")
		c.silent(t, 6*time.Second)
		p.ear.mu.Lock()
		p.ear.block = nil
		p.ear.mu.Unlock()
		c.say(t, "sos 1\n")
		c.hear(t, "ok 1")
	})
}

func TestAlarmOfAPeerThatLeftIsStillReceived(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newParlour(t, Limits{})
		c := p.peer("192.0.2.1")
		c.say(t, "id a\n")
		c.hear(t, "hello")
		p.ear.block = make(chan struct{})
		c.say(t, "sos 1\n")
		c.say(t, "fall 2\n")
		_ = c.Close()
		synctest.Wait()
		close(p.ear.block)
		p.stop() // waits for what is in hand
		if got := p.ear.all(); len(got) != 2 || got[1].Kinds[0] != care.KindFall {
			t.Errorf("received %+v", got)
		}
	})
}

// Beyond its rate a device's alarms are joined; none is dropped, and a fall among a
// thousand presses stays a fall.
func TestFloodOfOneDeviceIsJoinedNotDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newParlour(t, Limits{})
		c := p.peer("192.0.2.1")
		c.say(t, "id a\n")
		c.hear(t, "hello")
		p.ear.block = make(chan struct{})
		go func() { _, _ = io.Copy(io.Discard, c.r) }()
		for i := range 1000 {
			c.say(t, fmt.Sprintf("sos %d\n", i))
		}
		c.say(t, "fall 1000\n")
		synctest.Wait()
		p.mu.Lock()
		waiting := len(p.holders["a"].held)
		p.mu.Unlock()
		if waiting > maxQueue {
			t.Errorf("%d alarms wait", waiting)
		}
		close(p.ear.block)
		synctest.Wait()
		p.stop()
		kinds := map[care.Kind]bool{}
		for _, a := range p.ear.all() {
			for _, k := range a.Kinds {
				kinds[k] = true
			}
		}
		if n := len(p.ear.all()); n > 60 || n < 50 || !kinds[care.KindFall] || !kinds[care.KindSOS] {
			t.Errorf("%d alarms received, kinds %v", n, kinds)
		}
	})
}

func TestTwoSessionsOfOneDevice(t *testing.T) {
	login := func(t *testing.T, p *parlour, ip string) *peer {
		c := p.peer(ip)
		c.say(t, "id a\n")
		c.hear(t, "hello")
		return c
	}
	gone := func(c *peer) bool {
		_ = c.SetReadDeadline(time.Now().Add(time.Millisecond))
		_, err := c.r.ReadByte()
		return errors.Is(err, io.EOF)
	}
	alarmed := func(t *testing.T, c *peer, key string) {
		t.Helper()
		c.say(t, "sos "+key+"\n")
		c.hear(t, "ok "+key)
	}
	for name, f := range map[string]func(t *testing.T, p *parlour){
		"from the same neighbourhood the newest wins": func(t *testing.T, p *parlour) {
			old := login(t, p, "192.0.2.1")
			fresh := login(t, p, "192.0.2.99")
			if !gone(old) || gone(fresh) {
				t.Error("the old one stays")
			}
		},
		"the newest wins over one that is silent": func(t *testing.T, p *parlour) {
			old := login(t, p, "192.0.2.1")
			time.Sleep(5 * time.Minute)
			fresh := login(t, p, "198.51.100.1")
			if !gone(old) || gone(fresh) {
				t.Error("the old one stays")
			}
		},
		"a stranger does not silence the device": func(t *testing.T, p *parlour) {
			old := login(t, p, "192.0.2.1")
			thief := login(t, p, "198.51.100.1")
			alarmed(t, old, "1")
			alarmed(t, thief, "2")
			time.Sleep(20 * time.Second)
			alarmed(t, old, "3")
			time.Sleep(11 * time.Second)
			if gone(old) || !gone(thief) {
				t.Error("who spoke last does not stay")
			}
			alarmed(t, old, "4")
		},
		"a device that moved stays on its new line": func(t *testing.T, p *parlour) {
			old := login(t, p, "192.0.2.1")
			fresh := login(t, p, "198.51.100.1")
			alarmed(t, fresh, "1")
			time.Sleep(31 * time.Second)
			if !gone(old) || gone(fresh) {
				t.Error("the old one stays")
			}
		},
		"the newcomer inherits when the old one leaves": func(t *testing.T, p *parlour) {
			old := login(t, p, "192.0.2.1")
			fresh := login(t, p, "198.51.100.1")
			_ = old.Close()
			time.Sleep(time.Minute)
			alarmed(t, fresh, "1")
			p.mu.Lock()
			defer p.mu.Unlock()
			if len(p.contests) != 0 || p.holders["a"] == nil {
				t.Errorf("%d contests, holder %v", len(p.contests), p.holders["a"])
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newParlour(t, Limits{Idle: 10 * time.Minute})
				defer p.stop()
				f(t, p)
			})
		})
	}
}

func TestUnionKeepsSOSFirst(t *testing.T) {
	got := Union([]care.Kind{care.KindBattery, care.KindFall}, []care.Kind{care.KindSOS, care.KindFall})
	if !slices.Equal(got, []care.Kind{care.KindSOS, care.KindFall, care.KindBattery}) {
		t.Errorf("union %v", got)
	}
}
