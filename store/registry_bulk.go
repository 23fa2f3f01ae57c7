package store

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"anling/care"
	"anling/event"
	"anling/store/db"
)

const (
	loadRows  = 600  // elders in one commit of a bulk load: alarms wait for one of them at most
	loadKeys  = 2500 // their keys in one commit
	keyLoads  = 2    // commits of keys under way: one is made ready while the other is written
	touchRows = 200
)

// groups of rows in one statement: the fixed sizes keep the prepared statements few.
var groups = []int{100, 10, 1}

// insert adds rows of so many values with statements of many rows each. Into is the
// text up to VALUES.
func (g *Registry) insert(tx *Tx, into string, width int, values []any) (added int64, err error) {
	for _, size := range groups {
		if len(values) < size*width {
			continue
		}
		query := into + " VALUES " + g.places(size, width) + " ON CONFLICT DO NOTHING"
		for ; len(values) >= size*width; values = values[size*width:] {
			res, err := tx.raw.ExecContext(tx.ctx, query, values[:size*width]...)
			if err != nil {
				return added, err
			}
			n, err := res.RowsAffected()
			if err != nil {
				return added, err
			}
			added += n
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

// loadSorted inserts rows that are in the order of their key. The values are made
// beside the writer: its time is everybody's.
func loadSorted[T any](ctx context.Context, g *Registry, into string, width int, rows []T, values func([]any, *T) []any) (added int64, err error) {
	var sum atomic.Int64
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(keyLoads)
	for chunk := range slices.Chunk(rows, loadKeys) {
		group.Go(func() error {
			list := make([]any, 0, len(chunk)*width)
			for i := range chunk {
				list = values(list, &chunk[i])
			}
			var n int64
			err := g.s.Write(ctx, Bulk, func(tx *Tx) (err error) {
				n, err = g.insert(tx, into, width, list)
				return err
			})
			sum.Add(n)
			return err
		})
	}
	err = group.Wait()
	return sum.Load(), err
}

// LoadKeys implements care.Store. The keys are written before the records, each
// kind in its own order: sorted keys touch few pages, so a commit stays small
// however large the registry is. A key without its record is found by nobody; when
// a load is cut off, the next one takes up the ids that the keys reserve.
func (g *Registry) LoadKeys(ctx context.Context, rows []*care.NewElder) error {
	if err := g.loadKeys(ctx, rows); err != nil {
		return fmt.Errorf("load keys of elders: %w", err)
	}
	return nil
}

type identRow struct{ ident, id string }

type tokenRow struct{ token, name string }

type personRow struct {
	care.Person
	id string
}

// keyRows are the rows of the key tables for so many new elders.
type keyRows struct {
	idents  []identRow
	phones  []care.PhoneRow
	persons []personRow
	tokens  []tokenRow
}

func keysOf(rows []*care.NewElder) keyRows {
	k := keyRows{idents: make([]identRow, 0, 2*len(rows)), phones: make([]care.PhoneRow, 0, 4*len(rows)), persons: make([]personRow, 0, len(rows))}
	for _, r := range rows {
		for _, ident := range r.Idents {
			k.idents = append(k.idents, identRow{ident, string(r.ID)})
		}
		k.phones = append(k.phones, r.Phones...)
		k.persons = append(k.persons, personRow{r.Person, string(r.ID)})
		for _, t := range r.Tokens {
			k.tokens = append(k.tokens, tokenRow{t, r.Person.Name})
		}
	}
	return k
}

// sortAll sorts each table's rows beside the writer; the channels tell when one is
// ready, in the order of writing.
func (k *keyRows) sortAll() (ready [4]chan struct{}) {
	for i := range ready {
		ready[i] = make(chan struct{})
	}
	go func() {
		slices.SortFunc(k.idents, func(a, b identRow) int { return strings.Compare(a.ident, b.ident) })
		close(ready[0])
		slices.SortFunc(k.phones, func(a, b care.PhoneRow) int { return strings.Compare(a.Reversed, b.Reversed) })
		close(ready[1])
		slices.SortFunc(k.tokens, func(a, b tokenRow) int {
			return cmp.Or(strings.Compare(a.token, b.token), strings.Compare(a.name, b.name))
		})
		k.tokens = slices.Compact(k.tokens)
		close(ready[2])
		slices.SortFunc(k.persons, func(a, b personRow) int {
			return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.BirthDate, b.BirthDate))
		})
		close(ready[3])
	}()
	return ready
}

func (g *Registry) loadKeys(ctx context.Context, rows []*care.NewElder) error {
	k := keysOf(rows)
	ready := k.sortAll()
	moves := g.s.keyMoves.Load()
	<-ready[0]
	added, err := loadSorted(ctx, g, "INSERT INTO elder_ident (ident, elder_id)", 2, k.idents,
		func(list []any, r *identRow) []any { return append(list, r.ident, r.id) })
	if err != nil {
		return err
	}
	if g.s.opts.Engine == SQLite && int(added) == len(k.idents) {
		for _, r := range rows {
			r.Held = moves + 1
		}
	}
	<-ready[1]
	_, err = loadSorted(ctx, g, "INSERT INTO elder_phone (reversed, elder_id, contact)", 3, k.phones,
		func(list []any, r *care.PhoneRow) []any {
			return append(list, r.Reversed, string(r.ElderID), flag(r.Contact))
		})
	if err != nil {
		return err
	}
	<-ready[2]
	_, err = loadSorted(ctx, g, "INSERT INTO name_token (token, name)", 2, k.tokens,
		func(list []any, r *tokenRow) []any { return append(list, r.token, r.name) })
	if err != nil {
		return err
	}
	<-ready[3]
	_, err = loadSorted(ctx, g, "INSERT INTO elder_person (name, birth_date, area_code, elder_id)", 4, k.persons,
		func(list []any, r *personRow) []any {
			return append(list, r.Name, r.BirthDate, string(r.AreaCode), r.id)
		})
	return err
}

const (
	insertElder  = "INSERT INTO elder (id, status, area_code, updated_us, version, digest, brief)"
	elderColumns = 7
	insertFile   = "INSERT INTO elder_file (elder_id, sealed, doc)"
	fileColumns  = 3
)

// recordValues are the rows of the two tables of records.
type recordValues struct{ elders, files []any }

func recordsOf(rows []*care.NewElder) recordValues {
	v := recordValues{make([]any, 0, len(rows)*elderColumns), make([]any, 0, len(rows)*fileColumns)}
	for _, r := range rows {
		v.elders = append(v.elders, string(r.ID), r.Status, string(r.Person.AreaCode), us(r.UpdatedAt), int64(1), r.Digest, r.Docs.Brief)
		v.files = append(v.files, string(r.ID), r.Sealed, r.Docs.File)
	}
	return v
}

// LoadElders implements care.Store.
func (g *Registry) LoadElders(ctx context.Context, rows []*care.NewElder, note *event.Event) ([]care.ElderID, error) {
	group, ctx := errgroup.WithContext(ctx)
	ready := make(chan recordValues, 1) // the next chunk's values, made while this one is written
	group.Go(func() error {
		defer close(ready)
		for chunk := range slices.Chunk(rows, loadRows) {
			select {
			case ready <- recordsOf(chunk):
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return nil
	})
	var refused []care.ElderID
	group.Go(func() error {
		for chunk := range slices.Chunk(rows, loadRows) {
			values, ok := <-ready
			if !ok {
				return ctx.Err()
			}
			out, err := g.loadChunk(ctx, chunk, values, note)
			if err != nil {
				return fmt.Errorf("load elders: %w", err)
			}
			refused = append(refused, out...)
		}
		return nil
	})
	return refused, group.Wait()
}

// loadChunk is one commit of records, with its fact.
func (g *Registry) loadChunk(ctx context.Context, rows []*care.NewElder, values recordValues, note *event.Event) (refused []care.ElderID, err error) {
	fact := *note
	doubted := false
	err = g.s.Write(ctx, Bulk, func(tx *Tx) error {
		var err error
		if refused, err = g.putChunk(tx, rows, values, doubted); err != nil || len(refused) == len(rows) {
			doubted = errors.Is(err, errThere)
			return err
		}
		fact.ID, fact.Seq = care.NewID[string](), note.Seq+1
		fact.Body = event.Body(map[string]any{"elders": len(rows) - len(refused), "first": rows[0].ID, "last": rows[len(rows)-1].ID})
		return tx.Append(fact)
	})
	if err == nil {
		note.Seq = max(note.Seq, fact.Seq)
	}
	return refused, err
}

// errThere says that some of the records are there already: another import took up
// the same reserved ids. The change runs again and looks which.
var errThere = fmt.Errorf("records are there already: %w", event.ErrConflict)

// putChunk adds the records whose keys are still theirs and tells the others.
// Doubted, it looks first which records are there.
func (g *Registry) putChunk(tx *Tx, rows []*care.NewElder, values recordValues, doubted bool) (refused []care.ElderID, err error) {
	// All keys were new when they were written, and the one writer has taken none of
	// a record that is not there since then.
	if held := g.s.keyMoves.Load() + 1; !doubted && !slices.ContainsFunc(rows, func(r *care.NewElder) bool { return r.Held != held }) {
		return nil, g.insertElders(tx, values)
	}
	owner, there := make(map[string]string, 2*len(rows)), map[string]bool{}
	wanted := make([]string, 0, 2*len(rows))
	for _, r := range rows {
		wanted = append(wanted, r.Idents...)
	}
	query := "SELECT ident, elder_id FROM elder_ident WHERE ident IN (%s)"
	if g.s.opts.Engine == Postgres {
		query += " FOR UPDATE" // SQLite has one writer anyway
	}
	err = lists(tx.ctx, g, tx.raw, query, wanted, func(list []any, s string) []any { return append(list, s) },
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
		err := lists(tx.ctx, g, tx.raw, "SELECT id FROM elder WHERE id IN (%s)", rows,
			func(list []any, r *care.NewElder) []any { return append(list, string(r.ID)) },
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
	var mine []*care.NewElder
	for _, r := range rows {
		if there[string(r.ID)] || slices.ContainsFunc(r.Idents, func(s string) bool { return owner[s] != string(r.ID) }) {
			refused = append(refused, r.ID)
		} else {
			mine = append(mine, r)
		}
	}
	if len(refused) > 0 {
		values = recordsOf(mine)
	}
	return refused, g.insertElders(tx, values)
}

func (g *Registry) insertElders(tx *Tx, values recordValues) error {
	n, err := g.insert(tx, insertElder, elderColumns, values.elders)
	if err == nil && int(n)*elderColumns != len(values.elders) {
		err = errThere
	}
	if err != nil {
		return err
	}
	_, err = g.insert(tx, insertFile, fileColumns, values.files)
	return err
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
