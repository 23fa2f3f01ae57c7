package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"anling/cmd/internal/simclient"
	"anling/cmd/internal/simdevice"
	"anling/cmd/internal/simload"
)

type devicesCmd struct {
	File       string        `help:"CSV of devices (protocol, device id); the server's own by default." type:"existingfile"`
	Max        int           `help:"Use at most so many devices." default:"200"`
	Rate       float64       `help:"Presses a second over all devices." default:"1"`
	For        time.Duration `help:"How long." default:"30s"`
	Count      int           `help:"So many presses, instead of a time."`
	Duplicates int           `help:"Every press is sent so many times more."`
	LowBattery float64       `help:"Share of the presses that state a low battery too." default:"0.1"`
	Ledger     string        `help:"Append what was acknowledged to this file; a temporary one by default." type:"path"`
	Console    string        `help:"Account whose screen is watched for the presses; empty: none." default:"operator1"`
	Grace      time.Duration `help:"Wait so long for the last answers." default:"10s"`
	Bars       bool          `help:"Draw the histogram of the answers."`
	Verify     bool          `help:"Compare with the server's list of alarms at the end." default:"true" negatable:""`
}

func (d devicesCmd) Run(ctx context.Context, c *cli) error {
	ids, err := c.identities(ctx, d.File, d.Max)
	if err != nil {
		return err
	}
	fmt.Printf("%d devices press %g times a second\n", len(ids), d.Rate)
	return d.run(ctx, c, ids, nil)
}

// run presses and reports. It may run beside others, whose lines come after.
func (d devicesCmd) run(ctx context.Context, c *cli, ids []simdevice.Identity, ready func()) error {
	path := d.Ledger
	if path == "" {
		dir, err := os.MkdirTemp("", "anlingsim")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		path = filepath.Join(dir, "ledger")
	}
	ledger, err := simdevice.OpenLedger(path)
	if err != nil {
		return err
	}
	load := simload.Alarms{Devices: ids, GT06: c.GT06, Watch: c.Watch, Rate: d.Rate, For: d.For, Count: d.Count, Duplicates: d.Duplicates, LowBattery: d.LowBattery,
		Grace: d.Grace, Ledger: ledger, Seed: c.Seed, OnReady: ready, Log: c.log()}
	if d.Count > 0 {
		load.For = 0
	}
	watching, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	if d.Console != "" {
		if load.Console, err = d.console(watching, c, ids, &wg); err != nil {
			return errors.Join(err, ledger.Close())
		}
	}
	res, err := load.Run(ctx)
	if load.Console != nil {
		settle(ctx, load.Console)
	}
	if err := errors.Join(err, ledger.Close()); err != nil {
		return err
	}
	return d.report(ctx, c, res, load.Console, path)
}

// settle gives the last presses two seconds to come to the screen.
func settle(ctx context.Context, k *simload.Console) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	end := time.NewTimer(2 * time.Second)
	defer end.Stop()
	for k.Waiting() > 0 {
		select {
		case <-ctx.Done():
			return
		case <-end.C:
			return
		case <-tick.C:
		}
	}
}

func (d devicesCmd) console(ctx context.Context, c *cli, ids []simdevice.Identity, wg *sync.WaitGroup) (*simload.Console, error) {
	client, err := c.signIn(ctx, d.Console)
	if err != nil {
		return nil, err
	}
	k, err := simload.NewConsole(ctx, client, ids)
	if err != nil {
		return nil, err
	}
	up := make(chan struct{})
	wg.Go(func() {
		defer client.Close()
		if err := k.Watch(ctx, client, func() { close(up) }); err != nil {
			fmt.Fprintln(os.Stderr, "anlingsim: "+err.Error())
		}
	})
	select {
	case <-up:
		return k, nil
	case <-time.After(10 * time.Second):
		return nil, fmt.Errorf("the live channel of %s does not open", d.Console)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (d devicesCmd) report(ctx context.Context, c *cli, r simload.AlarmsResult, k *simload.Console, path string) error {
	var t table
	t.row("presses sent", "%d in %s", r.Sent, r.Took.Round(time.Millisecond))
	t.row("acknowledged", "%d (frames sent again: %d, connections: %d)", r.Acked, r.Resent, r.Connects)
	t.hist("press to answer", r.Answer)
	if k != nil {
		t.row("seen on the screen", "%d, not seen %d", k.Push.Count(), k.Waiting())
		t.hist("press to screen", k.Push)
		t.hist("press to incident on screen", k.Opened)
		t.hist("press to first offer on screen", k.Offer)
	}
	t.hist("sent later than due", r.Late)
	if err := t.write(os.Stdout); err != nil {
		return err
	}
	if d.Bars {
		fmt.Print(r.Answer.Bars("  "))
	}
	fmt.Print(causes("lost connections", r.Errors))
	var broken []error
	if n := len(r.Unanswered); n > 0 {
		fmt.Printf("not answered: %d, the first %s\n", n, r.Unanswered[0])
		broken = append(broken, fmt.Errorf("%w: %d presses are not answered", errBroken, n))
	}
	if d.Verify && c.Password != "" {
		broken = append(broken, verify(context.WithoutCancel(ctx), c, path))
	}
	return errors.Join(broken...)
}

// verify holds the server to a ledger.
func verify(ctx context.Context, c *cli, path string) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	entries, err := simdevice.ReadLedger(path)
	if err != nil {
		return err
	}
	client, err := c.signIn(ctx, c.Admin)
	if err != nil {
		return err
	}
	defer client.Close()
	return audit(ctx, client, entries)
}

func audit(ctx context.Context, client *simclient.Client, entries []simdevice.Entry) error {
	a, err := simload.CheckLedger(ctx, client, entries)
	if err != nil {
		return err
	}
	var t table
	t.row("ledger", "%d acknowledged, %d found, %d lost, %d doubled, %d without incident", a.Acknowledged, a.Found, len(a.Lost), len(a.Doubled), len(a.Loose))
	t.row("server lists", "%d alarms, %d of them not acknowledged to us", a.Listed, a.Others)
	if err := t.write(os.Stdout); err != nil {
		return err
	}
	for i, e := range a.Lost {
		if i == 10 {
			break
		}
		fmt.Printf("  lost: %s, acknowledged at %s\n", e.Key(), e.Acked.Format(time.RFC3339Nano))
	}
	for i, k := range a.Doubled {
		if i == 10 {
			break
		}
		fmt.Printf("  doubled: %s\n", k)
	}
	if !a.Good() {
		return fmt.Errorf("%w: %d lost, %d doubled, %d without incident", errBroken, len(a.Lost), len(a.Doubled), len(a.Loose))
	}
	return nil
}

type ledgerCmd struct {
	Check ledgerCheckCmd `cmd:"" help:"Compare a ledger of acknowledged presses with the server's alarms: none lost, none doubled."`
}

type ledgerCheckCmd struct {
	Ledger string `help:"The file." required:"" type:"existingfile"`
}

func (l ledgerCheckCmd) Run(ctx context.Context, c *cli) error { return verify(ctx, c, l.Ledger) }
