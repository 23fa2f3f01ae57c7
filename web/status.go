package web

import (
	"context"
	"encoding/json"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Part tells how one part of the server is: its name, "ok", "degraded" or "failing",
// and what is wrong. It answers at once.
type Part func() (name, state, detail string)

// PartState is the answer of a part.
type PartState struct {
	Name   string `json:"name" example:"store"`
	State  string `json:"state" enum:"ok,degraded,failing"`
	Detail string `json:"detail,omitempty"`
}

// Status is the state of the server for the footer of a page.
type Status struct {
	State    string      `json:"state" enum:"ok,degraded,failing"`
	Parts    []PartState `json:"parts"`
	Now      time.Time   `json:"now"`
	Build    string      `json:"build"`
	District string      `json:"district,omitempty"`
	Hotline  string      `json:"hotline,omitempty" doc:"Number to fall back to when the page is lost"`
}

const (
	probeFresh = time.Second
	probeTime  = 2 * time.Second
)

// readiness makes one durable write for all who ask within a second.
type readiness struct {
	s *Server

	mu  sync.Mutex
	at  time.Time // guarded by mu
	err error     // guarded by mu
}

// probe tells whether a durable write succeeds now. Those who ask meanwhile wait for
// the one that runs: a full disk must not be asked by everybody.
func (r *readiness) probe(ctx context.Context) error {
	if r.s.opts.Probe == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if now := r.s.now(); r.at.IsZero() || now.Sub(r.at) >= probeFresh {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), probeTime)
		defer cancel()
		r.err = r.s.opts.Probe(ctx)
		r.at = r.s.now()
	}
	return r.err
}

// status gathers the parts. The store's own word is overruled by the probe when one
// is made.
func (s *Server) status(ctx context.Context, probe bool) Status {
	v := Status{State: "ok", Parts: []PartState{}, Build: s.opts.Build, District: s.opts.District, Hotline: s.opts.Hotline}
	for _, p := range s.opts.Parts {
		name, state, detail := p()
		v.Parts = append(v.Parts, PartState{name, state, detail})
	}
	if probe {
		if err := s.ready.probe(ctx); err != nil {
			v.setPart(PartState{"store", "failing", "a durable write fails: " + err.Error()})
		}
	}
	for _, p := range v.Parts {
		v.State = worse(v.State, p.State)
	}
	v.Now = s.now().UTC()
	return v
}

func (v *Status) setPart(p PartState) {
	for n := range v.Parts {
		if v.Parts[n].Name == p.Name {
			v.Parts[n] = p
			return
		}
	}
	v.Parts = append(v.Parts, p)
}

func worse(a, b string) string {
	rank := map[string]int{"ok": 0, "degraded": 1, "failing": 2}
	if rank[b] > rank[a] {
		return b
	}
	return a
}

func (s *Server) statusDoors() {
	add(s, door{id: "status", method: http.MethodGet, path: "/status", tag: "status", summary: "How the server's parts are", roles: everybody},
		func(ctx context.Context, u reader, _ *none) (Status, error) { return s.statusFor(ctx, u), nil })
}

// statusFor leaves out details for who is not on duty at the desk.
func (s *Server) statusFor(ctx context.Context, u reader) Status {
	v := s.status(ctx, false)
	if u.masked() && u.Role != "admin" && u.Role != "supervisor" {
		for n := range v.Parts {
			v.Parts[n].Detail = ""
		}
	}
	return v
}

// healthDoors are for machines that watch the server.
func (s *Server) healthDoors(mux *http.ServeMux) {
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, r *http.Request) {
		named(r, "healthz")
		answerJSON(w, map[string]string{"state": "ok", "build": s.opts.Build})
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		named(r, "readyz")
		v := s.status(r.Context(), true)
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		if v.State == "failing" {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		_ = json.NewEncoder(w).Encode(v) // the client is gone then
	})
	if s.opts.Gather != nil {
		metrics := promhttp.HandlerFor(s.opts.Gather, promhttp.HandlerOpts{MaxRequestsInFlight: 4, Timeout: 10 * time.Second})
		mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, r *http.Request) {
			named(r, "metrics")
			metrics.ServeHTTP(w, r)
		})
	}
}

// named names the operation of a request outside of huma.
func named(r *http.Request, op string) {
	if n, ok := r.Context().Value(opKey).(*opNote); ok {
		n.name = op
	}
}

func answerJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_ = json.NewEncoder(w).Encode(v) // the client is gone then
}
