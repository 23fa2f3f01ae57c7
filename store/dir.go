package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// ErrLocked says that another process has the data directory.
var ErrLocked = errors.New("the data directory is in use by another process")

// lockDir takes <dir>/LOCK for the life of the returned file.
func lockDir(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "LOCK"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock of the data directory: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", dir, ErrLocked), f.Close())
	}
	return f, nil
}

// unsafeSystems are file systems on which SQLite's locks or its WAL do not hold.
var unsafeSystems = map[uint32]string{
	0x6969: "NFS", 0x517B: "SMB", 0xFF534D42: "CIFS", 0xFE534D42: "SMB2",
	0x01021997: "9p", 0x00C36400: "Ceph", 0x5346414F: "AFS",
}

const fuse = 0x65735546

func checkFileSystem(dir string, allowFUSE bool) error {
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		return fmt.Errorf("file system of %s: %w", dir, err)
	}
	kind := uint32(st.Type)
	if name := unsafeSystems[kind]; name != "" {
		return fmt.Errorf("%s is on %s: the database needs a local file system", dir, name)
	}
	if kind == fuse && !allowFUSE {
		return fmt.Errorf("%s is on FUSE: set storage.allow_unsafe_filesystem if it is known to keep locks and shared memory", dir)
	}
	return nil
}

// diskFree is the space left for the program on the file system of dir, in bytes.
func diskFree(dir string) (uint64, error) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		return 0, fmt.Errorf("file system of %s: %w", dir, err)
	}
	return st.Bavail * uint64(st.Bsize), nil
}

func syncFile(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("sync: %w", err)
	}
	if err := f.Sync(); err != nil {
		return errors.Join(fmt.Errorf("sync %s: %w", path, err), f.Close())
	}
	return f.Close()
}

func syncDir(dir string) error { return syncFile(dir) }

func (s *Store) reservePath() string { return filepath.Join(s.opts.DataDir, "reserve.bin") }

// keepReserve lays the ballast that is given back when the disk is full. It is not
// laid when it would take more than a tenth of what is left.
func (s *Store) keepReserve() {
	size := int64(s.opts.ReserveMB) << 20
	if st, err := os.Stat(s.reservePath()); size <= 0 || (err == nil && st.Size() == size) {
		return
	}
	if left, err := diskFree(s.opts.DataDir); err != nil || left < 10*uint64(size) {
		return
	}
	f, err := os.OpenFile(s.reservePath(), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return
	}
	defer f.Close() //nolint:errcheck // the ballast holds nothing
	if err := syscall.Fallocate(int(f.Fd()), 0, 0, size); err != nil {
		_ = os.Remove(s.reservePath())
	}
}

// freeReserve gives the ballast back; it reports whether there was one.
func (s *Store) freeReserve() bool { return os.Remove(s.reservePath()) == nil }
