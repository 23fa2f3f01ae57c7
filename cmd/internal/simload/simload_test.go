package simload

import (
	"context"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"anling/cmd/internal/simclient"
	"anling/cmd/internal/simdevice"
	"anling/cmd/internal/simfake"
	"anling/cmd/internal/simphone"
)

func TestHistogramIsThreePercentExact(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 1))
	var h Hist
	var all []time.Duration
	for range 20_000 {
		d := time.Duration(random.ExpFloat64() * float64(3*time.Millisecond)).Truncate(time.Microsecond)
		h.Add(d)
		all = append(all, d)
	}
	slices.Sort(all)
	for _, q := range []float64{0, 0.01, 0.5, 0.9, 0.99, 0.999, 1} {
		want := all[max(0, int(q*float64(len(all))+0.999999)-1)]
		if got := h.Quantile(q); got < want || float64(got) > 1.04*float64(want)+1000 {
			t.Errorf("quantile %g is %s, want %s", q, got, want)
		}
	}
	if h.Count() != 20_000 || h.Max() != all[len(all)-1] {
		t.Errorf("%s", &h)
	}
	for i := range 40 * subSteps {
		if got := step(upper(i)); got != i {
			t.Fatalf("step %d ends in step %d", i, got)
		}
		if got := step(upper(i) + time.Microsecond); got != i+1 {
			t.Fatalf("after step %d comes %d", i, got)
		}
	}
	if bars := h.Bars(" "); strings.Count(bars, "\n") < 5 || !strings.Contains(bars, "█") {
		t.Errorf("bars:\n%s", bars)
	}
}

func limit(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// open starts a center with a door for GT06, and signs in at it.
func open(t *testing.T, devices int) (*simfake.Center, string, []simdevice.Identity, *simclient.Client) {
	t.Helper()
	c := simfake.NewCenter(t, devices)
	var ids []simdevice.Identity
	for _, d := range c.Devices {
		ids = append(ids, simdevice.Identity{Protocol: d.Protocol, ID: d.ExternalID})
	}
	client, err := simclient.New(c.URL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	if err := client.Login(limit(t), "operator1", simfake.Password); err != nil {
		t.Fatal(err)
	}
	return c, c.GT06, ids, client
}

func TestLoadOfAlarmsIsSeenOnTheScreenAndInTheLedger(t *testing.T) {
	for _, x := range []struct {
		name          string
		lose, double  func(int) bool
		lost, doubled int
	}{
		{"kept promises", nil, nil, 0, 0},
		{"broken promises", func(n int) bool { return n == 7 || n == 30 }, func(n int) bool { return n == 11 }, 2, 1},
	} {
		t.Run(x.name, func(t *testing.T) {
			c, addr, ids, client := open(t, 20)
			c.Lose, c.Double = x.lose, x.double
			path := filepath.Join(t.TempDir(), "ledger")
			ledger, err := simdevice.OpenLedger(path)
			if err != nil {
				t.Fatal(err)
			}
			k, err := NewConsole(limit(t), client, ids)
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(limit(t))
			up := make(chan struct{})
			var watching sync.WaitGroup
			watching.Go(func() {
				if err := k.Watch(ctx, client, func() { close(up) }); err != nil {
					t.Error(err)
				}
			})
			select {
			case <-up:
			case <-ctx.Done():
				t.Fatal("the live channel does not open")
			}
			r, err := Alarms{Devices: ids, GT06: addr, Rate: 80, Count: 60, Duplicates: 1, Ledger: ledger, Seed: 1, Console: k}.Run(ctx)
			if err != nil {
				t.Fatal(err)
			}
			if err := ledger.Close(); err != nil {
				t.Fatal(err)
			}
			if r.Sent != 60 || r.Acked != 60 || len(r.Unanswered) > 0 || r.Connects != 20 || r.Answer.Count() != 60 || r.Took < 700*time.Millisecond {
				t.Errorf("result %+v", r)
			}
			for k.Waiting() > x.lost && ctx.Err() == nil {
				select {
				case <-ctx.Done():
				case <-time.After(time.Millisecond):
				}
			}
			cancel()
			watching.Wait()
			if seen := int64(60 - x.lost); k.Push.Count() != seen || k.Opened.Count() != seen || k.Offer.Count() != seen || k.Waiting() != x.lost || k.Drops() != 0 {
				t.Errorf("seen %s, opened %s, offered %s, waiting %d, drops %d", k.Push, k.Opened, k.Offer, k.Waiting(), k.Drops())
			}
			entries, err := simdevice.ReadLedger(path)
			if err != nil {
				t.Fatal(err)
			}
			a, err := CheckLedger(limit(t), client, entries)
			if err != nil {
				t.Fatal(err)
			}
			if len(a.Lost) != x.lost || len(a.Doubled) != x.doubled || a.Acknowledged != 60 || a.Found != 60-x.lost || a.Good() != (x.lost == 0) {
				t.Errorf("audit %+v", a)
			}
		})
	}
}

func TestLoadThatCannotBeIsRefused(t *testing.T) {
	ids := []simdevice.Identity{{Protocol: simdevice.GT06, ID: "860000000000012"}}
	for name, l := range map[string]Alarms{
		"no devices":       {Rate: 1, Count: 1},
		"no end":           {Devices: ids, Rate: 1},
		"too few devices":  {Devices: ids, Rate: 100, Count: 1, GT06: "127.0.0.1:1"},
		"no door":          {Devices: ids, Rate: 1, Count: 1},
		"nobody to answer": {Devices: ids, Rate: 1, Count: 1, GT06: "127.0.0.1:1"},
	} {
		ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
		if _, err := l.Run(ctx); err == nil {
			t.Errorf("%s: is run", name)
		}
		cancel()
	}
}

func TestIdleConnectionsTellTheirCost(t *testing.T) {
	_, addr, _, _ := open(t, 1)
	r, err := Idle(limit(t), simdevice.GT06, addr, 150, os.Getpid(), nil, time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	if r.Open != 150 || r.Answered != 150 || len(r.Failed) > 0 || r.Before.RSS == 0 || r.After.RSS == 0 {
		t.Errorf("%+v", r)
	}
	if _, err := Idle(limit(t), simdevice.GT06, addr, 1, 1<<30, nil, 0); err == nil {
		t.Error("the memory of no process is read")
	}
}

func TestLoadOfCalls(t *testing.T) {
	hotline, err := simphone.New(simphone.Options{Server: "127.0.0.1:9", Account: "hotline", Tone: OperatorTone})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := hotline.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	defer running.Wait()
	defer cancel()
	load := Calls{Server: hotline.Addr().String(), Hotline: "12349", Numbers: []string{"13800000001"}, Rate: 20, For: 500 * time.Millisecond, Talk: 300 * time.Millisecond, Patience: 10 * time.Second}
	r, err := load.Run(limit(t))
	if err != nil {
		t.Fatal(err)
	}
	if r.Placed != 10 || r.Answered != 10 || r.Greeted != 10 || len(r.Failed) > 0 || r.Lost > 0 || r.Packets < 10 || r.Setup.Count() != 10 {
		t.Errorf("%+v", r)
	}
	hotline.SetAnswer(simphone.Answer{Code: 486})
	if r, err = load.Run(limit(t)); err != nil {
		t.Fatal(err)
	}
	if r.Answered != 0 || r.Failed["486 Busy Here"] != 10 {
		t.Errorf("%+v", r)
	}
}
