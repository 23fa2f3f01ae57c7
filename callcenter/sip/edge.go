package sip

import (
	"net/netip"
	"sync"
	"time"
)

// class is what a source is, decided from its address before anything is parsed.
type class uint8

const (
	unknown class = iota // anybody: a few methods, a few per second, else silence
	flow                 // a registered telephone or the peer of a live leg
	carrier              // an address of a trunk
)

// Limits are the guard of the open port; the zero value is the default.
type Limits struct {
	PerSecond     float64 // messages of an unknown address, 5 by default
	Burst         float64 // and at once, 20
	NetPerSecond  float64 // of its /24 (IPv6: /48), 50
	NetBurst      float64 // 200
	FlowPerSecond float64 // of a registered telephone, 100
	FlowBurst     float64 // 200
	Answers       float64 // 400s a second to the broken messages of one known address, 5
	Connections   int     // TCP connections in all, 10,000
	PerIP         int     // and of one address, 200
	Sources       int     // distinct UDP sources before sipgo's pool is renewed, 200,000 (T14)
}

func (l Limits) withDefaults() Limits {
	or := func(v *float64, d float64) {
		if *v == 0 {
			*v = d
		}
	}
	or(&l.PerSecond, 5)
	or(&l.Burst, 20)
	or(&l.NetPerSecond, 50)
	or(&l.NetBurst, 200)
	or(&l.FlowPerSecond, 100)
	or(&l.FlowBurst, 200)
	or(&l.Answers, 5)
	if l.Connections == 0 {
		l.Connections = 10000
	}
	if l.PerIP == 0 {
		l.PerIP = 200
	}
	if l.Sources == 0 {
		l.Sources = 200000
	}
	return l
}

// edge decides which bytes reach the parser. Both sockets use it.
type edge struct {
	trunks  []netip.Prefix
	limits  Limits
	metrics *metrics
	now     func() time.Time

	mu    sync.RWMutex
	flows map[netip.AddrPort]int // guarded by mu; registered flows and peers of live legs, counted
	calls map[string]int         // guarded by mu; Call-IDs of live legs: a NAT may move their peer

	ips, nets, peers, answers *buckets
}

func newEdge(trunks []netip.Prefix, l Limits, m *metrics, now func() time.Time) *edge {
	return &edge{
		trunks: trunks, limits: l, metrics: m, now: now,
		flows:   map[netip.AddrPort]int{},
		calls:   map[string]int{},
		ips:     newBuckets(l.PerSecond, l.Burst),
		nets:    newBuckets(l.NetPerSecond, l.NetBurst),
		peers:   newBuckets(l.FlowPerSecond, l.FlowBurst),
		answers: newBuckets(l.Answers, 4*l.Answers),
	}
}

// classify tells what a source is.
func (e *edge) classify(src netip.AddrPort) class {
	e.mu.RLock()
	n := e.flows[src]
	e.mu.RUnlock()
	if n > 0 {
		return flow
	}
	if e.isCarrier(src.Addr()) {
		return carrier
	}
	return unknown
}

func (e *edge) isCarrier(ip netip.Addr) bool {
	for _, p := range e.trunks {
		if p.Contains(ip) {
			return true
		}
	}
	return false
}

// know and forget count a source's reasons to be known.
func (e *edge) know(src netip.AddrPort) {
	e.mu.Lock()
	e.flows[src]++
	e.mu.Unlock()
}

func (e *edge) forget(src netip.AddrPort) {
	e.mu.Lock()
	if e.flows[src]--; e.flows[src] <= 0 {
		delete(e.flows, src)
	}
	e.mu.Unlock()
}

// join and quit count the legs of a Call-ID.
func (e *edge) join(callID string) {
	e.mu.Lock()
	e.calls[callID]++
	e.mu.Unlock()
}

func (e *edge) quit(callID string) {
	e.mu.Lock()
	if e.calls[callID]--; e.calls[callID] <= 0 {
		delete(e.calls, callID)
	}
	e.mu.Unlock()
}

// early is the decision before the bytes are even looked at: the token buckets.
// Telephones share addresses with others, so what is dropped is dropped silently
// and nobody is banned: one forged datagram must not cut a trunk off.
func (e *edge) early(src netip.AddrPort, c class) bool {
	now := e.now()
	switch ip := src.Addr(); c {
	case carrier:
		return true
	case flow:
		if e.isCarrier(ip) || e.peers.take(ip, now) {
			return true
		}
		e.metrics.dropped.WithLabelValues("flow_rate").Inc()
		return false
	default:
		if e.ips.take(ip, now) && e.nets.take(netOf(ip), now) {
			return true
		}
		e.metrics.dropped.WithLabelValues("rate").Inc()
		return false
	}
}

// allowed are the requests that an unknown source may send; answers to what we
// did not ask are dropped.
func (e *edge) allowed(c class, env envelope) bool {
	if c != unknown {
		return true
	}
	e.mu.RLock()
	live := e.calls[string(env.callID)] > 0
	e.mu.RUnlock()
	if live {
		return true
	}
	switch env.method {
	case "REGISTER", "OPTIONS", "INVITE", "ACK", "CANCEL":
		return true
	}
	return false
}

// filter is the read filter: it returns what the parser shall see, or nothing,
// and a stateless answer for a known peer whose message is broken.
func (e *edge) filter(s *scanner, src netip.AddrPort, c class, data []byte, datagram bool) (out, answer []byte) {
	out, env := s.scan(data, datagram)
	switch {
	case !e.allowed(c, env):
		e.metrics.dropped.WithLabelValues("unknown_source").Inc()
		return nil, nil
	case env.bad != 0:
		e.metrics.dropped.WithLabelValues("malformed").Inc()
		if c == unknown || !e.answers.take(src.Addr(), e.now()) {
			return nil, nil
		}
		return nil, statelessAnswer(env, "")
	}
	return out, nil
}

// failedLogin makes the next attempts of an address slower.
func (e *edge) failedLogin(ip netip.Addr) { e.ips.charge(ip, 3, e.now()) }

func netOf(ip netip.Addr) netip.Addr {
	bits := 24
	if ip.Is6() {
		bits = 48
	}
	p, err := ip.Prefix(bits)
	if err != nil {
		return ip
	}
	return p.Addr()
}

// buckets is a bounded table of token buckets. It keeps two generations: when the
// young one is full it becomes the old one, whose untouched entries then go.
type buckets struct {
	rate, burst float64

	mu         sync.Mutex
	young, old map[netip.Addr]bucket // guarded by mu
}

type bucket struct {
	tokens float64
	at     time.Time
}

const bucketsMax = 1 << 15

func newBuckets(rate, burst float64) *buckets {
	return &buckets{rate: rate, burst: burst, young: map[netip.Addr]bucket{}}
}

func (b *buckets) take(ip netip.Addr, now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	k := b.get(ip, now)
	ok := k.tokens >= 1
	if ok {
		k.tokens--
	}
	b.young[ip] = k
	return ok
}

// charge takes n more tokens, as a penalty.
func (b *buckets) charge(ip netip.Addr, n float64, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	k := b.get(ip, now)
	k.tokens = max(k.tokens-n, -b.burst)
	b.young[ip] = k
}

func (b *buckets) get(ip netip.Addr, now time.Time) bucket {
	k, ok := b.young[ip]
	if !ok {
		if k, ok = b.old[ip]; !ok {
			k = bucket{tokens: b.burst, at: now}
		}
		if len(b.young) >= bucketsMax {
			b.old, b.young = b.young, make(map[netip.Addr]bucket, bucketsMax/8)
		}
	}
	k.tokens = min(b.burst, k.tokens+now.Sub(k.at).Seconds()*b.rate)
	k.at = now
	return k
}
