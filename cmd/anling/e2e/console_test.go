package e2e

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"anling/cmd/internal/simclient"
	"anling/cmd/internal/simdevice"
	"anling/cmd/internal/simphone"
	"anling/geo"
)

// console is an operator's screen that remembers what it was shown.
type console struct {
	mu          sync.Mutex
	events      []simclient.Event // guarded by mu, as all below
	emergencies []map[string]any
	lines       int // times that the channel came up
	changed     chan struct{}
}

// screen opens a console and keeps it open until the test ends.
func (s *server) screen(t *testing.T, c *simclient.Client) *console {
	t.Helper()
	k := &console{changed: make(chan struct{})}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	note := func(f func()) {
		k.mu.Lock()
		defer k.mu.Unlock()
		f()
		close(k.changed)
		k.changed = make(chan struct{})
	}
	go func() {
		ended <- c.Follow(ctx, simclient.Follower{Views: []string{"desk"},
			Event:     func(e simclient.Event) { note(func() { k.events = append(k.events, e) }) },
			Emergency: func(m map[string]any) { note(func() { k.emergencies = append(k.emergencies, m) }) },
			Line: func(up bool, _ error) {
				if up {
					note(func() { k.lines++ })
				}
			}})
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
	})
	k.until(t, "the console is connected", func() bool { return k.lines > 0 })
	return k
}

// until waits until f, under the lock, is true.
func (k *console) until(t *testing.T, what string, f func() bool) {
	t.Helper()
	limit := time.NewTimer(patience)
	defer limit.Stop()
	for {
		k.mu.Lock()
		ok, changed := f(), k.changed
		k.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-changed:
		case <-limit.C:
			k.mu.Lock()
			defer k.mu.Unlock()
			var kinds []string
			for _, e := range k.events {
				kinds = append(kinds, e.Kind)
			}
			t.Fatalf("the console waited %s in vain until %s; it was shown %d events %v and %d emergencies %v", patience, what, len(kinds), kinds[max(0, len(kinds)-40):], len(k.emergencies), k.emergencies)
		}
	}
}

// shown waits for an event and returns it.
func (k *console) shown(t *testing.T, what string, f func(simclient.Event) bool) (found simclient.Event) {
	t.Helper()
	k.until(t, what, func() bool {
		i := slices.IndexFunc(k.events, f)
		if i >= 0 {
			found = k.events[i]
		}
		return i >= 0
	})
	return found
}

// opened waits for the alarm of a device in an incident and returns the incident's id.
func (k *console) opened(t *testing.T, device string) string {
	t.Helper()
	return k.shown(t, "the incident of device "+device, func(e simclient.Event) bool {
		return e.Kind == "sos.alarm.received" && e.Body["device_id"] == device && e.IncidentID != ""
	}).IncidentID
}

// emergency waits until the alarm of a device is shown as one that is not stored.
func (k *console) emergency(t *testing.T, device string) (found map[string]any) {
	t.Helper()
	k.until(t, "the emergency of device "+device, func() bool {
		i := slices.IndexFunc(k.emergencies, func(m map[string]any) bool {
			_, alarm := m["journalled"] // else it is a call that is not stored
			return alarm && m["device_id"] == device
		})
		if i >= 0 {
			found = k.emergencies[i]
		}
		return i >= 0
	})
	return found
}

// telephone is a telephone or trunk that stays until the test ends.
func (s *server) telephone(t *testing.T, o simphone.Options) *simphone.Phone {
	t.Helper()
	o.Server = s.sip
	p, err := simphone.New(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		<-ended
	})
	if o.Register {
		if err := p.WaitRegistered(s.ctx()); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

// pendants are the district's active devices of a protocol that have an elder, n of them.
func (s *server) pendants(t *testing.T, c *simclient.Client, protocol string, n int) []simclient.Device {
	t.Helper()
	all, err := c.Devices(s.ctx(), "")
	if err != nil {
		t.Fatal(err)
	}
	all = slices.DeleteFunc(all, func(d simclient.Device) bool { return d.Protocol != protocol || d.ElderID == "" || d.State != "active" })
	// One device for each elder: a second one would join the first's incident.
	seen := map[string]bool{}
	all = slices.DeleteFunc(all, func(d simclient.Device) bool { was := seen[d.ElderID]; seen[d.ElderID] = true; return was })
	if len(all) < n {
		t.Fatalf("the district has %d %s devices, %d are needed", len(all), protocol, n)
	}
	return all[:n]
}

// wear connects the device of the registry.
func (s *server) wear(t *testing.T, d simclient.Device, resend time.Duration) *simdevice.Device {
	t.Helper()
	addr := s.gt06
	if d.Protocol == simdevice.Watch {
		addr = s.watch
	}
	return s.plug(t, simdevice.Options{Identity: simdevice.Identity{Protocol: d.Protocol, ID: d.ExternalID}, Addr: addr, Point: geo.Point{Lat: 25.0401, Lng: 102.7203}, Battery: 80, Resend: resend})
}

// pressed presses and fails the test unless the press is acknowledged.
func (s *server) pressed(t *testing.T, d *simdevice.Device) {
	t.Helper()
	if _, err := d.Press(s.ctx(), simdevice.Press{Point: geo.Point{Lat: 25.0401, Lng: 102.7203}}); err != nil {
		t.Fatalf("press: %v", err)
	}
}

// alarmsOf lists the stored alarms of a device.
func (s *server) alarmsOf(t *testing.T, c *simclient.Client, device string) []simclient.Alarm {
	t.Helper()
	var found []simclient.Alarm
	_, err := c.Alarms(s.ctx(), "", func(page []simclient.Alarm) {
		for _, a := range page {
			if a.DeviceID == device {
				found = append(found, a)
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// part waits until /readyz answers with this status, and this state of the part.
func (s *server) part(name, state string, status int) {
	s.t.Helper()
	s.until(fmt.Sprintf("/readyz answers %d with %s %s", status, name, state), func() bool {
		got, parts := s.ready()
		return got == status && parts[name] == state
	})
}
