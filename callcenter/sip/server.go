// Package sip is the telephone line: sockets, dialogs, session descriptions, the
// registrar of telephones and the trunks to carriers. sipgo gives transports,
// parser and transactions; everything above them is here. It fills leg.Leg,
// leg.Dialer and leg.Phones, and knows nothing of queues, operators or incidents.
//
// Each leg is one goroutine that owns all its state; requests, answers, timers and
// the call centre's wishes reach it as functions through one bounded inbox.
package sip

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/emiago/sipgo"
	"github.com/emiago/sipgo/sip"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"anling/callcenter/leg"
	"anling/callcenter/media"
)

// Options of a Server.
type Options struct {
	Listen        string // address and port of UDP and TCP: an explicit address (T19)
	Advertise     string // address or address:port written into messages; Listen by default
	Realm         string // of digest, "anling" by default
	Trunks        []Trunk
	Hotline       string   // E.164: shown as caller where a trunk names no number
	SOSNumbers    []string // called numbers that are SOS lines: never shed
	PhoneAreaCode string   // for local numbers

	RingTimeout  time.Duration // of an outbound call, 60 s by default
	MaxCall      time.Duration // of an ordinary leg, 4 h by default; an SOS leg has no limit
	MaxLegs      int           // ordinary legs at once, 4,000 by default; SOS legs may pass it
	T1           time.Duration // RFC 3261 17.1.1.1, 500 ms; every other timer follows it
	NoReply      time.Duration // without any answer to INVITE the next target is tried, 4 s
	QualifyPhone time.Duration // OPTIONS to telephones, 30 s
	QualifyTrunk time.Duration // OPTIONS to carriers, 15 s
	MinExpires   time.Duration // of a registration, 60 s
	MinSession   time.Duration // of a session timer, 90 s (RFC 4028 5)
	Limits       Limits

	Media    *media.Engine
	Accounts Accounts
	Bindings Bindings // nil keeps registrations in memory only
	// OnInvite takes an inbound leg. It must not block; it may answer, ring or hang
	// up at once or later.
	OnInvite func(leg.Leg)
	// Admit says whether a new ordinary call may come in; SOS calls are not asked
	// for. The refused caller hears 503 with Retry-After.
	Admit   func(leg.Info) bool
	Log     *zap.Logger
	Metrics prometheus.Registerer
	Now     func() time.Time
}

func (o Options) withDefaults() Options {
	duration := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	duration(&o.RingTimeout, time.Minute)
	duration(&o.MaxCall, 4*time.Hour)
	duration(&o.T1, 500*time.Millisecond)
	duration(&o.NoReply, 8*o.T1)
	duration(&o.QualifyPhone, 30*time.Second)
	duration(&o.QualifyTrunk, 15*time.Second)
	duration(&o.MinExpires, time.Minute)
	duration(&o.MinSession, 90*time.Second)
	if o.Realm == "" {
		o.Realm = "anling"
	}
	if o.MaxLegs == 0 {
		o.MaxLegs = 4000
	}
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	o.Limits = o.Limits.withDefaults()
	return o
}

var errClosed = errors.New("sip server is closed")

// Server is a SIP user agent on one address, UDP and TCP.
type Server struct {
	o         Options
	log       *zap.Logger
	metrics   *metrics
	listen    netip.AddrPort // bound
	advertise netip.AddrPort // written into messages
	sos       map[string]bool
	trunks    []*trunk

	edge   *edge
	udp    *socket
	tcp    *listener
	ua     *sipgo.UserAgent
	digest *digestServer
	phones *registrar

	life    context.Context // ends when the server closes
	end     context.CancelFunc
	running sync.WaitGroup // transactions and legs
	closing sync.RWMutex   // held while the last of them may begin
	closed  bool           // guarded by closing

	draining atomic.Bool
	ordinary atomic.Int64 // legs that count against MaxLegs

	mu    sync.RWMutex
	legs  map[string]*line   // guarded by mu; dialog key -> leg
	merge map[string]string  // guarded by mu; Call-ID, CSeq, From-tag -> branch of live INVITEs
	all   map[*line]struct{} // guarded by mu
}

var (
	_ leg.Dialer = (*Server)(nil)
	_ leg.Phones = (*Server)(nil)
	_ leg.Leg    = (*line)(nil)
)

// New binds both sockets and loads the saved registrations; Run serves them.
func New(o Options) (*Server, error) {
	o = o.withDefaults()
	s := &Server{
		o: o, log: o.Log.Named("sip"), metrics: newMetrics(o.Metrics),
		sos: map[string]bool{}, legs: map[string]*line{}, merge: map[string]string{}, all: map[*line]struct{}{},
	}
	s.life, s.end = context.WithCancel(context.Background())
	setGlobals(o.T1, s.log)
	var known []netip.Prefix
	for _, t := range o.Trunks {
		k, err := newTrunk(t, o.PhoneAreaCode)
		if err != nil {
			return nil, err
		}
		s.trunks = append(s.trunks, k)
		known = append(known, t.Peers...)
	}
	for _, n := range o.SOSNumbers {
		s.sos[n] = true
		if e164, ok := normalizeNumber(n, o.PhoneAreaCode); ok {
			s.sos[e164] = true
		}
	}
	s.edge = newEdge(known, o.Limits, s.metrics, o.Now)
	for _, t := range s.trunks {
		if at, ok := t.address(); ok {
			s.edge.know(at)
		}
	}
	s.digest = newDigestServer(o.Realm, o.Accounts, o.Now)
	s.phones = newRegistrar(s)
	if err := s.bind(); err != nil {
		return nil, err
	}
	if err := s.start(); err != nil {
		s.closeSockets()
		return nil, err
	}
	return s, nil
}

// bind opens UDP and TCP on the same port.
func (s *Server) bind() error {
	at, err := netip.ParseAddrPort(s.o.Listen)
	if err != nil {
		return fmt.Errorf("sip listen %q: want an explicit address and port: %w", s.o.Listen, err)
	}
	if at.Addr().IsUnspecified() {
		return fmt.Errorf("sip listen %q: an explicit address is needed, not a wildcard", s.o.Listen)
	}
	for try := 0; ; try++ {
		if s.udp, err = listenUDP(s.life, at, s.edge, s.log); err != nil {
			return err
		}
		bound := addrPort(s.udp.conn.LocalAddr())
		if s.tcp, err = listenTCP(s.life, bound, s.edge, s.log, s.phones.flowClosed); err == nil {
			s.listen = bound
			break
		}
		s.udp.close()
		if at.Port() != 0 || try == 20 {
			return err
		}
	}
	s.advertise = s.listen
	if s.o.Advertise == "" {
		return nil
	}
	if ap, err := netip.ParseAddrPort(s.o.Advertise); err == nil {
		s.advertise = ap
		return nil
	}
	ip, err := netip.ParseAddr(s.o.Advertise)
	if err != nil {
		s.closeSockets()
		return fmt.Errorf("sip advertise %q: want an address: %w", s.o.Advertise, err)
	}
	s.advertise = netip.AddrPortFrom(ip, s.listen.Port())
	return nil
}

// start joins sipgo to the sockets; nothing is read before Run.
func (s *Server) start() (err error) {
	s.ua, err = sipgo.NewUA(
		sipgo.WithUserAgent(agent),
		sipgo.WithUserAgentHostname(s.advertise.Addr().String()),
		sipgo.WithUserAgentTransportLayerOptions(sip.WithTransportLayerTransports(sip.TransportsConfig{
			TCP: &sip.TransportTCP{WriteTimeout: streamWrite, DialerCreate: s.dialer},
		})),
		sipgo.WithUserAgentTransactionLayerOptions(
			sip.WithTransactionLayerUnhandledResponseHandler(func(*sip.Response) {}),
			sip.WithTransactionLayerTerminateOnConnClose(),
		),
	)
	if err != nil {
		return fmt.Errorf("sip user agent: %w", err)
	}
	srv, err := sipgo.NewServer(s.ua)
	if err != nil {
		return fmt.Errorf("sip server: %w", err)
	}
	for method, h := range map[sip.RequestMethod]sipgo.RequestHandler{
		sip.INVITE: s.onInvite, sip.ACK: s.onAck, sip.CANCEL: s.onCancel, sip.OPTIONS: s.onOptions, sip.REGISTER: s.onRegister,
	} {
		srv.OnRequest(method, s.guard(h))
	}
	srv.OnNoRoute(s.guard(s.onOther))
	ctx, cancel := context.WithTimeout(s.life, 5*time.Second)
	defer cancel()
	if err := s.phones.load(ctx); err != nil {
		// Telephones register again within minutes; calls must not wait for that.
		s.log.Error("registrations of before the start", zap.Error(err))
	}
	return nil
}

// dialer opens streams to carriers only. sipgo would dial whatever a Via names
// when the connection of a request is gone; a telephone is reached by the flow
// that it opened, or not at all.
func (s *Server) dialer(local net.Addr) net.Dialer {
	return net.Dialer{Timeout: 4 * time.Second, LocalAddr: local, Control: func(_, address string, _ syscall.RawConn) error {
		to, err := netip.ParseAddrPort(address)
		if err != nil {
			return err
		}
		to = netip.AddrPortFrom(to.Addr().Unmap(), to.Port())
		for _, t := range s.trunks {
			if at, ok := t.address(); ok && at == to && t.network == "TCP" {
				return nil
			}
		}
		return fmt.Errorf("dial %s: not a carrier", to)
	}}
}

// Addr is the address of both sockets.
func (s *Server) Addr() netip.AddrPort { return s.listen }

// Run serves until ctx ends, then refuses new calls, hangs up what goes on, and
// closes. What it started has ended when it returns.
func (s *Server) Run(ctx context.Context) error {
	defer s.Close()
	failed := make(chan error, 2)
	var serving sync.WaitGroup
	serving.Go(func() {
		if err := s.udp.serve(s.ua.TransportLayer().ServeUDP); err != nil {
			failed <- err
		}
	})
	serving.Go(func() {
		if err := s.ua.TransportLayer().ServeTCP(s.tcp); !errors.Is(err, net.ErrClosed) {
			failed <- fmt.Errorf("serve sip on tcp: %w", err)
		}
	})
	watch, stop := context.WithCancel(ctx)
	serving.Go(func() { s.phones.run(watch) })
	for _, t := range s.trunks {
		if t.Target != "" {
			serving.Go(func() { s.watchTrunk(watch, t) })
		}
	}
	s.log.Info("sip listens", zap.Stringer("addr", s.listen))
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	s.drain()
	stop()
	s.Close()
	serving.Wait()
	return err
}

// drain hangs up every leg and gives the peers a moment to say so.
func (s *Server) drain() {
	s.draining.Store(true)
	s.mu.RLock()
	legs := make([]*line, 0, len(s.all))
	for l := range s.all {
		legs = append(legs, l)
	}
	s.mu.RUnlock()
	for _, l := range legs {
		l.Hangup(leg.Drained)
	}
	wait := time.NewTimer(4 * s.o.T1)
	defer wait.Stop()
	for _, l := range legs {
		select {
		case <-l.gone:
		case <-wait.C:
			return
		}
	}
}

// Close ends everything at once. Run calls it; who never runs a Server does.
func (s *Server) Close() {
	s.closing.Lock()
	already := s.closed
	s.closed = true
	s.closing.Unlock()
	if already {
		return
	}
	s.end()
	s.closeSockets()
	if s.ua != nil {
		s.ua.Close()
	}
	s.running.Wait()
}

func (s *Server) closeSockets() {
	if s.udp != nil {
		s.udp.close()
	}
	if s.tcp != nil {
		s.tcp.Close()
		s.tcp.closeAll()
	}
}

// begin counts a goroutine in; false when the server has closed.
func (s *Server) begin() bool {
	s.closing.RLock()
	defer s.closing.RUnlock()
	if s.closed {
		return false
	}
	s.running.Add(1)
	return true
}

// guard is around every handler: a panic in one must not end the process (T23).
func (s *Server) guard(h sipgo.RequestHandler) sipgo.RequestHandler {
	return func(req *sip.Request, tx sip.ServerTransaction) {
		if !s.begin() {
			return
		}
		defer s.running.Done()
		defer func() {
			if r := recover(); r != nil {
				s.metrics.faults.Inc()
				s.log.Error("sip handler", zap.String("method", string(req.Method)), zap.Any("panic", r), zap.Stack("stack"))
				if !req.IsAck() {
					_ = tx.Respond(s.response(req, 500, "Server Internal Error", ""))
				}
			}
		}()
		h(req, tx)
	}
}

func (s *Server) caught(where string) {
	if r := recover(); r != nil {
		s.metrics.faults.Inc()
		s.log.Error(where, zap.Any("panic", r), zap.Stack("stack"))
	}
}

// onOptions tells what we can do (RFC 3261 11.2).
func (s *Server) onOptions(req *sip.Request, tx sip.ServerTransaction) {
	if !s.check(req, tx) {
		return
	}
	if tagOf(req.To().Params) != "" {
		s.inDialog(req, tx)
		return
	}
	if s.draining.Load() {
		s.reply(req, tx, 503, "Service Unavailable", sip.NewHeader("Retry-After", "30"))
		return
	}
	s.reply(req, tx, 200, "OK", s.abilities()...)
}

func (s *Server) abilities() []sip.Header {
	return []sip.Header{
		allow(), sip.NewHeader("Accept", "application/sdp"), sip.NewHeader("Accept-Encoding", "identity"),
		sip.NewHeader("Accept-Language", "zh, en"), sip.NewHeader("Supported", strings.Join(extensions, ", ")),
	}
}

// onCancel gets only what sipgo could not match to an INVITE (T26).
func (s *Server) onCancel(req *sip.Request, tx sip.ServerTransaction) {
	if s.check(req, tx) {
		s.reply(req, tx, 481, "Call/Transaction Does Not Exist")
	}
}

// onAck hands the ACK of a 2xx to its leg; others acknowledge what is over (T26).
func (s *Server) onAck(req *sip.Request, _ sip.ServerTransaction) {
	if req.CallID() == nil || req.To() == nil || req.From() == nil || req.CSeq() == nil {
		return
	}
	if l := s.find(req); l != nil {
		l.post(func() { l.acked(req) })
	}
}

// onOther is every method without a door of its own: inside a dialog its leg
// decides, outside it is refused by name (T27).
func (s *Server) onOther(req *sip.Request, tx sip.ServerTransaction) {
	if !s.check(req, tx) {
		return
	}
	if tagOf(req.To().Params) != "" {
		s.inDialog(req, tx)
		return
	}
	switch req.Method {
	case sip.BYE, sip.PRACK:
		s.reply(req, tx, 481, "Call/Transaction Does Not Exist")
	case sip.SUBSCRIBE:
		s.reply(req, tx, 489, "Bad Event")
	case sip.MESSAGE:
		// An alarm by MESSAGE (SCAIP, RFC 8876) has no door here yet; the device must
		// hear that, or it would trust in it.
		if ct := req.ContentType(); ct != nil && len(req.Body()) > 0 && !strings.HasPrefix(strings.ToLower(ct.Value()), "text/plain") {
			s.reply(req, tx, 415, "Unsupported Media Type", sip.NewHeader("Accept", "application/sdp"))
			return
		}
		s.reply(req, tx, 405, "Method Not Allowed", allow())
	default:
		s.reply(req, tx, 405, "Method Not Allowed", allow())
	}
}

// find is the leg of a request from its peer.
func (s *Server) find(req *sip.Request) *line {
	key := dialogKey(req.CallID().Value(), tagOf(req.To().Params), tagOf(req.From().Params))
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.legs[key]
}

// inDialog hands a request with a To-tag to its leg and stays until it is answered
// (T1): when a handler returns, sipgo ends what has no final answer.
func (s *Server) inDialog(req *sip.Request, tx sip.ServerTransaction) {
	l := s.find(req)
	if l == nil {
		s.reply(req, tx, 481, "Call/Transaction Does Not Exist")
		return
	}
	done := make(chan struct{})
	if !l.post(func() { l.request(&inbound{req: req, tx: tx, done: done}) }) {
		s.reply(req, tx, 481, "Call/Transaction Does Not Exist")
		return
	}
	l.attend(tx, done)
}

// retryAfter spreads those that were sent away over 5 to 15 s.
func retryAfter() sip.Header {
	return sip.NewHeader("Retry-After", fmt.Sprint(5+rand.IntN(11)))
}

func errField(err error) zap.Field { return zap.Error(err) }
