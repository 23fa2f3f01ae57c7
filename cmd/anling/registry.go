package main

import (
	"context"
	"errors"
	"strings"

	"anling/care"
	"anling/cmd/anling/internal/config"
	"anling/cmd/anling/internal/secret"
	"anling/store"
)

// demoDistrict tells a generated district: only there are its ID numbers accepted.
func demoDistrict(code string) bool { return strings.HasPrefix(code, care.DemoProvince) }

// withRegistry opens the registry for a command of the terminal and closes it.
func withRegistry(ctx context.Context, cfg config.Config, f func(context.Context, *care.Registry) error) (err error) {
	st, err := openStore(ctx, cfg)
	if err != nil {
		return err
	}
	running, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- st.Run(running) }() // checkpoints: a long import would grow the WAL
	defer func() {
		stop()
		err = errors.Join(err, <-ended, st.Close())
	}()
	key, err := secret.Load(secretsDir(cfg), secret.IDNumbers)
	if err != nil {
		return err
	}
	r := care.NewRegistry(care.RegistryOptions{Store: store.NewRegistry(st), IDKey: key, PhoneAreaCode: cfg.District.PhoneAreaCode, Demo: demoDistrict(cfg.District.Code)})
	if err := r.CheckKey(ctx); err != nil {
		return err
	}
	return f(ctx, r)
}
