// Package simfake is as much of the server's API as the simulators' own tests need, in
// memory: one incident with one assignment, a list of alarms, the live channel. It is
// strict in what it takes, so that a simulator cannot pass by doing nothing.
package simfake

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"anling/cmd/internal/simclient"
)

// Password of every account.
const Password = "secret"

// Server is the fake one.
type Server struct {
	URL string
	t   *testing.T

	mu         sync.Mutex
	Incident   simclient.Incident // all guarded by mu: use With
	Assignment simclient.Assignment
	Offers     []simclient.Offer
	Alarms     []simclient.Alarm
	Devices    []simclient.Device
	Log        []string // commands taken, in order
	Fail       int      // so many further requests are answered 500
	keys       map[string]bool
	events     []simclient.Event
	lines      map[chan struct{}]bool
	epoch      string
}

// New starts a server for the length of a test.
func New(t *testing.T) *Server {
	s := &Server{t: t, keys: map[string]bool{}, lines: map[chan struct{}]bool{}, epoch: "e1"}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /api/v1/login", s.login)
	mux.HandleFunc("GET /api/v1/devices", func(w http.ResponseWriter, r *http.Request) {
		s.list(w, r, func() any {
			var some []simclient.Device
			for _, d := range s.Devices {
				if strings.HasPrefix(d.ExternalID, r.URL.Query().Get("q")) {
					some = append(some, d)
				}
			}
			return some
		})
	})
	mux.HandleFunc("GET /api/v1/incidents", func(w http.ResponseWriter, r *http.Request) {
		s.list(w, r, func() any {
			if s.Incident.ID == "" || s.Incident.Status == "closed" {
				return []simclient.Incident{}
			}
			return []simclient.Incident{s.Incident}
		})
	})
	mux.HandleFunc("GET /api/v1/offers", func(w http.ResponseWriter, r *http.Request) { s.list(w, r, func() any { return s.Offers }) })
	mux.HandleFunc("GET /api/v1/assignments", func(w http.ResponseWriter, r *http.Request) {
		s.list(w, r, func() any {
			if s.Assignment.ID == "" || r.URL.Query().Get("mine") == "true" && s.Assignment.ResponderID == "" {
				return []simclient.Assignment{}
			}
			return []simclient.Assignment{s.Assignment}
		})
	})
	mux.HandleFunc("GET /api/v1/assignments/{id}", func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		answer(w, 200, s.Assignment)
	})
	mux.HandleFunc("GET /api/v1/alarms", s.alarms)
	mux.HandleFunc("POST /api/v1/{what...}", s.command)
	mux.HandleFunc("GET /ws", s.live)
	h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		fail := s.Fail > 0 && r.URL.Path != "/ws"
		if fail {
			s.Fail--
		}
		s.mu.Unlock()
		if fail {
			refuse(w, 500, "internal", "internal error")
			return
		}
		if _, err := r.Cookie("session"); err != nil && r.URL.Path != "/api/v1/login" {
			refuse(w, 401, "unauthorized", "sign in first")
			return
		}
		mux.ServeHTTP(w, r)
	}))
	s.URL = h.URL
	t.Cleanup(func() { s.Break(); h.CloseClientConnections(); h.Close() })
	return s
}

// With changes or reads the state.
func (s *Server) With(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

// Did is the commands so far, one a line.
func (s *Server) Did() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.Log, "\n")
}

func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the client is gone then
}

func refuse(w http.ResponseWriter, status int, code, message string) {
	answer(w, status, map[string]string{"code": code, "message": message})
}

func (s *Server) login(w http.ResponseWriter, r *http.Request) {
	var in struct{ Name, Password string }
	if json.NewDecoder(r.Body).Decode(&in) != nil || in.Password != Password {
		refuse(w, 401, "unauthorized", "wrong account or password")
		return
	}
	http.SetCookie(w, &http.Cookie{Name: "session", Value: in.Name, Path: "/"})
	me := map[string]string{"id": "u-" + in.Name, "name": in.Name, "role": strings.TrimRight(in.Name, "0123456789")}
	if strings.HasPrefix(in.Name, "responder") {
		me["responder_id"] = "r-" + in.Name
	}
	answer(w, 200, me)
}

func (s *Server) list(w http.ResponseWriter, _ *http.Request, items func() any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	answer(w, 200, map[string]any{"items": items()})
}

func (s *Server) alarms(w http.ResponseWriter, r *http.Request) {
	since, err := strconv.Atoi(r.URL.Query().Get("since"))
	if err != nil {
		refuse(w, 400, "invalid", "since")
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	since = min(since, len(s.Alarms))
	end := min(since+2, len(s.Alarms)) // small pages
	answer(w, 200, map[string]any{"items": s.Alarms[since:end], "next": strconv.Itoa(end)})
}

// command takes what the simulators command, and refuses what is out of order.
func (s *Server) command(w http.ResponseWriter, r *http.Request) {
	cookie, err := r.Cookie("session")
	key := r.Header.Get("Idempotency-Key")
	var in map[string]any
	if err != nil || key == "" || json.NewDecoder(r.Body).Decode(&in) != nil {
		refuse(w, 400, "invalid", "a command has a key and a body")
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.keys[key] {
		refuse(w, 409, "key_reused", "the key was used")
		return
	}
	s.keys[key] = true
	what := r.PathValue("what")
	out, code := s.apply(cookie.Value, what, in)
	if code != "" {
		refuse(w, 409, code, what)
		return
	}
	if what != "positions" || len(s.Log) == 0 || s.Log[len(s.Log)-1] != "positions" {
		s.Log = append(s.Log, what+s.mark(in))
	}
	answer(w, 200, out)
}

// mark is the part of a body that tells commands apart.
func (s *Server) mark(in map[string]any) string {
	for _, k := range []string{"duty", "state", "status", "outcome"} {
		if v, ok := in[k].(string); ok {
			return " " + v
		}
	}
	return ""
}

func (s *Server) apply(who, what string, in map[string]any) (out any, code string) {
	part := strings.Split(what, "/")
	verb := part[len(part)-1]
	switch part[0] {
	case "offers":
		return s.offer(part[1], verb, in)
	case "assignments":
		next := map[string]string{"accepted": "en_route", "en_route": "on_scene", "on_scene": "done"}
		if part[1] != s.Assignment.ID || next[s.Assignment.Status] != in["status"] {
			return nil, "transition"
		}
		s.Assignment.Status, _ = in["status"].(string)
		s.say("dispatch.assignment."+s.Assignment.Status, "assignment", s.Assignment.ID, nil)
		return s.Assignment, ""
	case "incidents":
		i := &s.Incident
		if part[1] != i.ID || verb != "take" && i.Owner != "u-"+who {
			return nil, "taken"
		}
		if c, ok := in["claim"]; ok && c != float64(i.Claim) {
			return nil, "taken"
		}
		switch verb {
		case "take":
			i.Owner, i.Claim, i.Status = "u-"+who, i.Claim+1, "answered"
		case "dispatch":
			s.Assignment = simclient.Assignment{ID: "a1", IncidentID: i.ID, Status: "offered"}
		case "resolve":
			i.Status = "resolved"
		case "close":
			if i.Status != "resolved" {
				return nil, "transition"
			}
			i.Status = "closed"
		}
		s.say("dispatch.incident."+verb, "incident", i.ID, nil)
		return *i, ""
	}
	return map[string]any{}, ""
}

func (s *Server) offer(id, verb string, in map[string]any) (any, string) {
	for n := range s.Offers {
		o := &s.Offers[n]
		if o.ID != id {
			continue
		}
		if !o.Waiting() || in["epoch"] != float64(o.Epoch) || in["device_id"] == "" || in["device_seq"] == nil {
			return nil, "expired"
		}
		o.Status = map[string]string{"seen": "seen", "accept": "accepted", "decline": "declined"}[verb]
		if verb == "accept" {
			s.Assignment.Status, s.Assignment.ResponderID = "accepted", o.ResponderID
		}
		s.say("dispatch.offer."+o.Status, "offer", o.ID, nil)
		return simclient.Result{OfferID: o.ID, AssignmentID: o.AssignmentID, Status: o.Status}, ""
	}
	return nil, "not_found"
}

// Say sends an event to all who listen, and to those who come later and missed it.
func (s *Server) Say(kind, agg, id string, body map[string]any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.say(kind, agg, id, body)
}

func (s *Server) say(kind, agg, id string, body map[string]any) {
	incident := s.Incident.ID
	s.events = append(s.events, simclient.Event{Seq: int64(len(s.events) + 1), At: time.Now(), Kind: kind, Agg: agg, AggID: id, IncidentID: incident, Body: body})
	for l := range s.lines {
		select {
		case l <- struct{}{}:
		default:
		}
	}
}

// Break ends every live channel.
func (s *Server) Break() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for l := range s.lines {
		close(l)
		delete(s.lines, l)
	}
}

func (s *Server) live(w http.ResponseWriter, r *http.Request) {
	c, err := websocket.Accept(w, r, nil)
	if err != nil {
		return
	}
	defer c.CloseNow()
	_, b, err := c.Read(r.Context())
	var hello struct {
		Type, Epoch string
		Since       int64
		Views       []string
	}
	if err != nil || json.Unmarshal(b, &hello) != nil || hello.Type != "hello" || len(hello.Views) == 0 {
		return
	}
	wake := make(chan struct{}, 1)
	s.mu.Lock()
	s.lines[wake] = true
	seq := hello.Since
	resumed := hello.Epoch == s.epoch
	if !resumed {
		seq = int64(len(s.events))
	}
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.lines, wake)
		s.mu.Unlock()
	}()
	first := []any{map[string]any{"type": "welcome", "epoch": s.epoch, "seq": seq}}
	if !resumed {
		first = append(first, map[string]any{"type": "snap", "seq": seq, "views": map[string]any{hello.Views[0]: map[string]any{}}})
	}
	for {
		s.mu.Lock()
		for ; seq < int64(len(s.events)); seq++ {
			e := s.events[seq]
			first = append(first, map[string]any{"type": "ev", "seq": e.Seq, "at": e.At, "kind": e.Kind, "agg": e.Agg, "agg_id": e.AggID, "incident_id": e.IncidentID, "body": e.Body})
		}
		s.mu.Unlock()
		for _, m := range first {
			b, err := json.Marshal(m)
			if err != nil || c.Write(r.Context(), websocket.MessageText, b) != nil {
				return
			}
		}
		first = nil
		if _, open := <-wake; !open {
			_ = c.Close(1001, "going away") // the client may be gone
			return
		}
	}
}

// AlarmOf is an alarm as the server would list it.
func AlarmOf(n int, protocol, device, incident string, at time.Time) simclient.Alarm {
	return simclient.Alarm{ID: fmt.Sprintf("al%d", n), Protocol: protocol, DeviceTime: at, IncidentID: incident, SourceEventID: fmt.Sprintf("%s:%s:26:%04x:%d", protocol, device, n, at.Unix())}
}
