package sip

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/emiago/sipgo/sip"
	"go.uber.org/zap"
)

// Forms of a number in an outbound request.
const (
	FormE164     = "e164"     // +8687163824111
	FormNational = "national" // 087163824111, 13800138000, local numbers without area code
)

// Trunk is a line to a carrier, known by its address. They are tried in the order
// in which they stand.
type Trunk struct {
	Name          string
	Peers         []netip.Prefix // whose calls are this carrier's
	Target        string         // host:port for outbound calls; empty: inbound only
	Transport     string         // "udp" (default) or "tcp"
	TrustIdentity bool           // believe P-Asserted-Identity (RFC 3325)
	CallerID      string         // E.164: the number that the carrier lets us show
	CallerIDs     []string       // others that it has assigned to us
	NumberForm    string         // FormE164 by default
	AreaCode      string         // for local numbers; PhoneAreaCode by default
	User          string         // for a carrier that asks for digest
	Password      string
}

// trunk is a Trunk with what is known of it now.
type trunk struct {
	Trunk
	network string // "UDP" or "TCP"

	mu      sync.Mutex
	dest    netip.AddrPort // guarded by mu; the resolved target
	down    time.Time      // guarded by mu; not tried first before
	misses  int            // guarded by mu; OPTIONS without an answer
	answers bool           // guarded by mu
}

func newTrunk(t Trunk, areaCode string) (*trunk, error) {
	if t.Name == "" {
		return nil, fmt.Errorf("trunk without a name")
	}
	k := &trunk{Trunk: t, network: strings.ToUpper(t.Transport)}
	if k.network == "" {
		k.network = "UDP"
	}
	if k.network != "UDP" && k.network != "TCP" {
		return nil, fmt.Errorf("trunk %s: transport %q: want udp or tcp", t.Name, t.Transport)
	}
	if k.AreaCode == "" {
		k.AreaCode = areaCode
	}
	if k.NumberForm == "" {
		k.NumberForm = FormE164
	}
	if k.NumberForm != FormE164 && k.NumberForm != FormNational {
		return nil, fmt.Errorf("trunk %s: number form %q: want %s or %s", t.Name, t.NumberForm, FormE164, FormNational)
	}
	for _, n := range append([]string{t.CallerID}, t.CallerIDs...) {
		if n != "" && !dialable(n) {
			return nil, fmt.Errorf("trunk %s: caller id %q is not a number", t.Name, n)
		}
	}
	if t.Target != "" {
		if _, _, err := net.SplitHostPort(t.Target); err != nil {
			return nil, fmt.Errorf("trunk %s: target %q: want host:port", t.Name, t.Target)
		}
		if ap, err := netip.ParseAddrPort(t.Target); err == nil {
			k.dest = ap
		}
	}
	return k, nil
}

// address is where the trunk's requests go now.
func (t *trunk) address() (netip.AddrPort, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.dest, t.dest.IsValid()
}

// resolve looks up a target that is a name. It runs beside the calls, never in
// one: a call uses the last answer.
func (t *trunk) resolve(ctx context.Context) error {
	host, port, err := net.SplitHostPort(t.Target)
	if err != nil {
		return err
	}
	p, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return fmt.Errorf("port %q: %w", port, err)
	}
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return err
	}
	if len(ips) == 0 {
		return fmt.Errorf("no address")
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, ip := range ips { // an address that stays is kept
		if t.dest == netip.AddrPortFrom(ip.Unmap(), uint16(p)) {
			return nil
		}
	}
	t.dest = netip.AddrPortFrom(ips[0].Unmap(), uint16(p))
	return nil
}

// rest puts a trunk at the end of the order for d: it failed, or asked for it.
func (t *trunk) rest(now time.Time, d time.Duration) {
	t.mu.Lock()
	if until := now.Add(d); until.After(t.down) {
		t.down = until
	}
	t.mu.Unlock()
}

func (t *trunk) resting(now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return now.Before(t.down) || t.misses >= 2
}

// heard records a call's or a question's success.
func (t *trunk) heard() {
	t.mu.Lock()
	t.misses, t.answers, t.down = 0, true, time.Time{}
	t.mu.Unlock()
}

func (t *trunk) missed() {
	t.mu.Lock()
	if t.misses++; t.misses >= 2 {
		t.answers = false
	}
	t.mu.Unlock()
}

func (t *trunk) up() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.answers
}

// mayShow tells whether the carrier has assigned the number to us.
func (t *trunk) mayShow(number string) bool {
	if number == t.CallerID {
		return true
	}
	for _, n := range t.CallerIDs {
		if n == number {
			return true
		}
	}
	return false
}

// trunkOf is the carrier that an address belongs to.
func (s *Server) trunkOf(ip netip.Addr) *trunk {
	for _, t := range s.trunks {
		for _, p := range t.Peers {
			if p.Contains(ip) {
				return t
			}
		}
	}
	return nil
}

// route is the order in which trunks are tried: as configured, those that rest at
// the end. None is left out: a trunk that seems dead beats no trunk.
func (s *Server) route() []*trunk {
	var first, last []*trunk
	now := s.now()
	for _, t := range s.trunks {
		if _, ok := t.address(); !ok {
			continue
		}
		if t.resting(now) {
			last = append(last, t)
		} else {
			first = append(first, t)
		}
	}
	return append(first, last...)
}

// watchTrunk asks a trunk by OPTIONS whether it is there.
func (s *Server) watchTrunk(ctx context.Context, t *trunk) {
	tick := time.NewTicker(s.o.QualifyTrunk)
	defer tick.Stop()
	for {
		s.askTrunk(ctx, t)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (s *Server) askTrunk(ctx context.Context, t *trunk) {
	if _, err := netip.ParseAddrPort(t.Target); err != nil {
		look, cancel := context.WithTimeout(ctx, 3*time.Second)
		before, had := t.address()
		err := t.resolve(look)
		cancel()
		if err != nil {
			s.log.Warn("resolve trunk", zap.String("trunk", t.Name), zap.Error(err))
		}
		if after, ok := t.address(); ok && after != before {
			s.edge.know(after)
			if had {
				s.edge.forget(before)
			}
		}
	}
	at, ok := t.address()
	if !ok {
		t.missed()
		s.metrics.trunkUp.WithLabelValues(t.Name).Set(0)
		return
	}
	was := t.up()
	// Any answer at all shows that the carrier is there.
	if res := s.ask(ctx, uri("", at), at, t.network); res != nil {
		t.heard()
	} else {
		t.missed()
	}
	if is := t.up(); is != was {
		s.log.Info("trunk", zap.String("trunk", t.Name), zap.Bool("up", is))
	}
	v := 0.0
	if t.up() {
		v = 1
	}
	s.metrics.trunkUp.WithLabelValues(t.Name).Set(v)
}

// ask sends OPTIONS and returns the final answer, nil when there is none.
func (s *Server) ask(ctx context.Context, to sip.Uri, at netip.AddrPort, network string) *sip.Response {
	d := dialog{
		callID: newTag() + newTag(), localTag: newTag(), localSeq: 1,
		localURI: uri("anling", s.advertise), remoteURI: to, target: to,
		network: network, dest: at, fixed: true,
	}
	req := s.request(&d, sip.OPTIONS)
	req.AppendHeader(sip.NewHeader("Accept", "application/sdp"))
	answer := make(chan *sip.Response, 1)
	s.transact(req, func(res *sip.Response, err error) {
		if err != nil || res.StatusCode >= 200 {
			select {
			case answer <- res:
			default:
			}
		}
	})
	wait := time.NewTimer(64 * s.o.T1)
	defer wait.Stop()
	select {
	case res := <-answer:
		return res
	case <-wait.C:
	case <-ctx.Done():
	}
	return nil
}
