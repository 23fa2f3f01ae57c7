package web

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"
	"go.uber.org/zap"

	"anling/care"
)

const (
	queueSize  = 256
	queueBytes = 1 << 20
	helloTime  = 10 * time.Second
	sendTime   = 10 * time.Second // for one message to leave
	pingEvery  = 20 * time.Second
	checkEvery = 10 * time.Second // the session is looked at again
	snapTime   = 10 * time.Second
	clientsMax = 20000 // open live channels; beyond it a page is told to try again
)

// client is one open live channel. The hub puts messages into its queue and never
// waits; its own goroutine sends them.
type client struct {
	who   reader
	queue chan []byte
	bytes atomic.Int64 // in the queue
	code  atomic.Int32 // why it ends, set once
	over  chan struct{}
}

func newClient(u reader) *client {
	return &client{who: u, queue: make(chan []byte, queueSize), over: make(chan struct{})}
}

// put queues a message; false when the client is too slow.
func (c *client) put(text []byte) bool {
	if c.bytes.Add(int64(len(text))) > queueBytes {
		return false
	}
	select {
	case c.queue <- text:
		return true
	default:
		return false
	}
}

// end closes the channel with a code; the first one counts.
func (c *client) end(code int) {
	if c.code.CompareAndSwap(0, int32(code)) {
		close(c.over)
	}
}

// hello is the first message of a page.
type hello struct {
	Type   string   `json:"type"`
	Client int      `json:"client"`
	Epoch  string   `json:"epoch"`
	Since  int64    `json:"since"`
	Views  []string `json:"views"`
}

// serveLive is the door of the live channel.
func (s *Server) serveLive(w http.ResponseWriter, r *http.Request) {
	named(r, "ws")
	opts := &websocket.AcceptOptions{CompressionMode: websocket.CompressionDisabled}
	if h := s.opts.publicHost(); h != "" {
		opts.OriginPatterns = []string{h}
	}
	u, refused := s.session(r)
	conn, err := websocket.Accept(w, r, opts)
	if err != nil {
		return // Accept has answered: no upgrade, or another site's page
	}
	defer conn.CloseNow() //nolint:errcheck // closed already, unless something went wrong
	var e *Error
	switch {
	case errors.As(refused, &e):
		_ = conn.Close(closeNoSession, "no session")
		return
	case refused != nil:
		s.log.Error("find session", zap.Error(refused))
		_ = conn.Close(websocket.StatusTryAgainLater, "sessions cannot be read")
		return
	}
	conn.SetReadLimit(bodyMax)
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	in, err := readHello(ctx, conn)
	if err != nil {
		_ = conn.Close(websocket.StatusPolicyViolation, "hello expected")
		return
	}
	s.live(ctx, cancel, conn, u, in)
}

func readHello(ctx context.Context, conn *websocket.Conn) (hello, error) {
	ctx, cancel := context.WithTimeout(ctx, helloTime)
	defer cancel()
	_, text, err := conn.Read(ctx)
	if err != nil {
		return hello{}, err
	}
	var in hello
	if err := json.Unmarshal(text, &in); err != nil || in.Type != "hello" || in.Since < 0 {
		return hello{}, errors.New("not a hello")
	}
	return in, nil
}

// live keeps one channel from its hello to its end.
func (s *Server) live(ctx context.Context, cancel context.CancelFunc, conn *websocket.Conn, u reader, in hello) {
	c := newClient(u)
	epoch, seq, back, resumed, ok := s.hub.join(ctx, c, in.Epoch, in.Since)
	if !ok {
		_ = conn.Close(websocket.StatusTryAgainLater, "starting or stopping")
		return
	}
	defer s.hub.leave(c)
	// Pages only listen after the hello; reading answers pings and notices the end.
	read := make(chan struct{})
	go func() {
		defer close(read)
		defer cancel()
		for {
			if _, _, err := conn.Read(ctx); err != nil {
				return
			}
		}
	}()
	defer func() { <-read }()
	defer cancel()
	if err := s.begin(ctx, conn, c, in, epoch, seq, back, resumed); err != nil {
		s.goodbye(conn, c, websocket.StatusTryAgainLater)
		return
	}
	s.goodbye(conn, c, s.pump(ctx, conn, c))
}

// begin sends welcome, and the facts between or a snapshot.
func (s *Server) begin(ctx context.Context, conn *websocket.Conn, c *client, in hello, epoch string, seq int64, back [][]byte, resumed bool) error {
	now, who := s.now().UTC(), me(c.who.User)
	welcome := message{Type: "welcome", Epoch: epoch, Seq: seq, Build: s.assets.build, ServerTime: &now, User: &who}
	if err := send(ctx, conn, welcome.encode()); err != nil {
		return err
	}
	if resumed {
		s.metrics.sent.WithLabelValues("resume").Inc()
		for _, text := range back {
			if err := send(ctx, conn, text); err != nil {
				return err
			}
		}
	} else {
		s.metrics.sent.WithLabelValues("snap").Inc()
		views, err := s.snapshot(ctx, c.who, in.Views)
		if err != nil {
			s.log.Warn("snapshot for a page", zap.Error(err))
			return err
		}
		if err := send(ctx, conn, message{Type: "snap", Seq: seq, Views: views}.encode()); err != nil {
			return err
		}
	}
	if hearsEmergency(c.who) {
		for _, text := range s.hub.recent() {
			if err := send(ctx, conn, text); err != nil {
				return err
			}
		}
	}
	return nil
}

func send(ctx context.Context, conn *websocket.Conn, text []byte) error {
	ctx, cancel := context.WithTimeout(ctx, sendTime)
	defer cancel()
	return slow(ctx, conn.Write(ctx, websocket.MessageText, text))
}

var errSlow = errors.New("the other side does not read")

// slow tells an error that is the end of the time from others.
func slow(ctx context.Context, err error) error {
	if err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return fmt.Errorf("%w: %w", errSlow, err)
	}
	return err
}

// pump sends what is queued until the channel ends; it returns the code to close with.
func (s *Server) pump(ctx context.Context, conn *websocket.Conn, c *client) websocket.StatusCode {
	ping, check := time.NewTicker(pingEvery), time.NewTicker(checkEvery)
	defer ping.Stop()
	defer check.Stop()
	for {
		select {
		case <-c.over:
			return websocket.StatusCode(c.code.Load())
		default:
		}
		var err error
		select {
		case <-c.over:
			return websocket.StatusCode(c.code.Load())
		case <-ctx.Done():
			return websocket.StatusNormalClosure
		case text := <-c.queue:
			c.bytes.Add(-int64(len(text)))
			err = send(ctx, conn, text)
		case <-ping.C:
			err = pingOnce(ctx, conn)
		case <-check.C:
			if code := s.stillMay(ctx, c.who); code != 0 {
				return code
			}
		}
		if errors.Is(err, errSlow) {
			return closeSlow // it may see no code any more; the metric does
		}
		if err != nil {
			return websocket.StatusNormalClosure
		}
	}
}

func pingOnce(ctx context.Context, conn *websocket.Conn) error {
	ctx, cancel := context.WithTimeout(ctx, sendTime)
	defer cancel()
	return slow(ctx, conn.Ping(ctx))
}

// stillMay looks at the session again: it may be over, or its rights changed by
// another process. An open page counts as use.
func (s *Server) stillMay(ctx context.Context, was reader) websocket.StatusCode {
	now, err := s.sessionOf(ctx, was.session, was.address)
	var e *Error
	switch {
	case errors.As(err, &e):
		return closeNoSession
	case err != nil:
		return 0 // the store is away: the page stays
	case now.Role != was.Role || now.ResponderID != was.ResponderID || now.ProviderID != was.ProviderID:
		return closeRights
	}
	return 0
}

var reasons = map[websocket.StatusCode]string{closeNoSession: "no session", closeRights: "rights changed", closeSlow: "too slow", closeAway: "going away",
	websocket.StatusTryAgainLater: "try again", websocket.StatusNormalClosure: "closed"}

func (s *Server) goodbye(conn *websocket.Conn, c *client, code websocket.StatusCode) {
	if set := c.code.Load(); set != 0 {
		code = websocket.StatusCode(set)
	}
	s.metrics.closed.WithLabelValues(reasons[code]).Inc()
	_ = conn.Close(code, reasons[code]) // the other side may be gone
}

// snapshot is the state of the views that a page asks for, as far as it may see it.
func (s *Server) snapshot(ctx context.Context, u reader, wanted []string) (map[string]any, error) {
	ctx, cancel := context.WithTimeout(ctx, snapTime)
	defer cancel()
	views := map[string]any{}
	for _, name := range wanted {
		var v any
		var err error
		switch {
		case name == "desk" && u.Role != care.RoleResponder && u.Role != care.RoleProvider:
			v, err = s.deskView(ctx, u)
		case name == "responder" && u.Role == care.RoleResponder:
			v, err = s.responderView(ctx, u)
		default:
			continue // not for this reader, or a view of a later version
		}
		if err != nil {
			return nil, err
		}
		views[name] = v
	}
	return views, nil
}

// Desk is the view of the operators' page.
type Desk struct {
	Incidents []Incident `json:"incidents"`
	Tasks     []Task     `json:"tasks,omitempty"`
	Calls     []Call     `json:"calls,omitempty"`
	Operators []Operator `json:"operators,omitempty"`
	Callbacks []Callback `json:"callbacks,omitempty"`
	Status    Status     `json:"status"`
}

func (s *Server) deskView(ctx context.Context, u reader) (Desk, error) {
	d := Desk{Status: s.statusFor(ctx, u)}
	var err error
	if d.Incidents, err = s.incidentViews(ctx, u, "open", 500); err != nil {
		return Desk{}, err
	}
	if u.Role == care.RoleAdmin {
		return d, nil
	}
	if d.Tasks, err = s.taskViews(ctx, u); err != nil {
		return Desk{}, err
	}
	if s.opts.CallCentre == nil {
		return d, nil
	}
	d.Calls = s.callViews(ctx, u)
	if d.Operators, err = s.operatorViews(ctx); err != nil {
		return Desk{}, err
	}
	d.Callbacks, err = s.callbackViews(ctx, u)
	return d, err
}

// Field is the view of a responder's page.
type Field struct {
	Me         Me          `json:"me"`
	Duty       string      `json:"duty"`
	Offers     []Offer     `json:"offers"`
	Assignment *Assignment `json:"assignment,omitempty" doc:"The one that is underway"`
}

func (s *Server) responderView(ctx context.Context, u reader) (Field, error) {
	f := Field{Me: me(u.User), Duty: s.snapshotOf(u.ResponderID).Duty}
	if s.opts.Registry != nil {
		if r, err := s.opts.Registry.Responder(ctx, u.ResponderID); err == nil {
			f.Duty = r.Duty
		}
	}
	var err error
	if f.Offers, err = s.offersOf(ctx, u, u.ResponderID); err != nil {
		return Field{}, err
	}
	mine, err := s.listAssignments(ctx, u, "")
	if err != nil {
		return Field{}, err
	}
	for n := range mine {
		if mine[n].Status.Underway() {
			f.Assignment = &mine[n]
			break
		}
	}
	return f, nil
}
