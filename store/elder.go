package store

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"anling/care"
	"anling/store/db"
)

// elderBrief is the part of a record that lists show, as care.ElderBrief reads it.
type elderBrief struct {
	Name      string         `json:"name,omitzero"`
	Sex       string         `json:"sex,omitzero"`
	BirthDate string         `json:"birth_date,omitzero"`
	Address   string         `json:"address,omitzero"`
	Phones    []string       `json:"phones,omitzero"`
	Contacts  []care.Contact `json:"contacts,omitzero"`
}

// Documents implements care.Store. What stands in columns is in neither text.
func (g *Registry) Documents(e *care.Elder) care.ElderDocs { return elderDocs(e) }

func elderDocs(e *care.Elder) care.ElderDocs {
	brief := elderBrief{e.Name, e.Sex, e.BirthDate, e.Address, e.Phones, e.Contacts}
	file := *e
	file.ID, file.Status, file.AreaCode, file.UpdatedAt, file.Version = "", "", "", time.Time{}, 0
	file.Name, file.Sex, file.BirthDate, file.Address, file.Phones, file.Contacts = "", "", "", "", nil, nil
	return care.ElderDocs{Brief: document(&brief), File: document(&file)}
}

// elderRow puts a row together, without its keys: they follow from the record.
func elderRow(id care.ElderID, r db.LockElderRow, f db.GetElderFileRow, err error) (care.ElderRow, error) {
	e, err := read[care.Elder]("elder", string(id), f.Doc, err)
	if err != nil {
		return care.ElderRow{}, err
	}
	if err := json.Unmarshal([]byte(r.Brief), &e); err != nil {
		return care.ElderRow{}, fmt.Errorf("read brief of elder %s: %w", id, err)
	}
	e.ID, e.Status, e.AreaCode, e.UpdatedAt, e.Version = id, r.Status, care.AreaCode(r.AreaCode), at(r.UpdatedUs), r.Version
	return care.ElderRow{Elder: e, Sealed: f.Sealed, Digest: r.Digest}, nil
}

func (t registryTx) Elder(id care.ElderID) (care.ElderRow, error) {
	r, err := t.LockElder(t.ctx, string(id))
	var f db.GetElderFileRow
	if err == nil {
		f, err = t.GetElderFile(t.ctx, string(id))
	}
	return elderRow(id, r, f, err)
}

func (t registryTx) SaveElder(row care.ElderRow, was *care.ElderRow) error {
	e, docs := row.Elder, elderDocs(&row.Elder)
	var n int64
	var err error
	if was == nil {
		n, err = t.InsertElder(t.ctx, db.InsertElderParams{ID: string(e.ID), Status: e.Status, AreaCode: string(e.AreaCode), UpdatedUs: us(e.UpdatedAt),
			Version: e.Version, Digest: row.Digest, Brief: docs.Brief})
	} else {
		n, err = t.UpdateElder(t.ctx, db.UpdateElderParams{ID: string(e.ID), Status: e.Status, AreaCode: string(e.AreaCode), UpdatedUs: us(e.UpdatedAt),
			Version: e.Version, Digest: row.Digest, Brief: docs.Brief, Version_2: was.Elder.Version})
	}
	if err := conflict(n, err, "elder", string(e.ID)); err != nil {
		return err
	}
	if err := t.SaveElderFile(t.ctx, string(e.ID), row.Sealed, docs.File); err != nil {
		return fmt.Errorf("file of elder %s: %w", e.ID, err)
	}
	if err := t.elderKeys(row, was); err != nil {
		return fmt.Errorf("keys of elder %s: %w", e.ID, err)
	}
	return nil
}

// ElderRows implements care.Store.
func (g *Registry) ElderRows(ctx context.Context, ids []care.ElderID) ([]care.ElderRow, error) {
	found := make(map[care.ElderID]care.ElderRow, len(ids))
	err := lists(ctx, g, g.s.raw, `SELECT e.id, e.status, e.area_code, e.updated_us, e.version, e.digest, e.brief, f.sealed, f.doc
		FROM elder e JOIN elder_file f ON f.elder_id = e.id WHERE e.id IN (%s)`, ids, elderID,
		func(scan func(...any) error) error {
			var id care.ElderID
			var r db.LockElderRow
			var f db.GetElderFileRow
			if err := scan(&id, &r.Status, &r.AreaCode, &r.UpdatedUs, &r.Version, &r.Digest, &r.Brief, &f.Sealed, &f.Doc); err != nil {
				return err
			}
			row, err := elderRow(id, r, f, nil)
			found[id] = row
			return err
		})
	if err != nil {
		return nil, fmt.Errorf("read elders: %w", err)
	}
	all := make([]care.ElderRow, 0, len(found))
	for _, id := range ids {
		if row, ok := found[id]; ok {
			all = append(all, row)
			delete(found, id)
		}
	}
	return all, nil
}

// ElderBriefs implements care.Store.
func (g *Registry) ElderBriefs(ctx context.Context, ids []care.ElderID) ([]care.ElderBrief, error) {
	all := make([]care.ElderBrief, 0, len(ids))
	err := lists(ctx, g, g.s.raw, "SELECT id, status, area_code, brief FROM elder WHERE id IN (%s)", ids, elderID,
		func(scan func(...any) error) error {
			var id, status, area, brief string
			if err := scan(&id, &status, &area, &brief); err != nil {
				return err
			}
			e, err := read[care.ElderBrief]("elder", id, brief, nil)
			e.ID, e.Status, e.AreaCode = care.ElderID(id), status, care.AreaCode(area)
			all = append(all, e)
			return err
		})
	if err != nil {
		return nil, fmt.Errorf("read elders in brief: %w", err)
	}
	return all, nil
}

func elderID(list []any, id care.ElderID) []any { return append(list, string(id)) }
