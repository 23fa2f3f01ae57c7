package callcenter

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"anling/callcenter/leg"
	"anling/callcenter/media"
	"anling/callcenter/recording"
	"anling/care"
	"anling/event"
)

// memory is a Store whose changes are all or nothing, and which can be made to fail.
type memory struct {
	mu        sync.Mutex
	epoch     int64
	calls     map[care.CallID]Call
	callbacks map[string]Callback
	operators map[care.UserID]Operator
	timers    map[string]event.Timer
	events    []event.Event
	fail      error
	unknown   bool // commits, and says that it does not know
	slow      time.Duration
}

func newMemory() *memory {
	return &memory{calls: map[care.CallID]Call{}, callbacks: map[string]Callback{}, operators: map[care.UserID]Operator{}, timers: map[string]event.Timer{}}
}

type memoryTx struct {
	m         *memory
	epoch     int64
	calls     map[care.CallID]Call
	callbacks map[string]Callback
	operators map[care.UserID]Operator
	timers    map[string]event.Timer
	events    []event.Event
}

func (m *memory) Change(ctx context.Context, f func(Tx) error) error {
	m.mu.Lock()
	slow := m.slow
	m.mu.Unlock()
	if slow > 0 {
		select {
		case <-time.After(slow):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail != nil {
		return m.fail
	}
	tx := &memoryTx{m, m.epoch, maps.Clone(m.calls), maps.Clone(m.callbacks), maps.Clone(m.operators), maps.Clone(m.timers), slices.Clone(m.events)}
	if err := f(tx); err != nil {
		return err
	}
	m.epoch, m.calls, m.callbacks, m.operators, m.timers, m.events = tx.epoch, tx.calls, tx.callbacks, tx.operators, tx.timers, tx.events
	if m.unknown {
		m.unknown = false
		return errors.New("outcome of the commit is unknown")
	}
	return nil
}

func (m *memory) Call(_ context.Context, id care.CallID) (Call, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	c, ok := m.calls[id]
	if !ok {
		return c, care.NotFound("call", string(id))
	}
	return c, nil
}

func (m *memory) list(keep func(Call) bool, limit int) []Call {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []Call
	for _, c := range m.calls {
		if keep(c) && len(all) < limit {
			all = append(all, c)
		}
	}
	slices.SortFunc(all, func(a, b Call) int { return a.ArrivedAt.Compare(b.ArrivedAt) })
	return all
}

func (m *memory) LiveCalls(_ context.Context, before int64, limit int) ([]Call, error) {
	return m.list(func(c Call) bool { return c.Live() && c.Epoch < before }, limit), nil
}

func (m *memory) RecentCalls(_ context.Context, limit int) ([]Call, error) {
	return m.list(func(Call) bool { return true }, limit), nil
}

func (m *memory) CallsOfIncident(_ context.Context, id care.IncidentID, limit int) ([]Call, error) {
	return m.list(func(c Call) bool { return c.IncidentID == id }, limit), nil
}

func (m *memory) CallsOfElder(_ context.Context, id care.ElderID, limit int) ([]Call, error) {
	return m.list(func(c Call) bool { return c.ElderID == id }, limit), nil
}

func (m *memory) Callback(_ context.Context, id string) (Callback, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	c, ok := m.callbacks[id]
	if !ok {
		return c, care.NotFound("call-back", id)
	}
	return c, nil
}

func (m *memory) Callbacks(context.Context, int) ([]Callback, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []Callback
	for _, c := range m.callbacks {
		if c.State.Open() {
			all = append(all, c)
		}
	}
	return all, nil
}

func (m *memory) Operators(context.Context) ([]Operator, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail != nil {
		return nil, m.fail
	}
	return slices.Collect(maps.Values(m.operators)), nil
}

func (m *memory) setFail(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fail = err
}

func (tx *memoryTx) NextEpoch() (int64, error) { tx.epoch++; return tx.epoch, nil }

func (tx *memoryTx) Call(id care.CallID) (Call, bool, error) {
	c, ok := tx.calls[id]
	return c, ok, nil
}

func (tx *memoryTx) SaveCall(c Call, was int64) error {
	if tx.calls[c.ID].Version != was {
		return fmt.Errorf("call: %w", event.ErrConflict)
	}
	tx.calls[c.ID] = c
	return nil
}

func (tx *memoryTx) Callback(id string) (Callback, error) {
	c, ok := tx.callbacks[id]
	if !ok {
		return c, care.NotFound("call-back", id)
	}
	return c, nil
}

func (tx *memoryTx) CallbackOf(number string) (Callback, bool, error) {
	for _, c := range tx.callbacks {
		if c.Number == number && c.State.Open() {
			return c, true, nil
		}
	}
	return Callback{}, false, nil
}

func (tx *memoryTx) SaveCallback(c Callback, was int64) error {
	if tx.callbacks[c.ID].Version != was {
		return fmt.Errorf("call-back: %w", event.ErrConflict)
	}
	tx.callbacks[c.ID] = c
	return nil
}

func (tx *memoryTx) SaveOperator(o Operator, was int64) error {
	if tx.operators[o.UserID].Version != was {
		return fmt.Errorf("operator: %w", event.ErrConflict)
	}
	tx.operators[o.UserID] = o
	return nil
}

func (tx *memoryTx) TakeKey(string, string, string, string) (event.Taken, error) {
	return event.Taken{}, nil
}
func (tx *memoryTx) SetReply(string, string, json.RawMessage) error { return nil }

func (tx *memoryTx) Append(events ...event.Event) error {
	for _, e := range events {
		for _, old := range tx.events {
			if old.AggID == e.AggID && old.Seq == e.Seq {
				return fmt.Errorf("event %s: %w", e.Type, event.ErrConflict)
			}
		}
		tx.events = append(tx.events, e)
	}
	return nil
}

func (tx *memoryTx) Arm(t event.Timer) error {
	t.Version = tx.timers[t.AggID].Version + 1
	tx.timers[t.AggID] = t
	return nil
}

func (tx *memoryTx) Disarm(id, _ string) error { delete(tx.timers, id); return nil }

func (tx *memoryTx) Fire(t event.Timer) error {
	if tx.timers[t.AggID].Version != t.Version {
		return event.ErrStale
	}
	delete(tx.timers, t.AggID)
	return nil
}

// line is a leg that the test plays.
type line struct {
	info   leg.Info
	to     string
	events chan leg.Event

	mu       sync.Mutex
	rung     bool
	answered bool
	over     bool
	hung     leg.Cause // what our side hung up with
	answer   error     // of Answer
}

func newLine(info leg.Info) *line {
	if info.SIPCallID == "" {
		info.SIPCallID = care.NewID[string]()
	}
	return &line{info: info, events: make(chan leg.Event, 64)}
}

func (l *line) Info() leg.Info           { return l.info }
func (l *line) Events() <-chan leg.Event { return l.events }
func (l *line) Media() *media.Session    { return nil }
func (l *line) Ring()                    { l.mu.Lock(); l.rung = true; l.mu.Unlock() }

func (l *line) Answer(context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over {
		return leg.ErrCancelled
	}
	if l.answer == nil {
		l.answered = true
	}
	return l.answer
}

// Hangup is our side; the leg's end follows as an event, as on a real line.
func (l *line) Hangup(c leg.Cause) {
	l.mu.Lock()
	l.hung = c
	l.mu.Unlock()
	l.end(c)
}

func (l *line) end(c leg.Cause) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over {
		return
	}
	l.over = true
	l.events <- leg.Event{Kind: leg.Ended, Cause: c}
	close(l.events)
}

func (l *line) say(k leg.EventKind) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.over {
		l.events <- leg.Event{Kind: k}
	}
}

func (l *line) press(d byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.over {
		l.events <- leg.Event{Kind: leg.DTMF, Digit: d}
	}
}

func (l *line) pickUp() { l.say(leg.Ringing); l.say(leg.Answered) }

func (l *line) isOver() bool { l.mu.Lock(); defer l.mu.Unlock(); return l.over }

func (l *line) up() bool { l.mu.Lock(); defer l.mu.Unlock(); return l.answered }

// network dials lines; those to a number in dead cannot even be tried.
type network struct {
	mu    sync.Mutex
	lines []*line
	dead  map[string]bool
	auto  func(*line) // what happens by itself to what is dialled
	on    map[string]bool
	tell  func(string, bool)
}

func (n *network) Dial(_ context.Context, c leg.Call) (leg.Leg, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.dead[c.To] {
		return nil, errors.New("no trunk")
	}
	l := newLine(leg.Info{Direction: leg.Out, To: c.To})
	l.to = c.To
	n.lines = append(n.lines, l)
	if n.auto != nil {
		n.auto(l)
	}
	return l, nil
}

func (n *network) Registered(account string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.on[account]
}

func (n *network) OnRegistration(f func(string, bool)) { n.tell = f }

func (n *network) register(account string, on bool) {
	n.mu.Lock()
	n.on[account] = on
	n.mu.Unlock()
	n.tell(account, on)
}

// ringing lists the lines to a target that are not over.
func (n *network) ringing(to string) []*line {
	n.mu.Lock()
	defer n.mu.Unlock()
	var all []*line
	for _, l := range n.lines {
		if l.to == to && !l.isOver() {
			all = append(all, l)
		}
	}
	return all
}

// town is the rest of the world: incidents and the registry.
type town struct {
	mu       sync.Mutex
	phones   map[string][]care.PhoneMatch
	open     map[care.ElderID]care.IncidentID
	owner    map[care.IncidentID]care.UserID
	opened   []care.OpenRequest
	attached map[care.IncidentID][]care.CallID
	rings    []care.IncidentID
	openErr  error
	openSlow time.Duration
	numbers  []string
}

func (w *town) Open(ctx context.Context, r care.OpenRequest) (care.Opened, error) {
	w.mu.Lock()
	slow := w.openSlow
	w.mu.Unlock()
	if slow > 0 {
		select {
		case <-time.After(slow):
		case <-ctx.Done():
			return care.Opened{}, ctx.Err()
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.openErr != nil {
		return care.Opened{}, w.openErr
	}
	for i, old := range w.opened {
		if old.Key == r.Key {
			return care.Opened{IncidentID: care.IncidentID(fmt.Sprint("i", i+1)), Repeat: true}, nil
		}
	}
	w.opened = append(w.opened, r)
	id, joined := w.open[r.ElderID]
	if r.ElderID == "" || !joined {
		id, joined = care.IncidentID(fmt.Sprint("i", len(w.opened))), false
	}
	return care.Opened{IncidentID: id, Joined: joined}, nil
}

func (w *town) OpenIncidentOf(_ context.Context, elder care.ElderID, _ care.DeviceID) (care.IncidentID, bool, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	id, ok := w.open[elder]
	return id, ok, nil
}

func (w *town) AttachCall(_ context.Context, id care.IncidentID, call care.CallID, _ string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.attached[id] = append(w.attached[id], call)
	return nil
}

func (w *town) Ringing(_ context.Context, id care.IncidentID) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.rings = append(w.rings, id)
	return nil
}

func (w *town) Take(_ context.Context, id care.IncidentID, u care.UserID, _ bool) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if o := w.owner[id]; o != "" && o != u {
		return care.ErrTaken
	}
	w.owner[id] = u
	return nil
}

func (w *town) Owner(_ context.Context, id care.IncidentID) (care.UserID, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.owner[id], nil
}

func (w *town) MatchPhone(_ context.Context, n string) ([]care.PhoneMatch, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.phones[n], nil
}

func (w *town) Elder(_ context.Context, id care.ElderID) (care.Elder, error) {
	return care.Elder{ID: id, AreaCode: "990100"}, nil
}

func (w *town) Device(_ context.Context, id care.DeviceID) (care.Device, error) {
	return care.Device{ID: id}, nil
}

func (w *town) NumbersOf(context.Context, care.ElderID, care.DeviceID) ([]string, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.numbers, nil
}

// centre is a call centre with all of this, inside a bubble of time.
type centre struct {
	*testing.T
	s     *Service
	store *memory
	net   *network
	town  *town
	loud  []map[string]any
	mu    sync.Mutex
	end   func()

	before   func(*Service) // Run
	repaired []recording.Result
}

const (
	simDevice = "+8613900000001"
	homePhone = "+8687100000001"
	stranger  = "+8613700000009"
)

// bubble runs f with a call centre whose operators, "a" and so on, are ready at their
// telephones.
func bubble(t *testing.T, operators int, f func(c *centre)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		c := &centre{T: t, store: newMemory(), net: &network{dead: map[string]bool{}, on: map[string]bool{}},
			town: &town{phones: map[string][]care.PhoneMatch{
				simDevice: {{Kind: "device", ElderID: "elder1", DeviceID: "device1"}, {Kind: "elder", ElderID: "elder1"}},
				homePhone: {{Kind: "elder", ElderID: "elder1"}},
			}, numbers: []string{simDevice, homePhone}, open: map[care.ElderID]care.IncidentID{}, owner: map[care.IncidentID]care.UserID{}, attached: map[care.IncidentID][]care.CallID{}}}
		c.open(operators)
		defer func() { c.end() }() // after Fatal as well
		f(c)
		c.end()
		c.promises()
	})
}

// open starts a life of the server over the store.
func (c *centre) open(operators int) {
	s, err := New(Options{Store: c.store, Opener: c.town, Incidents: c.town, Directory: c.town, Dialer: c.net, Phones: c.net, Repaired: c.repaired,
		Emergency: func(m map[string]any) { c.mu.Lock(); c.loud = append(c.loud, m); c.mu.Unlock() }})
	if err != nil {
		c.Fatal(err)
	}
	c.s = s
	if c.before != nil {
		c.before(s)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Run(ctx) }()
	var ended bool
	c.end = func() {
		if !ended {
			ended = true
			cancel()
			<-done
		}
	}
	synctest.Wait()
	for i := range operators {
		id := string(rune('a' + i))
		c.net.register(id, true)
		s.PutOperator(Operator{UserID: care.UserID(id), Account: id, Name: id, Role: "operator"})
		if err := s.SetState(ctx, care.UserID(id), "ready", ""); err != nil {
			c.Fatal(err)
		}
		time.Sleep(time.Millisecond) // one is idle longer than the other
	}
}

// promises is what must hold at the end of every test.
func (c *centre) promises() {
	c.Helper()
	c.store.mu.Lock()
	defer c.store.mu.Unlock()
	for _, l := range c.net.lines {
		if !l.isOver() {
			c.Errorf("the line to %s was left open", l.to)
		}
	}
	for _, o := range c.store.operators {
		if o.State.Engaged() {
			c.Errorf("operator %s is %s for ever", o.UserID, o.State)
		}
	}
	if c.store.fail != nil {
		return
	}
	owed := map[care.CallID]bool{}
	for _, cb := range c.store.callbacks {
		for _, id := range cb.CallIDs {
			owed[id] = true
		}
		if _, armed := c.store.timers[cb.ID]; (cb.State == Due || cb.State == Calling) != armed {
			c.Errorf("call-back %s is %s, armed %v", cb.ID, cb.State, armed)
		}
	}
	for _, x := range c.store.calls {
		if x.Live() {
			c.Errorf("call %s was left %s", x.ID, x.State)
		}
		if x.Result == "lost" && x.CallbackID == "" && !owed[x.ID] {
			c.Errorf("the lost call %s is owed nothing", x.ID)
		}
		if x.Unsaved {
			c.Errorf("call %s is marked as unsaved although it is stored", x.ID)
		}
	}
	seqs := map[string]int64{}
	for _, e := range c.store.events {
		if e.Seq != seqs[e.AggID]+1 && e.Agg != "operator" {
			c.Errorf("%s of %s %s has number %d after %d", e.Type, e.Agg, e.AggID, e.Seq, seqs[e.AggID])
		}
		seqs[e.AggID] = e.Seq
	}
}

func (c *centre) wait(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// ring lets a call come in.
func (c *centre) ring(from string) *line {
	l := newLine(leg.Info{Direction: leg.In, From: from, DID: "96", Anonymous: from == "", At: time.Now()})
	return c.bring(l)
}

func (c *centre) bring(l *line) *line {
	c.s.Take(l)
	synctest.Wait()
	return l
}

// phone is the telephone of an operator, which must be ringing.
func (c *centre) phone(id string) *line {
	c.Helper()
	all := c.net.ringing("phone:" + id)
	if len(all) != 1 {
		c.Fatalf("the telephone of %s has %d lines at %s", id, len(all), c.states())
	}
	return all[0]
}

func (c *centre) states() string {
	var s string
	for _, x := range c.s.Calls() {
		s += fmt.Sprintf("%s %s %s; ", x.Purpose, x.Class, x.State)
	}
	all, _ := c.s.Operators(context.Background())
	for _, o := range all {
		s += fmt.Sprintf("%s %s phone %v; ", o.UserID, o.State, o.Phone)
	}
	return s
}

// only is the one call there is, live or past.
func (c *centre) only() Call {
	c.Helper()
	if live := c.s.Calls(); len(live) == 1 {
		return live[0]
	}
	all, _ := c.store.RecentCalls(context.Background(), 10)
	if len(all) != 1 {
		c.Fatalf("%d calls", len(all))
	}
	return all[0]
}

func (c *centre) want(state CallState) Call {
	c.Helper()
	x := c.only()
	if x.State != state {
		c.Fatalf("the call is %s, want %s (%s)", x.State, state, c.states())
	}
	return x
}

func (c *centre) wantOperator(id string, s State) {
	c.Helper()
	all, _ := c.s.Operators(context.Background())
	for _, o := range all {
		if o.UserID == care.UserID(id) && o.State != s {
			c.Errorf("%s is %s, want %s", id, o.State, s)
		}
	}
}

// facts are the types of what happened to a call, in order.
func (c *centre) facts(id care.CallID) []event.Type {
	c.store.mu.Lock()
	defer c.store.mu.Unlock()
	var all []event.Type
	for _, e := range c.store.events {
		if e.AggID == string(id) {
			all = append(all, e.Type)
		}
	}
	return all
}

func (c *centre) has(id care.CallID, t event.Type) bool { return slices.Contains(c.facts(id), t) }

// fire starts what is due, as the store's timers do.
func (c *centre) fire() {
	c.Helper()
	c.store.mu.Lock()
	var due []event.Timer
	for _, t := range c.store.timers {
		if !t.Due.After(time.Now()) {
			due = append(due, t)
		}
	}
	c.store.mu.Unlock()
	for _, t := range due {
		if err := c.s.HandleTimer(context.Background(), t); err != nil {
			c.Errorf("timer: %v", err)
		}
	}
	synctest.Wait()
}

func (c *centre) debt() Callback {
	c.Helper()
	c.store.mu.Lock()
	defer c.store.mu.Unlock()
	if len(c.store.callbacks) != 1 {
		c.Fatalf("%d call-backs", len(c.store.callbacks))
	}
	for _, cb := range c.store.callbacks {
		return cb
	}
	return Callback{}
}
