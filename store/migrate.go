package store

import (
	"context"
	"database/sql"
	"embed"
	"fmt"
	"io/fs"

	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
)

//go:embed migrations
var migrations embed.FS

// migrate brings the schema forward to this program's. It never goes back.
func migrate(ctx context.Context, h *sql.DB, engine string) error {
	p, err := provider(h, engine)
	if err != nil {
		return err
	}
	if _, err := p.Up(ctx); err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	return nil
}

func provider(h *sql.DB, engine string) (*goose.Provider, error) {
	files, err := fs.Sub(migrations, "migrations/"+engine)
	if err != nil {
		return nil, fmt.Errorf("migrations: %w", err)
	}
	dialect, opts := goose.DialectSQLite3, []goose.ProviderOption{}
	if engine == Postgres {
		dialect = goose.DialectPostgres
		locker, err := lock.NewPostgresSessionLocker()
		if err != nil {
			return nil, fmt.Errorf("migrations: %w", err)
		}
		opts = append(opts, goose.WithSessionLocker(locker))
	}
	p, err := goose.NewProvider(dialect, h, files, opts...)
	if err != nil {
		return nil, fmt.Errorf("migrations: %w", err)
	}
	return p, nil
}

// Migration is one step of the schema and whether it is done.
type Migration struct {
	Version int64
	Name    string
	Done    bool
}

// Migrations lists the steps of the schema; an open store has done them all.
func (s *Store) Migrations(ctx context.Context) ([]Migration, error) {
	p, err := provider(s.engine.reader(), s.opts.Engine)
	if err != nil {
		return nil, err
	}
	status, err := p.Status(ctx)
	if err != nil {
		return nil, fmt.Errorf("migrations: %w", err)
	}
	var all []Migration
	for _, m := range status {
		all = append(all, Migration{Version: m.Source.Version, Name: m.Source.Path, Done: m.State == goose.StateApplied})
	}
	return all, nil
}
