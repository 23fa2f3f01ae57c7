// Package recording writes calls to disk as stereo A-law WAV, the caller left, our
// side right, both on the call's clock. It owns the files and nothing of the call:
// whoever starts a recording keeps its path, hash and gaps.
//
// A file lives as <day>/<id>.wav.part while it is written, only ever grows, and has
// a true header every five seconds; a crash loses no more, and Repair finishes what
// is left at the next start. Media goroutines write into memory and never wait for
// the disk.
package recording

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
)

// Errors that a caller decides on.
var (
	ErrDiskLow = errors.New("disk is nearly full: the call is not recorded")
	ErrStopped = errors.New("the recording pool has stopped")
	ErrID      = errors.New("not an id of a recording")
)

// Options of a Pool. Dir is required.
type Options struct {
	Dir     string
	Log     *zap.Logger
	Metrics prometheus.Registerer

	// Space tells the free and the whole bytes of the disk; nil asks the system.
	Space func(dir string) (free, total uint64, err error)
	// OnFault is told when the disk refuses or a recording has a gap; it must not
	// block. Path is of the recording, empty when the disk is low.
	OnFault func(path string, err error)
}

const (
	drainEvery = 500 * time.Millisecond
	syncEvery  = 5 * time.Second
	spaceEvery = 10 * time.Second
	// Below a tenth ordinary calls are not recorded, below a fiftieth none.
	lowDisk    = 0.10
	emptyDisk  = 0.02
	partSuffix = ".part"
)

// Pool writes all recordings with one goroutine and syncs them with another.
type Pool struct {
	o       Options
	log     *zap.Logger
	metrics *metrics
	blocks  *blockPool

	mu      sync.Mutex
	active  map[*Recording]struct{} // guarded by mu
	names   map[string]struct{}     // paths in use; guarded by mu
	stopped bool                    // guarded by mu
	free    float64                 // share of the disk, at checked; guarded by mu
	checked time.Time               // guarded by mu
}

// New makes the directory and the pool; Run must run for anything to reach the disk.
func New(o Options) (*Pool, error) {
	if o.Dir == "" {
		return nil, errors.New("recording: no directory")
	}
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	if o.Space == nil {
		o.Space = diskSpace
	}
	if err := os.MkdirAll(o.Dir, 0o750); err != nil {
		return nil, fmt.Errorf("recording: %w", err)
	}
	p := &Pool{o: o, log: o.Log, blocks: newBlockPool(), active: map[*Recording]struct{}{}, names: map[string]struct{}{}}
	p.metrics = newMetrics(o.Metrics, p)
	return p, nil
}

// Run writes and syncs until ctx ends, then finishes every open recording.
func (p *Pool) Run(ctx context.Context) error {
	var syncer sync.WaitGroup
	syncer.Go(func() { every(ctx, syncEvery, p.syncAll) })
	every(ctx, drainEvery, p.drainAll)
	syncer.Wait()
	p.mu.Lock()
	p.stopped = true
	p.mu.Unlock()
	var last error
	for _, r := range p.recordings() {
		if _, err := r.Close(); err != nil {
			last = err
		}
	}
	return last
}

func every(ctx context.Context, d time.Duration, do func(time.Time)) {
	t := time.NewTicker(d)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-t.C:
			do(now)
		}
	}
}

func (p *Pool) recordings() []*Recording {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := make([]*Recording, 0, len(p.active))
	for r := range p.active {
		all = append(all, r)
	}
	return all
}

func (p *Pool) drainAll(now time.Time) {
	for _, r := range p.recordings() {
		r.drain(now.Add(-lateness))
	}
}

func (p *Pool) syncAll(time.Time) {
	for _, r := range p.recordings() {
		r.sync()
	}
}

// ids are of our own making; the check keeps every other string from being a path.
var ids = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$`)

// Start begins the recording of an ordinary call; ErrDiskLow when less than a tenth
// of the disk is free. The call goes on without.
func (p *Pool) Start(id string) (*Recording, error) { return p.start(id, lowDisk) }

// StartSOS begins the recording of an SOS call, the last to go without.
func (p *Pool) StartSOS(id string) (*Recording, error) { return p.start(id, emptyDisk) }

func (p *Pool) start(id string, need float64) (*Recording, error) {
	if !ids.MatchString(id) {
		return nil, fmt.Errorf("%w: %q", ErrID, id)
	}
	if p.share() < need {
		p.metrics.refused.Inc()
		p.fault("", ErrDiskLow)
		return nil, ErrDiskLow
	}
	now := time.Now()
	path, err := p.reserve(id, now)
	if err != nil {
		return nil, err
	}
	r, err := create(p, path, now)
	if err != nil {
		p.release(path)
		p.metrics.failed.Inc()
		p.fault(path, err)
		return nil, fmt.Errorf("start recording %s: %w", path, err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stopped {
		delete(p.names, path)
		_ = r.file.Close()
		_ = os.Remove(r.partPath())
		return nil, ErrStopped
	}
	p.active[r] = struct{}{}
	return r, nil
}

// reserve picks the path: a call that is recorded again, after a hold or a
// transfer, gets a new part.
func (p *Pool) reserve(id string, now time.Time) (string, error) {
	day := now.UTC().Format("2006-01-02")
	if err := os.MkdirAll(filepath.Join(p.o.Dir, day), 0o750); err != nil {
		return "", fmt.Errorf("start recording: %w", err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for n := 1; n < 1000; n++ {
		name := id
		if n > 1 {
			name = fmt.Sprintf("%s.%d", id, n)
		}
		path := day + "/" + name + ".wav"
		if _, used := p.names[path]; used || exists(p.file(path)) || exists(p.file(path)+partSuffix) {
			continue
		}
		p.names[path] = struct{}{}
		return path, nil
	}
	return "", fmt.Errorf("start recording %s: a thousand parts already", id)
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

func (p *Pool) release(path string) {
	p.mu.Lock()
	delete(p.names, path)
	p.mu.Unlock()
}

func (p *Pool) file(path string) string { return filepath.Join(p.o.Dir, filepath.FromSlash(path)) }

// File is where a finished recording's Path lies on this machine.
func (p *Pool) File(path string) (string, error) {
	if !filepath.IsLocal(filepath.FromSlash(path)) {
		return "", fmt.Errorf("%w: %q", ErrID, path)
	}
	return p.file(path), nil
}

// Open opens a finished recording by the Path of its Result. It can be served with
// ranges as it is, or through PCM.
func (p *Pool) Open(path string) (*os.File, error) {
	root, err := os.OpenRoot(p.o.Dir)
	if err != nil {
		return nil, fmt.Errorf("open recording: %w", err)
	}
	defer root.Close()
	f, err := root.Open(filepath.FromSlash(path))
	if err != nil {
		return nil, fmt.Errorf("open recording %s: %w", path, err)
	}
	return f, nil
}

// Health says whether calls are recorded: "ok", or "degraded" with the reason.
func (p *Pool) Health() (state, detail string) {
	if share := p.share(); share < lowDisk {
		return "degraded", fmt.Sprintf("%.0f %% of the disk of recordings is free; ordinary calls are not recorded", share*100)
	}
	return "ok", ""
}

// share is the free part of the disk, asked every ten seconds. A disk that does
// not answer counts as free: opening the file will tell.
func (p *Pool) share() float64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now := time.Now(); p.checked.IsZero() || now.Sub(p.checked) >= spaceEvery {
		p.checked, p.free = now, 1
		if free, total, err := p.o.Space(p.o.Dir); err == nil && total > 0 {
			p.free = float64(free) / float64(total)
		}
	}
	return p.free
}

func (p *Pool) fault(path string, err error) {
	p.log.Error("recording", zap.String("path", path), zap.Error(err))
	if p.o.OnFault != nil {
		p.o.OnFault(path, err)
	}
}
