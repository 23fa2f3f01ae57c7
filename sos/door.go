package sos

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
)

// Limits bound what peers may use of the server; a zero field takes its default.
type Limits struct {
	Connections  int           // in all: 100,000
	Unidentified int           // that have not yet said who they are: 2,000
	PerIP        int           // 200; Networks says otherwise for its prefixes
	Networks     []Network     // carriers and private access points
	Login        time.Duration // from accept to the identity: 10 s
	Frame        time.Duration // from a frame's first byte to its last: 20 s
	Write        time.Duration // for one answer: 5 s
	Idle         time.Duration // without a frame: three heartbeats; the protocol's default
	Commit       time.Duration // for an incident to stand: 5 s, as long as a device waits
	Contest      time.Duration // two sessions of one identity live side by side: 30 s
	AcceptRate   float64       // connections a second: 500
	AcceptBurst  float64       // 1,000
	Rate         float64       // messages of one connection a second: 10
	Burst        float64       // 50
}

// Network is a prefix with its own bound, such as a carrier's NAT or a private APN.
type Network struct {
	Prefix   netip.Prefix
	PerIP    int
	Reserved bool // 30 % of the connections are kept for such prefixes
}

func (l Limits) withDefaults() Limits {
	number := func(v *int, d int) {
		if *v <= 0 {
			*v = d
		}
	}
	wait := func(v *time.Duration, d time.Duration) {
		if *v <= 0 {
			*v = d
		}
	}
	rate := func(v *float64, d float64) {
		if *v <= 0 {
			*v = d
		}
	}
	number(&l.Connections, 100_000)
	number(&l.Unidentified, 2000)
	number(&l.PerIP, 200)
	wait(&l.Login, 10*time.Second)
	wait(&l.Frame, 20*time.Second)
	wait(&l.Write, 5*time.Second)
	wait(&l.Idle, 10*time.Minute)
	wait(&l.Commit, 5*time.Second)
	wait(&l.Contest, 30*time.Second)
	rate(&l.AcceptRate, 500)
	rate(&l.AcceptBurst, 1000)
	rate(&l.Rate, 10)
	rate(&l.Burst, 50)
	return l
}

// DoorOptions make a Door. Protocol and Receiver are needed.
type DoorOptions struct {
	Protocol string
	Receiver Receiver
	Limits   Limits
	Log      *zap.Logger
	Metrics  prometheus.Registerer
	Now      func() time.Time
}

// Door lets the devices of one protocol in: it counts, bounds and ends their
// connections. What a connection says is the protocol's business.
type Door struct {
	protocol string
	receiver Receiver
	limits   Limits
	log      *zap.Logger
	metrics  *metrics
	now      func() time.Time
	workers  sync.WaitGroup // sessions and what they have in hand
	counters sync.Map       // of frames, by type

	mu           sync.Mutex
	open         map[*Conn]struct{}    // guarded by mu
	perIP        map[netip.Addr]int    // guarded by mu
	holders      map[string]*Conn      // who speaks for an identity; guarded by mu
	contests     map[*Conn]*time.Timer // newcomers whose claim is not settled; guarded by mu
	unidentified int                   // guarded by mu
	common       int                   // connections from no reserved prefix; guarded by mu
	tokens       float64               // of the accept rate; guarded by mu
	filled       time.Time             // guarded by mu
	reserved     bool                  // some prefix is reserved
}

// NewDoor makes a door.
func NewDoor(o DoorOptions) *Door {
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	d := &Door{protocol: o.Protocol, receiver: o.Receiver, limits: o.Limits.withDefaults(), log: o.Log, metrics: newMetrics(o.Metrics), now: o.Now,
		open: map[*Conn]struct{}{}, perIP: map[netip.Addr]int{}, holders: map[string]*Conn{}, contests: map[*Conn]*time.Timer{}}
	d.tokens, d.filled = d.limits.AcceptBurst, time.Now()
	for _, n := range d.limits.Networks {
		d.reserved = d.reserved || n.Reserved
	}
	return d
}

// Listen opens a port for devices. TCP keepalive is off: its probes drain watches,
// and the protocol's own heartbeat tells more.
func Listen(ctx context.Context, addr string) (net.Listener, error) {
	config := net.ListenConfig{KeepAlive: -1}
	l, err := config.Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listen for devices: %w", err)
	}
	return l, nil
}

// Serve accepts connections until ctx ends, and runs each in a goroutine of its own.
// On return all have ended, and every alarm they had handed over is settled.
func (d *Door) Serve(ctx context.Context, l net.Listener, session func(context.Context, *Conn)) error {
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	defer stop()
	defer d.workers.Wait()
	defer d.closeAll()
	for {
		raw, err := l.Accept()
		switch {
		case err == nil:
			d.welcome(ctx, raw, session)
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("accept %s: %w", d.protocol, err)
		default: // out of file descriptors: wait and go on
			d.metrics.refused.WithLabelValues(d.protocol, "system").Inc()
			d.log.Error("accept", zap.String("protocol", d.protocol), zap.Error(err))
			if !pause(ctx, 50*time.Millisecond) {
				return nil
			}
		}
	}
}

// pause waits, unless ctx ends first.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// welcome admits a connection or closes it.
func (d *Door) welcome(ctx context.Context, raw net.Conn, session func(context.Context, *Conn)) {
	c := newConn(d, raw)
	if reason := d.admit(c); reason != "" {
		d.metrics.refused.WithLabelValues(d.protocol, reason).Inc()
		_ = raw.Close()
		return
	}
	d.workers.Add(1)
	go c.run(ctx, session)
}

// admit takes a place for a connection, or says why there is none.
func (d *Door) admit(c *Conn) (refused string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	d.tokens = min(d.limits.AcceptBurst, d.tokens+now.Sub(d.filled).Seconds()*d.limits.AcceptRate)
	d.filled = now
	perIP := d.limits.PerIP
	for _, n := range d.limits.Networks {
		if n.Prefix.Contains(c.addr) {
			c.private = n.Reserved
			if n.PerIP > 0 {
				perIP = n.PerIP
			}
			break
		}
	}
	switch {
	case len(d.open) >= d.limits.Connections:
		return "full"
	case d.reserved && !c.private && d.common >= d.limits.Connections*7/10:
		return "full_public"
	case d.unidentified >= d.limits.Unidentified:
		return "unidentified"
	case d.perIP[c.addr] >= perIP:
		return "per_ip"
	case d.tokens < 1:
		return "rate"
	}
	d.tokens--
	d.open[c] = struct{}{}
	d.perIP[c.addr]++
	d.unidentified++
	if !c.private {
		d.common++
	}
	d.metrics.connections.WithLabelValues(d.protocol).Set(float64(len(d.open)))
	return ""
}

// release gives a connection's place back.
func (d *Door) release(c *Conn) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.open, c)
	if d.perIP[c.addr]--; d.perIP[c.addr] <= 0 {
		delete(d.perIP, c.addr)
	}
	if c.id == "" {
		d.unidentified--
	}
	if !c.private {
		d.common--
	}
	d.leave(c)
	d.metrics.connections.WithLabelValues(d.protocol).Set(float64(len(d.open)))
}

// leave gives up what a connection holds or claims; mu is held.
func (d *Door) leave(c *Conn) {
	if t := d.contests[c]; t != nil {
		t.Stop()
		delete(d.contests, c)
	}
	if d.holders[c.id] == c {
		delete(d.holders, c.id)
		for other := range d.contests { // the one that waited inherits
			if other.id == c.id {
				d.contests[other].Stop()
				delete(d.contests, other)
				d.holders[other.id] = other
				break
			}
		}
	}
}

func (d *Door) closeAll() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for c := range d.open {
		c.why("stop")
		_ = c.raw.Close()
	}
}

// Connections is how many are open.
func (d *Door) Connections() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.open)
}

// identify binds a connection to an identity. The newest wins at once when the one
// before it is silent for longer than a heartbeat, or comes from the same
// neighbourhood; otherwise both live on for a while, alarms are taken from either,
// and the one that still talks then stays.
func (d *Door) identify(c *Conn, id string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if c.id == id {
		return
	}
	if c.id == "" {
		d.unidentified--
	}
	d.leave(c)
	c.id = id
	old := d.holders[id]
	if old == nil {
		d.holders[id] = c
		return
	}
	if old.silent() > d.limits.Idle/3 || neighbours(old.addr, c.addr) {
		d.metrics.takeovers.WithLabelValues(d.protocol, "at_once").Inc()
		d.holders[id] = c
		old.why("takeover")
		_ = old.raw.Close()
		return
	}
	d.metrics.takeovers.WithLabelValues(d.protocol, "contested").Inc()
	d.log.Warn("two sessions of one device", zap.String("protocol", d.protocol), zap.Stringer("remote", c.addr), zap.Stringer("held_by", old.addr))
	claimed := time.Now()
	d.contests[c] = time.AfterFunc(d.limits.Contest, func() { d.settle(c, claimed) })
}

// settle ends a contest: who spoke last since the claim stays.
func (d *Door) settle(c *Conn, claimed time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, waiting := d.contests[c]; !waiting {
		return
	}
	delete(d.contests, c)
	loser := d.holders[c.id]
	switch {
	case loser == nil || loser == c:
		d.holders[c.id] = c
		return
	case loser.heard.Load() > max(c.heard.Load(), claimed.UnixNano()):
		loser = c
	default:
		d.holders[c.id] = c
	}
	d.metrics.takeovers.WithLabelValues(d.protocol, "settled").Inc()
	loser.why("takeover")
	_ = loser.raw.Close()
}

// neighbours reports whether two addresses share a /24, or a /64 of IPv6.
func neighbours(a, b netip.Addr) bool {
	bits := 24
	if a.Is6() {
		bits = 64
	}
	p, err := a.Prefix(bits)
	return err == nil && p.Contains(b)
}

func addrOf(c net.Conn) netip.Addr {
	if t, ok := c.RemoteAddr().(*net.TCPAddr); ok {
		return t.AddrPort().Addr().Unmap()
	}
	return netip.Addr{}
}
