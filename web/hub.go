package web

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"go.uber.org/zap"

	"anling/care"
	"anling/dispatch"
	"anling/dispatch/assign"
	"anling/event"
)

const (
	inboxSize   = 4096             // commits that wait for the hub; beyond it every client takes a snapshot
	choresSize  = 256              // what is to be done to clients and waits for the hub; beyond it every client comes back
	ringSize    = 10000            // facts kept for those who come back
	ringAge     = 10 * time.Minute // and how long
	beatEvery   = 10 * time.Second
	pollEvery   = 5 * time.Second
	pollAgain   = 300 * time.Millisecond // a change that the hub has not heard of is looked at again after it
	alarmsKept  = 100                    // emergencies told again to who connects later
	askTime     = 5 * time.Second        // for the hub to take a question
	watchLimit  = 1000                   // open incidents looked at by the poll
	changedKind = "dispatch.incident.changed"
)

// Codes with which the server closes a live channel.
const (
	closeNoSession = 4001
	closeRights    = 4003
	closeSlow      = 4008
	closeAway      = 1001
)

// fact is an event with the hub's own number. It is filtered for each reader when it
// is sent.
type fact struct {
	seq   int64
	taken time.Time
	event event.Event
	about about
}

// hub is the live channel: it numbers facts as they are committed, keeps the last of
// them for those who come back, and puts each into the queue of who may hear it. One
// goroutine owns everything but the fields marked otherwise.
type hub struct {
	s      *Server
	epoch  atomic.Pointer[string] // of the numbers; changes when some were lost
	inbox  chan batch             // facts in commit order
	asked  chan func()            // questions to the owner
	chores chan func()            // what the owner does while nobody waits for it
	lost   atomic.Bool            // the inbox was full, or the chores
	alive  chan struct{}          // closed when run ends
	room   int                    // for clients

	seq     int64
	ring    []fact // oldest first
	clients map[*client]struct{}
	heard   map[care.IncidentID]int64                                  // version of each open incident as told
	working map[care.IncidentID]map[care.AssignmentID]care.ResponderID // who is on the way for which incident

	mu     sync.Mutex
	alarms []emergency // guarded by mu: the last of them
}

type batch struct {
	events []event.Event
	at     time.Time
}

type emergency struct {
	at   time.Time
	body map[string]any
}

func newHub(s *Server) *hub {
	h := &hub{s: s, inbox: make(chan batch, inboxSize), asked: make(chan func()), chores: make(chan func(), choresSize), alive: make(chan struct{}), room: clientsMax, clients: map[*client]struct{}{},
		heard: map[care.IncidentID]int64{}, working: map[care.IncidentID]map[care.AssignmentID]care.ResponderID{}}
	h.newEpoch()
	return h
}

// newEpoch makes every number told so far void.
func (h *hub) newEpoch() {
	e := fmt.Sprintf("%s-%s", h.s.opts.Epoch, uuid.NewString()[:8])
	h.epoch.Store(&e)
}

// committed takes the facts of a commit; it runs between two commits and never waits.
func (h *hub) committed(events []event.Event) {
	select {
	case h.inbox <- batch{events, time.Now()}:
	default:
		h.lost.Store(true)
	}
}

// run owns the hub until ctx ends.
func (h *hub) run(ctx context.Context) error {
	defer close(h.alive)
	h.recall(ctx)
	beat := time.NewTicker(beatEvery)
	defer beat.Stop()
	for {
		select {
		case <-ctx.Done():
			for c := range h.clients {
				c.end(closeAway)
			}
			return nil
		case b := <-h.inbox:
			h.take(b)
		case f := <-h.asked:
			// What was committed before the question is answered for first.
			for drained := false; !drained; {
				select {
				case b := <-h.inbox:
					h.take(b)
				default:
					drained = true
				}
			}
			f()
		case f := <-h.chores:
			f()
		case <-beat.C:
			h.beat()
		}
		if h.lost.Swap(false) {
			h.restart()
		}
	}
}

// restart sends every client back for a snapshot: facts or chores were lost on the
// way here. Who comes back is looked at anew, and told of the last emergencies.
func (h *hub) restart() {
	h.s.log.Warn("the live channel fell behind; every page reads anew")
	h.newEpoch()
	h.ring = nil
	for c := range h.clients {
		h.drop(c, closeSlow)
	}
}

// recall finds who is on the way, so that his facts reach him after a restart.
func (h *hub) recall(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	for _, x := range h.s.opts.Engine.Snapshot() {
		if x.Assignment == "" {
			continue
		}
		if a, err := h.s.opts.Engine.Assignment(ctx, x.Assignment); err == nil && a.IncidentID != "" {
			h.sent(a.IncidentID, a.ID, x.ID)
		}
	}
	open, err := h.s.opts.Incidents.OpenVersions(ctx, watchLimit)
	if err != nil {
		h.s.log.Warn("open incidents for the live channel", zap.Error(err))
	}
	for id, version := range open {
		h.heard[id] = max(h.heard[id], version)
	}
}

func (h *hub) sent(i care.IncidentID, a care.AssignmentID, r care.ResponderID) {
	if h.working[i] == nil {
		h.working[i] = map[care.AssignmentID]care.ResponderID{}
	}
	h.working[i][a] = r
}

// take numbers the facts of a commit and passes them on.
func (h *hub) take(b batch) {
	for _, e := range b.events {
		h.tell(e, b.at)
	}
	h.s.metrics.lag.Observe(time.Since(b.at).Seconds())
}

func (h *hub) tell(e event.Event, at time.Time) {
	h.seq++
	f := fact{seq: h.seq, taken: at, event: e, about: h.concerns(e)}
	if e.Agg == "incident" {
		h.heard[care.IncidentID(e.AggID)] = max(h.heard[care.IncidentID(e.AggID)], e.Seq)
		if e.Type == dispatch.ClosedEvent || e.Type == dispatch.MergedEvent {
			delete(h.heard, care.IncidentID(e.AggID))
			delete(h.working, care.IncidentID(e.AggID))
		}
	}
	h.keep(f)
	told := map[string][]byte{} // one encoding for all who see the same
	for c := range h.clients {
		if text := f.forReader(c.who, told); text != nil && !c.put(text) {
			h.drop(c, closeSlow)
		}
	}
}

// keep puts a fact into the ring and lets go of the oldest.
func (h *hub) keep(f fact) {
	h.ring = append(h.ring, f)
	old := 0
	for old < len(h.ring) && (len(h.ring)-old > ringSize || f.taken.Sub(h.ring[old].taken) > ringAge) {
		old++
	}
	if old > 0 {
		h.ring = h.ring[old:]
	}
}

// concerns finds out which responders and which provider a fact is about.
func (h *hub) concerns(e event.Event) about {
	a := about{provider: care.ProviderID(e.ProviderID)}
	var body struct {
		ResponderID care.ResponderID `json:"responder_id"`
	}
	switch e.Agg {
	case "offer", "assignment":
		if json.Unmarshal(e.Body, &body) == nil && body.ResponderID != "" {
			a.responders = append(a.responders, body.ResponderID)
		}
	case "responder":
		a.responders = append(a.responders, care.ResponderID(e.AggID))
	case "incident":
		for _, r := range h.working[care.IncidentID(e.AggID)] {
			a.responders = append(a.responders, r)
		}
	}
	if e.Agg == "assignment" && e.IncidentID != "" {
		switch e.Type {
		case assign.AcceptedEvent:
			h.sent(care.IncidentID(e.IncidentID), care.AssignmentID(e.AggID), body.ResponderID)
		case assign.DoneEvent, assign.CancelledEvent, assign.ReassignedEvent:
			delete(h.working[care.IncidentID(e.IncidentID)], care.AssignmentID(e.AggID))
		}
	}
	return a
}

// message is what goes to a page; the shape is that of web/src/shared/live.ts.
type message struct {
	Type       string         `json:"type"`
	Epoch      string         `json:"epoch,omitempty"`
	Seq        int64          `json:"seq"`
	Build      string         `json:"build,omitempty"`
	ServerTime *time.Time     `json:"server_time,omitempty"`
	User       *Me            `json:"user,omitempty"`
	Views      map[string]any `json:"views,omitempty"`
	At         *time.Time     `json:"at,omitempty"`
	Kind       string         `json:"kind,omitempty"`
	Agg        string         `json:"agg,omitempty"`
	AggID      string         `json:"agg_id,omitempty"`
	IncidentID string         `json:"incident_id,omitempty"`
	Body       map[string]any `json:"body,omitempty"`
	Code       string         `json:"code,omitempty"`
	Message    string         `json:"message,omitempty"`
}

func (m message) encode() []byte {
	b, err := json.Marshal(m)
	if err != nil {
		panic(fmt.Sprintf("web: live message %s: %v", m.Type, err)) // only a mistake in the program
	}
	return b
}

// forReader is the fact as a reader may hear it, nil when he may not. told keeps the
// encodings of one fact: all of a role that hear it hear the same.
func (f fact) forReader(u reader, told map[string][]byte) []byte {
	if !hears(u, f.event, f.about) {
		return nil
	}
	if text, ok := told[string(u.Role)]; ok {
		return text
	}
	e := f.event
	m := message{Type: "ev", Seq: f.seq, At: &e.At, Kind: string(e.Type), Agg: e.Agg, AggID: e.AggID, IncidentID: e.IncidentID, Body: filterBody(e, u.groups())}
	if e.Agg == "elder" && u.masked() && u.Role != care.RoleSupervisor {
		m.AggID = ""
	}
	text := m.encode()
	told[string(u.Role)] = text
	return text
}

// beat tells every client how far the numbers are. It goes through the queue, so it
// never overtakes a fact.
func (h *hub) beat() {
	now := h.s.now().UTC()
	text := message{Type: "hb", Seq: h.seq, ServerTime: &now}.encode()
	for c := range h.clients {
		if !c.put(text) {
			h.drop(c, closeSlow)
		}
	}
	h.s.metrics.sent.WithLabelValues("hb").Add(float64(len(h.clients)))
}

func (h *hub) drop(c *client, code int) {
	if _, known := h.clients[c]; !known {
		return
	}
	delete(h.clients, c)
	h.s.metrics.clients.WithLabelValues(string(c.who.Role)).Dec()
	c.end(code)
}

// ask runs f in the hub's goroutine; false when the hub does not run.
func (h *hub) ask(ctx context.Context, f func()) bool {
	done := make(chan struct{})
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	select {
	case h.asked <- func() { f(); close(done) }:
		<-done
		return true
	case <-ctx.Done():
	case <-h.alive:
	}
	return false
}

// here counts who has a page open at this server.
func (h *hub) here(ctx context.Context) []Seat {
	var seats []Seat
	h.ask(ctx, func() {
		known := map[care.UserID]bool{}
		for c := range h.clients {
			if !known[c.who.ID] {
				known[c.who.ID] = true
				seats = append(seats, Seat{UserID: c.who.ID, ResponderID: c.who.ResponderID, Role: c.who.Role})
			}
		}
	})
	return seats
}

// join adds a client, when there is room for it. When it can go on from where it was,
// back holds the facts between; otherwise it needs a snapshot of the state at or after
// seq.
func (h *hub) join(ctx context.Context, c *client, epoch string, since int64) (now string, seq int64, back [][]byte, resumed, ok bool) {
	free := false
	ok = h.ask(ctx, func() {
		if free = len(h.clients) < h.room; !free {
			return
		}
		now, seq = *h.epoch.Load(), h.seq
		h.clients[c] = struct{}{}
		h.s.metrics.clients.WithLabelValues(string(c.who.Role)).Inc()
		oldest := h.seq + 1
		if len(h.ring) > 0 {
			oldest = h.ring[0].seq
		}
		if epoch != now || since > h.seq || since < oldest-1 {
			return
		}
		resumed = true
		for _, f := range h.ring {
			if f.seq <= since {
				continue
			}
			if text := f.forReader(c.who, map[string][]byte{}); text != nil {
				back = append(back, text)
			}
		}
	})
	return now, seq, back, resumed, ok && free
}

// leave takes a client out.
func (h *hub) leave(c *client) {
	h.ask(context.Background(), func() { h.drop(c, closeAway) })
}

// later has f run in the hub's goroutine, and never waits for it.
func (h *hub) later(f func()) {
	select {
	case h.chores <- f:
	default:
		h.lost.Store(true)
	}
}

// each ends the clients that match, without waiting for the hub.
func (h *hub) each(match func(reader) bool, code int) {
	h.later(func() {
		for c := range h.clients {
			if match(c.who) {
				h.drop(c, code)
			}
		}
	})
}

func (h *hub) rightsChanged(id care.UserID) {
	h.each(func(u reader) bool { return u.ID == id }, closeRights)
}

func (h *hub) endSession(hash string) {
	h.each(func(u reader) bool { return u.session == hash }, closeNoSession)
}

// emergency shows a message on every console at once. It is not numbered, for it is
// in no store; who connects within ten minutes is told too, and pages know it by id.
func (h *hub) emergency(body map[string]any) {
	if body == nil {
		body = map[string]any{}
	}
	if _, named := body["id"]; !named {
		body["id"] = uuid.NewString()
	}
	now := h.s.now()
	h.mu.Lock()
	h.alarms = append(h.alarms, emergency{now, body})
	if len(h.alarms) > alarmsKept {
		h.alarms = h.alarms[1:]
	}
	h.mu.Unlock()
	text := message{Type: "emergency", Body: body, At: &now}.encode()
	h.later(func() {
		for c := range h.clients {
			if hearsEmergency(c.who) && !c.put(text) {
				h.drop(c, closeSlow)
			}
		}
	})
}

func hearsEmergency(u reader) bool {
	return u.Role == care.RoleOperator || u.Role == care.RoleSupervisor
}

// recent are the emergencies of the last minutes, encoded.
func (h *hub) recent() [][]byte {
	h.mu.Lock()
	defer h.mu.Unlock()
	var all [][]byte
	for _, e := range h.alarms {
		if h.s.now().Sub(e.at) < ringAge {
			all = append(all, message{Type: "emergency", Body: e.body, At: &e.at}.encode())
		}
	}
	return all
}

// poll looks at the open incidents every few seconds, past all events: what another
// node changed, or what was lost on the way, reaches the pages all the same.
func (h *hub) poll(ctx context.Context) error {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if err := h.compare(ctx); err != nil && ctx.Err() == nil {
			h.s.log.Warn("poll of open incidents", zap.Error(err))
		}
	}
}

// compare tells of incidents whose version is not the one that was told. A difference
// is looked at twice, since a commit may be on its way here.
func (h *hub) compare(ctx context.Context) error {
	first, err := h.unheard(ctx)
	if err != nil || len(first) == 0 {
		return err
	}
	select {
	case <-ctx.Done():
		return nil
	case <-time.After(pollAgain):
	}
	second, err := h.unheard(ctx)
	if err != nil {
		return err
	}
	h.ask(ctx, func() {
		for id, version := range second {
			if _, twice := first[id]; twice {
				h.tell(event.Event{ID: uuid.Must(uuid.NewV7()).String(), Type: changedKind, V: 1, Agg: "incident", AggID: string(id), Seq: version,
					IncidentID: string(id), At: h.s.now().UTC(), Actor: "system"}, time.Now())
				if version == gone {
					delete(h.heard, id)
				}
			}
		}
	})
	return nil
}

// gone is the version of an incident that is no longer open.
const gone = -1

func (h *hub) unheard(ctx context.Context) (map[care.IncidentID]int64, error) {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	open, err := h.s.opts.Incidents.OpenVersions(ctx, watchLimit)
	if err != nil {
		return nil, err
	}
	news := map[care.IncidentID]int64{}
	h.ask(ctx, func() {
		for id, version := range open {
			if h.heard[id] < version {
				news[id] = version
			}
		}
		for id := range h.heard {
			if _, seen := open[id]; !seen && len(open) < watchLimit {
				news[id] = gone
			}
		}
	})
	return news, nil
}
