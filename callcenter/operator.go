package callcenter

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"
	"go.uber.org/zap"

	"anling/callcenter/acd"
	"anling/care"
	"anling/event"
)

// desk is an operator with what is still to be stored of him.
type desk struct {
	row    Operator
	saved  int64 // version of the stored row
	events []event.Event
}

const deskEvents = 256 // facts of one operator that wait for the store

// PutOperator makes an operator known, or takes over his new name, telephone and
// skills. The state is not taken from o: it goes on where it was.
func (s *Service) PutOperator(o Operator) {
	on := o.Account != "" && s.o.Phones.Registered(o.Account)
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.ready:
		s.signOn(o)
		s.queue.SetPhone(o.UserID, on)
		s.note(s.queue.Changed())
	default:
		s.early = append(s.early, o)
	}
}

// signOn is called with mu held.
func (s *Service) signOn(o Operator) {
	d := s.desk[o.UserID]
	if d == nil {
		d = &desk{}
		s.desk[o.UserID] = d
	}
	d.row.UserID, d.row.Name, d.row.Account, d.row.Skills, d.row.Role = o.UserID, o.Name, o.Account, o.Skills, o.Role
	s.queue.SignOn(s.now(), acd.Agent{ID: o.UserID, Skills: o.Skills, State: d.row.State, Reason: d.row.Reason, Since: d.row.Since, Idle: d.row.Idle,
		Misses: d.row.Misses, Epoch: d.row.Epoch})
	s.note(s.queue.Changed())
}

// note takes over what the queue changed; mu is held.
func (s *Service) note(changes []acd.Agent) {
	for _, a := range changes {
		d := s.desk[a.ID]
		if d == nil {
			continue
		}
		r := &d.row
		r.State, r.Reason, r.Phone, r.CallID, r.Since, r.Idle, r.Deadline, r.Misses, r.Epoch = a.State, a.Reason, a.Phone, a.Call, a.Since, a.Idle, a.Until, a.Misses, a.Epoch
		r.Version++
		body := map[string]any{"state": r.State, "phone": r.Phone, "epoch": r.Epoch}
		if r.Reason != "" {
			body["reason"] = r.Reason
		}
		if r.CallID != "" {
			body["call_id"] = r.CallID
		}
		if len(d.events) == deskEvents {
			d.events = d.events[1:]
		}
		d.events = append(d.events, event.Event{ID: uuid.Must(uuid.NewV7()).String(), Type: OperatorState, V: 1, Agg: "operator", AggID: string(r.UserID),
			Seq: r.Version, At: s.now(), Actor: "operator:" + string(r.UserID), Body: event.Body(body)})
	}
	if len(changes) > 0 {
		select {
		case s.wake <- struct{}{}:
		default:
		}
	}
}

// Operators are all that are known, with their states.
func (s *Service) Operators(context.Context) ([]Operator, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []Operator
	for _, a := range s.queue.Agents() {
		if d := s.desk[a.ID]; d != nil {
			all = append(all, d.row)
		}
	}
	return all, nil
}

// SetState is an operator's own wish: ready, break or offline. While he talks it is
// kept for the end of the call.
func (s *Service) SetState(ctx context.Context, id care.UserID, to State, reason string) error {
	select {
	case <-s.ready:
	case <-ctx.Done():
		return ctx.Err()
	}
	var err error
	s.act(func(q *acd.Queue) []acd.Offer {
		var gone []acd.Offer
		role := ""
		if d := s.desk[id]; d != nil {
			role = d.row.Role
		}
		gone, err = q.SetState(s.now(), id, to, reason, role == "supervisor" || role == "admin")
		return gone
	})
	return err
}

// phoneChanged is a telephone that signed in or out.
func (s *Service) phoneChanged(account string, on bool) {
	s.act(func(q *acd.Queue) []acd.Offer {
		for id, d := range s.desk {
			if d.row.Account == account {
				q.SetPhone(id, on)
			}
		}
		return nil
	})
}

// checkPhones makes sure that no change of a telephone was missed.
func (s *Service) checkPhones() {
	s.mu.Lock()
	accounts := map[care.UserID]string{}
	for id, d := range s.desk {
		accounts[id] = d.row.Account
	}
	s.mu.Unlock()
	on := map[care.UserID]bool{}
	for id, account := range accounts {
		on[id] = account != "" && s.o.Phones.Registered(account)
	}
	s.act(func(q *acd.Queue) []acd.Offer {
		for id := range on {
			q.SetPhone(id, on[id])
		}
		return nil
	})
}

// stands tells whether an offer has not been withdrawn.
func (s *Service) stands(o acd.Offer) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	a, ok := s.queue.Agent(o.Operator)
	return ok && a.Call == o.Call && a.Epoch == o.Epoch
}

// storeOperators writes the operators' rows behind their changes until ctx ends, and
// once more after it.
func (s *Service) storeOperators(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.Background(), writeLimit)
			defer cancel()
			s.storeDesks(last)
			return
		case <-s.wake:
		}
		if s.storeDesks(ctx) {
			continue
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
		select {
		case s.wake <- struct{}{}:
		default:
		}
	}
}

func (s *Service) storeDesks(ctx context.Context) bool {
	s.mu.Lock()
	var all []desk
	for _, d := range s.desk {
		if len(d.events) > 0 {
			all = append(all, *d)
		}
	}
	s.mu.Unlock()
	if len(all) == 0 {
		return true
	}
	once, cancel := context.WithTimeout(ctx, writeLimit)
	defer cancel()
	err := s.o.Store.Change(once, func(tx Tx) error {
		for _, d := range all {
			if err := tx.SaveOperator(d.row, d.saved); err != nil {
				return err
			}
			if err := tx.Append(d.events...); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		s.log.Error("store the operators' states", zap.Error(err))
		if errors.Is(err, event.ErrConflict) {
			s.rereadDesks(ctx)
		}
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, done := range all {
		d := s.desk[done.row.UserID]
		d.saved = done.row.Version
		for len(d.events) > 0 && d.events[0].Seq <= done.row.Version {
			d.events = d.events[1:]
		}
	}
	return true
}

// rereadDesks is for rows that are not as they were left: a write whose answer was
// lost, or rows that could not be read at the start.
func (s *Service) rereadDesks(ctx context.Context) {
	rows, err := s.o.Store.Operators(ctx)
	if err != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range rows {
		d := s.desk[r.UserID]
		if d == nil || r.Version == d.saved {
			continue
		}
		for len(d.events) > 0 && d.row.Version > d.saved && d.events[0].Seq <= r.Version && r.Version <= d.row.Version {
			d.events = d.events[1:]
		}
		d.saved = r.Version
		if d.row.Version <= r.Version && len(d.events) > 0 {
			for i := range d.events {
				d.events[i].Seq = r.Version + int64(i) + 1
			}
			d.row.Version = r.Version + int64(len(d.events))
		}
	}
}
