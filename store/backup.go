package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
)

// Backup writes a whole, verified copy into dir and returns its path. It can run
// beside the traffic.
func (s *Store) Backup(ctx context.Context, dir string) (string, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("backup: %w", err)
	}
	name := "anling-" + s.opts.Now().UTC().Format("20060102-150405")
	ext := ".db"
	if s.opts.Engine == Postgres {
		ext = ".dump"
	}
	final := filepath.Join(dir, name+ext)
	if _, err := os.Stat(final); err == nil {
		return "", fmt.Errorf("backup: %s is there already", final)
	}
	part := final + ".part"
	if err := s.engine.backup(ctx, part); err != nil {
		_ = os.Remove(part)
		return "", fmt.Errorf("backup: %w", err)
	}
	if err := os.Rename(part, final); err != nil {
		return "", fmt.Errorf("backup: %w", err)
	}
	return final, syncDir(dir)
}

// PruneBackups keeps the newest copies of dir and removes older ones.
func PruneBackups(dir string, keep int) error {
	list, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("backup: %w", err)
	}
	var names []string
	for _, f := range list {
		if strings.HasPrefix(f.Name(), "anling-") && (strings.HasSuffix(f.Name(), ".db") || strings.HasSuffix(f.Name(), ".dump")) {
			names = append(names, f.Name())
		}
	}
	slices.Sort(names)
	var errs []error
	for i := 0; i < len(names)-keep; i++ {
		errs = append(errs, os.Remove(filepath.Join(dir, names[i])))
	}
	return errors.Join(errs...)
}

// Restore puts a copy in the place of the SQLite database of dataDir, while no
// server runs there. The former files are moved aside, never deleted; the streams
// of the bus are removed, for they are rebuilt; a new store epoch begins, so that
// consoles drop what they know. It returns where the former files are.
func Restore(ctx context.Context, dataDir, from string) (aside string, err error) {
	lock, err := lockDir(dataDir)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	if err := verifySQLite(ctx, from); err != nil {
		return "", fmt.Errorf("restore: %w", err)
	}
	dir := filepath.Join(dataDir, "db")
	aside = filepath.Join(dataDir, "before-restore-"+time.Now().UTC().Format("20060102-150405"))
	if err := os.MkdirAll(aside, 0o700); err != nil {
		return "", fmt.Errorf("restore: %w", err)
	}
	// An old WAL would be applied to the new file: all three move.
	for _, name := range []string{"anling.db", "anling.db-wal", "anling.db-shm"} {
		if err := os.Rename(filepath.Join(dir, name), filepath.Join(aside, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return "", fmt.Errorf("restore: %w", err)
		}
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("restore: %w", err)
	}
	if err := copyFile(from, filepath.Join(dir, "anling.db")); err != nil {
		return "", fmt.Errorf("restore: %w", err)
	}
	if err := os.RemoveAll(filepath.Join(dataDir, "nats")); err != nil {
		return "", fmt.Errorf("restore: %w", err)
	}
	return aside, nil
}

// BeginEpoch starts a new life of the data; call it once after a restore.
func (s *Store) BeginEpoch(ctx context.Context) error {
	epoch := uuid.Must(uuid.NewV7()).String()
	err := s.Write(ctx, Urgent, func(tx *Tx) error { return tx.SetMeta(tx.ctx, "store_epoch", epoch) })
	if err != nil {
		return fmt.Errorf("begin store epoch: %w", err)
	}
	s.epoch = epoch
	return nil
}

func copyFile(from, to string) error {
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer src.Close() //nolint:errcheck // opened for reading
	dst, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if _, err := io.Copy(dst, src); err != nil {
		return errors.Join(err, dst.Close())
	}
	return errors.Join(dst.Sync(), dst.Close())
}
