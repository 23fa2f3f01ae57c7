package gt06

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
const Protocol = "gt06"

// heartbeat is what these devices keep by default.
const heartbeat = 3 * time.Minute

// ServerOptions make a Server. Receiver is needed.
type ServerOptions struct {
	Receiver sos.Receiver
	Models   sos.Models // nil: every device has the default profile
	Limits   sos.Limits // Idle is three heartbeats by default
	Log      *zap.Logger
	Metrics  prometheus.Registerer
	Now      func() time.Time
}

// Server speaks with GT06 devices.
type Server struct {
	opts ServerOptions
	door *sos.Door
}

// NewServer makes a server.
func NewServer(o ServerOptions) *Server {
	if o.Limits.Idle <= 0 {
		o.Limits.Idle = 3*heartbeat + time.Minute
	}
	return &Server{opts: o, door: sos.NewDoor(sos.DoorOptions{Protocol: Protocol, Receiver: o.Receiver, Limits: o.Limits, Log: o.Log, Metrics: o.Metrics, Now: o.Now})}
}

// Serve accepts devices until ctx ends; sos.Listen opens the listener.
func (s *Server) Serve(ctx context.Context, l net.Listener) error { return s.door.Serve(ctx, l, s.run) }

// Connections is how many are open.
func (s *Server) Connections() int { return s.door.Connections() }

// messages are shared by the sessions, of which few read at a time: a message on the
// stack of each would double what an idle connection holds.
var messages = sync.Pool{New: func() any { return new(Message) }}

// session is what a connection knows of its device.
type session struct {
	s    *Server
	conn *sos.Conn
	ctx  Context
}

func (s *Server) run(ctx context.Context, c *sos.Conn) {
	var framer Framer
	x := session{s: s, conn: c}
	split := framer.Split
	for {
		frame, err := c.Frame(split, MaxFrame+1)
		if err == nil {
			err = x.take(ctx, frame)
		}
		if errors.Is(err, ErrJunk) {
			c.Close(err, "junk")
			return
		}
		if err != nil {
			c.Close(err, "")
			return
		}
	}
}

// take reads one frame and does what it asks for. Its error ends the connection.
func (x *session) take(ctx context.Context, frame []byte) error {
	m := messages.Get().(*Message)
	defer func() {
		*m = Message{}
		messages.Put(m)
	}()
	if err := decode(frame, &x.ctx, m); err != nil {
		return x.unread(ctx, err, frame)
	}
	if m.Type == Login {
		x.login(ctx, m)
		return nil
	}
	if x.conn.ID() == "" && !m.IsAlarm() {
		return x.conn.Bad("before_login", frame)
	}
	x.conn.Good(string(m.Type))
	x.answer(m)
	switch {
	case m.IsAlarm():
		x.alarm(ctx, m, frame)
	case m.Type == Unknown:
		x.unknown(ctx, m, frame)
		return nil
	}
	x.seen(m)
	return nil
}

// unread counts a frame that cannot be read. A wrong checksum is dropped in silence;
// what has a right one is kept for whoever knows the model.
func (x *session) unread(ctx context.Context, err error, frame []byte) error {
	reason := "bad_content"
	switch {
	case errors.Is(err, ErrChecksum):
		reason = "bad_checksum"
	case errors.Is(err, ErrLength), errors.Is(err, ErrShort), errors.Is(err, ErrStart):
		reason = "bad_frame"
	default:
		_ = x.keep(ctx, reason, frame)
	}
	return x.conn.Bad(reason, frame)
}

func (x *session) keep(ctx context.Context, reason string, frame []byte) error {
	if x.conn.ID() == "" || !x.conn.Allow() {
		return errors.New("not kept")
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	return x.s.opts.Receiver.Keep(ctx, sos.RawFrame{Protocol: Protocol, ClaimedID: x.conn.ID(), At: x.conn.Now(), Reason: reason, Raw: sos.Keep(frame)})
}

// login binds the connection to its device and answers at once: it does not wait
// for the registry, and an unknown device is let in as well, to be heard.
func (x *session) login(ctx context.Context, m *Message) {
	x.conn.Good(string(m.Type))
	x.conn.Identify(m.IMEI)
	x.conn.Send(m.Ack)
	x.ctx.Zone = m.Zone
	if x.s.opts.Models != nil {
		x.ctx.Profile = ProfileFor(x.s.model(ctx, m.IMEI))
	}
	x.seen(m)
}

// model asks the registry in a goroutine of its own: a query needs a deep stack, and
// the session's would stay so deep.
func (s *Server) model(ctx context.Context, imei string) string {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	answer := make(chan string, 1)
	go func() { answer <- s.opts.Models.Model(ctx, Protocol, imei) }()
	return <-answer
}

// answer sends what may leave at once.
func (x *session) answer(m *Message) {
	if m.AckWhen != Now {
		return
	}
	if m.Type == TimeRequest {
		m.Ack = EncodeTimeAnswer(m.Serial, x.conn.Now())
	}
	x.conn.Send(m.Ack)
}

// unknown answers a message that nobody knows after it is kept: it may be an alarm.
func (x *session) unknown(ctx context.Context, m *Message, frame []byte) {
	if err := x.keep(ctx, "unknown_type", frame); err == nil {
		x.conn.Send(m.Ack)
	}
	x.s.opts.Receiver.Seen(sos.Sign{Protocol: Protocol, ClaimedID: x.conn.ID(), At: x.conn.Now()})
}

// seen hands on the sign of life.
func (x *session) seen(m *Message) {
	if x.conn.ID() == "" {
		return
	}
	sign := sos.Sign{Protocol: Protocol, ClaimedID: x.conn.ID(), At: x.conn.Now(), Battery: m.Battery, Charging: m.Charging, Signal: m.Signal,
		States: m.Type == Heartbeat && !x.ctx.Profile.NoHeartbeatSOS, Levels: m.Levels}
	if m.Type == Position && m.Fix != nil && !m.IsAlarm() && !x.conn.Allow() {
		x.conn.Limited("position_dropped")
		return
	}
	sign.Fix = m.Fix
	x.s.opts.Receiver.Seen(sign)
}

// alarm hands on an alarm; it is answered when its incident stands.
func (x *session) alarm(ctx context.Context, m *Message, frame []byte) {
	now, id := x.conn.Now(), x.conn.ID()
	a := care.Alarm{ClaimedID: id, Protocol: Protocol, Kinds: m.Kinds, Levels: m.Levels, Codes: m.Codes, DeviceTime: m.Time, ReceivedAt: now,
		History: m.History, Position: m.Fix, Battery: m.Battery, Charging: m.Charging, Signal: m.Signal, Raw: sos.Keep(frame)}
	if id == "" { // a press before the login is a press
		a.ClaimedID = "addr:" + x.conn.Remote()
		a.Reasons = append(a.Reasons, "alarm before login")
	}
	a.Reasons = append(a.Reasons, m.Uncertain...)
	a.TimeQuality = sos.TimeQuality(m.Time, now, m.History)
	a.SourceEventID = m.DedupKey(a.ClaimedID)
	var ack []byte
	if m.AckWhen == AfterCommit {
		ack = m.Ack
	}
	x.conn.Alarm(ctx, a, ack)
}
