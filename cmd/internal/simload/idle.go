package simload

import (
	"context"
	"fmt"
	"time"

	"anling/cmd/internal/simdevice"
)

// openRate is how many connections a second are opened: the server accepts 500.
const openRate = 300

// IdleResult is what idle connections cost the server.
type IdleResult struct {
	Open     int
	Failed   map[string]int
	Before   simdevice.Memory
	After    simdevice.Memory
	PerConn  int64 // bytes of resident memory more, for each connection; a fresh server tells best
	Answered int   // heartbeats of all of them, at the end
	Took     time.Duration
}

// Idle opens n connections of devices that log in and say no more, and reads the
// resident memory of the server's process before and after. ids may be nil: then the
// devices are unknown ones.
func Idle(ctx context.Context, protocol, addr string, n, pid int, ids []string, settle time.Duration) (IdleResult, error) {
	var r IdleResult
	var err error
	if r.Before, err = simdevice.MemoryOf(pid); err != nil {
		return r, err
	}
	for i := len(ids); i < n; i++ {
		id := fmt.Sprintf("8699%011d", i)
		if protocol == simdevice.Watch {
			id = fmt.Sprintf("99%08d", i)
		}
		ids = append(ids, id)
	}
	began := time.Now()
	idle := simdevice.OpenIdle(ctx, protocol, addr, ids[:n], openRate)
	defer idle.Close()
	r.Open, r.Failed, r.Took = len(idle.Conns), idle.Failed, time.Since(began)
	if r.Open == 0 {
		return r, fmt.Errorf("no connection could be opened: %v", r.Failed)
	}
	wait := time.NewTimer(settle)
	defer wait.Stop()
	select {
	case <-ctx.Done():
		return r, ctx.Err()
	case <-wait.C:
	}
	if r.After, err = simdevice.MemoryOf(pid); err != nil {
		return r, err
	}
	r.PerConn = (r.After.RSS - r.Before.RSS) / int64(r.Open)
	r.Answered, _ = idle.Beat(ctx, 32)
	return r, nil
}
