package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"go.uber.org/zap"

	"anling/store/db"
)

const (
	walReserve  = 64 << 20 // bytes of the log that are on the disk before they are needed
	walFrame    = 24 + 4096
	walLong     = 1000  // frames from which the log is to begin anew
	walMost     = 60000 // frames at which the writer copies all by itself
	walFreeDisk = 16    // times the reserve must be free on the disk
)

// run keeps the write-ahead log short, apart from the commits, so that none of them
// pays the 10 to 100 ms of a checkpoint.
func (e *sqliteEngine) run(ctx context.Context) error {
	err := e.writer.between(ctx, func(context.Context) error { return reserveLog(e.path+"-wal", e.store.opts.DataDir) })
	if err != nil && ctx.Err() == nil {
		e.store.log.Warn("reserve the write-ahead log", zap.Error(err))
	}
	tick := time.NewTicker(e.store.opts.Checkpoint)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if err := e.checkpoint(ctx); err != nil && ctx.Err() == nil {
			e.store.log.Warn("checkpoint", zap.Error(err))
		}
	}
}

// checkpoint copies the log into the database beside the commits; when it is long, a
// second time what came meanwhile, and then the writer does the rest between two
// commits. Only a log that is copied to its end begins at its start again.
func (e *sqliteEngine) checkpoint(ctx context.Context) error {
	frames, err := passive(ctx, e.checks)
	if err != nil {
		return err
	}
	e.frames.Store(frames)
	e.store.metrics.wal.Set(float64(frames) * walFrame)
	if frames < walLong {
		return nil
	}
	if _, err := passive(ctx, e.checks); err != nil {
		return err
	}
	return e.writer.between(ctx, func(work context.Context) error {
		_, err := passive(work, e.writer.sql)
		return err
	})
}

// passive copies what no reader needs any more, and tells how long the log is.
func passive(ctx context.Context, on db.DBTX) (frames int64, err error) {
	var busy, copied int64
	if err := on.QueryRowContext(ctx, "PRAGMA wal_checkpoint(PASSIVE)").Scan(&busy, &frames, &copied); err != nil {
		return 0, fmt.Errorf("checkpoint: %w", err)
	}
	return max(0, frames), nil
}

// reserveLog lengthens the log with zeros, which are no frames to SQLite: to overwrite
// what the file has already takes the disk half the time of making it longer.
func reserveLog(path, dir string) (err error) {
	if free, err := diskFree(dir); err != nil || free < walFreeDisk*walReserve {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("write-ahead log: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return fmt.Errorf("write-ahead log: %w", err)
	}
	for zeros := make([]byte, 1<<20); size < walReserve; {
		n, err := f.Write(zeros[:min(int64(len(zeros)), walReserve-size)])
		if err != nil {
			return fmt.Errorf("lengthen write-ahead log: %w", err)
		}
		size += int64(n)
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("sync write-ahead log: %w", err)
	}
	return nil
}
