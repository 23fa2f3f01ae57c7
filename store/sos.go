package store

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"anling/care"
	"anling/event"
	"anling/sos"
	"anling/store/db"
)

// keepFrames is how many unread frames are kept; the oldest go first.
const keepFrames = 10_000

// SOS keeps what devices show of themselves: signs of life, silence, and frames
// that nobody could read.
type SOS struct{ s *Store }

var _ sos.Store = (*SOS)(nil)

// NewSOS is the store of sos.
func NewSOS(s *Store) *SOS { return &SOS{s} }

// Touch implements sos.Store: one commit, with the fact for each device that is back.
func (k *SOS) Touch(ctx context.Context, touches []sos.Touch) (back []sos.Silent, err error) {
	touches = slices.Clone(touches)
	slices.SortFunc(touches, func(a, b sos.Touch) int { return cmp.Compare(a.DeviceID, b.DeviceID) }) // two writers meet in the same order
	err = k.s.Write(ctx, Normal, func(tx *Tx) error {
		back = nil
		offline, err := offlineOf(tx, touches)
		if err != nil {
			return err
		}
		for _, t := range touches {
			sign := care.DeviceSign{DeviceID: t.DeviceID, At: t.At, Battery: t.Battery, Fix: t.Fix}
			if t.States {
				levels := append([]care.Kind{}, t.Levels...)
				sign.Levels = &levels
			}
			since := offline[t.DeviceID]
			if since.IsZero() || !t.At.After(since) {
				since = time.Time{}
			} else {
				sign.Offline = &time.Time{}
			}
			if err := touch(tx.ctx, tx.raw, sign); err != nil {
				return fmt.Errorf("touch device %s: %w", t.DeviceID, err)
			}
			if since.IsZero() {
				continue
			}
			back = append(back, sos.Silent{DeviceID: t.DeviceID, LastSeen: t.At, OfflineSince: since})
			if err := lifeFact(tx, sos.DeviceOnline, t.DeviceID, t.At, map[string]any{"offline_since": since, "offline_seconds": int64(t.At.Sub(since).Seconds())}); err != nil {
				return err
			}
		}
		return nil
	})
	return back, err
}

// offlineOf finds which of the touched devices are marked offline, and since when.
func offlineOf(tx *Tx, touches []sos.Touch) (map[care.DeviceID]time.Time, error) {
	since := map[care.DeviceID]time.Time{}
	for lot := range slices.Chunk(touches, 500) {
		args := make([]any, len(lot))
		marks := make([]string, len(lot))
		for i, t := range lot {
			args[i], marks[i] = string(t.DeviceID), fmt.Sprintf("$%d", i+1)
		}
		rows, err := tx.raw.QueryContext(tx.ctx, "SELECT device_id, offline_us FROM device_sign WHERE offline_us <> 0 AND device_id IN ("+strings.Join(marks, ",")+")", args...)
		if err != nil {
			return nil, fmt.Errorf("offline devices: %w", err)
		}
		err = eachRow(rows, func() error {
			var id string
			var offline int64
			if err := rows.Scan(&id, &offline); err != nil {
				return err
			}
			since[care.DeviceID(id)] = at(offline)
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("offline devices: %w", err)
		}
	}
	return since, nil
}

func eachRow(rows *sql.Rows, f func() error) error {
	defer rows.Close() //nolint:errcheck // rows.Err tells
	for rows.Next() {
		if err := f(); err != nil {
			return err
		}
	}
	return rows.Err()
}

// lifeFact appends a fact about a device's silence. Its sequence is apart from the
// record's: nobody edits it.
func lifeFact(tx *Tx, kind event.Type, id care.DeviceID, now time.Time, body map[string]any) error {
	agg := "life-" + string(id)
	seq, err := tx.NextCounter(tx.ctx, agg)
	if err != nil {
		return fmt.Errorf("number of a fact about %s: %w", agg, err)
	}
	body["device_id"] = id
	return tx.Append(event.Event{ID: uuid.Must(uuid.NewV7()).String(), Type: kind, V: 1, Agg: "life", AggID: agg, Seq: seq,
		At: now, Actor: "rule:supervision", Body: event.Body(body)})
}

// KeepFrame implements sos.Store.
func (k *SOS) KeepFrame(ctx context.Context, f sos.RawFrame) error {
	err := k.s.Write(ctx, Normal, func(tx *Tx) error {
		pos, err := tx.InsertFrame(tx.ctx, db.InsertFrameParams{Protocol: f.Protocol, ClaimedID: f.ClaimedID, AtUs: us(f.At), Reason: f.Reason, Raw: hex.EncodeToString(f.Raw)})
		if err != nil || pos%100 != 0 {
			return err
		}
		return tx.DropFrames(tx.ctx, pos-keepFrames)
	})
	if err != nil {
		return fmt.Errorf("keep a frame: %w", err)
	}
	return nil
}

// Frames are the unread frames kept, newest first.
func (k *SOS) Frames(ctx context.Context, limit int) ([]sos.RawFrame, error) {
	rows, err := k.s.Read().Frames(ctx, int32(min(limit, keepFrames)))
	if err != nil {
		return nil, fmt.Errorf("unread frames: %w", err)
	}
	all := make([]sos.RawFrame, 0, len(rows))
	for _, r := range rows {
		raw, err := hex.DecodeString(r.Raw)
		if err != nil {
			return nil, fmt.Errorf("unread frame %d: %w", r.Pos, err)
		}
		all = append(all, sos.RawFrame{Protocol: r.Protocol, ClaimedID: r.ClaimedID, At: at(r.AtUs), Reason: r.Reason, Raw: raw})
	}
	return all, nil
}

// silentColumns go through the signs, in SQLite by the order of a CROSS JOIN: they
// are narrow, and a record is read of those only that are silent.
const silentColumns = `SELECT d.doc, s.seen_us, s.battery, s.fix, s.levels, s.offline_us FROM device_sign s CROSS JOIN device d
WHERE d.id = s.device_id AND d.state = 'active' AND s.seen_us > 0 `

// Silent implements sos.Store.
func (k *SOS) Silent(ctx context.Context, before time.Time, after care.DeviceID, limit int) ([]sos.Silent, error) {
	return k.silent(ctx, silentColumns+"AND s.offline_us = 0 AND s.seen_us < $1 AND s.device_id > $2 ORDER BY s.device_id LIMIT $3", us(before), string(after), limit)
}

// Offline implements sos.Store.
func (k *SOS) Offline(ctx context.Context) ([]sos.Silent, error) {
	return k.silent(ctx, silentColumns+"AND s.offline_us <> 0 ORDER BY s.offline_us")
}

func (k *SOS) silent(ctx context.Context, query string, args ...any) ([]sos.Silent, error) {
	all, err := devices(ctx, k.s.raw, query, args...)
	if err != nil {
		return nil, err
	}
	out := make([]sos.Silent, 0, len(all))
	for _, d := range all {
		out = append(out, sos.Silent{DeviceID: d.ID, ElderID: d.ElderID, Protocol: d.Protocol, Class: d.Class, HeartbeatSec: d.HeartbeatSec,
			LastSeen: d.LastSeen, OfflineSince: d.OfflineSince})
	}
	return out, nil
}

// MarkOffline implements sos.Store.
func (k *SOS) MarkOffline(ctx context.Context, lost []sos.Silent) (marked []sos.Silent, err error) {
	err = k.s.Write(ctx, Normal, func(tx *Tx) error {
		marked = nil
		for _, d := range lost {
			n, err := tx.Queries.MarkOffline(tx.ctx, string(d.DeviceID), us(d.OfflineSince), us(d.LastSeen))
			if err != nil {
				return fmt.Errorf("device %s: %w", d.DeviceID, err)
			}
			if n == 0 { // it spoke meanwhile
				continue
			}
			marked = append(marked, d)
			err = lifeFact(tx, sos.DeviceOffline, d.DeviceID, d.OfflineSince, map[string]any{"last_seen": d.LastSeen, "elder_id": d.ElderID})
			if err != nil {
				return err
			}
		}
		return nil
	})
	return marked, err
}

const aliveMeta = "sos_alive"

// Alive implements sos.Store.
func (k *SOS) Alive(ctx context.Context) (time.Time, error) {
	v, err := k.s.Read().GetMeta(ctx, aliveMeta)
	if errors.Is(err, sql.ErrNoRows) {
		return time.Time{}, nil
	}
	if err != nil {
		return time.Time{}, fmt.Errorf("read %s: %w", aliveMeta, err)
	}
	t, err := time.Parse(time.RFC3339Nano, v)
	if err != nil {
		return time.Time{}, fmt.Errorf("read %s: %w", aliveMeta, err)
	}
	return t, nil
}

// SetAlive implements sos.Store.
func (k *SOS) SetAlive(ctx context.Context, now time.Time) error {
	return k.s.Write(ctx, Normal, func(tx *Tx) error { return tx.SetMeta(tx.ctx, aliveMeta, now.UTC().Format(time.RFC3339Nano)) })
}
