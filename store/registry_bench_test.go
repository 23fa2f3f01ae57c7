package store_test

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"anling/care"
	"anling/care/district"
	"anling/event"
	"anling/store"
	"anling/store/storetest"
)

// benchElders is the size of the registry in the benchmarks; the goal is stated for
// ANLING_BENCH_ELDERS=667000.
func benchElders(b *testing.B) int {
	n, err := strconv.Atoi(os.Getenv("ANLING_BENCH_ELDERS"))
	if err != nil {
		n = 20_000
	}
	if testing.Short() {
		b.Skip("short")
	}
	return n
}

// loadDistrict imports so many elders, with their devices when wanted.
func loadDistrict(b *testing.B, r *care.Registry, d *district.District, devices bool) care.Report {
	b.Helper()
	load := func(kind string, write func(io.Writer) error) care.Report {
		f, err := os.CreateTemp(b.TempDir(), "list")
		if err != nil {
			b.Fatal(err)
		}
		defer f.Close() //nolint:errcheck // a benchmark's file
		if err := write(f); err != nil {
			b.Fatal(err)
		}
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			b.Fatal(err)
		}
		report, err := r.Import(b.Context(), kind, f, care.ImportOptions{})
		if err != nil || report.Rejected > 0 {
			b.Fatalf("import: %+v, %v", report, err)
		}
		return report
	}
	report := load(care.ImportElders, d.WriteElders)
	if devices {
		load(care.ImportDevices, d.WriteDevices)
	}
	return report
}

// BenchmarkImport loads a list while alarms of the urgent lane are being written,
// and prints what those wait.
func BenchmarkImport(b *testing.B) {
	n := benchElders(b)
	for b.Loop() {
		s := storetest.Open(b, store.Options{})
		run, stop := background(b, s)
		r := storetest.NewRegistry(s)
		report := loadDistrict(b, r, district.New(district.Options{Seed: 1, Elders: n}), false)
		waits := stop()
		run()
		b.ReportMetric(float64(report.Added)/report.Seconds, "rows/s")
		b.ReportMetric(report.Seconds, "s/import")
		b.ReportMetric(quantile(waits, .5), "alarm-p50-ms")
		b.ReportMetric(quantile(waits, .99), "alarm-p99-ms")
		fmt.Printf("import: %d elders in %.1f s, %.0f rows/s; %d alarms meanwhile: p50 %.2f ms, p99 %.2f ms, max %.1f ms\n",
			report.Added, report.Seconds, float64(report.Added)/report.Seconds, len(waits), quantile(waits, .5), quantile(waits, .99), quantile(waits, 1))
	}
}

// background runs the store's duties and an alarm every 20 ms; stop ends the alarms
// and gives their waits, run ends the duties.
func background(b *testing.B, s *store.Store) (run func(), stop func() []time.Duration) {
	b.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = s.Run(ctx) })
	var done atomic.Bool
	waits := make(chan []time.Duration, 1)
	wg.Go(func() {
		var all []time.Duration
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for range tick.C {
			if done.Load() {
				break
			}
			started := time.Now()
			if err := s.Write(ctx, store.Urgent, func(tx *store.Tx) error { return tx.Append(benchFact()) }); err != nil {
				b.Error(err)
				break
			}
			all = append(all, time.Since(started))
		}
		waits <- all
	})
	return func() { cancel(); wg.Wait() }, func() []time.Duration { done.Store(true); return <-waits }
}

func benchFact() event.Event {
	id := uuid.Must(uuid.NewV7()).String()
	return event.Event{ID: id, Type: "store.thing.changed", V: 1, Agg: "thing", AggID: id, Seq: 1, At: time.Now(), Actor: "system"}
}

// BenchmarkSearch searches by telephone, last digits, name, pinyin, initials and
// device, and prints the percentiles of each.
func BenchmarkSearch(b *testing.B) {
	n := benchElders(b)
	s := storetest.Open(b, store.Options{})
	run, stop := background(b, s)
	r := storetest.NewRegistry(s)
	d := district.New(district.Options{Seed: 1, Elders: n})
	loadDistrict(b, r, d, true)
	stop()
	run()
	const each = 2000
	queries := map[string]func(e care.Elder, i int) string{
		"telephone":     func(e care.Elder, _ int) string { return e.Phones[len(e.Phones)-1] },
		"last 4 digits": func(e care.Elder, _ int) string { p := e.Phones[len(e.Phones)-1]; return p[len(p)-4:] },
		"name":          func(e care.Elder, _ int) string { return e.Name },
		"given name":    func(e care.Elder, _ int) string { return string([]rune(e.Name)[1:]) },
		"ID number":     func(e care.Elder, _ int) string { return e.IDNumber },
		"device": func(_ care.Elder, i int) string {
			for ; ; i = (i + 1) % n {
				if v, ok := d.Device(i); ok {
					return v.ExternalID
				}
			}
		},
	}
	spelled := func(initials bool) func(e care.Elder, _ int) string {
		return func(e care.Elder, _ int) string {
			hits, err := r.Search(b.Context(), e.IDNumber, 1)
			if err != nil || len(hits) != 1 {
				b.Fatalf("elder %s: %v, %v", e.ExternalKey, hits, err)
			}
			whole, err := r.Elder(b.Context(), hits[0].ID)
			if err != nil {
				b.Fatal(err)
			}
			if initials {
				return whole.Initials
			}
			return whole.Pinyin
		}
	}
	queries["pinyin"], queries["initials"] = spelled(false), spelled(true)
	for _, name := range []string{"telephone", "last 4 digits", "name", "given name", "pinyin", "initials", "device", "ID number"} {
		b.Run(name, func(b *testing.B) {
			asked := make([]string, each)
			for i := range asked {
				at := (i*7919 + 13) % n
				asked[i] = queries[name](d.Elder(at), at)
			}
			var took []time.Duration
			for i := 0; b.Loop(); i++ {
				started := time.Now()
				hits, err := r.Search(b.Context(), asked[i%each], 20)
				took = append(took, time.Since(started))
				if err != nil || len(hits) == 0 {
					b.Fatalf("%q finds %v, %v", asked[i%each], hits, err)
				}
			}
			b.ReportMetric(quantile(took, .5), "p50-ms")
			b.ReportMetric(quantile(took, .99), "p99-ms")
			fmt.Printf("search by %-14s among %d: p50 %.2f ms, p99 %.2f ms, max %.1f ms (%d searches)\n", name, n, quantile(took, .5), quantile(took, .99), quantile(took, 1), len(took))
		})
	}
}

func quantile(all []time.Duration, q float64) float64 {
	if len(all) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(all))
	return float64(sorted[min(int(q*float64(len(sorted))), len(sorted)-1)].Microseconds()) / 1000
}
