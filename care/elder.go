package care

import (
	"time"

	"anling/geo"
)

// Elder is the record of one person served. Unknown is the zero value or null,
// never a made-up one. What is kept encrypted never goes into its JSON.
type Elder struct {
	ID             ElderID       `json:"id"`
	Name           string        `json:"name,omitzero"`       // 1–50 characters
	Pinyin         string        `json:"pinyin,omitzero"`     // "zhangxiuying"
	Initials       string        `json:"initials,omitzero"`   // "zxy"
	Sex            string        `json:"sex,omitzero"`        // "male", "female"
	BirthDate      string        `json:"birth_date,omitzero"` // YYYY-MM-DD, shorter when only the month or year is known
	IDType         string        `json:"id_type,omitzero"`    // resident_id, passport, hk_macao_taiwan, none
	IDNumber       string        `json:"-"`                   // plain only in memory and for those who may see it
	CardNo         string        `json:"card_no,omitzero"`    // service data card
	Status         string        `json:"status,omitzero"`     // active, moved, institution, deceased, closed
	AreaCode       AreaCode      `json:"area_code,omitzero"`
	Address        string        `json:"address,omitzero"` // as spoken: road, estate, building
	UnitFloorRoom  string        `json:"unit_floor_room,omitzero"`
	Lift           *bool         `json:"lift,omitzero"`
	EntryNote      string        `json:"entry_note,omitzero"` // gate, door, dog
	Home           geo.Point     `json:"home,omitzero"`
	HomeSource     string        `json:"home_source,omitzero"`  // surveyed, device, geocoded, area_centre
	LivingState    string        `json:"living_state,omitzero"` // alone, spouse, children, parents, siblings, other_relatives, non_relatives, institution
	Tags           []Tag         `json:"tags,omitzero"`
	Ability        string        `json:"ability,omitzero"` // intact, mild, moderate, severe, complete
	Health         Health        `json:"health,omitzero"`
	Communication  Communication `json:"communication,omitzero"`
	KeySafe        string        `json:"-"`                     // break-glass
	DoorCode       string        `json:"-"`                     // break-glass
	ForcedEntry    bool          `json:"forced_entry,omitzero"` // forced entry agreed
	RiskNotes      string        `json:"risk_notes,omitzero"`   // for responders: dog, aggression, infection
	Preferences    string        `json:"preferences,omitzero"`
	BuildingLeader ContactID     `json:"building_leader,omitzero"`
	Phones         []string      `json:"phones,omitzero"` // E.164
	Contacts       []Contact     `json:"contacts,omitzero"`
	Devices        []DeviceID    `json:"devices,omitzero"`
	Consents       []Consent     `json:"consents,omitzero"`
	ExternalKey    string        `json:"external_key,omitzero"` // the key of the source's own list, for repeatable import
	Source         string        `json:"source,omitzero"`
	Version        int64         `json:"version,omitzero"`
	CreatedAt      time.Time     `json:"created_at,omitzero"`
	UpdatedAt      time.Time     `json:"updated_at,omitzero"`
}

// Health is what a responder or doctor needs to know.
type Health struct {
	Diagnoses         []string `json:"diagnoses,omitempty"`
	Medication        []string `json:"medication,omitempty"`
	Allergies         []string `json:"allergies,omitempty"`
	BloodType         string   `json:"blood_type,omitempty"`
	SpecialCare       []string `json:"special_care,omitempty"`
	Oxygen            bool     `json:"oxygen,omitempty"`
	MobilityAid       string   `json:"mobility_aid,omitempty"`
	Falls12M          int      `json:"falls_12m,omitempty"`
	PreferredHospital string   `json:"preferred_hospital,omitempty"`
	FamilyDoctor      string   `json:"family_doctor,omitempty"`
}

// Communication is how to speak with the elder.
type Communication struct {
	Dialects   []string `json:"dialects,omitempty"`
	Mandarin   string   `json:"mandarin,omitempty"` // good, some, none
	Hearing    string   `json:"hearing,omitempty"`  // normal, hard, deaf
	Speech     string   `json:"speech,omitempty"`   // normal, slow, none
	Vision     string   `json:"vision,omitempty"`
	QuietHours string   `json:"quiet_hours,omitempty"`
	DuressWord string   `json:"-"` // kept encrypted, as the ID number is
}

// Tag is a class the elder belongs to, with its source and validity.
type Tag struct {
	Code   string `json:"code"` // alone, empty_nest, dementia, severe_disability …
	Source string `json:"source,omitempty"`
	From   string `json:"from,omitempty"`
	Until  string `json:"until,omitempty"`
}

// Contact is somebody to be rung for an elder, in order of Rank.
type Contact struct {
	ID          ContactID `json:"id"`
	Rank        int       `json:"rank"` // 1 is rung first
	Name        string    `json:"name"`
	Relation    string    `json:"relation"` // spouse, child, neighbour, building_leader …
	Phones      []string  `json:"phones"`   // E.164
	DistanceMin int       `json:"distance_min,omitempty"`
	KeyHolder   bool      `json:"key_holder"`
	AgreedAt    string    `json:"agreed_at,omitempty"`
}

// Consent is one purpose agreed to, or withdrawn.
type Consent struct {
	Purpose     string `json:"purpose"` // base_service, health_data, call_recording, call_120_and_fee …
	Given       bool   `json:"given"`
	GivenBy     string `json:"given_by,omitempty"` // self, guardian, relative
	Method      string `json:"method,omitempty"`   // paper, voice, app
	At          string `json:"at,omitempty"`
	WithdrawnAt string `json:"withdrawn_at,omitempty"`
}

// Device is one alarm device in the registry.
type Device struct {
	ID           DeviceID  `json:"id"`
	Kind         string    `json:"kind,omitzero"`        // pendant, watch, fixed_button, pull_cord, phone …
	Protocol     string    `json:"protocol,omitzero"`    // gt06, watch, sip, number …
	ExternalID   string    `json:"external_id,omitzero"` // IMEI, watch id: unique with Protocol
	Model        string    `json:"model,omitzero"`
	Profile      string    `json:"profile,omitzero"`    // model profile of the protocol, may be empty
	SIMNumber    string    `json:"sim_number,omitzero"` // E.164; a call from it is the device's call
	ElderID      ElderID   `json:"elder_id,omitzero"`
	FacilityID   string    `json:"facility_id,omitzero"`
	Room         string    `json:"room,omitzero"`
	State        string    `json:"state,omitzero"`         // stock, active, faulty, lost, returned
	Class        string    `json:"class,omitzero"`         // supervision class, e.g. "gt06_pendant"
	HeartbeatSec int       `json:"heartbeat_sec,omitzero"` // expected seconds between signs of life, 0 for the class's default
	Datum        string    `json:"datum,omitzero"`         // datum of its positions, "wgs84" by default
	Battery      *int      `json:"battery,omitzero"`
	LastSeen     time.Time `json:"last_seen,omitzero"`
	LastFix      *Fix      `json:"last_fix,omitzero"`
	Levels       []Kind    `json:"levels,omitzero"` // states last asserted, for rising edges
	OfflineSince time.Time `json:"offline_since,omitzero"`
	Version      int64     `json:"version,omitzero"`
	CreatedAt    time.Time `json:"created_at,omitzero"`
	UpdatedAt    time.Time `json:"updated_at,omitzero"`
}

// Provider is a firm or body whose staff responds.
type Provider struct {
	ID             ProviderID `json:"id"`
	Name           string     `json:"name,omitzero"`
	USCC           string     `json:"uscc,omitzero"`  // 18-character social credit code
	Class          string     `json:"class,omitzero"` // care_firm, canteen, housekeeping, medical, volunteer …
	Areas          []AreaCode `json:"areas,omitzero"`
	Phone          string     `json:"phone,omitzero"`
	SuspendedUntil time.Time  `json:"suspended_until,omitzero"`
	State          string     `json:"state,omitzero"` // active, suspended, closed
	ExternalKey    string     `json:"external_key,omitzero"`
	Version        int64      `json:"version,omitzero"`
}

// Responder is a person on call.
type Responder struct {
	ID           ResponderID   `json:"id"`
	Name         string        `json:"name,omitzero"`
	Kind         string        `json:"kind,omitzero"` // rescue, carer, nurse, doctor, volunteer, building_leader …
	ProviderID   ProviderID    `json:"provider_id,omitzero"`
	UserID       UserID        `json:"user_id,omitzero"` // the account of the app, may be empty: a plain phone is enough
	Phones       []string      `json:"phones,omitzero"`
	Sex          string        `json:"sex,omitzero"`
	Dialects     []string      `json:"dialects,omitzero"`
	Skills       []string      `json:"skills,omitzero"` // first_aid, cpr, lift_two, dementia, lock …
	Certificates []Certificate `json:"certificates,omitzero"`
	Duty         string        `json:"duty,omitzero"` // off, on, paused
	Base         geo.Point     `json:"base,omitzero"`
	Mode         string        `json:"mode,omitzero"` // walk, ebike, drive
	HomeArea     AreaCode      `json:"home_area,omitzero"`
	BlockedPairs []ElderID     `json:"blocked_pairs,omitzero"` // never to be sent to these
	KeysFor      []ElderID     `json:"keys_for,omitzero"`
	ExternalKey  string        `json:"external_key,omitzero"`
	Version      int64         `json:"version,omitzero"`
}

// Certificate is a qualification with its validity; expired or unverified gates dispatch.
type Certificate struct {
	Kind       string `json:"kind"`
	Number     string `json:"number,omitempty"`
	From       string `json:"from,omitempty"`
	Until      string `json:"until,omitempty"` // YYYY-MM-DD, empty for no end
	VerifiedAt string `json:"verified_at,omitempty"`
}

// Area is a node of the area tree.
type Area struct {
	Code      AreaCode  `json:"code,omitzero"`
	Level     string    `json:"level,omitzero"` // province, city, county, street, community, group, building
	Name      string    `json:"name,omitzero"`
	Parent    AreaCode  `json:"parent,omitzero"`
	ManagedBy AreaCode  `json:"managed_by,omitzero"`
	Urban     bool      `json:"urban,omitzero"` // decides 15 minutes or 1 km
	Centre    geo.Point `json:"centre,omitzero"`
	Boundary  string    `json:"boundary,omitzero"` // GeoJSON geometry, may be empty
}
