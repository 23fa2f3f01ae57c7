package web_test

import (
	"context"
	"flag"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"anling/callcenter"
	"anling/care"
	"anling/web"
)

// who may use which door; written down here a second time, so that a change of the
// table in the code is a change of this one too. "a" admin, "s" supervisor,
// "o" operator, "r" responder, "p" provider.
var rights = map[string]string{
	"GET /me":                         "asorp",
	"GET /status":                     "asorp",
	"GET /users":                      "a",
	"POST /users":                     "a",
	"PATCH /users/{id}":               "a",
	"GET /audit":                      "a",
	"GET /incidents":                  "aso",
	"GET /incidents/{id}":             "aso",
	"GET /incidents/{id}/candidates":  "so",
	"POST /incidents":                 "o",
	"POST /incidents/{id}/take":       "o",
	"POST /incidents/{id}/classify":   "o",
	"POST /incidents/{id}/note":       "o",
	"POST /incidents/{id}/dispatch":   "o",
	"POST /incidents/{id}/resolve":    "o",
	"POST /incidents/{id}/close":      "o",
	"POST /incidents/{id}/reopen":     "o",
	"POST /incidents/{id}/merge":      "o",
	"GET /alarms":                     "aso",
	"GET /tasks":                      "so",
	"POST /tasks/{id}/take":           "o",
	"POST /tasks/{id}/done":           "o",
	"GET /offers":                     "sorp",
	"POST /offers":                    "o",
	"POST /offers/{id}/seen":          "or",
	"POST /offers/{id}/accept":        "or",
	"POST /offers/{id}/decline":       "or",
	"GET /assignments":                "sor",
	"GET /assignments/{id}":           "sor",
	"POST /assignments/{id}/advance":  "or",
	"POST /assignments/{id}/give_up":  "or",
	"POST /assignments/{id}/withdraw": "o",
	"GET /responders":                 "asop",
	"POST /responders/{id}/duty":      "orp",
	"POST /positions":                 "r",
	"GET /elders":                     "so",
	"GET /elders/{id}":                "so",
	"POST /elders/{id}/reveal":        "so",
	"GET /devices":                    "aso",
	"GET /devices/{id}":               "aso",
	"GET /providers":                  "asop",
	"POST /providers/{id}/token":      "a",
	"POST /import/{kind}":             "a",
	"GET /calls":                      "so",
	"GET /calls/{id}":                 "so",
	"GET /calls/{id}/recording":       "so",
	"POST /calls/{id}/hangup":         "o",
	"POST /calls/{id}/hold":           "o",
	"POST /calls/{id}/resume":         "o",
	"GET /operators":                  "aso",
	"POST /operators/me/state":        "o",
	"GET /callbacks":                  "so",
	"POST /callbacks/{id}/dial":       "o",
	"POST /callbacks/{id}/done":       "o",
}

var accounts = map[string]string{"a": "admin", "s": "supervisor1", "o": "operator1", "r": "responder1", "p": "provider1"}

// switchboard is a call centre with one call and one debt.
type switchboard struct{ recording string }

func (switchboard) Calls() []callcenter.Call {
	c := callcenter.Call{ID: "call1", Direction: "in", Purpose: callcenter.Hotline, State: callcenter.Queued, From: "+8613800138000", ElderID: "e1", ArrivedAt: time.Unix(1700000000, 0).UTC(), Position: 1,
		Recording: &callcenter.Recording{State: "saved", Seconds: 12}}
	return []callcenter.Call{c}
}

func (b switchboard) Call(_ context.Context, id care.CallID) (callcenter.Call, error) {
	if id != "call1" {
		return callcenter.Call{}, care.NotFound("call", string(id))
	}
	return b.Calls()[0], nil
}
func (b switchboard) RecentCalls(context.Context, int) ([]callcenter.Call, error) {
	return b.Calls(), nil
}
func (b switchboard) RecordingPath(context.Context, care.CallID) (string, error) {
	return b.recording, nil
}
func (switchboard) Hangup(context.Context, care.CallID, care.UserID) error { return nil }
func (switchboard) Hold(context.Context, care.CallID, care.UserID) error   { return nil }
func (switchboard) Resume(context.Context, care.CallID, care.UserID) error { return nil }
func (switchboard) Operators(context.Context) ([]callcenter.Operator, error) {
	return []callcenter.Operator{{UserID: "u-op1", Name: "话务员一", State: "ready", Phone: true, Account: "1001"}}, nil
}
func (switchboard) SetState(context.Context, care.UserID, callcenter.State, string) error { return nil }
func (switchboard) Callbacks(context.Context) ([]callcenter.Callback, error) {
	return []callcenter.Callback{{ID: "cb1", State: callcenter.Due, Number: "+8613800138000", ElderID: "e1", Reason: "hung_up", OpenedAt: time.Unix(1700000000, 0).UTC()}}, nil
}
func (switchboard) DialCallback(context.Context, string, care.UserID) error { return nil }
func (switchboard) DoneCallback(context.Context, string, care.UserID, string, string) error {
	return nil
}

type signer struct{}

func (signer) SignProvider(p care.ProviderID, user string, until time.Time) (string, error) {
	return fmt.Sprint("token-", p, "-", user, "-", until.Unix()), nil
}

type importer struct{}

func (importer) Import(_ context.Context, kind string, from io.Reader, _ care.ImportOptions) (web.ImportReport, error) {
	text, err := io.ReadAll(from)
	return web.ImportReport{Report: care.Report{Kind: kind, Rows: len(text)}}, err
}

func wholeTown(t testing.TB) *town {
	path := filepath.Join(t.TempDir(), "call1.wav")
	if err := os.WriteFile(path, []byte("RIFF0123456789"), 0o600); err != nil {
		t.Fatal(err)
	}
	return newTown(t, func(o *web.Options) {
		o.CallCentre, o.Signer, o.Importer = switchboard{path}, signer{}, importer{}
	})
}

// TestEveryDoorAndRole asks every door as every role. A refusal by right is 401 or
// 403; any other answer, an error of the domain included, means the role is let in.
func TestEveryDoorAndRole(t *testing.T) {
	w := wholeTown(t)
	doors := maps.Clone(rights)
	paths := w.signIn("admin").get("/openapi.json").object()
	for path, methods := range paths.at("paths").(map[string]any) {
		for method := range methods.(map[string]any) {
			name := strings.ToUpper(method) + " " + strings.TrimPrefix(path, "/api/v1")
			if _, known := doors[name]; !known && name != "POST /login" && name != "POST /logout" {
				t.Errorf("%s has no row in the table of rights", name)
			}
		}
	}
	for door := range doors {
		method, path, _ := strings.Cut(door, " ")
		if paths.at("paths", "/api/v1"+path, strings.ToLower(method)) == nil {
			t.Errorf("%s is not in the document", door)
		}
	}
	ask := func(b *browser, door string) int {
		method, path, _ := strings.Cut(door, " ")
		path = strings.NewReplacer("{id}", "x1", "{kind}", "elders").Replace(path)
		if path == "/elders" {
			path += "?q=wang"
		}
		return b.send(method, path, map[bool]any{true: "{}", false: nil}[method != "GET"], nil).status
	}
	for door := range doors {
		if got := ask(w.browser(), door); got != http.StatusUnauthorized {
			t.Errorf("%s without a session: %d", door, got)
		}
	}
	for letter, name := range accounts {
		b := w.signIn(name)
		for door, letters := range doors {
			got := ask(b, door)
			if may := strings.Contains(letters, letter); may == (got == http.StatusForbidden) || got == http.StatusUnauthorized || got >= 500 {
				t.Errorf("%s as %s: %d, may %t", door, name, got, may)
			}
		}
	}
}

func TestResponderSeesNothingOfOthers(t *testing.T) {
	w := newTown(t)
	id := string(w.press("x-1", "e1").IncidentID)
	d, err := w.board.Incident(t.Context(), care.IncidentID(id))
	if err != nil {
		t.Fatal(err)
	}
	r6 := w.signIn("responder2")
	for _, o := range d.Offers {
		if o.ResponderID != "r2" {
			r6.keyed("k"+string(o.ID), "/offers/"+string(o.ID)+"/accept", map[string]any{}).refused(404, "not_found", "")
		}
	}
	r6.post("/assignments/"+string(d.Assignments[0].ID)+"/advance", map[string]any{"status": "done"}).refused(404, "not_found", "")
	p := w.signIn("provider1")
	for _, o := range p.get("/offers").object().list("items") {
		if o.text("provider_id") != "p1" || o.at("elder") != nil {
			t.Errorf("a provider sees %v", o)
		}
	}
	if all := p.get("/responders").object().list("items"); len(all) != 3 {
		t.Errorf("a provider sees %d responders", len(all))
	}
}

var update = flag.Bool("update", false, "write the golden files anew")

// TestMasks holds what each role is shown to the golden files, field by field.
func TestMasks(t *testing.T) {
	w := wholeTown(t)
	id := string(w.press("mask-1", "e1").IncidentID)
	op := w.signIn("operator1")
	op.post("/incidents/"+id+"/note", map[string]any{"text": "说胸口疼"}).object()
	readers := map[string]*browser{"operator": op, "supervisor": w.signIn("supervisor1"), "admin": w.signIn("admin"), "responder": w.signIn("responder1"), "provider": w.signIn("provider1")}
	see := func(stage string, paths map[string][]string) {
		for role, b := range readers {
			if len(paths[role]) == 0 {
				continue
			}
			var text strings.Builder
			for _, p := range paths[role] {
				fmt.Fprintf(&text, "GET %s\n", strings.ReplaceAll(p, id, "<incident>"))
				flatten(&text, "", map[string]any(b.get(p).object()))
			}
			golden(t, filepath.Join("testdata", "sight", stage+"-"+role+".txt"), text.String())
		}
	}
	deskPaths := []string{"/incidents/" + id, "/elders/e1", "/elders?q=wang", "/devices/d1", "/responders", "/calls", "/callbacks"}
	see("before", map[string][]string{"operator": deskPaths, "supervisor": deskPaths, "admin": {"/incidents/" + id, "/devices/d1", "/responders"}, "responder": {"/offers", "/assignments"}, "provider": {"/offers", "/responders"}})
	offer := readers["responder"].get("/offers").object().text("items", 0, "id")
	if res := readers["responder"].keyed("a1", "/offers/"+offer+"/accept", map[string]any{}).object(); res.text("status") != "accepted" {
		t.Fatalf("accept: %v", res)
	}
	see("after", map[string][]string{"responder": {"/offers", "/assignments"}, "provider": {"/offers"}})
}

// volatile members differ from run to run.
var volatile = []string{"id", "at", "no", "opened_at", "last_at", "deadline", "agg_id", "sent_at", "received_at", "device_time", "created_at", "updated_at", "offer_id", "assignment_id", "alarm_id", "incident_id", "accepted_at", "arrive_by",
	"answered_at", "fix_age_sec", "travel_sec", "score", "travel", "eta_sec", "distance_m", "stale_fix", "version", "queued_at", "for_id"}

func flatten(w io.Writer, path string, v any) {
	switch x := v.(type) {
	case map[string]any:
		for _, k := range slices.Sorted(maps.Keys(x)) {
			if _, leaf := x[k].(map[string]any); slices.Contains(volatile, k) && !leaf && x[k] != "" {
				fmt.Fprintf(w, "%s.%s = …\n", path, k)
				continue
			}
			flatten(w, path+"."+k, x[k])
		}
	case []any:
		for n, e := range x {
			flatten(w, fmt.Sprintf("%s[%d]", path, n), e)
		}
	default:
		fmt.Fprintf(w, "%s = %v\n", path, x)
	}
}

func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v (write it by -update and read it)", err)
	}
	if string(want) == got {
		return
	}
	old, now := strings.Split(string(want), "\n"), strings.Split(got, "\n")
	for n := range max(len(old), len(now)) {
		a, b := line(old, n), line(now, n)
		if a != b {
			t.Errorf("%s line %d:\n  want %s\n  got  %s", path, n+1, a, b)
			return
		}
	}
}

func line(all []string, n int) string {
	if n < len(all) {
		return all[n]
	}
	return "(nothing)"
}

// TestNothingLeaks looks for the elder's secrets in everything that a masked reader
// can ask for.
func TestNothingLeaks(t *testing.T) {
	w := wholeTown(t)
	id := string(w.press("leak-1", "e1").IncidentID)
	secrets := map[string][]string{
		"supervisor1": {"王秀英", "幸福路", "13800138000", "13900139000", "990001194002290018", "糖尿病", "青霉素", "红砖下第三格", "门码零捌壹伍", "茉莉花", "868120301234567", "25.0412"},
		"admin":       {"王秀英", "幸福路", "13800138000", "990001194002290018", "糖尿病", "青霉素", "红砖下第三格", "门码零捌壹伍", "茉莉花", "25.0412"},
		"operator1":   {"13800138000", "13900139000", "990001194002290018", "红砖下第三格", "门码零捌壹伍", "茉莉花", "argon2"},
		"responder1":  {"王秀英", "幸福路", "13800138000", "糖尿病", "青霉素", "红砖下第三格", "门码零捌壹伍", "茉莉花", "25.0412"},
		"provider1":   {"王秀英", "幸福路", "13800138000", "糖尿病", "红砖下第三格", "25.0412"},
	}
	for name, hidden := range secrets {
		b := w.signIn(name)
		for door := range rights {
			method, path, _ := strings.Cut(door, " ")
			if method != "GET" || path == "/calls/{id}/recording" {
				continue
			}
			for _, x := range []string{id, "e1", "d1", "call1"} {
				for _, query := range []string{"", "?q=wang", "?incident_id=" + id, "?recent=true"} {
					text := string(b.get(strings.ReplaceAll(path, "{id}", x) + query).body)
					if path == "/devices/{id}" || path == "/devices" {
						text = strings.ReplaceAll(text, "868120301234567", "") // an administrator keeps devices
					}
					for _, secret := range hidden {
						if strings.Contains(text, secret) {
							t.Errorf("GET %s%s shows %s to %s", path, query, secret, name)
						}
					}
				}
			}
		}
	}
}

func TestRevealIsWrittenDownFirst(t *testing.T) {
	w := wholeTown(t)
	sup, op := w.signIn("supervisor1"), w.signIn("operator1")
	if got := sup.post("/elders/e1/reveal", map[string]any{"field": "phone", "contact_id": "c1", "purpose": "家属要求核实"}).object(); got.text("value") != "+8613900139000" {
		t.Errorf("revealed %v", got)
	}
	op.post("/elders/e1/reveal", map[string]any{"field": "phone", "purpose": "  "}).refused(400, "invalid", "purpose")
	op.post("/elders/e1/reveal", map[string]any{"field": "soul", "purpose": "why not"}).refused(400, "invalid", "field")
	recording := op.get("/calls/call1/recording")
	if recording.status != 200 || string(recording.body) != "RIFF0123456789" {
		t.Errorf("recording: %d %s", recording.status, recording.body)
	}
	part := op.send("GET", "/calls/call1/recording", nil, http.Header{"Range": {"bytes=4-7"}})
	if part.status != http.StatusPartialContent || string(part.body) != "0123" {
		t.Errorf("a part of the recording: %d %s", part.status, part.body)
	}
	page := w.signIn("admin").get("/audit?check=true&limit=20").object()
	lines := []string{}
	for _, e := range page.list("items") {
		lines = append(lines, e.text("actor")+" "+e.text("action")+" "+e.text("object")+" "+e.text("detail"))
	}
	for _, want := range []string{"supervisor:u-sup elder.reveal elder:e1 phone of contact c1: 家属要求核实", "operator:u-op1 recording.play call:call1 "} {
		if !slices.ContainsFunc(lines, func(l string) bool { return strings.HasPrefix(l, want) }) {
			t.Errorf("no line %q in %q", want, lines)
		}
	}
	if page.at("whole") != true || page.at("lines") == float64(0) {
		t.Errorf("the chain: %v lines, whole %v", page.at("lines"), page.at("whole"))
	}
}
