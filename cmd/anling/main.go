// Command anling is the server of a district's elder hotline and one-key calls.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/alecthomas/kong"
	"go.uber.org/zap"

	"anling/cmd/anling/internal/config"
	"anling/store"
)

// version is set by the build.
var version = "dev"

// cli is the command line.
type cli struct {
	Config string `help:"Configuration file; without it the defaults and ANLING_ variables hold." env:"ANLING_CONFIG" type:"path"`

	Serve   serveCmd   `cmd:"" help:"Run the server."`
	Import  importCmd  `cmd:"" help:"Load a list of elders, devices, providers or responders."`
	Device  deviceCmd  `cmd:"" help:"Enter and list devices."`
	Demo    demoCmd    `cmd:"" help:"A generated district, one SOS press and one hotline call through the real sockets."`
	Cfg     configCmd  `cmd:"" name:"config" help:"Look at the configuration."`
	Migrate migrateCmd `cmd:"" help:"Bring the database to this program's schema and list its steps."`
	Backup  backupCmd  `cmd:"" help:"Write a verified copy of the database."`
	Restore restoreCmd `cmd:"" help:"Put a copy in the place of the database; the server must be stopped."`
	User    userCmd    `cmd:"" help:"Accounts of operators, responders and others."`
	Version versionCmd `cmd:"" help:"Print the version."`
}

func main() {
	var c cli
	k := kong.Parse(&c, kong.Name("anling"), kong.Description("The 24-hour elder hotline and its one-key emergency calls."), kong.UsageOnError())
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	k.BindTo(ctx, (*context.Context)(nil))
	if err := k.Run(&c); err != nil {
		fmt.Fprintln(os.Stderr, "anling: "+err.Error())
		stop()
		os.Exit(1)
	}
}

// load reads the configuration named on the command line.
func (c *cli) load() (config.Config, error) { return config.Load(c.Config, os.Environ()) }

type configCmd struct {
	Check configCheckCmd `cmd:"" help:"Check the configuration and say what is wrong, with line and key."`
}

type configCheckCmd struct{}

func (configCheckCmd) Run(c *cli) error {
	if _, err := c.load(); err != nil {
		return err
	}
	fmt.Println("the configuration is good")
	return nil
}

type versionCmd struct{}

func (versionCmd) Run() error {
	fmt.Println("anling " + version)
	return nil
}

type migrateCmd struct{}

func (migrateCmd) Run(ctx context.Context, c *cli) (err error) {
	cfg, err := c.load()
	if err != nil {
		return err
	}
	st, err := openStore(ctx, cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	steps, err := st.Migrations(ctx)
	if err != nil {
		return err
	}
	for _, m := range steps {
		fmt.Printf("%d\t%s\tdone=%t\n", m.Version, m.Name, m.Done)
	}
	return nil
}

type restoreCmd struct {
	File string `arg:"" help:"The copy, as written by anling backup." type:"existingfile"`
}

func (r restoreCmd) Run(ctx context.Context, c *cli) error {
	cfg, err := c.load()
	if err != nil {
		return err
	}
	if cfg.Storage.Engine != store.SQLite {
		return errors.New("restore a PostgreSQL dump with pg_restore, then start the server")
	}
	aside, err := store.Restore(ctx, cfg.DataDir, r.File)
	if err != nil {
		return err
	}
	st, err := openStore(ctx, cfg)
	if err != nil {
		return err
	}
	if err := st.BeginEpoch(ctx); err != nil {
		return errors.Join(err, st.Close())
	}
	fmt.Printf("restored; the former database is in %s\n", aside)
	return st.Close()
}

type backupCmd struct {
	To string `help:"Directory of the copies; backup.dir by default." type:"path"`
}

func (b backupCmd) Run(ctx context.Context, c *cli) (err error) {
	cfg, err := c.load()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Hour)
	defer cancel()
	st, err := openStore(ctx, cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	to := b.To
	if to == "" {
		to = backupDir(cfg)
	}
	path, err := st.Backup(ctx, to)
	if err != nil {
		return err
	}
	fmt.Println(path)
	return nil
}

// The places that the configuration leaves to the data directory.

func backupDir(cfg config.Config) string { return within(cfg, cfg.Backup.Dir, "backup") }

func secretsDir(cfg config.Config) string { return within(cfg, cfg.SecretsDir, "secrets") }

func journalDir(cfg config.Config) string { return within(cfg, cfg.Storage.JournalDir, "journal") }

func recordingsDir(cfg config.Config) string { return within(cfg, cfg.Recording.Dir, "recordings") }

func within(cfg config.Config, set, name string) string {
	if set != "" {
		return set
	}
	return filepath.Join(cfg.DataDir, name)
}

// storeOptions are the settings of the store.
func storeOptions(cfg config.Config, log *zap.Logger) (store.Options, error) {
	o := store.Options{
		Engine: cfg.Storage.Engine, DataDir: cfg.DataDir, JournalDir: journalDir(cfg), Readers: cfg.Storage.Readers,
		BatchMax: cfg.Storage.BatchMax, Checkpoint: cfg.Storage.Checkpoint, ReserveMB: cfg.Storage.ReserveMB,
		UnsafeFS: cfg.Storage.UnsafeFS, NoStandby: cfg.Storage.NoStandby, Log: log,
	}
	if o.Engine == store.Postgres {
		// Without its text the driver would go to the default server of this machine.
		dsn, err := os.ReadFile(cfg.Storage.DSNFile)
		if err != nil {
			return o, fmt.Errorf("storage.dsn_file: %w", err)
		}
		o.DSN = strings.TrimSpace(string(dsn))
	}
	return o, nil
}

// openStore opens the store for a command of the terminal.
func openStore(ctx context.Context, cfg config.Config) (*store.Store, error) {
	o, err := storeOptions(cfg, zap.NewNop())
	if err != nil {
		return nil, err
	}
	// The keys of a whole district, so that an import does not read them again and
	// again; the memory is taken only as they come.
	o.CacheMB = 192
	st, err := store.Open(ctx, o)
	if errors.Is(err, store.ErrLocked) {
		return nil, fmt.Errorf("%w: stop the server first", err)
	}
	return st, err
}
