package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"anling/cmd/internal/simdevice"
	"anling/cmd/internal/simload"
)

type idleCmd struct {
	Protocol string        `help:"gt06 or watch." enum:"gt06,watch" default:"gt06"`
	Count    int           `help:"Connections." default:"5000"`
	PID      int           `name:"pid" help:"Process of the server, on this machine." required:""`
	File     string        `help:"CSV of devices; by default devices that the server does not know." type:"existingfile"`
	Settle   time.Duration `help:"Wait so long before the memory is read." default:"5s"`
}

func (i idleCmd) Run(ctx context.Context, c *cli) error {
	var ids []string
	if i.File != "" {
		all, err := simdevice.ReadIdentities(i.File)
		if err != nil {
			return err
		}
		for _, d := range all {
			if d.Protocol == i.Protocol {
				ids = append(ids, d.ID)
			}
		}
	}
	addr := c.GT06
	if i.Protocol == simdevice.Watch {
		addr = c.Watch
	}
	r, err := simload.Idle(ctx, i.Protocol, addr, i.Count, i.PID, ids, i.Settle)
	if err != nil {
		return err
	}
	var t table
	t.row("connections", "%d open of %d, in %s", r.Open, i.Count, r.Took.Round(time.Millisecond))
	t.row("server's memory", "%d KiB before, %d KiB after", r.Before.RSS>>10, r.After.RSS>>10)
	t.row("for each connection", "%.2f KiB", float64(r.PerConn)/1024)
	t.row("heartbeats answered", "%d", r.Answered)
	if err := t.write(os.Stdout); err != nil {
		return err
	}
	fmt.Print(causes("not opened", r.Failed))
	if r.Answered < r.Open {
		return fmt.Errorf("%w: %d connections do not answer", errBroken, r.Open-r.Answered)
	}
	return nil
}

type harmCmd struct {
	Kinds []string      `help:"garbage, slow, silent, oversize, bad_sum." default:"garbage,slow,silent,oversize,bad_sum"`
	Each  int           `help:"Peers of each kind, for both protocols." default:"5"`
	For   time.Duration `help:"At most so long." default:"45s"`
}

func (h harmCmd) Run(ctx context.Context, c *cli) error {
	ctx, cancel := context.WithTimeout(ctx, h.For)
	defer cancel()
	var mu sync.Mutex
	lasted := map[string]*simload.Hist{}
	borne, failed := map[string]int{}, map[string]int{}
	var wg sync.WaitGroup
	for n, door := range map[string]string{simdevice.GT06: c.GT06, simdevice.Watch: c.Watch} {
		for k, kind := range h.Kinds {
			name := n + " " + kind
			lasted[name] = &simload.Hist{}
			for i := range h.Each {
				wg.Go(func() {
					took, ended, err := simdevice.Harm(ctx, simdevice.Abuse(kind), n, door, c.Seed*1000+uint64(k*100+i))
					mu.Lock()
					defer mu.Unlock()
					switch {
					case err != nil:
						failed[name+": "+err.Error()]++
					case ended:
						lasted[name].Add(took)
					default:
						borne[name]++
					}
				})
			}
		}
	}
	wg.Wait()
	var t table
	for name, h := range lasted {
		t.row(name, "ended by the server: %s", h)
	}
	if err := t.write(os.Stdout); err != nil {
		return err
	}
	fmt.Print(causes("still borne at the end", borne), causes("not connected", failed))
	if len(borne) > 0 {
		return errors.Join(errBroken, fmt.Errorf("%d kinds of harmful peers are not ended in %s", len(borne), h.For))
	}
	return nil
}
