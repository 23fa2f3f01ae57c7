package store

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
)

const (
	segmentSize  = 16 << 20
	recordMax    = 1 << 20
	keepSegments = 30 * 24 * time.Hour
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Entry is one request in the emergency journal.
type Entry struct {
	ID   string          `json:"id"` // UUIDv7
	Kind string          `json:"kind"`
	At   time.Time       `json:"at"`
	Body json.RawMessage `json:"body,omitempty"`
	Done string          `json:"done,omitempty"` // set in the record that says: this ID is committed
}

// Journal keeps, on a disk of its own if it can, what could not be committed. A
// record is its length, its CRC-32C and JSON; reading a segment stops at the first
// record that is torn. Records survive a crash and a power cut of this machine.
type Journal struct {
	dir     string
	mu      sync.Mutex
	file    *os.File
	used    int64
	pending map[string]Entry
}

// OpenJournal opens the journal of a directory and reads what is still pending.
func OpenJournal(dir string) (*Journal, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("journal: %w", err)
	}
	j := &Journal{dir: dir, pending: map[string]Entry{}}
	names, err := j.segments()
	if err != nil {
		return nil, err
	}
	last := int64(segmentSize)
	for _, name := range names {
		if last, err = j.readSegment(filepath.Join(dir, name)); err != nil {
			return nil, err
		}
	}
	// The newest segment is written on if there is room in it. Otherwise a place for
	// the next record is laid now, while the disk has one: a full disk finds it ready.
	reuse := func(clean bool) bool {
		if last > segmentSize-recordMax || !j.reuse(filepath.Join(dir, names[len(names)-1]), last, clean) {
			return false
		}
		names = names[:len(names)-1] // not to be dropped
		return true
	}
	if !reuse(true) {
		// Better over the remains of a torn record than nowhere.
		if err := j.newSegment(); err != nil && !reuse(false) {
			return nil, err
		}
	}
	j.dropOld(names)
	return j, nil
}

// reuse goes on in a segment after its last whole record; clean asks that nothing
// lies behind that.
func (j *Journal) reuse(path string, used int64, clean bool) bool {
	f, err := os.OpenFile(path, os.O_RDWR, 0o600)
	if err != nil {
		return false
	}
	var head [8]byte
	st, err := f.Stat()
	if err == nil {
		_, err = f.ReadAt(head[:], used)
	}
	if err != nil || st.Size() != segmentSize || (clean && head != [8]byte{}) {
		_ = f.Close() // not laid to its end, or not ended well: it stays as it is
		return false
	}
	j.file, j.used = f, used
	return true
}

func (j *Journal) segments() ([]string, error) {
	list, err := os.ReadDir(j.dir)
	if err != nil {
		return nil, fmt.Errorf("journal: %w", err)
	}
	var names []string
	for _, f := range list {
		if strings.HasPrefix(f.Name(), "journal-") {
			names = append(names, f.Name())
		}
	}
	slices.Sort(names)
	return names, nil
}

// readSegment takes in a segment and returns where its last whole record ends.
func (j *Journal) readSegment(path string) (used int64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, fmt.Errorf("journal: %w", err)
	}
	defer f.Close() //nolint:errcheck // opened for reading
	for {
		e, err := readEntry(f)
		if err != nil {
			return used, nil // the torn or empty tail
		}
		if used, err = f.Seek(0, io.SeekCurrent); err != nil {
			return 0, fmt.Errorf("journal: %w", err)
		}
		if e.Done != "" {
			delete(j.pending, e.Done)
		} else {
			j.pending[e.ID] = e
		}
	}
}

func readEntry(r io.Reader) (Entry, error) {
	var head [8]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return Entry{}, err
	}
	n := binary.LittleEndian.Uint32(head[:4])
	if n == 0 || n > recordMax {
		return Entry{}, io.EOF
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(r, body); err != nil {
		return Entry{}, err
	}
	if crc32.Checksum(body, castagnoli) != binary.LittleEndian.Uint32(head[4:]) {
		return Entry{}, errors.New("checksum")
	}
	var e Entry
	return e, json.Unmarshal(body, &e)
}

// dropOld removes segments whose time is over, unless something is pending.
func (j *Journal) dropOld(names []string) {
	if len(j.pending) > 0 {
		return
	}
	for _, name := range names {
		path := filepath.Join(j.dir, name)
		st, err := os.Stat(path)
		if err != nil {
			continue
		}
		if empty := firstByteZero(path); empty || time.Since(st.ModTime()) > keepSegments {
			_ = os.Remove(path) // tried again at the next start
		}
	}
}

func firstByteZero(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close() //nolint:errcheck // opened for reading
	var head [4]byte
	_, err = io.ReadFull(f, head[:])
	return err != nil || head == [4]byte{}
}

// newSegment opens a preallocated file: writing over laid space costs half the
// time of growing a file, and works on a disk that is full.
func (j *Journal) newSegment() error {
	name := fmt.Sprintf("journal-%s", uuid.Must(uuid.NewV7()))
	f, err := os.OpenFile(filepath.Join(j.dir, name), os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	zero := make([]byte, 1<<20)
	for range segmentSize / len(zero) {
		if _, err := f.Write(zero); err != nil {
			return errors.Join(fmt.Errorf("journal: lay %s: %w", name, err), f.Close(), os.Remove(f.Name()))
		}
	}
	if err := errors.Join(f.Sync(), syncDir(j.dir)); err != nil {
		return errors.Join(fmt.Errorf("journal: lay %s: %w", name, err), f.Close())
	}
	if j.file != nil {
		_ = j.file.Close() // every record in it was synced
	}
	j.file, j.used = f, 0
	return nil
}

// Append writes an entry and returns when it is on the disk. An entry with the ID
// of a pending one is not written twice.
func (j *Journal) Append(e Entry) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if _, known := j.pending[e.ID]; known {
		return nil
	}
	if err := j.append(e); err != nil {
		return err
	}
	j.pending[e.ID] = e
	return nil
}

// Settle records that an entry is committed.
func (j *Journal) Settle(id string) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if _, known := j.pending[id]; !known {
		return nil
	}
	if err := j.append(Entry{ID: uuid.Must(uuid.NewV7()).String(), Kind: "done", At: time.Now(), Done: id}); err != nil {
		return err
	}
	delete(j.pending, id)
	return nil
}

func (j *Journal) append(e Entry) error {
	body, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	if len(body) > recordMax {
		return fmt.Errorf("journal: an entry of %d bytes is over the limit of %d", len(body), recordMax)
	}
	record := make([]byte, 8, 8+len(body))
	binary.LittleEndian.PutUint32(record[:4], uint32(len(body)))
	binary.LittleEndian.PutUint32(record[4:], crc32.Checksum(body, castagnoli))
	record = append(record, body...)
	if j.file == nil {
		return errors.New("journal: closed")
	}
	if j.used+int64(len(record)) > segmentSize {
		if err := j.newSegment(); err != nil {
			return err
		}
	}
	if _, err := j.file.WriteAt(record, j.used); err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	if err := j.file.Sync(); err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	j.used += int64(len(record))
	return nil
}

// Pending are the entries that are not yet committed, oldest first.
func (j *Journal) Pending() []Entry {
	j.mu.Lock()
	defer j.mu.Unlock()
	all := make([]Entry, 0, len(j.pending))
	for _, e := range j.pending {
		all = append(all, e)
	}
	slices.SortFunc(all, func(a, b Entry) int { return strings.Compare(a.ID, b.ID) })
	return all
}

// Close closes the journal; what is pending is found at the next start.
func (j *Journal) Close() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.file == nil {
		return nil
	}
	err := j.file.Close()
	j.file = nil
	return err
}
