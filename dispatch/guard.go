package dispatch

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"anling/care"
)

// ErrNotStored says that a request could not be made durable in SQL in time. It
// was rung through all the same; who sent it gets no positive answer, so that it
// comes again under the same key.
var ErrNotStored = errors.New("the alarm is not stored")

// Stander makes an incident stand, and gives back what has an operator rung for it;
// Board is one.
type Stander interface {
	Stand(ctx context.Context, r care.OpenRequest) (opened care.Opened, ring func(context.Context), err error)
}

// Journal keeps requests that could not be committed; the store's emergency journal
// fills it. All of it survives a crash of this machine.
type Journal interface {
	// Keep writes a request under an id and returns when it is on the disk.
	Keep(id string, r care.OpenRequest) error
	// Settle says that the request of the id is committed.
	Settle(id string) error
	// Kept lists what is not settled, by id, oldest id first.
	Kept() ([]string, []care.OpenRequest, error)
}

// heldMax bounds the requests held in memory while the journal fails as well. Who
// sent them was not answered and sends again.
const heldMax = 10000

// GuardOptions of a Guard. Board, Journal and Alert are needed.
type GuardOptions struct {
	Board   Stander
	Journal Journal
	// Alert rings operators for a request that is not stored; it must not block.
	// kept tells whether the journal has it.
	Alert        func(r care.OpenRequest, kept bool, reason error)
	JournalAfter time.Duration // a commit that takes longer goes to the journal, 2 s
	GiveUp       time.Duration // and is not waited for beyond this, 5 s
	ReplayEvery  time.Duration // 5 s
	Log          *zap.Logger
	Metrics      prometheus.Registerer
	Now          func() time.Time
}

// Guard is the Board's door for whoever must not lose an alarm. When the commit
// fails, or takes too long to tell, the request goes to the emergency journal, the
// operators are rung with what is known, and it is tried again under the same key
// until it is committed. It is safe for concurrent use.
type Guard struct {
	o       GuardOptions
	pending prometheus.Gauge
	unkept  prometheus.Counter
	alerts  prometheus.Counter

	work sync.WaitGroup // commits whose callers may have left
	mu   sync.Mutex
	ids  map[string]string           // journal ids of what is pending, by request key
	held map[string]care.OpenRequest // what even the journal did not take, by key

	flights map[string]*flight // guarded by mu: what is being committed, by key and digest
}

var _ Stander = (*Board)(nil)

// NewGuard reads what the journal still has; Replay it before the doors open.
func NewGuard(o GuardOptions) (*Guard, error) {
	if o.JournalAfter <= 0 {
		o.JournalAfter = 2 * time.Second
	}
	if o.GiveUp <= o.JournalAfter {
		o.GiveUp = o.JournalAfter + 3*time.Second
	}
	if o.ReplayEvery <= 0 {
		o.ReplayEvery = 5 * time.Second
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
	g := &Guard{o: o, ids: map[string]string{}, held: map[string]care.OpenRequest{}, flights: map[string]*flight{},
		pending: prometheus.NewGauge(prometheus.GaugeOpts{Name: "anling_dispatch_unstored_alarms", Help: "Alarms that are rung but not yet in SQL."}),
		unkept:  prometheus.NewCounter(prometheus.CounterOpts{Name: "anling_dispatch_journal_failures_total", Help: "Alarms that neither SQL nor the emergency journal took."}),
		alerts:  prometheus.NewCounter(prometheus.CounterOpts{Name: "anling_dispatch_emergency_rings_total", Help: "Alarms that were rung without being stored."}),
	}
	o.Metrics.MustRegister(g.pending, g.unkept, g.alerts)
	ids, requests, err := o.Journal.Kept()
	if err != nil {
		return nil, fmt.Errorf("read emergency journal: %w", err)
	}
	for i, r := range requests {
		g.ids[r.Key] = ids[i]
	}
	g.pending.Set(float64(len(g.ids)))
	return g, nil
}

// flight is a request that is being committed. Who sends it again meanwhile waits for
// the same answer, so that a storm of repeats costs no more than its presses.
type flight struct {
	done   chan struct{} // closed when opened and err are set
	opened care.Opened
	err    error
}

// Open makes an incident stand, as Board.Open does, but does not wait until an
// operator is being rung. A nil error means that it is durable in SQL; ErrNotStored
// that it was rung through and journalled, but not stored within the time.
func (g *Guard) Open(ctx context.Context, r care.OpenRequest) (care.Opened, error) {
	g.identify(&r)
	f, first := g.board(ctx, r)
	if !first {
		return f.joined(ctx, g.o.GiveUp)
	}
	wait := time.NewTimer(g.o.JournalAfter)
	defer wait.Stop()
	select {
	case <-f.done:
		if f.err == nil || refused(f.err) {
			return f.opened, f.err
		}
		g.keep(r, f.err)
		return care.Opened{}, fmt.Errorf("%w: %w", ErrNotStored, f.err)
	case <-wait.C:
	}
	g.keep(r, fmt.Errorf("no answer of the store for %s", g.o.JournalAfter))
	wait.Reset(g.o.GiveUp - g.o.JournalAfter)
	select {
	case <-f.done:
		if refused(f.err) {
			g.settle(r.Key)
		}
		if f.err == nil || refused(f.err) {
			return f.opened, f.err
		}
		return care.Opened{}, fmt.Errorf("%w: %w", ErrNotStored, f.err)
	case <-wait.C:
		return care.Opened{}, fmt.Errorf("%w within %s", ErrNotStored, g.o.GiveUp)
	}
}

// board hands a request to the board, or finds the one that is on its way: the same
// key with the same meaning.
func (g *Guard) board(ctx context.Context, r care.OpenRequest) (f *flight, first bool) {
	id := r.Key + "\x00" + r.Digest
	g.mu.Lock()
	defer g.mu.Unlock()
	if f := g.flights[id]; f != nil {
		return f, false
	}
	f = &flight{done: make(chan struct{})}
	g.flights[id] = f
	// The caller's end must not end the commit: its outcome would be unknown.
	work, cancel := context.WithTimeout(context.WithoutCancel(ctx), g.o.GiveUp)
	g.work.Go(func() {
		defer cancel()
		var ring func(context.Context)
		f.opened, ring, f.err = g.o.Board.Stand(work, r)
		if f.err == nil {
			g.settle(r.Key)
		}
		g.mu.Lock()
		delete(g.flights, id)
		g.mu.Unlock()
		close(f.done)
		if f.err == nil {
			ring(work)
		}
	})
	return f, true
}

// joined is the answer to a repeat that came while the first was on its way.
func (f *flight) joined(ctx context.Context, limit time.Duration) (care.Opened, error) {
	wait := time.NewTimer(limit)
	defer wait.Stop()
	select {
	case <-f.done:
	case <-wait.C:
		return care.Opened{}, fmt.Errorf("%w within %s", ErrNotStored, limit)
	case <-ctx.Done():
		return care.Opened{}, fmt.Errorf("%w: %w", ErrNotStored, ctx.Err())
	}
	if f.err != nil && !refused(f.err) {
		return care.Opened{}, fmt.Errorf("%w: %w", ErrNotStored, f.err)
	}
	opened := f.opened
	opened.Repeat = f.err == nil
	return opened, f.err
}

// refused tells an error that no repetition mends from a failing store.
func refused(err error) bool {
	var e *care.Error
	return errors.As(err, &e)
}

// identify makes the ids before anything is written, so that journal, event and
// answer carry the same ones whatever happens.
func (g *Guard) identify(r *care.OpenRequest) {
	if r.At.IsZero() {
		r.At = g.o.Now()
	}
	if r.IncidentID == "" {
		r.IncidentID = care.NewID[care.IncidentID]()
	}
	if r.Alarm != nil {
		a := *r.Alarm // the caller keeps his
		if a.ID == "" {
			a.ID = care.NewID[care.AlarmID]()
		}
		r.Alarm = &a
	}
}

// keep puts a request into the journal, once for its key, and rings.
func (g *Guard) keep(r care.OpenRequest, reason error) {
	g.mu.Lock()
	id, known := g.ids[r.Key]
	if !known {
		id = care.NewID[string]()
		g.ids[r.Key] = id
	}
	g.mu.Unlock()
	err := error(nil)
	if !known {
		err = g.o.Journal.Keep(id, r)
	}
	g.mu.Lock()
	settled := g.ids[r.Key] != id // committed while it was being written
	if err != nil {
		delete(g.ids, r.Key)
		if _, again := g.held[r.Key]; again || len(g.held) < heldMax {
			g.held[r.Key] = r
		}
	}
	g.count()
	g.mu.Unlock()
	if err == nil && settled {
		if err := g.o.Journal.Settle(id); err != nil {
			g.o.Log.Warn("settle in the emergency journal", zap.Error(err))
		}
		return
	}
	if err != nil {
		g.unkept.Inc()
		g.o.Log.Error("an alarm is neither stored nor in the emergency journal", zap.String("device_id", string(r.DeviceID)), zap.NamedError("store_err", reason), zap.Error(err))
	} else {
		g.o.Log.Error("an alarm is not stored; it is in the emergency journal", zap.String("device_id", string(r.DeviceID)), zap.Error(reason))
	}
	g.alerts.Inc()
	g.o.Alert(r, err == nil, reason)
}

// count states the gauge; mu is held.
func (g *Guard) count() { g.pending.Set(float64(len(g.ids) + len(g.held))) }

// settle says that the request of a key is committed.
func (g *Guard) settle(key string) {
	g.mu.Lock()
	id, known := g.ids[key]
	delete(g.ids, key)
	delete(g.held, key)
	g.count()
	g.mu.Unlock()
	if !known {
		return
	}
	if err := g.o.Journal.Settle(id); err != nil {
		// It is replayed after the next start, and found done by its key.
		g.o.Log.Warn("settle in the emergency journal", zap.Error(err))
	}
}

// Pending is how many alarms are rung but not yet in SQL.
func (g *Guard) Pending() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.ids) + len(g.held)
}

// Replay tries everything that is not yet committed once, oldest first. It stops at
// the first that fails: the store is still away then.
func (g *Guard) Replay(ctx context.Context) error {
	if g.Pending() == 0 {
		return nil
	}
	_, kept, err := g.o.Journal.Kept()
	if err != nil {
		return fmt.Errorf("read emergency journal: %w", err)
	}
	g.mu.Lock()
	held := slices.Collect(maps.Values(g.held))
	g.mu.Unlock()
	slices.SortFunc(held, func(a, b care.OpenRequest) int { return a.At.Compare(b.At) })
	for _, r := range append(kept, held...) {
		one, cancel := context.WithTimeout(ctx, g.o.GiveUp)
		_, ring, err := g.o.Board.Stand(one, r)
		if err == nil {
			ring(one)
		}
		cancel()
		if err != nil && !refused(err) {
			return fmt.Errorf("replay an alarm: %w", err)
		}
		if err != nil {
			g.o.Log.Error("a journalled alarm is refused", zap.String("device_id", string(r.DeviceID)), zap.Error(err))
		}
		g.settle(r.Key)
	}
	return nil
}

// Run replays what is pending until ctx ends, and then waits for the commits that
// are still under way.
func (g *Guard) Run(ctx context.Context) error {
	defer g.work.Wait()
	tick := time.NewTicker(g.o.ReplayEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if err := g.Replay(ctx); err != nil && ctx.Err() == nil {
			g.o.Log.Error("the store still refuses journalled alarms", zap.Int("pending", g.Pending()), zap.Error(err))
		}
	}
}

// Health is "ok", or "failing" with how many alarms are not stored.
func (g *Guard) Health() (state, detail string) {
	if n := g.Pending(); n > 0 {
		return "failing", fmt.Sprintf("%d alarms are rung but not stored", n)
	}
	return "ok", ""
}
