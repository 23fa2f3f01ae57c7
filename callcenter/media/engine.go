// Package media owns the audio of a call: the RTP sockets and their ports, the
// relay of two parties, prompts and tones, DTMF, RTCP and quality. It is the one
// door to pion/rtp and pion/rtcp.
//
// It knows no SIP and no call: a Session is one party's audio, told by Configure
// where the party is, and what happens on it is said by Events. It never ends
// anything by itself. What is heard can be tapped; recording writes it to disk.
package media

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
)

// Options of an Engine. IP is required, the rest has defaults.
type Options struct {
	IP        netip.Addr // of the RTP sockets
	Advertise netip.Addr // written into SDP when it differs from IP
	PortMin   int        // 20000
	PortMax   int        // 29999

	Quarantine time.Duration // of a used port pair, 60 s
	NoRTP      time.Duration // Lost when nothing came since Start, 5 s
	Gap        time.Duration // Lost after so long without RTP, 2 s
	Silence    time.Duration // Silent after so long without sound, 10 s

	Log     *zap.Logger
	Metrics prometheus.Registerer
}

// Engine opens sessions and moves their clocks. It is safe for concurrent use.
type Engine struct {
	opts    Options
	log     *zap.Logger
	metrics *metrics
	ports   *ports
	epoch   time.Time // clocks of sessions count from here
	shards  []*shard
	turn    atomic.Uint32 // next shard

	joining sync.Mutex // held while parties are linked or unlinked

	mu       sync.Mutex
	sessions map[*Session]struct{} // guarded by mu
	stopped  bool                  // guarded by mu
}

// New checks the options and makes an Engine; Run must be running for anything
// but plain relay.
func New(o Options) (*Engine, error) {
	if !o.IP.IsValid() {
		return nil, errors.New("media: no IP for the RTP sockets")
	}
	o.IP = o.IP.Unmap()
	if !o.Advertise.IsValid() {
		o.Advertise = o.IP
	}
	o.Advertise = o.Advertise.Unmap()
	if o.Advertise.IsUnspecified() {
		return nil, fmt.Errorf("media: %s cannot be advertised in SDP", o.Advertise)
	}
	setDefault(&o.PortMin, 20000)
	setDefault(&o.PortMax, 29999)
	setDefault(&o.Quarantine, time.Minute)
	setDefault(&o.NoRTP, 5*time.Second)
	setDefault(&o.Gap, 2*time.Second)
	setDefault(&o.Silence, 10*time.Second)
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	pool, err := newPorts(o.PortMin, o.PortMax, o.Quarantine)
	if err != nil {
		return nil, fmt.Errorf("media: %w", err)
	}
	e := &Engine{opts: o, log: o.Log, ports: pool, epoch: time.Now(), sessions: map[*Session]struct{}{}}
	for range runtime.GOMAXPROCS(0) {
		e.shards = append(e.shards, newShard(e))
	}
	e.metrics = newMetrics(o.Metrics, e)
	return e, nil
}

func setDefault[T int | time.Duration](v *T, d T) {
	if *v == 0 {
		*v = d
	}
}

// Run moves prompts, tones, reports and timers in steps of 20 ms until ctx ends;
// then it closes every session.
func (e *Engine) Run(ctx context.Context) error {
	var wheels sync.WaitGroup
	for _, s := range e.shards {
		wheels.Go(func() { s.run(ctx) })
	}
	wheels.Wait()
	e.mu.Lock()
	e.stopped = true
	open := make([]*Session, 0, len(e.sessions))
	for s := range e.sessions {
		open = append(open, s)
	}
	e.mu.Unlock()
	for _, s := range open {
		s.Close()
	}
	return nil
}

// Open binds an even/odd pair of ports for one ordinary party. ErrNoPorts means
// that the pool, less the reserve for SOS, is used up.
func (e *Engine) Open() (*Session, error) { return e.open(false) }

// OpenSOS does the same for a party of an SOS call, which may take the reserve.
func (e *Engine) OpenSOS() (*Session, error) { return e.open(true) }

// bindTries is how many pairs are tried when other programs sit on ours.
const bindTries = 16

func (e *Engine) open(sos bool) (*Session, error) {
	var last error
	for range bindTries {
		port, err := e.ports.take(sos, time.Now())
		if err != nil {
			e.metrics.exhausted.Inc()
			return nil, err
		}
		rtp, rtcp, err := bindPair(e.opts.IP, port)
		if err != nil {
			e.ports.rest(port, time.Now())
			last = err
			continue
		}
		s := newSession(e, port, rtp, rtcp)
		if !e.adopt(s) {
			s.Close()
			return nil, errors.New("media: the engine has stopped")
		}
		return s, nil
	}
	e.metrics.exhausted.Inc()
	return nil, fmt.Errorf("bind RTP ports: %w", last)
}

// adopt lists the session and starts its readers, unless the engine has stopped.
func (e *Engine) adopt(s *Session) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.stopped {
		return false
	}
	e.sessions[s] = struct{}{}
	s.readers.Go(s.readRTP)
	s.readers.Go(s.readRTCP)
	s.shard.add(s)
	return true
}

func (e *Engine) forget(s *Session) {
	e.mu.Lock()
	delete(e.sessions, s)
	e.mu.Unlock()
	s.shard.remove(s)
}

// Free is how many more ordinary parties can be opened now.
func (e *Engine) Free() int { return e.ports.left(time.Now()) }

// Sessions is how many parties are open.
func (e *Engine) Sessions() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.sessions)
}

// now is the engine's clock in nanoseconds, monotonic.
func (e *Engine) now() int64 { return int64(time.Since(e.epoch)) }

// wall is the time of day of a clock reading.
func (e *Engine) wall(ns int64) time.Time { return e.epoch.Add(time.Duration(ns)) }
