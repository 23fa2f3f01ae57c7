package bus

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"
)

// Stream is the name of the stream of facts.
const Stream = "EVT"

const (
	relayPoll   = 200 * time.Millisecond // looks for rows even when nobody wakes it
	relayBatch  = 500                    // rows of one atomic batch; the server's limit is 1000
	batchFrom   = 16                     // fewer rows are cheaper one by one
	publishWait = 5 * time.Second
	gather      = 50 * time.Millisecond // after a wake-up: each publish and each mark costs a sync of the disk that alarms wait for
)

// relayState is what the relay last met.
type relayState struct {
	failing string // empty when the last round went well
}

// Relay publishes the outbox to the stream until ctx ends. It is to run once in a
// cluster, under a lease. NATS being away is not an error: rows wait.
func (b *Bus) Relay(ctx context.Context, box Outbox) error {
	tick := time.NewTicker(relayPoll)
	defer tick.Stop()
	ready := false
	for {
		full := false
		err := b.ensure(ctx, &ready)
		if err == nil {
			full, err = b.round(ctx, box)
		}
		if err != nil {
			ready = false // the stream may have been deleted under us
		}
		b.note(ctx, err)
		if full && err == nil {
			continue
		}
		select {
		case <-ctx.Done():
			return nil
		case <-box.Wake():
		case <-tick.C:
		}
		wait := gather
		if err != nil {
			wait = time.Second
		}
		if !pause(ctx, wait) {
			return nil
		}
	}
}

func (b *Bus) note(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return
	}
	was := b.state.Load().failing
	if err == nil {
		if was != "" {
			b.log.Info("outbox relay works again")
		}
		b.state.Store(&relayState{})
		return
	}
	b.metrics.relayErrors.Inc()
	if was == "" {
		b.log.Warn("outbox relay waits", zap.Error(err))
	}
	b.state.Store(&relayState{failing: "outbox relay: " + err.Error()})
}

func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// ensure makes the stream when it is not there.
func (b *Bus) ensure(ctx context.Context, ready *bool) error {
	if *ready {
		return nil
	}
	if !b.conn.IsConnected() {
		return errors.New("nats is not connected")
	}
	ctx, cancel := context.WithTimeout(ctx, publishWait)
	defer cancel()
	_, err := b.js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{
		Name:               Stream,
		Subjects:           []string{"anling.evt.>"},
		Storage:            jetstream.FileStorage,
		MaxAge:             7 * 24 * time.Hour,
		MaxBytes:           b.opts.MaxStore / 2,
		Duplicates:         10 * time.Minute,
		AllowDirect:        true,
		AllowAtomicPublish: true,
		DenyDelete:         true,
		DenyPurge:          true,
	})
	if err != nil {
		return fmt.Errorf("make stream %s: %w", Stream, err)
	}
	*ready = true
	return nil
}

// round publishes what waits; full says that there may be more.
func (b *Bus) round(ctx context.Context, box Outbox) (full bool, err error) {
	rows, err := box.Waiting(ctx, relayBatch)
	if err != nil {
		return false, fmt.Errorf("read outbox: %w", err)
	}
	if len(rows) == 0 {
		return false, nil
	}
	if len(rows) < batchFrom {
		err = b.publishEach(ctx, rows)
	} else if err = b.publishBatch(ctx, rows); err != nil && !errors.Is(err, context.Canceled) {
		// A batch that holds one id already stored is refused whole; one by one
		// each such row answers "duplicate", which counts as sent.
		b.log.Debug("atomic batch refused, publishing one by one", zap.Error(err))
		err = b.publishEach(ctx, rows)
	}
	if err != nil {
		return false, err
	}
	if err := box.MarkSent(ctx, rows); err != nil {
		return false, fmt.Errorf("mark %d outbox rows sent: %w", len(rows), err)
	}
	b.metrics.relayed.Add(float64(len(rows)))
	return len(rows) == relayBatch, nil
}

func (b *Bus) publishEach(ctx context.Context, rows []Outgoing) error {
	for _, r := range rows {
		if err := b.publishOne(ctx, r); err != nil {
			return fmt.Errorf("publish event %s: %w", r.EventID, err)
		}
	}
	return nil
}

func (b *Bus) publishOne(ctx context.Context, r Outgoing) error {
	ctx, cancel := context.WithTimeout(ctx, publishWait)
	defer cancel()
	_, err := b.js.Publish(ctx, r.Subject, r.Body, jetstream.WithMsgID(r.EventID), jetstream.WithExpectStream(Stream))
	return err
}

// publishBatch publishes the rows as one atomic batch: NATS 2.12 headers, for
// which the client library has no helper.
func (b *Bus) publishBatch(ctx context.Context, rows []Outgoing) error {
	id := uuid.NewString()
	for i, r := range rows {
		m := nats.NewMsg(r.Subject)
		m.Data = r.Body
		m.Header.Set(jetstream.MsgIDHeader, r.EventID)
		m.Header.Set("Nats-Batch-Id", id)
		m.Header.Set("Nats-Batch-Sequence", strconv.Itoa(i+1))
		if i < len(rows)-1 {
			if err := b.conn.PublishMsg(m); err != nil {
				return fmt.Errorf("publish to batch: %w", err)
			}
			continue
		}
		m.Header.Set("Nats-Batch-Commit", "1")
		return b.commitBatch(ctx, m)
	}
	return nil
}

func (b *Bus) commitBatch(ctx context.Context, m *nats.Msg) error {
	ctx, cancel := context.WithTimeout(ctx, publishWait)
	defer cancel()
	ack, err := b.js.PublishMsg(ctx, m)
	if err != nil {
		return fmt.Errorf("commit batch: %w", err)
	}
	if ack.Stream != Stream {
		return fmt.Errorf("commit batch: answered by stream %q", ack.Stream)
	}
	return nil
}
