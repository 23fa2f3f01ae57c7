package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"anling/care"
	"anling/dispatch"
	"anling/dispatch/assign"
	"anling/event"
	"anling/store/db"
)

// Incident implements dispatch.Store.
func (d *Dispatch) Incident(ctx context.Context, id care.IncidentID) (dispatch.Incident, error) {
	row, err := d.s.read.GetIncident(ctx, string(id))
	return read[dispatch.Incident]("incident", string(id), row.Doc, err)
}

// Incidents implements dispatch.Store.
func (d *Dispatch) Incidents(ctx context.Context, status string, limit int) ([]dispatch.Incident, error) {
	q := d.s.read
	switch status {
	case "":
		rows, err := q.RecentIncidents(ctx, int32(limit))
		return readAll[dispatch.Incident]("incidents", rows, err, func(r db.RecentIncidentsRow) string { return r.Doc })
	case "open":
		rows, err := q.OpenIncidents(ctx, int32(limit))
		return readAll[dispatch.Incident]("incidents", rows, err, func(r db.OpenIncidentsRow) string { return r.Doc })
	}
	if dispatch.Status(status).Open() {
		rows, err := q.OpenIncidentsByStatus(ctx, status, int32(limit))
		return readAll[dispatch.Incident]("incidents", rows, err, func(r db.OpenIncidentsByStatusRow) string { return r.Doc })
	}
	rows, err := q.IncidentsByStatus(ctx, status, int32(limit))
	return readAll[dispatch.Incident]("incidents", rows, err, func(r db.IncidentsByStatusRow) string { return r.Doc })
}

// OpenIncidents implements dispatch.Store.
func (d *Dispatch) OpenIncidents(ctx context.Context) (int64, error) {
	n, err := d.s.read.CountOpenIncidents(ctx)
	if err != nil {
		return 0, fmt.Errorf("count open incidents: %w", err)
	}
	return n, nil
}

// OpenVersions implements dispatch.Store.
func (d *Dispatch) OpenVersions(ctx context.Context, limit int) (map[care.IncidentID]int64, error) {
	rows, err := d.s.read.OpenVersions(ctx, int32(limit))
	if err != nil {
		return nil, fmt.Errorf("versions of open incidents: %w", err)
	}
	all := make(map[care.IncidentID]int64, len(rows))
	for _, r := range rows {
		all[care.IncidentID(r.ID)] = r.Version
	}
	return all, nil
}

// IncidentsOfElder implements dispatch.Store.
func (d *Dispatch) IncidentsOfElder(ctx context.Context, id care.ElderID, limit int) ([]dispatch.Incident, error) {
	rows, err := d.s.read.IncidentsOfElder(ctx, string(id), int32(limit))
	return readAll[dispatch.Incident]("incidents", rows, err, func(r db.IncidentsOfElderRow) string { return r.Doc })
}

// OpenIncidentOf implements dispatch.Store.
func (d *Dispatch) OpenIncidentOf(ctx context.Context, subject string) (care.IncidentID, bool, error) {
	id, err := d.s.read.GetSubject(ctx, subject)
	if errors.Is(err, sql.ErrNoRows) {
		return "", false, nil
	}
	if err != nil {
		return "", false, fmt.Errorf("open incident: %w", err)
	}
	return care.IncidentID(id), true, nil
}

// Tasks implements dispatch.Store.
func (d *Dispatch) Tasks(ctx context.Context, limit int) ([]dispatch.Task, error) {
	rows, err := d.s.read.OpenTasks(ctx, int32(limit))
	return readAll[dispatch.Task]("tasks", rows, err, func(r db.OpenTasksRow) string { return r.Doc })
}

// Alarms implements dispatch.Store.
func (d *Dispatch) Alarms(ctx context.Context, after int64, limit int) ([]dispatch.AlarmRow, error) {
	rows, err := d.s.read.AlarmsSince(ctx, after, int32(limit))
	if err != nil {
		return nil, fmt.Errorf("list alarms: %w", err)
	}
	all := make([]dispatch.AlarmRow, 0, len(rows))
	for _, r := range rows {
		a, err := read[care.Alarm]("alarm", "", r.Doc, nil)
		if err != nil {
			return nil, err
		}
		all = append(all, dispatch.AlarmRow{Pos: r.Pos, IncidentID: care.IncidentID(r.IncidentID), Alarm: a})
	}
	return all, nil
}

// AlarmsOf implements dispatch.Store.
func (d *Dispatch) AlarmsOf(ctx context.Context, id care.IncidentID) ([]dispatch.AlarmRow, error) {
	rows, err := d.s.read.AlarmsOfIncident(ctx, string(id))
	if err != nil {
		return nil, fmt.Errorf("alarms of %s: %w", id, err)
	}
	all := make([]dispatch.AlarmRow, 0, len(rows))
	for _, r := range rows {
		a, err := read[care.Alarm]("alarm", "", r.Doc, nil)
		if err != nil {
			return nil, err
		}
		all = append(all, dispatch.AlarmRow{Pos: r.Pos, IncidentID: care.IncidentID(r.IncidentID), Alarm: a})
	}
	return all, nil
}

// Timeline implements dispatch.Store.
func (d *Dispatch) Timeline(ctx context.Context, incident string, limit int) ([]event.Event, error) {
	return d.s.Timeline(ctx, incident, limit)
}

// Unwatched implements dispatch.Store.
func (d *Dispatch) Unwatched(ctx context.Context) ([]care.IncidentID, error) {
	ids, err := d.s.read.UnwatchedIncidents(ctx)
	if err != nil {
		return nil, fmt.Errorf("unwatched incidents: %w", err)
	}
	all := make([]care.IncidentID, len(ids))
	for i, id := range ids {
		all[i] = care.IncidentID(id)
	}
	return all, nil
}

// Assignment implements assign.Store.
func (d *Dispatch) Assignment(ctx context.Context, id care.AssignmentID) (assign.Assignment, error) {
	row, err := d.s.read.GetAssignment(ctx, string(id))
	return read[assign.Assignment]("assignment", string(id), row.Doc, err)
}

// AssignmentsFor implements assign.Store.
func (d *Dispatch) AssignmentsFor(ctx context.Context, kind, id string) ([]assign.Assignment, error) {
	rows, err := d.s.read.AssignmentsFor(ctx, kind, id)
	return readAll[assign.Assignment]("assignments", rows, err, func(r db.AssignmentsForRow) string { return r.Doc })
}

// OpenAssignments implements assign.Store.
func (d *Dispatch) OpenAssignments(ctx context.Context) ([]assign.Assignment, error) {
	rows, err := d.s.read.OpenAssignments(ctx, 100000)
	return readAll[assign.Assignment]("assignments", rows, err, func(r db.OpenAssignmentsRow) string { return r.Doc })
}

// Offer implements assign.Store.
func (d *Dispatch) Offer(ctx context.Context, id care.OfferID) (assign.Offer, error) {
	row, err := d.s.read.GetOffer(ctx, string(id))
	return read[assign.Offer]("offer", string(id), row.Doc, err)
}

// OffersOf implements assign.Store.
func (d *Dispatch) OffersOf(ctx context.Context, id care.AssignmentID) ([]assign.Offer, error) {
	rows, err := d.s.read.OffersOfAssignment(ctx, string(id))
	return readAll[assign.Offer]("offers", rows, err, func(r db.OffersOfAssignmentRow) string { return r.Doc })
}

// OffersOfResponder implements assign.Store.
func (d *Dispatch) OffersOfResponder(ctx context.Context, id care.ResponderID, limit int) ([]assign.Offer, error) {
	rows, err := d.s.read.OffersOfResponder(ctx, string(id), int32(limit))
	return readAll[assign.Offer]("offers", rows, err, func(r db.OffersOfResponderRow) string { return r.Doc })
}

// Claims implements assign.Store.
func (d *Dispatch) Claims(ctx context.Context) (map[care.ResponderID]care.AssignmentID, error) {
	rows, err := d.s.read.Claims(ctx)
	if err != nil {
		return nil, fmt.Errorf("list claims: %w", err)
	}
	all := map[care.ResponderID]care.AssignmentID{}
	for _, r := range rows {
		all[care.ResponderID(r.ResponderID)] = care.AssignmentID(r.AssignmentID)
	}
	return all, nil
}
