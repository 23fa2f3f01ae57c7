package assign

import (
	"cmp"
	"slices"
	"time"

	"anling/care"
	"anling/geo"
)

// Verdict says why a responder was picked or passed over.
type Verdict string

const (
	Picked            Verdict = "PICKED"
	Slower            Verdict = "SLOWER" // good, but others are nearer
	NotSkilled        Verdict = "NOT_SKILLED"
	CertExpired       Verdict = "CERT_EXPIRED"
	OffDuty           Verdict = "OFF_DUTY"
	Paused            Verdict = "PAUSED"
	BusyElsewhere     Verdict = "BUSY"
	HeldElsewhere     Verdict = "HELD"
	Blacklisted       Verdict = "BLACKLISTED"
	ProviderSuspended Verdict = "PROVIDER_SUSPENDED"
	RefusedRecently   Verdict = "REFUSED_RECENTLY"
	SentAlready       Verdict = "SENT_ALREADY"
	OutOfRange        Verdict = "OUT_OF_RANGE"
	NotChosen         Verdict = "NOT_CHOSEN" // the operator chose others
)

// Candidate is one responder that was looked at, with the reason.
type Candidate struct {
	ResponderID care.ResponderID `json:"responder_id"`
	Name        string           `json:"name,omitempty"`
	Kind        string           `json:"kind,omitempty"`
	Verdict     Verdict          `json:"verdict"`
	DistanceM   float64          `json:"distance_m"`
	TravelSec   int              `json:"travel_sec"`
	FixSource   care.FixSource   `json:"fix_source,omitempty"`
	FixAgeSec   int              `json:"fix_age_sec"`
	Score       float64          `json:"score"` // seconds; lower is better
	Terms       map[string]int   `json:"terms,omitempty"`
	Remarks     []string         `json:"remarks,omitempty"`
	KeyHolder   bool             `json:"key_holder,omitempty"`
}

// Query asks for a ranking.
type Query struct {
	Place   geo.Point
	ElderID care.ElderID
	Skills  []string
	Plan    string
	Exclude []care.ResponderID
	Only    []care.ResponderID
	For     care.AssignmentID // its own holds do not count against anybody
	Limit   int               // candidates returned, 20 by default
	RadiusM float64           // of the first search
}

const (
	defaultRadiusM = 5000
	maxWiden       = 8   // the search goes up to so many times the radius
	lookAt         = 60  // responders looked at in one search
	enough         = 3   // of them who can be sent; else it goes on among those who can
	equalWithin    = 5.0 // seconds within which the longest idle wins
)

// Rank looks at the nearest responders and judges each: the good ones first, best
// score first, then the passed over in the order of their distance.
func (r *Roster) Rank(q Query, now time.Time) []Candidate {
	r.mu.RLock()
	defer r.mu.RUnlock()
	p, known := plans[q.Plan]
	if !known {
		p = plans["sos"]
	}
	if q.Limit <= 0 {
		q.Limit = 20
	}
	var all []Candidate
	if len(q.Only) > 0 {
		for _, id := range q.Only {
			if m := r.members[id]; m != nil {
				all = append(all, r.judge(m, q, p, now))
			}
		}
	} else {
		all = r.near(q, p, now)
	}
	order := map[care.ResponderID]int{}
	for i, id := range q.Only {
		order[id] = i
	}
	slices.SortStableFunc(all, func(a, b Candidate) int {
		if a.good() != b.good() {
			return cmp.Compare(b2i(b.good()), b2i(a.good()))
		}
		if len(order) > 0 {
			return cmp.Compare(order[a.ResponderID], order[b.ResponderID])
		}
		if d := a.Score - b.Score; a.good() && (d > equalWithin || d < -equalWithin) {
			return cmp.Compare(a.Score, b.Score)
		} else if a.good() {
			la, lb := r.members[a.ResponderID].lastJob, r.members[b.ResponderID].lastJob
			return cmp.Or(la.Compare(lb), cmp.Compare(a.Score, b.Score), cmp.Compare(a.ResponderID, b.ResponderID))
		}
		return cmp.Or(cmp.Compare(a.DistanceM, b.DistanceM), cmp.Compare(a.ResponderID, b.ResponderID))
	})
	return all[:min(q.Limit, len(all))]
}

// near judges the nearest, and when too few of them can be sent, searches farther
// among those who can.
func (r *Roster) near(q Query, p plan, now time.Time) []Candidate {
	var all []Candidate
	if q.Place.IsZero() {
		return r.addOthers(all, q, p, now)
	}
	limit := q.RadiusM * maxWiden
	if limit <= 0 {
		limit = defaultRadiusM * maxWiden
	}
	good := 0
	for _, h := range r.index.Nearest(q.Place, limit, lookAt) {
		c := r.judge(r.members[care.ResponderID(h.ID)], q, p, now)
		good += b2i(c.good())
		all = append(all, c)
	}
	if good >= enough || len(all) < lookAt {
		return r.addOthers(all, q, p, now)
	}
	known := map[care.ResponderID]bool{}
	for _, c := range all {
		known[c.ResponderID] = true
	}
	for _, h := range r.index.NearestWhere(q.Place, limit, lookAt, func(id string) bool {
		return !known[care.ResponderID(id)] && r.members[care.ResponderID(id)].gate(q, p, now) == Picked
	}) {
		all = append(all, r.judge(r.members[care.ResponderID(h.ID)], q, p, now))
	}
	return all
}

// addOthers gives a reason for those who are off duty or nowhere near, and, when
// the place is unknown, ranks everybody by idleness alone.
func (r *Roster) addOthers(all []Candidate, q Query, p plan, now time.Time) []Candidate {
	if len(all) >= lookAt {
		return all
	}
	seen := map[care.ResponderID]bool{}
	for _, c := range all {
		seen[c.ResponderID] = true
	}
	for id, m := range r.members {
		if seen[id] {
			continue
		}
		c := r.judge(m, q, p, now)
		if c.good() && !q.Place.IsZero() {
			c.Verdict = OutOfRange
		}
		all = append(all, c)
	}
	return all
}

// judge applies the gates: for an SOS only skill, duty, the safety list and what he
// is doing now are hard; the rest become remarks.
func (r *Roster) judge(m *member, q Query, p plan, now time.Time) Candidate {
	c := Candidate{ResponderID: m.ID, Name: m.Name, Kind: m.Kind, FixSource: m.fix.Source, KeyHolder: slices.Contains(m.KeysFor, q.ElderID) && q.ElderID != ""}
	if !m.fix.At.IsZero() {
		c.FixAgeSec = max(0, int(now.Sub(m.fix.At).Seconds()))
	}
	if !q.Place.IsZero() && !m.fix.Point.IsZero() {
		e := geo.Travel(m.fix.Point, q.Place, geo.Mode(m.Mode))
		c.DistanceM, c.TravelSec = e.DistanceM, int(e.Time.Seconds())
	}
	c.Verdict = m.gate(q, p, now)
	if c.Verdict == Picked && p.hardOnly {
		c.Remarks = m.remarks(now)
	}
	c.Score, c.Terms = m.score(c, p, now)
	return c
}

func (m *member) gate(q Query, p plan, now time.Time) Verdict {
	switch {
	case slices.Contains(q.Exclude, m.ID):
		return SentAlready
	case !m.skilled(q.Skills, p.anySkill):
		return NotSkilled
	case m.Duty == "paused":
		return Paused
	case m.Duty != "on":
		return OffDuty
	case q.ElderID != "" && slices.Contains(m.BlockedPairs, q.ElderID):
		return Blacklisted
	case m.busy != "" && m.busy != q.For:
		return BusyElsewhere
	case len(m.held) > b2i(m.held[q.For]):
		return HeldElsewhere
	}
	if when, refused := m.refusals[q.For]; refused && q.For != "" && now.Sub(when) < time.Hour {
		return RefusedRecently
	}
	if !p.hardOnly {
		if m.suspended {
			return ProviderSuspended
		}
		if m.expired(now) {
			return CertExpired
		}
	}
	return Picked
}

func (m *member) skilled(wanted []string, anyOne bool) bool {
	if len(wanted) == 0 {
		return true
	}
	has := func(s string) bool { return slices.Contains(m.Skills, s) }
	if anyOne {
		return slices.ContainsFunc(wanted, has)
	}
	return !slices.ContainsFunc(wanted, func(s string) bool { return !has(s) })
}

func (m *member) expired(now time.Time) bool {
	today := now.Format("2006-01-02")
	return slices.ContainsFunc(m.Certificates, func(c care.Certificate) bool { return c.Until != "" && c.Until < today })
}

func (m *member) remarks(now time.Time) []string {
	var notes []string
	if m.suspended {
		notes = append(notes, string(ProviderSuspended))
	}
	if m.expired(now) {
		notes = append(notes, string(CertExpired))
	}
	if m.fix.Source == care.FixBase {
		notes = append(notes, "NO_FIX")
	}
	return notes
}

// score is in seconds. For an SOS it is time alone, with what makes the time doubtful.
func (m *member) score(c Candidate, p plan, now time.Time) (float64, map[string]int) {
	terms := map[string]int{"travel": c.TravelSec}
	if c.FixSource != care.FixBase && c.FixAgeSec > 120 {
		terms["stale_fix"] = min(300, (c.FixAgeSec-120)/10)
	}
	if !m.lastJob.IsZero() && now.Sub(m.lastJob) < 10*time.Minute {
		terms["just_back"] = 120
	}
	if !p.hardOnly && c.KeyHolder {
		terms["key_holder"] = -120
	}
	sum := 0
	for _, t := range terms {
		sum += t
	}
	return float64(sum), terms
}

func (c Candidate) good() bool { return c.Verdict == Picked || c.Verdict == Slower }

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}
