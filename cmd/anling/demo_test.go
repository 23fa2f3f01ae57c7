package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"anling/cmd/anling/internal/config"
)

func TestDemoKeepsOutOfARealDistrict(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.yml")
	if err := os.WriteFile(path, []byte("district: {code: '530102'}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	err := demoCmd{Once: true, Data: t.TempDir()}.Run(t.Context(), &cli{Config: path})
	if err == nil || !strings.Contains(err.Error(), "district.code") {
		t.Errorf("got %v", err)
	}
}

func TestDemoLeavesNothingBehind(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	c := config.Default()
	remove, err := demoCmd{}.place(&c)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(c.DataDir, "db"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := remove(); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(os.TempDir()); err != nil || len(left) > 0 {
		t.Errorf("left %v, %v", left, err)
	}
}
