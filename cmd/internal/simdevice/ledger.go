package simdevice

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Entry is a press that the server acknowledged. Protocol, ID and At name it: a
// device never presses twice in the same second.
type Entry struct {
	Protocol string
	ID       string
	Serial   uint16
	At       time.Time // the device's own time
	Sent     time.Time
	Acked    time.Time
}

// Key names a press as the server's list of alarms can tell it.
func (e Entry) Key() string { return Key(e.Protocol, e.ID, e.At) }

// Key names a press by its device and the device's time.
func Key(protocol, id string, at time.Time) string {
	return protocol + ":" + id + ":" + strconv.FormatInt(at.Unix(), 10)
}

// Ledger is an append-only file of acknowledged presses: what the server has
// promised. It is kept by the peers, so that it outlives the server.
type Ledger struct {
	mu   sync.Mutex
	f    *os.File // guarded by mu
	err  error    // guarded by mu: the first failure to write
	n    int      // guarded by mu
	done chan struct{}
	wg   sync.WaitGroup
}

const syncEvery = 50 * time.Millisecond

// OpenLedger opens or continues a ledger. Lines are written at once and synced to
// the disk twenty times a second and at Close.
func OpenLedger(path string) (*Ledger, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("ledger: %w", err)
	}
	l := &Ledger{f: f, done: make(chan struct{})}
	l.wg.Go(l.sync)
	return l, nil
}

func (l *Ledger) sync() {
	tick := time.NewTicker(syncEvery)
	defer tick.Stop()
	synced := 0
	for {
		select {
		case <-l.done:
			return
		case <-tick.C:
		}
		l.mu.Lock()
		n := l.n
		l.mu.Unlock()
		if n == synced {
			continue
		}
		err := l.f.Sync()
		synced = n
		l.mu.Lock()
		l.err = errors.Join(l.err, err)
		l.mu.Unlock()
	}
}

// Record notes an acknowledgement.
func (l *Ledger) Record(e Entry) {
	line := fmt.Sprintf("%s\t%s\t%04x\t%d\t%s\t%s\n", e.Protocol, e.ID, e.Serial, e.At.Unix(), e.Sent.UTC().Format(time.RFC3339Nano), e.Acked.UTC().Format(time.RFC3339Nano))
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, err := l.f.WriteString(line); err != nil {
		l.err = errors.Join(l.err, err)
		return
	}
	l.n++
}

// Len is how many entries were written since it was opened.
func (l *Ledger) Len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.n
}

// Close syncs the file; its error means that the ledger cannot be relied on.
func (l *Ledger) Close() error {
	close(l.done)
	l.wg.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	return errors.Join(l.err, l.f.Sync(), l.f.Close())
}

// ReadLedger reads all entries of a file.
func ReadLedger(path string) ([]Entry, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("ledger: %w", err)
	}
	defer f.Close()
	return readEntries(f, path)
}

func readEntries(r io.Reader, path string) ([]Entry, error) {
	var all []Entry
	s := bufio.NewScanner(r)
	for line := 1; s.Scan(); line++ {
		f := strings.Split(s.Text(), "\t")
		if len(f) != 6 {
			return nil, fmt.Errorf("%s:%d: %d fields, want 6", path, line, len(f))
		}
		serial, err1 := strconv.ParseUint(f[2], 16, 16)
		at, err2 := strconv.ParseInt(f[3], 10, 64)
		sent, err3 := time.Parse(time.RFC3339Nano, f[4])
		acked, err4 := time.Parse(time.RFC3339Nano, f[5])
		if err := errors.Join(err1, err2, err3, err4); err != nil {
			return nil, fmt.Errorf("%s:%d: %w", path, line, err)
		}
		all = append(all, Entry{Protocol: f[0], ID: f[1], Serial: uint16(serial), At: time.Unix(at, 0).UTC(), Sent: sent, Acked: acked})
	}
	return all, s.Err()
}
