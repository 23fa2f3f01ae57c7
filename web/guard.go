package web

import (
	"bufio"
	"compress/gzip"
	"context"
	"fmt"
	"net"
	"net/http"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"
)

type ctxKey int

const (
	readerKey ctxKey = iota
	opKey
	requestKey
)

// opNote is filled in by the operation that answers; the log and the metrics read it.
type opNote struct{ name string }

func opName(ctx context.Context) string {
	if n, ok := ctx.Value(opKey).(*opNote); ok {
		return n.name
	}
	return ""
}

// contentPolicy lets a page load from this server alone. Styles that the framework
// sets on elements are properties, not text, so no exception is needed.
func (s *Server) contentPolicy(r *http.Request) string {
	live := "ws://" + r.Host
	if s.secure(r) {
		live = "wss://" + r.Host
	}
	connect := "'self' " + live
	if h := s.opts.publicHost(); h != "" && h != r.Host {
		connect += " wss://" + h
	}
	return "default-src 'self'; img-src 'self' data: blob:; connect-src " + connect +
		"; worker-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
}

// guard is round every request: headers, panics, log, metrics, cross-site requests.
func (s *Server) guard(next http.Handler) (http.Handler, error) {
	cross := http.NewCrossOriginProtection()
	if s.opts.PublicURL != "" {
		if err := cross.AddTrustedOrigin(strings.TrimSuffix(s.opts.PublicURL, "/")); err != nil {
			return nil, fmt.Errorf("web: public url: %w", err)
		}
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		started := time.Now()
		note := &opNote{}
		r = r.WithContext(context.WithValue(r.Context(), opKey, note))
		z := &writer{ResponseWriter: w, zip: strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") && r.Method != http.MethodHead}
		defer func() {
			if v := recover(); v != nil && v != http.ErrAbortHandler {
				s.metrics.panics.Inc()
				s.log.Error("panic in a handler", zap.String("op", note.name), zap.Any("panic", v), zap.ByteString("stack", debug.Stack()))
				if z.status == 0 {
					fail(z, refuse("internal", "internal error"))
				}
			}
			z.finish()
			s.note(note.name, r.Method, z.status, time.Since(started))
		}()
		h := z.Header()
		h.Set("Content-Security-Policy", s.contentPolicy(r))
		h.Set("Permissions-Policy", "microphone=(self), geolocation=(self), camera=()")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Referrer-Policy", "same-origin")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		if s.secure(r) {
			h.Set("Strict-Transport-Security", "max-age=31536000")
		}
		if err := cross.Check(r); err != nil {
			fail(z, refuse("forbidden", "cross-site request refused"))
			return
		}
		next.ServeHTTP(z, r)
	}), nil
}

// note counts a request and logs it without path or query: those carry ids and names.
func (s *Server) note(op, method string, status int, took time.Duration) {
	if op == "" {
		op = "other"
	}
	if status == 0 {
		status = http.StatusOK
	}
	s.metrics.requests.WithLabelValues(op, fmt.Sprintf("%dxx", status/100)).Observe(took.Seconds())
	s.log.Debug("request", zap.String("op", op), zap.String("method", method), zap.Int("status", status), zap.Duration("took", took))
}

const zipFrom = 1400 // bytes; shorter answers fit one packet anyhow

var zips = sync.Pool{New: func() any {
	z, _ := gzip.NewWriterLevel(nil, gzip.BestSpeed) // the level is good
	return z
}}

// writer remembers the status and compresses JSON that is long enough.
type writer struct {
	http.ResponseWriter
	zip    bool
	status int
	held   []byte // the beginning of an answer that may be compressed
	out    *gzip.Writer
	direct bool // written through as it is
}

// WriteHeader keeps the status back until it is known how the body goes out.
func (w *writer) WriteHeader(status int) {
	if w.status != 0 {
		return
	}
	w.status = status
	h := w.Header()
	kind := h.Get("Content-Type")
	if !w.zip || h.Get("Content-Encoding") != "" || status < 200 || status == http.StatusNoContent || status == http.StatusNotModified ||
		!(strings.HasPrefix(kind, "application/json") || strings.HasPrefix(kind, "application/openapi+json")) {
		w.pass()
	}
}

func (w *writer) pass() {
	if !w.direct {
		w.direct = true
		w.ResponseWriter.WriteHeader(w.status)
	}
}

func (w *writer) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	switch {
	case w.direct:
		return w.ResponseWriter.Write(b)
	case w.out != nil:
		return w.out.Write(b)
	}
	w.held = append(w.held, b...)
	if len(w.held) < zipFrom {
		return len(b), nil
	}
	h := w.Header()
	h.Set("Content-Encoding", "gzip")
	h.Add("Vary", "Accept-Encoding")
	h.Del("Content-Length")
	w.ResponseWriter.WriteHeader(w.status)
	w.out = zips.Get().(*gzip.Writer)
	w.out.Reset(w.ResponseWriter)
	if _, err := w.out.Write(w.held); err != nil {
		return 0, err
	}
	w.held = nil
	return len(b), nil
}

// finish sends what was held back.
func (w *writer) finish() {
	switch {
	case w.out != nil:
		_ = w.out.Close() // the client is gone then
		zips.Put(w.out)
	case w.status != 0 && !w.direct:
		w.pass()
		_, _ = w.ResponseWriter.Write(w.held)
	}
}

// Unwrap lets http.ResponseController reach deadlines.
func (w *writer) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// Hijack is for /ws.
func (w *writer) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	c, rw, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err == nil {
		w.status, w.direct = http.StatusSwitchingProtocols, true
	}
	return c, rw, err
}
