package store_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"anling/event"
	"anling/store"
	"anling/store/storetest"
)

// TestLogBeginsAnew: while changes never cease, the log is copied to its end and begins
// at its start again, within what was laid out for it; and nothing is lost by it, also
// not for a program that died with the laid-out part behind its last frame.
func TestLogBeginsAnew(t *testing.T) {
	dir := t.TempDir()
	s := storetest.Open(t, store.Options{DataDir: dir, Checkpoint: 20 * time.Millisecond})
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := s.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	log := filepath.Join(dir, "db", "anling.db-wal")
	laid := size(t, log)
	for end := time.Now().Add(20 * time.Second); laid < 64<<20; laid = size(t, log) {
		if time.Now().After(end) {
			t.Fatalf("the log has %d bytes", laid)
		}
	}
	// Four writers: about 60 MB of log in all their changes, were it never begun anew.
	const writers, changes = 4, 1500
	var most int64
	for w := range writers {
		wg.Go(func() {
			for i := range changes {
				err := s.Write(t.Context(), store.Urgent, func(tx *store.Tx) error { return tx.Append(facts(w, i)...) })
				if err != nil {
					t.Error(err)
					return
				}
				if n := s.LogFrames(); w == 0 && n > most {
					most = n
				}
			}
			if w == 0 {
				stop()
			}
		})
	}
	wg.Wait()
	t.Logf("at most %d frames", most)
	if most == 0 || most > 8000 {
		t.Errorf("the log grew to %d frames", most)
	}
	if now := size(t, log); now != laid {
		t.Errorf("the log has %d bytes, %d were laid out", now, laid)
	}
	// A copy of the files as they are is what a crash leaves.
	crashed := t.TempDir()
	for _, name := range []string{"anling.db", "anling.db-wal"} {
		text, err := os.ReadFile(filepath.Join(dir, "db", name))
		if err == nil {
			err = os.MkdirAll(filepath.Join(crashed, "db"), 0o700)
		}
		if err == nil {
			err = os.WriteFile(filepath.Join(crashed, "db", name), text, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	after := storetest.Open(t, store.Options{DataDir: crashed})
	stored, err := after.Timeline(t.Context(), "inc-1", 1<<20)
	if err != nil || len(stored) != writers*changes*8 {
		t.Errorf("after the crash %d of %d facts, %v", len(stored), writers*changes*8, err)
	}
}

// facts are eight of one change, each of its own aggregate.
func facts(w, i int) []event.Event {
	all := make([]event.Event, 8)
	for n := range all {
		all[n] = fact(fmt.Sprintf("%d-%d-%d", n, w, i), 1)
	}
	return all
}

func size(t *testing.T, path string) int64 {
	t.Helper()
	st, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return st.Size()
}
