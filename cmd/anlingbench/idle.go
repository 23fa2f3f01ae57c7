package main

import (
	"context"
	"fmt"
	"time"

	"anling/cmd/internal/simdevice"
	"anling/cmd/internal/simload"
)

// perConn is the goal of a connection that says nothing.
const perConn = 8 << 10

type idleCmd struct {
	Count  int           `help:"Connections of each protocol." default:"5000"`
	Settle time.Duration `help:"Wait so long before the memory is read." default:"5s"`
}

// Run opens the connections on a fresh server, a protocol at a time.
func (i idleCmd) Run(ctx context.Context, c *cli) error {
	title("idle", fmt.Sprintf("%d connections that are logged in and say nothing, on a fresh server each", i.Count))
	for _, protocol := range []string{simdevice.GT06, simdevice.Watch} {
		if err := i.one(ctx, c, protocol); err != nil {
			return fmt.Errorf("%s: %w", protocol, err)
		}
	}
	return nil
}

func (i idleCmd) one(ctx context.Context, c *cli, protocol string) error {
	s, err := newServer(c, "idle-"+protocol, "SOS_MAX_PER_IP=100000")
	if err != nil {
		return err
	}
	if err := s.start(ctx, "demo", "--no-play"); err != nil {
		return err
	}
	defer s.stop()
	pause(ctx, 2*time.Second)
	addr := s.gt06
	if protocol == simdevice.Watch {
		addr = s.watch
	}
	r, err := simload.Idle(ctx, protocol, addr, i.Count, s.pid(), nil, i.Settle)
	if err != nil {
		return err
	}
	row(protocol, "%d of %d open in %s, %d answer their heartbeat", r.Open, i.Count, r.Took.Round(time.Millisecond), r.Answered)
	row("server's memory", "%d KiB before, %d KiB after", r.Before.RSS>>10, r.After.RSS>>10)
	goal(fmt.Sprintf("%d %s connections ≤ %d KiB each", i.Count, protocol, perConn>>10), r.PerConn <= perConn && r.Open == i.Count, "%.2f KiB", float64(r.PerConn)/1024)
	return nil
}
