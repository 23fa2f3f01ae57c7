package acd

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"anling/care"
)

// Limits are the clocks and sizes of a queue. Zero values take the default.
type Limits struct {
	Ring       time.Duration // an operator's telephone rings so long, then it is a miss
	SOSRing    time.Duration // the same for an SOS
	Reach      time.Duration // the telephone must ring within, else it is unreachable
	WrapUp     time.Duration
	Skip       time.Duration // who missed a call is passed over for it so long, if there is another
	Again      time.Duration // and is not rung at once again even if there is none
	SOSAgain   time.Duration
	RelaxAfter time.Duration // then required skills are wishes only
	BreakJoins time.Duration // an SOS waits so long, then those on break are rung too
	Overdue    time.Duration // a call-back so late counts as a normal call
	Lease      time.Duration // a call whose owner does not renew is swept out
	Fan        int           // operators rung at once for an SOS
	Ratio      int           // one call-back after so many normal calls
	Misses     int           // in a row, then the operator is sent on a break
}

func (l Limits) complete() Limits {
	set := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	set(&l.Ring, 15*time.Second)
	set(&l.SOSRing, 8*time.Second)
	set(&l.Reach, 4*time.Second)
	set(&l.WrapUp, 15*time.Second)
	set(&l.Skip, 30*time.Second)
	set(&l.Again, 5*time.Second)
	set(&l.SOSAgain, 2*time.Second)
	set(&l.RelaxAfter, 20*time.Second)
	set(&l.BreakJoins, 10*time.Second)
	set(&l.Overdue, 2*time.Minute)
	set(&l.Lease, 15*time.Second)
	l.Fan = cmp.Or(max(l.Fan, 0), 3)
	l.Ratio = cmp.Or(max(l.Ratio, 0), 3)
	l.Misses = cmp.Or(max(l.Misses, 0), 2)
	return l
}

// Entry is one call that wants an operator.
type Entry struct {
	Call   care.CallID
	Class  Class
	At     time.Time   // since when it waits; kept when it comes back
	Due    time.Time   // of a call-back
	Skills []string    // all of them wanted
	Prefer care.UserID // rung before others, e.g. the owner of the incident
	Only   care.UserID // nobody else: an operator's own call-back
	Fan    int         // operators rung at once; 0 for what the class says

	skip   map[care.UserID]time.Time // when they missed it
	offers map[care.UserID]int64     // epochs of those who are being rung
	lease  time.Time
}

// Offer is one operator being rung for one call. Its epoch is the fencing token:
// an answer under an older one is void.
type Offer struct {
	Call     care.CallID
	Operator care.UserID
	Epoch    int64
	Class    Class
}

// Agent is an operator as the queue sees him.
type Agent struct {
	ID     care.UserID
	Skills []string
	State  State
	Reason string
	Phone  bool // his telephone can be rung
	Since  time.Time
	Idle   time.Time // the longest idle is rung first
	Until  time.Time // wrap-up or offer ends
	Misses int
	Call   care.CallID
	Epoch  int64

	back      State // where an offer that comes to nothing leads
	backUntil time.Time
	wish      State // asked for while engaged, done afterwards
	wishFor   string
}

// Queue is one district's queue. It is not safe for concurrent use: one owner
// calls it, under a lock or from one goroutine.
type Queue struct {
	limits  Limits
	entries map[care.CallID]*Entry // waiting or offered
	agents  map[care.UserID]*Agent
	talks   map[care.CallID]time.Time // leases of calls with an operator
	normals int                       // accepted since the last call-back
	changed []Agent
}

// New makes an empty queue.
func New(l Limits) *Queue {
	return &Queue{limits: l.complete(), entries: map[care.CallID]*Entry{}, agents: map[care.UserID]*Agent{}, talks: map[care.CallID]time.Time{}}
}

// Limits are the limits in force.
func (q *Queue) Limits() Limits { return q.limits }

// Put lets a call wait. A call that waits already keeps its place, and takes the
// more urgent class of the two.
func (q *Queue) Put(now time.Time, e Entry) {
	if old := q.entries[e.Call]; old != nil {
		old.Class = min(old.Class, e.Class)
		old.lease = now.Add(q.limits.Lease)
		return
	}
	if e.At.IsZero() {
		e.At = now
	}
	e.skip, e.offers, e.lease = map[care.UserID]time.Time{}, map[care.UserID]int64{}, now.Add(q.limits.Lease)
	q.entries[e.Call] = &e
}

// Raise makes a waiting call more urgent; it sorts anew at once.
func (q *Queue) Raise(call care.CallID, c Class) {
	if e := q.entries[call]; e != nil {
		e.Class = min(e.Class, c)
	}
}

// Prefer names who is rung before others.
func (q *Queue) Prefer(call care.CallID, u care.UserID) {
	if e := q.entries[call]; e != nil {
		e.Prefer = u
	}
}

// Renew says that the call's owner is alive.
func (q *Queue) Renew(now time.Time, call care.CallID) {
	if e := q.entries[call]; e != nil {
		e.lease = now.Add(q.limits.Lease)
	}
	if _, ok := q.talks[call]; ok {
		q.talks[call] = now.Add(q.limits.Lease)
	}
}

// rank orders the classes, with what ages: a call-back that is overdue stands with
// the normal calls by its age, and after enough normal calls one goes before them.
func (q *Queue) rank(e *Entry, now time.Time) int {
	switch {
	case e.Class < Normal:
		return int(e.Class)
	case e.Class == Normal, !e.Due.IsZero() && !now.Before(e.Due.Add(q.limits.Overdue)):
		return 3
	}
	return 4
}

// Order lists the calls that wait, first served first.
func (q *Queue) Order(now time.Time) []care.CallID {
	all := q.order(now)
	ids := make([]care.CallID, len(all))
	for i, e := range all {
		ids[i] = e.Call
	}
	return ids
}

func (q *Queue) order(now time.Time) []*Entry {
	all := slices.SortedFunc(maps.Values(q.entries), func(a, b *Entry) int {
		return cmp.Or(cmp.Compare(q.rank(a, now), q.rank(b, now)), a.At.Compare(b.At), cmp.Compare(a.Call, b.Call))
	})
	if q.normals < q.limits.Ratio {
		return all
	}
	turn := slices.IndexFunc(all, func(e *Entry) bool { return e.Class == Callback })
	before := slices.IndexFunc(all, func(e *Entry) bool { return e.Class >= Normal })
	if turn > before {
		e := all[turn]
		all = slices.Insert(slices.Delete(all, turn, turn+1), before, e)
	}
	return all
}

// Match rings operators for those who wait: each SOS gets one operator, then each SOS
// up to its fan, then the others in order. A call that finds nobody never stops the
// next one. Withdrawn are offers of less urgent calls that had to yield to an SOS.
func (q *Queue) Match(now time.Time) (offers, withdrawn []Offer) {
	if !q.anyReachable() {
		return nil, nil // thousands may wait when a district is cut off: do not sort them for nobody
	}
	order := q.order(now)
	give := func(e *Entry, fan int) {
		for len(e.offers) < fan {
			a := q.pick(e, now)
			if a == nil && e.Class == SOS && len(e.offers) == 0 {
				var from Offer
				if a, from = q.yield(e, now); a != nil {
					withdrawn = append(withdrawn, from)
				}
			}
			if a == nil {
				return
			}
			offers = append(offers, q.reserve(a, e, now))
		}
	}
	for _, e := range order {
		if e.Class == SOS {
			give(e, 1)
		}
	}
	for _, e := range order {
		give(e, q.fan(e))
	}
	return offers, withdrawn
}

func (q *Queue) fan(e *Entry) int {
	if e.Fan > 0 {
		return e.Fan
	}
	if e.Class == SOS {
		return q.limits.Fan
	}
	return 1
}

// pick chooses the operator for a call: the preferred one, else the longest idle of
// those who are free and have not just missed it. An SOS that has nobody takes who is
// in wrap-up; when it has waited for a while, who is on break is rung as well.
func (q *Queue) pick(e *Entry, now time.Time) *Agent {
	var best *Agent
	for _, a := range q.agents {
		if q.eligible(e, a, now) && !q.passedOver(e, a, now) && (best == nil || q.before(e, a, best)) {
			best = a
		}
	}
	return best
}

func (q *Queue) before(e *Entry, a, b *Agent) bool {
	grade := func(a *Agent) int {
		_, missed := e.skip[a.ID]
		switch {
		case missed:
			return 4
		case a.ID == e.Prefer:
			return 0
		case a.State == Ready:
			return 1
		case a.State == WrapUp:
			return 2
		}
		return 3
	}
	return cmp.Or(cmp.Compare(grade(a), grade(b)), a.Idle.Compare(b.Idle), cmp.Compare(a.ID, b.ID)) < 0
}

// anyReachable tells whether there is an operator whom Match might ring, or take from
// a less urgent call.
func (q *Queue) anyReachable() bool {
	for _, a := range q.agents {
		switch a.State {
		case Ready, WrapUp, Break, Reserved, Ringing:
			if a.Phone {
				return true
			}
		}
	}
	return false
}

func (q *Queue) eligible(e *Entry, a *Agent, now time.Time) bool {
	if !a.Phone || (e.Only != "" && e.Only != a.ID) {
		return false
	}
	late := !now.Before(e.At.Add(q.limits.BreakJoins))
	switch a.State {
	case Ready:
	case WrapUp:
		if e.Only == "" && (e.Class != SOS || len(e.offers) > 0 && !late) {
			return false
		}
	case Break:
		if e.Only == "" && (e.Class != SOS || !late) {
			return false
		}
	default:
		return false
	}
	return q.skilled(e, a, now)
}

// skilled tells whether the operator has what the call asks for. An SOS asks for
// nothing, and no call waits for a skill that nobody at work has.
func (q *Queue) skilled(e *Entry, a *Agent, now time.Time) bool {
	if e.Class == SOS || len(e.Skills) == 0 || !now.Before(e.At.Add(q.limits.RelaxAfter)) || has(a, e.Skills) {
		return true
	}
	for _, other := range q.agents {
		if other.State != Offline && other.Phone && has(other, e.Skills) {
			return false
		}
	}
	return true
}

func has(a *Agent, skills []string) bool {
	return !slices.ContainsFunc(skills, func(s string) bool { return !slices.Contains(a.Skills, s) })
}

// passedOver tells whether the operator missed this call lately and is not to be
// rung for it now. If nobody else is there he is rung again, but not at once.
func (q *Queue) passedOver(e *Entry, a *Agent, now time.Time) bool {
	missed, ok := e.skip[a.ID]
	if !ok || now.Sub(missed) >= q.limits.Skip {
		return false
	}
	again := q.limits.Again
	if e.Class == SOS {
		again = q.limits.SOSAgain
	}
	if now.Sub(missed) < again {
		return true
	}
	for _, other := range q.agents {
		if other != a && q.eligible(e, other, now) {
			if at, ok := e.skip[other.ID]; !ok || now.Sub(at) >= q.limits.Skip {
				return true
			}
		}
	}
	return false
}

// yield takes an operator who is being rung for a less urgent call, the least urgent
// first, for an SOS that has nobody.
func (q *Queue) yield(e *Entry, now time.Time) (*Agent, Offer) {
	var best *Agent
	for _, a := range q.agents {
		if a.State != Reserved && a.State != Ringing || !a.Phone || (e.Only != "" && e.Only != a.ID) {
			continue
		}
		other := q.entries[a.Call]
		if other == nil || other.Class == SOS {
			continue
		}
		if _, missed := e.skip[a.ID]; missed {
			continue
		}
		if best == nil || cmp.Or(cmp.Compare(q.entries[best.Call].Class, other.Class), best.Since.Compare(a.Since), cmp.Compare(a.ID, best.ID)) < 0 {
			best = a
		}
	}
	if best == nil {
		return nil, Offer{}
	}
	from := Offer{Call: best.Call, Operator: best.ID, Epoch: best.Epoch, Class: q.entries[best.Call].Class}
	q.unring(best, now)
	return best, from
}

// reserve gives the operator a new epoch and the call.
func (q *Queue) reserve(a *Agent, e *Entry, now time.Time) Offer {
	a.back, a.backUntil = a.State, a.Until
	a.Epoch++
	a.Call = e.Call
	a.Until = now.Add(q.limits.Reach)
	e.offers[a.ID] = a.Epoch
	q.move(a, Reserved, now)
	return Offer{Call: e.Call, Operator: a.ID, Epoch: a.Epoch, Class: e.Class}
}

// Rings says that the operator's telephone rings now.
func (q *Queue) Rings(now time.Time, o Offer) {
	a := q.held(o)
	if a == nil || a.State != Reserved {
		return
	}
	ring := q.limits.Ring
	if o.Class == SOS {
		ring = q.limits.SOSRing
	}
	a.Until = now.Add(ring)
	q.move(a, Ringing, now)
}

// held is the operator of an offer that stands.
func (q *Queue) held(o Offer) *Agent {
	a := q.agents[o.Operator]
	if a == nil || a.Epoch != o.Epoch || a.Call != o.Call {
		return nil
	}
	return a
}

// Accept gives the call to the operator who answered: the first one wins. The others
// were never away: no miss, and their old place among the idle.
func (q *Queue) Accept(now time.Time, o Offer) (losers []Offer, won bool) {
	a, e := q.held(o), q.entries[o.Call]
	if a == nil || e == nil || (a.State != Reserved && a.State != Ringing) {
		return nil, false
	}
	delete(e.offers, a.ID)
	losers = q.withdraw(e, now)
	delete(q.entries, e.Call)
	switch e.Class {
	case Normal:
		q.normals++
	case Callback:
		q.normals = 0
	}
	q.talks[e.Call] = now.Add(q.limits.Lease)
	a.Until, a.Misses, a.back = time.Time{}, 0, ""
	q.move(a, Talking, now)
	return losers, true
}

// withdraw ends every offer of a call without blame.
func (q *Queue) withdraw(e *Entry, now time.Time) []Offer {
	var gone []Offer
	for _, id := range slices.Sorted(maps.Keys(e.offers)) {
		gone = append(gone, Offer{Call: e.Call, Operator: id, Epoch: e.offers[id], Class: e.Class})
		q.unring(q.agents[id], now)
	}
	return gone
}

// unring leads an operator back to where the offer found him.
func (q *Queue) unring(a *Agent, now time.Time) {
	if e := q.entries[a.Call]; e != nil {
		delete(e.offers, a.ID)
	}
	a.Call = ""
	back, until := a.back, a.backUntil
	a.back, a.Until = "", time.Time{}
	switch {
	case a.wish != "":
		q.grant(a, now)
	case back == WrapUp && until.After(now):
		a.Until = until
		q.move(a, WrapUp, now)
	case back == Break:
		q.move(a, Break, now)
	default:
		q.move(a, Ready, now)
	}
}

// Miss ends an offer that the operator did not take: no answer, rejected, or the
// telephone could not be reached. The call keeps its place and passes him over for
// a while; at the second miss he is sent on a break, unless nobody else would be left.
func (q *Queue) Miss(now time.Time, o Offer, unreachable bool) bool {
	a := q.held(o)
	if a == nil || (a.State != Reserved && a.State != Ringing) {
		return false
	}
	if e := q.entries[o.Call]; e != nil {
		e.skip[a.ID] = now
	}
	if !unreachable {
		a.Misses++
	}
	a.Idle = now
	q.unring(a, now)
	if a.Misses >= q.limits.Misses && a.State == Ready && !q.last(a) {
		a.Misses = 0
		a.Reason = "no_answer"
		q.move(a, Break, now)
	}
	return true
}

// last tells whether no other operator could be rung.
func (q *Queue) last(a *Agent) bool {
	for _, other := range q.agents {
		if other != a && other.Phone && (other.State == Ready || other.State == Reserved || other.State == Ringing) {
			return false
		}
	}
	return true
}

// Drop takes a call out: the caller is gone, or it is served otherwise. Its offers
// are withdrawn without blame.
func (q *Queue) Drop(now time.Time, call care.CallID) []Offer {
	e := q.entries[call]
	if e == nil {
		return nil
	}
	gone := q.withdraw(e, now)
	delete(q.entries, call)
	return gone
}

// End says that the operator's part of a call is over: wrap-up begins, or, when
// nothing is to be written up, he is ready.
func (q *Queue) End(now time.Time, call care.CallID, wrapUp bool) {
	delete(q.talks, call)
	for _, a := range q.agents {
		if a.Call != call || (a.State != Talking && a.State != Hold) {
			continue
		}
		a.Call = ""
		a.Idle = now
		switch {
		case wrapUp:
			a.Until = now.Add(q.limits.WrapUp)
			q.move(a, WrapUp, now)
		case a.wish != "":
			q.grant(a, now)
		default:
			q.move(a, Ready, now)
		}
	}
}

// Hold says that the operator put the caller on hold, or took him back.
func (q *Queue) Hold(now time.Time, call care.CallID, on bool) {
	for _, a := range q.agents {
		switch {
		case a.Call == call && on && a.State == Talking:
			q.move(a, Hold, now)
		case a.Call == call && !on && a.State == Hold:
			q.move(a, Talking, now)
		}
	}
}

// Tick does what the clock asks for: offers and wrap-ups end. It returns the offers
// that ended, whose telephones are to be silenced.
func (q *Queue) Tick(now time.Time) []Offer {
	var ended []Offer
	for _, id := range slices.Sorted(maps.Keys(q.agents)) {
		a := q.agents[id]
		if a.Until.IsZero() || a.Until.After(now) {
			continue
		}
		switch a.State {
		case Reserved, Ringing:
			o := Offer{Call: a.Call, Operator: a.ID, Epoch: a.Epoch}
			if e := q.entries[a.Call]; e != nil {
				o.Class = e.Class
			}
			q.Miss(now, o, a.State == Reserved)
			ended = append(ended, o)
		case WrapUp:
			a.Until = time.Time{}
			if a.wish != "" {
				q.grant(a, now)
				continue
			}
			q.move(a, Ready, now)
		}
	}
	return ended
}

// Repair is something that stood still and should not have: a bug elsewhere.
type Repair struct {
	Call     care.CallID
	Operator care.UserID
	What     string // entry_without_owner, talk_without_owner, engaged_without_call
}

// Sweep ends what nobody owns any more.
func (q *Queue) Sweep(now time.Time) []Repair {
	var repairs []Repair
	for call, e := range q.entries {
		if e.lease.Before(now) {
			q.Drop(now, call)
			repairs = append(repairs, Repair{Call: call, What: "entry_without_owner"})
		}
	}
	for call, lease := range q.talks {
		if lease.Before(now) {
			q.End(now, call, false)
			repairs = append(repairs, Repair{Call: call, What: "talk_without_owner"})
		}
	}
	for _, a := range q.agents {
		_, talks := q.talks[a.Call]
		_, waits := q.entries[a.Call]
		if a.State.Engaged() && !talks && !waits {
			repairs = append(repairs, Repair{Call: a.Call, Operator: a.ID, What: "engaged_without_call"})
			a.Call, a.Until = "", time.Time{}
			q.move(a, Ready, now)
		}
	}
	return repairs
}

// Idle tells whether a call waits without an offer although somebody could be rung
// for it: must never be so after Match.
func (q *Queue) Idle(now time.Time) bool {
	for _, e := range q.entries {
		if len(e.offers) == 0 && q.pick(e, now) != nil {
			return true
		}
	}
	return false
}
