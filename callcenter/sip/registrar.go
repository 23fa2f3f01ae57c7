package sip

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/emiago/sipgo/sip"
	"go.uber.org/zap"
)

// Binding is one place where an account can be reached.
type Binding struct {
	Account   string
	Contact   string // the telephone's own address, as it sent it
	Source    string // address and port that it was heard from: where calls go
	Transport string // "UDP" or "TCP"
	CallID    string
	CSeq      uint32
	Instance  string // +sip.instance, when it has one
	UserAgent string
	Expires   time.Time
}

// Bindings keeps registrations over a restart; the store is one.
type Bindings interface {
	SaveBinding(ctx context.Context, b Binding) error // by account and contact
	DeleteBinding(ctx context.Context, account, contact string) error
	LoadBindings(ctx context.Context) ([]Binding, error)
}

const (
	bindingsPerAccount = 2
	longestExpires     = time.Hour
	natExpires         = 2 * time.Minute // on UDP behind NAT, so that the hole stays open
	missesAllowed      = 2
)

// place is a binding with what is known of it now.
type place struct {
	Binding
	misses  int
	asked   time.Time
	pending bool
}

func (b Binding) flow() netip.AddrPort { return parseAddrPort(b.Source) }
func (b Binding) network() string      { return b.Transport }

// registrar keeps the bindings of all accounts.
type registrar struct {
	s *Server

	mu       sync.RWMutex
	accounts map[string][]*place    // guarded by mu
	flows    map[netip.AddrPort]int // guarded by mu
	watchers []func(string, bool)   // guarded by mu
	told     map[string]bool        // guarded by mu; what the watchers know
	dirty    map[string]bool        // guarded by mu
	wake     chan struct{}          // holds one: something is dirty
}

func newRegistrar(s *Server) *registrar {
	return &registrar{
		s: s, accounts: map[string][]*place{}, flows: map[netip.AddrPort]int{},
		told: map[string]bool{}, dirty: map[string]bool{}, wake: make(chan struct{}, 1),
	}
}

// load takes the registrations of before a restart. Streams did not survive it.
func (r *registrar) load(ctx context.Context) error {
	if r.s.o.Bindings == nil {
		return nil
	}
	saved, err := r.s.o.Bindings.LoadBindings(ctx)
	if err != nil {
		return fmt.Errorf("load sip bindings: %w", err)
	}
	now := r.s.now()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, b := range saved {
		if b.Transport == "UDP" && b.Expires.After(now) && b.flow().IsValid() {
			r.add(&place{Binding: b})
		}
	}
	return nil
}

// add and remove keep the index of flows; both need mu.
func (r *registrar) add(p *place) {
	r.accounts[p.Account] = append(r.accounts[p.Account], p)
	r.flows[p.flow()]++
	r.s.edge.know(p.flow())
	r.s.metrics.bindings.Inc()
	r.mark(p.Account)
}

func (r *registrar) remove(p *place) {
	places := r.accounts[p.Account]
	i := slices.Index(places, p)
	if i < 0 {
		return
	}
	if places = slices.Delete(places, i, i+1); len(places) == 0 {
		delete(r.accounts, p.Account)
	} else {
		r.accounts[p.Account] = places
	}
	f := p.flow()
	if r.flows[f]--; r.flows[f] <= 0 {
		delete(r.flows, f)
	}
	r.s.edge.forget(f)
	r.s.metrics.bindings.Dec()
	r.mark(p.Account)
}

func (r *registrar) mark(account string) {
	r.dirty[account] = true
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// isFlow tells whether a telephone registered from there.
func (r *registrar) isFlow(src netip.AddrPort) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.flows[src] > 0
}

// places are where an account can be rung now, the newest first. What did not
// answer lately comes only when there is nothing else.
func (r *registrar) places(account string) []Binding {
	r.mu.RLock()
	defer r.mu.RUnlock()
	var good, doubtful []Binding
	now := r.s.now()
	for _, p := range slices.Backward(r.accounts[account]) {
		switch {
		case !p.Expires.After(now):
		case p.misses >= missesAllowed:
			doubtful = append(doubtful, p.Binding)
		default:
			good = append(good, p.Binding)
		}
	}
	if len(good) > 0 {
		return good
	}
	return doubtful
}

func (r *registrar) reachable(account string, now time.Time) bool {
	for _, p := range r.accounts[account] {
		if p.Expires.After(now) && p.misses < missesAllowed {
			return true
		}
	}
	return false
}

// Registered implements leg.Phones.
func (s *Server) Registered(account string) bool {
	s.phones.mu.RLock()
	defer s.phones.mu.RUnlock()
	return s.phones.reachable(account, s.now())
}

// OnRegistration implements leg.Phones. f hears first of all accounts that are
// signed in already.
func (s *Server) OnRegistration(f func(account string, registered bool)) {
	r := s.phones
	r.mu.Lock()
	r.watchers = append(r.watchers, f)
	var now []string
	for account := range r.accounts {
		if r.told[account] {
			now = append(now, account)
		}
	}
	r.mu.Unlock()
	for _, account := range now {
		f(account, true)
	}
}

// tell lets the watchers know what has changed; accounts that changed twice are
// told once.
func (r *registrar) tell() {
	type change struct {
		account string
		is      bool
	}
	var changes []change
	now := r.s.now()
	r.mu.Lock()
	for account := range r.dirty {
		is := r.reachable(account, now)
		if is == r.told[account] {
			continue
		}
		if is {
			r.told[account] = true
		} else {
			delete(r.told, account)
		}
		changes = append(changes, change{account, is})
	}
	clear(r.dirty)
	watchers := slices.Clone(r.watchers)
	r.mu.Unlock()
	for _, c := range changes {
		r.s.log.Info("registration", zap.String("account", maskText(c.account, 64)), zap.Bool("registered", c.is))
		for _, f := range watchers {
			f(c.account, c.is)
		}
	}
}

// run tells of changes, expires bindings and asks telephones whether they are there.
func (r *registrar) run(ctx context.Context) {
	tick := time.NewTicker(max(r.s.o.QualifyPhone/30, 10*time.Millisecond))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.wake:
			r.tell()
		case <-tick.C:
			r.sweep(ctx)
		}
	}
}

const asksAtOnce = 64 // a step of the sweep, so that OPTIONS are spread

func (r *registrar) sweep(ctx context.Context) {
	now := r.s.now()
	var ask []*place
	r.mu.Lock()
	for _, places := range r.accounts {
		for _, p := range slices.Clone(places) {
			switch {
			case !p.Expires.After(now):
				r.remove(p)
				r.forget(p.Binding)
			case !p.pending && now.Sub(p.asked) >= r.s.o.QualifyPhone && len(ask) < asksAtOnce:
				p.pending, p.asked = true, now
				ask = append(ask, p)
			}
		}
	}
	r.mu.Unlock()
	for _, p := range ask {
		if !r.s.begin() {
			return
		}
		go func() {
			defer r.s.running.Done()
			r.qualify(ctx, p)
		}()
	}
}

// qualify asks one telephone by OPTIONS; two misses make it unreachable until it
// answers or registers again.
func (r *registrar) qualify(ctx context.Context, p *place) {
	var to sip.Uri
	answered := false
	if err := sip.ParseUri(p.Contact, &to); err == nil {
		answered = r.s.ask(ctx, to, p.flow(), p.network()) != nil
	}
	if ctx.Err() != nil {
		return
	}
	r.mu.Lock()
	p.pending = false
	if answered {
		p.misses = 0
	} else {
		p.misses++
	}
	r.mark(p.Account)
	r.mu.Unlock()
}

// flowClosed drops what was registered over a stream that has ended.
func (r *registrar) flowClosed(src netip.AddrPort) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.flows[src] == 0 {
		return
	}
	for _, places := range r.accounts {
		for _, p := range slices.Clone(places) {
			if p.Transport == "TCP" && p.flow() == src {
				r.remove(p)
				r.forget(p.Binding)
			}
		}
	}
}

// forget deletes the row of a binding that is gone, beside the caller.
func (r *registrar) forget(b Binding) {
	r.persist(func(ctx context.Context) error { return r.s.o.Bindings.DeleteBinding(ctx, b.Account, b.Contact) })
}

// persist writes to the store beside the caller. A registration counts without its
// row: the row only saves the telephone from registering again after a restart.
func (r *registrar) persist(write func(context.Context) error) {
	if r.s.o.Bindings == nil || !r.s.begin() {
		return
	}
	go func() {
		defer r.s.running.Done()
		ctx, cancel := context.WithTimeout(r.s.life, 5*time.Second)
		defer cancel()
		if err := write(ctx); err != nil && ctx.Err() == nil {
			r.s.log.Warn("save sip binding", zap.Error(err))
		}
	}()
}

// authenticate asks who sends a request and answers what is not proved. Unknown
// accounts hear what wrong passwords hear (spec 6.3).
func (s *Server) authenticate(req *sip.Request, tx sip.ServerTransaction) (string, bool) {
	ctx, cancel := context.WithTimeout(s.life, 3*time.Second)
	defer cancel()
	v := s.digest.verify(ctx, req)
	switch {
	case v.ok:
		s.metrics.logins.WithLabelValues("ok").Inc()
		s.digest.answered(parseAddrPort(req.Source()))
		return v.account, true
	case v.tried && !v.stale:
		s.metrics.logins.WithLabelValues("wrong").Inc()
		s.edge.failedLogin(parseAddrPort(req.Source()).Addr())
	case v.stale:
		s.metrics.logins.WithLabelValues("stale").Inc()
	}
	s.reply(req, tx, 401, "Unauthorized", s.digest.challenges(req, v.stale)...)
	return "", false
}

// onRegister is the registrar (RFC 3261 10.3).
func (s *Server) onRegister(req *sip.Request, tx sip.ServerTransaction) {
	if !s.check(req, tx) {
		return
	}
	contacts, r := registered(req)
	if r.status != 0 {
		s.reply(req, tx, r.status, r.reason, r.extra...)
		return
	}
	account, ok := s.authenticate(req, tx)
	if !ok {
		return
	}
	if unescape(req.To().Address.User) != account {
		s.reply(req, tx, 403, "Forbidden")
		return
	}
	if r := s.phones.register(account, req, contacts); r.status != 0 {
		s.reply(req, tx, r.status, r.reason, r.extra...)
		return
	}
	s.reply(req, tx, 200, "OK", s.phones.headers(account)...)
}

// wish is one Contact of a REGISTER.
type wish struct {
	contact  string
	all      bool // Contact: *
	expires  time.Duration
	instance string
}

// registered reads the Contacts of a REGISTER.
func registered(req *sip.Request) (wishes []wish, r refusal) {
	def := longestExpires
	if hs := req.GetHeaders("Expires"); len(hs) > 0 {
		if n, err := strconv.ParseUint(strings.TrimSpace(hs[0].Value()), 10, 32); err == nil {
			def = time.Duration(n) * time.Second
		}
	}
	for _, h := range req.GetHeaders("Contact") {
		c, ok := h.(*sip.ContactHeader)
		if !ok {
			return nil, refuse(400, "Malformed Contact")
		}
		if c.Address.Wildcard {
			if def != 0 || len(req.GetHeaders("Contact")) > 1 || len(req.GetHeaders("Expires")) == 0 {
				return nil, refuse(400, "Contact * Needs Expires 0")
			}
			return []wish{{all: true}}, r
		}
		if c.Address.Scheme != "sip" && c.Address.Scheme != "sips" {
			return nil, refuse(400, "Contact Is Not SIP")
		}
		w := wish{contact: c.Address.String(), expires: def}
		if safe(w.contact) != nil || len(w.contact) > 512 {
			return nil, refuse(400, "Malformed Contact")
		}
		for _, p := range c.Params {
			switch strings.ToLower(p.K) {
			case "expires":
				if n, err := strconv.ParseUint(p.V, 10, 32); err == nil {
					w.expires = time.Duration(n) * time.Second
				}
			case "+sip.instance":
				w.instance = p.V
			}
		}
		wishes = append(wishes, w)
	}
	if len(wishes) > bindingsPerAccount {
		return nil, refuse(400, "Too Many Contacts")
	}
	return wishes, r
}

// register changes the bindings of an account, all or nothing.
func (r *registrar) register(account string, req *sip.Request, wishes []wish) refusal {
	source, network := parseAddrPort(req.Source()), req.Transport()
	callID, cseq := req.CallID().Value(), req.CSeq().SeqNo
	agentName := ""
	if h := req.GetHeader("User-Agent"); h != nil {
		agentName = maskText(h.Value(), 80)
	}
	for i, w := range wishes {
		if w.all || w.expires == 0 {
			continue
		}
		if w.expires < r.s.o.MinExpires {
			return refuse(423, "Interval Too Brief", sip.NewHeader("Min-Expires", seconds(r.s.o.MinExpires)))
		}
		longest := longestExpires
		if network == "UDP" && behindNAT(w.contact, source) {
			longest = max(natExpires, r.s.o.MinExpires)
		}
		wishes[i].expires = min(w.expires, longest)
	}
	now := r.s.now()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range r.accounts[account] {
		if p.CallID == callID && cseq <= p.CSeq && len(wishes) > 0 {
			return refuse(500, "CSeq Out Of Order")
		}
	}
	for _, w := range wishes {
		if w.all {
			for _, p := range slices.Clone(r.accounts[account]) {
				r.remove(p)
				r.forget(p.Binding)
			}
			continue
		}
		b := Binding{
			Account: account, Contact: w.contact, Source: source.String(), Transport: network,
			CallID: callID, CSeq: cseq, Instance: w.instance, UserAgent: agentName, Expires: now.Add(w.expires).UTC(),
		}
		for _, p := range slices.Clone(r.accounts[account]) {
			if samePlace(p.Binding, b) {
				r.remove(p)
				if p.Contact != b.Contact || w.expires == 0 {
					r.forget(p.Binding)
				}
			}
		}
		if w.expires == 0 {
			continue
		}
		if old := r.accounts[account]; len(old) >= bindingsPerAccount {
			r.forget(old[0].Binding)
			r.remove(old[0])
		}
		r.add(&place{Binding: b, asked: now})
		r.persist(func(ctx context.Context) error { return r.s.o.Bindings.SaveBinding(ctx, b) })
	}
	return refusal{}
}

// samePlace tells whether a new registration replaces an old one: the same
// contact, the same flow, the same telephone, or the same run of it.
func samePlace(old, b Binding) bool {
	return old.Contact == b.Contact || old.Source == b.Source && old.Transport == b.Transport ||
		old.Instance != "" && old.Instance == b.Instance || old.CallID == b.CallID
}

// behindNAT tells whether a telephone sees another address of itself than we do.
func behindNAT(contact string, source netip.AddrPort) bool {
	var u sip.Uri
	if err := sip.ParseUri(contact, &u); err != nil {
		return true
	}
	ip, err := netip.ParseAddr(strings.Trim(u.Host, "[]"))
	port := u.Port
	if port == 0 {
		port = 5060
	}
	return err != nil || ip.Unmap() != source.Addr() || port != int(source.Port())
}

// headers list the bindings of an account for the answer.
func (r *registrar) headers(account string) []sip.Header {
	now := r.s.now()
	r.mu.RLock()
	defer r.mu.RUnlock()
	hs := []sip.Header{sip.NewHeader("Date", now.UTC().Format("Mon, 02 Jan 2006 15:04:05 GMT"))}
	for _, p := range r.accounts[account] {
		left := int(p.Expires.Sub(now).Round(time.Second) / time.Second)
		if left > 0 {
			hs = append(hs, header("Contact", fmt.Sprintf("<%s>;expires=%d", p.Contact, left)))
		}
	}
	return hs
}
