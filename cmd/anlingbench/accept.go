package main

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"sync"
	"time"

	"anling/care/district"
	"anling/cmd/internal/simclient"
	"anling/cmd/internal/simdevice"
	"anling/cmd/internal/simload"
)

type acceptCmd struct {
	Devices int           `help:"Registered devices, each of an elder of its own." default:"2000"`
	Rate    float64       `help:"Alarms a second." default:"500"`
	For     time.Duration `help:"How long." default:"30s"`
	Unknown int           `help:"Devices that nobody registered, for the worst case; 0: none." default:"500"`
}

// Run presses registered devices while an operator's console listens, and then
// devices that are in no registry.
func (a acceptCmd) Run(ctx context.Context, c *cli) error {
	title("accept", fmt.Sprintf("%g alarms a second from %d devices for %s; first byte sent to answer, and to an operator's screen", a.Rate, a.Devices, a.For))
	elders, ids := identities(c.Seed, a.Devices)
	s, err := newServer(c, "accept", "SOS_MAX_PER_IP=100000")
	if err != nil {
		return err
	}
	if err := s.start(ctx, "demo", "--no-play", "--elders", strconv.Itoa(elders), "--seed", strconv.FormatUint(c.Seed, 10)); err != nil {
		return err
	}
	defer s.stop()
	client, err := s.login(ctx, "operator1")
	if err != nil {
		return err
	}
	defer client.Close()
	quiet(ctx, c.Quiet)
	if err := a.known(ctx, c, s, client, ids); err != nil {
		return err
	}
	if a.Unknown <= 0 {
		return nil
	}
	var strangers []simdevice.Identity
	for i := range a.Unknown {
		strangers = append(strangers, simdevice.Identity{Protocol: simdevice.GT06, ID: fmt.Sprintf("8698%011d", i)})
	}
	load := simload.Alarms{Devices: strangers, GT06: s.gt06, Watch: s.watch, Rate: a.Rate, For: a.For / 3, Seed: c.Seed, OnReady: func() { pause(ctx, 2*time.Second) }}
	res, err := load.Run(ctx)
	if err != nil {
		return err
	}
	row("not registered, pressed", "%d, answered %d", res.Sent, res.Acked)
	hist("not registered, press to answer", res.Answer)
	return nil
}

func (a acceptCmd) known(ctx context.Context, c *cli, s *server, client *simclient.Client, ids []simdevice.Identity) error {
	k, err := simload.NewConsole(ctx, client, ids)
	if err != nil {
		return err
	}
	watching, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	up := make(chan struct{})
	ended := make(chan error, 1)
	wg.Go(func() { ended <- k.Watch(watching, client, func() { close(up) }) })
	select {
	case <-up:
	case err := <-ended:
		return fmt.Errorf("the operator's live channel: %w", err)
	case <-time.After(10 * time.Second):
		return errors.New("the operator's live channel does not open")
	}
	before, err := cpuOf(s.pid())
	if err != nil {
		return err
	}
	// The log-ins of thousands are over, and written, before the first press.
	load := simload.Alarms{Devices: ids, GT06: s.gt06, Watch: s.watch, Rate: a.Rate, For: a.For, Seed: c.Seed, Around: district.Centre, Console: k,
		OnReady: func() { pause(ctx, 3*time.Second); before, err = cpuOf(s.pid()) }}
	res, lerr := load.Run(ctx)
	if err := errors.Join(err, lerr); err != nil {
		return err
	}
	for end := time.Now().Add(2 * time.Second); k.Waiting() > 0 && time.Now().Before(end) && pause(ctx, 20*time.Millisecond); {
	}
	after, err := cpuOf(s.pid())
	if err != nil {
		return err
	}
	row("pressed", "%d in %s, answered %d, frames sent again %d", res.Sent, res.Took.Round(time.Millisecond), res.Acked, res.Resent)
	row("seen on the screen", "%d, not seen %d, connections lost %d", k.Push.Count(), k.Waiting(), k.Drops())
	hist("press to answer", res.Answer)
	hist("press to screen", k.Push)
	row("press to incident on screen", "%s", k.Opened)
	row("press to first offer on screen", "%s", k.Offer)
	row("sent later than due (our delay)", "%s", res.Late)
	row("server's processor time", "%.2f s for 1,000 alarms", (after-before).Seconds()*1000/float64(max(1, res.Sent)))
	if _, text, err := client.Page(ctx, "/metrics"); err == nil {
		row("changes a commit", "%.1f", sample(text, "anling_store_batch_size_sum")/max(1, sample(text, "anling_store_batch_size_count")))
	}
	goalHist("press to answer", res.Answer, 2*time.Millisecond, 20*time.Millisecond)
	goalHist("press to screen", k.Push, 2*time.Millisecond, 20*time.Millisecond)
	goal("every alarm answered and seen", res.Acked == res.Sent && k.Waiting() == 0, "%d of %d answered, %d not seen", res.Acked, res.Sent, k.Waiting())
	return nil
}

// sample is one value of /metrics.
func sample(text, name string) float64 {
	m := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(name) + ` (\S+)$`).FindStringSubmatch(text)
	if m == nil {
		return 0
	}
	v, _ := strconv.ParseFloat(m[1], 64)
	return v
}

// identities are the first devices of a generated district that have a door here, and
// how many elders the district needs for them.
func identities(seed uint64, n int) (elders int, all []simdevice.Identity) {
	d := district.New(district.Options{Seed: seed, Elders: 100 * n})
	for i := 0; len(all) < n; i++ {
		v, ok := d.Device(i)
		elders = i + 1
		if ok && v.State != "retired" && (v.Protocol == simdevice.GT06 || v.Protocol == simdevice.Watch) {
			all = append(all, simdevice.Identity{Protocol: v.Protocol, ID: v.ExternalID})
		}
	}
	return elders, all
}
