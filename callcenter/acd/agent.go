package acd

import (
	"cmp"
	"slices"
	"time"

	"anling/care"
)

// SignOn makes an operator known, or takes over new skills. A new one is offline
// unless the agent says otherwise: after a restart he goes on where he was.
func (q *Queue) SignOn(now time.Time, n Agent) {
	if a := q.agents[n.ID]; a != nil {
		a.Skills = n.Skills
		return
	}
	switch {
	case n.State == "":
		n.State = Offline
	case n.State.Engaged() || n.State == WrapUp:
		n.State = Ready // what he was doing ended with the server's last life
	}
	if n.Since.IsZero() {
		n.Since = now
	}
	if n.Idle.IsZero() {
		n.Idle = now
	}
	n.Call, n.Until = "", time.Time{}
	q.agents[n.ID] = &n
	q.changed = append(q.changed, n)
}

// SetPhone says whether the operator's telephone can be rung.
func (q *Queue) SetPhone(id care.UserID, on bool) {
	if a := q.agents[id]; a != nil && a.Phone != on {
		a.Phone = on
		q.changed = append(q.changed, *a)
	}
}

// SetState is the operator's own wish: ready, break or offline. While he talks it
// waits for the end of the call; while he is being rung the offer ends. The last one
// who could be rung takes a break only when a supervisor says so.
func (q *Queue) SetState(now time.Time, id care.UserID, to State, reason string, supervisor bool) ([]Offer, error) {
	a := q.agents[id]
	if a == nil {
		return nil, care.NotFound("operator", string(id))
	}
	if to != Ready && to != Break && to != Offline {
		return nil, care.Invalid("state", "%q is not one of ready, break, offline", to)
	}
	if to == Break && a.State != Break && a.Phone && !supervisor && q.last(a) {
		return nil, care.Refuse(care.ErrForbidden, "you are the last operator who can be rung: ask the supervisor for a break")
	}
	a.Misses = 0
	switch a.State {
	case to:
		a.wish = ""
		return nil, nil
	case Talking, Hold:
		a.wish, a.wishFor = to, reason
		if to == Ready {
			a.wish = ""
		}
		return nil, nil
	case Reserved, Ringing:
		if to == Ready {
			return nil, nil
		}
		gone := []Offer{{Call: a.Call, Operator: a.ID, Epoch: a.Epoch}}
		if e := q.entries[a.Call]; e != nil {
			gone[0].Class = e.Class
			e.skip[a.ID] = now
		}
		a.wish, a.wishFor = to, reason
		q.unring(a, now)
		return gone, nil
	}
	a.wish, a.wishFor = to, reason
	a.Until = time.Time{}
	q.grant(a, now)
	return nil, nil
}

// grant does what was asked for.
func (q *Queue) grant(a *Agent, now time.Time) {
	to := a.wish
	a.wish, a.Reason = "", ""
	if to == Break {
		a.Reason = a.wishFor
	}
	if to == Ready {
		a.Idle = now
	}
	q.move(a, to, now)
}

// move is the one place where an operator's state changes.
func (q *Queue) move(a *Agent, to State, now time.Time) {
	if a.State == to {
		return
	}
	if !CanMove(a.State, to) {
		panic("acd: operator from " + string(a.State) + " to " + string(to)) // only a mistake here
	}
	if to != Break {
		a.Reason = ""
	}
	a.State, a.Since = to, now
	q.changed = append(q.changed, *a)
}

// Changed hands over the changes since it was last called, in order.
func (q *Queue) Changed() []Agent {
	c := q.changed
	q.changed = nil
	return c
}

// Agents lists the operators by id.
func (q *Queue) Agents() []Agent {
	all := make([]Agent, 0, len(q.agents))
	for _, a := range q.agents {
		all = append(all, *a)
	}
	slices.SortFunc(all, func(a, b Agent) int { return cmp.Compare(a.ID, b.ID) })
	return all
}

// Agent is one operator.
func (q *Queue) Agent(id care.UserID) (Agent, bool) {
	a := q.agents[id]
	if a == nil {
		return Agent{}, false
	}
	return *a, true
}
