package simdevice_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"anling/care"
	"anling/cmd/internal/simdevice"
	"anling/geo"
	"anling/sos"
	"anling/sos/gt06"
	"anling/sos/watch"
)

// receiver takes what the server's door hears; the first time of each alarm it fails.
type receiver struct {
	mu     sync.Mutex
	tries  map[string]int
	stored map[string]care.Alarm
	signs  int
}

func (r *receiver) Receive(_ context.Context, a care.Alarm) (care.Opened, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.tries[a.SourceEventID]++; r.tries[a.SourceEventID] == 1 {
		return care.Opened{}, errors.New("the store is away")
	}
	_, repeat := r.stored[a.SourceEventID]
	r.stored[a.SourceEventID] = a
	return care.Opened{IncidentID: "i", Repeat: repeat}, nil
}

func (r *receiver) Seen(sos.Sign) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.signs++
}

func (r *receiver) Keep(context.Context, sos.RawFrame) error { return nil }

// The devices speak with the real server's doors: what it decodes is what was pressed,
// and what it did not store is pressed again.
func TestDevicesAtTheServersDoor(t *testing.T) {
	for _, c := range []struct {
		id    simdevice.Identity
		serve func(context.Context, *receiver, string) (string, func() error)
	}{
		{simdevice.Identity{Protocol: simdevice.GT06, ID: "860000000000012"}, serveGT06},
		{simdevice.Identity{Protocol: simdevice.Watch, ID: "8800000015"}, serveWatch},
	} {
		t.Run(c.id.Protocol, func(t *testing.T) {
			r := &receiver{tries: map[string]int{}, stored: map[string]care.Alarm{}}
			ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
			defer cancel()
			addr, run := c.serve(ctx, r, "127.0.0.1:0")
			var running sync.WaitGroup
			defer running.Wait()
			defer cancel()
			running.Go(func() {
				if err := run(); err != nil && ctx.Err() == nil {
					t.Error(err)
				}
			})
			place := geo.Point{Lat: 25.0389, Lng: 102.7183}
			d := simdevice.New(simdevice.Options{Identity: c.id, Addr: addr, Resend: 50 * time.Millisecond, Point: place})
			running.Go(func() { _ = d.Run(ctx) })
			for _, x := range []struct {
				press simdevice.Press
				kinds []care.Kind
			}{
				{simdevice.Press{}, []care.Kind{care.KindSOS}},
				{simdevice.Press{LowBattery: true}, []care.Kind{care.KindBattery, care.KindSOS}},
				{simdevice.Press{Fall: true, LowBattery: true}, []care.Kind{care.KindBattery, care.KindFall}},
			} {
				e, err := d.Press(ctx, x.press)
				if err != nil {
					t.Fatal(err)
				}
				a, n := r.find(e)
				if n != 1 {
					t.Fatalf("stored %d times: %v", n, r.stored)
				}
				got := slices.Clone(a.Kinds)
				slices.Sort(got)
				if !slices.Equal(got, x.kinds) || !a.DeviceTime.Equal(e.At) || r.tries[a.SourceEventID] < 2 {
					t.Errorf("pressed %+v at %s, stored %v at %s after %d tries", x.press, e.At, got, a.DeviceTime, r.tries[a.SourceEventID])
				}
				if a.Position == nil || geo.Distance(a.Position.Point, place) > 2 {
					t.Errorf("position %+v", a.Position)
				}
			}
			idle := simdevice.OpenIdle(ctx, c.id.Protocol, addr, []string{c.id.ID}, 1)
			defer idle.Close()
			if n, failed := idle.Beat(ctx, 1); n != 1 {
				t.Errorf("heartbeat: %v, opening: %v", failed, idle.Failed)
			}
			if err := d.Position(ctx, time.Now()); err != nil {
				t.Error(err)
			}
		})
	}
}

func (r *receiver) find(e simdevice.Entry) (found care.Alarm, n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for key, a := range r.stored {
		if strings.HasPrefix(key, e.Protocol+":"+e.ID+":") && a.DeviceTime.Equal(e.At) {
			found, n = a, n+1
		}
	}
	return found, n
}

func serveGT06(ctx context.Context, r *receiver, addr string) (string, func() error) {
	l, err := sos.Listen(ctx, addr)
	if err != nil {
		return "", func() error { return fmt.Errorf("listen: %w", err) }
	}
	return l.Addr().String(), func() error { return gt06.NewServer(gt06.ServerOptions{Receiver: r}).Serve(ctx, l) }
}

func serveWatch(ctx context.Context, r *receiver, addr string) (string, func() error) {
	l, err := sos.Listen(ctx, addr)
	if err != nil {
		return "", func() error { return fmt.Errorf("listen: %w", err) }
	}
	return l.Addr().String(), func() error { return watch.NewServer(watch.ServerOptions{Receiver: r}).Serve(ctx, l) }
}
