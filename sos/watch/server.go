package watch

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"anling/care"
	"anling/sos"
)

// Protocol is the name under which the registry knows these devices.
const Protocol = "watch"

// heartbeat is the longest distance of two LK.
const heartbeat = 8 * time.Minute

// ServerOptions make a Server. Receiver is needed.
type ServerOptions struct {
	Receiver sos.Receiver
	Limits   sos.Limits // Idle is three heartbeats by default
	Log      *zap.Logger
	Metrics  prometheus.Registerer
	Now      func() time.Time
}

// Server speaks with watches.
type Server struct {
	opts ServerOptions
	door *sos.Door
}

// NewServer makes a server.
func NewServer(o ServerOptions) *Server {
	if o.Limits.Idle <= 0 {
		o.Limits.Idle = 3 * heartbeat
	}
	return &Server{opts: o, door: sos.NewDoor(sos.DoorOptions{Protocol: Protocol, Receiver: o.Receiver, Limits: o.Limits, Log: o.Log, Metrics: o.Metrics, Now: o.Now})}
}

// Serve accepts watches until ctx ends; sos.Listen opens the listener.
func (s *Server) Serve(ctx context.Context, l net.Listener) error { return s.door.Serve(ctx, l, s.run) }

// Connections is how many are open.
func (s *Server) Connections() int { return s.door.Connections() }

// messages are shared by the sessions, of which few read at a time: a message on the
// stack of each would double what an idle connection holds.
var messages = sync.Pool{New: func() any { return new(Message) }}

// session is what a connection knows of its watch.
type session struct {
	s       *Server
	conn    *sos.Conn
	framer  Framer
	changed bool // another identity spoke on this connection before
}

func (s *Server) run(ctx context.Context, c *sos.Conn) {
	x := session{s: s, conn: c}
	split := x.framer.Split
	for {
		frame, err := c.Frame(split, MaxVoice+1)
		if err == nil {
			err = x.take(ctx, frame)
		}
		switch {
		case err == nil:
			continue
		case errors.Is(err, ErrJunk):
			c.Close(err, "junk")
		case errors.Is(err, ErrTooLong):
			c.Close(err, "too_long")
		default:
			c.Close(err, "")
		}
		return
	}
}

// take reads one frame and does what it asks for. Its error ends the connection.
func (x *session) take(ctx context.Context, frame []byte) error {
	m := messages.Get().(*Message)
	defer func() {
		*m = Message{}
		messages.Put(m)
	}()
	if err := decode(frame, m); err != nil {
		return x.conn.Bad("bad_frame", frame)
	}
	if id := x.conn.ID(); id != m.ID {
		x.changed = id != ""
		x.conn.Identify(m.ID)
		x.framer.Voice = true
	}
	x.conn.Good(string(m.Type))
	if m.AckWhen == Now {
		x.conn.Send(m.Ack)
	}
	switch {
	case m.IsAlarm():
		x.alarm(ctx, m, frame)
	case m.Type == Unknown:
		x.keep(ctx, m, frame)
	}
	x.seen(m)
	return nil
}

// keep stores a frame that nobody knows; it has no answer.
func (x *session) keep(ctx context.Context, m *Message, frame []byte) {
	if !x.conn.Allow() {
		x.conn.Limited("unknown_dropped")
		return
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	err := x.s.opts.Receiver.Keep(ctx, sos.RawFrame{Protocol: Protocol, ClaimedID: m.ID, At: x.conn.Now(), Reason: "unknown_type", Raw: sos.Keep(frame)})
	if err != nil {
		x.conn.Limited("unknown_dropped")
	}
}

// seen hands on the sign of life. Only live positions state how things are now.
func (x *session) seen(m *Message) {
	sign := sos.Sign{Protocol: Protocol, ClaimedID: m.ID, At: x.conn.Now(), Battery: m.Battery, Signal: m.Signal,
		States: m.HasStatus && m.Type == Position && !m.History, Levels: m.Levels, Fix: m.Fix}
	if m.Type == Position && !m.IsAlarm() && !x.conn.Allow() {
		x.conn.Limited("position_dropped")
		return
	}
	x.s.opts.Receiver.Seen(sign)
}

// alarm hands on an alarm; it is answered when its incident stands.
func (x *session) alarm(ctx context.Context, m *Message, frame []byte) {
	now := x.conn.Now()
	a := care.Alarm{ClaimedID: m.ID, Protocol: Protocol, Kinds: m.Kinds, Levels: m.Levels, Codes: m.Codes, DeviceTime: m.Time, ReceivedAt: now,
		History: m.History, Position: m.Fix, Battery: m.Battery, Signal: m.Signal, Raw: sos.Keep(frame), Reasons: m.Uncertain}
	if x.changed {
		a.Reasons = append(a.Reasons, "another device spoke on this connection before")
	}
	a.TimeQuality = sos.TimeQuality(m.Time, now, m.History)
	a.SourceEventID = m.DedupKey()
	var ack []byte
	if m.AckWhen == AfterCommit {
		ack = m.Ack
	}
	x.conn.Alarm(ctx, a, ack)
}
