package recording

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"testing"

	"pgregory.net/rapid"
)

// TestRepairOfATornFile cuts a running recording at any byte, with the header of
// any earlier moment, and wants a valid file with every frame that was there.
func TestRepairOfATornFile(t *testing.T) {
	dir := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		frames := rapid.IntRange(0, 2000).Draw(t, "frames")
		synced := rapid.IntRange(0, frames).Draw(t, "frames in the header")
		body := rapid.SliceOfN(rapid.Byte(), frames*frameBytes, frames*frameBytes).Draw(t, "body")
		whole := append(header(int64(synced*frameBytes)), body...)
		cut := rapid.IntRange(0, len(whole)).Draw(t, "cut")

		day := filepath.Join(dir, "2026-11-24")
		if err := os.MkdirAll(day, 0o755); err != nil {
			t.Fatal(err)
		}
		name := filepath.Join(day, "call.wav")
		if err := os.WriteFile(name+partSuffix, whole[:cut], 0o644); err != nil {
			t.Fatal(err)
		}
		defer os.Remove(name)
		done, err := Repair(dir)
		if err != nil || len(done) != 1 {
			t.Fatalf("repaired %d: %v", len(done), err)
		}
		got, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		kept := max(0, cut-headerBytes) / frameBytes * frameBytes
		if want := append(header(int64(kept)), body[:kept]...); !bytes.Equal(got, want) {
			t.Fatalf("%d bytes of data kept, %d were there", len(got)-headerBytes, kept)
		}
		sum := sha256.Sum256(got)
		r := done[0]
		if r.Path != "2026-11-24/call.wav" || !r.Recovered || r.Bytes != int64(len(got)) || r.SHA256 != hex.EncodeToString(sum[:]) {
			t.Fatalf("result %+v", r)
		}
		if again, err := Repair(dir); err != nil || len(again) != 0 {
			t.Fatalf("repaired twice: %v %v", again, err)
		}
	})
}

func TestRepairLeavesTheRestAlone(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"a.wav", "notes.part", "b.txt"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("x"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if done, err := Repair(dir); err != nil || len(done) != 0 {
		t.Fatalf("%v %v", done, err)
	}
	if done, err := Repair(filepath.Join(dir, "none")); err != nil || len(done) != 0 {
		t.Fatalf("a directory that is not there: %v %v", done, err)
	}
}
