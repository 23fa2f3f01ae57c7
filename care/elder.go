package care

import (
	"time"

	"anling/geo"
)

// Elder is the record of one person served. Unknown is the zero value or null,
// never a made-up one.
type Elder struct {
	ID             ElderID
	Name           string // 1–50 characters
	Pinyin         string // "zhangxiuying"
	Initials       string // "zxy"
	Sex            string // "male", "female"
	BirthDate      string // YYYY-MM-DD, shorter when only the month or year is known
	IDType         string // resident_id, passport, hk_macao_taiwan, none
	IDNumber       string // plain only in memory and for those who may see it
	CardNo         string // service data card
	Status         string // active, moved, institution, deceased, closed
	AreaCode       AreaCode
	Address        string // as spoken: road, estate, building
	UnitFloorRoom  string
	Lift           *bool
	EntryNote      string // gate, door, dog
	Home           geo.Point
	HomeSource     string // surveyed, device, geocoded, area_centre
	LivingState    string // alone, spouse, children, parents, siblings, other_relatives, non_relatives, institution
	Tags           []Tag
	Ability        string // intact, mild, moderate, severe, complete
	Health         Health
	Communication  Communication
	KeySafe        string // break-glass
	DoorCode       string // break-glass
	ForcedEntry    bool   // forced entry agreed
	RiskNotes      string // for responders: dog, aggression, infection
	Preferences    string
	BuildingLeader ContactID
	Phones         []string // E.164
	Contacts       []Contact
	Devices        []DeviceID
	Consents       []Consent
	ExternalKey    string // the key of the source's own list, for repeatable import
	Source         string
	Version        int64
	CreatedAt      time.Time
	UpdatedAt      time.Time
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
	DuressWord string   `json:"duress_word,omitempty"`
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
	ID           DeviceID
	Kind         string // pendant, watch, fixed_button, pull_cord, phone …
	Protocol     string // gt06, watch, sip, number …
	ExternalID   string // IMEI, watch id: unique with Protocol
	Model        string
	Profile      string // model profile of the protocol, may be empty
	SIMNumber    string // E.164; a call from it is the device's call
	ElderID      ElderID
	FacilityID   string
	Room         string
	State        string // stock, active, faulty, lost, returned
	Class        string // supervision class, e.g. "gt06_pendant"
	HeartbeatSec int    // expected seconds between signs of life, 0 for the class's default
	Datum        string // datum of its positions, "wgs84" by default
	Battery      *int
	LastSeen     time.Time
	LastFix      *Fix
	Levels       []Kind // states last asserted, for rising edges
	OfflineSince time.Time
	Version      int64
	CreatedAt    time.Time
	UpdatedAt    time.Time
}

// Provider is a firm or body whose staff responds.
type Provider struct {
	ID             ProviderID
	Name           string
	USCC           string // 18-character social credit code
	Class          string // care_firm, canteen, housekeeping, medical, volunteer …
	Areas          []AreaCode
	Phone          string
	SuspendedUntil time.Time
	State          string // active, suspended, closed
	ExternalKey    string
	Version        int64
}

// Responder is a person on call.
type Responder struct {
	ID           ResponderID
	Name         string
	Kind         string // rescue, carer, nurse, doctor, volunteer, building_leader …
	ProviderID   ProviderID
	UserID       UserID // the account of the app, may be empty: a plain phone is enough
	Phones       []string
	Sex          string
	Dialects     []string
	Skills       []string // first_aid, cpr, lift_two, dementia, lock …
	Certificates []Certificate
	Duty         string // off, on, paused
	Base         geo.Point
	Mode         string // walk, ebike, drive
	HomeArea     AreaCode
	BlockedPairs []ElderID // never to be sent to these
	KeysFor      []ElderID
	ExternalKey  string
	Version      int64
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
	Code      AreaCode
	Level     string // province, city, county, street, community, group, building
	Name      string
	Parent    AreaCode
	ManagedBy AreaCode
	Urban     bool // decides 15 minutes or 1 km
	Centre    geo.Point
	Boundary  string // GeoJSON geometry, may be empty
}
