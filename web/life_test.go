package web_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"testing"
	"time"
)

// TestFromThePressToTheClosure walks an incident through the API as the two pages do.
func TestFromThePressToTheClosure(t *testing.T) {
	w := newTown(t)
	op, r1 := w.signIn("operator1"), w.signIn("responder1")
	opened := w.press("life-1", "e1")
	open := op.get("/incidents?status=open").object()
	inc := open.list("items")[0]
	if inc.text("id") != string(opened.IncidentID) || inc.text("elder", "name") != "王秀英" || inc.text("device", "external_id_masked") != "****4567" {
		t.Fatalf("the open incident is %v", inc)
	}
	path := "/incidents/" + string(opened.IncidentID)
	taken := op.keyed("k1", path+"/take", map[string]any{}).object()
	if taken.text("owner") != "u-op1" || taken.text("owner_name") != "话务员一" || taken.text("status") != "dispatching" {
		t.Errorf("taken: %v", taken)
	}
	claim := taken.at("claim")
	op.post(path+"/classify", map[string]any{"claim": claim, "kinds": []string{"sos", "fall"}, "priority": 1}).object()
	op.post(path+"/note", map[string]any{"text": "老人说摔倒了"}).object()
	candidates := op.get(path + "/candidates?limit=10").object().list("items")
	if len(candidates) != 6 || candidates[0].text("name") == "" {
		t.Errorf("candidates: %v", candidates)
	}

	offers := r1.get("/offers").object().list("items")
	if len(offers) != 1 || offers[0].text("status") != "sent" || offers[0].at("elder", "address") != nil || offers[0].text("kinds", 0) != "sos" {
		t.Fatalf("the responder's offers: %v", offers)
	}
	offer := "/offers/" + offers[0].text("id")
	answer := map[string]any{"epoch": offers[0].at("epoch"), "device_id": "phone-1", "device_seq": 1}
	r1.post(offer+"/seen", answer).object()
	answer["device_seq"] = 2
	for range 2 { // the second is the same press of the same button
		if res := r1.post(offer+"/accept", answer).object(); res.text("status") != "accepted" {
			t.Fatalf("accept: %v", res)
		}
	}
	job := r1.get("/assignments?mine=true").object().list("items")
	if len(job) != 1 || job[0].text("elder", "address") != "幸福路 12 号" || job[0].text("elder", "sight") != "job" || job[0].at("reasons") != nil {
		t.Fatalf("the responder's job: %v", job)
	}
	assignment := "/assignments/" + job[0].text("id")
	w.signIn("responder2").get(assignment).refused(404, "not_found", "")
	for _, to := range []string{"en_route", "on_scene", "done"} {
		if a := r1.post(assignment+"/advance", map[string]any{"status": to, "outcome": "helped"}).object(); a.text("status") != to {
			t.Errorf("advance to %s: %v", to, a)
		}
	}
	op.post(path+"/close", map[string]any{"claim": claim, "outcome": "helped_at_home"}).refused(409, "transition", "")
	op.post(path+"/resolve", map[string]any{"claim": claim, "how": "seen"}).object()
	closed := op.post(path+"/close", map[string]any{"claim": claim, "outcome": "helped_at_home", "note": "已平安"}).object()
	if closed.text("status") != "closed" {
		t.Errorf("closed: %v", closed)
	}

	d := op.get(path).object()
	steps := map[string]string{}
	for _, m := range d.list("timeline") {
		steps[m.text("type")] = m.text("actor_name")
	}
	for step, actor := range map[string]string{"dispatch.incident.opened": "pendant ****4567", "sos.alarm.received": "pendant ****4567", "dispatch.offer.sent": "wave", "dispatch.incident.answered": "话务员一",
		"dispatch.assignment.accepted": "助老员1", "dispatch.assignment.en_route": "助老员1", "dispatch.assignment.on_scene": "助老员1", "dispatch.assignment.done": "助老员1",
		"dispatch.incident.resolved": "话务员一", "dispatch.incident.closed": "话务员一"} {
		if steps[step] != actor {
			t.Errorf("%s is by %q, want %q", step, steps[step], actor)
		}
	}
	alarms := op.get("/alarms?since=0").object()
	if alarms.text("items", 0, "source_event_id") != "life-1" || alarms.text("items", 0, "incident_id") != string(opened.IncidentID) {
		t.Errorf("alarms: %v", alarms)
	}
	if more := op.get("/alarms?since=" + alarms.text("next")).object(); len(more.list("items")) != 0 || more.text("next") != alarms.text("next") {
		t.Errorf("alarms after the last: %v", more)
	}
}

func TestOpenByHandOnce(t *testing.T) {
	w := newTown(t)
	op := w.signIn("operator1")
	body := map[string]any{"elder_id": "e7", "kinds": []string{"sos"}, "note": "邻居打电话来"}
	first := op.keyed("same", "/incidents", body)
	again := op.keyed("same", "/incidents", body)
	if first.object().text("incident", "id") != again.object().text("incident", "id") || again.head.Get("Idempotency-Replayed") != "true" {
		t.Errorf("a repeat opens another incident: %s", again.body)
	}
	if n := len(again.object().list("incident", "notes")); n != 1 {
		t.Errorf("%d notes of one request", n)
	}
	op.keyed("same", "/incidents", map[string]any{"kinds": []string{"fire"}}).refused(409, "key_reused", "")
	w.signIn("operator2").keyed("same", "/incidents", map[string]any{"elder_id": "e8", "kinds": []string{"sos"}}).object()
	if got := first.object().text("incident", "elder", "name"); got != "王秀英" {
		t.Errorf("the elder is %s", got)
	}
}

// TestManyRepeatsAtOnce sends one command under one key from many tabs.
func TestManyRepeatsAtOnce(t *testing.T) {
	w := newTown(t)
	op := w.signIn("operator1")
	id := string(w.press("burst", "e1").IncidentID)
	done := make(chan answer, 12)
	for range cap(done) {
		go func() { done <- op.keyed("one", "/incidents/"+id+"/note", map[string]any{"text": "一次"}) }()
	}
	for range cap(done) {
		if a := <-done; a.status != 200 {
			t.Errorf("answer %d: %s", a.status, a.body)
		}
	}
	if n := len(op.get("/incidents/"+id).object().list("incident", "notes")); n != 1 {
		t.Errorf("%d notes of one command", n)
	}
}

func TestDispatchTasksAndDuty(t *testing.T) {
	w := newTown(t)
	op, op2, r2 := w.signIn("operator1"), w.signIn("operator2"), w.signIn("responder2")
	id := string(w.press("d-1", "e1").IncidentID)
	op2.post("/offers", map[string]any{"incident_id": id, "responder_ids": []string{"r5"}}).refused(409, "taken", "")
	claim := op.post("/incidents/"+id+"/take", map[string]any{}).object().at("claim")
	op2.post("/incidents/"+id+"/take", map[string]any{}).refused(409, "taken", "")
	offers := op.keyed("o1", "/offers", map[string]any{"incident_id": id, "claim": claim, "responder_ids": []string{"r5"}}).object().list("items")
	if !slices.ContainsFunc(offers, func(o object) bool { return o.text("responder_id") == "r5" && o.text("responder_name") == "助老员5" }) {
		t.Errorf("offers: %v", offers)
	}
	// An operator answers for a responder on the telephone.
	for _, o := range offers {
		if o.text("responder_id") == "r5" {
			if res := op.keyed("acc", "/offers/"+o.text("id")+"/accept", map[string]any{}).object(); res.text("status") != "accepted" {
				t.Errorf("accepted by telephone: %v", res)
			}
		}
	}
	a := op.get("/assignments?incident_id=" + id).object().list("items")
	if len(a) != 1 || a[0].text("responder_id") != "r5" || a[0].text("responder_name") != "助老员5" {
		t.Errorf("assignments: %v", a)
	}
	op.post("/assignments/"+a[0].text("id")+"/give_up", map[string]any{"reason": "车坏了"}).object()
	op.post("/assignments/"+a[0].text("id")+"/withdraw", map[string]any{"reason": "家属已到"}).object()

	if p := r2.post("/responders/r2/duty", map[string]any{"duty": "off"}).object(); p.text("duty") != "off" || p.at("fix") != nil {
		t.Errorf("off duty: %v", p)
	}
	r2.post("/responders/r1/duty", map[string]any{"duty": "off"}).refused(403, "forbidden", "")
	w.signIn("provider1").post("/responders/r2/duty", map[string]any{"duty": "on"}).refused(404, "not_found", "")
	here := map[string]any{"lat": 25.05, "lng": 102.71, "accuracy_m": 12, "datum": "gcj02"}
	if got := r2.post("/positions", here).object(); got.at("stored") != false {
		t.Errorf("a position off duty: %v", got)
	}
	r2.post("/responders/r2/duty", map[string]any{"duty": "on"}).object()
	if got := r2.post("/positions", here).object(); got.at("stored") != true {
		t.Errorf("a position on duty: %v", got)
	}
	here["at"] = time.Now().Add(-time.Hour)
	r2.post("/positions", here).refused(400, "invalid", "at")
	for _, p := range op.get("/responders").object().list("items") {
		if p.text("id") == "r2" && (p.text("fix", "datum") != "gcj02" || p.text("phone_masked") != "137****0001") {
			t.Errorf("r2 in the list: %v", p)
		}
	}
}

// TestServeForPages keeps a town open for the pages' tests by hand:
// ANLING_WEB_SERVE=127.0.0.1:18080 go test ./web -run TestServeForPages -timeout 0.
func TestServeForPages(t *testing.T) {
	addr := os.Getenv("ANLING_WEB_SERVE")
	if addr == "" {
		t.Skip("ANLING_WEB_SERVE is not set")
	}
	w := newTown(t)
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	go func() {
		for n := 0; ctx.Err() == nil; n++ {
			w.press(fmt.Sprint("page-", n), "e1")
			select {
			case <-ctx.Done():
			case <-time.After(time.Minute):
			}
		}
	}()
	t.Logf("http://%s, every password is %q", l.Addr(), password)
	if err := w.web.Serve(ctx, l); err != nil && err != http.ErrServerClosed {
		t.Fatal(err)
	}
}
