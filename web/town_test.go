package web_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"

	"anling/care"
	"anling/dispatch"
	"anling/dispatch/assign"
	"anling/geo"
	"anling/store"
	"anling/store/storetest"
	"anling/web"
)

func TestMain(m *testing.M) { storetest.Main(m) }

const password = "correct horse 1"

// phc is the hash of password, made once: hashing is slow by design.
var phc = sync.OnceValue(func() string {
	h, err := web.HashPassword(password)
	if err != nil {
		panic(err)
	}
	return h
})

// town is a server over a real store, board and engine, with people of every role.
type town struct {
	t      testing.TB
	store  *store.Store
	users  *store.Users
	board  *dispatch.Board
	engine *assign.Engine
	people *people
	web    *web.Server
	http   *httptest.Server
	skew   atomic.Int64 // added to the clock of the server
	parts  atomic.Pointer[[3]string]
	broken atomic.Pointer[error] // what a durable write answers
}

var home = geo.Point{Lat: 25.041234, Lng: 102.712345}

func newTown(t testing.TB, change ...func(*web.Options)) *town {
	t.Helper()
	w := &town{t: t, store: storetest.Open(t, store.Options{Log: zaptest.NewLogger(t, zaptest.Level(zap.ErrorLevel))}), people: newPeople()}
	w.users = store.NewUsers(w.store)
	keep := store.NewDispatch(w.store)
	w.engine = assign.NewEngine(assign.Options{Store: keep})
	w.board = dispatch.NewBoard(dispatch.Options{Store: keep, Engine: w.engine, OfferAtOnce: true})
	if err := w.engine.Load(t.Context(), w.people.staff(), nil); err != nil {
		t.Fatal(err)
	}
	w.people.onDuty = w.engine.SetDuty
	reg := prometheus.NewRegistry()
	o := web.Options{Users: w.users, Incidents: w.board, Engine: w.engine, Registry: w.people, Epoch: w.store.Epoch(), Build: "test", District: "安铃演示区", Realm: "anling",
		Metrics: reg, Gather: reg, Log: zaptest.NewLogger(t, zaptest.Level(zap.FatalLevel)), Now: w.now,
		Probe: func(ctx context.Context) error {
			if err := w.broken.Load(); err != nil {
				return *err
			}
			return w.store.Probe(ctx)
		},
		Parts: []web.Part{func() (string, string, string) {
			state, detail := w.store.Health()
			return "store", state, detail
		}, func() (string, string, string) {
			if p := w.parts.Load(); p != nil {
				return p[0], p[1], p[2]
			}
			return "nats", "ok", ""
		}}}
	for _, f := range change {
		f(&o)
	}
	var err error
	if w.web, err = web.New(o); err != nil {
		t.Fatal(err)
	}
	w.store.OnCommit(w.web.Committed)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.web.Run(ctx) }()
	w.http = httptest.NewServer(w.web.Handler())
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
		w.http.Close()
	})
	for _, u := range []care.User{
		{ID: "u-admin", Name: "admin", DisplayName: "管理员", Role: care.RoleAdmin},
		{ID: "u-op1", Name: "operator1", DisplayName: "话务员一", Role: care.RoleOperator},
		{ID: "u-op2", Name: "operator2", DisplayName: "话务员二", Role: care.RoleOperator},
		{ID: "u-sup", Name: "supervisor1", DisplayName: "班长", Role: care.RoleSupervisor},
		{ID: "u-r1", Name: "responder1", DisplayName: "助老员一", Role: care.RoleResponder, ResponderID: "r1"},
		{ID: "u-r2", Name: "responder2", DisplayName: "助老员二", Role: care.RoleResponder, ResponderID: "r2"},
		{ID: "u-p1", Name: "provider1", DisplayName: "服务商一", Role: care.RoleProvider, ProviderID: "p1"},
	} {
		u.Password = phc()
		if _, err := w.users.SaveUser(t.Context(), u, "cli:test"); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

func (w *town) now() time.Time { return time.Now().Add(time.Duration(w.skew.Load())) }

// press opens an incident as a device does.
func (w *town) press(key string, elder care.ElderID) care.Opened {
	w.t.Helper()
	device := care.DeviceID("d-" + elder)
	if elder == "e1" {
		device = "d1"
	}
	o, err := w.board.Open(context.Background(), care.OpenRequest{Key: key, Digest: "sos", Source: "device", Actor: "device:" + string(device), Kinds: []care.Kind{care.KindSOS}, ElderID: elder, DeviceID: device,
		Locations: []care.Fix{{Point: home, Source: care.FixGNSS, At: time.Now()}},
		Alarm: &care.Alarm{ID: care.NewID[care.AlarmID](), DeviceID: device, ClaimedID: "868120301234567", Protocol: "gt06", Kinds: []care.Kind{care.KindSOS}, SourceEventID: key,
			ReceivedAt: time.Now(), DeviceTime: time.Now()}})
	if err != nil {
		w.t.Fatal(err)
	}
	return o
}

// browser is a client with a cookie jar.
type browser struct {
	t    testing.TB
	base string
	http *http.Client
	head http.Header
}

func (w *town) browser() *browser {
	jar, err := cookiejar.New(nil)
	if err != nil {
		w.t.Fatal(err)
	}
	return &browser{t: w.t, base: w.http.URL, head: http.Header{}, http: &http.Client{Jar: jar, Timeout: 30 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
}

// signIn is a browser in which somebody has signed in.
func (w *town) signIn(name string) *browser {
	w.t.Helper()
	b := w.browser()
	if a := b.post("/login", map[string]string{"name": name, "password": password}); a.status != 200 {
		w.t.Fatalf("sign in as %s: %d %s", name, a.status, a.body)
	}
	return b
}

// answer is what came back.
type answer struct {
	t      testing.TB
	status int
	head   http.Header
	body   []byte
}

func (b *browser) send(method, path string, body any, head http.Header) answer {
	b.t.Helper()
	var r io.Reader
	switch x := body.(type) {
	case nil:
	case string:
		r = strings.NewReader(x)
	default:
		text, err := json.Marshal(body)
		if err != nil {
			b.t.Fatal(err)
		}
		r = bytes.NewReader(text)
	}
	if strings.HasPrefix(path, "/") && !strings.HasPrefix(path, "//") {
		path = "/api/v1" + path
	} else {
		path = strings.TrimPrefix(path, "/")
	}
	req, err := http.NewRequestWithContext(context.Background(), method, b.base+path, r)
	if err != nil {
		b.t.Fatal(err)
	}
	if r != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	for k, v := range b.head {
		req.Header[k] = v
	}
	for k, v := range head {
		req.Header[k] = v
	}
	res, err := b.http.Do(req)
	if err != nil {
		b.t.Fatalf("%s %s: %v", method, path, err)
	}
	defer res.Body.Close() //nolint:errcheck // read to its end
	text, err := io.ReadAll(res.Body)
	if err != nil {
		b.t.Fatalf("%s %s: %v", method, path, err)
	}
	return answer{b.t, res.StatusCode, res.Header, text}
}

func (b *browser) get(path string) answer { b.t.Helper(); return b.send("GET", path, nil, nil) }
func (b *browser) post(path string, body any) answer {
	b.t.Helper()
	return b.send("POST", path, body, nil)
}

// keyed is post under an idempotency key.
func (b *browser) keyed(key, path string, body any) answer {
	b.t.Helper()
	return b.send("POST", path, body, http.Header{"Idempotency-Key": {key}})
}

// into decodes a good answer.
func (a answer) into(v any) {
	a.t.Helper()
	if a.status/100 != 2 {
		a.t.Fatalf("answer %d: %s", a.status, a.body)
	}
	if err := json.Unmarshal(a.body, v); err != nil {
		a.t.Fatalf("answer %s: %v", a.body, err)
	}
}

// object is a decoded answer without a type: what a page sees.
type object map[string]any

func (a answer) object() object {
	a.t.Helper()
	o := object{}
	a.into(&o)
	return o
}

// at walks into an object: at("items", 0, "id").
func (o object) at(path ...any) any {
	var v any = map[string]any(o)
	for _, p := range path {
		switch k := p.(type) {
		case string:
			m, _ := v.(map[string]any)
			v = m[k]
		case int:
			l, _ := v.([]any)
			if k >= len(l) {
				return nil
			}
			v = l[k]
		}
	}
	return v
}

func (o object) list(path ...any) []object {
	items, _ := o.at(path...).([]any)
	all := make([]object, len(items))
	for n, i := range items {
		m, _ := i.(map[string]any)
		all[n] = m
	}
	return all
}

func (o object) text(path ...any) string { return fmt.Sprint(o.at(path...)) }

// refused checks an error answer.
func (a answer) refused(status int, code, field string) {
	a.t.Helper()
	var e web.Error
	if err := json.Unmarshal(a.body, &e); err != nil || a.status != status || e.Code != code || e.Field != field || e.Message == "" {
		a.t.Errorf("answer %d %s, want %d %s, field %q", a.status, a.body, status, code, field)
	}
}

// people is a registry in memory: one elder with everything, one device, six responders.
type people struct {
	onDuty func(care.ResponderID, string)

	mu   sync.Mutex
	duty map[care.ResponderID]string // guarded by mu
}

func newPeople() *people { return &people{duty: map[care.ResponderID]string{}} }

func (*people) Elder(_ context.Context, id care.ElderID) (care.Elder, error) {
	if !strings.HasPrefix(string(id), "e") {
		return care.Elder{}, care.NotFound("elder", string(id))
	}
	lift := true
	return care.Elder{ID: id, Name: "王秀英", Sex: "female", BirthDate: "1940-02-29", IDType: "resident_id", IDNumber: "990001194002290018", Status: "active", AreaCode: "990100001001",
		Address: "幸福路 12 号", UnitFloorRoom: "3 单元 501", Lift: &lift, EntryNote: "院门有狗", Home: home, HomeSource: "surveyed", LivingState: "alone", Ability: "moderate",
		Health: care.Health{Diagnoses: []string{"糖尿病"}, Allergies: []string{"青霉素"}, MobilityAid: "cane"}, Communication: care.Communication{Dialects: []string{"昆明话"}, Hearing: "hard", DuressWord: "茉莉花"},
		KeySafe: "红砖下第三格", DoorCode: "门码零捌壹伍", RiskNotes: "大狗", Phones: []string{"+8613800138000"},
		Contacts: []care.Contact{{ID: "c1", Rank: 1, Name: "李小明", Relation: "child", Phones: []string{"+8613900139000"}, KeyHolder: true}}, Devices: []care.DeviceID{"d1"}, Version: 3}, nil
}

func (p *people) Search(ctx context.Context, q string, _ int) ([]care.ElderHit, error) {
	e, _ := p.Elder(ctx, "e1")
	if q == "nobody" {
		return nil, nil
	}
	return []care.ElderHit{{ID: e.ID, Name: e.Name, Sex: e.Sex, BirthDate: e.BirthDate, Status: e.Status, AreaCode: e.AreaCode, Address: e.Address, Phones: e.Phones, Matched: "name"}}, nil
}

func (*people) Device(_ context.Context, id care.DeviceID) (care.Device, error) {
	if id != "d1" {
		return care.Device{}, care.NotFound("device", string(id))
	}
	battery := 80
	return care.Device{ID: "d1", Kind: "pendant", Protocol: "gt06", ExternalID: "868120301234567", Model: "T1", SIMNumber: "+8614412345678", ElderID: "e1", State: "active", Battery: &battery,
		LastFix: &care.Fix{Point: home, Source: care.FixGNSS}, Version: 1}, nil
}

func (p *people) Devices(ctx context.Context, _ care.DeviceFilter) ([]care.Device, error) {
	d, err := p.Device(ctx, "d1")
	return []care.Device{d}, err
}

func (*people) Providers(context.Context) ([]care.Provider, error) {
	return []care.Provider{{ID: "p1", Name: "安康服务", State: "active"}, {ID: "p2", Name: "远方服务", State: "active"}}, nil
}

func (p *people) Provider(ctx context.Context, id care.ProviderID) (care.Provider, error) {
	all, _ := p.Providers(ctx)
	if n := slices.IndexFunc(all, func(x care.Provider) bool { return x.ID == id }); n >= 0 {
		return all[n], nil
	}
	return care.Provider{}, care.NotFound("provider", string(id))
}

func (p *people) staff() []care.Responder {
	p.mu.Lock()
	defer p.mu.Unlock()
	var all []care.Responder
	for i := range 6 {
		id := care.ResponderID(fmt.Sprint("r", i+1))
		duty := p.duty[id]
		if duty == "" {
			duty = "on"
		}
		all = append(all, care.Responder{ID: id, Name: fmt.Sprint("助老员", i+1), Kind: "rescue", ProviderID: care.ProviderID(fmt.Sprint("p", i%2+1)), Phones: []string{fmt.Sprint("+861370000000", i)},
			Skills: []string{"first_aid"}, Duty: duty, Base: geo.Offset(home, float64(200*(i+1)), 0), Mode: "ebike", Version: 1})
	}
	return all
}

func (p *people) Responders(context.Context) ([]care.Responder, error) { return p.staff(), nil }

func (p *people) Responder(_ context.Context, id care.ResponderID) (care.Responder, error) {
	all := p.staff()
	if n := slices.IndexFunc(all, func(x care.Responder) bool { return x.ID == id }); n >= 0 {
		return all[n], nil
	}
	return care.Responder{}, care.NotFound("responder", string(id))
}

func (p *people) SetDuty(_ context.Context, id care.ResponderID, duty, _ string) error {
	p.mu.Lock()
	p.duty[id] = duty
	p.mu.Unlock()
	p.onDuty(id, duty)
	return nil
}

func newServer(t testing.TB, h http.Handler) *httptest.Server {
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s
}
