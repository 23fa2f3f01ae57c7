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
		at := geo.Point{Lat: 25.04, Lng: 102.71}
		must(t, s.PutPosition(ctx, "responder", "near", Position{Point: geo.Point{Lat: 25.041, Lng: 102.71}, At: now}))
		must(t, s.PutPosition(ctx, "responder", "far", Position{Point: geo.Point{Lat: 25.05, Lng: 102.71}, At: now}))
		must(t, s.PutPosition(ctx, "responder", "beyond", Position{Point: geo.Point{Lat: 26, Lng: 102.71}, At: now}))
		must(t, s.PutPosition(ctx, "device", "other", Position{Point: at, At: now}))
		must(t, s.PutPosition(ctx, "responder", "stale", Position{Point: at, At: now.Add(-PositionTTL - time.Minute)}))
		// A late packet with an older fix does not move anybody back.
		must(t, s.PutPosition(ctx, "responder", "near", Position{Point: geo.Point{Lat: 26, Lng: 102}, At: now.Add(-time.Second)}))
		got, err := s.Nearest(ctx, "responder", at, 5000, 10)
		must(t, err)
		if len(got) != 2 || got[0].ID != "near" || got[1].ID != "far" {
			t.Fatalf("nearest: got %+v, want near, far", got)
		}
		if d := got[0].DistanceM; d < 110 || d > 112 {
			t.Errorf("distance: got %.1f m, want about 111", d)
		}
		one, err := s.Nearest(ctx, "responder", at, 5000, 1)
		must(t, err)
		if len(one) != 1 || one[0].ID != "near" {
			t.Errorf("limit 1: got %+v", one)
		}
		must(t, s.RemovePosition(ctx, "responder", "near"))
		all, err := s.Positions(ctx, "responder")
		must(t, err)
		if len(all) != 2 || all["far"].Point.Lat != 25.05 {
			t.Errorf("positions after removal: got %v, want far and beyond", all)
		}
	})
}

func TestPresence(t *testing.T) {
	each(t, func(t *testing.T, i instance) {
		ctx, s := t.Context(), i.store
		must(t, s.SetPresence(ctx, "operator", "a", Presence{State: "ready"}, time.Minute))
		must(t, s.SetPresence(ctx, "operator", "b", Presence{State: "break"}, 10*time.Minute))
		must(t, s.SetPresence(ctx, "operator", "c", Presence{State: "ready"}, 10*time.Minute))
		must(t, s.ClearPresence(ctx, "operator", "c"))
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

func TestHints(t *testing.T) {
	each(t, func(t *testing.T, i instance) {
		ctx, s := t.Context(), i.store
		take := func(who, want string) {
			t.Helper()
			got, err := s.TakeHint(ctx, "incident:1", who, time.Minute)
			must(t, err)
			if got != want {
				t.Errorf("%s takes the hint: got holder %q, want %q", who, got, want)
			}
		}
		take("ann", "ann")
		take("bob", "ann")
		take("ann", "ann")
		must(t, s.ReleaseHint(ctx, "incident:1", "bob"))
		take("bob", "ann")
		must(t, s.ReleaseHint(ctx, "incident:1", "ann"))
		take("bob", "bob")
		if i.age != nil {
			i.age(2 * time.Minute)
			take("ann", "ann")
		}
	})
}

func TestRates(t *testing.T) {
	each(t, func(t *testing.T, i instance) {
		ctx, s := t.Context(), i.store
		for n := range 5 {
			ok, err := s.Allow(ctx, "login", "1.2.3.4", 3, time.Minute)
			must(t, err)
			if ok != (n < 3) {
				t.Errorf("use %d: allowed is %v", n+1, ok)
			}
		}
		if ok, _ := s.Allow(ctx, "login", "5.6.7.8", 3, time.Minute); !ok {
			t.Error("one address used up another's limit")
		}
		if i.age != nil {
			i.age(2 * time.Minute)
			if ok, _ := s.Allow(ctx, "login", "1.2.3.4", 3, time.Minute); !ok {
				t.Error("the window does not end")
			}
		}
	})
}

func TestCache(t *testing.T) {
	each(t, func(t *testing.T, i instance) {
		ctx, s := t.Context(), i.store
		if v, err := s.Get(ctx, "none"); v != nil || err != nil {
			t.Errorf("missing key: got %q, %v", v, err)
		}
		must(t, s.Put(ctx, "k", []byte("v"), time.Minute))
		if v, err := s.Get(ctx, "k"); string(v) != "v" || err != nil {
			t.Errorf("got %q, %v", v, err)
		}
		must(t, s.Drop(ctx, "k"))
		if v, _ := s.Get(ctx, "k"); v != nil {
			t.Errorf("dropped key: got %q", v)
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
	_, err := r.Allow(ctx, "login", "x", 1, time.Minute)
	calls["rate"] = err
	for what, err := range calls {
		if !errors.Is(err, ErrUnavailable) {
			t.Errorf("%s: got %v, want ErrUnavailable", what, err)
		}
	}
}
