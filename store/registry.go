package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"

	"anling/care"
	"anling/event"
	"anling/store/db"
)

// Registry keeps elders, devices, providers, responders and areas.
type Registry struct{ s *Store }

var _ care.Store = (*Registry)(nil)

// NewRegistry is the store of care.
func NewRegistry(s *Store) *Registry { return &Registry{s} }

// registryTx is a change of the registry; moves counts the keys that were taken from
// records that are not there.
type registryTx struct {
	*Tx
	moves *atomic.Int64
}

var _ care.Tx = registryTx{}

// Change implements care.Store.
func (g *Registry) Change(ctx context.Context, f func(care.Tx) error) error {
	return g.s.Write(ctx, Normal, func(tx *Tx) error { return f(registryTx{tx, &g.s.keyMoves}) })
}

func (t registryTx) IdentOwner(ident string) (care.ElderID, error) {
	id, err := t.Queries.IdentOwner(t.ctx, ident)
	if errors.Is(err, sql.ErrNoRows) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("owner of a key: %w", err)
	}
	return care.ElderID(id), nil
}

// elderKeys brings the key tables from the old record's keys to the new one's.
func (t registryTx) elderKeys(row care.ElderRow, was *care.ElderRow) error {
	id := string(row.Elder.ID)
	if was != nil {
		for _, ident := range was.Idents {
			if !slices.Contains(row.Idents, ident) {
				if err := t.DeleteIdent(t.ctx, ident, id); err != nil {
					return err
				}
			}
		}
		for _, p := range was.Phones {
			if !slices.Contains(row.Phones, p) {
				if err := t.DeleteElderPhone(t.ctx, p.Reversed, id, flag(p.Contact)); err != nil {
					return err
				}
			}
		}
		if o, n := was.Elder, row.Elder; o.Name != n.Name || o.BirthDate != n.BirthDate || o.AreaCode != n.AreaCode {
			if err := t.DeletePerson(t.ctx, db.DeletePersonParams{Name: o.Name, BirthDate: o.BirthDate, AreaCode: string(o.AreaCode), ElderID: id}); err != nil {
				return err
			}
		}
	}
	for _, ident := range row.Idents {
		if err := t.takeIdent(ident, id); err != nil {
			return err
		}
	}
	for _, p := range row.Phones {
		if err := t.InsertElderPhone(t.ctx, p.Reversed, id, flag(p.Contact)); err != nil {
			return err
		}
	}
	e := row.Elder
	if err := t.InsertPerson(t.ctx, db.InsertPersonParams{Name: e.Name, BirthDate: e.BirthDate, AreaCode: string(e.AreaCode), ElderID: id}); err != nil {
		return err
	}
	for _, token := range row.Tokens {
		if err := t.InsertNameToken(t.ctx, token, e.Name); err != nil {
			return err
		}
	}
	return nil
}

// takeIdent takes a unique key, also from an import that was cut off before it
// wrote the record. The key's row is locked first, and only then is looked whether
// its owner is there: so two writers of one person see each other.
func (t registryTx) takeIdent(ident, id string) error {
	owner, err := t.TakeIdent(t.ctx, ident, id)
	if err != nil || owner == id {
		return err
	}
	n, err := t.HasElder(t.ctx, owner)
	if err != nil {
		return err
	}
	if n > 0 {
		return event.ErrConflict // the next run finds the owner and says so
	}
	t.moves.Add(1)
	return t.MoveIdent(t.ctx, ident, id)
}

const deviceColumns = `SELECT d.doc, s.seen_us, s.battery, s.fix, s.levels, s.offline_us FROM device d LEFT JOIN device_sign s ON s.device_id = d.id `

// devices runs a query that begins with deviceColumns.
func devices(ctx context.Context, on db.DBTX, query string, args ...any) ([]care.Device, error) {
	rows, err := on.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, fmt.Errorf("list devices: %w", err)
	}
	defer rows.Close() //nolint:errcheck // rows.Err tells
	var all []care.Device
	for rows.Next() {
		var doc string
		var seen, battery, offline sql.NullInt64
		var fix, levels sql.NullString
		if err := rows.Scan(&doc, &seen, &battery, &fix, &levels, &offline); err != nil {
			return nil, fmt.Errorf("list devices: %w", err)
		}
		d, err := read[care.Device]("device", "", doc, nil)
		if err != nil {
			return nil, err
		}
		if err := withSign(&d, seen.Int64, battery, fix.String, levels.String, offline.Int64); err != nil {
			return nil, err
		}
		all = append(all, d)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("list devices: %w", err)
	}
	return all, nil
}

func withSign(d *care.Device, seen int64, battery sql.NullInt64, fix, levels string, offline int64) error {
	d.LastSeen, d.OfflineSince = at(seen), at(offline)
	if battery.Valid {
		n := int(battery.Int64)
		d.Battery = &n
	}
	if fix != "" {
		f, err := read[care.Fix]("fix of device", string(d.ID), fix, nil)
		if err != nil {
			return err
		}
		d.LastFix = &f
	}
	if levels != "" {
		var err error
		if d.Levels, err = read[[]care.Kind]("levels of device", string(d.ID), levels, nil); err != nil {
			return err
		}
	}
	return nil
}

func oneDevice(id string, all []care.Device, err error) (care.Device, error) {
	if err == nil && len(all) == 0 {
		err = care.NotFound("device", id)
	}
	if err != nil {
		return care.Device{}, err
	}
	return all[0], nil
}

func (t registryTx) Device(id care.DeviceID) (care.Device, error) {
	if _, err := t.LockDevice(t.ctx, string(id)); err != nil && !errors.Is(err, sql.ErrNoRows) {
		return care.Device{}, fmt.Errorf("lock device %s: %w", id, err)
	}
	all, err := devices(t.ctx, t.raw, deviceColumns+"WHERE d.id = $1", string(id))
	return oneDevice(string(id), all, err)
}

func (t registryTx) DeviceByExternal(protocol, external string) (care.Device, error) {
	all, err := devices(t.ctx, t.raw, deviceColumns+"WHERE d.protocol = $1 AND d.external_id = $2", protocol, external)
	return oneDevice(care.MaskExternal(external), all, err)
}

// SaveDevice writes the record; signs of life are TouchDevices' alone.
func (t registryTx) SaveDevice(d care.Device, was int64) error {
	d.Battery, d.LastFix, d.Levels = nil, nil, nil
	d.LastSeen, d.OfflineSince = at(0), at(0)
	if was == 0 {
		n, err := t.InsertDevice(t.ctx, db.InsertDeviceParams{ID: string(d.ID), Protocol: d.Protocol, ExternalID: d.ExternalID, Reversed: backwards(d.ExternalID),
			SimNumber: d.SIMNumber, ElderID: string(d.ElderID), Kind: d.Kind, State: d.State, Class: d.Class, Version: d.Version, Doc: document(d)})
		return conflict(n, err, "device", string(d.ID))
	}
	n, err := t.UpdateDevice(t.ctx, db.UpdateDeviceParams{ID: string(d.ID), Protocol: d.Protocol, ExternalID: d.ExternalID, Reversed: backwards(d.ExternalID),
		SimNumber: d.SIMNumber, ElderID: string(d.ElderID), Kind: d.Kind, State: d.State, Class: d.Class, Version: d.Version, Doc: document(d), Version_2: was})
	return conflict(n, err, "device", string(d.ID))
}

func backwards(s string) string {
	r := []rune(s)
	slices.Reverse(r)
	return string(r)
}

func (t registryTx) Provider(id care.ProviderID) (care.Provider, error) {
	doc, err := t.LockProvider(t.ctx, string(id))
	return read[care.Provider]("provider", string(id), doc, err)
}

func (t registryTx) ProviderByKey(key string) (care.Provider, error) {
	doc, err := t.GetProviderByKey(t.ctx, key)
	return read[care.Provider]("provider", key, doc, err)
}

func (t registryTx) SaveProvider(p care.Provider, was int64) error {
	if was == 0 {
		n, err := t.InsertProvider(t.ctx, db.InsertProviderParams{ID: string(p.ID), ExternalKey: p.ExternalKey, Name: p.Name, State: p.State, Version: p.Version, Doc: document(p)})
		return conflict(n, err, "provider", string(p.ID))
	}
	n, err := t.UpdateProvider(t.ctx, db.UpdateProviderParams{ID: string(p.ID), ExternalKey: p.ExternalKey, Name: p.Name, State: p.State, Version: p.Version, Doc: document(p), Version_2: was})
	return conflict(n, err, "provider", string(p.ID))
}

func (t registryTx) Responder(id care.ResponderID) (care.Responder, error) {
	doc, err := t.LockResponder(t.ctx, string(id))
	return read[care.Responder]("responder", string(id), doc, err)
}

func (t registryTx) ResponderByKey(key string) (care.Responder, error) {
	doc, err := t.GetResponderByKey(t.ctx, key)
	return read[care.Responder]("responder", key, doc, err)
}

func (t registryTx) SaveResponder(p care.Responder, was *care.Responder) error {
	var n int64
	var err error
	if was == nil {
		n, err = t.InsertResponder(t.ctx, db.InsertResponderParams{ID: string(p.ID), ExternalKey: p.ExternalKey, ProviderID: string(p.ProviderID), UserID: string(p.UserID),
			Name: p.Name, Duty: p.Duty, Version: p.Version, Doc: document(p)})
	} else {
		n, err = t.UpdateResponder(t.ctx, db.UpdateResponderParams{ID: string(p.ID), ExternalKey: p.ExternalKey, ProviderID: string(p.ProviderID), UserID: string(p.UserID),
			Name: p.Name, Duty: p.Duty, Version: p.Version, Doc: document(p), Version_2: was.Version})
		for _, phone := range was.Phones {
			if err == nil && !slices.Contains(p.Phones, phone) {
				err = t.DeleteResponderPhone(t.ctx, phone, string(p.ID))
			}
		}
	}
	if err := conflict(n, err, "responder", string(p.ID)); err != nil {
		return err
	}
	for _, phone := range p.Phones {
		if err := t.InsertResponderPhone(t.ctx, phone, string(p.ID)); err != nil {
			return fmt.Errorf("telephone of responder %s: %w", p.ID, err)
		}
	}
	return nil
}

func (t registryTx) SaveAreas(areas []care.Area) error {
	for _, a := range areas {
		if err := t.SaveArea(t.ctx, db.SaveAreaParams{Code: string(a.Code), Level: a.Level, Name: a.Name, Parent: string(a.Parent), Doc: document(a)}); err != nil {
			return fmt.Errorf("save area %s: %w", a.Code, err)
		}
	}
	return nil
}
