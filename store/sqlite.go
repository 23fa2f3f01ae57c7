package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// minSQLite is the first version without the WAL-reset corruption of 3.7.0–3.51.2.
const minSQLite = "3.52.0"

// sqliteEngine is SQLite in WAL mode with synchronous=FULL: one connection writes,
// others read, one more keeps the WAL short.
type sqliteEngine struct {
	store   *Store
	path    string
	readers *sql.DB
	checks  *sql.DB
	writer  *writer
	frames  atomic.Int64 // of the log when it was last looked at
}

func openSQLite(ctx context.Context, s *Store) (engine, error) {
	dir := filepath.Join(s.opts.DataDir, "db")
	if err := checkFileSystem(dir, s.opts.UnsafeFS); err != nil {
		return nil, err
	}
	e := &sqliteEngine{store: s, path: filepath.Join(dir, "anling.db")}
	// Only its owner may read what is about people's health.
	f, err := os.OpenFile(e.path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("database file: %w", err)
	}
	if err := f.Close(); err != nil {
		return nil, fmt.Errorf("database file: %w", err)
	}
	writeDB, err := e.handle("_txlock=immediate", fmt.Sprintf("wal_autocheckpoint(%d)", walMost), fmt.Sprintf("cache_size(-%d)", s.opts.CacheMB<<10))
	if err != nil {
		return nil, err
	}
	writeDB.SetMaxOpenConns(1)
	if err := e.prepare(ctx, writeDB); err != nil {
		return nil, errors.Join(err, writeDB.Close())
	}
	if e.readers, err = e.handle("", "query_only(1)"); err != nil {
		return nil, errors.Join(err, writeDB.Close())
	}
	e.readers.SetMaxOpenConns(s.opts.Readers)
	e.readers.SetMaxIdleConns(s.opts.Readers)
	if e.checks, err = e.handle(""); err != nil {
		return nil, errors.Join(err, writeDB.Close(), e.readers.Close())
	}
	e.checks.SetMaxOpenConns(1)
	if e.writer, err = newWriter(ctx, s, writeDB); err != nil {
		return nil, errors.Join(err, writeDB.Close(), e.readers.Close(), e.checks.Close())
	}
	return e, nil
}

// readerCache is small because a reader drops its cache at every commit of the writer:
// of 4 MiB or more the memory goes back to the system and comes again page by page, which
// took longer than the search that waited for it. The system's cache is behind it.
const readerCache = "cache_size(-1024)"

// handle opens the file. temp_store keeps the journals of savepoints in memory: they
// are undone within a commit and need not outlive one. The writer has a larger cache,
// and walks through the table of it after every commit that split a page.
func (e *sqliteEngine) handle(extra string, pragmas ...string) (*sql.DB, error) {
	q := url.Values{}
	for _, p := range append([]string{"busy_timeout(5000)", "journal_mode(WAL)", "synchronous(FULL)", "foreign_keys(1)", readerCache, "temp_store(MEMORY)"}, pragmas...) {
		q.Add("_pragma", p)
	}
	dsn := "file:" + e.path + "?" + q.Encode()
	if extra != "" {
		dsn += "&" + extra
	}
	h, err := sql.Open("sqlite", dsn)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", e.path, err)
	}
	h.SetConnMaxLifetime(0)
	return h, nil
}

func (e *sqliteEngine) prepare(ctx context.Context, h *sql.DB) error {
	var version string
	if err := h.QueryRowContext(ctx, "SELECT sqlite_version()").Scan(&version); err != nil {
		return fmt.Errorf("open %s: %w", e.path, err)
	}
	if olderVersion(version, minSQLite) {
		return fmt.Errorf("SQLite %s can corrupt its WAL; %s or later is needed", version, minSQLite)
	}
	return migrate(ctx, h, SQLite)
}

func olderVersion(a, b string) bool {
	var x, y [3]int
	fmt.Sscanf(a, "%d.%d.%d", &x[0], &x[1], &x[2]) //nolint:errcheck // what cannot be read counts as old
	fmt.Sscanf(b, "%d.%d.%d", &y[0], &y[1], &y[2]) //nolint:errcheck // a constant
	for i := range x {
		if x[i] != y[i] {
			return x[i] < y[i]
		}
	}
	return false
}

func (e *sqliteEngine) write(ctx context.Context, lane Lane, f func(*Tx) error) error {
	return e.writer.do(ctx, lane, f)
}

func (e *sqliteEngine) reader() *sql.DB { return e.readers }

// backup writes a whole copy by VACUUM INTO and proves that it can be read.
func (e *sqliteEngine) backup(ctx context.Context, to string) error {
	h, err := e.handle("")
	if err != nil {
		return err
	}
	defer h.Close() //nolint:errcheck // nothing was written through it but the copy
	if _, err := h.ExecContext(ctx, "VACUUM INTO $1", to); err != nil {
		return fmt.Errorf("copy to %s: %w", to, err)
	}
	if err := os.Chmod(to, 0o600); err != nil {
		return fmt.Errorf("copy to %s: %w", to, err)
	}
	if err := syncFile(to); err != nil {
		return err
	}
	return verifyCopy(ctx, to)
}

// verifyCopy runs the integrity check over a database file, and looks whether it is
// one of ours.
func verifyCopy(ctx context.Context, path string) error {
	h, err := sql.Open("sqlite", "file:"+path+"?mode=ro")
	if err != nil {
		return fmt.Errorf("check %s: %w", path, err)
	}
	defer h.Close() //nolint:errcheck // opened read-only
	var verdict string
	if err := h.QueryRowContext(ctx, "PRAGMA integrity_check").Scan(&verdict); err != nil {
		return fmt.Errorf("check %s: %w", path, err)
	}
	if verdict != "ok" {
		return fmt.Errorf("check %s: %s", path, verdict)
	}
	var epoch string
	if err := h.QueryRowContext(ctx, "SELECT value FROM meta WHERE name = '"+epochMeta+"'").Scan(&epoch); err != nil {
		return fmt.Errorf("check %s: not a database of this program: %w", path, err)
	}
	return nil
}

func (e *sqliteEngine) close() error {
	err := e.writer.close()
	return errors.Join(err, e.readers.Close(), e.checks.Close())
}

// broken tells whether an error has, or may have, rolled back the whole
// transaction rather than one statement.
func broken(err error) bool {
	var se *sqlite.Error
	if !errors.As(err, &se) {
		return errors.Is(err, errInjected)
	}
	switch se.Code() & 0xff {
	case sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_CORRUPT,
		sqlite3.SQLITE_INTERRUPT, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_NOTADB:
		return true
	}
	return false
}

func full(err error) bool {
	var se *sqlite.Error
	return errors.As(err, &se) && se.Code()&0xff == sqlite3.SQLITE_FULL ||
		err != nil && strings.Contains(err.Error(), "no space left")
}

func isUniqueSQLite(err error) bool {
	var se *sqlite.Error
	if !errors.As(err, &se) {
		return false
	}
	return se.Code() == sqlite3.SQLITE_CONSTRAINT_UNIQUE || se.Code() == sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY
}
