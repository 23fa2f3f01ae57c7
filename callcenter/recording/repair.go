package recording

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"go.uber.org/zap"
)

// Repair finishes what a crash left under dir: every part is cut to whole frames,
// its header is made true from its length, and it gets its name. A part without a
// single frame becomes a valid file of no length, so that its call is told the
// truth. Call it before the pool runs; what cannot be repaired is in the error and
// stays as it is.
func Repair(dir string) ([]Result, error) {
	var done []Result
	var failed []error
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			return err
		}
		if !d.Type().IsRegular() || !strings.HasSuffix(path, ".wav"+partSuffix) {
			return nil
		}
		r, err := repair(dir, path)
		if err != nil {
			failed = append(failed, fmt.Errorf("repair recording %s: %w", path, err))
			return nil
		}
		done = append(done, r)
		return nil
	})
	if err != nil {
		failed = append(failed, fmt.Errorf("repair recordings: %w", err))
	}
	return done, errors.Join(failed...)
}

// Repair is Repair of the pool's directory, counted and logged.
func (p *Pool) Repair() ([]Result, error) {
	done, err := Repair(p.o.Dir)
	p.metrics.recovered.Add(float64(len(done)))
	for _, r := range done {
		p.log.Warn("recording recovered after a crash", zap.String("path", r.Path), zap.Float64("seconds", r.Seconds))
	}
	if err != nil {
		p.fault("", err)
	}
	return done, err
}

func repair(dir, part string) (Result, error) {
	path, err := filepath.Rel(dir, strings.TrimSuffix(part, partSuffix))
	if err != nil {
		return Result{}, err
	}
	f, err := os.OpenFile(part, os.O_RDWR, 0)
	if err != nil {
		return Result{}, err
	}
	err = mend(f)
	if e := f.Close(); err == nil {
		err = e
	}
	if err != nil {
		return Result{}, err
	}
	res, err := settle(part, filepath.ToSlash(path))
	res.Recovered = true
	return res, err
}

// mend makes a torn file whole and durable.
func mend(f *os.File) error {
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	data := max(0, size-headerBytes) / frameBytes * frameBytes
	// Never beyond what the sizes of the header can tell.
	data = min(data, maxData/frameBytes*frameBytes)
	if err := f.Truncate(headerBytes + data); err != nil {
		return err
	}
	if _, err := f.WriteAt(header(data), 0); err != nil {
		return err
	}
	return f.Sync()
}

// syncDir makes a rename durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Sync(); err != nil && !errors.Is(err, errors.ErrUnsupported) && !errors.Is(err, fs.ErrInvalid) {
		return err
	}
	return nil
}
