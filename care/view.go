package care

import (
	"slices"
	"time"

	"anling/geo"
)

// Sight is what a reader may see of an elder.
type Sight string

const (
	SightDesk   Sight = "desk"   // the operator of a call or incident: numbers masked
	SightJob    Sight = "job"    // the responder who accepted: address, entry, risks
	SightOffer  Sight = "offer"  // before acceptance: roughly where, no name
	SightMasked Sight = "masked" // supervisors and others
)

// ElderView is an elder as a reader may see it. What he may not see is absent.
type ElderView struct {
	ID             ElderID            `json:"id"`
	Name           string             `json:"name"`
	Sex            string             `json:"sex,omitempty"`
	Age            *int               `json:"age,omitempty"`
	BirthDate      string             `json:"birth_date,omitempty"`
	IDType         string             `json:"id_type,omitempty"`
	IDNumber       string             `json:"id_number,omitempty"`
	CardNo         string             `json:"card_no,omitempty"`
	Status         string             `json:"status,omitempty"`
	AreaCode       AreaCode           `json:"area_code,omitempty"`
	Address        string             `json:"address,omitempty"`
	UnitFloorRoom  string             `json:"unit_floor_room,omitempty"`
	Lift           *bool              `json:"lift,omitempty"`
	EntryNote      string             `json:"entry_note,omitempty"`
	Home           *geo.Point         `json:"home,omitempty"`
	HomeSource     string             `json:"home_source,omitempty"`
	LivingState    string             `json:"living_state,omitempty"`
	Tags           []Tag              `json:"tags,omitempty"`
	Ability        string             `json:"ability,omitempty"`
	Health         *Health            `json:"health,omitempty"`
	Communication  *CommunicationView `json:"communication,omitempty"`
	KeySafe        bool               `json:"has_key_safe,omitempty"`  // the code itself is revealed one by one
	DoorCode       bool               `json:"has_door_code,omitempty"` // likewise
	ForcedEntry    bool               `json:"forced_entry,omitempty"`
	RiskNotes      string             `json:"risk_notes,omitempty"`
	Preferences    string             `json:"preferences,omitempty"`
	BuildingLeader ContactID          `json:"building_leader,omitempty"`
	Phones         []string           `json:"phones,omitempty"`
	Contacts       []Contact          `json:"contacts,omitempty"`
	Devices        []DeviceID         `json:"devices,omitempty"`
	Consents       []Consent          `json:"consents,omitempty"`
	Version        int64              `json:"version,omitempty"`
	UpdatedAt      *time.Time         `json:"updated_at,omitempty"`
	Sight          Sight              `json:"sight"`
}

// CommunicationView is how to speak with the elder, without the duress word.
type CommunicationView struct {
	Communication
	HasDuressWord bool `json:"has_duress_word,omitempty"`
}

// View is the record as sight allows, on the day of now: age and the tags of age depend
// on it. An unknown sight is the narrowest.
func (e Elder) View(s Sight, now time.Time) ElderView {
	v := ElderView{ID: e.ID, Name: MaskName(e.Name), Sex: e.Sex, Status: e.Status, AreaCode: maskArea(e.AreaCode), Sight: s}
	if age := AgeAt(e.BirthDate, now); age >= 0 {
		v.Age = &age
	}
	if !e.Home.IsZero() {
		p := MaskPoint(e.Home)
		v.Home = &p
	}
	switch s {
	case SightDesk:
		e.desk(&v, now)
	case SightJob:
		e.place(&v)
		v.Phones = maskPhones(e.Phones)
		v.Contacts = maskContacts(e.Contacts)
		h := Health{Allergies: e.Health.Allergies, BloodType: e.Health.BloodType, SpecialCare: e.Health.SpecialCare, Oxygen: e.Health.Oxygen, MobilityAid: e.Health.MobilityAid}
		v.Health = &h
		v.LivingState = e.LivingState
	case SightOffer:
	default:
		v.Sight = SightMasked
		v.Phones = maskPhones(e.Phones)
		v.IDNumber = MaskID(e.IDNumber)
	}
	return v
}

// place is what it takes to find the elder and to get in.
func (e Elder) place(v *ElderView) {
	v.Name, v.AreaCode, v.Address, v.UnitFloorRoom, v.Lift, v.EntryNote = e.Name, e.AreaCode, e.Address, e.UnitFloorRoom, e.Lift, e.EntryNote
	if !e.Home.IsZero() {
		p := e.Home
		v.Home, v.HomeSource = &p, e.HomeSource
	}
	v.KeySafe, v.DoorCode, v.ForcedEntry, v.RiskNotes = e.KeySafe != "", e.DoorCode != "", e.ForcedEntry, e.RiskNotes
	c := e.Communication
	c.DuressWord = ""
	v.Communication = &CommunicationView{Communication: c, HasDuressWord: e.Communication.DuressWord != ""}
}

func (e Elder) desk(v *ElderView, now time.Time) {
	e.place(v)
	h := e.Health
	v.Health = &h
	v.BirthDate, v.IDType, v.IDNumber, v.CardNo = e.BirthDate, e.IDType, MaskID(e.IDNumber), e.CardNo
	v.LivingState, v.Ability, v.Tags = e.LivingState, e.Ability, e.AllTags(now)
	v.Preferences, v.BuildingLeader = e.Preferences, e.BuildingLeader
	v.Phones, v.Contacts = maskPhones(e.Phones), maskContacts(e.Contacts)
	v.Devices, v.Consents, v.Version = e.Devices, e.Consents, e.Version
	if !e.UpdatedAt.IsZero() {
		at := e.UpdatedAt
		v.UpdatedAt = &at
	}
}

func maskPhones(all []string) []string {
	masked := make([]string, len(all))
	for i, p := range all {
		masked[i] = MaskPhone(p)
	}
	return masked
}

func maskContacts(all []Contact) []Contact {
	masked := slices.Clone(all)
	for i := range masked {
		masked[i].Phones = maskPhones(masked[i].Phones)
	}
	return masked
}

// AllTags are the record's tags with those that are worked out: age and ability.
func (e Elder) AllTags(now time.Time) []Tag {
	all := slices.Clone(e.Tags)
	add := func(code string) {
		if !slices.ContainsFunc(all, func(t Tag) bool { return t.Code == code }) {
			all = append(all, Tag{Code: code, Source: "computed"})
		}
	}
	if age := AgeAt(e.BirthDate, now); age >= 80 {
		add("age_80")
		if age >= 100 {
			add("age_100")
		}
	}
	switch e.Ability {
	case Moderate:
		add("part_incapable")
	case Severe, Complete:
		add("incapable")
	}
	if e.LivingState == "alone" {
		add("alone")
	}
	return all
}

// Reveal gives one hidden value in full; the caller writes down who asked and why.
// Fields: id_number, phone (all of them, or a contact's), address, key_safe,
// door_code, duress_word.
func (e Elder) Reveal(field string, contact ContactID) ([]string, error) {
	one := func(s string) ([]string, error) {
		if s == "" {
			return nil, NotFound(field, "of elder "+string(e.ID))
		}
		return []string{s}, nil
	}
	switch field {
	case "id_number":
		return one(e.IDNumber)
	case "address":
		return one(e.Address + e.UnitFloorRoom)
	case "key_safe":
		return one(e.KeySafe)
	case "door_code":
		return one(e.DoorCode)
	case "duress_word":
		return one(e.Communication.DuressWord)
	case "phone":
		phones := e.Phones
		if contact != "" {
			i := slices.IndexFunc(e.Contacts, func(c Contact) bool { return c.ID == contact })
			if i < 0 {
				return nil, NotFound("contact", string(contact))
			}
			phones = e.Contacts[i].Phones
		}
		if len(phones) == 0 {
			return nil, NotFound("telephone number", "of elder "+string(e.ID))
		}
		return slices.Clone(phones), nil
	}
	return nil, Invalid("field", "%q is not one of id_number, phone, address, key_safe, door_code, duress_word", field)
}
