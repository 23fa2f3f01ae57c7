package web_test

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"anling/web"
)

func TestSessionCookie(t *testing.T) {
	w := newTown(t)
	b := w.browser()
	a := b.post("/login", map[string]string{"name": " Operator1 ", "password": password})
	if me := a.object(); me.text("id") != "u-op1" || me.text("role") != "operator" || me.text("display_name") != "话务员一" {
		t.Errorf("signed in as %v", me)
	}
	cookie := a.head.Get("Set-Cookie")
	for _, want := range []string{"HttpOnly", "SameSite=Strict", "Path=/"} {
		if !strings.Contains(cookie, want) {
			t.Errorf("the cookie %q lacks %s", cookie, want)
		}
	}
	token, _, _ := strings.Cut(strings.TrimPrefix(cookie, "anling_session="), ";")
	if len(token) != 43 {
		t.Errorf("the token %q has not 256 bits", token)
	}
	if _, _, err := w.users.Session(t.Context(), token); err == nil {
		t.Error("the token itself is stored")
	}
	b.get("/me").object()
	if a := b.post("/logout", nil); a.status != 204 {
		t.Errorf("logout: %d %s", a.status, a.body)
	}
	b.head["Cookie"] = []string{"anling_session=" + token}
	b.get("/me").refused(401, "unauthorized", "")
}

func TestSessionEnds(t *testing.T) {
	w := newTown(t, func(o *web.Options) { o.SessionTTL = time.Hour })
	b := w.signIn("operator1")
	for range 3 { // use prolongs it
		w.skew.Add(int64(50 * time.Minute))
		b.get("/me").object()
	}
	w.skew.Add(int64(61 * time.Minute))
	b.get("/me").refused(401, "unauthorized", "")
	c := w.signIn("operator2")
	admin := w.signIn("admin")
	for _, u := range admin.get("/users").object().list("items") {
		if u.text("name") == "operator2" {
			admin.send("PATCH", "/users/u-op2", map[string]any{"disabled": true, "version": u.at("version")}, nil).object()
		}
	}
	c.get("/me").refused(401, "unauthorized", "")
	w.browser().post("/login", map[string]string{"name": "operator2", "password": password}).refused(401, "unauthorized", "")
}

func TestGuessingIsSlowedDown(t *testing.T) {
	w := newTown(t)
	b := w.browser()
	try := func(name, pw string) answer { return b.post("/login", map[string]string{"name": name, "password": pw}) }
	for range 5 {
		try("operator1", "wrong").refused(401, "unauthorized", "")
	}
	a := try("operator1", password)
	a.refused(429, "too_many", "")
	if a.head.Get("Retry-After") == "" {
		t.Error("429 without Retry-After")
	}
	if a := try("operator2", password); a.status != 200 {
		t.Errorf("another name from the address: %d", a.status)
	}
	w.skew.Add(int64(21 * time.Second))
	if a := try("operator1", password); a.status != 200 {
		t.Errorf("after a while: %d %s", a.status, a.body)
	}
	for range 5 { // names that do not exist count as well
		try("ghost", "wrong").refused(401, "unauthorized", "")
	}
	try("ghost", "wrong").refused(429, "too_many", "")
}

func TestCrossSiteRequestsAreRefused(t *testing.T) {
	w := newTown(t, func(o *web.Options) { o.PublicURL = "https://anling.example" })
	op := w.signIn("operator1")
	id := string(w.press("csrf-1", "e1").IncidentID)
	take := func(h http.Header) answer { return op.send("POST", "/incidents/"+id+"/take", map[string]any{}, h) }
	take(http.Header{"Origin": {"https://evil.example"}}).refused(403, "forbidden", "")
	take(http.Header{"Sec-Fetch-Site": {"cross-site"}}).refused(403, "forbidden", "")
	take(http.Header{"Sec-Fetch-Site": {"same-site"}}).refused(403, "forbidden", "")
	form := op.send("POST", "/incidents/"+id+"/take", "take_over=true", http.Header{"Content-Type": {"application/x-www-form-urlencoded"}})
	if form.status/100 != 4 {
		t.Errorf("a form is taken: %d", form.status)
	}
	if a := take(http.Header{"Origin": {"https://anling.example"}, "Sec-Fetch-Site": {"cross-site"}}); a.status != 200 {
		t.Errorf("the public address: %d %s", a.status, a.body)
	}
	if a := take(http.Header{"Origin": {w.http.URL}, "Sec-Fetch-Site": {"same-origin"}}); a.status != 200 {
		t.Errorf("the own page: %d %s", a.status, a.body)
	}
}

func TestBadInputIsNamed(t *testing.T) {
	w := newTown(t)
	op := w.signIn("operator1")
	id := string(w.press("bad-1", "e1").IncidentID)
	op.post("/incidents/"+id+"/note", `{"text": `).refused(400, "invalid", "body")
	op.post("/incidents/"+id+"/note", `{"text": 5}`).refused(400, "invalid", "text")
	op.post("/incidents/"+id+"/note", `{"text": "x", "colour": "red"}`).refused(400, "invalid", "colour")
	op.post("/incidents/"+id+"/note", `{}`).refused(400, "invalid", "text")
	op.post("/incidents/"+id+"/classify", `{"priority": 9}`).refused(400, "invalid", "priority")
	op.post("/incidents/"+id+"/classify", `{"priority": 1, "kinds": ["sos", "soss"]}`).refused(400, "invalid", "kinds[1]")
	op.post("/incidents", `{"kinds": ["flood"]}`).refused(400, "invalid", "kinds[0]")
	op.get("/incidents?status=whatever").refused(400, "invalid", "status")
	op.get("/alarms?since=x").refused(400, "invalid", "since")
	op.get("/incidents/none").refused(404, "not_found", "")
	op.get("/offers").refused(400, "invalid", "incident_id")
	big := `{"text": "` + strings.Repeat("x", 70<<10) + `"}`
	op.post("/incidents/"+id+"/note", big).refused(413, "too_large", "")
	op.keyed("big", "/incidents/"+id+"/note", big).refused(413, "too_large", "")
	op.keyed(strings.Repeat("k", 200), "/incidents/"+id+"/note", `{"text":"x"}`).refused(400, "invalid", "Idempotency-Key")
	op.get("/nothing").refused(404, "not_found", "")
}

// TestSlowHeadsAreDropped opens connections that never say what they want.
func TestSlowHeadsAreDropped(t *testing.T) {
	if testing.Short() {
		t.Skip("takes the five seconds of the limit")
	}
	w := newTown(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.web.Serve(ctx, l) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
	}()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close() //nolint:errcheck // the server closes it
	fmt.Fprint(c, "GET /healthz HTTP/1.1\r\nHost: x\r\n")
	_ = c.SetReadDeadline(time.Now().Add(9 * time.Second))
	if _, err := bufio.NewReader(c).ReadByte(); err == nil || strings.Contains(err.Error(), "timeout") {
		t.Errorf("a half request is kept: %v", err)
	}
}

func TestHealth(t *testing.T) {
	w := newTown(t)
	b := w.browser()
	if a := b.get("//healthz"); a.status != 200 {
		t.Errorf("healthz: %d", a.status)
	}
	ready := b.get("//readyz")
	if o := ready.object(); o.text("state") != "ok" || o.text("parts", 0, "name") != "store" {
		t.Errorf("readyz: %s", ready.body)
	}
	w.parts.Store(&[3]string{"nats", "degraded", "not connected"})
	if o := b.get("//readyz").object(); o.text("state") != "degraded" || o.text("parts", 1, "detail") != "not connected" {
		t.Errorf("readyz without nats: %v", o)
	}
	gone := fmt.Errorf("no space left on device")
	w.broken.Store(&gone)
	w.skew.Add(int64(2 * time.Second))
	if a := b.get("//readyz"); a.status != 503 || !strings.Contains(string(a.body), "no space left") {
		t.Errorf("readyz with a full disk: %d %s", a.status, a.body)
	}
	w.broken.Store(nil)
	if a := b.get("//readyz"); a.status != 503 {
		t.Errorf("the probe of this second is asked again: %d", a.status)
	}
	w.skew.Add(int64(2 * time.Second))
	if a := b.get("//readyz"); a.status != 200 {
		t.Errorf("readyz afterwards: %d %s", a.status, a.body)
	}
	w.signIn("responder1").get("/status").object()
	if a := b.get("//metrics"); a.status != 200 || !strings.Contains(string(a.body), `anling_web_logins_total{result="ok"} 1`) {
		t.Errorf("metrics: %d", a.status)
	}
}

func TestPages(t *testing.T) {
	w := newTown(t)
	b := w.browser()
	page := b.get("//login")
	if page.status != 200 || page.head.Get("Cache-Control") != "no-cache" || !strings.Contains(string(page.body), `type="module" src="/assets/login-`) {
		t.Errorf("login page: %d %s", page.status, page.body)
	}
	for _, want := range []string{"default-src 'self'", "object-src 'none'", "frame-ancestors 'none'", "base-uri 'none'"} {
		if !strings.Contains(page.head.Get("Content-Security-Policy"), want) {
			t.Errorf("the content policy lacks %s", want)
		}
	}
	if strings.Contains(string(page.body), "<script>") || strings.Contains(string(page.body), "style=") {
		t.Error("the shell has inline code, which its own policy forbids")
	}
	_, rest, _ := strings.Cut(string(page.body), `src="/assets/`)
	name, _, _ := strings.Cut(rest, `"`)
	asset := b.get("//assets/" + name)
	if asset.status != 200 || !strings.Contains(asset.head.Get("Cache-Control"), "immutable") || !strings.HasPrefix(asset.head.Get("Content-Type"), "text/javascript") {
		t.Errorf("asset %s: %d %v", name, asset.status, asset.head)
	}
	if a := b.get("//assets/../web.go"); a.status == 200 {
		t.Error("a file outside of the pages is served")
	}
	for path, want := range map[string]string{"//": "/login", "//console": "/login?next=%2Fconsole", "//r": "/login?next=%2Fr"} {
		if a := b.get(path); a.status != 303 || a.head.Get("Location") != want {
			t.Errorf("%s without a session: %d to %s", path, a.status, a.head.Get("Location"))
		}
	}
	op, r1 := w.signIn("operator1"), w.signIn("responder1")
	for _, x := range []struct {
		b        *browser
		path, to string
	}{{op, "//", "/console"}, {op, "//r", "/console"}, {r1, "//", "/r"}, {r1, "//console", "/r"}} {
		if a := x.b.get(x.path); a.status != 303 || a.head.Get("Location") != x.to {
			t.Errorf("%s: %d to %s, want %s", x.path, a.status, a.head.Get("Location"), x.to)
		}
	}
	for b, path := range map[*browser]string{op: "//console", r1: "//r"} {
		if a := b.get(path); a.status != 200 {
			t.Errorf("%s: %d", path, a.status)
		}
	}
}

func TestUsersAndTokens(t *testing.T) {
	w := wholeTown(t)
	admin := w.signIn("admin")
	made := admin.post("/users", map[string]any{"name": "operator9", "display_name": "新人", "role": "operator", "phone": "1009"}).object()
	if len(made.text("password")) != 16 || len(made.text("secret")) != 20 || made.text("phone") != "1009" {
		t.Errorf("made %v", made)
	}
	ha1, ok := w.users.Digest(t.Context(), "1009", "anling", "SHA-256")
	if !ok || ha1 != web.NewTelephone("1009", "anling", made.text("secret")).Digests["SHA-256"] {
		t.Errorf("the telephone's digest is %q", ha1)
	}
	if a := w.browser().post("/login", map[string]string{"name": "operator9", "password": made.text("password")}); a.status != 200 {
		t.Errorf("the new one signs in: %d", a.status)
	}
	if text := string(admin.get("/users").body); strings.Contains(text, "argon2") || strings.Contains(text, made.text("secret")) || strings.Contains(text, `"password"`) {
		t.Error("the list of users shows secrets")
	}
	admin.post("/users", map[string]any{"name": "operator9", "display_name": "x", "role": "admin", "password": "long enough"}).refused(409, "taken", "")
	admin.post("/users", map[string]any{"name": "r9", "display_name": "x", "role": "responder", "password": "long enough"}).refused(400, "invalid", "responder_id")
	admin.post("/users", map[string]any{"name": "r9", "display_name": "x", "role": "responder", "responder_id": "nobody"}).refused(400, "invalid", "responder_id")
	admin.post("/users", map[string]any{"name": "p9", "display_name": "x", "role": "provider", "provider_id": "p9"}).refused(400, "invalid", "provider_id")
	// An account whose telephone is another's is not made at all: the next try finds its name free.
	admin.post("/users", map[string]any{"name": "operator8", "display_name": "x", "role": "operator", "phone": "1009"}).refused(409, "taken", "")
	admin.post("/users", map[string]any{"name": "operator8", "display_name": "x", "role": "operator", "phone": "1008"}).object()
	admin.send("PATCH", "/users/u-admin", map[string]any{"role": "operator", "version": 1}, nil).refused(403, "forbidden", "")
	token := admin.post("/providers/p1/token", map[string]any{"user": "app-1", "hours": 2}).object()
	if !strings.HasPrefix(token.text("token"), "token-p1-app-1-") || token.text("listen") != "anling.prov.p1.down.>" {
		t.Errorf("token %v", token)
	}
	admin.post("/providers/p9/token", map[string]any{}).refused(404, "not_found", "")
	report := admin.send("POST", "/import/elders", strings.Repeat("x", 200<<10), http.Header{"Content-Type": {"text/csv"}}).object()
	if report.at("rows") != float64(200<<10) || report.text("kind") != "elders" {
		t.Errorf("import: %v", report)
	}
	admin.send("POST", "/import/planets", "x", nil).refused(400, "invalid", "kind")
}

func TestOpenAPI(t *testing.T) {
	w := newTown(t)
	doc := w.browser().get("/openapi.json").object()
	if doc.text("openapi") != "3.1.0" || doc.text("info", "title") != "Anling" {
		t.Errorf("the document is %v %v", doc.at("openapi"), doc.at("info"))
	}
	for path, methods := range doc.at("paths").(map[string]any) {
		for method, v := range methods.(map[string]any) {
			op := object(v.(map[string]any))
			if op.text("summary") == "<nil>" || op.at("operationId") == nil {
				t.Errorf("%s %s has no summary", method, path)
			}
		}
	}
	schemas := doc.at("components", "schemas").(map[string]any)
	for name := range schemas {
		if strings.ContainsAny(name, "./[]") {
			t.Errorf("schema name %s", name)
		}
	}
	if len(schemas) < 20 {
		t.Errorf("%d schemas", len(schemas))
	}
}
