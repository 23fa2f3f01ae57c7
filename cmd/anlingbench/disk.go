package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"anling/cmd/internal/simload"
)

type diskCmd struct {
	For time.Duration `help:"How long." default:"3s"`
}

// Run appends 512 bytes and syncs, one after the other: no commit can be faster.
func (d diskCmd) Run(ctx context.Context, c *cli) error {
	title("disk", "append 512 bytes and sync, one at a time")
	h, took, err := syncs(ctx, c.Dir, d.For)
	if err != nil {
		return err
	}
	row("syncs a second", "%.0f", float64(h.Count())/took.Seconds())
	hist("append + sync", h)
	return nil
}

func syncs(ctx context.Context, dir string, most time.Duration) (_ *simload.Hist, took time.Duration, err error) {
	path := filepath.Join(dir, "probe")
	f, err := os.Create(path)
	if err != nil {
		return nil, 0, err
	}
	defer os.Remove(path) //nolint:errcheck // goes with its directory
	defer f.Close()       //nolint:errcheck // only a probe
	var h simload.Hist
	body := make([]byte, 512)
	began := time.Now()
	for time.Since(began) < most && ctx.Err() == nil {
		started := time.Now()
		if _, err := f.Write(body); err != nil {
			return nil, 0, fmt.Errorf("probe of the disk: %w", err)
		}
		if err := f.Sync(); err != nil {
			return nil, 0, fmt.Errorf("probe of the disk: %w", err)
		}
		h.Add(time.Since(started))
	}
	return &h, time.Since(began), nil
}
