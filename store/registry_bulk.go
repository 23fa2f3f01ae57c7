package store

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"anling/care"
	"anling/event"
	"anling/store/db"
)

const (
	loadRows  = 500 // elders in one commit of a bulk load: alarms wait a few milliseconds at most
	loadKeys  = 1500
	touchRows = 200
)

// groups of rows in one statement: the fixed sizes keep the prepared statements few.
var groups = []int{100, 10, 1}

// insert adds rows with statements of many rows each. Insert is the text up to
// VALUES, tail what follows.
func insert[T any](tx *Tx, into string, width int, tail string, rows []T, args func(T) []any) (added int64, err error) {
	for _, size := range groups {
		var query string
		for len(rows) >= size {
			if query == "" {
				query = into + " VALUES " + places(size, width) + tail
			}
			list := make([]any, 0, size*width)
			for _, r := range rows[:size] {
				list = append(list, args(r)...)
			}
			res, err := tx.raw.ExecContext(tx.ctx, query, list...)
			if err != nil {
				return added, err
			}
			n, err := res.RowsAffected()
			if err != nil {
				return added, err
			}
			added += n
			rows = rows[size:]
		}
	}
	return added, nil
}

// chunks writes rows in commits of n.
func chunks[T any](ctx context.Context, s *Store, n int, rows []T, f func(tx *Tx, rows []T) error) error {
	for chunk := range slices.Chunk(rows, n) {
		if err := s.Write(ctx, Normal, func(tx *Tx) error { return f(tx, chunk) }); err != nil {
			return err
		}
	}
	return nil
}

const keep = " ON CONFLICT DO NOTHING"

// LoadElders implements care.Store. The keys are written before the records, each
// kind in its own order: sorted keys touch few pages, so a commit stays small
// however large the registry is. A key without its record is found by nobody; when
// a load is cut off, the next one takes up the ids that the keys reserve.
func (g *Registry) LoadElders(ctx context.Context, rows []care.ElderRow, note *event.Event) ([]care.ElderID, error) {
	if err := g.LoadKeys(ctx, rows); err != nil {
		return nil, fmt.Errorf("load keys of elders: %w", err)
	}
	var refused []care.ElderID
	for chunk := range slices.Chunk(rows, loadRows) {
		docs := make([]string, len(chunk)) // made here: the writer's time is everybody's
		for i, r := range chunk {
			docs[i] = document(r.Elder)
		}
		fact := *note
		var out []care.ElderID
		doubted := false
		err := g.s.Write(ctx, Normal, func(tx *Tx) error {
			var err error
			if out, err = g.loadChunk(tx, chunk, docs, doubted); err != nil || len(out) == len(chunk) {
				doubted = errors.Is(err, errThere)
				return err
			}
			fact.ID, fact.Seq = care.NewID[string](), note.Seq+1
			fact.Body = event.Body(map[string]any{"elders": len(chunk) - len(out), "first": chunk[0].Elder.ID, "last": chunk[len(chunk)-1].Elder.ID})
			return tx.Append(fact)
		})
		if err != nil {
			return refused, fmt.Errorf("load elders: %w", err)
		}
		note.Seq = max(note.Seq, fact.Seq)
		refused = append(refused, out...)
	}
	return refused, nil
}

// LoadKeys is the first half of LoadElders: it reserves the ids of the rows.
func (g *Registry) LoadKeys(ctx context.Context, rows []care.ElderRow) error {
	var idents []identRow
	var phones []care.PhoneRow
	var tokens []tokenRow
	spelled := map[string]bool{}
	for _, r := range rows {
		for _, ident := range r.Idents {
			idents = append(idents, identRow{ident, string(r.Elder.ID)})
		}
		phones = append(phones, r.Phones...)
		if !spelled[r.Elder.Name] {
			spelled[r.Elder.Name] = true
			for _, t := range r.Tokens {
				tokens = append(tokens, tokenRow{t, r.Elder.Name})
			}
		}
	}
	slices.SortFunc(idents, func(a, b identRow) int { return cmp.Compare(a.ident, b.ident) })
	err := chunks(ctx, g.s, loadKeys, idents, func(tx *Tx, rows []identRow) error {
		_, err := insert(tx, "INSERT INTO elder_ident (ident, elder_id)", 2, keep, rows, func(r identRow) []any { return []any{r.ident, r.id} })
		return err
	})
	if err != nil {
		return err
	}
	slices.SortFunc(phones, func(a, b care.PhoneRow) int { return cmp.Compare(a.Reversed, b.Reversed) })
	err = chunks(ctx, g.s, loadKeys, phones, func(tx *Tx, rows []care.PhoneRow) error {
		_, err := insert(tx, "INSERT INTO elder_phone (reversed, elder_id, contact_id)", 3, keep, rows,
			func(r care.PhoneRow) []any { return []any{r.Reversed, string(r.ElderID), string(r.ContactID)} })
		return err
	})
	if err != nil {
		return err
	}
	slices.SortFunc(tokens, func(a, b tokenRow) int { return cmp.Or(cmp.Compare(a.token, b.token), cmp.Compare(a.name, b.name)) })
	err = chunks(ctx, g.s, loadKeys, tokens, func(tx *Tx, rows []tokenRow) error {
		_, err := insert(tx, "INSERT INTO name_token (token, name)", 2, keep, rows, func(r tokenRow) []any { return []any{r.token, r.name} })
		return err
	})
	if err != nil {
		return err
	}
	persons := make([]care.Elder, len(rows))
	for i, r := range rows {
		persons[i] = care.Elder{ID: r.Elder.ID, Name: r.Elder.Name, BirthDate: r.Elder.BirthDate, AreaCode: r.Elder.AreaCode}
	}
	slices.SortFunc(persons, func(a, b care.Elder) int { return cmp.Compare(a.Name, b.Name) })
	return chunks(ctx, g.s, loadKeys, persons, func(tx *Tx, rows []care.Elder) error {
		_, err := insert(tx, "INSERT INTO elder_person (name, birth_date, area_code, elder_id)", 4, keep, rows,
			func(e care.Elder) []any { return []any{e.Name, e.BirthDate, string(e.AreaCode), string(e.ID)} })
		return err
	})
}

type identRow struct{ ident, id string }

type tokenRow struct{ token, name string }

// errThere says that some of the records are there already: another import took up
// the same reserved ids. The change runs again and looks which.
var errThere = fmt.Errorf("records are there already: %w", event.ErrConflict)

// loadChunk adds the records whose keys are still theirs and tells the others.
// Doubted, it looks first which records are there.
func (g *Registry) loadChunk(tx *Tx, rows []care.ElderRow, docs []string, doubted bool) (refused []care.ElderID, err error) {
	owner, there := map[string]string{}, map[string]bool{}
	var wanted []string
	for _, r := range rows {
		wanted = append(wanted, r.Idents...)
	}
	query := "SELECT ident, elder_id FROM elder_ident WHERE ident IN (%s)"
	if g.s.opts.Engine == Postgres {
		query += " FOR UPDATE" // SQLite has one writer anyway
	}
	err = lists(tx.ctx, tx.raw, query, wanted, func(s string) []any { return []any{s} },
		func(scan func(...any) error) error {
			var ident, id string
			err := scan(&ident, &id)
			owner[ident] = id
			return err
		})
	if err != nil {
		return nil, err
	}
	if doubted {
		err := lists(tx.ctx, tx.raw, "SELECT id FROM elder WHERE id IN (%s)", rows, func(r care.ElderRow) []any { return []any{string(r.Elder.ID)} },
			func(scan func(...any) error) error {
				var id string
				err := scan(&id)
				there[id] = true
				return err
			})
		if err != nil {
			return nil, err
		}
	}
	mine := make([]int, 0, len(rows))
	for i, r := range rows {
		if there[string(r.Elder.ID)] || slices.ContainsFunc(r.Idents, func(s string) bool { return owner[s] != string(r.Elder.ID) }) {
			refused = append(refused, r.Elder.ID)
		} else {
			mine = append(mine, i)
		}
	}
	n, err := insert(tx, "INSERT INTO elder (id, status, area_code, updated_us, version, digest, sealed, doc)", 8, keep, mine, func(i int) []any {
		r := rows[i]
		e := r.Elder
		return []any{string(e.ID), e.Status, string(e.AreaCode), us(e.UpdatedAt), e.Version, r.Digest, r.Sealed, docs[i]}
	})
	if err == nil && n != int64(len(mine)) {
		err = errThere
	}
	return refused, err
}

// TouchDevices implements care.Store.
func (g *Registry) TouchDevices(ctx context.Context, signs []care.DeviceSign) error {
	merged := mergeSigns(signs)
	err := chunks(ctx, g.s, touchRows, merged, func(tx *Tx, rows []care.DeviceSign) error {
		for _, r := range rows {
			if err := touch(tx.ctx, tx.raw, r); err != nil {
				return fmt.Errorf("device %s: %w", r.DeviceID, err)
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("touch devices: %w", err)
	}
	return nil
}

// mergeSigns makes one sign of each device's several, by device id: two writers
// meet in the same order.
func mergeSigns(signs []care.DeviceSign) []care.DeviceSign {
	byID := map[care.DeviceID]care.DeviceSign{}
	for _, s := range signs {
		old, again := byID[s.DeviceID]
		if !again {
			byID[s.DeviceID] = s
			continue
		}
		if s.At.Before(old.At) {
			s.At = old.At
		}
		if s.Battery == nil {
			s.Battery = old.Battery
		}
		if s.Fix == nil || old.Fix != nil && s.Fix.At.Before(old.Fix.At) {
			s.Fix = old.Fix
		}
		if s.Levels == nil {
			s.Levels = old.Levels
		}
		if s.Offline == nil {
			s.Offline = old.Offline
		}
		byID[s.DeviceID] = s
	}
	all := make([]care.DeviceSign, 0, len(byID))
	for _, s := range byID {
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b care.DeviceSign) int { return cmp.Compare(a.DeviceID, b.DeviceID) })
	return all
}

const touchSQL = `INSERT INTO device_sign (device_id, seen_us, battery, fix, levels, offline_us) VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (device_id) DO UPDATE SET
  seen_us = CASE WHEN excluded.seen_us > device_sign.seen_us THEN excluded.seen_us ELSE device_sign.seen_us END,
  battery = COALESCE(excluded.battery, device_sign.battery)`

// touch writes one sign; which columns are set depends on what it says.
func touch(ctx context.Context, on db.DBTX, s care.DeviceSign) error {
	var battery any
	if s.Battery != nil {
		battery = int64(*s.Battery)
	}
	query, fix, levels, offline := touchSQL, "", "", int64(0)
	var b strings.Builder
	if s.Fix != nil {
		fix = document(s.Fix)
		b.WriteString(", fix = excluded.fix")
	}
	if s.Levels != nil {
		list, err := json.Marshal(append([]care.Kind{}, *s.Levels...))
		if err != nil {
			return err
		}
		levels = string(list)
		b.WriteString(", levels = excluded.levels")
	}
	if s.Offline != nil {
		offline = us(*s.Offline)
		b.WriteString(", offline_us = excluded.offline_us")
	}
	_, err := on.ExecContext(ctx, query+b.String(), string(s.DeviceID), us(s.At), battery, fix, levels, offline)
	return err
}
