package store_test

import (
	"database/sql"
	"path/filepath"
	"testing"

	"anling/store"
	"anling/store/storetest"
)

func TestUsers(t *testing.T) {
	t.Run("sqlite", func(t *testing.T) {
		dir := t.TempDir()
		s := storetest.Open(t, store.Options{DataDir: dir})
		storetest.Users(t, s, raw(t, "sqlite", filepath.Join(dir, "db", "anling.db")))
	})
	t.Run("postgres", func(t *testing.T) {
		dsn := storetest.Database(t)
		s := storetest.Open(t, store.Options{Engine: store.Postgres, DSN: dsn})
		storetest.Users(t, s, raw(t, "pgx", dsn))
	})
}

func raw(t *testing.T, driver, dsn string) *sql.DB {
	t.Helper()
	h, err := sql.Open(driver, dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.Close() })
	return h
}
