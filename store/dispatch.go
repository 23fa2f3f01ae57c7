package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"

	"anling/care"
	"anling/dispatch"
	"anling/dispatch/assign"
	"anling/event"
	"anling/store/db"
)

// Dispatch keeps incidents, tasks, assignments and offers.
type Dispatch struct{ s *Store }

var _ dispatch.Store = (*Dispatch)(nil)

// NewDispatch is the store of dispatch and dispatch/assign.
func NewDispatch(s *Store) *Dispatch { return &Dispatch{s} }

// dispatchTx reads each incident of a change once and writes it once, at its end: one
// that is offered is saved several times on the way.
type dispatchTx struct {
	*Tx
	incidents map[care.IncidentID]*heldIncident
}

// heldIncident is an incident as the change has it now.
type heldIncident struct {
	now dispatch.Incident
	was int64 // version of the row, 0 when there is none yet
}

var _ dispatch.Tx = dispatchTx{}

func (d *Dispatch) change(ctx context.Context, f func(dispatchTx) error) error {
	return d.s.Write(ctx, Urgent, func(tx *Tx) error {
		t := dispatchTx{Tx: tx, incidents: map[care.IncidentID]*heldIncident{}}
		if err := f(t); err != nil {
			return err
		}
		for _, i := range t.incidents {
			if i.now.Version == i.was {
				continue // read only
			}
			if err := t.writeIncident(i.now, i.was); err != nil {
				return err
			}
		}
		return nil
	})
}

// Change implements dispatch.Store.
func (d *Dispatch) Change(ctx context.Context, f func(dispatch.Tx) error) error {
	return d.change(ctx, func(t dispatchTx) error { return f(t) })
}

// ChangeAssignments implements assign.Store.
func (d *Dispatch) ChangeAssignments(ctx context.Context, f func(assign.Tx) error) error {
	return d.change(ctx, func(t dispatchTx) error { return f(t) })
}

// read turns a row's document into a value, and "no row" into care.ErrNotFound.
func read[T any](what, id string, doc string, err error) (T, error) {
	var v T
	if errors.Is(err, sql.ErrNoRows) {
		return v, care.NotFound(what, id)
	}
	if err != nil {
		return v, fmt.Errorf("read %s %s: %w", what, id, err)
	}
	if err := json.Unmarshal([]byte(doc), &v); err != nil {
		return v, fmt.Errorf("read %s %s: %w", what, id, err)
	}
	return v, nil
}

// readAll is read for many rows of any generated type.
func readAll[T, R any](what string, rows []R, err error, doc func(R) string) ([]T, error) {
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", what, err)
	}
	all := make([]T, 0, len(rows))
	for _, r := range rows {
		v, err := read[T](what, "", doc(r), nil)
		if err != nil {
			return nil, err
		}
		all = append(all, v)
	}
	return all, nil
}

func document(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("store: document of %T: %v", v, err)) // only a mistake in the program
	}
	return string(b)
}

func flag(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

func (t dispatchTx) Incident(id care.IncidentID) (dispatch.Incident, error) {
	if i := t.incidents[id]; i != nil {
		return i.now, nil
	}
	i, err := t.readIncident(id)
	if err == nil {
		t.incidents[id] = &heldIncident{now: i, was: i.Version}
	}
	return i, err
}

func (t dispatchTx) readIncident(id care.IncidentID) (dispatch.Incident, error) {
	if t.alone {
		row, err := t.GetIncident(t.ctx, string(id))
		return read[dispatch.Incident]("incident", string(id), row.Doc, err)
	}
	row, err := t.LockIncident(t.ctx, string(id))
	return read[dispatch.Incident]("incident", string(id), row.Doc, err)
}

func (t dispatchTx) SaveIncident(i dispatch.Incident, was int64) error {
	if old := t.incidents[i.ID]; old == nil {
		t.incidents[i.ID] = &heldIncident{now: i, was: was}
	} else if was != old.now.Version {
		return fmt.Errorf("incident %s: %w", i.ID, event.ErrConflict)
	} else {
		old.now = i
	}
	return nil
}

func (t dispatchTx) writeIncident(i dispatch.Incident, was int64) error {
	if was == 0 {
		n, err := t.InsertIncident(t.ctx, db.InsertIncidentParams{ID: string(i.ID), No: i.No, Status: string(i.Status), Open: flag(i.Status.Open()),
			ElderID: string(i.ElderID), DeviceID: string(i.DeviceID), Priority: int64(i.Priority), OpenedUs: us(i.OpenedAt), Version: i.Version, Doc: document(i)})
		return conflict(n, err, "incident", string(i.ID))
	}
	n, err := t.UpdateIncident(t.ctx, db.UpdateIncidentParams{ID: string(i.ID), Status: string(i.Status), Open: flag(i.Status.Open()),
		ElderID: string(i.ElderID), DeviceID: string(i.DeviceID), Priority: int64(i.Priority), Version: i.Version, Doc: document(i), Version_2: was})
	return conflict(n, err, "incident", string(i.ID))
}

func (t dispatchTx) TakeSubject(subject string, id care.IncidentID) (care.IncidentID, error) {
	n, err := t.Queries.TakeSubject(t.ctx, subject, string(id))
	if err != nil {
		return "", fmt.Errorf("subject of incident %s: %w", id, err)
	}
	if n == 1 {
		return id, nil
	}
	holder, err := t.GetSubject(t.ctx, subject)
	if errors.Is(err, sql.ErrNoRows) { // closed between the two statements
		return "", fmt.Errorf("subject of incident %s: %w", id, event.ErrConflict)
	}
	if err != nil {
		return "", fmt.Errorf("subject of incident %s: %w", id, err)
	}
	return care.IncidentID(holder), nil
}

func (t dispatchTx) SubjectOf(subject string) (care.IncidentID, bool, error) {
	id, err := t.GetSubject(t.ctx, subject)
	if errors.Is(err, sql.ErrNoRows) {
		return "", false, nil
	}
	if err != nil {
		return "", false, fmt.Errorf("open incident: %w", err)
	}
	return care.IncidentID(id), true, nil
}

func (t dispatchTx) DropSubjects(id care.IncidentID) error {
	if err := t.Queries.DropSubjects(t.ctx, string(id)); err != nil {
		return fmt.Errorf("subjects of incident %s: %w", id, err)
	}
	return nil
}

func (t dispatchTx) SaveAlarm(a care.Alarm, id care.IncidentID) error {
	n, err := t.InsertAlarm(t.ctx, db.InsertAlarmParams{ID: string(a.ID), DeviceID: string(a.DeviceID), IncidentID: string(id),
		SourceEventID: a.SourceEventID, ReceivedUs: us(a.ReceivedAt), Doc: document(a)})
	return conflict(n, err, "alarm", string(a.ID))
}

func (t dispatchTx) AlarmBySource(source string) (dispatch.AlarmRow, error) {
	row, err := t.Queries.AlarmBySource(t.ctx, source)
	if errors.Is(err, sql.ErrNoRows) {
		return dispatch.AlarmRow{}, nil
	}
	if err != nil {
		return dispatch.AlarmRow{}, fmt.Errorf("alarm by its source: %w", err)
	}
	return dispatch.AlarmRow{IncidentID: care.IncidentID(row.IncidentID), Alarm: care.Alarm{ID: care.AlarmID(row.ID)}}, nil
}

func (t dispatchTx) NextNumber(name string) (int64, error) {
	n, err := t.NextCounter(t.ctx, name)
	if err != nil {
		return 0, fmt.Errorf("number of %s: %w", name, err)
	}
	return n, nil
}

func (t dispatchTx) Task(id string) (dispatch.Task, bool, error) {
	row, err := t.GetTask(t.ctx, id)
	if errors.Is(err, sql.ErrNoRows) {
		return dispatch.Task{}, false, nil
	}
	v, err := read[dispatch.Task]("task", id, row.Doc, err)
	return v, err == nil, err
}

func (t dispatchTx) SaveTask(k dispatch.Task, was int64) error {
	if was == 0 {
		n, err := t.InsertTask(t.ctx, db.InsertTaskParams{ID: k.ID, Kind: k.Kind, IncidentID: string(k.IncidentID), Open: flag(k.Open), CreatedUs: us(k.CreatedAt), Version: k.Version, Doc: document(k)})
		return conflict(n, err, "task", k.ID)
	}
	n, err := t.UpdateTask(t.ctx, db.UpdateTaskParams{ID: k.ID, Open: flag(k.Open), Version: k.Version, Doc: document(k), Version_2: was})
	return conflict(n, err, "task", k.ID)
}

func (t dispatchTx) OpenTasksOf(id care.IncidentID) ([]dispatch.Task, error) {
	rows, err := t.OpenTasksOfIncident(t.ctx, string(id))
	return readAll[dispatch.Task]("tasks", rows, err, func(r db.OpenTasksOfIncidentRow) string { return r.Doc })
}

func (t dispatchTx) Assignment(id care.AssignmentID) (assign.Assignment, error) {
	if t.alone {
		row, err := t.GetAssignment(t.ctx, string(id))
		return read[assign.Assignment]("assignment", string(id), row.Doc, err)
	}
	row, err := t.LockAssignment(t.ctx, string(id))
	return read[assign.Assignment]("assignment", string(id), row.Doc, err)
}

func (t dispatchTx) SaveAssignment(a assign.Assignment, was int64) error {
	if was == 0 {
		n, err := t.InsertAssignment(t.ctx, db.InsertAssignmentParams{ID: string(a.ID), ForKind: a.For, ForID: a.ForID, Status: string(a.Status),
			Open: flag(a.Status.Open()), CreatedUs: us(a.CreatedAt), Version: a.Version, Doc: document(a)})
		return conflict(n, err, "assignment", string(a.ID))
	}
	n, err := t.UpdateAssignment(t.ctx, db.UpdateAssignmentParams{ID: string(a.ID), Status: string(a.Status), Open: flag(a.Status.Open()), Version: a.Version, Doc: document(a), Version_2: was})
	return conflict(n, err, "assignment", string(a.ID))
}

func (t dispatchTx) AssignmentsFor(kind, id string) ([]assign.Assignment, error) {
	rows, err := t.Queries.AssignmentsFor(t.ctx, kind, id)
	return readAll[assign.Assignment]("assignments", rows, err, func(r db.AssignmentsForRow) string { return r.Doc })
}

func (t dispatchTx) Offer(id care.OfferID) (assign.Offer, error) {
	row, err := t.GetOffer(t.ctx, string(id))
	return read[assign.Offer]("offer", string(id), row.Doc, err)
}

func (t dispatchTx) OffersOf(id care.AssignmentID) ([]assign.Offer, error) {
	rows, err := t.OffersOfAssignment(t.ctx, string(id))
	return readAll[assign.Offer]("offers", rows, err, func(r db.OffersOfAssignmentRow) string { return r.Doc })
}

func (t dispatchTx) SaveOffer(o assign.Offer, was int64) error {
	if was == 0 {
		n, err := t.InsertOffer(t.ctx, db.InsertOfferParams{ID: string(o.ID), AssignmentID: string(o.AssignmentID), ResponderID: string(o.ResponderID),
			Status: string(o.Status), Open: flag(o.Status.Waiting()), SentUs: us(o.SentAt), Version: o.Version, Doc: document(o)})
		return conflict(n, err, "offer", string(o.ID))
	}
	n, err := t.UpdateOffer(t.ctx, db.UpdateOfferParams{ID: string(o.ID), Status: string(o.Status), Open: flag(o.Status.Waiting()), Version: o.Version, Doc: document(o), Version_2: was})
	return conflict(n, err, "offer", string(o.ID))
}

func (t dispatchTx) Claim(r care.ResponderID, a care.AssignmentID) error {
	n, err := t.ClaimResponder(t.ctx, string(r), string(a))
	if err != nil {
		return fmt.Errorf("claim responder %s: %w", r, err)
	}
	if n == 1 {
		return nil
	}
	holder, err := t.GetClaim(t.ctx, string(r))
	if errors.Is(err, sql.ErrNoRows) {
		return fmt.Errorf("claim responder %s: %w", r, event.ErrConflict)
	}
	if err != nil {
		return fmt.Errorf("claim responder %s: %w", r, err)
	}
	if holder != string(a) {
		return care.Refuse(care.ErrBusy, "responder %s has another assignment", r)
	}
	return nil
}

func (t dispatchTx) Release(r care.ResponderID, a care.AssignmentID) error {
	if err := t.ReleaseResponder(t.ctx, string(r), string(a)); err != nil {
		return fmt.Errorf("release responder %s: %w", r, err)
	}
	return nil
}
