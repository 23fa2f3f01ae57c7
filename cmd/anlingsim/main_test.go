package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"

	"anling/cmd/internal/simclient"
	"anling/cmd/internal/simfake"
)

// sim runs a command line, and returns what it printed and its error.
func sim(t *testing.T, c *simfake.Center, args ...string) (string, error) {
	t.Helper()
	out, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	stdout := os.Stdout
	os.Stdout = out
	defer func() { os.Stdout = stdout }()
	var line cli
	parser, err := kong.New(&line, kong.Name("anlingsim"))
	if err != nil {
		t.Fatal(err)
	}
	k, err := parser.Parse(append([]string{"--server", c.URL, "--gt06", c.GT06, "--password", simfake.Password}, args...))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	k.BindTo(ctx, (*context.Context)(nil))
	err = k.Run(&line)
	text, readErr := os.ReadFile(out.Name())
	if readErr != nil {
		t.Fatal(readErr)
	}
	return string(text), err
}

func TestDevicesAndTheirLedger(t *testing.T) {
	c := simfake.NewCenter(t, 10)
	ledger := filepath.Join(t.TempDir(), "ledger")
	out, err := sim(t, c, "devices", "--rate", "50", "--count", "20", "--ledger", ledger, "--bars")
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, want := range []string{"10 devices", "presses sent", "20 in", "seen on the screen", "20, not seen 0", "20 acknowledged, 20 found, 0 lost, 0 doubled", "█"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	if out, err := sim(t, c, "ledger", "check", "--ledger", ledger); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	// The server forgets one, and lists another twice.
	c.With(func() { c.Alarms[3] = c.Alarms[4] })
	out, err = sim(t, c, "ledger", "check", "--ledger", ledger)
	if !errors.Is(err, errBroken) || !strings.Contains(out, "19 found, 1 lost, 1 doubled") || !strings.Contains(out, "lost: gt06:86") || !strings.Contains(out, "doubled: gt06:86") {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestPressesWithoutAnAnswerAreAnError(t *testing.T) {
	c := simfake.NewCenter(t, 2)
	c.Lose = func(n int) bool { return n == 1 }
	out, err := sim(t, c, "devices", "--rate", "10", "--count", "4")
	if !errors.Is(err, errBroken) || !strings.Contains(out, "1 lost") {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestIdleAndHarmfulPeers(t *testing.T) {
	c := simfake.NewCenter(t, 1)
	out, err := sim(t, c, "idle", "--count", "60", "--pid", fmt.Sprint(os.Getpid()), "--settle", "10ms")
	if err != nil || !strings.Contains(out, "60 open of 60") || !strings.Contains(out, "KiB before") {
		t.Errorf("%v\n%s", err, out)
	}
	// Garbage is ended at once. A silent peer is borne for longer than two seconds here.
	watch := "--watch=" + c.GT06
	out, err = sim(t, c, watch, "harm", "--kinds", "garbage", "--each", "2", "--for", "20s")
	if err != nil || !strings.Contains(out, "gt06 garbage") || !strings.Contains(out, "n 2") {
		t.Errorf("%v\n%s", err, out)
	}
	out, err = sim(t, c, watch, "harm", "--kinds", "silent", "--each", "1", "--for", "2s")
	if !errors.Is(err, errBroken) || !strings.Contains(out, "still borne") {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestResponders(t *testing.T) {
	c := simfake.NewCenter(t, 0)
	c.Incident.ID = "i1"
	c.Assignment = simclient.Assignment{ID: "a1", IncidentID: "i1", Status: "offered"}
	c.Offers = []simclient.Offer{{ID: "o1", AssignmentID: "a1", IncidentID: "i1", ResponderID: "r-responder1", Status: "sent"}}
	out, err := sim(t, c, "responders", "--count", "1", "--decline", "0", "--ignore", "0", "--think", "1ms", "--travel", "5ms", "--stay", "5ms", "--for", "1s", "--around", "25.04,102.71")
	if err != nil || !strings.Contains(out, "1  on_scene") || !strings.Contains(out, "1  done") {
		t.Errorf("%v\n%s", err, out)
	}
	if _, err := sim(t, c, "responders", "--around", "here"); err == nil {
		t.Error("a place that is none is taken")
	}
}

func TestWhatIsMissingIsSaid(t *testing.T) {
	c := simfake.NewCenter(t, 0)
	for want, args := range map[string][]string{
		"there are no GT06 devices": {"devices"},
		"no password":               {"--password=", "devices"},
		"account:password":          {"calls", "--phones", "op1", "--no-desk"},
		"wrong account":             {"--password=x", "responders", "--count", "1", "--for", "1s"},
	} {
		if out, err := sim(t, c, args...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v\n%s", args, err, out)
		}
	}
}
