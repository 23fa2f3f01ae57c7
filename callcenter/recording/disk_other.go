//go:build !linux

package recording

import (
	"errors"
	"os"
)

func datasync(f *os.File) error { return f.Sync() }

func diskSpace(string) (free, total uint64, err error) {
	return 0, 0, errors.ErrUnsupported
}
