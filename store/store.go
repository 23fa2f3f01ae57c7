// Package store is where the truth is: SQL, on SQLite for one machine or on
// PostgreSQL for several, from one set of queries. A change, its events, its
// idempotency key, its deadlines and its outbox rows are one commit.
//
// The package also keeps the emergency journal, for what cannot be committed.
package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"anling/event"
	"anling/store/db"
)

// Engines.
const (
	SQLite   = "sqlite"
	Postgres = "postgres"
)

// Lane orders what waits for the writer.
type Lane int

const (
	Urgent Lane = iota // alarms, calls, claims: what somebody waits for
	Normal             // everything else; Urgent under event.Behind is this
	Bulk               // a chunk of an import, of some 20 ms: when nobody else waits, and first in its batch
)

// ErrUnknown says that a change was handed over and no answer came in time: it may
// be committed or not. Who gets it repeats under the same key.
var ErrUnknown = errors.New("outcome of the commit is unknown")

// ErrClosed says that the store was closed before the change was taken.
var ErrClosed = errors.New("store is closed")

// Options say where the store is. Only DataDir has no default.
type Options struct {
	Engine     string // SQLite by default
	DataDir    string // LOCK, db/, journal/, backup/
	JournalDir string // emergency journal; DataDir/journal by default
	DSN        string // Postgres only
	Readers    int    // read connections, 4 by default
	BatchMax   int    // changes of one group commit, 256 by default
	CacheMB    int    // pages that SQLite's writer keeps, 16 by default; a large import wants the keys of a district, 192
	Checkpoint time.Duration
	ReserveMB  int  // ballast freed when the disk is full; 0 for none
	UnsafeFS   bool // permit a FUSE file system
	NoStandby  string
	Log        *zap.Logger
	Metrics    prometheus.Registerer
	Now        func() time.Time
	// Fault, when set, is asked at "begin", "change", "commit" and "committed"; an
	// error stands for a failing disk. Tests use it.
	Fault func(point string) error
}

// engine is what differs between SQLite and PostgreSQL.
type engine interface {
	write(ctx context.Context, lane Lane, f func(*Tx) error) error
	reader() *sql.DB
	run(ctx context.Context) error
	backup(ctx context.Context, to string) error
	close() error
}

// Store is an open store. It is safe for concurrent use.
type Store struct {
	opts    Options
	log     *zap.Logger
	lock    *os.File
	engine  engine
	read    *db.Queries
	raw     db.DBTX // under read, for statements whose length depends on the data
	metrics *metrics
	wake    chan struct{}
	epoch   string

	hooks  sync.RWMutex
	commit []func([]event.Event)
	armed  []func([]event.Timer)
	order  sync.Mutex // one commit is told at a time on PostgreSQL

	keyMoves atomic.Int64 // unique keys of elders that changed hands; see Registry.LoadElders

	failing atomic.Pointer[string]
}

// Open opens the store, migrates it to this program's schema and takes the lock of
// the data directory.
func Open(ctx context.Context, opts Options) (*Store, error) {
	setDefaults(&opts)
	if err := os.MkdirAll(filepath.Join(opts.DataDir, "db"), 0o700); err != nil {
		return nil, fmt.Errorf("data directory: %w", err)
	}
	lock, err := lockDir(opts.DataDir)
	if err != nil {
		return nil, err
	}
	s := &Store{opts: opts, log: opts.Log, lock: lock, metrics: newMetrics(opts.Metrics), wake: make(chan struct{}, 1)}
	if err := s.open(ctx); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return s, nil
}

func (s *Store) open(ctx context.Context) (err error) {
	switch s.opts.Engine {
	case SQLite:
		s.engine, err = openSQLite(ctx, s)
	case Postgres:
		s.engine, err = openPostgres(ctx, s)
	default:
		err = fmt.Errorf("storage engine %q is not one of sqlite, postgres", s.opts.Engine)
	}
	if err != nil {
		return err
	}
	s.raw = cached(s.engine.reader())
	s.read = db.New(s.raw)
	if s.epoch, err = s.ensureEpoch(ctx); err != nil {
		return errors.Join(err, s.engine.close())
	}
	return nil
}

func setDefaults(o *Options) {
	if o.Engine == "" {
		o.Engine = SQLite
	}
	if o.JournalDir == "" {
		o.JournalDir = filepath.Join(o.DataDir, "journal")
	}
	if o.Readers <= 0 {
		o.Readers = 4
	}
	if o.CacheMB <= 0 {
		o.CacheMB = 16
	}
	if o.BatchMax <= 0 {
		o.BatchMax = 256
	}
	if o.Checkpoint <= 0 {
		o.Checkpoint = time.Second
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
}

// Write runs f in one durable transaction and returns after its commit. f may run
// more than once, from fresh reads, when it returns event.ErrConflict; it does
// nothing besides the transaction. When ctx ends first the answer is ErrUnknown:
// the change may still be committed.
func (s *Store) Write(ctx context.Context, lane Lane, f func(*Tx) error) error {
	started := time.Now()
	if lane == Urgent && event.IsBehind(ctx) {
		lane = Normal
	}
	err := s.engine.write(ctx, lane, f)
	if err == nil {
		s.metrics.commit.Observe(time.Since(started).Seconds())
	}
	return err
}

// Read are the queries outside a transaction; each sees the last commit.
func (s *Store) Read() *db.Queries { return s.read }

// ReadTx runs f over one consistent snapshot.
func (s *Store) ReadTx(ctx context.Context, f func(*db.Queries) error) error {
	tx, err := s.engine.reader().BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return fmt.Errorf("begin read: %w", err)
	}
	defer tx.Rollback() //nolint:errcheck // a read has nothing to undo
	return f(db.New(tx))
}

// OnCommit calls f with the events of each commit, in commit order on SQLite; on
// PostgreSQL two commits may be told in the other order, so readers go by Seq. f
// must not block: it runs between two commits.
func (s *Store) OnCommit(f func([]event.Event)) {
	s.hooks.Lock()
	defer s.hooks.Unlock()
	s.commit = append(s.commit, f)
}

func (s *Store) onArm(f func([]event.Timer)) {
	s.hooks.Lock()
	defer s.hooks.Unlock()
	s.armed = append(s.armed, f)
}

// announce tells the hooks what was committed.
func (s *Store) announce(events []event.Event, timers []event.Timer) {
	if len(events) > 0 {
		select {
		case s.wake <- struct{}{}:
		default:
		}
	}
	s.hooks.RLock()
	defer s.hooks.RUnlock()
	if len(timers) > 0 {
		for _, f := range s.armed {
			f(timers)
		}
	}
	if len(events) > 0 {
		for _, f := range s.commit {
			f(events)
		}
	}
}

// Epoch names this life of the data: a restore begins a new one, and whoever keeps
// a copy drops it when the epoch changes.
func (s *Store) Epoch() string { return s.epoch }

const epochMeta = "store_epoch"

func (s *Store) ensureEpoch(ctx context.Context) (string, error) {
	epoch, err := s.read.GetMeta(ctx, epochMeta)
	if err == nil {
		return epoch, nil
	}
	if !errors.Is(err, sql.ErrNoRows) {
		return "", fmt.Errorf("read store epoch: %w", err)
	}
	epoch = uuid.Must(uuid.NewV7()).String()
	err = s.Write(ctx, Normal, func(tx *Tx) error { return tx.SetMeta(tx.Context(), epochMeta, epoch) })
	if err != nil {
		return "", fmt.Errorf("write store epoch: %w", err)
	}
	return epoch, nil
}

// Run does the store's own duties until ctx ends: checkpoints, retention, and the
// watch over disk space.
func (s *Store) Run(ctx context.Context) error {
	done := make(chan error, 1)
	go func() { done <- s.engine.run(ctx) }()
	s.keep(ctx)
	return <-done
}

// Close ends the store. Nothing may be writing any more.
func (s *Store) Close() error {
	return errors.Join(s.engine.close(), s.lock.Close())
}

func (s *Store) fault(point string) error {
	if s.opts.Fault == nil {
		return nil
	}
	return s.opts.Fault(point)
}
