package secret

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

func TestAKeyIsMadeOnceAndKept(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "secrets")
	first, err := Load(dir, NATS)
	if err != nil || len(first) != size {
		t.Fatalf("%d bytes, %v", len(first), err)
	}
	again, err := Load(dir, NATS)
	if err != nil || !bytes.Equal(first, again) {
		t.Errorf("the second load differs (%v)", err)
	}
	other, err := Load(dir, IDNumbers)
	if err != nil || bytes.Equal(first, other) {
		t.Errorf("two names share a key (%v)", err)
	}
	st, err := os.Stat(filepath.Join(dir, NATS))
	if err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("mode is %v, %v", st.Mode(), err)
	}
}

func TestADamagedOrOpenKeyIsRefused(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, NATS)
	if err := os.WriteFile(path, []byte("1234\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(dir, NATS); err == nil {
		t.Error("a short key is taken")
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(dir, NATS); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(dir, NATS); err == nil {
		t.Error("a key that everybody may read is taken")
	}
}
