package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"go.uber.org/zap"

	"anling/store/db"
)

// Clock of a lease: a dead holder is replaced within five seconds.
const (
	leaseTTL   = 4 * time.Second
	leaseRenew = time.Second
	leaseLook  = 500 * time.Millisecond
)

// Singleton runs duty on one node at a time: it waits for the lease of that name,
// runs duty with a context that ends when the lease is lost, and begins again. It
// returns when ctx ends or duty returns an error.
func (s *Store) Singleton(ctx context.Context, name string, duty func(context.Context) error) error {
	holder := uuid.Must(uuid.NewV7()).String()
	for {
		epoch, err := s.takeLease(ctx, name, holder)
		if err != nil && ctx.Err() == nil {
			s.log.Warn("take lease", zap.String("lease", name), zap.Error(err))
		}
		if epoch > 0 {
			if err := s.hold(ctx, name, holder, epoch, duty); err != nil || ctx.Err() != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(leaseLook):
		}
	}
}

// takeLease answers the epoch of the lease taken, or 0 when another holds it.
func (s *Store) takeLease(ctx context.Context, name, holder string) (int64, error) {
	var epoch int64
	err := s.Write(ctx, Normal, func(tx *Tx) error {
		epoch = 0
		if _, err := tx.InsertLease(tx.ctx, name); err != nil {
			return err
		}
		row, err := tx.GetLease(tx.ctx, name)
		if err != nil {
			return err
		}
		n, err := tx.TakeLease(tx.ctx, db.TakeLeaseParams{
			Name: name, Holder: holder, ExpiresUs: us(tx.now.Add(leaseTTL)), Epoch: row.Epoch, ExpiresUs_2: us(tx.now),
		})
		if n == 1 {
			epoch = row.Epoch + 1
		}
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("lease %s: %w", name, err)
	}
	return epoch, nil
}

func (s *Store) hold(ctx context.Context, name, holder string, epoch int64, duty func(context.Context) error) error {
	inner, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- duty(inner) }()
	tick := time.NewTicker(leaseRenew)
	defer tick.Stop()
	for {
		select {
		case err := <-done:
			s.release(name, holder, epoch)
			return err
		case <-tick.C:
		}
		if err := s.renew(ctx, name, holder, epoch); err != nil && ctx.Err() == nil {
			s.log.Warn("lease lost", zap.String("lease", name), zap.Error(err))
			cancel()
			if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
				return err
			}
			return nil
		}
	}
}

func (s *Store) renew(ctx context.Context, name, holder string, epoch int64) error {
	ctx, cancel := context.WithTimeout(ctx, leaseTTL-leaseRenew-leaseLook)
	defer cancel()
	return s.Write(ctx, Urgent, func(tx *Tx) error {
		n, err := tx.RenewLease(tx.ctx, db.RenewLeaseParams{Name: name, Holder: holder, ExpiresUs: us(tx.now.Add(leaseTTL)), Epoch: epoch})
		if err == nil && n == 0 {
			return fmt.Errorf("lease %s is another's", name)
		}
		return err
	})
}

func (s *Store) release(name, holder string, epoch int64) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	err := s.Write(ctx, Normal, func(tx *Tx) error {
		_, err := tx.ReleaseLease(tx.ctx, name, holder, epoch)
		return err
	})
	if err != nil && !errors.Is(err, ErrClosed) {
		s.log.Warn("release lease", zap.String("lease", name), zap.Error(err))
	}
}
