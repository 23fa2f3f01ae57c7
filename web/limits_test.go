package web_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"anling/care"
	"anling/dispatch"
	"anling/dispatch/assign"
	"anling/web"
)

// What the fakes below leave out: who asks for it gets a panic.
type (
	otherUsers     interface{ web.Users }
	otherIncidents interface{ web.Incidents }
)

// oneUser is a store of accounts in which everybody is an operator.
type oneUser struct{ otherUsers }

func (oneUser) Session(context.Context, string) (care.Session, care.User, error) {
	now := time.Now()
	return care.Session{Seen: now, Expires: now.Add(time.Hour)}, care.User{ID: "u1", Role: care.RoleOperator}, nil
}

// hanging are incidents whose store does not answer.
type hanging struct{ otherIncidents }

func (hanging) Incidents(ctx context.Context, _ string, _ int) ([]dispatch.Incident, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func TestStoreThatHangsIsSaidInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := web.New(web.Options{Users: oneUser{}, Incidents: hanging{}, Engine: assign.NewEngine(assign.Options{})})
		if err != nil {
			t.Fatal(err)
		}
		r := httptest.NewRequest("GET", "/api/v1/incidents", nil)
		r.AddCookie(&http.Cookie{Name: "anling_session", Value: "x"})
		a, asked := httptest.NewRecorder(), time.Now()
		s.Handler().ServeHTTP(a, r)
		if a.Code != http.StatusServiceUnavailable || !strings.Contains(a.Body.String(), "unavailable") || time.Since(asked) > 30*time.Second {
			t.Errorf("%d %s after %s", a.Code, a.Body, time.Since(asked))
		}
	})
}

func TestCookieIsSecureBehindTheProxyOfThePublicURL(t *testing.T) {
	w := newTown(t, func(o *web.Options) { o.PublicURL = "https://anling.example" })
	for host, want := range map[string]bool{"anling.example": true, "127.0.0.1:8080": false} {
		r := httptest.NewRequest("POST", "http://"+host+"/api/v1/login", strings.NewReader(`{"name":"operator1","password":"`+password+`"}`))
		r.Header.Set("Content-Type", "application/json")
		a := httptest.NewRecorder()
		w.web.Handler().ServeHTTP(a, r)
		if got := strings.Contains(a.Header().Get("Set-Cookie"), "Secure"); a.Code != 200 || got != want {
			t.Errorf("%s: %d %q", host, a.Code, a.Header().Get("Set-Cookie"))
		}
	}
}
