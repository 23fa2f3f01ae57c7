// Command anlingbench measures the built server against the goals it was made for,
// and prints each with the figure that this machine reached. It judges nothing by its
// exit status: that is other than zero only when a part could not be measured.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/alecthomas/kong"
)

// cli is the command line.
type cli struct {
	Anling string        `help:"The server's program." default:"bin/anling" type:"path"`
	Dir    string        `help:"Directory for the data of the measurements, on the disk that is measured; a temporary one by default." type:"path"`
	Quiet  time.Duration `help:"Wait at most so long for a load below 1." default:"1m"`
	Seed   uint64        `help:"Of the generated districts." default:"1"`

	All     allCmd     `cmd:"" help:"Every part."`
	Disk    diskCmd    `cmd:"" help:"Append and sync: what the disk alone needs."`
	Accept  acceptCmd  `cmd:"" help:"From a device's first byte to its answer and to an operator's screen."`
	Idle    idleCmd    `cmd:"" help:"Memory of the server for a connection that says nothing."`
	Import  importCmd  `cmd:"" help:"Load a city's list of elders, and search in it."`
	Nearest nearestCmd `cmd:"" help:"Nearest responders, beside Redis and an R-tree."`
	Calls   callsCmd   `cmd:"" help:"Calls to the hotline, and conversations for each core."`
}

func main() {
	var c cli
	k := kong.Parse(&c, kong.Name("anlingbench"), kong.Description("The server against its goals, on this machine."), kong.UsageOnError())
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	k.BindTo(ctx, (*context.Context)(nil))
	if err := c.run(ctx, k); err != nil {
		fmt.Fprintln(os.Stderr, "anlingbench: "+err.Error())
		stop()
		os.Exit(1)
	}
}

// run prepares a place, tells of the machine, and runs the part.
func (c *cli) run(ctx context.Context, k *kong.Context) (err error) {
	if c.Dir == "" {
		if c.Dir, err = os.MkdirTemp("", "anlingbench-"); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(c.Dir)) }()
	} else if err := os.MkdirAll(c.Dir, 0o755); err != nil {
		return err
	}
	if err := openFiles(); err != nil {
		return err
	}
	tellMachine(c)
	quiet(ctx, c.Quiet)
	return k.Run(c)
}

// place is an empty directory of a part.
func (c *cli) place(name string) (string, error) {
	dir := filepath.Join(c.Dir, name)
	if err := os.RemoveAll(dir); err != nil {
		return "", err
	}
	return dir, os.MkdirAll(dir, 0o755)
}

type allCmd struct{}

// Run measures part after part. One that cannot be measured does not stop the rest.
func (allCmd) Run(ctx context.Context, c *cli) error {
	probe := diskCmd{For: 3 * time.Second}
	idle := idleCmd{Count: 5000, Settle: 4 * time.Second}
	var failed []error
	for _, part := range []struct {
		name string
		run  func(context.Context, *cli) error
	}{
		{"disk", probe.Run},
		{"accept", acceptCmd{Devices: 2000, Rate: 500, For: 30 * time.Second, Unknown: 500}.Run},
		{"idle", idle.Run},
		{"nearest", nearestCmd{Sizes: []int{10_000, 100_000}, Phase: 2 * time.Second}.Run},
		{"calls", callsCmd{Rate: 20, For: 10 * time.Second}.Run},
		{"import", importCmd{Elders: 667_000, Searches: 2000}.Run},
		{"disk again", probe.Run},
	} {
		if err := part.run(ctx, c); err != nil {
			fmt.Printf("%s could not be measured: %v\n", part.name, err)
			failed = append(failed, fmt.Errorf("%s: %w", part.name, err))
		}
		if ctx.Err() != nil {
			break
		}
	}
	return errors.Join(failed...)
}
