package web

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"
)

const (
	replayKeep  = 10 * time.Minute
	replayCount = 10000
	replayBytes = 32 << 20
	replayWait  = 15 * time.Second // a repeat waits so long for the first to be answered
	keyMax      = 128
)

// replays remembers the answers to commands, so that a repeat under the same
// Idempotency-Key gets the first answer. It is the short memory of this process; the
// doors of the domain that take a key keep theirs in SQL.
type replays struct {
	now func() time.Time

	mu    sync.Mutex
	known map[string]*replay // guarded by mu
	order []*replay          // guarded by mu: oldest first
	bytes int                // guarded by mu
}

type replay struct {
	key    string
	digest [32]byte
	at     time.Time
	done   chan struct{} // closed once the fields below are final
	kept   bool
	status int
	kind   string
	body   []byte
}

func newReplays(now func() time.Time) *replays {
	return &replays{now: now, known: map[string]*replay{}}
}

// take makes the caller the first of its key, or returns who is.
func (m *replays) take(key string, digest [32]byte) (r *replay, first bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.evict()
	if r, ok := m.known[key]; ok {
		return r, false
	}
	r = &replay{key: key, digest: digest, at: m.now(), done: make(chan struct{})}
	m.known[key] = r
	m.order = append(m.order, r)
	return r, true
}

// evict drops what is old, or too much. Who is still in progress is answered through
// its own pointer.
func (m *replays) evict() {
	now := m.now()
	for len(m.order) > 0 {
		r := m.order[0]
		if now.Sub(r.at) < replayKeep && len(m.order) < replayCount && m.bytes < replayBytes {
			return
		}
		m.order = m.order[1:]
		if m.known[r.key] == r {
			delete(m.known, r.key)
			m.bytes -= len(r.body)
		}
	}
}

// settle keeps the answer of the first, or forgets the key when a repeat shall try anew.
func (m *replays) settle(r *replay, status int, kind string, body []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r.kept = status > 0 && status < 500 && status != http.StatusUnauthorized && status != http.StatusForbidden && status != http.StatusTooManyRequests
	if r.kept && m.known[r.key] == r {
		r.status, r.kind, r.body = status, kind, body
		m.bytes += len(body)
	} else if r.kept {
		r.status, r.kind, r.body = status, kind, body
	} else if m.known[r.key] == r {
		delete(m.known, r.key)
	}
	close(r.done)
}

// copier passes an answer on and keeps it.
type copier struct {
	http.ResponseWriter
	status int
	body   bytes.Buffer
}

func (c *copier) WriteHeader(status int) {
	if c.status == 0 {
		c.status = status
	}
	c.ResponseWriter.WriteHeader(status)
}

func (c *copier) Write(b []byte) (int, error) {
	if c.status == 0 {
		c.status = http.StatusOK
	}
	c.body.Write(b)
	return c.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController reach deadlines.
func (c *copier) Unwrap() http.ResponseWriter { return c.ResponseWriter }

// once honours Idempotency-Key on commands.
func (s *Server) once(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		key := r.Header.Get("Idempotency-Key")
		who := readerOf(r.Context())
		if key == "" || who == nil || r.Method == http.MethodGet || r.Method == http.MethodHead || strings.HasPrefix(r.URL.Path, apiPath+"/import/") {
			next.ServeHTTP(w, r)
			return
		}
		if len(key) > keyMax {
			fail(w, &Error{Code: "invalid", Field: "Idempotency-Key", Message: "Idempotency-Key: is over 128 characters", status: http.StatusBadRequest})
			return
		}
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, bodyMax))
		if err != nil {
			fail(w, bodyError(err))
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		s.answerOnce(w, r, next, string(who.ID)+" "+r.Method+" "+r.URL.Path+" "+key, sha256.Sum256(body))
	})
}

func bodyError(err error) *Error {
	var big *http.MaxBytesError
	if errors.As(err, &big) {
		return &Error{Code: "too_large", Message: "the request body is over 64 KiB", status: http.StatusRequestEntityTooLarge}
	}
	return &Error{Code: "invalid", Field: "body", Message: "body: could not be read", status: http.StatusBadRequest}
}

func (s *Server) answerOnce(w http.ResponseWriter, r *http.Request, next http.Handler, key string, digest [32]byte) {
	p, first := s.replays.take(key, digest)
	if first {
		c := &copier{ResponseWriter: w}
		defer func() { s.replays.settle(p, c.status, w.Header().Get("Content-Type"), bytes.Clone(c.body.Bytes())) }()
		next.ServeHTTP(c, r)
		return
	}
	if p.digest != digest {
		fail(w, refuse("key_reused", "this Idempotency-Key was used for another request"))
		return
	}
	select {
	case <-p.done:
	case <-r.Context().Done():
		return
	case <-time.After(replayWait):
		fail(w, refuse("unavailable", "the first request under this key is not answered yet"))
		return
	}
	if !p.kept {
		s.answerOnce(w, r, next, key, digest)
		return
	}
	if p.kind != "" {
		w.Header().Set("Content-Type", p.kind)
	}
	w.Header().Set("Idempotency-Replayed", "true")
	w.WriteHeader(p.status)
	_, _ = w.Write(p.body) // the client is gone then
}
