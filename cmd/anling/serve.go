package main

import (
	"context"
	"fmt"

	"go.uber.org/zap"
)

// serveCmd runs the server.
type serveCmd struct{}

func (serveCmd) Run(ctx context.Context, c *cli) error {
	cfg, err := c.load()
	if err != nil {
		return err
	}
	log, err := newLogger(cfg.Log)
	if err != nil {
		return err
	}
	defer log.Sync() //nolint:errcheck // standard error cannot be synced everywhere
	log.Info("starting", zap.String("version", version))
	a, err := newApp(ctx, cfg, log)
	if err != nil {
		return fmt.Errorf("start: %w", err)
	}
	err = a.Run(ctx)
	log.Info("ended")
	return err
}
