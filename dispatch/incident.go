// Package dispatch keeps the incidents: an alarm or a call becomes one durable
// incident, which somebody answers, to which somebody is sent, and which a named
// person closes. Every open incident owns an armed deadline or an operator's task.
package dispatch

import (
	"slices"
	"time"

	"anling/care"
	"anling/dispatch/assign"
	"anling/event"
)

// Status of an incident.
//
//	raised → ringing → answered → dispatching → attending → resolved → closed
//	   any open one may be merged into another; resolved and closed may be reopened
//
// Offers do not wait for the operator, so raised and ringing may be followed by
// attending; who answers is asked for all the same until somebody does.
type Status string

const (
	Raised      Status = "raised"
	Ringing     Status = "ringing"
	Answered    Status = "answered"
	Dispatching Status = "dispatching"
	Attending   Status = "attending"
	Resolved    Status = "resolved"
	Closed      Status = "closed"
	Merged      Status = "merged"
)

var moves = map[Status][]Status{
	Raised:      {Ringing, Answered, Dispatching, Attending, Resolved, Merged},
	Ringing:     {Answered, Dispatching, Attending, Resolved, Merged},
	Answered:    {Dispatching, Attending, Resolved, Merged},
	Dispatching: {Answered, Attending, Resolved, Merged},
	Attending:   {Dispatching, Resolved, Merged},
	Resolved:    {Closed, Answered},
	Closed:      {Answered},
}

// Statuses lists all of them.
func Statuses() []Status {
	return []Status{Raised, Ringing, Answered, Dispatching, Attending, Resolved, Closed, Merged}
}

// CanMove tells whether a status may follow another.
func CanMove(from, to Status) bool { return slices.Contains(moves[from], to) }

// Open tells whether somebody still has to do something.
func (s Status) Open() bool { return s != Closed && s != Merged }

// Incident is one emergency of one elder, from the first press to the closure.
type Incident struct {
	ID         care.IncidentID `json:"id"`
	No         string          `json:"no"` // for people: date and number
	Status     Status          `json:"status"`
	Source     string          `json:"source"` // device, call, sensor, manual
	Kinds      []care.Kind     `json:"kinds"`
	Priority   care.Priority   `json:"priority"`
	ElderID    care.ElderID    `json:"elder_id,omitempty"`
	DeviceID   care.DeviceID   `json:"device_id,omitempty"`
	ClaimedID  string          `json:"claimed_id,omitempty"` // identity stated by an unknown device
	CallIDs    []care.CallID   `json:"call_ids,omitempty"`
	Locations  []care.Fix      `json:"locations,omitempty"` // best first
	Area       care.AreaCode   `json:"area,omitempty"`
	Presses    int             `json:"presses"` // alarms and calls joined to it
	Owner      care.UserID     `json:"owner,omitempty"`
	Claim      int64           `json:"claim"` // fencing token of the owner
	Rung       int             `json:"rung"`  // of the ladder while nobody answers
	Unattended bool            `json:"unattended,omitempty"`
	Unoffered  bool            `json:"unoffered,omitempty"` // the first offers are due, without an operator
	Drill      bool            `json:"drill,omitempty"`
	OpenedAt   time.Time       `json:"opened_at"`
	LastAt     time.Time       `json:"last_at"` // of the last alarm or call
	AnsweredAt time.Time       `json:"answered_at,omitzero"`
	ResolvedAt time.Time       `json:"resolved_at,omitzero"`
	ClosedAt   time.Time       `json:"closed_at,omitzero"`
	ClosedBy   care.UserID     `json:"closed_by,omitempty"`
	Closing    *Closing        `json:"closing,omitempty"`
	MergedInto care.IncidentID `json:"merged_into,omitempty"`
	Notes      []Note          `json:"notes,omitempty"`
	Deadline   time.Time       `json:"deadline,omitzero"` // of the next step
	Version    int64           `json:"version"`
}

// Note is what an operator wrote. It stays in the record: facts only tell that
// there is one.
type Note struct {
	At   time.Time   `json:"at"`
	By   care.UserID `json:"by"`
	Text string      `json:"text"`
}

// Closing is what a person says at the end.
type Closing struct {
	Outcome    string `json:"outcome"`               // helped_at_home, hospital, safe_no_help, nobody_found, other_service …
	FalseClass string `json:"false_class,omitempty"` // empty, accidental, test, device_fault, misuse
	FollowUp   string `json:"follow_up,omitempty"`
	Note       string `json:"note,omitempty"`
}

// Outcomes are the dispositions that Close takes.
var Outcomes = []string{"helped_at_home", "hospital", "safe_no_help", "nobody_found", "handed_to_120", "handed_to_110", "handed_to_119", "false_alarm", "test", "deceased", "other"}

// Task is something an operator must do.
type Task struct {
	ID           string            `json:"id"` // "<kind>-<what it is about>": one open task a matter
	Kind         string            `json:"kind"`
	IncidentID   care.IncidentID   `json:"incident_id,omitempty"`
	AssignmentID care.AssignmentID `json:"assignment_id,omitempty"`
	DeviceID     care.DeviceID     `json:"device_id,omitempty"`
	ElderID      care.ElderID      `json:"elder_id,omitempty"`
	AlarmID      care.AlarmID      `json:"alarm_id,omitempty"`
	Kinds        []care.Kind       `json:"kinds,omitempty"`
	ClaimedID    string            `json:"claimed_id,omitempty"`
	Priority     care.Priority     `json:"priority"`
	Count        int               `json:"count"` // how often it came up
	Open         bool              `json:"open"`
	TakenBy      care.UserID       `json:"taken_by,omitempty"`
	DoneBy       care.UserID       `json:"done_by,omitempty"`
	Note         string            `json:"note,omitempty"`
	CreatedAt    time.Time         `json:"created_at"`
	UpdatedAt    time.Time         `json:"updated_at"`
	Version      int64             `json:"version"`
}

// Kinds of tasks.
const (
	TaskUnanswered  = "unanswered"     // the ladder is used up and nobody answered
	TaskNoResponder = "no_responder"   // nobody found or accepted
	TaskUnknown     = "unknown_device" // a device that the registry does not know
	TaskLate        = "late"           // a responder does not depart, arrive or report
	TaskReview      = "review"         // a step lasts longer than it should
	TaskWrapUp      = "wrap_up"        // resolved, but not closed
	TaskDevice      = "device"         // battery, tamper, fault: no incident, yet to be seen to
)

// Facts of this package.
const (
	OpenedEvent     event.Type = "dispatch.incident.opened"
	JoinedEvent     event.Type = "dispatch.incident.joined"
	RingingEvent    event.Type = "dispatch.incident.ringing"
	AnsweredEvent   event.Type = "dispatch.incident.answered"
	EscalatedEvent  event.Type = "dispatch.incident.escalated"
	ClassifiedEvent event.Type = "dispatch.incident.classified"
	NotedEvent      event.Type = "dispatch.incident.noted"
	DispatchedEvent event.Type = "dispatch.incident.dispatching"
	AttendingEvent  event.Type = "dispatch.incident.attending"
	ResolvedEvent   event.Type = "dispatch.incident.resolved"
	ClosedEvent     event.Type = "dispatch.incident.closed"
	ReopenedEvent   event.Type = "dispatch.incident.reopened"
	MergedEvent     event.Type = "dispatch.incident.merged"
	CallEvent       event.Type = "dispatch.incident.call_attached"
	TaskOpened      event.Type = "dispatch.task.opened"
	TaskTaken       event.Type = "dispatch.task.taken"
	TaskDone        event.Type = "dispatch.task.done"
	AlarmReceived   event.Type = "sos.alarm.received"
)

// DeadlineTimer is the one deadline of an incident: what must happen next.
const DeadlineTimer = "dispatch.deadline"

// Tx is one change of incidents, assignments and what belongs to them.
type Tx interface {
	assign.Tx
	Incident(id care.IncidentID) (Incident, error)
	SaveIncident(i Incident, was int64) error // was 0 inserts
	// TakeSubject makes the incident the open one of a subject ("elder:<id>"), or
	// answers which one is.
	TakeSubject(subject string, id care.IncidentID) (care.IncidentID, error)
	// SubjectOf answers which incident is the open one of a subject.
	SubjectOf(subject string) (id care.IncidentID, known bool, err error)
	DropSubjects(id care.IncidentID) error
	SaveAlarm(a care.Alarm, id care.IncidentID) error
	// AlarmBySource finds the id and the incident of an alarm; zero for none.
	AlarmBySource(sourceEventID string) (AlarmRow, error)
	NextNumber(day string) (int64, error)
	Task(id string) (Task, bool, error)
	SaveTask(t Task, was int64) error
	OpenTasksOf(id care.IncidentID) ([]Task, error)
}

func (i *Incident) move(to Status) error {
	if !CanMove(i.Status, to) {
		return care.Refuse(care.ErrTransition, "incident %s is %s: it cannot become %s", i.No, i.Status, to)
	}
	i.Status = to
	return nil
}
