package web

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"anling/callcenter"
	"anling/callcenter/acd"
	"anling/care"
)

// CallCentre is the calls, operators and call-backs; callcenter.Service fills it.
type CallCentre interface {
	Calls() []callcenter.Call
	Call(ctx context.Context, id care.CallID) (callcenter.Call, error)
	RecentCalls(ctx context.Context, limit int) ([]callcenter.Call, error)
	RecordingPath(ctx context.Context, id care.CallID) (string, error)
	Hangup(ctx context.Context, id care.CallID, by care.UserID) error
	Hold(ctx context.Context, id care.CallID, by care.UserID) error
	Resume(ctx context.Context, id care.CallID, by care.UserID) error
	Operators(ctx context.Context) ([]callcenter.Operator, error)
	SetState(ctx context.Context, id care.UserID, to callcenter.State, reason string) error
	Callbacks(ctx context.Context) ([]callcenter.Callback, error)
	DialCallback(ctx context.Context, id string, by care.UserID) error
	DoneCallback(ctx context.Context, id string, by care.UserID, outcome, note string) error
}

// Call is a call as the reader may see it: numbers are masked.
type Call struct {
	ID           care.CallID     `json:"id"`
	Direction    string          `json:"direction" doc:"in or out"`
	Purpose      string          `json:"purpose" doc:"hotline, sos, incident, callback"`
	State        string          `json:"state"`
	SOS          bool            `json:"sos,omitempty"`
	Class        string          `json:"class" doc:"Order of waiting; sos first"`
	From         string          `json:"from,omitempty"`
	To           string          `json:"to,omitempty"`
	Anonymous    bool            `json:"anonymous,omitempty"`
	Name         string          `json:"name,omitempty" doc:"Of the elder, when the number is known"`
	Match        string          `json:"match,omitempty" doc:"device, elder, contact, responder, probable, none"`
	ElderID      care.ElderID    `json:"elder_id,omitempty"`
	DeviceID     care.DeviceID   `json:"device_id,omitempty"`
	IncidentID   care.IncidentID `json:"incident_id,omitempty"`
	OperatorID   care.UserID     `json:"operator_id,omitempty"`
	OperatorName string          `json:"operator_name,omitempty"`
	Offered      []care.UserID   `json:"offered,omitempty" doc:"Operators whose telephones ring"`
	Position     int             `json:"position,omitempty" doc:"1 is next"`
	Trouble      string          `json:"trouble,omitempty"`
	Unsaved      bool            `json:"unsaved,omitempty" doc:"The store does not take it; it is rung through all the same"`
	ReceivedAt   time.Time       `json:"received_at"`
	QueuedAt     time.Time       `json:"queued_at,omitzero"`
	AnsweredAt   time.Time       `json:"answered_at,omitzero"`
	BridgedAt    time.Time       `json:"bridged_at,omitzero"`
	EndedAt      time.Time       `json:"ended_at,omitzero"`
	Cause        string          `json:"cause,omitempty"`
	Result       string          `json:"result,omitempty" doc:"talked, lost, unreachable, superseded, cancelled"`
	Recording    bool            `json:"recording,omitempty" doc:"A recording can be played"`
	Seconds      float64         `json:"recording_seconds,omitempty"`
	Elder        *care.ElderView `json:"elder,omitempty" doc:"While the call is live"`
}

// Operator is one who answers calls.
type Operator struct {
	UserID   care.UserID `json:"user_id"`
	Name     string      `json:"name"`
	Account  string      `json:"account,omitempty" doc:"SIP account of the telephone"`
	State    string      `json:"state" doc:"offline, ready, reserved, ringing, talking, hold, wrap_up, break"`
	Reason   string      `json:"reason,omitempty"`
	Phone    bool        `json:"registered" doc:"The telephone is signed in"`
	Online   bool        `json:"online" doc:"A console is open"`
	CallID   care.CallID `json:"call_id,omitempty"`
	Since    time.Time   `json:"since,omitzero"`
	Deadline time.Time   `json:"deadline,omitzero" doc:"End of wrap-up or of the offer"`
	Skills   []string    `json:"skills,omitempty"`
}

// Callback is the debt to a caller who was not answered.
type Callback struct {
	ID         string               `json:"id"`
	State      string               `json:"state" doc:"due, dialling, reached, unreachable, closed"`
	Class      string               `json:"class"`
	SOS        bool                 `json:"sos,omitempty"`
	Priority   care.Priority        `json:"priority"`
	Number     string               `json:"number,omitempty" doc:"Masked; empty when withheld"`
	Name       string               `json:"name,omitempty"`
	ElderID    care.ElderID         `json:"elder_id,omitempty"`
	IncidentID care.IncidentID      `json:"incident_id,omitempty"`
	Reason     string               `json:"reason"`
	Attempts   int                  `json:"attempts"`
	Tries      []callcenter.Attempt `json:"tries,omitempty"`
	OpenedAt   time.Time            `json:"opened_at"`
	LastAt     time.Time            `json:"last_at,omitzero"`
	DueAt      time.Time            `json:"due_at,omitzero"`
	Elder      *care.ElderView      `json:"elder,omitempty"`
}

// errNoCalls is the answer while no call centre is joined.
var errNoCalls = refuse("unavailable", "the call centre is not available")

func (s *Server) callView(ctx context.Context, u reader, c callcenter.Call) Call {
	v := Call{ID: c.ID, Direction: string(c.Direction), Purpose: c.Purpose, State: string(c.State), SOS: c.Class == acd.SOS, Class: c.Class.String(),
		From: care.MaskPhone(c.From), To: care.MaskPhone(c.To), Anonymous: c.Anonymous, Match: c.Match, ElderID: c.ElderID, DeviceID: c.DeviceID, IncidentID: c.IncidentID,
		OperatorID: c.OperatorID, OperatorName: s.names.user(ctx, c.OperatorID), Offered: c.Offered, Position: c.Position, Trouble: c.Trouble, Unsaved: c.Unsaved,
		ReceivedAt: c.ArrivedAt, QueuedAt: c.QueuedAt, AnsweredAt: c.AnsweredAt, BridgedAt: c.BridgedAt, EndedAt: c.EndedAt, Cause: string(c.Cause), Result: c.Result}
	if c.Recording != nil {
		v.Recording, v.Seconds = c.Recording.State == "saved", c.Recording.Seconds
	}
	if e := s.elderView(ctx, c.ElderID, u.sight()); e != nil {
		v.Name = e.Name
		if c.Live() {
			v.Elder = e // the card is on the screen before the answer
		}
	}
	return v
}

func (s *Server) call(ctx context.Context, u reader, id care.CallID) (Call, error) {
	if s.opts.CallCentre == nil {
		return Call{}, errNoCalls
	}
	c, err := s.opts.CallCentre.Call(ctx, id)
	if err != nil {
		return Call{}, err
	}
	return s.callView(ctx, u, c), nil
}

func (s *Server) callViews(ctx context.Context, u reader) []Call {
	views := []Call{}
	for _, c := range s.opts.CallCentre.Calls() {
		views = append(views, s.callView(ctx, u, c))
	}
	return views
}

func (s *Server) operatorViews(ctx context.Context) ([]Operator, error) {
	all, err := s.opts.CallCentre.Operators(ctx)
	views := make([]Operator, len(all))
	for n, o := range all {
		views[n] = Operator{UserID: o.UserID, Name: o.Name, Account: o.Account, State: string(o.State), Reason: o.Reason, Phone: o.Phone, Online: s.online("operator", string(o.UserID)), CallID: o.CallID, Since: o.Since, Deadline: o.Deadline, Skills: o.Skills}
	}
	return views, err
}

func (s *Server) callbackViews(ctx context.Context, u reader) ([]Callback, error) {
	all, err := s.opts.CallCentre.Callbacks(ctx)
	views := make([]Callback, len(all))
	for n, c := range all {
		views[n] = s.callbackView(ctx, u, c)
	}
	return views, err
}

func (s *Server) callbackView(ctx context.Context, u reader, c callcenter.Callback) Callback {
	v := Callback{ID: c.ID, State: string(c.State), Class: c.Class.String(), SOS: c.Class == acd.SOS, Priority: care.P3, Number: care.MaskPhone(c.Number), ElderID: c.ElderID,
		IncidentID: c.IncidentID, Reason: c.Reason, Attempts: len(c.Attempts), Tries: c.Attempts, OpenedAt: c.OpenedAt, LastAt: c.LastAt, DueAt: c.DueAt}
	if v.SOS {
		v.Priority = care.P2 // a lost emergency call is on top at once
	}
	if v.Elder = s.elderView(ctx, c.ElderID, u.sight()); v.Elder != nil {
		v.Name = v.Elder.Name
	}
	return v
}

type callInput struct {
	ID care.CallID `path:"id" maxLength:"64"`
}

// Done says that a command was taken; its effect comes as facts.
type Done struct {
	OK bool `json:"ok"`
}

// withCalls runs f when there is a call centre.
func withCalls[T any](s *Server, f func(CallCentre) (T, error)) (T, error) {
	if s.opts.CallCentre == nil {
		var none T
		return none, errNoCalls
	}
	return f(s.opts.CallCentre)
}

func (s *Server) callDoors() {
	const tag = "calls"
	add(s, door{id: "list-calls", method: http.MethodGet, path: "/calls", tag: tag, summary: "Calls that wait, ring or talk, in the order of the queue; or the recent ones", roles: deskReads},
		func(ctx context.Context, u reader, in *struct {
			Recent bool `query:"recent" doc:"The latest calls, ended ones included"`
			Limit  int  `query:"limit" minimum:"0" maximum:"500" doc:"Of the recent ones, 50 by default"`
		}) (list[Call], error) {
			return withCalls(s, func(c CallCentre) (list[Call], error) {
				if !in.Recent {
					return listOf(s.callViews(ctx, u)), nil
				}
				all, err := c.RecentCalls(ctx, within(in.Limit, 50, 500))
				views := make([]Call, len(all))
				for n, x := range all {
					views[n] = s.callView(ctx, u, x)
				}
				return listOf(views), err
			})
		})
	add(s, door{id: "get-call", method: http.MethodGet, path: "/calls/{id}", tag: tag, summary: "One call", roles: deskReads},
		func(ctx context.Context, u reader, in *callInput) (Call, error) { return s.call(ctx, u, in.ID) })
	for _, x := range []struct {
		verb, summary string
		do            func(CallCentre) func(context.Context, care.CallID, care.UserID) error
	}{
		{"hangup", "End it", func(c CallCentre) func(context.Context, care.CallID, care.UserID) error { return c.Hangup }},
		{"hold", "Put the caller on hold", func(c CallCentre) func(context.Context, care.CallID, care.UserID) error { return c.Hold }},
		{"resume", "Take the caller back", func(c CallCentre) func(context.Context, care.CallID, care.UserID) error { return c.Resume }},
	} {
		add(s, door{id: x.verb + "-call", method: http.MethodPost, path: "/calls/{id}/" + x.verb, tag: tag, summary: x.summary, roles: desk},
			func(ctx context.Context, u reader, in *callInput) (Call, error) {
				return withCalls(s, func(c CallCentre) (Call, error) {
					if err := x.do(c)(ctx, in.ID, u.ID); err != nil {
						return Call{}, err
					}
					return s.call(ctx, u, in.ID)
				})
			})
	}
	s.operatorDoors()
	s.callbackDoors()
}

func (s *Server) operatorDoors() {
	const tag = "operators"
	add(s, door{id: "list-operators", method: http.MethodGet, path: "/operators", tag: tag, summary: "Operators with what they do", roles: overview},
		func(ctx context.Context, _ reader, _ *none) (list[Operator], error) {
			return withCalls(s, func(CallCentre) (list[Operator], error) {
				views, err := s.operatorViews(ctx)
				return listOf(views), err
			})
		})
	add(s, door{id: "set-own-state", method: http.MethodPost, path: "/operators/me/state", tag: tag, summary: "Be ready, take a break, or leave", roles: desk},
		func(ctx context.Context, u reader, in *struct {
			Body struct {
				State  callcenter.State `json:"state" enum:"ready,break,offline"`
				Reason string           `json:"reason,omitempty" maxLength:"100" doc:"Of a break"`
			}
		}) (Operator, error) {
			return withCalls(s, func(c CallCentre) (Operator, error) {
				if err := c.SetState(ctx, u.ID, in.Body.State, trimmed(in.Body.Reason)); err != nil {
					return Operator{}, err
				}
				views, err := s.operatorViews(ctx)
				for _, v := range views {
					if v.UserID == u.ID {
						return v, nil
					}
				}
				return Operator{UserID: u.ID, Name: u.DisplayName, State: string(in.Body.State)}, err
			})
		})
}

func (s *Server) callbackDoors() {
	const tag = "callbacks"
	add(s, door{id: "list-callbacks", method: http.MethodGet, path: "/callbacks", tag: tag, summary: "Callers who are owed a call, the most urgent first", roles: deskReads},
		func(ctx context.Context, u reader, _ *none) (list[Callback], error) {
			return withCalls(s, func(CallCentre) (list[Callback], error) {
				views, err := s.callbackViews(ctx, u)
				return listOf(views), err
			})
		})
	add(s, door{id: "dial-callback", method: http.MethodPost, path: "/callbacks/{id}/dial", tag: tag, summary: "Ring the operator's telephone, then the caller", roles: desk},
		func(ctx context.Context, u reader, in *struct {
			ID string `path:"id" maxLength:"64"`
		}) (Done, error) {
			return withCalls(s, func(c CallCentre) (Done, error) { return Done{true}, c.DialCallback(ctx, in.ID, u.ID) })
		})
	add(s, door{id: "finish-callback", method: http.MethodPost, path: "/callbacks/{id}/done", tag: tag, summary: "The debt is paid, or cannot be", roles: desk},
		func(ctx context.Context, u reader, in *struct {
			ID   string `path:"id" maxLength:"64"`
			Body struct {
				Outcome string `json:"outcome" minLength:"1" maxLength:"40" doc:"reached, called_again, wrong_number, no_answer, home_visit, incident, other"`
				Note    string `json:"note,omitempty" maxLength:"2000"`
			}
		}) (Done, error) {
			return withCalls(s, func(c CallCentre) (Done, error) {
				return Done{true}, c.DoneCallback(ctx, in.ID, u.ID, in.Body.Outcome, trimmed(in.Body.Note))
			})
		})
}

const recordingTime = 15 * time.Minute

// recordingDoor serves the audio of a call.
func (s *Server) recordingDoor(mux *http.ServeMux) {
	d := door{id: "play-recording", method: http.MethodGet, path: "/calls/{id}/recording", tag: "calls", summary: "The recording of a call, whole or in ranges; who listened is in the audit log", roles: deskReads}
	s.raw(mux, d, func(op *huma.Operation) {
		op.Parameters = []*huma.Param{pathParam("id", "Of the call")}
		op.Responses["200"] = &huma.Response{Description: "Stereo WAV: left the caller, right our side", Content: map[string]*huma.MediaType{"audio/wav": {}}}
	}, s.playRecording)
}

// playRecording writes the audit log's line before the first byte leaves.
func (s *Server) playRecording(w http.ResponseWriter, r *http.Request, u reader) error {
	if s.opts.CallCentre == nil {
		return errNoCalls
	}
	ctx, id := r.Context(), care.CallID(r.PathValue("id"))
	path, err := s.opts.CallCentre.RecordingPath(ctx, id)
	if err != nil {
		return err
	}
	f, err := os.Open(path)
	if os.IsNotExist(err) {
		return care.NotFound("recording of call", string(id))
	}
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // only read
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if err := s.mustAudit(ctx, u, "recording.play", "call:"+string(id), r.Header.Get("Range")); err != nil {
		return err
	}
	longAnswer(w, readTime, recordingTime)
	w.Header().Set("Content-Type", "audio/wav")
	w.Header().Set("Cache-Control", "no-store")
	http.ServeContent(w, r, filepath.Base(path), info.ModTime(), f)
	return nil
}
