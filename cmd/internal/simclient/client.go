// Package simclient speaks the server's HTTP API and live channel as a page or an app
// does: sign-in by cookie, commands with a key that makes a repeat safe, events that
// resume after a break. It knows the contract, not the server's code.
package simclient

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"time"
)

// Client is one signed-in user. It is safe for concurrent use after Login.
type Client struct {
	base string
	http *http.Client
	Me   Me
}

// Me is who is signed in.
type Me struct {
	ID          string `json:"id"`
	Name        string `json:"name"`
	DisplayName string `json:"display_name"`
	Role        string `json:"role"`
	ResponderID string `json:"responder_id"`
}

// Refusal is an error that the server explained.
type Refusal struct {
	Status  int    `json:"-"`
	Code    string `json:"code"`
	Message string `json:"message"`
	Field   string `json:"field"`
}

func (r *Refusal) Error() string {
	if r.Field != "" {
		return fmt.Sprintf("%d %s: %s: %s", r.Status, r.Code, r.Field, r.Message)
	}
	return fmt.Sprintf("%d %s: %s", r.Status, r.Code, r.Message)
}

// Refused tells whether err is the server's refusal with one of these codes.
func Refused(err error, codes ...string) bool {
	var r *Refusal
	if !errors.As(err, &r) {
		return false
	}
	for _, c := range codes {
		if r.Code == c {
			return true
		}
	}
	return len(codes) == 0
}

// New makes a client of a server, "http://127.0.0.1:8080".
func New(base string) (*Client, error) {
	u, err := url.Parse(base)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return nil, fmt.Errorf("server %q is not like http://127.0.0.1:8080", base)
	}
	jar, err := cookiejar.New(nil)
	if err != nil {
		return nil, err
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost = 4
	return &Client{base: strings.TrimSuffix(base, "/"), http: &http.Client{Jar: jar, Transport: transport, Timeout: 30 * time.Second}}, nil
}

// Login signs in.
func (c *Client) Login(ctx context.Context, name, password string) error {
	if err := c.Post(ctx, "/login", map[string]string{"name": name, "password": password}, &c.Me); err != nil {
		return fmt.Errorf("sign in as %s: %w", name, err)
	}
	return nil
}

// Close gives the connections back.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Get reads from the API: path is below /api/v1.
func (c *Client) Get(ctx context.Context, path string, out any) error {
	return c.do(ctx, http.MethodGet, "/api/v1"+path, "", nil, out)
}

// Post commands under a new key; out may be nil.
func (c *Client) Post(ctx context.Context, path string, in, out any) error {
	return c.PostKey(ctx, path, NewKey(), in, out)
}

// PostKey commands under a key of the caller's: the same key again does nothing twice.
func (c *Client) PostKey(ctx context.Context, path, key string, in, out any) error {
	if in == nil {
		in = struct{}{}
	}
	return c.do(ctx, http.MethodPost, "/api/v1"+path, key, in, out)
}

// Page reads something that is not the API: /readyz, /metrics.
func (c *Client) Page(ctx context.Context, path string) (status int, body string, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+path, nil)
	if err != nil {
		return 0, "", err
	}
	res, err := c.http.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, 8<<20))
	return res.StatusCode, string(b), err
}

// NewKey makes an idempotency key.
func NewKey() string {
	b := make([]byte, 16)
	rand.Read(b) // never fails
	return hex.EncodeToString(b)
}

func (c *Client) do(ctx context.Context, method, path, key string, in, out any) error {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, body)
	if err != nil {
		return err
	}
	req.Header.Set("Accept", "application/json")
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if key != "" {
		req.Header.Set("Idempotency-Key", key)
	}
	res, err := c.http.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, 64<<20))
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	if res.StatusCode >= 300 {
		r := &Refusal{Status: res.StatusCode}
		if json.Unmarshal(b, r) != nil || r.Code == "" {
			r.Code, r.Message = "http", strings.TrimSpace(string(b[:min(len(b), 200)]))
		}
		return fmt.Errorf("%s %s: %w", method, path, r)
	}
	if out == nil || len(b) == 0 {
		return nil
	}
	if err := json.Unmarshal(b, out); err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	return nil
}

// Items is the form of every list.
type Items[T any] struct {
	Items []T `json:"items"`
}

// Point is a position in degrees.
type Point struct {
	Lat float64 `json:"lat"`
	Lng float64 `json:"lng"`
}

// Place is a position with what is known of it.
type Place struct {
	Point  Point  `json:"point"`
	Source string `json:"source"`
}

// Incident is what the simulators need of one.
type Incident struct {
	ID         string    `json:"id"`
	No         string    `json:"no"`
	Status     string    `json:"status"`
	Priority   int       `json:"priority"`
	Kinds      []string  `json:"kinds"`
	Source     string    `json:"source"`
	ElderID    string    `json:"elder_id"`
	DeviceID   string    `json:"device_id"`
	CallIDs    []string  `json:"call_ids"`
	Presses    int       `json:"presses"`
	Owner      string    `json:"owner"`
	Claim      int64     `json:"claim"`
	OpenedAt   time.Time `json:"opened_at"`
	AnsweredAt time.Time `json:"answered_at"`
	ClosedAt   time.Time `json:"closed_at"`
}

// Moment is a line of an incident's timeline.
type Moment struct {
	ID        string         `json:"id"`
	At        time.Time      `json:"at"`
	Type      string         `json:"type"`
	Agg       string         `json:"agg"`
	AggID     string         `json:"agg_id"`
	Actor     string         `json:"actor"`
	ActorName string         `json:"actor_name"`
	Body      map[string]any `json:"body"`
}

// IncidentFile is an incident with everything about it.
type IncidentFile struct {
	Incident    Incident     `json:"incident"`
	Assignments []Assignment `json:"assignments"`
	Offers      []Offer      `json:"offers"`
	Alarms      []Alarm      `json:"alarms"`
	Timeline    []Moment     `json:"timeline"`
}

// Offer is an assignment put to a responder.
type Offer struct {
	ID           string    `json:"id"`
	AssignmentID string    `json:"assignment_id"`
	IncidentID   string    `json:"incident_id"`
	ResponderID  string    `json:"responder_id"`
	Status       string    `json:"status"`
	Epoch        int64     `json:"epoch"`
	Wave         int       `json:"wave"`
	DistanceM    float64   `json:"distance_m"`
	TravelSec    int       `json:"travel_sec"`
	Place        Place     `json:"place"`
	SentAt       time.Time `json:"sent_at"`
	Deadline     time.Time `json:"deadline"`
}

// Waiting tells whether the responder may still answer.
func (o Offer) Waiting() bool {
	return o.Status == "sent" || o.Status == "delivered" || o.Status == "seen"
}

// Assignment is the need to send somebody.
type Assignment struct {
	ID          string `json:"id"`
	IncidentID  string `json:"incident_id"`
	Status      string `json:"status"`
	ResponderID string `json:"responder_id"`
	Epoch       int64  `json:"epoch"`
	Place       Place  `json:"place"`
}

// Result is the answer to a responder's answer.
type Result struct {
	OfferID      string `json:"offer_id"`
	AssignmentID string `json:"assignment_id"`
	IncidentID   string `json:"incident_id"`
	Status       string `json:"status"`
}

// Alarm is one of the list of alarms.
type Alarm struct {
	ID            string    `json:"id"`
	DeviceID      string    `json:"device_id"`
	Protocol      string    `json:"protocol"`
	Kinds         []string  `json:"kinds"`
	DeviceTime    time.Time `json:"device_time"`
	ReceivedAt    time.Time `json:"received_at"`
	SourceEventID string    `json:"source_event_id"`
	IncidentID    string    `json:"incident_id"`
}

// Device is one of the registry.
type Device struct {
	ID         string `json:"id"`
	Kind       string `json:"kind"`
	Protocol   string `json:"protocol"`
	ExternalID string `json:"external_id"`
	ElderID    string `json:"elder_id"`
	State      string `json:"state"`
}

// Responder is one of the list of responders.
type Responder struct {
	ID           string `json:"id"`
	Name         string `json:"name"`
	Duty         string `json:"duty"`
	Slot         string `json:"slot"`
	AssignmentID string `json:"assignment_id"`
	Fix          *Place `json:"fix"`
}

// Devices are those of the registry whose identity begins or ends with q.
func (c *Client) Devices(ctx context.Context, q string) ([]Device, error) {
	var list Items[Device]
	err := c.Get(ctx, "/devices?limit=1000&q="+url.QueryEscape(q), &list)
	return list.Items, err
}

// Alarms hands all alarms after a position to f, page by page, and returns the
// position to go on from.
func (c *Client) Alarms(ctx context.Context, since string, f func([]Alarm)) (string, error) {
	if since == "" {
		since = "0"
	}
	for {
		var page struct {
			Items []Alarm `json:"items"`
			Next  string  `json:"next"`
		}
		if err := c.Get(ctx, "/alarms?limit=5000&since="+url.QueryEscape(since), &page); err != nil {
			return since, err
		}
		if len(page.Items) > 0 {
			f(page.Items)
		}
		if page.Next == since || page.Next == "" {
			return since, nil
		}
		since = page.Next
	}
}

// File reads an incident with its timeline.
func (c *Client) File(ctx context.Context, id string) (IncidentFile, error) {
	var f IncidentFile
	err := c.Get(ctx, "/incidents/"+url.PathEscape(id), &f)
	return f, err
}
