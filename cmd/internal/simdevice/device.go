// Package simdevice is the devices' side of the SOS protocols: GT06 pendants and
// "3G*" watches that log in, keep alive, press and press again until they are
// answered, as the makers' devices do. It shares no code with the server's codecs.
package simdevice

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"time"

	"anling/geo"
)

// Identity is a device as the registry knows it.
type Identity struct {
	Protocol string // GT06 or Watch
	ID       string // IMEI, or the watch's ten or fifteen digits
	Number   string // of its SIM, for its own call; may be empty
}

// Options of a Device. Identity and Addr are needed.
type Options struct {
	Identity
	Addr       string
	Heartbeat  time.Duration                    // 3 min by default
	Resend     time.Duration                    // an unanswered press is sent again after, 5 s by default
	Reconnect  time.Duration                    // between attempts, 200 ms by default; with jitter
	Point      geo.Point                        // where it is
	Battery    int                              // percent, 80 by default
	Duplicates int                              // every press is sent so many times more at once, as some firmware does
	Ledger     *Ledger                          // notes what was acknowledged; may be nil
	OnSent     func(Identity, Press, time.Time) // before its first byte; must not block
	OnAck      func(Entry)                      // must not block
	OnCommand  func(keyword, rest string)       // a watch was told something; must not block
	Shout      bool                             // sends everything that waits at once
	Dialer     *net.Dialer
}

// Device is one device. Run keeps it connected; Press and Send may be called from
// anywhere.
type Device struct {
	opts  Options
	wake  chan struct{} // of Run, when there is something to send
	stats Stats         // guarded by mu, as all below

	mu      sync.Mutex
	serial  uint16
	lastAt  time.Time
	waiting []*press // in the order of pressing
	unread  []*press // of a watch: alarm frames of this connection, as their answers will come
	ready   chan struct{}
	online  bool
	tokens  float64 // frames that may be sent now
	filled  time.Time
}

// Stats count what a device did.
type Stats struct {
	Connects, Logins, Heartbeats, Presses, Frames, Acked, Resent, Lost int
	Errors                                                             map[string]int
}

type press struct {
	Press
	frame []byte
	sent  time.Time // first time
	last  time.Time
	tries int           // on this connection
	done  chan struct{} // closed by the acknowledgement
	entry Entry
}

const (
	maxWaiting = 1024
	// Servers rightly join the alarms of one device that shouts, so a device does
	// not: after an outage it works off what waits at this rate.
	paceRate, paceBurst = 8, 20
	maxTries            = 4 // then the connection is given up, as real devices do
)

var errUnanswered = errors.New("a press is not answered")

// ErrFull means that too many presses wait for their answer.
var ErrFull = errors.New("too many presses are not answered")

// New makes a device.
func New(o Options) *Device {
	if o.Heartbeat <= 0 {
		o.Heartbeat = 3 * time.Minute
	}
	if o.Resend <= 0 {
		o.Resend = 5 * time.Second
	}
	if o.Reconnect <= 0 {
		o.Reconnect = 200 * time.Millisecond
	}
	if o.Battery == 0 {
		o.Battery = 80
	}
	if o.Dialer == nil {
		o.Dialer = &net.Dialer{Timeout: 5 * time.Second, KeepAlive: -1}
	}
	return &Device{opts: o, wake: make(chan struct{}, 1), ready: make(chan struct{})}
}

// Identity is who the device is.
func (d *Device) Identity() Identity { return d.opts.Identity }

// Stats are the counts so far.
func (d *Device) Stats() Stats {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := d.stats
	s.Errors = map[string]int{}
	for k, v := range d.stats.Errors {
		s.Errors[k] = v
	}
	return s
}

// WaitReady waits until the device is logged in.
func (d *Device) WaitReady(ctx context.Context) error {
	for {
		d.mu.Lock()
		online, ready := d.online, d.ready
		d.mu.Unlock()
		if online {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("device %s is not logged in: %w", d.opts.ID, ctx.Err())
		case <-ready:
		}
	}
}

// Send queues a press and tells how it will be known. Its time is set here: never
// twice the same second.
func (d *Device) Send(p Press) (Press, error) {
	queued, err := d.queue(p)
	if err != nil {
		return Press{}, err
	}
	return queued.Press, nil
}

// Press presses and waits for the acknowledgement.
func (d *Device) Press(ctx context.Context, p Press) (Entry, error) {
	queued, err := d.queue(p)
	if err != nil {
		return Entry{}, err
	}
	select {
	case <-ctx.Done():
		return Entry{}, fmt.Errorf("press of %s is not acknowledged: %w", d.opts.ID, ctx.Err())
	case <-queued.done:
		return queued.entry, nil
	}
}

func (d *Device) queue(p Press) (*press, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.waiting) >= maxWaiting {
		return nil, ErrFull
	}
	if p.At.IsZero() {
		p.At = time.Now()
	}
	p.At = p.At.UTC().Truncate(time.Second)
	if !p.At.After(d.lastAt) {
		p.At = d.lastAt.Add(time.Second)
	}
	d.lastAt = p.At
	if p.Point.IsZero() {
		p.Point = d.opts.Point
	}
	if p.Battery == 0 {
		p.Battery = d.opts.Battery
	}
	d.serial++
	p.Serial = d.serial
	q := &press{Press: p, done: make(chan struct{})}
	if d.opts.Protocol == Watch {
		q.frame = watchAlarmFrame(d.opts.ID, p)
	} else {
		q.frame = gt06AlarmFrame(p)
	}
	d.waiting = append(d.waiting, q)
	d.stats.Presses++
	select {
	case d.wake <- struct{}{}:
	default:
	}
	return q, nil
}

// Run connects, logs in and keeps alive, again and again until ctx ends.
func (d *Device) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		if err := d.session(ctx); err != nil && ctx.Err() == nil {
			d.fault(err)
		}
		wait := time.NewTimer(d.opts.Reconnect/2 + rand.N(d.opts.Reconnect))
		select {
		case <-ctx.Done():
		case <-wait.C:
		}
		wait.Stop()
	}
	return nil
}

// cause is the kind of an error, for the summary.
func cause(err error) string {
	var timeout net.Error
	switch {
	case errors.Is(err, errAnswer):
		return "bad answer"
	case errors.As(err, &timeout) && timeout.Timeout():
		return "timeout"
	case errors.Is(err, net.ErrClosed):
		return "closed"
	}
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Op + ": " + op.Err.Error()
	}
	return err.Error()
}

func (d *Device) fault(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.stats.Lost++
	if d.stats.Errors == nil {
		d.stats.Errors = map[string]int{}
	}
	d.stats.Errors[cause(err)]++
}

func (d *Device) setOnline(on bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.online = on; on {
		d.stats.Logins++
		close(d.ready)
		d.ready = make(chan struct{})
	}
}

// session is one connection. The reader ends with it.
func (d *Device) session(ctx context.Context) error {
	conn, err := d.opts.Dialer.DialContext(ctx, "tcp", d.opts.Addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	d.mu.Lock()
	d.stats.Connects++
	d.unread = nil
	for _, p := range d.waiting {
		p.tries = 0
	}
	d.mu.Unlock()
	in := make(chan answer, 16)
	failed := make(chan error, 1)
	over := make(chan struct{})
	var reader sync.WaitGroup
	defer reader.Wait()
	defer conn.Close()
	defer close(over)
	reader.Go(func() {
		r := bufio.NewReaderSize(conn, 256)
		for {
			a, err := readAnswer(d.opts.Protocol, r)
			if err != nil {
				failed <- err
				return
			}
			if alarm := d.acknowledges(a, time.Now()); alarm {
				select {
				case d.wake <- struct{}{}: // the next press of a watch may go
				default:
				}
				continue
			}
			select {
			case in <- a:
			case <-over:
				return
			}
		}
	})
	if err := d.login(ctx, conn, in, failed); err != nil {
		return err
	}
	d.setOnline(true)
	defer d.setOnline(false)
	return d.serve(ctx, conn, in, failed)
}

// login is the first exchange: a login of GT06, the first LK of a watch. The device
// waits five seconds, as real ones do.
func (d *Device) login(ctx context.Context, conn net.Conn, in <-chan answer, failed <-chan error) error {
	hello, kind := watchHeartbeatFrame(d.opts.ID, d.opts.Battery), "LK"
	if d.opts.Protocol != Watch {
		var err error
		if hello, err = gt06LoginFrame(d.opts.ID, d.nextSerial()); err != nil {
			return err
		}
		kind = "01"
	}
	if err := d.write(conn, hello); err != nil {
		return err
	}
	limit := time.NewTimer(5 * time.Second)
	defer limit.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-failed:
			return err
		case <-limit.C:
			return errors.New("login is not answered")
		case a := <-in:
			if a.kind == kind {
				return nil
			}
		}
	}
}

// serve sends what waits, repeats what is not answered, and keeps alive.
func (d *Device) serve(ctx context.Context, conn net.Conn, in <-chan answer, failed <-chan error) error {
	beat := time.NewTicker(d.opts.Heartbeat)
	defer beat.Stop()
	missed := 0
	again := time.NewTimer(0)
	defer again.Stop()
	for {
		next, err := d.flush(conn)
		if err != nil {
			return err
		}
		again.Reset(next)
		select {
		case <-ctx.Done():
			return nil
		case err := <-failed:
			return err
		case <-d.wake:
		case <-again.C:
		case a := <-in:
			switch {
			case a.kind == "LK" || a.kind == "13":
				missed = 0
			case d.opts.OnCommand != nil && d.opts.Protocol == Watch:
				d.opts.OnCommand(a.kind, a.text)
			}
			if d.opts.Protocol == Watch && a.kind != "LK" { // a command is confirmed by its keyword
				if err := d.write(conn, watchFrame(d.opts.ID, a.kind)); err != nil {
					return err
				}
			}
		case <-beat.C:
			if missed++; missed > 3 {
				return errors.New("heartbeats are not answered")
			}
			frame := watchHeartbeatFrame(d.opts.ID, d.opts.Battery)
			if d.opts.Protocol != Watch {
				frame = gt06HeartbeatFrame(d.nextSerial())
			}
			if err := d.write(conn, frame); err != nil {
				return err
			}
			d.mu.Lock()
			d.stats.Heartbeats++
			d.mu.Unlock()
		}
	}
}

func (d *Device) nextSerial() uint16 {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.serial++
	return d.serial
}

func (d *Device) write(conn net.Conn, b []byte) error {
	if err := conn.SetWriteDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return err
	}
	_, err := conn.Write(b)
	return err
}

// flush sends the presses that are due and tells when the next one is. A watch's
// answer does not say which press it means: answers are counted off against the
// frames sent, and a watch has one press under way at a time, so that an answer that
// did not come can only make it press once more, never count another press as heard.
func (d *Device) flush(conn net.Conn) (time.Duration, error) {
	now := time.Now()
	next := time.Hour
	var due []*press
	d.mu.Lock()
	d.tokens = min(paceBurst, d.tokens+now.Sub(d.filled).Seconds()*paceRate)
	d.filled = now
	for i, p := range d.waiting {
		if d.opts.Protocol == Watch && i > 0 {
			break
		}
		if left := d.opts.Resend - now.Sub(p.last); p.tries > 0 && left > 0 {
			next = min(next, left)
			continue
		}
		if p.tries == maxTries {
			d.mu.Unlock()
			return 0, errUnanswered
		}
		if d.tokens < 1 && !d.opts.Shout {
			next = min(next, time.Second/paceRate)
			break
		}
		d.tokens--
		if p.sent.IsZero() {
			p.sent = now
		} else {
			d.stats.Resent++
		}
		p.last = now
		p.tries++
		due = append(due, p)
		if d.opts.Protocol == Watch {
			for range 1 + d.opts.Duplicates {
				d.unread = append(d.unread, p)
			}
		}
		next = min(next, d.opts.Resend)
	}
	d.stats.Frames += len(due) * (1 + d.opts.Duplicates)
	d.mu.Unlock()
	for _, p := range due {
		if d.opts.OnSent != nil && p.sent == now {
			d.opts.OnSent(d.opts.Identity, p.Press, now)
		}
		for range 1 + d.opts.Duplicates {
			if err := d.write(conn, p.frame); err != nil {
				return 0, err
			}
		}
	}
	return next, nil
}

// acknowledges takes an answer that is one to a press. The ledger has it before
// anybody hears of it.
func (d *Device) acknowledges(a answer, now time.Time) bool {
	if a.kind != "26" && a.kind != "AL" {
		return false
	}
	d.mu.Lock()
	var meant *press
	if a.kind == "AL" && len(d.unread) > 0 {
		meant, d.unread = d.unread[0], d.unread[1:]
	}
	at := slices.IndexFunc(d.waiting, func(p *press) bool {
		return p == meant || a.kind == "26" && p.Serial == a.serial && !p.sent.IsZero()
	})
	if at < 0 {
		d.mu.Unlock()
		return true // the answer to a repeat
	}
	p := d.waiting[at]
	d.waiting = slices.Delete(d.waiting, at, at+1)
	d.stats.Acked++
	p.entry = Entry{Protocol: d.opts.Protocol, ID: d.opts.ID, Serial: p.Serial, At: p.At, Sent: p.sent, Acked: now}
	d.mu.Unlock()
	if d.opts.Ledger != nil {
		d.opts.Ledger.Record(p.entry)
	}
	close(p.done)
	if d.opts.OnAck != nil {
		d.opts.OnAck(p.entry)
	}
	return true
}

// Position sends a position once over a connection of its own making: it is for a
// device that is not running.
func (d *Device) Position(ctx context.Context, at time.Time) error {
	conn, err := d.opts.Dialer.DialContext(ctx, "tcp", d.opts.Addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	r := bufio.NewReaderSize(conn, 256)
	frame := watchPlaceFrame(d.opts.ID, "UD", at, d.opts.Point, d.opts.Battery, 0)
	hello := watchHeartbeatFrame(d.opts.ID, d.opts.Battery)
	if d.opts.Protocol != Watch {
		frame = gt06PositionFrame(at, d.opts.Point, d.nextSerial())
		if hello, err = gt06LoginFrame(d.opts.ID, d.nextSerial()); err != nil {
			return err
		}
	}
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return err
	}
	if _, err := conn.Write(append(hello, frame...)); err != nil {
		return err
	}
	_, err = readAnswer(d.opts.Protocol, r)
	return err
}
