package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"go.uber.org/zap"

	"anling/bus"
	"anling/care"
	"anling/cmd/anling/internal/config"
	"anling/cmd/anling/internal/secret"
	"anling/cmd/anling/internal/stage"
	"anling/dispatch"
	"anling/dispatch/assign"
	"anling/event"
	"anling/store"
	"anling/store/live"
)

// app is the whole server. This file is the one place that knows every concrete
// type; nobody else imports store, bus or web.
type app struct {
	cfg  config.Config
	log  *zap.Logger
	reg  *prometheus.Registry
	zone *time.Location

	store     *store.Store
	journal   *store.Journal
	bus       *fanout
	live      live.Store
	engine    *assign.Engine
	board     *dispatch.Board
	guard     *dispatch.Guard
	timers    *store.Timers
	positions *positions
	nightly   *nightly
	signer    *bus.Signer
}

// newApp opens and joins everything. No door is open yet when it returns.
func newApp(ctx context.Context, cfg config.Config, log *zap.Logger) (_ *app, err error) {
	a := &app{cfg: cfg, log: log, reg: prometheus.NewRegistry()}
	a.reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	defer func() {
		if err != nil {
			a.close()
		}
	}()
	if a.zone, err = time.LoadLocation(cfg.District.TimeZone); err != nil {
		return nil, fmt.Errorf("district.time_zone: %w", err)
	}
	for _, step := range []func(context.Context) error{a.openStore, a.openBus, a.openLive, a.openDispatch} {
		if err := step(ctx); err != nil {
			return nil, err
		}
	}
	return a, nil
}

func (a *app) secretsDir() string {
	if a.cfg.SecretsDir != "" {
		return a.cfg.SecretsDir
	}
	return filepath.Join(a.cfg.DataDir, "secrets")
}

func (a *app) openStore(ctx context.Context) (err error) {
	o := storeOptions(a.cfg, a.log.Named("store"))
	o.Metrics = a.reg
	if a.store, err = store.Open(ctx, o); err != nil {
		return err
	}
	dir := a.cfg.Storage.JournalDir
	if dir == "" {
		dir = filepath.Join(a.cfg.DataDir, "journal")
	}
	if a.journal, err = store.OpenJournal(dir); err != nil {
		return err
	}
	a.timers = store.NewTimers(a.store, a.log.Named("timers"))
	a.nightly = newNightly(a.cfg.Backup.At, a.zone, backupDir(a.cfg), a.cfg.Backup.Keep, a.store.Backup, a.log.Named("backup"), a.reg)
	return nil
}

func (a *app) openBus(ctx context.Context) error {
	key, err := secret.Load(a.secretsDir(), secret.NATS)
	if err != nil {
		return err
	}
	if a.signer, err = bus.NewSigner(key); err != nil {
		return err
	}
	a.bus = newFanout(ctx, bus.Options{Mode: a.cfg.NATS.Mode, StoreDir: filepath.Join(a.cfg.DataDir, "nats", "standalone"), Listen: a.cfg.NATS.Listen,
		MaxStore: int64(a.cfg.NATS.MaxStoreMB) << 20, URL: a.cfg.NATS.URL, CredFile: a.cfg.NATS.CredFile, Signer: a.signer, Log: a.log.Named("bus"), Metrics: a.reg}, a.store)
	return nil
}

func (a *app) openLive(context.Context) (err error) {
	if a.cfg.Live.Engine == "memory" {
		a.live = live.NewMemory(time.Now)
		return nil
	}
	o := live.RedisOptions{Addrs: a.cfg.Live.Addrs, Username: a.cfg.Live.Username, District: a.cfg.District.Code}
	if a.cfg.Live.PasswordFile != "" {
		text, err := os.ReadFile(a.cfg.Live.PasswordFile)
		if err != nil {
			return fmt.Errorf("live.redis_password_file: %w", err)
		}
		o.Password = strings.TrimSpace(string(text))
	}
	a.live, err = live.NewRedis(o)
	return err
}

func (a *app) openDispatch(ctx context.Context) (err error) {
	keep := store.NewDispatch(a.store)
	a.engine = assign.NewEngine(assign.Options{Store: keep, RadiusM: float64(a.cfg.Dispatch.RadiusM), Log: a.log.Named("assign"), Metrics: a.reg})
	a.board = dispatch.NewBoard(dispatch.Options{Store: keep, Engine: a.engine, Ladder: ladder(a.cfg.Dispatch.AnswerBy), OfferAtOnce: a.cfg.Dispatch.OfferAtOnce,
		Zone: a.zone, Log: a.log.Named("dispatch"), Metrics: a.reg})
	a.positions = newPositions(a.live, a.engine, a.log.Named("positions"))
	for _, kind := range assign.Timers() {
		a.timers.Handle(kind, a.engine.HandleTimer)
	}
	a.timers.Handle(dispatch.DeadlineTimer, a.board.HandleTimer)
	a.guard, err = dispatch.NewGuard(dispatch.GuardOptions{Board: a.board, Journal: a.journal.Requests(), Alert: a.alert, Log: a.log.Named("guard"), Metrics: a.reg})
	return err
}

// ladder scales the rungs to the configured first one.
func ladder(answerBy time.Duration) dispatch.Ladder {
	l := dispatch.DefaultLadder()
	first := l.Rungs[0]
	for i := range l.Rungs {
		l.Rungs[i] = time.Duration(float64(l.Rungs[i]) * float64(answerBy) / float64(first))
	}
	return l
}

// alert rings operators for an alarm that is not stored.
func (a *app) alert(r care.OpenRequest, kept bool, reason error) {
}

// committed passes the facts of a commit on. It runs between two commits and never
// blocks.
func (a *app) committed(events []event.Event) {
	a.bus.committed(events)
}

// Run serves until ctx ends, and then ends in reverse order.
func (a *app) Run(ctx context.Context) error {
	a.store.OnCommit(a.committed)
	if err := a.guard.Replay(ctx); err != nil {
		a.log.Error("journalled alarms are not stored yet; they are tried again", zap.Error(err))
	}
	err := stage.Run(ctx, a.log,
		stage.Stage{Name: "store", Runners: []stage.Runner{{Name: "store", Run: a.store.Run}, {Name: "backup", Run: a.nightly.Run}}},
		stage.Stage{Name: "bus", Runners: []stage.Runner{{Name: "bus", Run: a.bus.Run}}},
		stage.Stage{Name: "dispatch", Runners: []stage.Runner{
			{Name: "timers", Run: a.timers.Run}, {Name: "board", Run: a.board.Run}, {Name: "guard", Run: a.guard.Run}, {Name: "positions", Run: a.positions.Run}}},
	)
	return errors.Join(err, a.close())
}

// close ends what newApp opened, in reverse.
func (a *app) close() error {
	var errs []error
	if a.live != nil {
		errs = append(errs, a.live.Close())
	}
	if a.bus != nil {
		a.bus.Close()
	}
	if a.journal != nil {
		errs = append(errs, a.journal.Close())
	}
	if a.store != nil {
		errs = append(errs, a.store.Close())
	}
	return errors.Join(errs...)
}
