package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/zap"

	"anling/event"
)

// upLimit is how many commands of provider apps may wait; more are answered "busy".
const upLimit = 256

// Command is what a provider's app asks for by request on
// anling.prov.<provider>.up.<kind>.
type Command struct {
	Provider string          // from the subject, which the server has checked
	Kind     string          // "offer.accept", "responder.position", …
	Body     json.RawMessage // JSON object
}

// Commands carries out what provider apps ask; the answer is sent back as JSON. A Coded
// error is answered as {"code","message"}; any other is ours, and the app is told to
// repeat.
type Commands func(ctx context.Context, c Command) (any, error)

// Coded is an error that names its code to a program.
type Coded interface {
	error
	ErrorCode() string
}

// Down passes facts to the provider they concern, on
// anling.prov.<provider>.down.<noun>.<id>. It never waits and may lose: an app
// starts from, and after a gap returns to, the HTTP snapshot.
func (b *Bus) Down(events []event.Event) {
	if !b.conn.IsConnected() {
		return
	}
	for _, e := range events {
		if e.ProviderID == "" || !name.MatchString(e.ProviderID) {
			continue
		}
		subject := fmt.Sprintf("anling.prov.%s.down.%s.%s", e.ProviderID, e.Type.Noun(), strings.ToLower(e.AggID))
		if err := b.conn.Publish(subject, event.Body(e)); err != nil {
			b.metrics.fastDropped.Inc()
		}
	}
}

// Up serves the commands of provider apps until ctx ends, eight at a time.
func (b *Bus) Up(ctx context.Context, do Commands) error {
	inbox := make(chan *nats.Msg, upLimit)
	sub, err := b.conn.QueueSubscribe("anling.prov.*.up.>", "anling", func(m *nats.Msg) {
		select {
		case inbox <- m:
		default:
			b.reply(m, nil, errBusy)
		}
	})
	if err != nil {
		return fmt.Errorf("subscribe to provider commands: %w", err)
	}
	done := make(chan struct{})
	const workers = 8
	for range workers {
		go func() {
			defer func() { done <- struct{}{} }()
			for {
				select {
				case <-ctx.Done():
					return
				case m := <-inbox:
					b.serve(ctx, m, do)
				}
			}
		}()
	}
	<-ctx.Done()
	if err := sub.Unsubscribe(); err != nil && !errors.Is(err, nats.ErrConnectionClosed) {
		b.log.Debug("unsubscribe provider commands", zap.Error(err))
	}
	for range workers {
		<-done
	}
	return nil
}

// refusal is a Coded error of this package.
type refusal struct{ code, text string }

func (r refusal) Error() string     { return r.text }
func (r refusal) ErrorCode() string { return r.code }

func invalid(format string, args ...any) error {
	return refusal{"invalid", fmt.Sprintf(format, args...)}
}

var (
	errBusy    = refusal{"busy", "too many commands wait, try again"}
	errNotDone = refusal{"unavailable", "not done; ask again"}
)

func (b *Bus) serve(ctx context.Context, m *nats.Msg, do Commands) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	c, err := parseCommand(m)
	if err != nil {
		b.reply(m, nil, err)
		return
	}
	answer, err := do(ctx, c)
	b.reply(m, answer, err)
}

func parseCommand(m *nats.Msg) (Command, error) {
	parts := strings.SplitN(m.Subject, ".", 5)
	if len(parts) != 5 || parts[3] != "up" || parts[4] == "" {
		return Command{}, invalid("subject %q: want anling.prov.<provider>.up.<kind>", m.Subject)
	}
	if len(m.Data) > 64<<10 {
		return Command{}, invalid("body has %d bytes, at most 65536 are read", len(m.Data))
	}
	body := m.Data
	if len(body) == 0 {
		body = []byte("{}")
	}
	if !json.Valid(body) {
		return Command{}, invalid("body is not JSON")
	}
	return Command{Provider: parts[2], Kind: parts[4], Body: body}, nil
}

func (b *Bus) reply(m *nats.Msg, answer any, err error) {
	if m.Reply == "" {
		return
	}
	if err != nil {
		var coded Coded
		if !errors.As(err, &coded) {
			b.log.Error("provider command failed", zap.String("subject", m.Subject), zap.Error(err))
			coded = errNotDone
		}
		answer = map[string]string{"code": coded.ErrorCode(), "message": coded.Error()}
	}
	if err := m.Respond(event.Body(answer)); err != nil {
		b.log.Debug("answer provider command", zap.Error(err))
	}
}
