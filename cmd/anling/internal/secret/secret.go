// Package secret keeps the keys that the server makes for itself at its first start.
package secret

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Names of the keys.
const (
	IDNumbers = "id-numbers.key" // encrypts ID numbers and hashes them for look-up
	NATS      = "nats.key"       // signs the tokens of provider apps
)

const size = 32 // bytes of a key

// Load returns the key of a name from dir, and makes it when there is none. A key
// file that others may read is refused.
func Load(dir, name string) ([]byte, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("secrets directory: %w", err)
	}
	path := filepath.Join(dir, name)
	st, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) {
		return create(path)
	}
	if err != nil {
		return nil, fmt.Errorf("secret %s: %w", name, err)
	}
	if st.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("secret %s may be read by others (mode %04o): chmod 600 it", path, st.Mode().Perm())
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("secret %s: %w", name, err)
	}
	key, err := hex.DecodeString(strings.TrimSpace(string(text)))
	if err != nil || len(key) != size {
		return nil, fmt.Errorf("secret %s is damaged: want %d bytes in hexadecimal; restore it from its backup", path, size)
	}
	return key, nil
}

// create writes a new key under another name first, so that a crash leaves a whole
// one or none.
func create(path string) ([]byte, error) {
	key := make([]byte, size)
	if _, err := rand.Read(key); err != nil {
		return nil, fmt.Errorf("make secret: %w", err)
	}
	part := path + ".part"
	f, err := os.OpenFile(part, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("make secret: %w", err)
	}
	if _, err := f.WriteString(hex.EncodeToString(key) + "\n"); err != nil {
		return nil, errors.Join(fmt.Errorf("make secret: %w", err), f.Close())
	}
	// What the key seals is synced as well: a power cut must not leave that without it.
	if err := errors.Join(f.Sync(), f.Close(), os.Rename(part, path), syncDir(filepath.Dir(path))); err != nil {
		return nil, fmt.Errorf("make secret: %w", err)
	}
	return key, nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
