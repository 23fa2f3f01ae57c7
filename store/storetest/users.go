package storetest

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"anling/callcenter/sip"
	"anling/care"
	"anling/store"
)

func account(name string, role care.Role) care.User {
	return care.User{Name: name, DisplayName: "Zhang San", Role: role, Password: "$argon2id$x"}
}

// Users is the suite of accounts, sessions, telephones and the audit log. raw reaches
// the database past the store, as somebody with the machine's password does.
func Users(t *testing.T, s *store.Store, raw *sql.DB) {
	u := store.NewUsers(s)
	t.Run("accounts", func(t *testing.T) { accounts(t, u) })
	t.Run("sessions", func(t *testing.T) { sessions(t, u) })
	t.Run("telephones", func(t *testing.T) { telephones(t, u) })
	t.Run("bindings", func(t *testing.T) { bindings(t, u) })
	t.Run("audit log", func(t *testing.T) { auditLog(t, u, raw) })
}

func saveUser(t *testing.T, u *store.Users, x care.User) care.User {
	t.Helper()
	saved, err := u.SaveUser(t.Context(), x, "cli:test")
	if err != nil {
		t.Fatal(err)
	}
	return saved
}

func accounts(t *testing.T, u *store.Users) {
	op := saveUser(t, u, account("anna", care.RoleOperator))
	if op.ID == "" || op.Version != 1 || op.Lang != "zh-CN" {
		t.Errorf("saved %+v", op)
	}
	if _, err := u.SaveUser(t.Context(), account("anna", care.RoleAdmin), "cli:test"); !errors.Is(err, care.ErrTaken) {
		t.Errorf("a second anna: %v", err)
	}
	for field, bad := range map[string]care.User{
		"name": account("An na", care.RoleOperator), "role": account("bert", "boss"), "responder_id": account("carl", care.RoleResponder),
		"provider_id": account("dora", care.RoleProvider), "password": {Name: "emil", DisplayName: "E", Role: care.RoleAdmin},
	} {
		var e *care.Error
		if _, err := u.SaveUser(t.Context(), bad, "cli:test"); !errors.As(err, &e) || e.Field != field {
			t.Errorf("a user with a bad %s: %v", field, err)
		}
	}
	got, err := u.UserByName(t.Context(), "anna")
	if err != nil || got.ID != op.ID || got.Password != "$argon2id$x" {
		t.Errorf("read by name %+v, %v", got, err)
	}
	got.DisplayName, got.Password, got.Name = "Li Si", "", "other"
	changed := saveUser(t, u, got)
	if changed.Version != 2 || changed.Name != "anna" {
		t.Errorf("changed %+v", changed)
	}
	if _, err := u.SaveUser(t.Context(), got, "cli:test"); !errors.Is(err, care.ErrTransition) {
		t.Errorf("a change of an old version: %v", err)
	}
	if again, err := u.User(t.Context(), op.ID); err != nil || again.Password != "$argon2id$x" || again.DisplayName != "Li Si" {
		t.Errorf("read %+v, %v", again, err)
	}
	if _, err := u.User(t.Context(), "nobody"); !errors.Is(err, care.ErrNotFound) {
		t.Errorf("nobody: %v", err)
	}
	if all, err := u.Users(t.Context()); err != nil || len(all) != 1 {
		t.Errorf("all users %v, %v", all, err)
	}
}

func sessions(t *testing.T, u *store.Users) {
	x := saveUser(t, u, account("frank", care.RoleOperator))
	now := time.Now().UTC().Truncate(time.Microsecond)
	open := func(hash string) {
		if err := u.OpenSession(t.Context(), care.Session{Hash: hash, UserID: x.ID, Created: now, Seen: now, Expires: now.Add(time.Hour)}); err != nil {
			t.Fatal(err)
		}
	}
	open("h1")
	open("h2")
	if err := u.TouchSession(t.Context(), "h1", now.Add(time.Minute), now.Add(2*time.Hour)); err != nil {
		t.Fatal(err)
	}
	s, who, err := u.Session(t.Context(), "h1")
	if err != nil || who.ID != x.ID || who.Password != "" || !s.Expires.Equal(now.Add(2*time.Hour)) || !s.Seen.Equal(now.Add(time.Minute)) {
		t.Errorf("session %+v of %+v, %v", s, who, err)
	}
	if err := u.EndSession(t.Context(), "h2"); err != nil {
		t.Fatal(err)
	}
	if _, _, err := u.Session(t.Context(), "h2"); !errors.Is(err, care.ErrNotFound) {
		t.Errorf("an ended session: %v", err)
	}
	x.DisplayName = "Frank"
	x = saveUser(t, u, x)
	if _, _, err := u.Session(t.Context(), "h1"); err != nil {
		t.Errorf("a new display name ends the session: %v", err)
	}
	x.Disabled = true
	x = saveUser(t, u, x)
	x.Disabled = false
	saveUser(t, u, x)
	if _, _, err := u.Session(t.Context(), "h1"); !errors.Is(err, care.ErrNotFound) {
		t.Errorf("the session outlives being disabled: %v", err)
	}
}

func telephones(t *testing.T, u *store.Users) {
	a, b := saveUser(t, u, account("gina", care.RoleOperator)), saveUser(t, u, account("hans", care.RoleOperator))
	set := func(x care.User, phone, ha1 string) error {
		return u.SetPhone(t.Context(), x.ID, care.Telephone{Account: phone, Realm: "anling", Digests: map[string]string{"MD5": ha1, "SHA-256": ha1 + "s"}}, "cli:test")
	}
	if err := set(a, "1001", "aa"); err != nil {
		t.Fatal(err)
	}
	if ha1, ok := u.Digest(t.Context(), "1001", "anling", "SHA-256"); !ok || ha1 != "aas" {
		t.Errorf("digest %q, %t", ha1, ok)
	}
	if _, ok := u.Digest(t.Context(), "1001", "other", "MD5"); ok {
		t.Error("a digest of another realm")
	}
	if err := set(b, "1001", "bb"); !errors.Is(err, care.ErrTaken) {
		t.Errorf("another's telephone: %v", err)
	}
	if err := set(a, "1002", "cc"); err != nil {
		t.Fatal(err)
	}
	if err := set(b, "1001", "bb"); err != nil {
		t.Errorf("a telephone that was given up: %v", err)
	}
	if got, err := u.User(t.Context(), a.ID); err != nil || got.Phone != "1002" {
		t.Errorf("the telephone of gina is %q, %v", got.Phone, err)
	}
	got, err := u.User(t.Context(), b.ID)
	if err != nil {
		t.Fatal(err)
	}
	got.Disabled = true
	saveUser(t, u, got)
	if _, ok := u.Digest(t.Context(), "1001", "anling", "MD5"); ok {
		t.Error("the telephone of a disabled user signs in")
	}
}

func bindings(t *testing.T, u *store.Users) {
	now := time.Now().UTC().Truncate(time.Microsecond)
	b := sip.Binding{Account: "1001", Contact: "sip:1001@192.0.2.1:5060", Source: "192.0.2.1:5060", Transport: "UDP", CallID: "x", CSeq: 7, Expires: now.Add(time.Minute)}
	old := b
	old.Contact, old.Expires = "sip:1001@192.0.2.2:5060", now.Add(-time.Minute)
	other := b
	other.Account = "1002"
	for _, x := range []sip.Binding{old, b, b, other} {
		if err := u.SaveBinding(t.Context(), x); err != nil {
			t.Fatal(err)
		}
	}
	if err := u.DeleteBinding(t.Context(), "1002", other.Contact); err != nil {
		t.Fatal(err)
	}
	got, err := u.LoadBindings(t.Context())
	if err != nil || len(got) != 1 || got[0] != b {
		t.Errorf("bindings %+v, %v; want %+v", got, err, b)
	}
}

func auditLog(t *testing.T, u *store.Users, raw *sql.DB) {
	before, err := u.CheckAudit(t.Context())
	if err != nil || before == 0 {
		t.Fatalf("%d lines of the changes before, %v", before, err)
	}
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			e := care.AuditEntry{Actor: "operator:u1", Action: "elder.reveal", Object: fmt.Sprint("elder:", i), Detail: "phone"}
			if err := u.Audit(context.WithoutCancel(t.Context()), e); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n, err := u.CheckAudit(t.Context()); err != nil || n != before+20 {
		t.Fatalf("%d lines, %v", n, err)
	}
	latest, err := u.AuditLog(t.Context(), 0, 5)
	if err != nil || len(latest) != 5 || latest[0].Pos != before+20 || latest[0].Action != "elder.reveal" {
		t.Errorf("latest lines %+v, %v", latest, err)
	}
	for _, statement := range []string{"UPDATE audit SET detail = 'x'", "DELETE FROM audit"} {
		if _, err := raw.ExecContext(t.Context(), statement); err == nil || !strings.Contains(err.Error(), "append-only") {
			t.Errorf("the log answers %s with %v", statement, err)
		}
	}
	// Who drops the trigger can change a line, but not unseen.
	drop := "DROP TRIGGER audit_no_update"
	if strings.Contains(fmt.Sprintf("%T", raw.Driver()), "stdlib") {
		drop = "DROP TRIGGER audit_no_change ON audit"
	}
	for _, statement := range []string{drop, "UPDATE audit SET detail = 'x' WHERE pos = 3"} {
		if _, err := raw.ExecContext(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := u.CheckAudit(t.Context()); !errors.Is(err, store.ErrAudit) || !strings.Contains(err.Error(), "line 3") {
		t.Errorf("a changed line is found as %v", err)
	}
}
