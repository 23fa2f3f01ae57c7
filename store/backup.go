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
	names, err := backups(dir)
	if err != nil {
		return err
	}
	var errs []error
	for i := 0; i < len(names)-keep; i++ {
		errs = append(errs, os.Remove(filepath.Join(dir, names[i])))
	}
	return errors.Join(errs...)
}

// LastBackup is when the newest copy of dir was written; the zero time when there is
// none.
func LastBackup(dir string) (time.Time, error) {
	names, err := backups(dir)
	if errors.Is(err, os.ErrNotExist) || (err == nil && len(names) == 0) {
		return time.Time{}, nil
	}
	if err != nil {
		return time.Time{}, err
	}
	st, err := os.Stat(filepath.Join(dir, names[len(names)-1]))
	if err != nil {
		return time.Time{}, fmt.Errorf("backup: %w", err)
	}
	return st.ModTime(), nil
}

// backups are the names of the copies in dir, the oldest first.
func backups(dir string) ([]string, error) {
	list, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("backup: %w", err)
	}
	var names []string
	for _, f := range list {
		if strings.HasPrefix(f.Name(), "anling-") && (strings.HasSuffix(f.Name(), ".db") || strings.HasSuffix(f.Name(), ".dump")) {
			names = append(names, f.Name())
		}
	}
	slices.Sort(names)
	return names, nil
}

// Restore puts a copy in the place of the SQLite database of dataDir, while no
// server runs there. The copy is whole in its new place before anything moves. The
// former files are moved aside, never deleted; the streams of the bus are removed, for
// they are rebuilt. Call BeginEpoch after it. It returns where the former files are.
func Restore(ctx context.Context, dataDir, from string) (aside string, err error) {
	lock, err := lockDir(dataDir)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	if err := restore(ctx, dataDir, from, &aside); err != nil {
		return "", fmt.Errorf("restore: %w", err)
	}
	return aside, nil
}

func restore(ctx context.Context, dataDir, from string, aside *string) error {
	dir := filepath.Join(dataDir, "db")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	to := filepath.Join(dir, "anling.db")
	part := to + ".part"
	if err := errors.Join(refuseSame(from, to), verifyCopy(ctx, from)); err != nil {
		return err
	}
	if err := copyFile(from, part); err != nil {
		return errors.Join(err, os.Remove(part))
	}
	*aside = filepath.Join(dataDir, "before-restore-"+time.Now().UTC().Format("20060102-150405"))
	if err := os.Mkdir(*aside, 0o700); err != nil {
		return err
	}
	// An old WAL would be applied to the new file: all three move.
	for _, name := range []string{"anling.db", "anling.db-wal", "anling.db-shm"} {
		if err := os.Rename(filepath.Join(dir, name), filepath.Join(*aside, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return errors.Join(os.Rename(part, to), syncDir(dir), os.RemoveAll(filepath.Join(dataDir, "nats")))
}

// refuseSame refuses the database itself as its copy.
func refuseSame(from, to string) error {
	a, err := os.Stat(from)
	if err != nil {
		return err
	}
	if b, err := os.Stat(to); err == nil && os.SameFile(a, b) {
		return fmt.Errorf("%s is the database itself", from)
	}
	return nil
}

// BeginEpoch starts a new life of the data; call it once after a restore.
func (s *Store) BeginEpoch(ctx context.Context) error {
	epoch := uuid.Must(uuid.NewV7()).String()
	err := s.Write(ctx, Urgent, func(tx *Tx) error { return tx.SetMeta(tx.ctx, epochMeta, epoch) })
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
	dst, err := os.OpenFile(to, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if _, err := io.Copy(dst, src); err != nil {
		return errors.Join(err, dst.Close())
	}
	return errors.Join(dst.Sync(), dst.Close())
}
