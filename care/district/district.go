// Package district makes a district from a seed: areas, roads, elders, devices,
// providers and responders, varied and plausible, and no real persons. The same
// seed gives the same district on every machine.
//
// ID numbers have the prefix 99, which no province has. Telephone numbers are
// mobiles beginning with 154, which is not among the prefixes given to carriers,
// and landlines of the area code 0390, which no place in Henan has. Both read as
// numbers and ring nobody.
package district

import (
	"cmp"
	"fmt"
	"iter"
	"math"
	"math/rand/v2"
	"slices"

	"anling/care"
	"anling/geo"
)

// Options are the size and the seed of a district.
type Options struct {
	Seed       uint64
	Elders     int
	Responders int
	Year       int // of the records; 2026 by default
}

// Centre is the middle of every generated district.
var Centre = geo.Point{Lat: 25.04, Lng: 102.72}

// AreaCode of the district; streets and communities have longer ones.
const AreaCode care.AreaCode = "990100"

const (
	grid     = 9   // junctions a side
	blockM   = 900 // metres between them
	streets  = 8
	perEach  = 6 // communities of a street
	lastName = "号"
)

// District is a generated district. Elders and devices are made when they are
// asked for, one at a time, so that a large one needs no memory.
type District struct {
	o      Options
	areas  []care.Area
	roads  Roads
	places [][]int // community -> segments that pass it
}

// Device is a device and the key of the elder who has it.
type Device struct {
	care.Device
	ElderKey string
}

// Responder is a responder and the key of the provider.
type Responder struct {
	care.Responder
	ProviderKey string
}

// Roads is a small graph of roads: for routing and as the background of a map.
type Roads struct {
	Points   []geo.Point
	Segments []Segment
}

// Segment joins two points of the graph, both ways.
type Segment struct {
	From, To int // indexes into Points
	Name     string
	Class    string // main, side
	LengthM  float64
}

// New makes a district.
func New(o Options) *District {
	if o.Year == 0 {
		o.Year = 2026
	}
	d := &District{o: o}
	d.makeRoads()
	d.makeAreas()
	return d
}

// rng is the randomness of one thing: the n-th of its kind is the same whatever was
// made before it.
func (d *District) rng(kind uint64, n int) *rand.Rand {
	return rand.New(rand.NewPCG(d.o.Seed^kind*0x9E3779B97F4A7C15, uint64(n)))
}

// Kinds of randomness.
const (
	ofRoads = iota + 1
	ofAreas
	ofElders
	ofDevices
	ofProviders
	ofResponders
	ofBirths
)

func pick[T any](r *rand.Rand, all []T) T { return all[r.IntN(len(all))] }

// chance is true in so many of a hundred cases.
func chance(r *rand.Rand, percent int) bool { return r.IntN(100) < percent }

func (d *District) makeRoads() {
	r := d.rng(ofRoads, 0)
	for y := range grid {
		for x := range grid {
			east, north := float64((x-grid/2)*blockM), float64((y-grid/2)*blockM)
			p := geo.Offset(Centre, east+r.Float64()*240-120, north+r.Float64()*240-120)
			d.roads.Points = append(d.roads.Points, geo.Point{Lat: round(p.Lat), Lng: round(p.Lng)})
		}
	}
	join := func(a, b, line int, along string) {
		name, class := roadNames[line%len(roadNames)]+along, "side"
		if line%3 == 0 {
			class = "main"
		}
		d.roads.Segments = append(d.roads.Segments, Segment{From: a, To: b, Name: name, Class: class, LengthM: math.Round(geo.Distance(d.roads.Points[a], d.roads.Points[b]))})
	}
	for y := range grid {
		for x := range grid {
			at := y*grid + x
			// A side street is missing here and there; the roads keep all joined.
			if x+1 < grid {
				join(at, at+1, y, "路")
			}
			if y+1 < grid && (x%3 == 0 || chance(r, 92)) {
				join(at, at+grid, grid+x, "街")
			}
		}
	}
}

// round keeps seven decimals: a centimetre, and the same text on every machine.
func round(v float64) float64 { return math.Round(v*1e7) / 1e7 }

func (d *District) makeAreas() {
	d.areas = []care.Area{{Code: AreaCode, Level: "county", Name: "安铃区", ManagedBy: AreaCode, Urban: true, Centre: Centre}}
	half := float64(grid-1) / 2 * blockM
	d.places = make([][]int, streets*perEach)
	centres := make([]geo.Point, streets*perEach)
	for s := range streets {
		// Four columns and two rows of streets, each three by two communities.
		west, south := -half+float64(s%4)*half/2, -half+float64(s/4)*half
		code := care.AreaCode(fmt.Sprintf("%s%03d", AreaCode, s+1))
		middle := geo.Offset(Centre, west+half/4, south+half/2)
		d.areas = append(d.areas, care.Area{Code: code, Level: "street", Name: streetNames[s] + "街道", Parent: AreaCode, ManagedBy: code, Urban: s < 6, Centre: middle})
		for c := range perEach {
			p := geo.Offset(Centre, west+half/2*(float64(c%2)+0.5)/2, south+half*(float64(c/2)+0.5)/3)
			p = geo.Point{Lat: round(p.Lat), Lng: round(p.Lng)}
			centres[s*perEach+c] = p
			d.areas = append(d.areas, care.Area{Code: community(s*perEach + c), Level: "community", Name: streetNames[s] + communityNames[c] + "社区", Parent: code, ManagedBy: code, Urban: s < 6, Centre: p})
		}
	}
	for i, seg := range d.roads.Segments {
		m := d.between(seg, 0.5)
		best := 0
		for c := range centres {
			if geo.Distance(m, centres[c]) < geo.Distance(m, centres[best]) {
				best = c
			}
		}
		d.places[best] = append(d.places[best], i)
	}
	for c := range d.places {
		if len(d.places[c]) == 0 { // a community between the roads has the nearest one
			near := slices.MinFunc(d.roads.Segments, func(a, b Segment) int {
				return cmp.Compare(geo.Distance(d.between(a, 0.5), centres[c]), geo.Distance(d.between(b, 0.5), centres[c]))
			})
			d.places[c] = append(d.places[c], slices.Index(d.roads.Segments, near))
		}
	}
}

// community is the code of the n-th community.
func community(n int) care.AreaCode {
	return care.AreaCode(fmt.Sprintf("%s%03d%03d", AreaCode, n/perEach+1, n%perEach+1))
}

func (d *District) between(s Segment, at float64) geo.Point {
	a, b := d.roads.Points[s.From], d.roads.Points[s.To]
	return geo.Point{Lat: a.Lat + (b.Lat-a.Lat)*at, Lng: a.Lng + (b.Lng-a.Lng)*at}
}

// Areas is the area tree, parents first.
func (d *District) Areas() []care.Area { return d.areas }

// Roads is the graph of the district's roads.
func (d *District) Roads() Roads { return d.roads }

// Elders makes the elders one by one.
func (d *District) Elders() iter.Seq[care.Elder] {
	return func(yield func(care.Elder) bool) {
		for i := range d.o.Elders {
			if !yield(d.Elder(i)) {
				return
			}
		}
	}
}

// Devices makes the devices of the elders who have one.
func (d *District) Devices() iter.Seq[Device] {
	return func(yield func(Device) bool) {
		for i := range d.o.Elders {
			if v, ok := d.Device(i); ok && !yield(v) {
				return
			}
		}
	}
}

// number is the n-th telephone number of a part of the prefix 154: different n are
// different numbers, in no visible order.
func number(part, size, n int) string {
	return fmt.Sprintf("154%08d", part+(n*7_368_787+1_299_709)%size)
}

// Parts of the prefix 154.
const (
	eldersFrom, eldersSize         = 0, 30_000_000
	contactsFrom, contactsSize     = 30_000_000, 50_000_000
	devicesFrom, devicesSize       = 80_000_000, 10_000_000
	respondersFrom, respondersSize = 90_000_000, 9_000_000
	providersFrom, providersSize   = 99_000_000, 1_000_000
)

// ElderKey is the key of the i-th elder.
func ElderKey(i int) string { return fmt.Sprintf("E%07d", i+1) }

// coupled tells the elders who live with the one before or after them.
func (d *District) coupled(i int) (partner int, ok bool) {
	switch partner = i ^ 1; {
	case i%10 >= 2, partner >= d.o.Elders:
		return 0, false
	}
	return partner, true
}

// Elder makes the i-th elder.
func (d *District) Elder(i int) care.Elder {
	r := d.rng(ofElders, i)
	male := chance(r, 45)
	partner, couple := d.coupled(i)
	if couple {
		male = i%2 == 0
	}
	birth, idNumber := d.birth(i, male)
	e := care.Elder{ExternalKey: ElderKey(i), Name: name(r, male, birth.year), Sex: "female", IDType: "resident_id", IDNumber: idNumber, BirthDate: birth.String(), Status: "active"}
	if male {
		e.Sex = "male"
	}
	home := r
	if couple { // one address, one telephone at home
		home = d.rng(ofElders, -1-min(i, partner))
	}
	d.house(home, &e, min(i, cmp.Or(partner, i)))
	age := d.o.Year - birth.year
	d.living(r, &e, couple)
	d.health(r, &e, age)
	d.speech(r, &e, age)
	if chance(r, 78) || len(e.Phones) == 0 {
		e.Phones = append(e.Phones, number(eldersFrom, eldersSize, i))
	}
	if couple {
		p := d.person(partner)
		e.Contacts = append(e.Contacts, care.Contact{Name: p.name, Relation: "spouse", Phones: []string{number(eldersFrom, eldersSize, partner)}})
	}
	d.contacts(r, &e, i)
	return e
}

type date struct{ year, month, day int }

func (d date) String() string { return fmt.Sprintf("%04d-%02d-%02d", d.year, d.month, d.day) }

// birth makes date of birth and ID number. The number's area and sequence go by the
// index modulo lap; within one lap's remainder the days differ: no number comes twice.
func (d *District) birth(i int, male bool) (date, string) {
	const lap = 50_000
	r := d.rng(ofBirths, i%lap)
	age := 61 + min(r.IntN(43), r.IntN(43)) // most are in their sixties and seventies
	if chance(r, 1) {
		age = 95 + r.IntN(9)
	}
	day := (r.IntN(336) + i/lap) % 336
	b := date{d.o.Year - age, day/28 + 1, day%28 + 1}
	seq := 2 * (i % lap % 500)
	if male {
		seq++
	}
	n := fmt.Sprintf("9901%02d%04d%02d%02d%03d", i%lap/500, b.year, b.month, b.day, seq)
	return b, n + string(checkChar(n))
}

func checkChar(n string) byte {
	sum := 0
	for i, w := range [17]int{7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2} {
		sum += int(n[i]-'0') * w
	}
	return "10X98765432"[sum%11]
}

type person struct{ name string }

// person is the part of an elder that the partner's record needs.
func (d *District) person(i int) person {
	r := d.rng(ofElders, i)
	chance(r, 45) // as Elder does
	male := i%2 == 0
	birth, _ := d.birth(i, male)
	return person{name(r, male, birth.year)}
}

// house makes the address; a couple has one.
func (d *District) house(r *rand.Rand, e *care.Elder, home int) {
	c := r.IntN(streets * perEach)
	e.AreaCode = community(c)
	seg := d.roads.Segments[pick(r, d.places[c])]
	at := 0.06 + 0.88*r.Float64()
	p := d.between(seg, at)
	p = geo.Offset(p, r.Float64()*120-60, r.Float64()*120-60)
	e.Home, e.HomeSource = geo.Point{Lat: round(p.Lat), Lng: round(p.Lng)}, pick(r, []string{"surveyed", "geocoded", "geocoded"})
	building := 1 + r.IntN(12)
	e.Address = fmt.Sprintf("%s%d%s%s%d栋", seg.Name, 1+int(at*200), lastName, pick(r, estates), building)
	floors := pick(r, []int{6, 6, 7, 11, 18, 26})
	floor := 1 + r.IntN(floors)
	e.UnitFloorRoom = fmt.Sprintf("%d单元%d%02d", 1+r.IntN(4), floor, 1+r.IntN(4))
	lift := floors > 7
	e.Lift = &lift
	if chance(r, 25) {
		e.EntryNote = pick(r, entryNotes)
	}
	if chance(r, 12) {
		e.DoorCode = fmt.Sprintf("%04d#", r.IntN(10000))
	}
	if chance(r, 6) {
		e.KeySafe = fmt.Sprintf("门旁钥匙盒 %04d", r.IntN(10000))
	}
	if chance(r, 35) {
		e.Phones = append(e.Phones, fmt.Sprintf("0390-%07d", 2_000_000+(home*54_321+12_345)%7_000_000))
	}
}

func (d *District) living(r *rand.Rand, e *care.Elder, couple bool) {
	switch {
	case couple:
		e.LivingState = "spouse"
	case chance(r, 30):
		e.LivingState = "alone"
	default:
		e.LivingState = pick(r, []string{"children", "children", "children", "spouse", "other_relatives", "non_relatives"})
	}
	tag := func(percent int, code string) {
		if chance(r, percent) {
			e.Tags = append(e.Tags, care.Tag{Code: code, Source: "import"})
		}
	}
	if e.LivingState == "alone" || e.LivingState == "spouse" {
		tag(55, "empty_nest")
	}
	tag(3, "dibao")
	tag(1, "destitute")
	tag(2, "severe_disability")
	tag(2, "special_family")
	tag(4, "state_backed")
	e.ForcedEntry = chance(r, 40)
	for _, p := range []struct {
		percent int
		code    string
	}{{98, "base_service"}, {70, "health_data"}, {85, "call_recording"}, {80, "location_emergency"}, {60, "call_120_and_fee"}, {55, "share_120"}} {
		if chance(r, p.percent) {
			e.Consents = append(e.Consents, care.Consent{Purpose: p.code, Given: true, Method: "paper"})
		}
	}
}

func (d *District) health(r *rand.Rand, e *care.Elder, age int) {
	frail := max(0, age-62) // of a hundred
	switch n := r.IntN(100); {
	case n < frail/8:
		e.Ability = care.Complete
	case n < frail/4:
		e.Ability = care.Severe
	case n < frail/2:
		e.Ability = care.Moderate
	case n < frail:
		e.Ability = care.Mild
	default:
		e.Ability = care.Intact
	}
	for _, x := range diagnoses {
		if chance(r, x.percent) {
			e.Health.Diagnoses = append(e.Health.Diagnoses, x.name)
			if x.drug != "" && chance(r, 80) {
				e.Health.Medication = append(e.Health.Medication, x.drug)
			}
		}
	}
	if chance(r, 8) {
		e.Health.Allergies = []string{pick(r, []string{"青霉素", "头孢", "磺胺", "碘造影剂"})}
	}
	e.Health.BloodType = pick(r, []string{"A", "B", "O", "O", "AB", ""})
	if e.Ability != care.Intact && chance(r, 50) {
		e.Health.MobilityAid = pick(r, []string{"拐杖", "助行器", "轮椅"})
	}
	e.Health.Oxygen = chance(r, frail/15)
	if chance(r, 4) {
		e.RiskNotes = pick(r, riskNotes)
	}
	if chance(r, 60) {
		e.Health.PreferredHospital = pick(r, hospitals)
	}
}

func (d *District) speech(r *rand.Rand, e *care.Elder, age int) {
	e.Communication.Dialects = []string{pick(r, []string{"yunnan", "yunnan", "yunnan", "putonghua", "sichuan", "yi", "bai"})}
	e.Communication.Mandarin = pick(r, []string{"good", "some", "some", "none"})
	e.Communication.Hearing = "normal"
	if chance(r, max(3, age-60)) {
		e.Communication.Hearing = "hard"
	}
	if chance(r, 1) {
		e.Communication.Hearing = "deaf"
	}
}

// contacts adds children, neighbours and who keeps a key, in the order of ringing.
func (d *District) contacts(r *rand.Rand, e *care.Elder, i int) {
	family := []rune(e.Name)[0]
	n := 0
	add := func(relation, name string) {
		e.Contacts = append(e.Contacts, care.Contact{Name: name, Relation: relation, Phones: []string{number(contactsFrom, contactsSize, 3*i+n)}})
		n++
	}
	for range 1 + r.IntN(2) {
		if chance(r, 85) {
			add("child", string(family)+given(r, chance(r, 50), 1985))
		}
	}
	if chance(r, 30) {
		add("neighbour", name(r, chance(r, 50), 1965))
	}
	if len(e.Contacts) > 0 && chance(r, 35) {
		e.Contacts[len(e.Contacts)-1].KeyHolder = true
	}
	for j := range e.Contacts {
		e.Contacts[j].Rank = j + 1
	}
}

// Device makes the device of the i-th elder, if there is one.
func (d *District) Device(i int) (Device, bool) {
	r := d.rng(ofDevices, i)
	if !chance(r, 40) {
		return Device{}, false
	}
	v := Device{Device: care.Device{State: "active", SIMNumber: number(devicesFrom, devicesSize, i)}, ElderKey: ElderKey(i)}
	switch n := r.IntN(10); {
	case n < 5:
		v.Kind, v.Protocol, v.Model, v.Class = "pendant", "gt06", pick(r, []string{"P-20", "P-30"}), "gt06_pendant"
		imei := fmt.Sprintf("990100%08d", i)
		v.ExternalID = imei + string(care.LuhnDigit(imei))
	case n < 8:
		v.Kind, v.Protocol, v.Model, v.Class = "watch", "watch", pick(r, []string{"W-3", "W-5"}), "watch"
		v.ExternalID = fmt.Sprintf("99%08d", i)
	default:
		v.Kind, v.Protocol, v.Model, v.Class = "fixed_button", "sip", "T-1", "sip_phone"
		v.ExternalID = v.SIMNumber
	}
	return v, true
}

// Providers makes the providers.
func (d *District) Providers() []care.Provider {
	all := make([]care.Provider, 0, len(providers))
	for i, p := range providers {
		v := care.Provider{ExternalKey: ProviderKey(i), Name: p.name, Class: p.class, State: "active", Phone: number(providersFrom, providersSize, i), USCC: uscc(i)}
		for s := range streets {
			if (s+i)%3 != 0 {
				v.Areas = append(v.Areas, care.AreaCode(fmt.Sprintf("%s%03d", AreaCode, s+1)))
			}
		}
		all = append(all, v)
	}
	return all
}

// ProviderKey is the key of the i-th provider.
func ProviderKey(i int) string { return fmt.Sprintf("P%03d", i+1) }

// uscc makes a credit code of a registration authority that is not there.
func uscc(i int) string {
	const chars = "0123456789ABCDEFGHJKLMNPQRTUWXY"
	s := fmt.Sprintf("Y9990100%09d", i+1)
	sum, weight := 0, 1
	for _, c := range []byte(s) {
		sum += slices.Index([]byte(chars), c) * weight
		weight = weight * 3 % 31
	}
	return s + string(chars[(31-sum%31)%31])
}

// Responders makes the responders, spread over the communities.
func (d *District) Responders() []Responder {
	all := make([]Responder, 0, d.o.Responders)
	for i := range d.o.Responders {
		r := d.rng(ofResponders, i)
		k := trades[i%len(trades)]
		male := chance(r, 55)
		c := i % (streets * perEach)
		p := geo.Offset(d.between(d.roads.Segments[pick(r, d.places[c])], r.Float64()), r.Float64()*80-40, r.Float64()*80-40)
		v := Responder{Responder: care.Responder{ExternalKey: fmt.Sprintf("R%04d", i+1), Name: name(r, male, 1978+r.IntN(20)), Kind: k.kind, Sex: "female",
			Phones: []string{number(respondersFrom, respondersSize, i)}, Dialects: []string{"yunnan", "putonghua"}, Skills: slices.Clone(k.skills), Duty: "on", Mode: k.mode,
			HomeArea: community(c), Base: geo.Point{Lat: round(p.Lat), Lng: round(p.Lng)}}}
		if male {
			v.Sex = "male"
		}
		if n := r.IntN(10); n == 0 {
			v.Duty = "off"
		} else if n == 1 {
			v.Duty = "paused"
		}
		if chance(r, 30) && !slices.Contains(v.Skills, "driving") {
			v.Skills = append(v.Skills, "driving")
		}
		if k.certificate != "" {
			until := date{d.o.Year + 1 + r.IntN(3), 1 + r.IntN(12), 1 + r.IntN(28)}
			if chance(r, 7) {
				until.year = d.o.Year - 1 // expired: it must gate orders
			}
			v.Certificates = []care.Certificate{{Kind: k.certificate, Number: fmt.Sprintf("99%08d", i), Until: until.String()}}
		}
		if k.class != "" {
			for j, pr := range providers {
				if pr.class == k.class && (v.ProviderKey == "" || chance(r, 50)) {
					v.ProviderKey = ProviderKey(j)
				}
			}
		}
		all = append(all, v)
	}
	return all
}
