package recording

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"go.uber.org/zap"

	"anling/callcenter/media"
)

const (
	// lateness is how long after its time a packet may still come into the file.
	lateness = 300 * time.Millisecond
	// ringBlocks hold the ten seconds that a stalled disk is waited for, and the
	// lateness.
	ringBlocks = 22
	// snap joins a packet to the one before when it is off by less: clocks that
	// differ make a step of 10 ms now and then instead of a click in each packet.
	snap = sampleRate / 100
)

// Result is a finished recording. Path is relative to the pool's directory, with
// slashes, so that it stays true when the data moves; Pool.Open takes it.
type Result struct {
	Path      string
	SHA256    string // of the file, hex
	Seconds   float64
	Bytes     int64 // of the file
	Gaps      int   // times that sound was lost to a slow disk
	Recovered bool  // finished by Repair after a crash
}

// Recording is one call's file. It is a media.Tap; Write may be called by several
// goroutines.
type Recording struct {
	p     *Pool
	path  string
	start time.Time

	ring struct {
		sync.Mutex
		blocks [ringBlocks]*block // slot of block n is n % ringBlocks
		drain  int64              // first frame not yet written out
		next   [2]int64           // frame after the last packet, by channel
		gap    [2]bool            // in a gap now
		gaps   int
		closed bool
	}

	disk struct {
		sync.Mutex // of drain, sync and Close
		data       int64
		synced     int64
		owed       int64 // bytes of silence that a refusing disk did not take
		failing    bool
		done       bool
	}
	file   *os.File
	once   sync.Once
	result Result
	err    error
}

var _ media.Tap = (*Recording)(nil)

func create(p *Pool, path string, start time.Time) (*Recording, error) {
	r := &Recording{p: p, path: path, start: start}
	f, err := os.OpenFile(r.partPath(), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o640)
	if err != nil {
		return nil, err
	}
	if _, err := f.Write(header(0)); err != nil {
		_ = f.Close()
		_ = os.Remove(f.Name())
		return nil, err
	}
	r.file = f
	return r, nil
}

func (r *Recording) partPath() string { return r.p.file(r.path) + partSuffix }

// Path is where the recording will be, relative to the pool's directory.
func (r *Recording) Path() string { return r.path }

// Write puts a packet's sound in its place; what never comes is silence. It never
// waits for the disk: when ten seconds are not written yet the sound is dropped,
// and counted as a gap.
func (r *Recording) Write(ch media.Channel, at time.Time, payload []byte, law media.Codec) {
	if ch > media.Right || len(payload) == 0 {
		return
	}
	from := int64(at.Sub(r.start)) * sampleRate / int64(time.Second)
	g := &r.ring
	g.Lock()
	defer g.Unlock()
	if g.closed {
		return
	}
	if off := from - g.next[ch]; off < snap && off > -snap {
		from = g.next[ch]
	}
	if from < g.drain { // too late, or before the start
		skip := g.drain - from
		if skip >= int64(len(payload)) {
			return
		}
		payload, from = payload[skip:], g.drain
	}
	to := from + int64(len(payload))
	if to > g.drain/blockFrames*blockFrames+ringBlocks*blockFrames {
		if !g.gap[ch] {
			g.gap[ch] = true
			g.gaps++
			r.p.metrics.gaps.Inc()
		}
		return
	}
	g.gap[ch] = false
	r.put(ch, from, payload, law)
	g.next[ch] = max(g.next[ch], to)
}

// put copies into the blocks, every other byte; the ring is locked.
func (r *Recording) put(ch media.Channel, from int64, payload []byte, law media.Codec) {
	var converted [256]byte
	for len(payload) > 0 {
		slot := &r.ring.blocks[from/blockFrames%ringBlocks]
		if *slot == nil {
			*slot = r.p.blocks.take()
		}
		i := int(from % blockFrames)
		n := media.Convert(converted[:min(len(converted), blockFrames-i)], payload, law, media.PCMA)
		dst := (*slot)[i*frameBytes+int(ch):]
		for k, b := range converted[:n] {
			dst[k*frameBytes] = b
		}
		payload, from = payload[n:], from+int64(n)
	}
}

// drain writes everything up to the time to the file.
func (r *Recording) drain(until time.Time) {
	r.disk.Lock()
	defer r.disk.Unlock()
	if r.disk.done {
		return
	}
	r.drainTo(int64(until.Sub(r.start)) * sampleRate / int64(time.Second))
}

// drainTo writes frames up to end; disk is locked. Blocks are taken out of the ring
// before they are written, so that no media goroutine meets the disk.
func (r *Recording) drainTo(end int64) {
	for {
		r.ring.Lock()
		from := r.ring.drain
		to := min(end, (from/blockFrames+1)*blockFrames)
		if to <= from {
			r.ring.Unlock()
			return
		}
		slot := &r.ring.blocks[from/blockFrames%ringBlocks]
		b := *slot
		whole := to%blockFrames == 0
		var copied block
		switch {
		case b == nil:
		case whole:
			*slot = nil
		default:
			copied = *b
		}
		r.ring.drain = to
		r.ring.Unlock()

		out := &silence
		if b != nil && whole {
			out = b
		} else if b != nil {
			out = &copied
		}
		i := from % blockFrames * frameBytes
		r.write(out[i : i+(to-from)*frameBytes])
		if b != nil && whole {
			r.p.blocks.give(b)
		}
	}
}

// write appends; disk is locked. What a disk refuses is owed as silence of the same
// length, so that the channels and the clock stay true.
func (r *Recording) write(b []byte) {
	d := &r.disk
	if d.data+d.owed+int64(len(b)) > maxData {
		return
	}
	if err := r.pay(); err != nil {
		r.owe(len(b), err)
		return
	}
	if _, err := r.file.WriteAt(b, headerBytes+d.data); err != nil {
		r.owe(len(b), err)
		return
	}
	d.data += int64(len(b))
	d.failing = false
}

// pay writes the silence that is owed.
func (r *Recording) pay() error {
	for d := &r.disk; d.owed > 0; {
		n := min(d.owed, int64(len(silence)))
		if _, err := r.file.WriteAt(silence[:n], headerBytes+d.data); err != nil {
			return err
		}
		d.data += n
		d.owed -= n
	}
	return nil
}

func (r *Recording) owe(n int, err error) {
	r.disk.owed += int64(n)
	if r.disk.failing {
		return
	}
	r.disk.failing = true
	r.ring.Lock()
	r.ring.gaps++
	r.ring.Unlock()
	r.p.metrics.gaps.Inc()
	r.p.fault(r.path, err)
}

// sync makes what was written durable and lets the header tell of it.
func (r *Recording) sync() {
	r.disk.Lock()
	data, done := r.disk.data, r.disk.done || r.disk.synced == r.disk.data
	r.disk.Unlock()
	if done {
		return
	}
	// The slow part is not under the lock: the writer goes on.
	if err := datasync(r.file); err != nil {
		if !errors.Is(err, os.ErrClosed) {
			r.p.fault(r.path, err)
		}
		return
	}
	r.disk.Lock()
	defer r.disk.Unlock()
	if r.disk.done {
		return
	}
	if _, err := r.file.WriteAt(header(data), 0); err != nil {
		r.p.fault(r.path, err)
		return
	}
	r.disk.synced = data
}

// Close writes the rest, makes the file durable and gives it its name. It waits
// for the disk. A second Close returns the same.
func (r *Recording) Close() (Result, error) {
	r.once.Do(func() { r.result, r.err = r.finish() })
	return r.result, r.err
}

func (r *Recording) finish() (Result, error) {
	defer r.p.remove(r)
	r.ring.Lock()
	r.ring.closed = true
	end := max(r.ring.next[0], r.ring.next[1], r.ring.drain)
	r.ring.Unlock()

	r.disk.Lock()
	defer r.disk.Unlock()
	r.drainTo(end)
	r.disk.done = true
	r.freeBlocks()
	res, err := r.seal()
	if err != nil {
		r.p.metrics.failed.Inc()
		err = fmt.Errorf("close recording %s: %w", r.path, err)
		r.p.fault(r.path, err)
		return res, err
	}
	r.p.metrics.saved.Inc()
	r.p.metrics.bytes.Add(float64(res.Bytes))
	r.p.log.Info("recording saved", zap.String("path", res.Path), zap.Float64("seconds", res.Seconds), zap.Int("gaps", res.Gaps))
	return res, nil
}

func (r *Recording) freeBlocks() {
	r.ring.Lock()
	defer r.ring.Unlock()
	for i, b := range r.ring.blocks {
		if b != nil {
			r.p.blocks.give(b)
			r.ring.blocks[i] = nil
		}
	}
}

// seal writes the last header and renames; disk is locked.
func (r *Recording) seal() (Result, error) {
	err := r.pay()
	if _, e := r.file.WriteAt(header(r.disk.data), 0); err == nil {
		err = e
	}
	if e := r.file.Sync(); err == nil {
		err = e
	}
	if e := r.file.Close(); err == nil {
		err = e
	}
	if err != nil {
		return Result{Path: r.path}, err
	}
	res, err := settle(r.partPath(), r.path)
	r.ring.Lock()
	res.Gaps = r.ring.gaps
	r.ring.Unlock()
	return res, err
}

// settle hashes a finished part, renames it to its name and returns what it is.
func settle(part, path string) (Result, error) {
	res := Result{Path: path}
	f, err := os.Open(part)
	if err != nil {
		return res, err
	}
	defer f.Close()
	h := sha256.New()
	if res.Bytes, err = io.Copy(h, f); err != nil {
		return res, err
	}
	res.SHA256 = hex.EncodeToString(h.Sum(nil))
	res.Seconds = float64((res.Bytes-headerBytes)/frameBytes) / sampleRate
	if err := os.Rename(part, part[:len(part)-len(partSuffix)]); err != nil {
		return res, err
	}
	return res, syncDir(filepath.Dir(part))
}

func (p *Pool) remove(r *Recording) {
	p.mu.Lock()
	delete(p.active, r)
	delete(p.names, r.path)
	p.mu.Unlock()
}
