package care

import (
	"context"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// ElderHit is one line of a search: enough to choose, and why it was found.
type ElderHit struct {
	ID        ElderID  `json:"id"`
	Name      string   `json:"name"`
	Sex       string   `json:"sex,omitempty"`
	Age       *int     `json:"age,omitempty"`
	BirthDate string   `json:"birth_date,omitempty"`
	Status    string   `json:"status"`
	AreaCode  AreaCode `json:"area_code,omitempty"`
	Address   string   `json:"address,omitempty"`
	Phones    []string `json:"phones,omitempty"`
	Matched   string   `json:"matched"` // phone, contact, name, device, id_number, card, key
	Contact   string   `json:"contact,omitempty"`
	DeviceID  DeviceID `json:"device_id,omitempty"`
}

// Masked is the hit as sight allows.
func (h ElderHit) Masked(s Sight) ElderHit {
	h.Phones = maskPhones(h.Phones)
	if s != SightDesk {
		h.Name, h.Contact, h.BirthDate, h.Address, h.AreaCode = MaskName(h.Name), MaskName(h.Contact), "", "", maskArea(h.AreaCode)
	}
	return h
}

const maxHits = 100

// found gathers ids in the order of their worth.
type found struct {
	limit int
	hits  []ElderHit
}

func (f *found) full() bool { return len(f.hits) >= f.limit }

func (f *found) add(h ElderHit) {
	if h.ID != "" && !f.full() && !slices.ContainsFunc(f.hits, func(o ElderHit) bool { return o.ID == h.ID }) {
		f.hits = append(f.hits, h)
	}
}

// Search finds elders by telephone number (whole or its last digits, a contact's
// too), name or part of it, pinyin, initials, device id, ID number, card or key.
func (r *Registry) Search(ctx context.Context, q string, limit int) ([]ElderHit, error) {
	started := time.Now()
	q = strings.TrimSpace(fold(strings.ToValidUTF8(q, "")))
	if q == "" {
		return nil, Invalid("q", "is empty")
	}
	if utf8.RuneCountInString(q) > 64 {
		return nil, Invalid("q", "is longer than 64 characters")
	}
	if limit <= 0 {
		limit = 20
	}
	f := &found{limit: min(limit, maxHits)}
	by, err := r.search(ctx, q, f)
	if err != nil {
		return nil, err
	}
	err = r.describe(ctx, f)
	r.metrics.search.WithLabelValues(by).Observe(time.Since(started).Seconds())
	return f.hits, err
}

func (r *Registry) search(ctx context.Context, q string, f *found) (by string, err error) {
	number := strings.TrimPrefix(strings.Map(dropSeparator, q), "+")
	switch {
	case digits(number):
		return "number", r.byNumber(ctx, q, number, f)
	case looksLikeID(number):
		return "id", r.byIdents(ctx, number, f)
	}
	low := strings.ToLower(strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) || r == '\'' {
			return -1
		}
		return r
	}, q))
	if err := r.byName(ctx, low, f); err != nil || f.full() {
		return "name", err
	}
	if utf8.RuneCountInString(low) == len(low) && len(low) >= 4 { // no Han: may be an id of letters
		if err := r.byIdents(ctx, q, f); err != nil {
			return "name", err
		}
		return "name", r.byDevice(ctx, q, f)
	}
	return "name", nil
}

func looksLikeID(s string) bool {
	return len(s) == 18 && digits(s[:17]) && (s[17] == 'x' || s[17] == 'X')
}

func (r *Registry) byNumber(ctx context.Context, raw, number string, f *found) error {
	if len(number) == 15 || len(number) == 18 {
		if err := r.byIdents(ctx, number, f); err != nil {
			return err
		}
	}
	if p, err := ParsePhone(raw, r.o.PhoneAreaCode); err == nil && p.Kind != ShortNumber {
		rev := reversed(p.Number)
		if err := r.byPhones(ctx, rev, rev+" ", f); err != nil {
			return err
		}
		devices, err := r.store.Devices(ctx, DeviceFilter{SIMNumber: p.Number, Limit: f.limit})
		if err != nil {
			return err
		}
		for _, d := range devices {
			f.add(ElderHit{ID: d.ElderID, Matched: "device", DeviceID: d.ID})
		}
	}
	if n := len(number); n >= 4 && n <= 13 && !f.full() {
		rev := reversed(number)
		if err := r.byPhones(ctx, rev, rev+"\U0010FFFF", f); err != nil {
			return err
		}
	}
	if f.full() {
		return nil
	}
	if err := r.byDevice(ctx, number, f); err != nil || f.full() {
		return err
	}
	return r.byIdents(ctx, raw, f)
}

func (r *Registry) byPhones(ctx context.Context, low, high string, f *found) error {
	rows, err := r.store.FindPhones(ctx, low, high, f.limit)
	if err != nil {
		return err
	}
	for _, p := range rows {
		if !p.Contact {
			f.add(ElderHit{ID: p.ElderID, Matched: "phone"})
		}
	}
	for _, p := range rows {
		if p.Contact {
			f.add(ElderHit{ID: p.ElderID, Matched: "contact", Contact: p.Reversed})
		}
	}
	return nil
}

func (r *Registry) byName(ctx context.Context, q string, f *found) error {
	// One elder can be found by several tokens of the name.
	ids, err := r.store.FindNames(ctx, q, q+"\U0010FFFF", 3*f.limit)
	if err != nil {
		return err
	}
	for _, id := range ids {
		f.add(ElderHit{ID: id, Matched: "name"})
	}
	return nil
}

func (r *Registry) byDevice(ctx context.Context, q string, f *found) error {
	if len(q) < 4 {
		return nil
	}
	devices, err := r.store.Devices(ctx, DeviceFilter{Query: q, Limit: f.limit})
	if err != nil {
		return err
	}
	for _, d := range devices {
		f.add(ElderHit{ID: d.ElderID, Matched: "device", DeviceID: d.ID})
	}
	return nil
}

// byIdents looks up what is unique: ID number, card, key of the source's list.
func (r *Registry) byIdents(ctx context.Context, q string, f *found) error {
	idents := []string{"card:" + q, keyIdent("", q)}
	if r.vault != nil {
		if id, err := ParseIDNumber(q, r.o.Now(), r.o.Demo); err == nil {
			idents = append(idents, r.idIdent(id.Number))
		}
	}
	owners, err := r.store.FindIdents(ctx, idents)
	if err != nil {
		return err
	}
	for _, ident := range idents {
		matched, _, _ := strings.Cut(ident, ":")
		if matched == "id" {
			matched = "id_number"
		}
		f.add(ElderHit{ID: owners[ident].ElderID, Matched: matched})
	}
	return nil
}

// describe fills in the hits and drops those whose record is not there.
func (r *Registry) describe(ctx context.Context, f *found) error {
	ids := make([]ElderID, len(f.hits))
	for i, h := range f.hits {
		ids[i] = h.ID
	}
	elders, err := r.byID(ctx, ids)
	if err != nil {
		return err
	}
	now := r.o.Now()
	f.hits = slices.DeleteFunc(f.hits, func(h ElderHit) bool { _, there := elders[h.ID]; return !there })
	for i := range f.hits {
		h := &f.hits[i]
		e := elders[h.ID]
		h.Name, h.Sex, h.BirthDate, h.Status, h.AreaCode, h.Address, h.Phones = e.Name, e.Sex, e.BirthDate, e.Status, e.AreaCode, e.Address, e.Phones
		if age := AgeAt(e.BirthDate, now); age >= 0 {
			h.Age = &age
		}
		if h.Contact != "" {
			number := h.Contact // turned round, until here
			h.Contact = ""
			if j := slices.IndexFunc(e.Contacts, func(c ContactBrief) bool {
				return slices.ContainsFunc(c.Phones, func(p string) bool { return reversed(p) == number })
			}); j >= 0 {
				h.Contact = e.Contacts[j].Name
			}
		}
	}
	return nil
}
