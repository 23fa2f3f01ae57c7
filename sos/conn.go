package sos

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"anling/care"
)

// Errors that end a connection.
var (
	ErrTooLong = errors.New("frame too long")
	ErrLogin   = errors.New("no identity in time")
	ErrSlow    = errors.New("frame not complete in time")
	ErrIdle    = errors.New("no frame in time")
	ErrBad     = errors.New("too many bad frames in a row")
)

const (
	smallBuffer = 512 // a connection's own: nearly every frame fits
	maxBad      = 10  // bad frames in a row
	maxQueue    = 64  // alarms of one connection that wait for the store
	maxAcks     = 32  // answers that wait for one alarm
)

// Conn is the connection of one device. One goroutine reads it; the alarms it hands
// over are settled by a second one that lives only as long as there are some.
type Conn struct {
	door    *Door
	raw     net.Conn
	addr    netip.Addr
	private bool
	id      string    // written by identify under the door's lock, by the reader only
	since   time.Time // accepted
	heard   atomic.Int64
	reason  atomic.Pointer[string]

	buf        []byte
	start, end int
	began      time.Time // when the first byte of the unfinished frame came
	bad        int
	tokens     float64
	filled     time.Time

	write sync.Mutex // held for one answer

	queue sync.Mutex
	held  []*parcel // alarms that wait; guarded by queue
	busy  bool      // a goroutine settles them; guarded by queue
}

// parcel is one alarm and the answers that wait for it.
type parcel struct {
	alarm  care.Alarm
	acks   [][]byte
	merged int
	at     time.Time
}

func newConn(d *Door, raw net.Conn) *Conn {
	c := &Conn{door: d, raw: raw, addr: addrOf(raw), since: time.Now(), tokens: d.limits.Burst}
	c.filled = c.since
	c.heard.Store(c.since.UnixNano())
	return c
}

func (c *Conn) run(ctx context.Context, session func(context.Context, *Conn)) {
	defer c.door.workers.Done()
	defer c.door.release(c)
	defer c.raw.Close() //nolint:errcheck // nothing is left to say
	session(ctx, c)
}

// Remote is the peer's address.
func (c *Conn) Remote() string { return c.addr.String() }

// ID is the identity the device stated, empty before.
func (c *Conn) ID() string { return c.id }

// Now is the clock for what devices say; deadlines go by the real one.
func (c *Conn) Now() time.Time { return c.door.now() }

// Identify binds the connection to what the device says it is.
func (c *Conn) Identify(id string) { c.door.identify(c, id) }

func (c *Conn) silent() time.Duration { return time.Since(time.Unix(0, c.heard.Load())) }

// why keeps the first reason for which a connection ends.
func (c *Conn) why(reason string) { c.reason.CompareAndSwap(nil, &reason) }

// Good counts a frame that could be read, by its type.
func (c *Conn) Good(kind string) {
	c.bad = 0
	c.heard.Store(time.Now().UnixNano())
	c.door.frameCounter(kind).Inc()
}

// Bad counts a frame that could not be read; ten in a row end the connection.
func (c *Conn) Bad(reason string, frame []byte) error {
	c.bad++
	c.door.frameCounter(reason).Inc()
	if ce := c.door.log.Check(zap.DebugLevel, "frame cannot be read"); ce != nil {
		ce.Write(zap.String("protocol", c.door.protocol), zap.String("why", reason), zap.String("remote", c.Remote()), zap.Binary("frame", Keep(frame)))
	}
	if c.bad >= maxBad {
		return fmt.Errorf("%w: %d", ErrBad, c.bad)
	}
	return nil
}

// Allow spends one message of the device's rate. Beyond it positions are dropped
// and alarms are joined, never dropped.
func (c *Conn) Allow() bool {
	now := time.Now()
	c.tokens = min(c.door.limits.Burst, c.tokens+now.Sub(c.filled).Seconds()*c.door.limits.Rate)
	c.filled = now
	if c.tokens < 1 {
		return false
	}
	c.tokens--
	return true
}

// Limited counts a message that was dropped for the rate.
func (c *Conn) Limited(what string) {
	c.door.metrics.limited.WithLabelValues(c.door.protocol, what).Inc()
}

// Frame returns the next frame that split finds; it is valid until the next call.
// most bounds it. The buffer is small while nothing is under way, and a frame that
// needs more gives it back when it is done.
func (c *Conn) Frame(split bufio.SplitFunc, most int) ([]byte, error) {
	for {
		for c.start < c.end {
			advance, frame, err := split(c.buf[c.start:c.end], false)
			c.start += advance
			if err != nil {
				return nil, err
			}
			if frame != nil {
				c.began = time.Time{}
				return frame, nil
			}
			if advance == 0 {
				break
			}
		}
		if err := c.fill(most); err != nil {
			return nil, err
		}
	}
}

// fill reads more bytes of the unfinished frame.
func (c *Conn) fill(most int) error {
	if c.start == c.end {
		c.start, c.end = 0, 0
		if len(c.buf) != smallBuffer {
			c.buf = make([]byte, smallBuffer)
		}
	} else if c.start > 0 {
		c.end = copy(c.buf, c.buf[c.start:c.end])
		c.start = 0
	}
	if c.end == len(c.buf) {
		if c.end >= most {
			return fmt.Errorf("%w: more than %d bytes", ErrTooLong, most)
		}
		grown := make([]byte, min(2*len(c.buf), most))
		copy(grown, c.buf[:c.end])
		c.buf = grown
	}
	due, late := c.deadline()
	if err := c.raw.SetReadDeadline(due); err != nil {
		return err
	}
	n, err := c.raw.Read(c.buf[c.end:])
	c.end += n
	if n > 0 {
		return nil
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return late
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	return err
}

// deadline is until when the next bytes must come, and the error if they do not.
func (c *Conn) deadline() (time.Time, error) {
	due, late := time.Now().Add(c.door.limits.Idle), ErrIdle
	if c.end > 0 {
		if c.began.IsZero() {
			c.began = time.Now()
		}
		due, late = c.began.Add(c.door.limits.Frame), ErrSlow
	}
	if c.id == "" {
		if login := c.since.Add(c.door.limits.Login); login.Before(due) {
			due, late = login, ErrLogin
		}
	}
	return due, late
}

// Close ends the connection for an error of Frame or Bad and counts why.
func (c *Conn) Close(err error, reason string) {
	switch {
	case errors.Is(err, ErrTooLong):
		reason = "too_long"
	case errors.Is(err, ErrLogin):
		reason = "login"
	case errors.Is(err, ErrSlow):
		reason = "slow"
	case errors.Is(err, ErrIdle):
		reason = "idle"
	case errors.Is(err, ErrBad):
		reason = "bad_frames"
	case reason == "":
		reason = "peer"
	}
	c.why(reason)
	why := *c.reason.Load()
	c.door.metrics.closed.WithLabelValues(c.door.protocol, why).Inc()
	if ce := c.door.log.Check(zap.DebugLevel, "device disconnected"); ce != nil {
		ce.Write(zap.String("protocol", c.door.protocol), zap.String("remote", c.Remote()), zap.String("why", why), zap.Error(err))
	}
}

// Send writes one answer. A peer that does not take it in time loses the connection.
func (c *Conn) Send(b []byte) {
	if len(b) == 0 {
		return
	}
	c.write.Lock()
	defer c.write.Unlock()
	err := c.raw.SetWriteDeadline(time.Now().Add(c.door.limits.Write))
	if err == nil {
		_, err = c.raw.Write(b)
	}
	if err != nil {
		c.why("write")
		_ = c.raw.Close()
	}
}
