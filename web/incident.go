package web

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	"anling/care"
	"anling/dispatch"
	"anling/dispatch/assign"
	"anling/geo"
)

// Incident is an incident as the reader may see it.
type Incident struct {
	dispatch.Incident
	Elder     *care.ElderView `json:"elder,omitempty"`
	Device    *DeviceBrief    `json:"device,omitempty"`
	OwnerName string          `json:"owner_name,omitempty" doc:"Display name of the operator who has it"`
}

// Detail is one incident with all that belongs to it.
type Detail struct {
	Incident    Incident        `json:"incident"`
	Elder       *care.ElderView `json:"elder,omitempty"`
	Device      *DeviceBrief    `json:"device,omitempty"`
	Assignments []Assignment    `json:"assignments"`
	Offers      []Offer         `json:"offers"`
	Alarms      []Alarm         `json:"alarms"`
	Calls       []Call          `json:"calls"`
	Tasks       []Task          `json:"tasks"`
	Timeline    []Moment        `json:"timeline" doc:"Every fact of the incident, oldest first"`
}

// Moment is one line of a timeline.
type Moment struct {
	ID        string         `json:"id"`
	At        time.Time      `json:"at"`
	Type      string         `json:"type" example:"dispatch.incident.opened"`
	Agg       string         `json:"agg"`
	AggID     string         `json:"agg_id"`
	Actor     string         `json:"actor" doc:"operator:<id>, responder:<id>, device:<id>, rule:<name>, system"`
	ActorName string         `json:"actor_name,omitempty" doc:"The actor for the reader: a person's display name, a device's kind, a rule's name"`
	Body      map[string]any `json:"body"`
}

// Task is a task of the desk.
type Task struct {
	dispatch.Task
	TakenByName string `json:"taken_by_name,omitempty"`
}

type listInput struct {
	Status string `query:"status" doc:"open, recent (default), or one status" enum:"open,recent,raised,ringing,answered,dispatching,attending,resolved,closed,merged"`
	Limit  int    `query:"limit" minimum:"0" maximum:"1000" doc:"100 by default"`
}

// OfIncident names an incident in the path. The inputs that embed it are exported
// because huma fills exported members only.
type OfIncident struct {
	ID care.IncidentID `path:"id" maxLength:"64"`
}

// incidentView shows an incident as far as the reader may see it.
func (s *Server) incidentView(ctx context.Context, u reader, i dispatch.Incident) Incident {
	v := Incident{Incident: i, OwnerName: s.names.user(ctx, i.Owner), Elder: s.elderView(ctx, i.ElderID, u.sight()), Device: s.deviceBrief(ctx, i.DeviceID)}
	if u.masked() {
		v.ClaimedID = care.MaskExternal(i.ClaimedID)
		v.Locations = make([]care.Fix, len(i.Locations))
		for n, f := range i.Locations {
			v.Locations[n] = coarse(f)
		}
	}
	if u.Role == care.RoleAdmin {
		// What operators wrote may speak of health.
		v.Notes = nil
		if i.Closing != nil {
			end := *i.Closing
			end.Note = ""
			v.Closing = &end
		}
	}
	return v
}

// coarse rounds a position to about a kilometre.
func coarse(f care.Fix) care.Fix {
	f.Point = care.MaskPoint(f.Point)
	f.AccuracyM = max(f.AccuracyM, 1000)
	return f
}

func (s *Server) incidentViews(ctx context.Context, u reader, status string, limit int) ([]Incident, error) {
	if status == "recent" {
		status = ""
	}
	all, err := s.opts.Incidents.Incidents(ctx, status, limit)
	if err != nil {
		return nil, err
	}
	views := make([]Incident, len(all))
	for n, i := range all {
		views[n] = s.incidentView(ctx, u, i)
	}
	return views, nil
}

func (s *Server) incidentDoors() {
	const tag = "incidents"
	inc := s.opts.Incidents
	add(s, door{id: "list-incidents", method: http.MethodGet, path: "/incidents", tag: tag, summary: "Incidents: the open ones by urgency, or others by time", roles: overview},
		func(ctx context.Context, u reader, in *listInput) (list[Incident], error) {
			views, err := s.incidentViews(ctx, u, in.Status, within(in.Limit, 100, 1000))
			return listOf(views), err
		})
	add(s, door{id: "get-incident", method: http.MethodGet, path: "/incidents/{id}", tag: tag, summary: "One incident with its timeline and all that belongs to it", roles: overview},
		func(ctx context.Context, u reader, in *OfIncident) (Detail, error) { return s.detail(ctx, u, in.ID) })
	add(s, door{id: "list-candidates", method: http.MethodGet, path: "/incidents/{id}/candidates", tag: tag, summary: "Responders ranked for the incident, with the reason for each", roles: deskReads},
		func(ctx context.Context, _ reader, in *struct {
			OfIncident
			Limit int `query:"limit" minimum:"0" maximum:"100" doc:"20 by default"`
		}) (list[assign.Candidate], error) {
			all, err := inc.Recommend(ctx, in.ID, within(in.Limit, 20, 100))
			return listOf(all), err
		})
	s.incidentCommands(tag)
	s.taskDoors()
	add(s, door{id: "list-alarms", method: http.MethodGet, path: "/alarms", tag: "alarms", summary: "Alarms in the order they were stored, after a position", roles: overview},
		func(ctx context.Context, _ reader, in *alarmsInput) (AlarmPage, error) { return s.alarmPage(ctx, in) })
}

// answered shows the incident that a command left behind.
func (s *Server) answered(ctx context.Context, u reader, i dispatch.Incident, err error) (Incident, error) {
	if err != nil {
		return Incident{}, err
	}
	return s.incidentView(ctx, u, i), nil
}

type openInput struct {
	Key  string `header:"Idempotency-Key" maxLength:"128"`
	Body struct {
		ElderID  care.ElderID  `json:"elder_id,omitempty" maxLength:"64"`
		DeviceID care.DeviceID `json:"device_id,omitempty" maxLength:"64"`
		Kinds    []care.Kind   `json:"kinds" minItems:"1" maxItems:"16"`
		Note     string        `json:"note,omitempty" maxLength:"2000"`
		Place    *Place        `json:"place,omitempty" doc:"Where, when it is not the elder's home"`
	}
}

// Place is a point on the map, with the datum of whoever read it off.
type Place struct {
	Lat   float64 `json:"lat" minimum:"-90" maximum:"90"`
	Lng   float64 `json:"lng" minimum:"-180" maximum:"180"`
	Datum string  `json:"datum,omitempty" enum:"wgs84,gcj02,bd09,cgcs2000" doc:"wgs84 by default"`
}

func (p Place) fix(source care.FixSource, at time.Time) care.Fix {
	datum := p.Datum
	if datum == "" {
		datum = "wgs84"
	}
	point, err := geo.ToWGS84(geo.Point{Lat: p.Lat, Lng: p.Lng}, geo.Datum(datum))
	if err != nil {
		return care.Fix{} // the schema refuses any other datum
	}
	return care.Fix{Point: point, Source: source, At: at, Datum: datum}
}

// incidentCommands are what an operator does to an incident.
func (s *Server) incidentCommands(tag string) {
	inc := s.opts.Incidents
	add(s, door{id: "open-incident", method: http.MethodPost, path: "/incidents", tag: tag, summary: "Open an incident by hand, or join the open one of the elder", roles: desk},
		func(ctx context.Context, u reader, in *openInput) (Detail, error) { return s.openByHand(ctx, u, in) })
	post := func(id, verb, summary string) door {
		return door{id: id, method: http.MethodPost, path: "/incidents/{id}/" + verb, tag: tag, summary: summary, roles: desk}
	}
	add(s, post("take-incident", "take", "Become its owner; another's only by taking over"), func(ctx context.Context, u reader, in *struct {
		OfIncident
		Body struct {
			TakeOver bool `json:"take_over,omitempty" doc:"Also when another operator has it"`
		}
	}) (Incident, error) {
		i, err := inc.Take(ctx, in.ID, u.ID, in.Body.TakeOver)
		return s.answered(ctx, u, i, err)
	})
	add(s, post("classify-incident", "classify", "Set kinds and priority as heard, and the elder when unknown"), func(ctx context.Context, u reader, in *struct {
		OfIncident
		Body struct {
			Claim    int64         `json:"claim,omitempty" doc:"Fencing token of the owner"`
			Kinds    []care.Kind   `json:"kinds,omitempty" maxItems:"16"`
			Priority care.Priority `json:"priority" minimum:"1" maximum:"4"`
			ElderID  care.ElderID  `json:"elder_id,omitempty" maxLength:"64"`
		}
	}) (Incident, error) {
		if err := checkKinds(in.Body.Kinds); err != nil {
			return Incident{}, err
		}
		i, err := inc.Classify(ctx, in.ID, u.ID, in.Body.Claim, in.Body.Kinds, in.Body.Priority, in.Body.ElderID)
		return s.answered(ctx, u, i, err)
	})
	add(s, post("note-incident", "note", "Add a note to the record"), func(ctx context.Context, u reader, in *struct {
		OfIncident
		Body struct {
			Text string `json:"text" minLength:"1" maxLength:"2000"`
		}
	}) (Incident, error) {
		i, err := inc.Note(ctx, in.ID, u.ID, in.Body.Text)
		return s.answered(ctx, u, i, err)
	})
	add(s, post("dispatch-incident", "dispatch", "Offer it to the named responders, in this order, or to the best"), func(ctx context.Context, u reader, in *struct {
		OfIncident
		Key  string `header:"Idempotency-Key" maxLength:"128"`
		Body struct {
			Claim        int64              `json:"claim,omitempty"`
			ResponderIDs []care.ResponderID `json:"responder_ids,omitempty" maxItems:"20"`
		}
	}) (Assignment, error) {
		a, err := inc.Dispatch(ctx, in.ID, u.ID, in.Body.Claim, commandKey(u, in.Key), in.Body.ResponderIDs)
		return s.assigned(ctx, u, a, err)
	})
	add(s, post("resolve-incident", "resolve", "The elder is seen safe or handed over; open offers are withdrawn"), func(ctx context.Context, u reader, in *struct {
		OfIncident
		Body struct {
			Claim int64  `json:"claim,omitempty"`
			How   string `json:"how,omitempty" maxLength:"200" doc:"A word of how, no personal data"`
		}
	}) (Incident, error) {
		i, err := inc.Resolve(ctx, in.ID, u.ID, in.Body.Claim, in.Body.How)
		return s.answered(ctx, u, i, err)
	})
	add(s, post("close-incident", "close", "Close it with its disposition; it is resolved first"), func(ctx context.Context, u reader, in *struct {
		OfIncident
		Body struct {
			Claim      int64  `json:"claim,omitempty"`
			Outcome    string `json:"outcome" maxLength:"40" doc:"helped_at_home, hospital, safe_no_help, nobody_found, handed_to_120, handed_to_110, handed_to_119, false_alarm, test, deceased, other"`
			FalseClass string `json:"false_class,omitempty" maxLength:"40" doc:"accidental, test, device_fault, misuse"`
			FollowUp   string `json:"follow_up,omitempty" maxLength:"200"`
			Note       string `json:"note,omitempty" maxLength:"2000"`
		}
	}) (Incident, error) {
		b := in.Body
		i, err := inc.Close(ctx, in.ID, u.ID, b.Claim, dispatch.Closing{Outcome: b.Outcome, FalseClass: b.FalseClass, FollowUp: b.FollowUp, Note: b.Note})
		return s.answered(ctx, u, i, err)
	})
	add(s, post("reopen-incident", "reopen", "Bring a resolved or closed incident back"), func(ctx context.Context, u reader, in *struct {
		OfIncident
		Body struct {
			Reason string `json:"reason" minLength:"1" maxLength:"200"`
		}
	}) (Incident, error) {
		i, err := inc.Reopen(ctx, in.ID, u.ID, in.Body.Reason)
		return s.answered(ctx, u, i, err)
	})
	add(s, post("merge-incident", "merge", "Put it into another: its calls and presses go there"), func(ctx context.Context, u reader, in *struct {
		OfIncident
		Body struct {
			Into care.IncidentID `json:"into" minLength:"1" maxLength:"64"`
		}
	}) (Incident, error) {
		i, err := inc.Merge(ctx, in.ID, in.Body.Into, u.ID)
		return s.answered(ctx, u, i, err)
	})
}

// checkKinds refuses what a person cannot have meant; of a device any kind is taken.
func checkKinds(kinds []care.Kind) error {
	for n, k := range kinds {
		if !k.Known() {
			return care.Invalid(fmt.Sprintf("kinds[%d]", n), "%q is not a kind of alarm", k)
		}
	}
	return nil
}

// openByHand opens an incident for what an operator saw or heard.
func (s *Server) openByHand(ctx context.Context, u reader, in *openInput) (Detail, error) {
	b, now := in.Body, s.now()
	if err := checkKinds(b.Kinds); err != nil {
		return Detail{}, err
	}
	r := care.OpenRequest{Key: "manual:" + commandKey(u, in.Key), Digest: string(b.ElderID), Source: "manual", Actor: u.actor(), Kinds: b.Kinds,
		ElderID: b.ElderID, DeviceID: b.DeviceID, At: now}
	if b.Place != nil {
		r.Locations = append(r.Locations, b.Place.fix(care.FixApp, now))
	}
	if b.ElderID != "" && s.opts.Registry != nil {
		e, err := s.opts.Registry.Elder(ctx, b.ElderID)
		if err != nil {
			return Detail{}, err
		}
		r.Area = e.AreaCode
		if !e.Home.IsZero() {
			r.Locations = append(r.Locations, care.Fix{Point: e.Home, Source: care.FixHome, At: e.UpdatedAt, Datum: "wgs84"})
		}
	}
	opened, err := s.opts.Incidents.Open(ctx, r)
	if err != nil {
		return Detail{}, err
	}
	if b.Note != "" && !opened.Repeat {
		if _, err := s.opts.Incidents.Note(ctx, opened.IncidentID, u.ID, b.Note); err != nil {
			return Detail{}, err
		}
	}
	return s.detail(ctx, u, opened.IncidentID)
}

// detail reads an incident with all that belongs to it.
func (s *Server) detail(ctx context.Context, u reader, id care.IncidentID) (Detail, error) {
	d, err := s.opts.Incidents.Incident(ctx, id)
	if err != nil {
		return Detail{}, err
	}
	v := Detail{Incident: s.incidentView(ctx, u, d.Incident), Assignments: []Assignment{}, Offers: []Offer{}, Alarms: []Alarm{}, Calls: []Call{}, Tasks: []Task{}, Timeline: []Moment{}}
	v.Elder, v.Device = v.Incident.Elder, v.Incident.Device
	for _, a := range d.Assignments {
		v.Assignments = append(v.Assignments, s.assignmentView(ctx, u, a, nil))
	}
	for _, o := range d.Offers {
		v.Offers = append(v.Offers, s.offerView(ctx, u, o))
	}
	for _, a := range d.Alarms {
		v.Alarms = append(v.Alarms, alarmView(a))
	}
	for _, c := range d.Incident.CallIDs {
		if call, err := s.call(ctx, u, c); err == nil {
			v.Calls = append(v.Calls, call)
		}
	}
	tasks, err := s.opts.Incidents.Tasks(ctx)
	if err != nil {
		return Detail{}, err
	}
	for _, t := range tasks {
		if t.IncidentID == id {
			v.Tasks = append(v.Tasks, s.taskView(ctx, u, t))
		}
	}
	for _, e := range d.Timeline {
		v.Timeline = append(v.Timeline, s.moment(ctx, u, e))
	}
	return v, nil
}

// Alarm is an alarm as the API lists it.
type Alarm struct {
	ID            care.AlarmID    `json:"id"`
	DeviceID      care.DeviceID   `json:"device_id" doc:"Empty when the device is unknown"`
	Protocol      string          `json:"protocol"`
	Kinds         []care.Kind     `json:"kinds"`
	DeviceTime    time.Time       `json:"device_time"`
	ReceivedAt    time.Time       `json:"received_at"`
	SourceEventID string          `json:"source_event_id" doc:"Unique over the life of the source"`
	IncidentID    care.IncidentID `json:"incident_id" doc:"Empty when it became a task of the desk"`
	Battery       *int            `json:"battery,omitempty" doc:"Percent"`
	History       bool            `json:"history,omitempty" doc:"Stored by the device and sent late"`
}

// AlarmPage is alarms after a position, and the position to go on from.
type AlarmPage struct {
	Items []Alarm `json:"items"`
	Next  string  `json:"next" doc:"Give it as since to go on; the same as since when there are no more"`
}

type alarmsInput struct {
	Since int64 `query:"since" minimum:"0" doc:"Position: next of an earlier answer, 0 for the beginning"`
	Limit int   `query:"limit" minimum:"0" maximum:"5000" doc:"500 by default"`
}

func alarmView(r dispatch.AlarmRow) Alarm {
	a := r.Alarm
	kinds := a.Kinds
	if kinds == nil {
		kinds = []care.Kind{}
	}
	return Alarm{ID: a.ID, DeviceID: a.DeviceID, Protocol: a.Protocol, Kinds: kinds, DeviceTime: a.DeviceTime, ReceivedAt: a.ReceivedAt,
		SourceEventID: a.SourceEventID, IncidentID: r.IncidentID, Battery: a.Battery, History: a.History}
}

func (s *Server) alarmPage(ctx context.Context, in *alarmsInput) (AlarmPage, error) {
	rows, err := s.opts.Incidents.Alarms(ctx, in.Since, within(in.Limit, 500, 5000))
	if err != nil {
		return AlarmPage{}, err
	}
	p, next := AlarmPage{Items: make([]Alarm, len(rows))}, in.Since
	for n, r := range rows {
		p.Items[n], next = alarmView(r), r.Pos
	}
	p.Next = strconv.FormatInt(next, 10)
	return p, nil
}

func (s *Server) taskView(ctx context.Context, u reader, t dispatch.Task) Task {
	if u.masked() {
		t.ClaimedID = care.MaskExternal(t.ClaimedID)
	}
	return Task{Task: t, TakenByName: s.names.user(ctx, t.TakenBy)}
}

func (s *Server) taskViews(ctx context.Context, u reader) ([]Task, error) {
	all, err := s.opts.Incidents.Tasks(ctx)
	if err != nil {
		return nil, err
	}
	views := make([]Task, len(all))
	for n, t := range all {
		views[n] = s.taskView(ctx, u, t)
	}
	return views, nil
}

// OfTask names a task in the path.
type OfTask struct {
	ID string `path:"id" maxLength:"200"`
}

func (s *Server) taskDoors() {
	const tag = "tasks"
	inc := s.opts.Incidents
	add(s, door{id: "list-tasks", method: http.MethodGet, path: "/tasks", tag: tag, summary: "Open tasks of the desk, oldest first", roles: deskReads},
		func(ctx context.Context, u reader, _ *none) (list[Task], error) {
			views, err := s.taskViews(ctx, u)
			return listOf(views), err
		})
	add(s, door{id: "take-task", method: http.MethodPost, path: "/tasks/{id}/take", tag: tag, summary: "Become the one who does it", roles: desk},
		func(ctx context.Context, u reader, in *OfTask) (Task, error) {
			t, err := inc.TakeTask(ctx, in.ID, u.ID)
			if err != nil {
				return Task{}, err
			}
			return s.taskView(ctx, u, t), nil
		})
	add(s, door{id: "finish-task", method: http.MethodPost, path: "/tasks/{id}/done", tag: tag, summary: "End it with a note of what was done", roles: desk},
		func(ctx context.Context, u reader, in *struct {
			OfTask
			Body struct {
				Note string `json:"note" minLength:"1" maxLength:"2000"`
			}
		}) (Task, error) {
			t, err := inc.DoneTask(ctx, in.ID, u.ID, in.Body.Note)
			if err != nil {
				return Task{}, err
			}
			return s.taskView(ctx, u, t), nil
		})
}

// masked tells whether the reader sees persons and places masked.
func (u reader) masked() bool { return !slices.Contains(desk, u.Role) }

// sight is how a reader sees elders in lists and incidents; responders see them only
// through their assignments.
func (u reader) sight() care.Sight {
	if u.Role == care.RoleOperator {
		return care.SightDesk
	}
	return care.SightMasked
}
