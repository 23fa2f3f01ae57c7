package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"anling/care"
	"anling/store/db"
)

// inLists are how many values an IN list holds; shorter lists repeat the last one, so
// that few prepared statements serve them all.
var inLists = []int{1, 4, 20, inList}

const inList = 100

// lists runs query once for each hundred values, or once for fewer; %s in it stands for the places of
// one list.
func lists[T any](ctx context.Context, g *Registry, on db.DBTX, query string, values []T, args func([]any, T) []any, scan func(func(...any) error) error) error {
	if len(values) == 0 {
		return nil
	}
	width := len(args(nil, values[0]))
	list := make([]any, 0, min(len(values), inList)*width)
	for chunk := range slices.Chunk(values, inList) {
		at, _ := slices.BinarySearch(inLists, len(chunk))
		size := inLists[at]
		list = list[:0]
		for i := range size {
			list = args(list, chunk[min(i, len(chunk)-1)])
		}
		rows, err := on.QueryContext(ctx, fmt.Sprintf(query, g.places(size, width)), list...)
		if err != nil {
			return err
		}
		for rows.Next() {
			if err := scan(rows.Scan); err != nil {
				rows.Close() //nolint:errcheck // the scan's error is told
				return err
			}
		}
		if err := rows.Err(); err != nil {
			return err
		}
	}
	return nil
}

var placesCache sync.Map // of few sizes

type placesKey struct {
	n, width int
	numbered bool
}

// places writes n groups of parameters: ($1, $2), ($3, $4) … SQLite gets question
// marks: for a name it searches the list of all of them.
func (g *Registry) places(n, width int) string {
	key := placesKey{n, width, g.s.opts.Engine == Postgres}
	if s, ok := placesCache.Load(key); ok {
		return s.(string)
	}
	var b strings.Builder
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		if width > 1 {
			b.WriteByte('(')
		}
		for j := range width {
			if j > 0 {
				b.WriteByte(',')
			}
			if key.numbered {
				fmt.Fprintf(&b, "$%d", i*width+j+1)
			} else {
				b.WriteByte('?')
			}
		}
		if width > 1 {
			b.WriteByte(')')
		}
	}
	placesCache.Store(key, b.String())
	return b.String()
}

// snapshot is what many look-ups read from: one transaction, so that a commit
// between two of them does not empty the reader's page cache. Few need none.
func (g *Registry) snapshot(ctx context.Context, lookUps int) (on db.DBTX, done func(), err error) {
	if lookUps <= inList {
		return g.s.raw, func() {}, nil
	}
	tx, err := g.s.engine.reader().BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return nil, nil, err
	}
	cache := newStmtCache(tx)
	return cache, func() { _ = errors.Join(cache.close(), tx.Rollback()) }, nil // a read has nothing to undo
}

// FindNames implements care.Store.
func (g *Registry) FindNames(ctx context.Context, low, high string, limit int) ([]care.ElderID, error) {
	ids, err := g.s.read.FindNames(ctx, low, high, int32(limit))
	if err != nil {
		return nil, fmt.Errorf("find names: %w", err)
	}
	all := make([]care.ElderID, len(ids))
	for i, id := range ids {
		all[i] = care.ElderID(id)
	}
	return all, nil
}

// FindPhones implements care.Store.
func (g *Registry) FindPhones(ctx context.Context, low, high string, limit int) ([]care.PhoneRow, error) {
	rows, err := g.s.read.FindPhones(ctx, low, high, int32(limit))
	if err != nil {
		return nil, fmt.Errorf("find telephone numbers: %w", err)
	}
	all := make([]care.PhoneRow, len(rows))
	for i, r := range rows {
		all[i] = care.PhoneRow{Reversed: r.Reversed, ElderID: care.ElderID(r.ElderID), Contact: r.Contact > 0}
	}
	return all, nil
}

// FindIdents implements care.Store.
func (g *Registry) FindIdents(ctx context.Context, idents []string) (map[string]care.IdentOwner, error) {
	found := make(map[string]care.IdentOwner)
	on, done, err := g.snapshot(ctx, len(idents))
	if err != nil {
		return nil, fmt.Errorf("find keys: %w", err)
	}
	defer done()
	err = lists(ctx, g, on, `SELECT i.ident, i.elder_id, COALESCE(e.version, 0), COALESCE(e.digest, '')
		FROM elder_ident i LEFT JOIN elder e ON e.id = i.elder_id WHERE i.ident IN (%s)`, idents,
		func(list []any, s string) []any { return append(list, s) },
		func(scan func(...any) error) error {
			var ident, id string
			var o care.IdentOwner
			err := scan(&ident, &id, &o.Version, &o.Digest)
			o.ElderID = care.ElderID(id)
			found[ident] = o
			return err
		})
	if err != nil {
		return nil, fmt.Errorf("find keys: %w", err)
	}
	return found, nil
}

// FindPersons implements care.Store.
func (g *Registry) FindPersons(ctx context.Context, persons []care.Person) (map[care.Person][]care.ElderID, error) {
	found := make(map[care.Person][]care.ElderID)
	on, done, err := g.snapshot(ctx, len(persons))
	if err != nil {
		return nil, fmt.Errorf("find persons: %w", err)
	}
	defer done()
	err = lists(ctx, g, on, `SELECT p.name, p.birth_date, p.area_code, p.elder_id FROM elder_person p JOIN elder e ON e.id = p.elder_id
		WHERE (p.name, p.birth_date, p.area_code) IN (VALUES %s) ORDER BY p.elder_id`, persons,
		func(list []any, p care.Person) []any { return append(list, p.Name, p.BirthDate, string(p.AreaCode)) },
		func(scan func(...any) error) error {
			var name, birth, area, id string
			err := scan(&name, &birth, &area, &id)
			p := care.Person{Name: name, BirthDate: birth, AreaCode: care.AreaCode(area)}
			found[p] = append(found[p], care.ElderID(id))
			return err
		})
	if err != nil {
		return nil, fmt.Errorf("find persons: %w", err)
	}
	return found, nil
}

// CountElders implements care.Store.
func (g *Registry) CountElders(ctx context.Context) (int64, error) {
	n, err := g.s.read.CountElders(ctx)
	if err != nil {
		return 0, fmt.Errorf("count elders: %w", err)
	}
	return n, nil
}

// NoElders implements care.Store. Every elder has a key, and holds it first.
func (g *Registry) NoElders(ctx context.Context) (bool, error) {
	n, err := g.s.read.CountAnyIdent(ctx)
	if err != nil {
		return false, fmt.Errorf("look for elders: %w", err)
	}
	return n == 0, nil
}

// Device implements care.Store.
func (g *Registry) Device(ctx context.Context, id care.DeviceID) (care.Device, error) {
	all, err := devices(ctx, g.s.raw, deviceColumns+"WHERE d.id = $1", string(id))
	return oneDevice(string(id), all, err)
}

// DeviceByExternal implements care.Store.
func (g *Registry) DeviceByExternal(ctx context.Context, protocol, external string) (care.Device, error) {
	all, err := devices(ctx, g.s.raw, deviceColumns+"WHERE d.protocol = $1 AND d.external_id = $2", protocol, external)
	return oneDevice(care.MaskExternal(external), all, err)
}

// Devices implements care.Store.
func (g *Registry) Devices(ctx context.Context, f care.DeviceFilter) ([]care.Device, error) {
	if f.Limit <= 0 {
		f.Limit = 1000
	}
	var where []string
	var args []any
	add := func(condition string, values ...any) {
		for _, v := range values {
			args = append(args, v)
			condition = strings.Replace(condition, "?", fmt.Sprintf("$%d", len(args)), 1)
		}
		where = append(where, condition)
	}
	if f.ElderID != "" {
		add("d.elder_id = ? AND d.elder_id <> ''", string(f.ElderID))
	}
	if f.SIMNumber != "" {
		add("d.sim_number = ? AND d.sim_number <> ''", f.SIMNumber)
	}
	if f.Protocol != "" {
		add("d.protocol = ?", f.Protocol)
	}
	if f.After != "" {
		add("d.id > ?", string(f.After))
	}
	if !f.SeenBefore.IsZero() {
		add("(s.seen_us IS NULL OR s.seen_us < ?)", us(f.SeenBefore))
	}
	if f.Offline {
		add("s.offline_us > 0")
	}
	if f.Query == "" {
		return g.listDevices(ctx, where, args, "d.id", f.Limit)
	}
	// Two range scans instead of an OR, which neither index would serve; each in the
	// order of its index, so that it ends at the limit.
	heads, err := g.listDevices(ctx, append(slices.Clone(where), fmt.Sprintf("d.external_id >= $%d AND d.external_id < $%d", len(args)+1, len(args)+2)),
		append(slices.Clone(args), f.Query, above(f.Query)), "d.external_id", f.Limit)
	if err != nil || len(heads) >= f.Limit {
		return heads, err
	}
	q := backwards(f.Query)
	tails, err := g.listDevices(ctx, append(where, fmt.Sprintf("d.reversed >= $%d AND d.reversed < $%d", len(args)+1, len(args)+2)),
		append(args, q, above(q)), "d.reversed", f.Limit)
	if err != nil {
		return nil, err
	}
	for _, d := range tails {
		if len(heads) < f.Limit && !slices.ContainsFunc(heads, func(h care.Device) bool { return h.ID == d.ID }) {
			heads = append(heads, d)
		}
	}
	return heads, nil
}

func (g *Registry) listDevices(ctx context.Context, where []string, args []any, order string, limit int) ([]care.Device, error) {
	query := deviceColumns
	if len(where) > 0 {
		query += "WHERE " + strings.Join(where, " AND ")
	}
	query += fmt.Sprintf(" ORDER BY %s LIMIT $%d", order, len(args)+1)
	return devices(ctx, g.s.raw, query, append(args, limit)...)
}

// above is the end of the range of texts that begin with s; it holds on both engines.
func above(s string) string { return s + "\U0010FFFF" }

// Provider implements care.Store.
func (g *Registry) Provider(ctx context.Context, id care.ProviderID) (care.Provider, error) {
	doc, err := g.s.read.GetProvider(ctx, string(id))
	return read[care.Provider]("provider", string(id), doc, err)
}

func itself(s string) string { return s }

// Providers implements care.Store.
func (g *Registry) Providers(ctx context.Context) ([]care.Provider, error) {
	docs, err := g.s.read.ListProviders(ctx)
	return readAll[care.Provider]("providers", docs, err, itself)
}

// Responder implements care.Store.
func (g *Registry) Responder(ctx context.Context, id care.ResponderID) (care.Responder, error) {
	doc, err := g.s.read.GetResponder(ctx, string(id))
	return read[care.Responder]("responder", string(id), doc, err)
}

// Responders implements care.Store.
func (g *Registry) Responders(ctx context.Context) ([]care.Responder, error) {
	docs, err := g.s.read.ListResponders(ctx)
	return readAll[care.Responder]("responders", docs, err, itself)
}

// ResponderByUser implements care.Store.
func (g *Registry) ResponderByUser(ctx context.Context, id care.UserID) (care.Responder, error) {
	doc, err := g.s.read.GetResponderByUser(ctx, string(id))
	return read[care.Responder]("responder of user", string(id), doc, err)
}

// RespondersByPhone implements care.Store.
func (g *Registry) RespondersByPhone(ctx context.Context, e164 string) ([]care.Responder, error) {
	docs, err := g.s.read.RespondersByPhone(ctx, e164)
	return readAll[care.Responder]("responders", docs, err, itself)
}

// Areas implements care.Store.
func (g *Registry) Areas(ctx context.Context) ([]care.Area, error) {
	docs, err := g.s.read.ListAreas(ctx)
	return readAll[care.Area]("areas", docs, err, itself)
}

// KeyCheck implements care.Store.
func (g *Registry) KeyCheck(ctx context.Context, check string) (string, error) {
	const name = "registry_key"
	var kept string
	err := g.s.Write(ctx, Normal, func(tx *Tx) error {
		if err := tx.KeepMeta(tx.ctx, name, check); err != nil {
			return err
		}
		var err error
		kept, err = tx.GetMeta(tx.ctx, name)
		return err
	})
	if err != nil {
		return "", fmt.Errorf("check of the registry's key: %w", err)
	}
	return kept, nil
}
