package web

import (
	"context"
	"io"
	"time"

	"anling/care"
	"anling/dispatch"
	"anling/dispatch/assign"
)

// Users keeps accounts, sessions and the audit log; store.Users fills it.
type Users interface {
	User(ctx context.Context, id care.UserID) (care.User, error)
	UserByName(ctx context.Context, name string) (care.User, error)
	Users(ctx context.Context) ([]care.User, error)
	AddUser(ctx context.Context, u care.User, phone *care.Telephone, actor string) (care.User, error)
	SaveUser(ctx context.Context, u care.User, actor string) (care.User, error)
	OpenSession(ctx context.Context, s care.Session) error
	Session(ctx context.Context, hash string) (care.Session, care.User, error)
	TouchSession(ctx context.Context, hash string, seen, expires time.Time) error
	EndSession(ctx context.Context, hash string) error
	Audit(ctx context.Context, e care.AuditEntry) error
	AuditLog(ctx context.Context, below int64, limit int) ([]care.AuditEntry, error)
	CheckAudit(ctx context.Context) (lines int64, err error)
}

// Opener opens incidents; dispatch.Board fills it, or its guard with the journal.
type Opener interface {
	Open(ctx context.Context, r care.OpenRequest) (care.Opened, error)
}

// Incidents are the commands and lists of the desk; dispatch.Board fills it.
type Incidents interface {
	Opener
	Incidents(ctx context.Context, status string, limit int) ([]dispatch.Incident, error)
	OpenVersions(ctx context.Context, limit int) (map[care.IncidentID]int64, error)
	Incident(ctx context.Context, id care.IncidentID) (dispatch.Detail, error)
	Record(ctx context.Context, id care.IncidentID) (dispatch.Incident, error)
	IncidentsOfElder(ctx context.Context, id care.ElderID, limit int) ([]dispatch.Incident, error)
	Recommend(ctx context.Context, id care.IncidentID, limit int) ([]assign.Candidate, error)
	Take(ctx context.Context, id care.IncidentID, u care.UserID, takeOver bool) (dispatch.Incident, error)
	Classify(ctx context.Context, id care.IncidentID, u care.UserID, claim int64, kinds []care.Kind, p care.Priority, elder care.ElderID) (dispatch.Incident, error)
	Note(ctx context.Context, id care.IncidentID, u care.UserID, text string) (dispatch.Incident, error)
	Dispatch(ctx context.Context, id care.IncidentID, u care.UserID, claim int64, key string, only []care.ResponderID) (assign.Assignment, error)
	Withdraw(ctx context.Context, id care.AssignmentID, u care.UserID, reason string) (assign.Assignment, error)
	Resolve(ctx context.Context, id care.IncidentID, u care.UserID, claim int64, how string) (dispatch.Incident, error)
	Close(ctx context.Context, id care.IncidentID, u care.UserID, claim int64, end dispatch.Closing) (dispatch.Incident, error)
	Reopen(ctx context.Context, id care.IncidentID, u care.UserID, reason string) (dispatch.Incident, error)
	Merge(ctx context.Context, id, into care.IncidentID, u care.UserID) (dispatch.Incident, error)
	Alarms(ctx context.Context, after int64, limit int) ([]dispatch.AlarmRow, error)
	Tasks(ctx context.Context) ([]dispatch.Task, error)
	TakeTask(ctx context.Context, id string, u care.UserID) (dispatch.Task, error)
	DoneTask(ctx context.Context, id string, u care.UserID, note string) (dispatch.Task, error)
}

// Engine is offers, assignments and where responders are; assign.Engine fills it.
type Engine interface {
	Accept(ctx context.Context, in assign.Answer) (assign.Result, error)
	Decline(ctx context.Context, in assign.Answer) (assign.Result, error)
	SeenBy(ctx context.Context, in assign.Answer) (assign.Result, error)
	Advance(ctx context.Context, id care.AssignmentID, by care.ResponderID, to assign.Status, outcome, actor string) (assign.Assignment, error)
	GiveUp(ctx context.Context, id care.AssignmentID, by care.ResponderID, reason, actor string) (assign.Assignment, error)
	Assignment(ctx context.Context, id care.AssignmentID) (assign.Assignment, error)
	Assignments(ctx context.Context, kind, id string) ([]assign.Assignment, error)
	Offer(ctx context.Context, id care.OfferID) (assign.Offer, error)
	Offers(ctx context.Context, id care.AssignmentID) ([]assign.Offer, error)
	OffersOf(ctx context.Context, id care.ResponderID) ([]assign.Offer, error)
	Snapshot() []assign.Snapshot
	Move(id care.ResponderID, fix care.Fix) bool
}

// Signer makes the tokens of provider apps; wire fills it from bus.Signer.
type Signer interface {
	SignProvider(provider care.ProviderID, user string, until time.Time) (token string, err error)
}

// Importer loads a CSV list into the registry; wire fills it.
type Importer interface {
	Import(ctx context.Context, kind string, from io.Reader, o care.ImportOptions) (ImportReport, error)
}

// Registry is who is served, with what, and by whom; care.Registry fills it.
type Registry interface {
	Elder(ctx context.Context, id care.ElderID) (care.Elder, error)
	Search(ctx context.Context, q string, limit int) ([]care.ElderHit, error)
	Device(ctx context.Context, id care.DeviceID) (care.Device, error)
	Devices(ctx context.Context, f care.DeviceFilter) ([]care.Device, error)
	Providers(ctx context.Context) ([]care.Provider, error)
	Provider(ctx context.Context, id care.ProviderID) (care.Provider, error)
	Responder(ctx context.Context, id care.ResponderID) (care.Responder, error)
	Responders(ctx context.Context) ([]care.Responder, error)
	SetDuty(ctx context.Context, id care.ResponderID, duty, actor string) error
}
