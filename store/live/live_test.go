package live

import (
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"anling/geo"
	"anling/store/storetest"
)

// instance is a store under test and the ways to age and to wipe it.
type instance struct {
	store Store
	age   func(time.Duration)
	wipe  func()
}

// each runs the suite over memory, over miniredis, and over a real redis-server
// where there is one.
func each(t *testing.T, suite func(*testing.T, instance)) {
	t.Run("memory", func(t *testing.T) {
		now := time.Now()
		m := NewMemory(func() time.Time { return now })
		suite(t, instance{m, func(d time.Duration) { now = now.Add(d) }, m.Wipe})
	})
	t.Run("miniredis", func(t *testing.T) {
		s := miniredis.RunT(t)
		suite(t, instance{newRedis(t, s.Addr()), s.FastForward, s.FlushAll})
	})
	t.Run("redis", func(t *testing.T) {
		addr := startRedis(t)
		raw := redis.NewClient(&redis.Options{Addr: addr})
		t.Cleanup(func() { _ = raw.Close() })
		wipe := func() {
			if err := raw.FlushAll(t.Context()).Err(); err != nil {
				t.Error(err)
			}
		}
		suite(t, instance{newRedis(t, addr), nil, wipe})
	})
}

func newRedis(t *testing.T, addr string) *Redis {
	t.Helper()
	r, err := NewRedis(RedisOptions{Addrs: []string{addr}, District: "t"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	return r
}

// startRedis starts a private redis-server on a free port.
func startRedis(t *testing.T) string {
	t.Helper()
	bin, err := exec.LookPath("redis-server")
	if err != nil {
		t.Skip("redis-server is not installed")
	}
	port, err := storetest.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	addr := fmt.Sprintf("127.0.0.1:%d", port)
	cmd := exec.Command(bin, "--port", strconv.Itoa(port), "--bind", "127.0.0.1", "--save", "", "--dir", t.TempDir())
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	r := newRedis(t, addr)
	deadline := time.Now().Add(10 * time.Second)
	for r.Ping(t.Context()) != nil {
		if time.Now().After(deadline) {
			t.Fatal("redis-server does not answer")
		}
	}
	return addr
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestPositions(t *testing.T) {
	each(t, func(t *testing.T, i instance) {
		ctx, s, now := t.Context(), i.store, time.Now()
		at, then := geo.Point{Lat: 25.041, Lng: 102.71}, geo.Point{Lat: 26, Lng: 102}
		must(t, s.PutPosition(ctx, "responder", "moved", Position{Point: then, At: now.Add(-time.Minute)}))
		must(t, s.PutPosition(ctx, "responder", "moved", Position{Point: at, AccuracyM: 12, Source: "gnss", At: now}))
		must(t, s.PutPosition(ctx, "responder", "there", Position{Point: then, At: now}))
		must(t, s.PutPosition(ctx, "device", "other", Position{Point: at, At: now}))
		must(t, s.PutPosition(ctx, "responder", "stale", Position{Point: at, At: now.Add(-PositionTTL - time.Minute)}))
		// A late packet with an older fix does not move anybody back.
		must(t, s.PutPosition(ctx, "responder", "moved", Position{Point: then, At: now.Add(-time.Second)}))
		all, err := s.Positions(ctx, "responder")
		must(t, err)
		if m := all["moved"]; len(all) != 2 || m.Point != at || m.AccuracyM != 12 || m.Source != "gnss" || all["there"].Point != then {
			t.Errorf("got %v, want moved where it was last, and there", all)
		}
	})
}

func TestPresence(t *testing.T) {
	each(t, func(t *testing.T, i instance) {
		ctx, s := t.Context(), i.store
		must(t, s.SetPresence(ctx, "operator", "a", Presence{State: "ready"}, time.Minute))
		must(t, s.SetPresence(ctx, "operator", "b", Presence{State: "break"}, 10*time.Minute))
		got, err := s.Presences(ctx, "operator")
		must(t, err)
		if len(got) != 2 || got["a"].State != "ready" || got["b"].State != "break" {
			t.Fatalf("got %v, want a ready and b on break", got)
		}
		if i.age == nil {
			return
		}
		i.age(2 * time.Minute)
		got, err = s.Presences(ctx, "operator")
		must(t, err)
		if _, still := got["a"]; still || len(got) != 1 {
			t.Errorf("after the lease of a: got %v, want b only", got)
		}
	})
}

func TestSignsOfLife(t *testing.T) {
	each(t, func(t *testing.T, i instance) {
		ctx, s := t.Context(), i.store
		now := time.Now().Truncate(time.Microsecond)
		must(t, s.Touch(ctx, "device", map[string]time.Time{"a": now, "b": now.Add(-time.Hour)}))
		must(t, s.Touch(ctx, "device", map[string]time.Time{"a": now.Add(-time.Minute), "b": now}))
		must(t, s.Touch(ctx, "device", nil))
		got, err := s.LastSeen(ctx, "device", []string{"a", "b", "nobody"})
		must(t, err)
		if len(got) != 2 || !got["a"].Equal(now) || !got["b"].Equal(now) {
			t.Errorf("got %v, want a and b at %v", got, now)
		}
	})
}

// TestWipedStoreFillsAgain is the FLUSHALL test: after it every writer's next
// word makes the state whole.
func TestWipedStoreFillsAgain(t *testing.T) {
	each(t, func(t *testing.T, i instance) {
		ctx, s, now := t.Context(), i.store, time.Now()
		fill := func() {
			for n := range 20 {
				id := fmt.Sprint(n)
				must(t, s.PutPosition(ctx, "responder", id, Position{Point: geo.Point{Lat: 25, Lng: 102}, At: now}))
				must(t, s.SetPresence(ctx, "operator", id, Presence{State: "ready"}, time.Minute))
				must(t, s.Touch(ctx, "device", map[string]time.Time{id: now}))
			}
		}
		fill()
		i.wipe()
		if all, err := s.Positions(ctx, "responder"); err != nil || len(all) != 0 {
			t.Fatalf("after the wipe: %d positions, %v", len(all), err)
		}
		fill()
		pos, err := s.Positions(ctx, "responder")
		must(t, err)
		pres, err := s.Presences(ctx, "operator")
		must(t, err)
		if len(pos) != 20 || len(pres) != 20 {
			t.Errorf("after one round: %d positions, %d presences, want 20 each", len(pos), len(pres))
		}
	})
}

func TestRedisAwayIsUnavailable(t *testing.T) {
	s := miniredis.RunT(t)
	r := newRedis(t, s.Addr())
	must(t, r.Ping(t.Context()))
	s.Close()
	ctx := t.Context()
	calls := map[string]error{
		"ping":     r.Ping(ctx),
		"position": r.PutPosition(ctx, "responder", "a", Position{At: time.Now()}),
		"touch":    r.Touch(ctx, "device", map[string]time.Time{"a": time.Now()}),
		"presence": r.SetPresence(ctx, "operator", "a", Presence{}, time.Minute),
	}
	for what, err := range calls {
		if !errors.Is(err, ErrUnavailable) {
			t.Errorf("%s: got %v, want ErrUnavailable", what, err)
		}
	}
}
