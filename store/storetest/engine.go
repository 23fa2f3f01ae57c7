// Package storetest runs one suite over every engine of the store, and starts the
// private PostgreSQL and Redis servers that tests need: on free ports, in temporary
// folders, ended with the test program.
package storetest

import (
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver of the probe
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"

	"anling/store"
)

// Each runs f on a fresh, empty store of every engine.
func Each(t *testing.T, f func(t *testing.T, s *store.Store)) {
	t.Helper()
	t.Run("sqlite", func(t *testing.T) { f(t, Open(t, store.Options{})) })
	t.Run("postgres", func(t *testing.T) {
		f(t, Open(t, store.Options{Engine: store.Postgres, DSN: Database(t)}))
	})
}

// Open opens a store in a temporary folder and closes it with the test.
func Open(t testing.TB, opts store.Options) *store.Store {
	t.Helper()
	if opts.DataDir == "" {
		opts.DataDir = t.TempDir()
	}
	if opts.Log == nil {
		opts.Log = zaptest.NewLogger(t, zaptest.Level(zap.ErrorLevel))
	}
	s, err := store.Open(t.Context(), opts)
	if err != nil {
		t.Fatalf("open store: %v", err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close store: %v", err)
		}
	})
	return s
}

var postgres struct {
	once   sync.Once
	port   int
	err    error
	absent string
	number int
	mu     sync.Mutex
	stop   func()
}

// Database makes an empty PostgreSQL database and returns its connection string.
// The test is skipped where PostgreSQL is not installed.
func Database(t testing.TB) string {
	t.Helper()
	postgres.once.Do(startPostgres)
	if postgres.absent != "" {
		t.Skip(postgres.absent)
	}
	if postgres.err != nil {
		t.Fatalf("start PostgreSQL: %v", postgres.err)
	}
	postgres.mu.Lock()
	postgres.number++
	name := fmt.Sprintf("test%d", postgres.number)
	postgres.mu.Unlock()
	admin, err := sql.Open("pgx", dsn("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close() //nolint:errcheck // a test's connection
	if _, err := admin.ExecContext(t.Context(), "CREATE DATABASE "+name); err != nil {
		t.Fatalf("create database: %v", err)
	}
	return dsn(name)
}

func dsn(name string) string {
	return fmt.Sprintf("postgres://postgres@127.0.0.1:%d/%s?sslmode=disable", postgres.port, name)
}

// Main runs the tests of a package and then ends the servers they started; call it
// from TestMain.
func Main(m *testing.M) {
	code := m.Run()
	if postgres.stop != nil {
		postgres.stop()
	}
	os.Exit(code)
}

func startPostgres() {
	bin := newestPostgres()
	if bin == "" {
		postgres.absent = "PostgreSQL is not installed (Debian package postgresql)"
		return
	}
	dir, err := os.MkdirTemp("", "anling-postgres-")
	if err != nil {
		postgres.err = err
		return
	}
	cred, err := unprivileged(dir)
	if err != nil {
		postgres.err = err
		return
	}
	if postgres.port, err = FreePort(); err != nil {
		postgres.err = err
		return
	}
	data := filepath.Join(dir, "data")
	initdb := exec.Command(filepath.Join(bin, "initdb"), "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync", "--locale=C.UTF-8")
	initdb.Dir, initdb.SysProcAttr = dir, &syscall.SysProcAttr{Credential: cred}
	if out, err := initdb.CombinedOutput(); err != nil {
		postgres.err = fmt.Errorf("initdb: %w: %s", err, out)
		return
	}
	server := exec.Command(filepath.Join(bin, "postgres"), "-D", data, "-p", strconv.Itoa(postgres.port),
		"-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="+dir, "-c", "max_connections=200", "-c", "shared_buffers=64MB")
	server.Dir = dir
	// A test program that is killed must not leave its server behind.
	server.SysProcAttr = &syscall.SysProcAttr{Credential: cred, Pdeathsig: syscall.SIGQUIT}
	if postgres.err = server.Start(); postgres.err != nil {
		return
	}
	postgres.stop = func() {
		_ = server.Process.Signal(syscall.SIGINT)
		_ = server.Wait()
		_ = os.RemoveAll(dir)
	}
	postgres.err = waitPostgres()
}

func newestPostgres() string {
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/postgres")
	if len(found) > 0 {
		return filepath.Dir(found[len(found)-1])
	}
	if path, err := exec.LookPath("postgres"); err == nil {
		return filepath.Dir(path)
	}
	return ""
}

// unprivileged gives the folder to the user "postgres" when the tests run as root,
// for the server refuses to.
func unprivileged(dir string) (*syscall.Credential, error) {
	if os.Getuid() != 0 {
		return nil, nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		return nil, err
	}
	uid, err := strconv.Atoi(u.Uid)
	if err != nil {
		return nil, err
	}
	gid, err := strconv.Atoi(u.Gid)
	if err != nil {
		return nil, err
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, os.Chown(dir, uid, gid)
}

func waitPostgres() error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	h, err := sql.Open("pgx", dsn("postgres"))
	if err != nil {
		return err
	}
	defer h.Close() //nolint:errcheck // a test's connection
	for {
		if err = h.PingContext(ctx); err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("PostgreSQL does not answer: %w", err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// FreePort finds a TCP port that nobody uses at this moment, below those that a system
// gives to outgoing connections: no such connection takes it before its server does.
func FreePort() (int, error) {
	var err error
	for range 100 {
		port := 5000 + rand.IntN(5000)
		var l net.Listener
		if l, err = net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
			return port, l.Close()
		}
	}
	return 0, err
}

// Eventually polls a condition for up to twenty seconds.
func Eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("not within 20 s: %s", what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}
