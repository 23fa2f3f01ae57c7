package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"anling/cmd/internal/simload"
	"anling/cmd/internal/simoperator"
	"anling/cmd/internal/simresponder"
	"anling/geo"
)

type respondersCmd struct {
	Count   int           `help:"Accounts responder1 to responderN." default:"5"`
	Prefix  string        `help:"Name of the accounts without the number." default:"responder"`
	Decline float64       `help:"Share of the offers that are refused." default:"0.1"`
	Ignore  float64       `help:"Share of the offers that are not answered." default:"0.1"`
	Think   time.Duration `help:"Before an answer." default:"2s"`
	Travel  time.Duration `help:"The way to the elder." default:"10s"`
	Stay    time.Duration `help:"At the elder's." default:"5s"`
	For     time.Duration `help:"How long." default:"1m"`
	Around  string        `help:"lat,lng around which they wait; by default they have no position of their own."`
}

func (r respondersCmd) Run(ctx context.Context, c *cli) error {
	ctx, cancel := context.WithTimeout(ctx, r.For)
	defer cancel()
	counts, err := r.run(ctx, c, nil)
	fmt.Print(causes("responders", counts))
	return err
}

// run lets them work until ctx ends and sums up what they did.
func (r respondersCmd) run(ctx context.Context, c *cli, ready func()) (map[string]int, error) {
	if c.Password == "" {
		return nil, errors.New("no password: give --password or ANLING_DEMO_PASSWORD")
	}
	var around geo.Point
	if r.Around != "" {
		if _, err := fmt.Sscanf(r.Around, "%f,%f", &around.Lat, &around.Lng); err != nil {
			return nil, fmt.Errorf("around %q is not lat,lng", r.Around)
		}
	}
	var all []*simresponder.Responder
	var wg sync.WaitGroup
	errs := make([]error, r.Count)
	for i := range r.Count {
		var start geo.Point
		if !around.IsZero() {
			start = geo.Offset(around, float64(i%5-2)*300, float64(i/5%5-2)*300)
		}
		p, err := simresponder.New(simresponder.Options{Server: c.Server, Name: fmt.Sprintf("%s%d", r.Prefix, i+1), Password: c.Password, Start: start, Seed: c.Seed + uint64(i), Log: c.log(),
			Temper: simresponder.Temper{Decline: r.Decline, Ignore: r.Ignore, Think: r.Think, Travel: r.Travel, Stay: r.Stay}})
		if err != nil {
			return nil, err
		}
		all = append(all, p)
		wg.Go(func() { errs[i] = p.Run(ctx) })
	}
	if ready != nil {
		limit, cancel := context.WithTimeout(ctx, 15*time.Second)
		for _, p := range all {
			if p.WaitReady(limit) != nil {
				break // its Run tells why
			}
		}
		cancel()
		ready()
	}
	wg.Wait()
	sum := map[string]int{}
	for _, p := range all {
		for what, n := range p.Counts() {
			sum[what] += n
		}
	}
	return sum, errors.Join(errs...)
}

type callsCmd struct {
	Hotline  string        `help:"Number that is called." default:"87163824111"`
	Numbers  []string      `help:"Callers' numbers, in turn." default:"13800000001,13800000002,13800000003"`
	Phones   []string      `help:"Operators' telephones that answer, as account:password."`
	Rate     float64       `help:"Calls a second." default:"0.5"`
	For      time.Duration `help:"How long." default:"30s"`
	Talk     time.Duration `help:"Length of a call; the greeting takes its first seconds." default:"12s"`
	Desk     bool          `help:"Sign in as operator1 to operatorN, one for each telephone, so that calls are offered to them." default:"true" negatable:""`
	Network  string        `help:"udp or tcp." enum:"udp,tcp" default:"udp"`
	Listen   string        `help:"Address of the trunk; the server must know it as a peer." default:"127.0.0.1:0"`
	MaxCalls int           `help:"At the same time." default:"500"`
}

func (x callsCmd) Run(ctx context.Context, c *cli) error {
	if !x.Desk || len(x.Phones) == 0 {
		return x.run(ctx, c)
	}
	working, leave := context.WithCancel(ctx)
	var desk sync.WaitGroup
	defer desk.Wait()
	defer leave()
	ready, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	for i := range x.Phones {
		p, err := simoperator.New(simoperator.Options{Server: c.Server, Name: fmt.Sprintf("operator%d", i+1), Password: c.Password, Calls: true, Log: c.log()})
		if err != nil {
			return err
		}
		failed := make(chan error, 1)
		desk.Go(func() { failed <- p.Run(working) })
		if err := p.WaitReady(ready); err != nil {
			leave()
			return errors.Join(err, <-failed)
		}
	}
	return x.run(ctx, c)
}

func (x callsCmd) run(ctx context.Context, c *cli) error {
	load := simload.Calls{Server: c.SIP, Network: x.Network, Listen: x.Listen, Hotline: x.Hotline, Numbers: x.Numbers, Rate: x.Rate, For: x.For, Talk: x.Talk,
		Answer: time.Second, MaxCalls: x.MaxCalls, Seed: c.Seed, Log: c.log()}
	for _, p := range x.Phones {
		account, password, found := strings.Cut(p, ":")
		if !found {
			return fmt.Errorf("phone %q is not account:password", p)
		}
		load.Phones = append(load.Phones, simload.PhoneAccount{Account: account, Password: password})
	}
	r, err := load.Run(ctx)
	if err != nil {
		return err
	}
	var t table
	t.row("calls placed", "%d, skipped %d", r.Placed, r.Skipped)
	t.row("answered", "%d, greeted %d", r.Answered, r.Greeted)
	if len(load.Phones) > 0 {
		t.row("joined", "%d heard the operator, %d were heard", r.Joined, r.OperatorHeard)
	}
	t.hist("INVITE to answer", r.Setup)
	t.hist("answer to greeting", r.Greeting)
	t.hist("INVITE to operator", r.Join)
	t.row("RTP packets", "%d heard, %d missing", r.Packets, r.Lost)
	if err := t.write(os.Stdout); err != nil {
		return err
	}
	fmt.Print(causes("failed calls", r.Failed))
	if n := r.Placed - r.Answered; n > 0 {
		return fmt.Errorf("%w: %d calls were not answered", errBroken, n)
	}
	return nil
}

type cityCmd struct {
	File       string        `help:"CSV of devices; the server's own by default." type:"existingfile"`
	Presses    float64       `help:"Presses a second." default:"0.5"`
	Calls      float64       `help:"Calls a second; 0 for none." default:"0.1"`
	Hotline    string        `help:"Number that is called." default:"87163824111"`
	Phones     []string      `help:"Operators' telephones that answer, as account:password."`
	Listen     string        `help:"Address of the trunk, where elders answer who are called back." default:"127.0.0.1:0"`
	Operators  int           `help:"Accounts operator1 to operatorN who work at the desk." default:"1"`
	Responders int           `help:"Accounts responder1 to responderN." default:"5"`
	For        time.Duration `help:"How long." default:"1m"`
}

func (x cityCmd) Run(ctx context.Context, c *cli) error {
	ids, err := c.identities(ctx, x.File, 200)
	if err != nil {
		return err
	}
	// People stay a little longer than the load, to finish what is open.
	staying, leave := context.WithTimeout(ctx, x.For+20*time.Second)
	defer leave()
	var people sync.WaitGroup
	defer people.Wait()
	var mu sync.Mutex
	var report strings.Builder
	var errs []error
	note := func(text string, err error) {
		mu.Lock()
		defer mu.Unlock()
		report.WriteString(text)
		errs = append(errs, err)
	}
	ready := make(chan struct{})
	people.Go(func() {
		r := respondersCmd{Count: x.Responders, Prefix: "responder", Decline: 0.1, Ignore: 0.1, Think: time.Second, Travel: 4 * time.Second, Stay: 2 * time.Second}
		counts, err := r.run(staying, c, func() { close(ready) })
		note(causes("responders", counts), err)
	})
	for i := range x.Operators {
		people.Go(func() {
			counts, err := x.operator(staying, c, i+1)
			note(causes(fmt.Sprintf("operator%d", i+1), counts), err)
		})
	}
	select {
	case <-ready:
	case <-staying.Done():
	case <-time.After(15 * time.Second):
	}
	fmt.Printf("%d devices, %d operators, %d responders, for %s\n", len(ids), x.Operators, x.Responders, x.For)
	var load sync.WaitGroup
	if x.Presses > 0 {
		load.Go(func() {
			d := devicesCmd{Rate: x.Presses, For: x.For, LowBattery: 0.1, Console: "operator1", Grace: 10 * time.Second, Verify: true}
			note("", d.run(ctx, c, ids, nil))
		})
	}
	if x.Calls > 0 {
		load.Go(func() {
			n := callsCmd{Hotline: x.Hotline, Numbers: []string{"13800000001", "13800000002", "13800000003"}, Phones: x.Phones, Rate: x.Calls, For: x.For, Talk: 12 * time.Second, Network: "udp", Listen: x.Listen, MaxCalls: 100}
			note("", n.run(ctx, c))
		})
	}
	load.Wait()
	people.Wait()
	mu.Lock()
	defer mu.Unlock()
	fmt.Print(report.String())
	return errors.Join(errs...)
}

func (x cityCmd) operator(ctx context.Context, c *cli, n int) (map[string]int, error) {
	p, err := simoperator.New(simoperator.Options{Server: c.Server, Name: fmt.Sprintf("operator%d", n), Password: c.Password, Think: time.Second, Log: c.log()})
	if err != nil {
		return nil, err
	}
	err = p.Run(ctx)
	return p.Counts(), err
}
