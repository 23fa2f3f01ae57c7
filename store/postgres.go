package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"go.uber.org/zap"

	"anling/event"
	"anling/store/db"
)

const (
	pgMaxConns  = 32
	commitLimit = 5 * time.Second // a commit may wait for a standby; then its outcome is unknown
)

// postgresEngine is PostgreSQL through database/sql. The server groups commits
// itself, so each change is a transaction of its own.
type postgresEngine struct {
	store *Store
	pool  *sql.DB
	local atomic.Bool // no synchronous standby alive: commits are on one node only
}

func openPostgres(ctx context.Context, s *Store) (engine, error) {
	cfg, err := pgx.ParseConfig(s.opts.DSN)
	if err != nil {
		return nil, fmt.Errorf("postgres connection string: %w", err)
	}
	for name, value := range map[string]string{"lock_timeout": "2s", "statement_timeout": "5s", "idle_in_transaction_session_timeout": "10s"} {
		if _, set := cfg.RuntimeParams[name]; !set {
			cfg.RuntimeParams[name] = value
		}
	}
	pool := stdlib.OpenDB(*cfg)
	pool.SetMaxOpenConns(pgMaxConns)
	pool.SetMaxIdleConns(pgMaxConns)
	e := &postgresEngine{store: s, pool: pool}
	if err := migrate(ctx, pool, Postgres); err != nil {
		return nil, errors.Join(err, pool.Close())
	}
	return e, nil
}

func (e *postgresEngine) reader() *sql.DB { return e.pool }

func (e *postgresEngine) write(ctx context.Context, _ Lane, f func(*Tx) error) error {
	for try := 1; ; try++ {
		err := e.once(ctx, f)
		if err == nil {
			e.store.noteSuccess()
			return nil
		}
		if !errors.Is(err, event.ErrConflict) || try == conflictTries {
			if connectionLost(err) {
				e.store.noteFailure(err)
			}
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("after a conflict: %w", ctx.Err())
		case <-time.After(time.Duration(rand.IntN(1000*try)) * time.Microsecond):
		}
	}
}

func (e *postgresEngine) once(caller context.Context, f func(*Tx) error) error {
	// The statements run under the writer's own limit: a cancel from outside could
	// make a commit report success that no standby has.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(caller), 2*commitLimit)
	defer cancel()
	if err := e.inject("begin"); err != nil {
		return err
	}
	sqlTx, err := e.pool.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	defer sqlTx.Rollback() //nolint:errcheck // after the commit there is nothing to undo
	if e.local.Load() {
		if _, err := sqlTx.ExecContext(ctx, "SET LOCAL synchronous_commit = local"); err != nil {
			return fmt.Errorf("begin: %w", err)
		}
	}
	tx := &Tx{Queries: db.New(sqlTx), raw: sqlTx, ctx: ctx, now: e.store.opts.Now()}
	if err := safely(f, tx); err != nil {
		return asConflict(err)
	}
	if err := e.inject("commit"); err != nil {
		return err
	}
	return e.commit(caller, sqlTx, tx)
}

// commit waits for the server and then tells the hooks, one commit after the other.
// Two commits of one aggregate may be told in the other order: readers go by Seq.
func (e *postgresEngine) commit(caller context.Context, sqlTx *sql.Tx, tx *Tx) error {
	done := make(chan error, 1)
	go func() { done <- sqlTx.Commit() }()
	limit := time.NewTimer(commitLimit)
	defer limit.Stop()
	select {
	case err := <-done:
		if err != nil {
			return fmt.Errorf("commit: %w", asConflict(err))
		}
	case <-limit.C:
		return fmt.Errorf("%w: no answer for %s", ErrUnknown, commitLimit)
	case <-caller.Done():
		return fmt.Errorf("%w: %w", ErrUnknown, caller.Err())
	}
	e.store.order.Lock()
	e.store.announce(tx.events, tx.timers)
	e.store.order.Unlock()
	return e.inject("committed")
}

// asConflict marks what a second run can settle: two writers met.
func asConflict(err error) error {
	var pe *pgconn.PgError
	if errors.As(err, &pe) && (pe.Code == "40001" || pe.Code == "40P01" || pe.Code == "55P03" || pe.Code == "23505") {
		return fmt.Errorf("%w: %w", event.ErrConflict, err)
	}
	return err
}

func connectionLost(err error) bool {
	var pe *pgconn.PgError
	if errors.As(err, &pe) {
		return pe.Code[:2] == "53" || pe.Code[:2] == "57" || pe.Code[:2] == "58" || pe.Code[:2] == "08"
	}
	var ce *pgconn.ConnectError
	return errors.As(err, &ce) || errors.Is(err, ErrUnknown) || errors.Is(err, errInjected) || pgconn.Timeout(err)
}

func isUnique(err error) bool {
	var pe *pgconn.PgError
	if errors.As(err, &pe) {
		return pe.Code == "23505"
	}
	return isUniqueSQLite(err)
}

// run watches whether a synchronous standby is alive when the server wants one.
func (e *postgresEngine) run(ctx context.Context) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		wanted, alive, err := e.standbys(ctx)
		if err != nil {
			continue // the probe of the health check tells the connection's state
		}
		alone := wanted && !alive && e.store.opts.NoStandby != "refuse"
		if e.local.Swap(alone) != alone {
			e.store.log.Error("synchronous standby", zap.Bool("one_copy_only", alone))
		}
		e.store.metrics.degraded.WithLabelValues("one_copy").Set(boolean(alone))
	}
}

func (e *postgresEngine) standbys(ctx context.Context) (wanted, alive bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	err = e.pool.QueryRowContext(ctx, `SELECT current_setting('synchronous_standby_names') <> '',
		EXISTS (SELECT 1 FROM pg_stat_replication WHERE sync_state IN ('sync', 'quorum'))`).Scan(&wanted, &alive)
	return wanted, alive, err
}

// backup runs pg_dump, which must be installed beside the server, and proves that the
// copy can be read.
func (e *postgresEngine) backup(ctx context.Context, to string) error {
	// Made here, so that only its owner may read what is about people's health.
	f, err := os.OpenFile(to, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // synced by its path below
	dsn, password, err := withoutPassword(e.store.opts.DSN)
	if err != nil {
		return err
	}
	var stderr strings.Builder
	dump := exec.CommandContext(ctx, "pg_dump", "--format=custom", "--dbname="+dsn)
	dump.Stdout, dump.Stderr = f, &stderr
	if password != "" {
		dump.Env = append(os.Environ(), "PGPASSWORD="+password)
	}
	if err := dump.Run(); err != nil {
		return fmt.Errorf("pg_dump: %w: %s", err, stderr.String())
	}
	if err := syncFile(to); err != nil {
		return err
	}
	if out, err := exec.CommandContext(ctx, "pg_restore", "--list", to).CombinedOutput(); err != nil {
		return fmt.Errorf("check %s: pg_restore: %w: %s", to, err, out)
	}
	return nil
}

var passwordOf = regexp.MustCompile(`(?i)\bpassword\s*=\s*('(\\.|[^'\\])*'|\S+)`)

// withoutPassword parts a connection string from its password: a command line can be
// read by every user of the machine.
func withoutPassword(dsn string) (rest, password string, err error) {
	cfg, err := pgx.ParseConfig(dsn)
	if err != nil {
		return "", "", fmt.Errorf("postgres connection string: %w", err)
	}
	if !strings.HasPrefix(dsn, "postgres://") && !strings.HasPrefix(dsn, "postgresql://") {
		return passwordOf.ReplaceAllString(dsn, ""), cfg.Password, nil
	}
	u, err := url.Parse(dsn)
	if err != nil {
		return "", "", errors.New("postgres connection string: not a URL") // its text has the password
	}
	if u.User != nil {
		u.User = url.User(u.User.Username())
	}
	q := u.Query()
	q.Del("password")
	u.RawQuery = q.Encode()
	return u.String(), cfg.Password, nil
}

func (e *postgresEngine) close() error { return e.pool.Close() }

func (e *postgresEngine) inject(point string) error {
	if err := e.store.fault(point); err != nil {
		return fmt.Errorf("%w: %w", errInjected, err)
	}
	return nil
}
