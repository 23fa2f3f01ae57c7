package main

import (
	"context"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"anling/cmd/internal/simload"
)

type callsCmd struct {
	Rate float64       `help:"Calls a second to the hotline of the built server." default:"20"`
	For  time.Duration `help:"How long." default:"10s"`
}

// Run calls the built server's hotline, and runs the benchmarks of a leg and of
// bridged conversations when the tool and the sources are there.
func (l callsCmd) Run(ctx context.Context, c *cli) error {
	title("calls", fmt.Sprintf("%g calls a second to the built server for %s: answered, recorded, queued, greeted, hung up after 2 s", l.Rate, l.For))
	s, err := newServer(c, "calls")
	if err != nil {
		return err
	}
	if err := s.start(ctx, "demo", "--no-play"); err != nil {
		return err
	}
	defer s.stop()
	quiet(ctx, c.Quiet)
	before, err := cpuOf(s.pid())
	if err != nil {
		return err
	}
	var numbers []string
	for i := range 500 { // strangers, each with a number of his own
		numbers = append(numbers, "1549"+fmt.Sprintf("%07d", i))
	}
	r, err := simload.Calls{Server: s.sip, Hotline: "+8687190000000", Numbers: numbers, Rate: l.Rate, For: l.For, Talk: 2 * time.Second, Seed: c.Seed}.Run(ctx)
	if err != nil {
		return err
	}
	after, err := cpuOf(s.pid())
	if err != nil {
		return err
	}
	row("calls", "%d placed, %d answered, %d greeted, failed %v", r.Placed, r.Answered, r.Greeted, r.Failed)
	row("packets to callers", "%d, lost %d", r.Packets, r.Lost)
	hist("INVITE to 200", r.Setup)
	row("200 to the first sound", "%s", r.Greeting)
	row("server's processor time", "%.2f s for 1,000 calls of 2 s", (after-before).Seconds()*1000/float64(max(1, r.Placed)))
	s.stop()
	benchmark(ctx, "a leg from INVITE to BYE (sipp)", "./callcenter/sip", "Calls$", "5000x", 0)
	benchmark(ctx, "conversations for each core", "./callcenter/recording", "BridgedCalls", "1x", 1000)
	return nil
}

// benchmark prints the metrics of a Go benchmark. least is the goal of calls/core of
// recorded ones, 0 for none.
func benchmark(ctx context.Context, what, pkg, name, times string, least float64) {
	if _, err := exec.LookPath("go"); err != nil {
		row(what, "left out: needs Go and the sources")
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, "go", "test", pkg, "-run", "^$", "-bench", name, "-benchtime", times).CombinedOutput()
	if err != nil {
		row(what, "left out: %v: %s", err, out[max(0, len(out)-300):])
		return
	}
	for line := range strings.Lines(string(out)) {
		f := strings.Fields(line)
		if len(f) < 4 || !strings.HasPrefix(f[0], "Benchmark") {
			continue
		}
		row(strings.TrimPrefix(f[0], "Benchmark"), "%s", strings.Join(f[2:], " "))
		for i := 3; i < len(f); i += 2 {
			v, err := strconv.ParseFloat(f[i-1], 64)
			if err == nil && least > 0 && f[i] == "calls/core" && strings.Contains(f[0], "recorded") {
				goal(fmt.Sprintf("bridged and recorded conversations for each core ≥ %.0f", least), v >= least, "%.0f", v)
			}
		}
	}
}
