package store

import (
	"context"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
)

// Retention of what is only needed for repeats.
const (
	keepKeys   = 7 * 24 * time.Hour
	keepTimers = 24 * time.Hour
	lowDisk    = 512 << 20 // bytes left below which the health says so
)

type metrics struct {
	commit   prometheus.Histogram
	batch    prometheus.Histogram
	wal      prometheus.Gauge
	free     prometheus.Gauge
	pending  prometheus.Gauge
	degraded *prometheus.GaugeVec
	late     prometheus.Histogram
	outbox   prometheus.Gauge
	oldest   prometheus.Gauge
}

func newMetrics(r prometheus.Registerer) *metrics {
	m := &metrics{
		commit: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "anling_store_commit_seconds",
			Help: "From handing over a change to its durable commit.", Buckets: prometheus.ExponentialBuckets(0.0002, 2, 16)}),
		batch: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "anling_store_batch_size",
			Help: "Changes in one group commit.", Buckets: prometheus.ExponentialBuckets(1, 2, 9)}),
		wal:      prometheus.NewGauge(prometheus.GaugeOpts{Name: "anling_store_wal_bytes", Help: "Size of SQLite's write-ahead log."}),
		free:     prometheus.NewGauge(prometheus.GaugeOpts{Name: "anling_store_disk_free_bytes", Help: "Space left on the data directory's file system."}),
		pending:  prometheus.NewGauge(prometheus.GaugeOpts{Name: "anling_store_journal_pending", Help: "Requests in the emergency journal that are not yet committed."}),
		degraded: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "anling_store_degraded", Help: "1 while the store works with less than its full promise."}, []string{"reason"}),
		late: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "anling_store_timer_late_seconds",
			Help: "How late deadlines fire.", Buckets: prometheus.ExponentialBuckets(0.001, 3, 12)}),
		outbox: prometheus.NewGauge(prometheus.GaugeOpts{Name: "anling_bus_outbox_pending", Help: "Facts that are not yet in the stream."}),
		oldest: prometheus.NewGauge(prometheus.GaugeOpts{Name: "anling_bus_outbox_oldest_seconds", Help: "Age of the oldest fact that is not yet in the stream."}),
	}
	r.MustRegister(m.commit, m.batch, m.wal, m.free, m.pending, m.degraded, m.late, m.outbox, m.oldest)
	for _, reason := range []string{"commit", "disk", "one_copy", "journal"} {
		m.degraded.WithLabelValues(reason).Set(0)
	}
	return m
}

func boolean(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func (s *Store) noteFailure(err error) {
	text := err.Error()
	if s.failing.Swap(&text) == nil {
		s.log.Error("commits fail", zap.Error(err))
	}
	s.metrics.degraded.WithLabelValues("commit").Set(1)
}

func (s *Store) noteSuccess() {
	if s.failing.Load() != nil && s.failing.Swap(nil) != nil {
		s.log.Info("commits go on")
		s.metrics.degraded.WithLabelValues("commit").Set(0)
	}
}

// Probe makes a real durable write, as the readiness check promises.
func (s *Store) Probe(ctx context.Context) error {
	return s.Write(ctx, Urgent, func(tx *Tx) error {
		return tx.SetMeta(tx.Context(), "probe", tx.now.UTC().Format(time.RFC3339Nano))
	})
}

// Health is the store's state without a write: "ok", "degraded" or "failing", and
// what is wrong.
func (s *Store) Health() (state, detail string) {
	if text := s.failing.Load(); text != nil {
		return "failing", *text
	}
	if left, err := diskFree(s.opts.DataDir); err == nil && left < lowDisk {
		return "degraded", fmt.Sprintf("%d MiB left on the data directory's disk", left>>20)
	}
	return "ok", ""
}

// keep does the slow duties until ctx ends: retention, ballast, disk space.
func (s *Store) keep(ctx context.Context) {
	tick := time.NewTicker(5 * time.Second)
	defer tick.Stop()
	s.keepReserve()
	for n := 1; ; n++ {
		s.measure(ctx)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if n%60 == 0 {
			s.sweep(ctx)
			s.keepReserve()
		}
	}
}

func (s *Store) measure(ctx context.Context) {
	if left, err := diskFree(s.opts.DataDir); err == nil {
		s.metrics.free.Set(float64(left))
		s.metrics.degraded.WithLabelValues("disk").Set(boolean(left < lowDisk))
	}
	if o, err := s.read.OutboxStats(ctx); err == nil {
		s.metrics.outbox.Set(float64(o.Pending))
		age := 0.0
		if o.OldestUs > 0 {
			age = s.opts.Now().Sub(at(o.OldestUs)).Seconds()
		}
		s.metrics.oldest.Set(age)
	}
}

// sweep deletes what has served, in short changes.
func (s *Store) sweep(ctx context.Context) {
	now := s.opts.Now()
	err := s.Write(ctx, Normal, func(tx *Tx) error {
		if _, err := tx.DeleteOldKeys(tx.Context(), us(now.Add(-keepKeys))); err != nil {
			return err
		}
		_, err := tx.DeleteDoneTimers(tx.Context(), us(now.Add(-keepTimers)))
		return err
	})
	if err != nil && ctx.Err() == nil {
		s.log.Warn("retention", zap.Error(err))
	}
}
