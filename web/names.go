package web

import (
	"context"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"anling/care"
	"anling/event"
)

const (
	namesFresh = 30 * time.Second // names are read anew after it
	namesAgain = time.Second      // and for an unknown id not more often than this
)

// names puts display names to ids. It is a copy of two short lists, read again when
// it is old or does not know somebody.
type names struct {
	s *Server

	mu         sync.Mutex
	read       time.Time                   // guarded by mu
	users      map[care.UserID]string      // guarded by mu
	responders map[care.ResponderID]string // guarded by mu
}

func newNames(s *Server) *names { return &names{s: s} }

func (n *names) user(ctx context.Context, id care.UserID) string {
	if id == "" {
		return ""
	}
	return find(ctx, n, id, func() map[care.UserID]string { return n.users })
}

func (n *names) responder(ctx context.Context, id care.ResponderID) string {
	if id == "" {
		return ""
	}
	return find(ctx, n, id, func() map[care.ResponderID]string { return n.responders })
}

func find[K comparable](ctx context.Context, n *names, id K, from func() map[K]string) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	name, known := from()[id]
	age := n.s.now().Sub(n.read)
	if age > namesFresh || (!known && age > namesAgain) {
		n.load(ctx)
		name = from()[id]
	}
	return name
}

// load reads both lists. Its caller holds mu: the lists are short and local, and two
// readers at once would do the work twice.
func (n *names) load(ctx context.Context) {
	n.read = n.s.now()
	users, err := n.s.opts.Users.Users(ctx)
	if err != nil {
		n.s.log.Warn("names of users", zap.Error(err))
		return
	}
	n.users = map[care.UserID]string{}
	for _, u := range users {
		n.users[u.ID] = u.DisplayName
	}
	if n.s.opts.Registry == nil {
		return
	}
	responders, err := n.s.opts.Registry.Responders(ctx)
	if err != nil {
		n.s.log.Warn("names of responders", zap.Error(err))
		return
	}
	n.responders = map[care.ResponderID]string{}
	for _, r := range responders {
		n.responders[r.ID] = r.Name
	}
}

// forget makes the next question read anew.
func (n *names) forget() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.read = time.Time{}
}

// actor is the reader's name for who did something.
func (n *names) actor(ctx context.Context, actor string) string {
	kind, id, _ := strings.Cut(actor, ":")
	switch kind {
	case "operator", "supervisor", "admin":
		return n.user(ctx, care.UserID(id))
	case "responder":
		return n.responder(ctx, care.ResponderID(id))
	case "device":
		if d := n.s.deviceBrief(ctx, care.DeviceID(id)); d != nil {
			return strings.TrimSpace(d.Kind + " " + d.ExternalIDMasked)
		}
		return id
	case "provider":
		if n.s.opts.Registry != nil {
			if p, err := n.s.opts.Registry.Provider(ctx, care.ProviderID(id)); err == nil {
				return p.Name
			}
		}
	}
	if id != "" {
		return id // a rule's name
	}
	return kind
}

// moment is a line of the timeline for a reader.
func (s *Server) moment(ctx context.Context, u reader, e event.Event) Moment {
	return Moment{ID: e.ID, At: e.At, Type: string(e.Type), Agg: e.Agg, AggID: e.AggID, Actor: e.Actor, ActorName: s.names.actor(ctx, e.Actor), Body: filterBody(e, u.groups())}
}
