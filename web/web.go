// Package web is what people and their programs see of the server: the HTTP API with
// its OpenAPI document, sessions and roles, the live channel, the shells of the pages
// and the health of the parts.
//
// It holds no rules of the domain: each handler checks who asks, calls one door of a
// domain package, and shows the answer as far as the reader may see it.
package web

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"anling/care"
	"anling/event"
)

// Options of a Server. Users, Incidents and Engine are needed; a domain service that
// is nil answers "unavailable".
type Options struct {
	Users      Users
	Incidents  Incidents
	Engine     Engine
	Registry   Registry
	CallCentre CallCentre
	Importer   Importer
	Signer     Signer
	Positions  func(ctx context.Context, who care.ResponderID, fix care.Fix) // told of a responder's position besides Engine.Move, may be nil
	OnUser     func(care.User)                                               // told of an account that was saved, may be nil

	// Online tells whether the user ("operator") or responder ("responder") has a page
	// open on any node; it answers at once. May be nil.
	Online func(kind, id string) bool

	Parts []Part                          // of the health, in the order of the footer
	Probe func(ctx context.Context) error // a real durable write, for /readyz

	Epoch      string        // of the store; the hub adds its own start
	Build      string        // version of the program, shown by the pages
	District   string        // its name, shown by the pages
	Hotline    string        // fallback number that the pages print
	Realm      string        // of SIP digests, for telephones of new users
	PublicURL  string        // accepted as Origin besides the own host
	TLS        *tls.Config   // nil serves plain HTTP
	SessionTTL time.Duration // without use, 12 h by default

	Log     *zap.Logger
	Metrics prometheus.Registerer
	Gather  prometheus.Gatherer // shown at /metrics; nil hides it
	Now     func() time.Time
}

// Server answers HTTP. It is safe for concurrent use.
type Server struct {
	opts    Options
	log     *zap.Logger
	now     func() time.Time
	api     huma.API
	handler http.Handler
	hub     *hub
	gate    *gate
	replays *replays
	assets  *assets
	names   *names
	ready   *readiness
	metrics *metrics
}

// New makes a server; Run keeps its live channel and Serve answers requests.
func New(o Options) (*Server, error) {
	if o.Users == nil || o.Incidents == nil || o.Engine == nil {
		return nil, errors.New("web: Users, Incidents and Engine are needed")
	}
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	if o.Metrics == nil {
		o.Metrics = prometheus.NewRegistry()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.SessionTTL <= 0 {
		o.SessionTTL = 12 * time.Hour
	}
	s := &Server{opts: o, log: o.Log, now: o.Now, metrics: newMetrics(o.Metrics), gate: newGate(o.Now), replays: newReplays(o.Now)}
	s.names = newNames(s)
	s.ready = &readiness{s: s}
	var err error
	if s.assets, err = loadAssets(dist); err != nil {
		return nil, err
	}
	s.hub = newHub(s)
	if s.handler, err = s.routes(); err != nil {
		return nil, err
	}
	return s, nil
}

// Handler is the whole server without its listener.
func (s *Server) Handler() http.Handler { return s.handler }

// Committed tells the live channel what was committed; it is the store's OnCommit
// hook and never blocks.
func (s *Server) Committed(events []event.Event) { s.hub.committed(events) }

// Emergency shows a message on every console at once, past the store: what could not
// be kept is rung through all the same.
func (s *Server) Emergency(body map[string]any) { s.hub.emergency(body) }

// Seat is somebody who has a page open.
type Seat struct {
	UserID      care.UserID
	ResponderID care.ResponderID // of a responder's account
	Role        care.Role
}

// Here lists who has a page open at this server.
func (s *Server) Here(ctx context.Context) []Seat { return s.hub.here(ctx) }

// online tells whether somebody has a page open on any node.
func (s *Server) online(kind, id string) bool { return s.opts.Online != nil && s.opts.Online(kind, id) }

// Run keeps the live channel until ctx ends.
func (s *Server) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.hub.run(ctx) })
	g.Go(func() error { return s.hub.poll(ctx) })
	return g.Wait()
}

const (
	headerTime = 5 * time.Second  // to send the head of a request
	readTime   = 15 * time.Second // to send the whole of it; import has its own
	writeTime  = 30 * time.Second // to take the answer; recordings and /ws have their own
	answerTime = 20 * time.Second // of an operation, below writeTime: its error still reaches the client
	idleTime   = 2 * time.Minute
	headerMax  = 16 << 10
	bodyMax    = 64 << 10
	drainTime  = 5 * time.Second
)

// Serve answers requests from l until ctx ends, then lets those in progress finish.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	if s.opts.TLS != nil {
		l = tls.NewListener(l, s.opts.TLS)
	}
	srv := &http.Server{Handler: s.handler, ReadHeaderTimeout: headerTime, ReadTimeout: readTime, WriteTimeout: writeTime, IdleTimeout: idleTime,
		MaxHeaderBytes: headerMax, ErrorLog: zap.NewStdLog(s.log.Named("http"))}
	failed := make(chan error, 1)
	go func() { failed <- srv.Serve(l) }()
	select {
	case err := <-failed:
		return fmt.Errorf("serve http: %w", err)
	case <-ctx.Done():
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTime)
	defer cancel()
	if err := srv.Shutdown(stop); err != nil {
		_ = srv.Close()
	}
	<-failed
	return nil
}

// publicHost is the host of PublicURL, or empty.
func (o Options) publicHost() string {
	u, err := url.Parse(o.PublicURL)
	if err != nil {
		return ""
	}
	return u.Host
}

// secure tells whether the browser reached the server by TLS: here, or at the proxy that
// serves PublicURL.
func (s *Server) secure(r *http.Request) bool {
	return r.TLS != nil || s.opts.TLS != nil || (strings.HasPrefix(s.opts.PublicURL, "https:") && r.Host == s.opts.publicHost())
}
