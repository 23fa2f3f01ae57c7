// Package sostest is what the tests of the protocols share: a receiver that can be
// slow or refuse, and the tables of frames.
package sostest

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"anling/care"
	"anling/sos"
)

// Ear is a sos.Receiver that remembers what it heard. The zero Ear takes everything
// at once.
type Ear struct {
	mu     sync.Mutex
	alarms []care.Alarm // guarded by mu, as all below
	signs  []sos.Sign
	frames []sos.RawFrame
	block  chan struct{}
	fail   error
}

var _ sos.Receiver = (*Ear)(nil)

// Receive implements sos.Receiver.
func (e *Ear) Receive(ctx context.Context, a care.Alarm) (care.Opened, error) {
	e.mu.Lock()
	e.alarms = append(e.alarms, a)
	block, fail := e.block, e.fail
	e.mu.Unlock()
	if block != nil {
		select {
		case <-block:
		case <-ctx.Done():
			return care.Opened{}, ctx.Err()
		}
	}
	return care.Opened{}, fail
}

// Seen implements sos.Receiver.
func (e *Ear) Seen(s sos.Sign) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.signs = append(e.signs, s)
}

// Keep implements sos.Receiver.
func (e *Ear) Keep(_ context.Context, f sos.RawFrame) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.frames = append(e.frames, f)
	return e.fail
}

// Set makes what is received from now on wait for block, if it is not nil, and end
// with fail.
func (e *Ear) Set(block chan struct{}, fail error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.block, e.fail = block, fail
}

// Alarms are those received so far.
func (e *Ear) Alarms() []care.Alarm {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.alarms)
}

// Signs are the signs of life so far.
func (e *Ear) Signs() []sos.Sign {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.signs)
}

// Frames are those that nobody could read so far.
func (e *Ear) Frames() []sos.RawFrame {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.frames)
}

// Vectors reads a table of testdata/vectors, each row by its columns' names, for the
// test of a protocol's package.
func Vectors(t testing.TB, name string) []map[string]string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "testdata", "vectors", name))
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	var rows []map[string]string
	columns := strings.Split(lines[0], "\t")
	for _, line := range lines[1:] {
		row := map[string]string{}
		for i, v := range strings.Split(line, "\t") {
			row[columns[i]] = v
		}
		rows = append(rows, row)
	}
	return rows
}
