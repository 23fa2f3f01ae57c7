// Package bus tells others what happened: it relays the outbox to the NATS stream
// EVT, sends a copy of each fact at once on core NATS, and bridges provider apps,
// each of which hears and says only what is its own.
//
// Nothing on the way of an alarm waits for this package. SQL is the truth; the
// stream can be deleted and rebuilt from it.
package bus

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"anling/event"
)

// Modes of the bus.
const (
	Embedded = "embedded" // a server in this process
	External = "external" // a server or cluster elsewhere, by URL
)

// Options say where NATS is. The zero value is an embedded server without any
// listener, in a temporary place that the caller names by StoreDir.
type Options struct {
	Mode     string // Embedded by default
	StoreDir string // JetStream's files, Embedded only; one directory per mode
	Listen   string // "127.0.0.1:4222" for partner apps; empty opens no port
	MaxStore int64  // bytes for JetStream, 4 GiB by default
	URL      string // External: nats://host:port,…
	CredFile string // External: credentials file, may be empty
	Signer   *Signer
	Log      *zap.Logger
	Metrics  prometheus.Registerer
}

// Outgoing is one row of the outbox that waits to be published.
type Outgoing struct {
	Pos     int64
	EventID string
	Subject string
	Body    []byte
}

// Outbox is the durable queue of facts; the store fills it.
type Outbox interface {
	// Waiting returns up to limit unsent rows, in order.
	Waiting(ctx context.Context, limit int) ([]Outgoing, error)
	// MarkSent records that the rows are in the stream.
	MarkSent(ctx context.Context, rows []Outgoing) error
	// Wake receives a value after commits that added rows; it may coalesce.
	Wake() <-chan struct{}
}

// Bus is a running connection to NATS. It is safe for concurrent use.
type Bus struct {
	opts    Options
	log     *zap.Logger
	server  *embedded // nil when External
	conn    *nats.Conn
	js      jetstream.JetStream
	metrics *metrics
	state   atomic.Pointer[relayState]
}

// Start connects, and for Embedded starts the server first. An External server
// that is away is no error: the connection is retried for as long as Bus lives.
func Start(opts Options) (*Bus, error) {
	if opts.Log == nil {
		opts.Log = zap.NewNop()
	}
	if opts.Mode == "" {
		opts.Mode = Embedded
	}
	if opts.MaxStore == 0 {
		opts.MaxStore = 4 << 30
	}
	b := &Bus{opts: opts, log: opts.Log, metrics: newMetrics(opts.Metrics)}
	b.state.Store(&relayState{})
	if err := b.connect(); err != nil {
		b.Close()
		return nil, err
	}
	js, err := jetstream.New(b.conn)
	if err != nil {
		b.Close()
		return nil, fmt.Errorf("open jetstream: %w", err)
	}
	b.js = js
	return b, nil
}

func (b *Bus) connect() error {
	common := []nats.Option{
		nats.Name("anling"),
		nats.NoCallbacksAfterClientClose(),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(time.Second),
		nats.RetryOnFailedConnect(true),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) { b.log.Warn("nats connection lost", zap.Error(err)) }),
		nats.ReconnectHandler(func(*nats.Conn) { b.log.Info("nats connection back") }),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { b.log.Warn("nats", zap.Error(err)) }),
		// While the server is away facts wait in the outbox, not in the client.
		nats.ReconnectBufSize(-1),
	}
	var err error
	switch b.opts.Mode {
	case Embedded:
		if b.server, err = startEmbedded(b.opts); err != nil {
			return err
		}
		common = append(common, nats.InProcessServer(b.server.ns), nats.Token(b.server.internalToken))
		b.conn, err = nats.Connect("", common...)
	case External:
		if b.opts.CredFile != "" {
			common = append(common, nats.UserCredentials(b.opts.CredFile))
		}
		b.conn, err = nats.Connect(b.opts.URL, common...)
	default:
		return fmt.Errorf("nats mode %q: want %q or %q", b.opts.Mode, Embedded, External)
	}
	if err != nil {
		return fmt.Errorf("connect to nats (%s): %w", b.opts.Mode, err)
	}
	return nil
}

// Fast sends the facts at once on core NATS, subject anling.fast.…, for other
// nodes and consoles. It never waits and may lose: the outbox does not.
func (b *Bus) Fast(events []event.Event) {
	if !b.conn.IsConnected() {
		b.metrics.fastDropped.Add(float64(len(events)))
		return
	}
	for _, e := range events {
		if err := b.conn.Publish(e.Subject("fast"), event.Body(e)); err != nil {
			b.metrics.fastDropped.Inc()
		}
	}
}

// Addr is the address of the listener for partner apps, or empty.
func (b *Bus) Addr() string {
	if b.server == nil {
		return ""
	}
	return b.server.addr()
}

// Health tells whether facts reach the stream: "ok" or "degraded" with the reason.
func (b *Bus) Health() (state, detail string) {
	if !b.conn.IsConnected() {
		return "degraded", "nats is not connected; facts wait in the outbox"
	}
	if s := b.state.Load(); s.failing != "" {
		return "degraded", s.failing
	}
	return "ok", ""
}

// Close drains the connection and stops the embedded server. It waits at most
// ten seconds.
func (b *Bus) Close() {
	if b.conn != nil {
		if err := b.conn.FlushTimeout(2 * time.Second); err != nil && !errors.Is(err, nats.ErrConnectionClosed) {
			b.log.Debug("flush nats", zap.Error(err))
		}
		b.conn.Close()
	}
	if b.server != nil {
		b.server.stop()
	}
}
