package simclient

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/coder/websocket"
)

// Event is a fact that came by the live channel.
type Event struct {
	Seq        int64          `json:"seq"`
	At         time.Time      `json:"at"`
	Kind       string         `json:"kind"`
	Agg        string         `json:"agg"`
	AggID      string         `json:"agg_id"`
	IncidentID string         `json:"incident_id"`
	Body       map[string]any `json:"body"`
	Received   time.Time      `json:"-"`
}

// Follower is who listens. Its functions are called in order, by one goroutine; any
// may be nil.
type Follower struct {
	Views     []string // "desk" or "responder"
	Event     func(Event)
	Snap      func(views map[string]json.RawMessage) // the state anew: at the start, and after a gap
	Emergency func(map[string]any)
	Line      func(up bool, err error)
	Again     time.Duration // pause before the next attempt, 250 ms by default
}

type frame struct {
	Type  string                     `json:"type"`
	Epoch string                     `json:"epoch"`
	Seq   int64                      `json:"seq"`
	Views map[string]json.RawMessage `json:"views"`
}

// Follow keeps the live channel open until ctx ends, resuming where it broke. It
// returns earlier only when the server says that the session is over.
func (c *Client) Follow(ctx context.Context, f Follower) error {
	if f.Again <= 0 {
		f.Again = 250 * time.Millisecond
	}
	var epoch string
	var seq int64
	for ctx.Err() == nil {
		err := c.line(ctx, f, &epoch, &seq)
		if ctx.Err() != nil {
			return nil
		}
		if f.Line != nil {
			f.Line(false, err)
		}
		if s := websocket.CloseStatus(err); s == 4001 || s == 4003 {
			return fmt.Errorf("live channel: %w", err)
		}
		again := time.NewTimer(f.Again)
		select {
		case <-ctx.Done():
		case <-again.C:
		}
		again.Stop()
	}
	return nil
}

// line is one connection.
func (c *Client) line(ctx context.Context, f Follower, epoch *string, seq *int64) error {
	dialing, cancel := context.WithTimeout(ctx, 10*time.Second)
	conn, _, err := websocket.Dial(dialing, "ws"+strings.TrimPrefix(c.base, "http")+"/ws", &websocket.DialOptions{HTTPClient: c.http})
	cancel()
	if err != nil {
		return err
	}
	defer conn.CloseNow()
	conn.SetReadLimit(64 << 20)
	hello, err := json.Marshal(map[string]any{"type": "hello", "client": 1, "epoch": *epoch, "since": *seq, "views": f.Views})
	if err != nil {
		return err
	}
	if err := conn.Write(ctx, websocket.MessageText, hello); err != nil {
		return err
	}
	for {
		// The server speaks every ten seconds at least.
		reading, cancel := context.WithTimeout(ctx, 30*time.Second)
		_, b, err := conn.Read(reading)
		cancel()
		if err != nil {
			return err
		}
		if err := f.take(b, time.Now(), epoch, seq); err != nil {
			return err
		}
	}
}

func (f Follower) take(b []byte, now time.Time, epoch *string, seq *int64) error {
	var m frame
	if err := json.Unmarshal(b, &m); err != nil {
		return fmt.Errorf("live message: %w", err)
	}
	switch m.Type {
	case "welcome":
		if m.Epoch != *epoch {
			*epoch, *seq = m.Epoch, 0
		}
		if f.Line != nil {
			f.Line(true, nil)
		}
	case "snap":
		*seq = m.Seq
		if f.Snap != nil {
			f.Snap(m.Views)
		}
	case "ev":
		if m.Seq <= *seq {
			return nil // a repeat of what was heard before the break
		}
		*seq = m.Seq
		if f.Event == nil {
			return nil
		}
		var e Event
		if err := json.Unmarshal(b, &e); err != nil {
			return fmt.Errorf("live event: %w", err)
		}
		e.Received = now
		f.Event(e)
	case "hb":
		*seq = max(*seq, m.Seq)
	case "emergency":
		var e struct {
			Body map[string]any `json:"body"`
		}
		if err := json.Unmarshal(b, &e); err != nil {
			return fmt.Errorf("live emergency: %w", err)
		}
		if f.Emergency != nil {
			f.Emergency(e.Body)
		}
	case "error":
		return errors.New("live channel: the server reports an error: " + string(b[:min(len(b), 200)]))
	}
	return nil
}
