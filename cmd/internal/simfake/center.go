package simfake

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"testing"

	"anling/care"
	"anling/cmd/internal/simclient"
	"anling/sos"
	"anling/sos/gt06"
)

// Center is a fake server behind the real door for GT06. Its store is in memory, and
// may break its promises.
type Center struct {
	*Server
	GT06   string           // address of the door
	Lose   func(n int) bool // acknowledges the n-th alarm, and stores nothing
	Double func(n int) bool // stores it twice

	mu   sync.Mutex
	seen map[string]bool // source events
}

// NewCenter starts one for the length of a test, with so many devices in its registry.
func NewCenter(t *testing.T, devices int) *Center {
	t.Helper()
	c := &Center{Server: New(t), seen: map[string]bool{}}
	for i := range devices {
		id := fmt.Sprintf("8600000000%05d", i)
		c.Devices = append(c.Devices, simclient.Device{ID: "d-" + id, Protocol: gt06.Protocol, ExternalID: id})
	}
	ctx, stop := context.WithCancel(context.Background())
	l, err := sos.Listen(ctx, "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c.GT06 = l.Addr().String()
	var running sync.WaitGroup
	running.Go(func() {
		if err := gt06.NewServer(gt06.ServerOptions{Receiver: c}).Serve(ctx, l); err != nil && !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
	})
	t.Cleanup(func() { stop(); running.Wait() })
	return c
}

// Receive implements sos.Receiver: it stores, and tells every console.
func (c *Center) Receive(_ context.Context, a care.Alarm) (care.Opened, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.seen[a.SourceEventID] {
		return care.Opened{Repeat: true}, nil
	}
	n := len(c.seen)
	c.seen[a.SourceEventID] = true
	if c.Lose != nil && c.Lose(n) {
		return care.Opened{}, nil
	}
	incident := fmt.Sprintf("i%d", n)
	listed := simclient.Alarm{ID: fmt.Sprint(n), DeviceID: "d-" + a.ClaimedID, Protocol: a.Protocol, DeviceTime: a.DeviceTime, SourceEventID: a.SourceEventID, IncidentID: incident}
	c.With(func() {
		c.Incident.ID = incident
		c.Alarms = append(c.Alarms, listed)
		if c.Double != nil && c.Double(n) {
			c.Alarms = append(c.Alarms, listed)
		}
	})
	c.Say("dispatch.incident.opened", "incident", incident, nil)
	c.Say("sos.alarm.received", "alarm", listed.ID, map[string]any{"device_id": listed.DeviceID, "device_time": a.DeviceTime})
	c.Say("dispatch.offer.sent", "offer", "o", nil)
	return care.Opened{IncidentID: care.IncidentID(incident)}, nil
}

// Seen implements sos.Receiver.
func (c *Center) Seen(sos.Sign) {}

// Keep implements sos.Receiver.
func (c *Center) Keep(context.Context, sos.RawFrame) error { return nil }
