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
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"anling/event"
)

// Facts of the registry. Their bodies carry ids and states only.
const (
	ElderSaved     event.Type = "care.elder.saved"
	EldersImported event.Type = "care.elder.imported"
	DeviceSaved    event.Type = "care.device.saved"
	ProviderSaved  event.Type = "care.provider.saved"
	ResponderSaved event.Type = "care.responder.saved"
	ResponderDuty  event.Type = "care.responder.duty"
)

// RegistryOptions are the parts of a registry. Only Store is required; without
// IDKey no ID number can be kept.
type RegistryOptions struct {
	Store         Store
	IDKey         []byte // 32 bytes, from the secrets directory
	PhoneAreaCode string // completes local numbers: "0871"
	Demo          bool   // accepts ID numbers of generated districts
	Metrics       prometheus.Registerer
	Log           *zap.Logger
	Now           func() time.Time
}

// Registry is who is served, with what, and by whom. It is safe for concurrent use.
type Registry struct {
	o       RegistryOptions
	store   Store
	vault   *vault
	metrics *registryMetrics
	loading sync.Mutex // one import at a time

	hooks    sync.RWMutex
	onChange []func(Change) // guarded by hooks
}

type registryMetrics struct {
	search *prometheus.HistogramVec
	rows   *prometheus.CounterVec
}

// NewRegistry makes a registry. A key of the wrong length is a mistake of the
// program.
func NewRegistry(o RegistryOptions) *Registry {
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	if o.Metrics == nil {
		o.Metrics = prometheus.NewRegistry()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	r := &Registry{o: o, store: o.Store, metrics: &registryMetrics{
		search: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "anling_care_search_seconds", Help: "Time of a search in the registry.",
			Buckets: []float64{.0005, .001, .002, .005, .01, .02, .05, .1, .5}}, []string{"by"}),
		rows: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "anling_care_import_rows_total", Help: "Rows read by imports."}, []string{"kind", "result"}),
	}}
	o.Metrics.MustRegister(r.metrics.search, r.metrics.rows)
	if len(o.IDKey) > 0 {
		v, err := newVault(o.IDKey)
		if err != nil {
			panic("care: " + err.Error())
		}
		r.vault = v
	}
	return r
}

// CheckKey refuses a key other than the one that the registry was written with.
// Call it before anything is served.
func (r *Registry) CheckKey(ctx context.Context) error {
	if r.vault == nil {
		return errNoKey
	}
	kept, err := r.store.KeyCheck(ctx, r.vault.check())
	if err != nil {
		return fmt.Errorf("check the key of ID numbers: %w", err)
	}
	if kept != r.vault.check() {
		return errors.New("the key of ID numbers in the secrets directory is not the one that this registry was written with; put the right one back")
	}
	return nil
}

// Change tells which record was saved.
type Change struct {
	Kind string // "elder", "device", "provider", "responder"; "" after an import: anything
	ID   string
}

// OnChange calls f after each committed change. f must not block.
func (r *Registry) OnChange(f func(Change)) {
	r.hooks.Lock()
	defer r.hooks.Unlock()
	r.onChange = append(r.onChange, f)
}

func (r *Registry) changed(kind, id string) {
	r.hooks.RLock()
	defer r.hooks.RUnlock()
	for _, f := range r.onChange {
		f(Change{kind, id})
	}
}

func (r *Registry) fact(t event.Type, agg, id string, seq int64, actor string, provider ProviderID, body any) event.Event {
	return event.Event{ID: NewID[string](), Type: t, V: 1, Agg: agg, AggID: id, Seq: seq, ProviderID: string(provider),
		At: r.o.Now(), Actor: actor, Body: event.Body(body)}
}

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
	duties       = []string{"on", "off", "paused"}
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
	slices.SortStableFunc(rows, func(a, b PhoneRow) int {
		switch {
		case a.Contact == b.Contact:
			return 0
		case b.Contact:
			return -1
		}
		return 1
	})
	for _, p := range rows {
		e, found := elders[p.ElderID]
		switch {
		case !found:
		case !p.Contact:
			all = append(all, PhoneMatch{Kind: "elder", ElderID: e.ID, Name: e.Name})
		default:
			for _, c := range e.Contacts { // a couple of children may share a line
				if slices.Contains(c.Phones, e164) {
					all = append(all, PhoneMatch{Kind: "contact", ElderID: e.ID, Name: c.Name, Relation: c.Relation})
				}
			}
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

// byID reads elders without their secrets.
func (r *Registry) byID(ctx context.Context, ids []ElderID) (map[ElderID]Elder, error) {
	slices.Sort(ids)
	ids = slices.DeleteFunc(slices.Compact(ids), func(id ElderID) bool { return id == "" })
	if len(ids) == 0 {
		return nil, nil
	}
	rows, err := r.store.ElderRows(ctx, ids)
	if err != nil {
		return nil, err
	}
	all := make(map[ElderID]Elder, len(rows))
	for _, row := range rows {
		all[row.Elder.ID] = row.Elder
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

// Device is one device with its last signs of life.
func (r *Registry) Device(ctx context.Context, id DeviceID) (Device, error) {
	return r.store.Device(ctx, id)
}

// DeviceByExternal is the device of a protocol's identity: IMEI, watch id.
func (r *Registry) DeviceByExternal(ctx context.Context, protocol, externalID string) (Device, error) {
	return r.store.DeviceByExternal(ctx, protocol, externalID)
}

// Devices lists devices by id.
func (r *Registry) Devices(ctx context.Context, f DeviceFilter) ([]Device, error) {
	return r.store.Devices(ctx, f)
}

// TouchDevices writes signs of life, of many devices in few commits. A touch is no
// change: no version moves, no event is told.
func (r *Registry) TouchDevices(ctx context.Context, signs []DeviceSign) error {
	return r.store.TouchDevices(ctx, signs)
}

// protocols are those that a device can be heard by; "number" is a telephone alone.
var protocols = []string{"gt06", "watch", "sip", "number"}

var deviceStates = []string{"stock", "active", "faulty", "lost", "returned"}

func (r *Registry) checkDevice(d *Device) error {
	d.ExternalID, d.Protocol = strings.TrimSpace(d.ExternalID), strings.ToLower(strings.TrimSpace(d.Protocol))
	if err := oneOf("protocol", d.Protocol, protocols); err != nil {
		return err // nobody would ever hear such a device
	}
	if d.SIMNumber != "" {
		n, err := NormalizePhone(d.SIMNumber, r.o.PhoneAreaCode)
		if err != nil {
			return Invalid("sim_number", "%s is not a telephone number", MaskPhone(d.SIMNumber))
		}
		d.SIMNumber = n
	}
	if d.ExternalID == "" && d.SIMNumber != "" {
		d.ExternalID = strings.TrimPrefix(d.SIMNumber, "+") // a device that is only a number
	}
	if d.ExternalID == "" {
		return Invalid("external_id", "is empty: the device states an IMEI or an id")
	}
	if len(d.ExternalID) > 64 {
		return Invalid("external_id", "is longer than 64 characters")
	}
	// The check digit is not held against it: many cheap devices have a wrong one.
	if d.Protocol == "gt06" && (len(d.ExternalID) != 15 || !digits(d.ExternalID)) {
		return Invalid("external_id", "a gt06 device states an IMEI of 15 digits")
	}
	if d.State == "" {
		d.State = "active"
	}
	if d.Datum == "" {
		d.Datum = "wgs84"
	}
	if d.HeartbeatSec < 0 {
		return Invalid("heartbeat_sec", "%d is negative", d.HeartbeatSec)
	}
	return cmp.Or(oneOf("state", d.State, deviceStates), oneOf("datum", d.Datum, []string{"wgs84", "gcj02", "bd09", "cgcs2000"}))
}

// SaveDevice saves a device; protocol and external id are unique together.
func (r *Registry) SaveDevice(ctx context.Context, d Device, actor string) (Device, error) {
	if err := r.checkDevice(&d); err != nil {
		return Device{}, err
	}
	fresh := d.ID == ""
	if fresh {
		d.ID = NewID[DeviceID]()
	}
	err := r.store.Change(ctx, func(tx Tx) error {
		var was int64
		if !fresh {
			old, err := tx.Device(d.ID)
			if err != nil {
				return err
			}
			if old.Version != d.Version {
				return Refuse(ErrTaken, "the device was changed by another; read it again")
			}
			was = old.Version
		}
		return r.putDevice(tx, d, was, actor)
	})
	if err != nil {
		return Device{}, err
	}
	r.changed("device", string(d.ID))
	return r.store.Device(ctx, d.ID)
}

func (r *Registry) putDevice(tx Tx, d Device, was int64, actor string) error {
	if d.ElderID != "" {
		if _, err := tx.Elder(d.ElderID); err != nil {
			return err
		}
	}
	other, err := tx.DeviceByExternal(d.Protocol, d.ExternalID)
	if err == nil && other.ID != d.ID {
		return Invalid("external_id", "another %s device has this id", d.Protocol)
	}
	if err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	now := r.o.Now().UTC()
	d.UpdatedAt, d.Version = now, was+1
	if was == 0 {
		d.CreatedAt = now
	}
	if err := tx.SaveDevice(d, was); err != nil {
		return err
	}
	return tx.Append(r.fact(DeviceSaved, "device", string(d.ID), d.Version, actor, "", map[string]any{"device_id": d.ID, "elder_id": d.ElderID, "protocol": d.Protocol, "state": d.State}))
}

// Provider is one provider.
func (r *Registry) Provider(ctx context.Context, id ProviderID) (Provider, error) {
	return r.store.Provider(ctx, id)
}

// Providers lists all, by name.
func (r *Registry) Providers(ctx context.Context) ([]Provider, error) { return r.store.Providers(ctx) }

func (r *Registry) checkProvider(p *Provider) error {
	if p.Name = strings.TrimSpace(p.Name); p.Name == "" {
		return Invalid("name", "is empty")
	}
	if p.USCC != "" {
		code, err := ParseUSCC(p.USCC)
		if err != nil {
			return err
		}
		p.USCC = code
	}
	if p.Phone != "" {
		n, err := NormalizePhone(p.Phone, r.o.PhoneAreaCode)
		if err != nil {
			return err
		}
		p.Phone = n
	}
	if p.State == "" {
		p.State = "active"
	}
	for _, a := range p.Areas {
		if err := checkArea("areas", a); err != nil {
			return err
		}
	}
	return oneOf("state", p.State, []string{"active", "suspended", "closed"})
}

// SaveProvider saves a provider.
func (r *Registry) SaveProvider(ctx context.Context, p Provider, actor string) (Provider, error) {
	if err := r.checkProvider(&p); err != nil {
		return Provider{}, err
	}
	fresh := p.ID == ""
	if fresh {
		p.ID = NewID[ProviderID]()
	}
	err := r.store.Change(ctx, func(tx Tx) error {
		var was int64
		if !fresh {
			old, err := tx.Provider(p.ID)
			if err != nil {
				return err
			}
			if old.Version != p.Version {
				return Refuse(ErrTaken, "the provider was changed by another; read it again")
			}
			was = old.Version
		}
		return r.putProvider(tx, p, was, actor)
	})
	if err != nil {
		return Provider{}, err
	}
	r.changed("provider", string(p.ID))
	return r.store.Provider(ctx, p.ID)
}

func (r *Registry) putProvider(tx Tx, p Provider, was int64, actor string) error {
	p.Version = was + 1
	if err := tx.SaveProvider(p, was); err != nil {
		return err
	}
	return tx.Append(r.fact(ProviderSaved, "provider", string(p.ID), p.Version, actor, p.ID, map[string]any{"provider_id": p.ID, "state": p.State}))
}

// Responder is one responder.
func (r *Registry) Responder(ctx context.Context, id ResponderID) (Responder, error) {
	return r.store.Responder(ctx, id)
}

// Responders lists all, by name.
func (r *Registry) Responders(ctx context.Context) ([]Responder, error) {
	return r.store.Responders(ctx)
}

// ResponderByUser is the responder who signs in with an account.
func (r *Registry) ResponderByUser(ctx context.Context, id UserID) (Responder, error) {
	return r.store.ResponderByUser(ctx, id)
}

func (r *Registry) checkResponder(p *Responder) (err error) {
	if p.Name, err = NormalizeName(p.Name); err != nil {
		return err
	}
	if p.Phones, err = r.phones("phones", p.Phones); err != nil {
		return err
	}
	if p.Duty == "" {
		p.Duty = "off"
	}
	for _, c := range p.Certificates {
		if c.Kind == "" {
			return Invalid("certificates", "a certificate without a kind")
		}
		if _, err := time.Parse(time.DateOnly, c.Until); c.Until != "" && err != nil {
			return Invalid("certificates", "%q is not a date such as 2027-06-30", c.Until)
		}
	}
	return cmp.Or(oneOf("duty", p.Duty, duties), oneOf("sex", p.Sex, sexes), oneOf("mode", p.Mode, []string{"", "walk", "ebike", "drive"}), checkArea("home_area", p.HomeArea))
}

// SaveResponder saves a responder.
func (r *Registry) SaveResponder(ctx context.Context, p Responder, actor string) (Responder, error) {
	if err := r.checkResponder(&p); err != nil {
		return Responder{}, err
	}
	fresh := p.ID == ""
	if fresh {
		p.ID = NewID[ResponderID]()
	}
	err := r.store.Change(ctx, func(tx Tx) error {
		var was *Responder
		if !fresh {
			old, err := tx.Responder(p.ID)
			if err != nil {
				return err
			}
			if old.Version != p.Version {
				return Refuse(ErrTaken, "the responder was changed by another; read it again")
			}
			was = &old
		}
		return r.putResponder(tx, p, was, actor)
	})
	if err != nil {
		return Responder{}, err
	}
	r.changed("responder", string(p.ID))
	return r.store.Responder(ctx, p.ID)
}

func (r *Registry) putResponder(tx Tx, p Responder, was *Responder, actor string) error {
	if p.ProviderID != "" {
		if _, err := tx.Provider(p.ProviderID); err != nil {
			return err
		}
	}
	p.Version = 1
	if was != nil {
		p.Version = was.Version + 1
	}
	if err := tx.SaveResponder(p, was); err != nil {
		return err
	}
	return tx.Append(r.fact(ResponderSaved, "responder", string(p.ID), p.Version, actor, p.ProviderID,
		map[string]any{"responder_id": p.ID, "provider_id": p.ProviderID, "duty": p.Duty}))
}

// SetDuty sets a responder on, off or paused; the same duty again changes nothing.
func (r *Registry) SetDuty(ctx context.Context, id ResponderID, duty, actor string) error {
	if err := oneOf("duty", duty, duties); err != nil {
		return err
	}
	err := r.store.Change(ctx, func(tx Tx) error {
		old, err := tx.Responder(id)
		if err != nil || old.Duty == duty {
			return err
		}
		p := old
		p.Duty, p.Version = duty, old.Version+1
		if err := tx.SaveResponder(p, &old); err != nil {
			return err
		}
		return tx.Append(r.fact(ResponderDuty, "responder", string(id), p.Version, actor, p.ProviderID, map[string]any{"responder_id": id, "duty": duty}))
	})
	if err != nil {
		return err
	}
	r.changed("responder", string(id))
	return nil
}

// Areas lists the area tree, by code.
func (r *Registry) Areas(ctx context.Context) ([]Area, error) { return r.store.Areas(ctx) }

// SaveAreas adds areas or replaces those of the same code.
func (r *Registry) SaveAreas(ctx context.Context, areas []Area) error {
	for _, a := range areas {
		if a.Code == "" || a.Name == "" {
			return Invalid("areas", "an area has a code and a name")
		}
		if err := checkArea("code", a.Code); err != nil {
			return err
		}
	}
	return r.store.Change(ctx, func(tx Tx) error { return tx.SaveAreas(areas) })
}
