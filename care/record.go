package care

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Elder is one record with contacts, telephones, devices and consents.
func (r *Registry) Elder(ctx context.Context, id ElderID) (Elder, error) {
	rows, err := r.store.ElderRows(ctx, []ElderID{id})
	if err != nil {
		return Elder{}, err
	}
	if len(rows) == 0 {
		return Elder{}, NotFound("elder", string(id))
	}
	e, err := r.unseal(rows[0])
	if err != nil {
		return Elder{}, err
	}
	devices, err := r.store.Devices(ctx, DeviceFilter{ElderID: id})
	if err != nil {
		return Elder{}, err
	}
	for _, d := range devices {
		e.Devices = append(e.Devices, d.ID)
	}
	return e, nil
}

// unseal gives the record with its secrets, when there is a key for them.
func (r *Registry) unseal(row ElderRow) (Elder, error) {
	if r.vault == nil {
		return row.Elder, nil
	}
	err := r.vault.open(row.Sealed, &row.Elder)
	return row.Elder, err
}

// SaveElder checks and saves a record. A new one has no ID; a saved one carries the
// version it was read with, and another's save in between is refused.
func (r *Registry) SaveElder(ctx context.Context, e Elder, actor string) (Elder, error) {
	if err := r.checkElder(&e); err != nil {
		return Elder{}, err
	}
	fresh := e.ID == ""
	if fresh {
		e.ID = NewID[ElderID]()
	}
	var saved Elder
	err := r.store.Change(ctx, func(tx Tx) error {
		var was *ElderRow
		digest := ""
		if !fresh {
			row, err := tx.Elder(e.ID)
			if err != nil {
				return err
			}
			if row.Elder.Version != e.Version {
				return Refuse(ErrTaken, "the record was changed by another; read it again")
			}
			digest = row.Digest
			if was, err = r.withKeys(row); err != nil {
				return err
			}
		}
		saved = e
		return r.putElder(tx, &saved, was, digest, actor)
	})
	if err != nil {
		return Elder{}, err
	}
	r.changed("elder", string(e.ID))
	return r.Elder(ctx, e.ID)
}

// putElder writes a checked record, its keys and its fact.
func (r *Registry) putElder(tx Tx, e *Elder, was *ElderRow, digest, actor string) error {
	now := r.o.Now().UTC()
	e.UpdatedAt, e.CreatedAt, e.Version = now, now, 1
	if was != nil {
		e.CreatedAt, e.Version = was.Elder.CreatedAt, was.Elder.Version+1
	}
	row, err := r.row(*e, digest)
	if err != nil {
		return err
	}
	for _, ident := range row.Idents {
		owner, err := tx.IdentOwner(ident)
		if err != nil {
			return err
		}
		if owner != "" && owner != e.ID {
			return Refuse(ErrInvalid, "the %s belongs to another record already", identName(ident))
		}
	}
	if err := tx.SaveElder(row, was); err != nil {
		return err
	}
	return tx.Append(r.fact(ElderSaved, "elder", string(e.ID), e.Version, actor, "", map[string]any{"elder_id": e.ID, "status": e.Status, "area_code": e.AreaCode, "new": was == nil}))
}

// withKeys works out the keys that a stored record has, so that the old ones go.
func (r *Registry) withKeys(row ElderRow) (*ElderRow, error) {
	e, err := r.unseal(row)
	if err != nil {
		return nil, err
	}
	keyed, err := r.row(e, row.Digest)
	return &keyed, err
}

// row seals a record and works out its keys.
func (r *Registry) row(e Elder, digest string) (ElderRow, error) {
	row := ElderRow{Elder: e, Digest: digest}
	var err error
	if row.Idents, err = r.idents(&e); err != nil {
		return row, err
	}
	r.seal(&row)
	return row, nil
}

// seal encrypts the secrets of a row that has its idents, and adds the other keys.
func (r *Registry) seal(row *ElderRow) {
	e := &row.Elder
	if r.vault != nil {
		row.Sealed = r.vault.seal(e)
	}
	n := len(e.Phones)
	for _, c := range e.Contacts {
		n += len(c.Phones)
	}
	row.Phones = make([]PhoneRow, 0, n)
	for _, p := range e.Phones {
		row.Phones = append(row.Phones, PhoneRow{Reversed: reversed(p), ElderID: e.ID})
	}
	for _, c := range e.Contacts {
		for _, p := range c.Phones {
			row.Phones = append(row.Phones, PhoneRow{Reversed: reversed(p), ElderID: e.ID, Contact: true})
		}
	}
	row.Tokens = names.keys(e.Name).tokens
	e.Devices = nil
}

// idents are the unique keys of a record; every record has one.
func (r *Registry) idents(e *Elder) ([]string, error) {
	all := make([]string, 0, 2)
	if r.vault == nil && (e.IDNumber != "" || e.KeySafe != "" || e.DoorCode != "" || e.Communication.DuressWord != "") {
		return nil, errNoKey
	}
	if e.ExternalKey != "" {
		all = append(all, keyIdent(e.Source, e.ExternalKey))
	}
	if e.IDNumber != "" {
		all = append(all, r.idIdent(e.IDNumber))
	}
	if e.CardNo != "" {
		all = append(all, "card:"+e.CardNo)
	}
	if len(all) == 0 {
		all = append(all, personIdent(e))
	}
	return all, nil
}

// digest tells whether a source's row has changed; it is keyed, for the row holds
// the ID number.
func (r *Registry) digest(cells []string) string {
	text := strings.Join(cells, cellSep)
	if r.vault == nil {
		sum := sha256.Sum256([]byte(text))
		return base64.RawURLEncoding.EncodeToString(sum[:18])
	}
	return r.vault.lookup("row", text)
}

// Unique keys of elders: who has one cannot be entered twice.
func (r *Registry) idIdent(number string) string { return "id:" + r.vault.lookup("id", number) }
func keyIdent(source, key string) string         { return "key:" + source + ":" + key }
func personIdent(e *Elder) string {
	return "person:" + e.Name + ":" + e.BirthDate + ":" + string(e.AreaCode)
}

func identName(ident string) string {
	switch kind, _, _ := strings.Cut(ident, ":"); kind {
	case "id":
		return "ID number"
	case "card":
		return "card number"
	case "person":
		return "name, birth date and area"
	}
	return "external key"
}

var (
	sexes        = []string{"", "male", "female"}
	idTypes      = []string{"", "resident_id", "passport", "hk_macao_taiwan", "none"}
	elderStates  = []string{"active", "moved", "institution", "deceased", "closed"}
	livingStates = []string{"", "alone", "spouse", "children", "parents", "siblings", "other_relatives", "non_relatives", "institution"}
)

func oneOf(field, value string, allowed []string) error {
	if slices.Contains(allowed, value) {
		return nil
	}
	return Invalid(field, "%q is not one of %s", value, strings.Join(slices.DeleteFunc(slices.Clone(allowed), func(s string) bool { return s == "" }), ", "))
}

// checkElder normalises a record and refuses what cannot be.
func (r *Registry) checkElder(e *Elder) error {
	name, err := NormalizeName(e.Name)
	if err != nil {
		return err
	}
	keys := names.keys(name)
	e.Name, e.Pinyin, e.Initials = name, keys.pinyin, keys.initials
	if e.Status == "" {
		e.Status = "active"
	}
	if e.IDNumber != "" && (e.IDType == "" || e.IDType == "resident_id") {
		id, err := ParseIDNumber(e.IDNumber, r.o.Now(), r.o.Demo)
		if err != nil {
			return err
		}
		e.IDType, e.IDNumber = "resident_id", id.Number
		if e.BirthDate == "" {
			e.BirthDate = id.BirthDate()
		}
		if e.Sex == "" {
			e.Sex = id.Sex()
		}
	}
	if e.BirthDate != "" {
		birth, ok := parseBirth(e.BirthDate)
		if !ok {
			return Invalid("birth_date", "%q is not a date such as 1940-02-29, 1940-02 or 1940", e.BirthDate)
		}
		if birth.After(r.o.Now()) {
			return Invalid("birth_date", "%s is in the future", e.BirthDate)
		}
	}
	for _, c := range []error{oneOf("sex", e.Sex, sexes), oneOf("id_type", e.IDType, idTypes), oneOf("status", e.Status, elderStates),
		oneOf("living_state", e.LivingState, livingStates), oneOf("ability", e.Ability, append([]string{""}, abilityLevels...)), checkArea("area_code", e.AreaCode)} {
		if c != nil {
			return c
		}
	}
	if e.Home.Lat < -90 || e.Home.Lat > 90 || e.Home.Lng < -180 || e.Home.Lng > 180 {
		return Invalid("home", "%v is no point on earth", e.Home)
	}
	if err := checkTexts(e); err != nil {
		return err
	}
	if e.Phones, err = r.phones("phones", e.Phones); err != nil {
		return err
	}
	return r.checkContacts(e)
}

// maxText is the length of a free text in characters: what is longer is a cell that
// ran over its quotes, and would be carried to every page that shows the elder.
const (
	maxText = 2000
	maxCode = 200 // bytes of a key or code
)

// checkTexts refuses what is no text. The secrets are sealed as one, parted by a
// control character, so none of them may hold one.
func checkTexts(e *Elder) error {
	for _, t := range []struct{ field, text string }{{"address", e.Address}, {"unit_floor_room", e.UnitFloorRoom}, {"entry_note", e.EntryNote},
		{"risk_notes", e.RiskNotes}, {"preferences", e.Preferences}, {"mobility_aid", e.Health.MobilityAid}, {"preferred_hospital", e.Health.PreferredHospital},
		{"family_doctor", e.Health.FamilyDoctor}, {"vision", e.Communication.Vision}} {
		if len(t.text) > maxText && utf8.RuneCountInString(t.text) > maxText {
			return Invalid(t.field, "has more than %d characters", maxText)
		}
	}
	for _, t := range []struct{ field, text string }{{"id_number", e.IDNumber}, {"card_no", e.CardNo}, {"key_safe", e.KeySafe}, {"door_code", e.DoorCode},
		{"duress_word", e.Communication.DuressWord}, {"external_key", e.ExternalKey}} {
		if len(t.text) > maxCode {
			return Invalid(t.field, "is longer than %d bytes", maxCode)
		}
		if strings.ContainsFunc(t.text, unicode.IsControl) {
			return Invalid(t.field, "holds a control character")
		}
	}
	return nil
}

func (r *Registry) checkContacts(e *Elder) error {
	e.Contacts = slices.Clone(e.Contacts)
	for i := range e.Contacts {
		c := &e.Contacts[i]
		field := fmt.Sprintf("contacts[%d]", i)
		name, err := NormalizeName(c.Name)
		if err != nil {
			return Invalid(field+".name", "%s", err.Error())
		}
		c.Name = name
		if c.Phones, err = r.phones(field+".phones", c.Phones); err != nil {
			return err
		}
		if c.ID == "" {
			c.ID = NewID[ContactID]()
		}
		if c.Rank <= 0 {
			c.Rank = i + 1
		}
	}
	slices.SortStableFunc(e.Contacts, func(a, b Contact) int { return cmp.Compare(a.Rank, b.Rank) })
	return nil
}

// phones normalises numbers and drops repeats.
func (r *Registry) phones(field string, raw []string) ([]string, error) {
	var all []string
	for _, p := range raw {
		if strings.TrimSpace(p) == "" {
			continue
		}
		n, err := NormalizePhone(p, r.o.PhoneAreaCode)
		if err != nil {
			var ce *Error
			errors.As(err, &ce)
			return nil, Invalid(field, "%s", ce.Message)
		}
		if !slices.Contains(all, n) {
			all = append(all, n)
		}
	}
	return all, nil
}

func checkArea(field string, a AreaCode) error {
	if a == "" {
		return nil
	}
	code, rest, _ := strings.Cut(string(a), "-")
	if n := len(code); !digits(code) || (n != 2 && n != 4 && n != 6 && n != 9 && n != 12) || len(rest) > 16 {
		return Invalid(field, "%q is not an area code of 2, 4, 6, 9 or 12 digits", a)
	}
	return nil
}
