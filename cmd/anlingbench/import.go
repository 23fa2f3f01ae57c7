package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/mozillazg/go-pinyin"

	"anling/care"
	"anling/care/district"
	"anling/cmd/internal/simclient"
	"anling/cmd/internal/simload"
)

type importCmd struct {
	Elders   int `help:"Rows of the list." default:"667000"`
	Searches int `help:"Searches of each kind." default:"2000"`
}

const (
	importGoal = 60 * time.Second
	searchGoal = 5 * time.Millisecond
)

// Run lets the built program load a city, and searches in it over HTTP.
func (i importCmd) Run(ctx context.Context, c *cli) error {
	title("import", fmt.Sprintf("%d elders from a CSV file by the built program, then searches over HTTP", i.Elders))
	s, err := newServer(c, "import")
	if err != nil {
		return err
	}
	defer os.RemoveAll(s.dir) //nolint:errcheck // hundreds of MB; the rest goes with the whole directory
	d := district.New(district.Options{Seed: c.Seed, Elders: i.Elders})
	quiet(ctx, c.Quiet)
	for _, list := range []struct {
		kind  string
		write func(io.Writer) error
	}{{"elders", d.WriteElders}, {"devices", d.WriteDevices}} {
		path := filepath.Join(s.dir, list.kind+".csv")
		if err := writeList(path, list.write); err != nil {
			return err
		}
		started := time.Now()
		if _, err := s.run(ctx, "", "import", list.kind, path); err != nil {
			return err
		}
		took := time.Since(started)
		row(list.kind+" imported in", "%.1f s", took.Seconds())
		if list.kind == "elders" {
			goal(fmt.Sprintf("import of %d elders < %s", i.Elders, importGoal), took < importGoal, "%.1f s, %.0f rows/s", took.Seconds(), float64(i.Elders)/took.Seconds())
		}
		_ = os.Remove(path)
	}
	if _, err := s.run(ctx, password+"\n", "user", "add", "operator1", "--role", "operator"); err != nil {
		return err
	}
	if err := s.start(ctx, "serve"); err != nil {
		return err
	}
	defer s.stop()
	client, err := s.login(ctx, "operator1")
	if err != nil {
		return err
	}
	defer client.Close()
	return i.search(ctx, client, d)
}

func writeList(path string, write func(io.Writer) error) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	w := bufio.NewWriterSize(f, 1<<20)
	return errors.Join(write(w), w.Flush(), f.Close())
}

// search asks for elders spread over the whole list.
func (i importCmd) search(ctx context.Context, client *simclient.Client, d *district.District) error {
	for _, by := range []struct {
		name string
		text func(n int) string
	}{
		{"telephone", func(n int) string { p := d.Elder(n).Phones; return p[len(p)-1] }},
		{"last 4 digits", func(n int) string { p := d.Elder(n).Phones; return p[len(p)-1][len(p[len(p)-1])-4:] }},
		{"name", func(n int) string { return d.Elder(n).Name }},
		{"pinyin", func(n int) string { whole, _ := spelled(d.Elder(n)); return whole }},
		{"pinyin initials", func(n int) string { _, first := spelled(d.Elder(n)); return first }},
		{"device", func(n int) string {
			for ; ; n = (n + 1) % i.Elders {
				if v, ok := d.Device(n); ok {
					return v.ExternalID
				}
			}
		}},
	} {
		var h simload.Hist
		missed := 0
		for n := range i.Searches {
			q := by.text((n*7919 + 13) % i.Elders)
			started := time.Now()
			var list simclient.Items[struct{}]
			if err := client.Get(ctx, "/elders?limit=20&q="+url.QueryEscape(q), &list); err != nil {
				return fmt.Errorf("search by %s: %w", by.name, err)
			}
			h.Add(time.Since(started))
			if len(list.Items) == 0 {
				missed++
			}
		}
		row("search by "+by.name, "%s, found nothing %d", &h, missed)
		goal(fmt.Sprintf("search by %s p99 < %s", by.name, searchGoal), h.Quantile(0.99) < searchGoal && missed == 0, "%.2f ms", ms(h.Quantile(0.99)))
	}
	return nil
}

// spelled is how a name is typed without Chinese characters: the registry's own
// spelling would need the elder first.
func spelled(e care.Elder) (whole, initials string) {
	for _, syllable := range pinyin.LazyConvert(e.Name, nil) {
		whole += syllable
		initials += syllable[:1]
	}
	return whole, initials
}
