package care

import (
	"context"
	"slices"
)

// lookUp finds who of the rows may be here already.
func (im *elderImport) lookUp(ctx context.Context, lot []*draft) (map[string]IdentOwner, map[Person][]ElderRow, error) {
	if im.first {
		return nil, nil, nil
	}
	var idents []string
	for _, d := range lot {
		idents = append(idents, d.row.Idents...)
	}
	slices.Sort(idents)
	owners, err := im.r.store.FindIdents(ctx, idents)
	if err != nil {
		return nil, nil, err
	}
	persons, err := im.findPersons(ctx, lot, owners)
	return owners, persons, err
}

// owner is whose record a row is: by its unique keys, else by name, birth and area.
func (im *elderImport) owner(d *draft, owners map[string]IdentOwner, persons map[Person][]ElderRow) (IdentOwner, error) {
	var found IdentOwner
	for _, ident := range d.row.Idents {
		o, ok := owners[ident]
		switch {
		case !ok:
		case found.ElderID == "" || found.Version == 0 && o.Version > 0:
			found = o
		case o.ElderID != found.ElderID && o.Version > 0 && found.Version > 0:
			return found, Invalid(identField(ident), "the %s belongs to another record than the %s", identName(ident), identName(d.row.Idents[0]))
		}
	}
	if found.Version > 0 || len(persons) == 0 || d.row.Elder.BirthDate == "" {
		return found, nil
	}
	var same []ElderRow
	for _, row := range persons[personOf(&d.row.Elder)] {
		// Two numbers, or two keys, are two people of one name.
		if (d.row.Elder.IDNumber == "" || row.Elder.IDNumber == "") && (d.row.Elder.ExternalKey == "" || row.Elder.ExternalKey == "" || row.Elder.Source != d.row.Elder.Source) {
			same = append(same, row)
		}
	}
	switch len(same) {
	case 0:
		return found, nil
	case 1:
		return IdentOwner{ElderID: same[0].Elder.ID, Version: same[0].Elder.Version, Digest: same[0].Digest}, nil
	}
	return found, Invalid("name", "%d records have this name, birth date and area; give an ID number or a key", len(same))
}

func personOf(e *Elder) Person {
	return Person{Name: e.Name, BirthDate: e.BirthDate, AreaCode: e.AreaCode}
}

// findPersons reads the records that might be a row's by name, birth and area.
func (im *elderImport) findPersons(ctx context.Context, lot []*draft, owners map[string]IdentOwner) (map[Person][]ElderRow, error) {
	var wanted []Person
	for _, d := range lot {
		known := slices.ContainsFunc(d.row.Idents, func(s string) bool { return owners[s].Version > 0 })
		if !known && d.row.Elder.BirthDate != "" {
			wanted = append(wanted, personOf(&d.row.Elder))
		}
	}
	ids, err := im.r.store.FindPersons(ctx, wanted)
	if err != nil || len(ids) == 0 {
		return nil, err
	}
	found := make(map[Person][]ElderRow, len(ids))
	for p, list := range ids {
		rows, err := im.r.store.ElderRows(ctx, list)
		if err != nil {
			return nil, err
		}
		for _, row := range rows {
			if row.Elder, err = im.r.unseal(row); err != nil {
				return nil, err
			}
			found[p] = append(found[p], row)
		}
	}
	return found, nil
}
