package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"

	"anling/event"
	"anling/store/db"
)

const (
	urgentQueue     = 4096 // changes that may wait; beyond it the callers wait for a place
	normalQueue     = 1024
	bulkQueue       = 16
	urgentPerNormal = 2 // urgent changes before a normal one has its turn among them
	passedMost      = 4 * urgentPerNormal
	conflictTries   = 8                    // runs of one change before its conflict is its error
	lotTime         = 4 * time.Millisecond // work after which a batch is committed
)

// errInjected is what the fault hook's errors are wrapped with: they count as a
// failure of the disk.
var errInjected = errors.New("injected")

// request is one change that waits for the writer.
type request struct {
	f    func(*Tx) error
	lane Lane
	done chan error // buffered: the writer never waits for a caller that left
	tx   *Tx
	err  error
}

// writer owns the one connection that writes. The batch forms by itself while the
// fsync of the previous one runs; each change has its savepoint, so a bad one does
// not take its neighbours with it.
type writer struct {
	store   *Store
	handle  *sql.DB
	conn    *sql.Conn
	sql     *stmtCache
	urgent  chan *request
	normal  chan *request
	bulk    chan *request
	errands chan func()     // done between two batches
	work    context.Context // of statements; it never ends, so the driver watches nothing
	ctx     context.Context // ends the loop
	cancel  context.CancelFunc
	ended   sync.WaitGroup

	changes int64 // rows that the connection had changed when commits began to fail
	passed  int   // urgent changes since a normal one was taken between them; the loop's own
}

func newWriter(ctx context.Context, s *Store, handle *sql.DB) (*writer, error) {
	conn, err := handle.Conn(ctx)
	if err != nil {
		return nil, fmt.Errorf("writer's connection: %w", err)
	}
	w := &writer{
		store: s, handle: handle, conn: conn, sql: newStmtCache(conn),
		urgent: make(chan *request, urgentQueue), normal: make(chan *request, normalQueue), bulk: make(chan *request, bulkQueue), errands: make(chan func()),
	}
	w.work = context.Background()
	w.ctx, w.cancel = context.WithCancel(w.work)
	w.ended.Add(1)
	go w.loop()
	return w, nil
}

func (w *writer) do(ctx context.Context, lane Lane, f func(*Tx) error) error {
	queue := w.urgent
	switch lane {
	case Normal:
		queue = w.normal
	case Bulk:
		queue = w.bulk
	}
	r := &request{f: f, lane: lane, done: make(chan error, 1)}
	select {
	case <-w.ctx.Done():
		return ErrClosed
	default:
	}
	select {
	case queue <- r:
	case <-ctx.Done():
		return fmt.Errorf("waiting for the writer: %w", ctx.Err())
	case <-w.ctx.Done():
		return ErrClosed
	}
	select {
	case err := <-r.done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", ErrUnknown, ctx.Err())
	}
}

func (w *writer) loop() {
	defer w.ended.Done()
	for {
		first := w.next()
		if first == nil {
			w.refuseRest()
			return
		}
		w.lot(first)
		select {
		case f := <-w.errands:
			f()
		default:
		}
	}
}

// between has something done on the writer's connection between two batches.
func (w *writer) between(ctx context.Context, f func(context.Context) error) error {
	done := make(chan error, 1)
	select {
	case w.errands <- func() { done <- f(w.work) }:
	case <-ctx.Done():
		return ctx.Err()
	case <-w.ctx.Done():
		return ErrClosed
	}
	return <-done
}

// next waits for a change, urgent ones first, bulk ones last.
func (w *writer) next() *request {
	for {
		if r := w.another(false); r != nil {
			return r
		}
		select {
		case r := <-w.urgent:
			return r
		case r := <-w.normal:
			return r
		case r := <-w.bulk:
			return r
		case f := <-w.errands:
			f()
		case <-w.ctx.Done():
			return nil
		}
	}
}

// refuseRest answers what was still queued at the end.
func (w *writer) refuseRest() {
	for {
		select {
		case r := <-w.urgent:
			r.done <- ErrClosed
		case r := <-w.normal:
			r.done <- ErrClosed
		case r := <-w.bulk:
			r.done <- ErrClosed
		default:
			return
		}
	}
}

// lot runs one batch: begin, every change in its savepoint, commit, answers.
func (w *writer) lot(first *request) {
	batch, err := w.attempt(first)
	if err == nil {
		w.finish(batch)
		return
	}
	w.failed(err)
	if full(err) && w.store.freeReserve() {
		w.store.log.Error("the disk is full: the reserve was freed, commits go on")
	}
	// The whole transaction is gone. Each change is run alone, so that one which
	// cannot be done does not refuse the others.
	for _, r := range batch {
		one, err := w.attemptAll([]*request{r})
		if err != nil {
			w.failed(err)
			r.done <- fmt.Errorf("commit: %w", err)
			continue
		}
		w.finish(one)
	}
}

// attempt runs a batch that begins with first and takes what is queued meanwhile. One
// with an urgent change is committed as soon as no other is there: whoever sent it
// waits. After every few of them it takes a normal change along, so that a storm of
// alarms slows down what follows from them and does not stop it.
func (w *writer) attempt(first *request) ([]*request, error) {
	batch := []*request{first}
	if err := w.begin(); err != nil {
		return batch, err
	}
	if err := w.lead(first); err != nil {
		return batch, w.abort(err)
	}
	w.passes(first)
	started, urgent := time.Now(), first.lane == Urgent
	for len(batch) < w.store.opts.BatchMax && time.Since(started) < lotTime {
		r := w.another(urgent)
		if r == nil {
			break
		}
		w.passes(r)
		urgent = urgent || r.lane == Urgent
		batch = append(batch, r)
		if err := w.change(r); err != nil {
			return batch, w.abort(err)
		}
	}
	return batch, w.commit(len(batch))
}

// passes counts the urgent changes that go before normal ones.
func (w *writer) passes(r *request) {
	if r.lane == Urgent {
		w.passed = min(w.passed+1, passedMost)
	} else {
		w.passed = max(0, w.passed-urgentPerNormal)
	}
}

// attemptAll runs exactly these changes as a batch.
func (w *writer) attemptAll(batch []*request) ([]*request, error) {
	if err := w.begin(); err != nil {
		return batch, err
	}
	for _, r := range batch {
		if err := w.change(r); err != nil {
			return batch, w.abort(err)
		}
	}
	return batch, w.commit(len(batch))
}

// another is a further change for a batch, nil when there is none for it.
func (w *writer) another(urgent bool) *request {
	if urgent && w.passed >= urgentPerNormal {
		if r := take(w.normal); r != nil {
			return r
		}
	}
	if r := take(w.urgent); r != nil || urgent {
		return r
	}
	return take(w.normal)
}

// take is the next of a queue, nil when it is empty.
func take(queue chan *request) *request {
	select {
	case r := <-queue:
		return r
	default:
		return nil
	}
}

func (w *writer) begin() error {
	if err := w.inject("begin"); err != nil {
		return err
	}
	return w.exec("BEGIN IMMEDIATE")
}

func (w *writer) commit(n int) error {
	if err := w.inject("commit"); err != nil {
		return w.abort(err)
	}
	if err := w.exec("COMMIT"); err != nil {
		return w.abort(err)
	}
	w.store.metrics.batch.Observe(float64(n))
	if w.store.failing.Load() == nil || w.wrote() {
		w.store.noteSuccess()
	}
	return w.inject("committed")
}

// failed notes a failure, and how many rows were changed up to it.
func (w *writer) failed(err error) {
	w.store.noteFailure(err)
	w.wrote()
}

// wrote tells whether rows were changed since it was last asked. A commit that
// changed none succeeds on a full disk too: it proves nothing.
func (w *writer) wrote() bool {
	var n int64
	if err := w.sql.QueryRowContext(w.work, "SELECT total_changes()").Scan(&n); err != nil {
		return false
	}
	was := w.changes
	w.changes = n
	return n != was
}

func (w *writer) abort(err error) error {
	// SQLite may have rolled back by itself; then this one fails, rightly.
	_ = w.exec("ROLLBACK")
	return err
}

// change runs one change in its savepoint. Its own error is kept for its caller;
// the returned error ends the batch.
func (w *writer) change(r *request) error {
	for try := 1; ; try++ {
		if err := w.exec("SAVEPOINT r"); err != nil {
			return err
		}
		if w.run(r); r.err == nil {
			return w.exec("RELEASE r")
		}
		if broken(r.err) {
			return r.err
		}
		if err := w.exec("ROLLBACK TO r"); err != nil {
			return err
		}
		if err := w.exec("RELEASE r"); err != nil {
			return err
		}
		if !errors.Is(r.err, event.ErrConflict) || try == conflictTries {
			return nil
		}
	}
}

// lead runs the first change of a batch. It needs no savepoint, which would copy every
// page that it touches: its own error undoes the batch, for nothing else is in it yet.
func (w *writer) lead(r *request) error {
	for try := 1; ; try++ {
		if w.run(r); r.err == nil {
			return nil
		}
		if broken(r.err) {
			return r.err
		}
		if err := w.exec("ROLLBACK"); err != nil {
			return err
		}
		if err := w.begin(); err != nil {
			return err
		}
		if !errors.Is(r.err, event.ErrConflict) || try == conflictTries {
			return nil
		}
	}
}

// run runs a change and keeps its error.
func (w *writer) run(r *request) {
	r.tx = &Tx{Queries: db.New(w.sql), raw: w.sql, ctx: w.work, now: w.store.opts.Now(), alone: true}
	r.err = safely(r.f, r.tx)
	if r.err == nil {
		r.err = w.inject("change")
	}
}

// safely turns a panic of a change into its error: one mistake must not stop the
// writer of all others.
func safely(f func(*Tx) error, tx *Tx) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("change panicked: %v", p)
		}
	}()
	return f(tx)
}

// finish tells the hooks, then the callers.
func (w *writer) finish(batch []*request) {
	var events []event.Event
	var timers []event.Timer
	for _, r := range batch {
		if r.err == nil {
			events = append(events, r.tx.events...)
			timers = append(timers, r.tx.timers...)
		}
	}
	w.store.announce(events, timers)
	for _, r := range batch {
		r.done <- r.err
	}
}

func (w *writer) exec(statement string) error {
	_, err := w.sql.ExecContext(w.work, statement)
	return err
}

func (w *writer) inject(point string) error {
	if err := w.store.fault(point); err != nil {
		return fmt.Errorf("%w: %w", errInjected, err)
	}
	return nil
}

// close lets the batch in hand finish and refuses the rest.
func (w *writer) close() error {
	w.cancelSoon()
	w.ended.Wait()
	err := w.sql.close()
	if cerr := w.conn.Close(); !errors.Is(cerr, sql.ErrConnDone) {
		err = errors.Join(err, cerr)
	}
	return errors.Join(err, w.handle.Close())
}

// cancelSoon ends the loop after what is queued: a plain cancel would break the
// statement in hand.
func (w *writer) cancelSoon() {
	last := &request{f: func(*Tx) error { return nil }, done: make(chan error, 1)}
	select {
	case w.normal <- last:
		select {
		case <-last.done:
		case <-time.After(5 * time.Second):
			w.store.log.Warn("closing while changes are in hand", zap.Int("waiting", len(w.urgent)))
		}
	default:
	}
	w.cancel()
}
