package care

import (
	"cmp"
	"context"
	"errors"
	"slices"
)

// MatchPhone tells whose a number may be: a device's SIM first, then elders,
// contacts, responders. A landline may belong to a couple.
func (r *Registry) MatchPhone(ctx context.Context, e164 string) ([]PhoneMatch, error) {
	var all []PhoneMatch
	devices, err := r.store.Devices(ctx, DeviceFilter{SIMNumber: e164, Limit: 10})
	if err != nil {
		return nil, err
	}
	rev := reversed(e164)
	rows, err := r.store.FindPhones(ctx, rev, rev+" ", 50) // no digit is below a space
	if err != nil {
		return nil, err
	}
	ids := make([]ElderID, 0, len(devices)+len(rows))
	for _, d := range devices {
		ids = append(ids, d.ElderID)
	}
	for _, p := range rows {
		ids = append(ids, p.ElderID)
	}
	elders, err := r.byID(ctx, ids)
	if err != nil {
		return nil, err
	}
	for _, d := range devices {
		if d.State != "returned" {
			all = append(all, PhoneMatch{Kind: "device", DeviceID: d.ID, ElderID: d.ElderID, Name: elders[d.ElderID].Name})
		}
	}
	// Whose telephone it is comes before whose contact's.
	slices.SortStableFunc(rows, func(a, b PhoneRow) int { return cmp.Compare(weight(a.Contact), weight(b.Contact)) })
	for _, p := range rows {
		if e, found := elders[p.ElderID]; found {
			all = append(all, matchesOf(e, p, e164)...)
		}
	}
	responders, err := r.store.RespondersByPhone(ctx, e164)
	if err != nil {
		return nil, err
	}
	for _, p := range responders {
		all = append(all, PhoneMatch{Kind: "responder", Name: p.Name, Relation: p.Kind})
	}
	return all, nil
}

// matchesOf are the persons of a record whose number it is: the elder, or contacts; a
// couple of children may share a line.
func matchesOf(e ElderBrief, p PhoneRow, e164 string) []PhoneMatch {
	if !p.Contact {
		return []PhoneMatch{{Kind: "elder", ElderID: e.ID, Name: e.Name}}
	}
	var all []PhoneMatch
	for _, c := range e.Contacts {
		if slices.Contains(c.Phones, e164) {
			all = append(all, PhoneMatch{Kind: "contact", ElderID: e.ID, Name: c.Name, Relation: c.Relation})
		}
	}
	return all
}

// byID reads what a list shows of elders.
func (r *Registry) byID(ctx context.Context, ids []ElderID) (map[ElderID]ElderBrief, error) {
	slices.Sort(ids)
	ids = slices.DeleteFunc(slices.Compact(ids), func(id ElderID) bool { return id == "" })
	if len(ids) == 0 {
		return nil, nil
	}
	rows, err := r.store.ElderBriefs(ctx, ids)
	if err != nil {
		return nil, err
	}
	all := make(map[ElderID]ElderBrief, len(rows))
	for _, e := range rows {
		all[e.ID] = e
	}
	return all, nil
}

// NumbersOf are the numbers to be rung for an elder, in order: the device's own,
// at home, mobile.
func (r *Registry) NumbersOf(ctx context.Context, id ElderID, device DeviceID) ([]string, error) {
	var numbers []string
	if device != "" {
		d, err := r.store.Device(ctx, device)
		if err != nil && !errors.Is(err, ErrNotFound) {
			return nil, err
		}
		if d.SIMNumber != "" {
			numbers = append(numbers, d.SIMNumber)
		}
	}
	if id == "" {
		return numbers, nil
	}
	elders, err := r.byID(ctx, []ElderID{id})
	if err != nil {
		return numbers, err
	}
	own := slices.Clone(elders[id].Phones)
	slices.SortStableFunc(own, func(a, b string) int {
		return cmp.Compare(weight(isMobile(a)), weight(isMobile(b)))
	})
	for _, n := range own {
		if !slices.Contains(numbers, n) {
			numbers = append(numbers, n)
		}
	}
	return numbers, nil
}

func weight(b bool) int {
	if b {
		return 1
	}
	return 0
}
