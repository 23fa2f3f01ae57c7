package web_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"

	"anling/care"
	"anling/dispatch"
	"anling/event"
	"anling/store/storetest"
	"anling/web"
)

// message is what a page reads from the live channel.
type message struct {
	Type, Epoch, Build, Kind, Agg string
	Seq                           int64
	AggID                         string         `json:"agg_id"`
	IncidentID                    string         `json:"incident_id"`
	ServerTime                    string         `json:"server_time"`
	User                          map[string]any `json:"user"`
	Views                         map[string]any `json:"views"`
	Body                          map[string]any `json:"body"`
}

// page is a live channel as live.ts keeps it.
type page struct {
	t    testing.TB
	conn *websocket.Conn
}

func (b *browser) dial(head http.Header) (*websocket.Conn, *http.Response, error) {
	u, err := url.Parse(b.base)
	if err != nil {
		b.t.Fatal(err)
	}
	h := http.Header{}
	for _, c := range b.http.Jar.Cookies(u) {
		h.Add("Cookie", c.String())
	}
	maps.Copy(h, head)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return websocket.Dial(ctx, strings.Replace(b.base, "http", "ws", 1)+"/ws", &websocket.DialOptions{HTTPHeader: h})
}

// live opens a channel and says hello.
func (b *browser) live(epoch string, since int64, views ...string) *page {
	b.t.Helper()
	conn, _, err := b.dial(nil)
	if err != nil {
		b.t.Fatal(err)
	}
	conn.SetReadLimit(16 << 20)
	p := &page{b.t, conn}
	b.t.Cleanup(func() { _ = conn.CloseNow() })
	text, err := json.Marshal(map[string]any{"type": "hello", "client": 1, "epoch": epoch, "since": since, "views": views})
	if err != nil {
		b.t.Fatal(err)
	}
	if err := conn.Write(context.Background(), websocket.MessageText, text); err != nil {
		b.t.Fatal(err)
	}
	return p
}

func (p *page) read() (message, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	_, text, err := p.conn.Read(ctx)
	if err != nil {
		return message{}, err
	}
	var m message
	return m, json.Unmarshal(text, &m)
}

// next is the next message of a type; others in between are skipped.
func (p *page) next(kind string) message {
	p.t.Helper()
	for {
		m, err := p.read()
		if err != nil {
			p.t.Fatalf("waiting for %s: %v", kind, err)
		}
		if m.Type == kind {
			return m
		}
	}
}

func (p *page) closedWith() websocket.StatusCode {
	for {
		if _, err := p.read(); err != nil {
			return websocket.CloseStatus(err)
		}
	}
}

func TestLiveTellsTheDesk(t *testing.T) {
	w := wholeTown(t)
	first := w.press("live-0", "e0")
	p := w.signIn("operator1").live("", 0, "desk", "unknown")
	welcome := p.next("welcome")
	if welcome.Epoch == "" || welcome.Build == "" || welcome.User["role"] != "operator" || welcome.ServerTime == "" {
		t.Errorf("welcome %+v", welcome)
	}
	snap := p.next("snap")
	desk := object(snap.Views["desk"].(map[string]any))
	if desk.text("incidents", 0, "id") != string(first.IncidentID) || desk.text("incidents", 0, "elder", "name") != "王秀英" || desk.text("operators", 0, "state") != "ready" ||
		desk.text("callbacks", 0, "number") != "138****8000" || desk.text("calls", 0, "state") != "queued" || desk.text("status", "state") != "ok" || len(snap.Views) != 1 {
		t.Errorf("snapshot %v", desk)
	}
	o := w.press("live-1", "e1")
	m := p.next("ev")
	if m.Seq <= snap.Seq || m.Kind != string(dispatch.OpenedEvent) || m.AggID != string(o.IncidentID) || m.Body["status"] != "raised" {
		t.Errorf("first fact %+v after %d", m, snap.Seq)
	}
	w.web.Emergency(map[string]any{"kinds": []string{"sos"}, "claimed_id": "****1234"})
	if e := p.next("emergency"); e.Body["claimed_id"] != "****1234" || e.Body["id"] == nil {
		t.Errorf("emergency %+v", e)
	}
	// Who connects later hears of it too; a responder never does.
	late := w.signIn("supervisor1").live("", 0, "desk")
	if e := late.next("emergency"); e.Body["claimed_id"] != "****1234" {
		t.Errorf("emergency afterwards %+v", e)
	}
}

// TestLiveIsFiltered holds every fact that each role hears of one whole life to a
// golden file.
func TestLiveIsFiltered(t *testing.T) {
	w := newTown(t)
	var mu sync.Mutex
	heard := map[string][]string{}
	var wg sync.WaitGroup
	op := w.signIn("operator1")
	var pages []*page
	for role, name := range map[string]string{"operator": "operator2", "supervisor": "supervisor1", "admin": "admin", "responder": "responder1", "other": "responder2", "provider": "provider1"} {
		p := w.signIn(name).live("", 0, "desk", "responder")
		p.next("snap")
		pages = append(pages, p)
		wg.Go(func() {
			for {
				m, err := p.read()
				if err != nil {
					return
				}
				if m.Type != "ev" {
					continue
				}
				keys := slices.Sorted(maps.Keys(m.Body))
				mu.Lock()
				heard[role] = append(heard[role], m.Kind+" {"+strings.Join(keys, ", ")+"}")
				mu.Unlock()
			}
		})
	}
	o := w.press("filter-1", "e1")
	path := "/incidents/" + string(o.IncidentID)
	claim := op.post(path+"/take", map[string]any{}).object().at("claim")
	op.post(path+"/note", map[string]any{"text": "私下的话"}).object()
	r1 := w.signIn("responder1")
	offer := r1.get("/offers").object().text("items", 0, "id")
	r1.keyed("f1", "/offers/"+offer+"/accept", map[string]any{}).object()
	job := r1.get("/assignments").object().text("items", 0, "id")
	op.post(path+"/classify", map[string]any{"claim": claim, "kinds": []string{"fall"}, "priority": 1}).object()
	for _, to := range []string{"en_route", "on_scene", "done"} {
		r1.post("/assignments/"+job+"/advance", map[string]any{"status": to}).object()
	}
	op.post(path+"/resolve", map[string]any{"claim": claim, "how": "seen"}).object()
	op.post(path+"/close", map[string]any{"claim": claim, "outcome": "helped_at_home"}).object()
	// Each page is cut off when it has heard the last that its golden file tells.
	storetest.Eventually(t, "every page hears of the end", func() bool {
		mu.Lock()
		defer mu.Unlock()
		for role, last := range map[string]string{"admin": string(dispatch.ClosedEvent), "operator": string(dispatch.ClosedEvent), "supervisor": string(dispatch.ClosedEvent),
			"responder": "dispatch.assignment.done", "provider": "dispatch.assignment.done"} {
			if !slices.ContainsFunc(heard[role], func(s string) bool { return strings.HasPrefix(s, last+" ") }) {
				return false
			}
		}
		return true
	})
	for _, p := range pages {
		_ = p.conn.CloseNow()
	}
	wg.Wait()
	for role, lines := range heard {
		slices.Sort(lines)
		golden(t, filepath.Join("testdata", "live", role+".txt"), strings.Join(slices.Compact(lines), "\n")+"\n")
	}
	if slices.ContainsFunc(heard["other"], func(s string) bool {
		return strings.HasPrefix(s, "dispatch.assignment") || strings.HasPrefix(s, "dispatch.incident")
	}) {
		t.Errorf("a responder without the job hears %v", heard["other"])
	}
}

// TestLiveResumes drops a page at random while facts go on, and compares what it was
// told with what a page that was never dropped was told: nothing missing, nothing
// twice, nothing out of order.
func TestLiveResumes(t *testing.T) {
	w := newTown(t)
	steady, shaky := w.signIn("operator1"), w.signIn("operator2")
	s := steady.live("", 0)
	epoch, from := s.next("welcome").Epoch, s.next("snap").Seq
	want := make(chan []int64, 1)
	const last = "resume-last"
	go func() {
		var seqs []int64
		for {
			m, err := s.read()
			if err != nil {
				want <- nil
				return
			}
			if m.Type == "ev" {
				seqs = append(seqs, m.Seq)
				if m.Kind == last {
					want <- seqs
					return
				}
			}
		}
	}()
	go func() {
		for n := range 120 {
			w.press(fmt.Sprint("resume-", n), care.ElderID(fmt.Sprint("e", n%40)))
		}
		w.web.Committed([]event.Event{{ID: "x", Type: last, Agg: "incident", AggID: "none", Seq: 1, At: time.Now(), Body: json.RawMessage("{}")}})
	}()
	rnd := rand.New(rand.NewPCG(7, 7))
	var got []int64
	seq, reconnects := from, 0
	for over := false; !over; reconnects++ {
		p := shaky.live(epoch, seq)
		if m := p.next("welcome"); m.Epoch != epoch {
			t.Fatalf("the epoch changed to %s", m.Epoch)
		}
		for left := 1 + rnd.IntN(40); left > 0 && !over; {
			m, err := p.read()
			if err != nil {
				t.Fatalf("after %d: %v", seq, err)
			}
			switch m.Type {
			case "snap":
				t.Fatal("a snapshot instead of the facts between")
			case "hb":
				seq = max(seq, m.Seq)
			case "ev":
				left--
				got = append(got, m.Seq)
				seq = m.Seq
				over = m.Kind == last
			}
		}
		_ = p.conn.CloseNow()
	}
	all := <-want
	if !slices.Equal(got, all) || !slices.IsSorted(got) || len(got) < 200 {
		t.Errorf("%d facts over %d connections, %d on the steady one", len(got), reconnects, len(all))
	}
	// What the hub does not keep, or another life of it, is answered with a snapshot.
	for _, h := range []struct {
		epoch string
		since int64
	}{{"another", seq}, {epoch, seq + 1000000}, {"", 0}} {
		if p := shaky.live(h.epoch, h.since, "desk"); p.next("welcome").Epoch != epoch || p.next("snap").Views["desk"] == nil {
			t.Errorf("%+v is not answered with a snapshot", h)
		}
	}
}

func TestSlowPageIsClosed(t *testing.T) {
	w := newTown(t)
	p := w.signIn("operator1").live("", 0)
	p.next("snap")
	quick, watch := w.signIn("operator2").live("", 0), w.browser()
	quick.next("snap")
	// Facts are large, so that the buffers of the machine fill; the slow page reads
	// none of them until its queue has run over. The quick one is waited for.
	const most, ahead = 4000, 50
	var read, failed atomic.Int64
	go func() {
		for {
			m, err := quick.read()
			if err != nil {
				failed.Store(1)
				return
			}
			if m.Type == "ev" {
				read.Add(1)
			}
		}
	}()
	big := event.Body(map[string]any{"what": strings.Repeat("x", 8<<10)})
	for n := int64(1); ; n++ {
		w.web.Committed([]event.Event{{ID: fmt.Sprint(n), Type: "store.thing.changed", Agg: "thing", AggID: fmt.Sprint(n), Seq: 1, At: time.Now(), Body: big}})
		if n%ahead != 0 {
			continue
		}
		storetest.Eventually(t, "the quick page reads", func() bool { return failed.Load() == 1 || read.Load() >= n-ahead })
		if failed.Load() == 1 || n > most {
			t.Fatalf("after %d facts the quick page is closed (%d), and the slow one is not", n, failed.Load())
		}
		if strings.Contains(string(watch.get("//metrics").body), `anling_web_live_clients{role="operator"} 1`) {
			break // the slow one is out
		}
	}
	if code := p.closedWith(); code != 4008 {
		t.Errorf("the slow page is closed with %d", code)
	}
}

func TestLiveChannelsAreBounded(t *testing.T) {
	w := newTown(t)
	w.web.SetRoom(1)
	op := w.signIn("operator1")
	first := op.live("", 0, "desk")
	first.next("snap")
	if code := op.live("", 0, "desk").closedWith(); code != websocket.StatusTryAgainLater {
		t.Errorf("the second is closed with %d", code)
	}
	if err := first.conn.Close(websocket.StatusNormalClosure, ""); err != nil {
		t.Fatal(err)
	}
	storetest.Eventually(t, "the room is free again", func() bool {
		_, err := op.live("", 0, "desk").read()
		return err == nil
	})
}

// TestEmergenciesDoNotWaitForTheHub: one call after the other returns while the hub
// is busy. What it then cannot take up, a page hears when it comes back.
func TestEmergenciesDoNotWaitForTheHub(t *testing.T) {
	w := newTown(t)
	op := w.signIn("operator1")
	page := op.live("", 0, "desk")
	page.next("snap")
	free := w.web.Busy()
	for range web.ChoresSize {
		w.web.Emergency(map[string]any{"kind": "early"})
	}
	w.web.Emergency(map[string]any{"kind": "last"})
	free()
	if code := page.closedWith(); code != 4008 {
		t.Errorf("the page is closed with %d", code)
	}
	back := op.live("", 0, "desk")
	for e := back.next("emergency"); e.Body["kind"] != "last"; e = back.next("emergency") {
	}
}

func TestLiveEndsWithItsRights(t *testing.T) {
	w := newTown(t)
	if p := w.browser().live("", 0); p.closedWith() != 4001 {
		t.Error("a page without a session is not closed with 4001")
	}
	out := w.signIn("operator1")
	p := out.live("", 0)
	p.next("snap")
	out.post("/logout", nil)
	if code := p.closedWith(); code != 4001 {
		t.Errorf("after signing out: %d", code)
	}
	q := w.signIn("operator2").live("", 0)
	q.next("snap")
	u, err := w.users.User(t.Context(), "u-op2")
	if err != nil {
		t.Fatal(err)
	}
	w.signIn("admin").send("PATCH", "/users/u-op2", map[string]any{"role": "supervisor", "version": u.Version}, nil).object()
	if code := q.closedWith(); code != 4003 {
		t.Errorf("after a change of rights: %d", code)
	}
	if _, res, err := w.signIn("supervisor1").dial(http.Header{"Origin": {"https://evil.example"}}); err == nil || res == nil || res.StatusCode != http.StatusForbidden {
		t.Errorf("another site's page is let in: %v", err)
	}
	bad, _, err := w.signIn("supervisor1").dial(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer bad.CloseNow() //nolint:errcheck // a test's connection
	if err := bad.Write(t.Context(), websocket.MessageText, []byte(`{"type":"cmd"}`)); err != nil {
		t.Fatal(err)
	}
	var ce websocket.CloseError
	if _, _, err := bad.Read(t.Context()); !errors.As(err, &ce) || ce.Code != websocket.StatusPolicyViolation {
		t.Errorf("garbage instead of hello: %v", err)
	}
}

// deaf is a store whose hook was never called: another node writes.
func TestPollFindsWhatWasNotHeard(t *testing.T) {
	w := newTown(t)
	deaf, err := web.New(web.Options{Users: w.users, Incidents: w.board, Engine: w.engine, Registry: w.people, Epoch: "other"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- deaf.Run(ctx) }()
	defer func() {
		cancel()
		<-done
	}()
	other := &town{t: t, http: newServer(t, deaf.Handler())}
	p := other.signIn("operator1").live("", 0, "desk")
	p.next("snap")
	o := w.press("poll-1", "e1")
	if m := p.next("ev"); m.Kind != "dispatch.incident.changed" || m.AggID != string(o.IncidentID) {
		t.Errorf("the poll tells %+v", m)
	}
}

func TestResponderPage(t *testing.T) {
	w := newTown(t)
	r1 := w.signIn("responder1")
	p := r1.live("", 0, "responder", "desk")
	p.next("welcome")
	view := p.next("snap").Views
	if view["desk"] != nil || object(view).text("responder", "duty") != "on" {
		t.Errorf("the first view %v", view)
	}
	w.press("rp-1", "e1")
	m := p.next("ev")
	if m.Kind != "dispatch.offer.sent" || m.Body["responder_id"] != "r1" {
		t.Errorf("he hears %+v", m)
	}
	r1.keyed("a", "/offers/"+m.AggID+"/accept", map[string]any{}).object()
	again := object(r1.live("", 0, "responder").next("snap").Views)
	if again.text("responder", "assignment", "status") != "accepted" || again.text("responder", "assignment", "elder", "unit_floor_room") != "3 单元 501" {
		t.Errorf("after accepting %v", again)
	}
}
