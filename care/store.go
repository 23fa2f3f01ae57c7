package care

import (
	"context"
	"time"

	"anling/event"
)

// Store keeps the registry; store.Registry is one. What it takes and gives has its
// secrets sealed: plain ID numbers never reach it.
type Store interface {
	// Change runs f in one durable transaction; f may run more than once.
	Change(ctx context.Context, f func(Tx) error) error

	// ElderRows gives the rows that exist, in the order of the ids.
	ElderRows(ctx context.Context, ids []ElderID) ([]ElderRow, error)
	// ElderBriefs is the same for what a list shows, in no order.
	ElderBriefs(ctx context.Context, ids []ElderID) ([]ElderBrief, error)
	// FindNames gives up to limit pairs of name token and elder with low <= token < high.
	FindNames(ctx context.Context, low, high string, limit int) ([]ElderID, error)
	// FindPhones is the same for telephone numbers turned round.
	FindPhones(ctx context.Context, low, high string, limit int) ([]PhoneRow, error)
	// FindIdents gives the owners of unique keys.
	FindIdents(ctx context.Context, idents []string) (map[string]IdentOwner, error)
	// FindPersons gives the elders of that name, birth date and area.
	FindPersons(ctx context.Context, persons []Person) (map[Person][]ElderID, error)
	CountElders(ctx context.Context) (int64, error)
	// NoElders tells that there is no elder, and no key of one either.
	NoElders(ctx context.Context) (bool, error)
	// Documents is a record as the store keeps it, for NewElder.
	Documents(e *Elder) ElderDocs
	// LoadKeys and then LoadElders add new elders in bulk, in small commits of low
	// priority: the keys reserve the ids, and of two rows with one unique key the
	// first stays. LoadElders returns the ids of those that were not added. Each
	// commit of it tells a fact like note, with the next Seq.
	LoadKeys(ctx context.Context, rows []*NewElder) error
	LoadElders(ctx context.Context, rows []*NewElder, note *event.Event) (refused []ElderID, err error)

	Device(ctx context.Context, id DeviceID) (Device, error)
	DeviceByExternal(ctx context.Context, protocol, externalID string) (Device, error)
	Devices(ctx context.Context, f DeviceFilter) ([]Device, error)
	// TouchDevices writes signs of life, of many devices in few commits.
	TouchDevices(ctx context.Context, signs []DeviceSign) error

	Provider(ctx context.Context, id ProviderID) (Provider, error)
	Providers(ctx context.Context) ([]Provider, error)
	Responder(ctx context.Context, id ResponderID) (Responder, error)
	Responders(ctx context.Context) ([]Responder, error)
	ResponderByUser(ctx context.Context, id UserID) (Responder, error)
	RespondersByPhone(ctx context.Context, e164 string) ([]Responder, error)
	Areas(ctx context.Context) ([]Area, error)

	// KeyCheck keeps the first value it is given and returns the one it keeps.
	KeyCheck(ctx context.Context, check string) (string, error)
}

// Tx is a change of the registry. A record read in it is locked until its end.
type Tx interface {
	event.Ledger
	Elder(id ElderID) (ElderRow, error)
	// SaveElder writes a record that was read as was; nil for a new one.
	SaveElder(row ElderRow, was *ElderRow) error
	// IdentOwner tells which elder has a unique key; empty for none.
	IdentOwner(ident string) (ElderID, error)
	Device(id DeviceID) (Device, error)
	DeviceByExternal(protocol, externalID string) (Device, error)
	SaveDevice(d Device, was int64) error
	Provider(id ProviderID) (Provider, error)
	ProviderByKey(key string) (Provider, error)
	SaveProvider(p Provider, was int64) error
	Responder(id ResponderID) (Responder, error)
	ResponderByKey(key string) (Responder, error)
	SaveResponder(r Responder, was *Responder) error
	SaveAreas(areas []Area) error
}

// ElderRow is an elder as the store keeps it: the secrets sealed, the keys by which
// the record is found beside it.
type ElderRow struct {
	Elder  Elder
	Sealed string // ID number and codes, encrypted
	Digest string // of the source's row: an unchanged row changes nothing
	Idents []string
	Phones []PhoneRow
	Tokens []string // of the name
}

// ElderDocs are the two texts of a record: what lists show, and the rest of the file.
type ElderDocs struct{ Brief, File string }

// ElderBrief is what a list shows of an elder.
type ElderBrief struct {
	ID        ElderID        `json:"-"`
	Status    string         `json:"-"`
	AreaCode  AreaCode       `json:"-"`
	Name      string         `json:"name"`
	Sex       string         `json:"sex"`
	BirthDate string         `json:"birth_date"`
	Address   string         `json:"address"`
	Phones    []string       `json:"phones"`
	Contacts  []ContactBrief `json:"contacts"`
}

// ContactBrief is who a contact is, and how to reach them.
type ContactBrief struct {
	Name     string   `json:"name"`
	Relation string   `json:"relation"`
	Phones   []string `json:"phones"`
}

// NewElder is an elder on the way into a bulk load. The record is a document
// already: one text takes a fraction of the memory that its parts do.
type NewElder struct {
	ID        ElderID
	Person    Person
	Status    string
	UpdatedAt time.Time
	Docs      ElderDocs
	Sealed    string // as those of ElderRow
	Digest    string
	Idents    []string
	Phones    []PhoneRow
	Tokens    []string // nil when the store has them already
	Held      int64    // the store's note from LoadKeys to LoadElders
}

// Person is what tells people apart where there is no number.
type Person struct {
	Name      string
	BirthDate string
	AreaCode  AreaCode
}

// PhoneRow is a telephone number, turned round, of an elder or of a contact.
type PhoneRow struct {
	Reversed string
	ElderID  ElderID
	Contact  bool // of one of the elder's contacts
}

// IdentOwner is who has a unique key. A key can be held before its record is
// there: by an import that was cut off, or that runs.
type IdentOwner struct {
	ElderID ElderID
	Version int64 // 0 when the record is not there
	Digest  string
}

// DeviceFilter narrows a list of devices; the zero filter is all.
type DeviceFilter struct {
	ElderID    ElderID
	SIMNumber  string
	Query      string    // first or last characters of the external id; not with After
	Protocol   string    // with State, Class: equal when not empty
	SeenBefore time.Time // last sign of life before it, or never
	Offline    bool      // OfflineSince is set
	After      DeviceID  // for the next page; without Query the order is that of the ids
	Limit      int       // 1000 when 0
}

// DeviceSign is what changes of a device without anybody editing it. Nil is
// unchanged.
type DeviceSign struct {
	DeviceID DeviceID
	At       time.Time // of the sign of life; zero for none. An older one never replaces a newer.
	Battery  *int
	Fix      *Fix
	Levels   *[]Kind
	Offline  *time.Time // the zero time: on line again
}
