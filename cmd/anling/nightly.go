package main

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"anling/store"
)

// nightly writes a copy of the database every night and keeps the newest.
type nightly struct {
	at     string // "03:30" in zone; empty: never
	zone   *time.Location
	dir    string
	keep   int
	backup func(ctx context.Context, dir string) (string, error)
	log    *zap.Logger
	last   prometheus.Gauge // when the newest good copy was written
	now    func() time.Time
}

func newNightly(at string, zone *time.Location, dir string, keep int, backup func(context.Context, string) (string, error), log *zap.Logger, reg prometheus.Registerer) *nightly {
	n := &nightly{at: at, zone: zone, dir: dir, keep: keep, backup: backup, log: log, now: time.Now,
		last: prometheus.NewGauge(prometheus.GaugeOpts{Name: "anling_store_backup_timestamp_seconds", Help: "When the newest copy was written."})}
	reg.MustRegister(n.last)
	// A restart is no reason to tell the watch that there never was a copy.
	if at, err := store.LastBackup(dir); err != nil {
		log.Warn("look for the newest copy", zap.Error(err))
	} else if !at.IsZero() {
		n.last.Set(float64(at.Unix()))
	}
	return n
}

// next is the first time of day after now.
func (n *nightly) next(now time.Time) time.Time {
	clock, err := time.Parse("15:04", n.at)
	if err != nil { // the configuration was checked
		panic("nightly: " + err.Error())
	}
	now = now.In(n.zone)
	due := time.Date(now.Year(), now.Month(), now.Day(), clock.Hour(), clock.Minute(), 0, 0, n.zone)
	if !due.After(now) {
		due = time.Date(now.Year(), now.Month(), now.Day()+1, clock.Hour(), clock.Minute(), 0, 0, n.zone)
	}
	return due
}

// Run writes copies until ctx ends. A failed one is tried again after an hour.
func (n *nightly) Run(ctx context.Context) error {
	if n.at == "" {
		<-ctx.Done()
		return nil
	}
	due := n.next(n.now())
	for {
		wait := time.NewTimer(due.Sub(n.now()))
		select {
		case <-ctx.Done():
			wait.Stop()
			return nil
		case <-wait.C:
		}
		if err := n.once(ctx); err != nil {
			n.log.Error("nightly backup", zap.Error(err))
			due = n.now().Add(time.Hour)
			continue
		}
		due = n.next(n.now())
	}
}

func (n *nightly) once(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Hour)
	defer cancel()
	path, err := n.backup(ctx, n.dir)
	if err != nil {
		return err
	}
	n.last.Set(float64(n.now().Unix()))
	n.log.Info("nightly backup written", zap.String("file", path))
	return store.PruneBackups(n.dir, n.keep)
}
