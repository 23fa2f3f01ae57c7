package store_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.uber.org/zap/zaptest"

	"anling/event"
	"anling/store"
	"anling/store/storetest"
)

func TestMain(m *testing.M) { storetest.Main(m) }

func fact(agg string, seq int64) event.Event {
	return event.Event{ID: uuid.Must(uuid.NewV7()).String(), Type: "store.thing.changed", V: 1, Agg: "thing", AggID: agg, Seq: seq,
		IncidentID: "inc-1", At: time.Now(), Actor: "system", Body: json.RawMessage(`{"n":1}`)}
}

func write(t *testing.T, s *store.Store, f func(*store.Tx) error) {
	t.Helper()
	if err := s.Write(t.Context(), store.Urgent, f); err != nil {
		t.Fatal(err)
	}
}

func TestChangeIsAllOrNothing(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		write(t, s, func(tx *store.Tx) error {
			if _, err := tx.TakeKey("door", "k1", "ref1", "d"); err != nil {
				return err
			}
			return errors.Join(tx.SetReply("door", "k1", json.RawMessage(`{"id":"ref1"}`)), tx.Append(fact("a", 1)))
		})
		oops := errors.New("oops")
		err := s.Write(t.Context(), store.Urgent, func(tx *store.Tx) error {
			if _, err := tx.TakeKey("door", "k2", "ref2", "d"); err != nil {
				return err
			}
			return errors.Join(tx.Append(fact("a", 2)), oops)
		})
		if !errors.Is(err, oops) {
			t.Fatalf("the change's own error is %v", err)
		}
		timeline, err := s.Timeline(t.Context(), "inc-1", 10)
		if err != nil || len(timeline) != 1 || timeline[0].Seq != 1 || string(timeline[0].Body) != `{"n":1}` {
			t.Fatalf("timeline is %v, %v", timeline, err)
		}
		waiting, err := s.Outbox().Waiting(t.Context(), 10)
		if err != nil || len(waiting) != 1 || waiting[0].Subject != "anling.evt.store.thing.changed.a" {
			t.Fatalf("outbox is %v, %v", waiting, err)
		}
		if err := s.Outbox().MarkSent(t.Context(), waiting); err != nil {
			t.Fatal(err)
		}
		if waiting, err = s.Outbox().Waiting(t.Context(), 10); err != nil || len(waiting) != 0 {
			t.Fatalf("after sending the outbox is %v, %v", waiting, err)
		}
		write(t, s, func(tx *store.Tx) error {
			taken, err := tx.TakeKey("door", "k1", "other", "d2")
			if err != nil || !taken.Repeat || taken.Ref != "ref1" || taken.Digest != "d" || string(taken.Reply) != `{"id":"ref1"}` || taken.Hits != 2 {
				t.Errorf("the repeat of k1 is %+v, %v", taken, err)
			}
			if taken, err = tx.TakeKey("door", "k2", "ref9", "d"); err != nil || taken.Repeat {
				t.Errorf("k2 was rolled back, but is %+v, %v", taken, err)
			}
			return nil
		})
	})
}

// TestOutboxIsMarkedByWhatWasRead: rows that came after the read stay.
func TestOutboxIsMarkedByWhatWasRead(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		for i := range 6 {
			write(t, s, func(tx *store.Tx) error { return tx.Append(fact("o", int64(i+1))) })
		}
		read, err := s.Outbox().Waiting(t.Context(), 4)
		if err != nil || len(read) != 4 {
			t.Fatalf("%d rows, %v", len(read), err)
		}
		if err := s.Outbox().MarkSent(t.Context(), read); err != nil {
			t.Fatal(err)
		}
		left, err := s.Outbox().Waiting(t.Context(), 10)
		if err != nil || len(left) != 2 || left[0].Pos <= read[3].Pos {
			t.Errorf("%d rows are left, %v", len(left), err)
		}
	})
}

// TestManyWriters: each of many concurrent changes is done exactly once, and the
// hooks hear all of them in an order that keeps Seq.
func TestManyWriters(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		var heard sync.Map
		var count atomic.Int64
		s.OnCommit(func(events []event.Event) {
			for _, e := range events {
				if _, twice := heard.LoadOrStore(e.ID, true); twice {
					t.Errorf("event %s is told twice", e.ID)
				}
				count.Add(1)
			}
		})
		const writers, each = 32, 20
		var wg sync.WaitGroup
		for w := range writers {
			wg.Go(func() {
				for i := range each {
					lane := []store.Lane{store.Urgent, store.Normal, store.Bulk}[w%3]
					err := s.Write(t.Context(), lane, func(tx *store.Tx) error {
						if i%5 == 4 {
							return fmt.Errorf("refused %d", i)
						}
						return tx.Append(fact(fmt.Sprint("agg", w), int64(i+1)))
					})
					if (err != nil) != (i%5 == 4) {
						t.Errorf("change %d: %v", i, err)
					}
				}
			})
		}
		wg.Wait()
		if got := count.Load(); got != writers*each*4/5 {
			t.Errorf("%d events told, want %d", got, writers*each*4/5)
		}
	})
}

// TestBulkWaits: what comes during a chunk of an import is written before the next
// chunk, and a chunk that is refused, or runs again, leaves nothing behind.
func TestBulkWaits(t *testing.T) {
	s := storetest.Open(t, store.Options{})
	started, goOn := make(chan struct{}), make(chan struct{})
	var mu sync.Mutex
	var order []string
	change := func(name string, seq int64) func(*store.Tx) error {
		return func(tx *store.Tx) error {
			mu.Lock()
			order = append(order, name)
			mu.Unlock()
			return tx.Append(fact(name, seq))
		}
	}
	var wg sync.WaitGroup
	put := func(lane store.Lane, f func(*store.Tx) error) {
		wg.Go(func() {
			if err := s.Write(t.Context(), lane, f); err != nil {
				t.Error(err)
			}
		})
	}
	oops := errors.New("oops")
	runs := 0
	wg.Go(func() {
		err := s.Write(t.Context(), store.Bulk, func(tx *store.Tx) error {
			if runs++; runs == 1 {
				close(started)
				<-goOn
			}
			if err := tx.Append(fact("refused", 1)); err != nil {
				return err
			}
			if runs < 3 {
				return fmt.Errorf("seen: %w", event.ErrConflict)
			}
			return oops
		})
		if !errors.Is(err, oops) || runs != 3 {
			t.Errorf("the refused chunk ends with %v after %d runs", err, runs)
		}
	})
	<-started
	put(store.Bulk, change("chunk", 1))
	put(store.Urgent, change("alarm", 1))
	put(store.Normal, change("edit", 1))
	for s.Waiting() < 3 {
		runtime.Gosched()
	}
	close(goOn)
	wg.Wait()
	if len(order) != 3 || order[2] != "chunk" || order[0] != "alarm" {
		t.Errorf("written in the order %v", order)
	}
	timeline, err := s.Timeline(t.Context(), "inc-1", 10)
	if err != nil || len(timeline) != 3 {
		t.Errorf("stored are %d facts, %v", len(timeline), err)
	}
}

// TestUrgentGoesFirst: what somebody waits for overtakes what follows by itself, also
// when it comes from a context that is behind, and never stops it.
func TestUrgentGoesFirst(t *testing.T) {
	s := storetest.Open(t, store.Options{BatchMax: 8})
	var mu sync.Mutex
	var order []string
	var wg sync.WaitGroup
	put := func(ctx context.Context, lane store.Lane, name string, f func()) {
		wg.Go(func() {
			err := s.Write(ctx, lane, func(tx *store.Tx) error {
				mu.Lock()
				order = append(order, name)
				mu.Unlock()
				if f != nil {
					f()
				}
				return tx.Append(fact(name, 1))
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	started, goOn := make(chan struct{}), make(chan struct{})
	put(t.Context(), store.Urgent, "first", func() { close(started); <-goOn })
	<-started
	put(event.Behind(t.Context()), store.Urgent, "offers", nil)
	for s.Waiting() < 1 {
		runtime.Gosched()
	}
	// Each alarm brings the next one before it is done: their queue is never empty.
	storm, more := 0, func() {}
	more = func() {
		if storm++; storm == 200 {
			return
		}
		was := s.Waiting()
		put(t.Context(), store.Urgent, fmt.Sprint("alarm", storm), more)
		for s.Waiting() == was {
			runtime.Gosched()
		}
	}
	more()
	close(goOn)
	wg.Wait()
	at := slices.Index(order, "offers")
	if at < 2 || at > 24 {
		t.Errorf("what is behind was the %d. of %d changes", at+1, len(order))
	}
}

func TestConflictRunsAgain(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		runs := 0
		write(t, s, func(tx *store.Tx) error {
			if runs++; runs < 3 {
				return fmt.Errorf("seen: %w", event.ErrConflict)
			}
			return tx.Append(fact("b", 1))
		})
		if runs != 3 {
			t.Errorf("%d runs", runs)
		}
		err := s.Write(t.Context(), store.Urgent, func(tx *store.Tx) error { return tx.Append(fact("b", 1)) })
		if !errors.Is(err, event.ErrConflict) {
			t.Errorf("a second event of the same Seq gives %v", err)
		}
		if err := s.Write(t.Context(), store.Normal, func(*store.Tx) error { panic("mistake") }); err == nil {
			t.Error("a panic of a change is no error")
		}
		write(t, s, func(tx *store.Tx) error { return tx.Append(fact("b", 2)) })
	})
}

// TestTimers: fires once, in order, after a re-arm only the new one, after a
// disarm never, and those of before the start as well.
func TestTimers(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		now := time.Now()
		write(t, s, func(tx *store.Tx) error {
			return errors.Join(
				tx.Arm(event.Timer{AggID: "old", Kind: "t.k", Due: now.Add(-time.Hour)}),
				tx.Arm(event.Timer{AggID: "off", Kind: "t.k", Due: now.Add(-time.Hour)}),
				tx.Disarm("off", "t.k"), tx.Disarm("none", "t.k"),
				tx.Arm(event.Timer{AggID: "again", Kind: "t.k", Due: now.Add(time.Hour)}))
		})
		fired := make(chan event.Timer, 10)
		timers := store.NewTimers(s, zaptest.NewLogger(t))
		failures := 0
		timers.Handle("t.k", func(ctx context.Context, x event.Timer) error {
			if x.AggID == "again" && failures == 0 {
				failures++
				return errors.New("first try fails")
			}
			err := s.Write(ctx, store.Urgent, func(tx *store.Tx) error { return tx.Fire(x) })
			if err == nil {
				fired <- x
			}
			return err
		})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- timers.Run(ctx) }()
		if x := <-fired; x.AggID != "old" {
			t.Errorf("first fired is %s", x.AggID)
		}
		write(t, s, func(tx *store.Tx) error {
			return tx.Arm(event.Timer{AggID: "again", Kind: "t.k", Due: time.Now().Add(30 * time.Millisecond), Body: json.RawMessage(`{"x":1}`)})
		})
		if x := <-fired; x.AggID != "again" || string(x.Body) != `{"x":1}` || x.Version != 2 {
			t.Errorf("second fired is %+v", x)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		err := s.Write(t.Context(), store.Urgent, func(tx *store.Tx) error {
			return tx.Fire(event.Timer{AggID: "again", Kind: "t.k", Version: 2})
		})
		if !errors.Is(err, event.ErrStale) {
			t.Errorf("firing twice gives %v", err)
		}
	})
}

func TestSingletonIsOne(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		ctx, cancel := context.WithCancel(t.Context())
		var holding, most atomic.Int64
		began := make(chan struct{}, 4)
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				err := s.Singleton(ctx, "duty", func(ctx context.Context) error {
					most.Store(max(most.Load(), holding.Add(1)))
					began <- struct{}{}
					<-ctx.Done()
					holding.Add(-1)
					return nil
				})
				if err != nil {
					t.Error(err)
				}
			})
		}
		<-began
		cancel()
		wg.Wait()
		if most.Load() != 1 {
			t.Errorf("%d held the lease at once", most.Load())
		}
	})
}

func TestOneProcessPerDirectory(t *testing.T) {
	dir := t.TempDir()
	storetest.Open(t, store.Options{DataDir: dir})
	if _, err := store.Open(t.Context(), store.Options{DataDir: dir}); !errors.Is(err, store.ErrLocked) {
		t.Errorf("a second process gets %v", err)
	}
}

// TestABrokenDiskRefusesAndRecovers: while commits fail every caller gets an error
// and nothing is stored; afterwards the store works on.
func TestABrokenDiskRefusesAndRecovers(t *testing.T) {
	for _, point := range []string{"begin", "change", "commit"} {
		t.Run(point, func(t *testing.T) {
			var bad atomic.Bool
			s := storetest.Open(t, store.Options{Log: zaptest.NewLogger(t), Fault: func(p string) error {
				if bad.Load() && p == point {
					return errors.New("no space left on device")
				}
				return nil
			}})
			bad.Store(true)
			var wg sync.WaitGroup
			for i := range 40 {
				wg.Go(func() {
					err := s.Write(t.Context(), store.Urgent, func(tx *store.Tx) error { return tx.Append(fact("x"+strconv.Itoa(i), 1)) })
					if err == nil {
						t.Error("a change is taken that cannot be stored")
					}
				})
			}
			wg.Wait()
			if state, detail := s.Health(); state != "failing" || detail == "" {
				t.Errorf("health is %s, %s", state, detail)
			}
			bad.Store(false)
			// A commit of nothing succeeds on a full disk too: it proves nothing.
			write(t, s, func(*store.Tx) error { return nil })
			if state, _ := s.Health(); state != "failing" {
				t.Errorf("health is %s after a commit that wrote nothing", state)
			}
			write(t, s, func(tx *store.Tx) error { return tx.Append(fact("x1", 1)) })
			if state, detail := s.Health(); state == "failing" {
				t.Errorf("health is %s, %s after a commit", state, detail)
			}
			timeline, err := s.Timeline(t.Context(), "inc-1", 100)
			if err != nil || len(timeline) != 1 {
				t.Errorf("%d events are stored, %v", len(timeline), err)
			}
		})
	}
}

// TestCommittedButUnanswered: the commit stands, but its answer is lost.
func TestCommittedButUnanswered(t *testing.T) {
	fail := true
	s := storetest.Open(t, store.Options{Fault: func(p string) error {
		if p == "committed" && fail {
			fail = false
			return errors.New("the answer is lost")
		}
		return nil
	}})
	// The answer of the first commit was lost: the writer runs the change again,
	// and the key tells that it is done.
	var hits int64
	write(t, s, func(tx *store.Tx) error {
		taken, err := tx.TakeKey("door", "k", "r", "d")
		hits = taken.Hits
		if err == nil && !taken.Repeat {
			return tx.Append(fact("once", 1))
		}
		return err
	})
	if hits != 1 && hits != 2 {
		t.Errorf("hits is %d", hits)
	}
	timeline, err := s.Timeline(t.Context(), "inc-1", 10)
	if err != nil || len(timeline) != 1 {
		t.Errorf("%d events, %v", len(timeline), err)
	}
}

func TestBackupAndRestore(t *testing.T) {
	dir := t.TempDir()
	s, err := store.Open(t.Context(), store.Options{DataDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	write(t, s, func(tx *store.Tx) error { return tx.Append(fact("kept", 1)) })
	copied, err := s.Backup(t.Context(), filepath.Join(dir, "backup"))
	if err != nil {
		t.Fatal(err)
	}
	write(t, s, func(tx *store.Tx) error { return tx.Append(fact("later", 1)) })
	if _, err := store.Restore(t.Context(), dir, copied); !errors.Is(err, store.ErrLocked) {
		t.Errorf("restoring under a running server gives %v", err)
	}
	before := s.Epoch()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	aside, err := store.Restore(t.Context(), dir, copied)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(aside, "anling.db")); err != nil {
		t.Errorf("the former database is not kept: %v", err)
	}
	again := storetest.Open(t, store.Options{DataDir: dir})
	if err := again.BeginEpoch(t.Context()); err != nil || again.Epoch() == before {
		t.Errorf("epoch is the same after a restore (%v)", err)
	}
	timeline, err := again.Timeline(t.Context(), "inc-1", 10)
	if err != nil || len(timeline) != 1 || timeline[0].AggID != "kept" {
		t.Errorf("restored timeline is %v, %v", timeline, err)
	}
}

func TestPostgresBackupKeepsItsPasswordToItself(t *testing.T) {
	dsn := storetest.Database(t)
	real, err := exec.LookPath("pg_dump")
	if err != nil {
		t.Skip("pg_dump is not installed (Debian package postgresql)")
	}
	tools, told := t.TempDir(), filepath.Join(t.TempDir(), "arguments")
	script := "#!/bin/sh\necho \"$@\" > " + told + "\nexec " + real + " \"$@\"\n"
	if err := os.WriteFile(filepath.Join(tools, "pg_dump"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", tools+":"+os.Getenv("PATH"))
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	for form, dsn := range map[string]string{
		"url":  strings.Replace(dsn, "postgres@", "postgres:s3cret@", 1),
		"text": fmt.Sprintf("host=%s port=%s user=postgres password='s3cret' dbname=%s sslmode=disable", u.Hostname(), u.Port(), u.Path[1:]),
	} {
		s := storetest.Open(t, store.Options{Engine: store.Postgres, DSN: dsn})
		path, err := s.Backup(t.Context(), filepath.Join(t.TempDir(), "backup"))
		if err != nil {
			t.Fatalf("%s: %v", form, err)
		}
		args, err := os.ReadFile(told)
		if err != nil || strings.Contains(string(args), "s3cret") {
			t.Errorf("%s: pg_dump was called with %s, %v", form, args, err)
		}
		if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 || st.Size() == 0 {
			t.Errorf("%s: the copy is %v, %v", form, st, err)
		}
	}
}

func TestRestoreOfWhatIsNoCopyLeavesTheDatabase(t *testing.T) {
	dir := t.TempDir()
	events := func() int {
		t.Helper()
		s, err := store.Open(t.Context(), store.Options{DataDir: dir})
		if err != nil {
			t.Fatal(err)
		}
		all, err := s.Timeline(t.Context(), "inc-1", 10)
		if len(all) == 0 {
			write(t, s, func(tx *store.Tx) error { return tx.Append(fact("kept", 1)) })
		}
		if err := errors.Join(err, s.Close()); err != nil {
			t.Fatal(err)
		}
		return len(all)
	}
	events()
	broken, foreign := filepath.Join(dir, "broken.db"), filepath.Join(dir, "foreign.db")
	if err := os.WriteFile(broken, []byte("this is no database at all, and long enough to be read"), 0o600); err != nil {
		t.Fatal(err)
	}
	h, err := sql.Open("sqlite", "file:"+foreign)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.ExecContext(t.Context(), "CREATE TABLE people (name TEXT)"); err != nil {
		t.Fatal(err)
	}
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	for _, from := range []string{broken, foreign, filepath.Join(dir, "db", "anling.db"), filepath.Join(dir, "no such file")} {
		if _, err := store.Restore(t.Context(), dir, from); err == nil {
			t.Errorf("%s is restored", from)
		}
		if n := events(); n != 1 {
			t.Fatalf("after the try with %s the database has %d events", from, n)
		}
	}
}

func TestJournalSurvivesATornTail(t *testing.T) {
	dir := t.TempDir()
	j, err := store.OpenJournal(dir)
	if err != nil {
		t.Fatal(err)
	}
	ids := []string{}
	for i := range 5 {
		id := fmt.Sprintf("0000-%d", i)
		ids = append(ids, id)
		if err := j.Append(store.Entry{ID: id, Kind: "open", At: time.Now(), Body: json.RawMessage(`{"k":1}`)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := j.Settle(ids[1]); err != nil {
		t.Fatal(err)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	// The last record is torn: one of its bytes never reached the disk.
	names, _ := filepath.Glob(filepath.Join(dir, "journal-*"))
	f, err := os.OpenFile(names[0], os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	data := make([]byte, 4096)
	if _, err := f.ReadAt(data, 0); err != nil {
		t.Fatal(err)
	}
	last := lastNonZero(data)
	if _, err := f.WriteAt([]byte{0}, int64(last)); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	j, err = store.OpenJournal(dir)
	if err != nil {
		t.Fatal(err)
	}
	// The torn record was the settlement: its entry is pending again, none is lost.
	var got []string
	for _, e := range j.Pending() {
		got = append(got, e.ID)
	}
	if !slices.Equal(got, ids) {
		t.Errorf("pending is %v, want %v", got, ids)
	}
	if err := j.Append(store.Entry{ID: "new", Kind: "open", At: time.Now()}); err != nil {
		t.Fatal(err)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	if j, err = store.OpenJournal(dir); err != nil || len(j.Pending()) != 6 {
		t.Fatalf("after the third start %d are pending, %v", len(j.Pending()), err)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestJournalStartsOnAFullDisk: the segment that is laid is written on, so a start
// needs no room, however often it comes.
func TestJournalStartsOnAFullDisk(t *testing.T) {
	dir := t.TempDir()
	for i := range 4 {
		j, err := store.OpenJournal(dir)
		if err != nil {
			t.Fatal(err)
		}
		if n := len(j.Pending()); n != i {
			t.Fatalf("start %d finds %d entries", i, n)
		}
		if err := j.Append(store.Entry{ID: fmt.Sprint("id-", i), Kind: "open", At: time.Now(), Body: json.RawMessage(`{"k":1}`)}); err != nil {
			t.Fatal(err)
		}
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
		if names, _ := filepath.Glob(filepath.Join(dir, "journal-*")); len(names) != 1 {
			t.Errorf("%d segments after start %d", len(names), i)
		}
	}
}

func lastNonZero(b []byte) int {
	for i := len(b) - 1; i >= 0; i-- {
		if b[i] != 0 {
			return i
		}
	}
	return -1
}

func BenchmarkCommit(b *testing.B) {
	for _, writers := range []int{1, 16, 64} {
		b.Run(strconv.Itoa(writers), func(b *testing.B) {
			s := storetest.Open(b, store.Options{})
			var n atomic.Int64
			b.SetParallelism(writers)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					id := strconv.FormatInt(n.Add(1), 10)
					err := s.Write(b.Context(), store.Urgent, func(tx *store.Tx) error {
						if _, err := tx.TakeKey("door", id, id, ""); err != nil {
							return err
						}
						return tx.Append(fact(id, 1))
					})
					if err != nil {
						b.Fatal(err)
					}
				}
			})
		})
	}
}
