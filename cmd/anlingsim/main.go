// Command anlingsim is a simulated city at the doors of a running server: devices that
// are pressed, callers, operators and responders. It counts what they saw and leaves
// with a status other than zero when a promise was broken.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/alecthomas/kong"
	"go.uber.org/zap"

	"anling/cmd/internal/simclient"
	"anling/cmd/internal/simdevice"
)

// cli is the command line.
type cli struct {
	Server   string `help:"HTTP address of the server." default:"http://127.0.0.1:8080"`
	GT06     string `name:"gt06" help:"Its door for GT06 devices." default:"127.0.0.1:5023"`
	Watch    string `help:"Its door for watches." default:"127.0.0.1:5093"`
	SIP      string `name:"sip" help:"Its SIP address." default:"127.0.0.1:5060"`
	Admin    string `help:"Account that reads devices and alarms." default:"admin"`
	Password string `help:"Password of the accounts." env:"ANLING_DEMO_PASSWORD"`
	Seed     uint64 `help:"The same seed makes the same city." default:"1"`
	Verbose  bool   `help:"Log what goes wrong as it happens." short:"v"`

	Devices    devicesCmd    `cmd:"" help:"Press SOS at a fixed rate and wait for the answers."`
	Calls      callsCmd      `cmd:"" help:"Call the hotline, and answer at operators' telephones."`
	Responders respondersCmd `cmd:"" help:"Responders with the app, who take offers and go."`
	City       cityCmd       `cmd:"" help:"All of it: presses, calls, operators, responders."`
	Idle       idleCmd       `cmd:"" help:"Open connections that say nothing, and tell what each costs the server."`
	Harm       harmCmd       `cmd:"" help:"Garbage, slow and silent peers."`
	Ledger     ledgerCmd     `cmd:"" help:"Hold the server to what it acknowledged."`
}

func main() {
	var c cli
	k := kong.Parse(&c, kong.Name("anlingsim"), kong.Description("A simulated city at the doors of an Anling server."), kong.UsageOnError())
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	k.BindTo(ctx, (*context.Context)(nil))
	if err := k.Run(&c); err != nil {
		fmt.Fprintln(os.Stderr, "anlingsim: "+err.Error())
		stop()
		os.Exit(1)
	}
}

// errBroken is a promise of the server that was not kept.
var errBroken = errors.New("the server broke a promise")

func (c *cli) log() *zap.Logger {
	if !c.Verbose {
		return zap.NewNop()
	}
	log, err := zap.NewDevelopment(zap.IncreaseLevel(zap.WarnLevel))
	if err != nil {
		return zap.NewNop()
	}
	return log
}

// signIn makes a client of an account.
func (c *cli) signIn(ctx context.Context, name string) (*simclient.Client, error) {
	if c.Password == "" {
		return nil, errors.New("no password: give --password or ANLING_DEMO_PASSWORD")
	}
	client, err := simclient.New(c.Server)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	return client, client.Login(ctx, name, c.Password)
}

// identities are the devices of a list, or those that the server knows.
func (c *cli) identities(ctx context.Context, file string, limit int) ([]simdevice.Identity, error) {
	var all []simdevice.Identity
	if file != "" {
		var err error
		if all, err = simdevice.ReadIdentities(file); err != nil {
			return nil, err
		}
	} else {
		admin, err := c.signIn(ctx, c.Admin)
		if err != nil {
			return nil, fmt.Errorf("devices of the server: %w", err)
		}
		defer admin.Close()
		devices, err := admin.Devices(ctx, "")
		if err != nil {
			return nil, err
		}
		for _, d := range devices {
			if (d.Protocol == simdevice.GT06 || d.Protocol == simdevice.Watch) && d.ExternalID != "" && (d.State == "" || d.State == "active") {
				all = append(all, simdevice.Identity{Protocol: d.Protocol, ID: d.ExternalID})
			}
		}
	}
	if len(all) == 0 {
		return nil, errors.New("there are no GT06 devices or watches")
	}
	if limit > 0 && len(all) > limit {
		all = all[:limit]
	}
	return all, nil
}

// causes writes counts by cause, the largest first.
func causes(title string, counts map[string]int) string {
	if len(counts) == 0 {
		return ""
	}
	var b strings.Builder
	fmt.Fprintln(&b, title)
	for _, k := range sorted(counts) {
		fmt.Fprintf(&b, "  %6d  %s\n", counts[k], k)
	}
	return b.String()
}
