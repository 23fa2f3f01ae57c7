package main

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"anling/store"
	"anling/store/storetest"
	"anling/web"
)

// TestUserCommands runs the built program as an administrator does.
func TestUserCommands(t *testing.T) {
	bin := filepath.Join(t.TempDir(), "anling")
	if out, err := exec.Command("go", "build", "-o", bin, ".").CombinedOutput(); err != nil {
		t.Fatalf("build: %v: %s", err, out)
	}
	dir := t.TempDir()
	run := func(input string, args ...string) (string, error) {
		cmd := exec.CommandContext(t.Context(), bin, args...)
		cmd.Env = append(os.Environ(), "ANLING_DATA_DIR="+dir)
		cmd.Stdin = strings.NewReader(input)
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		err := cmd.Run()
		return out.String(), err
	}
	if out, err := run("geheim im haus\n", "user", "add", "Operator1", "--role", "operator", "--phone", "1001"); err != nil || !strings.Contains(out, "telephone 1001, realm anling, secret: ") {
		t.Fatalf("add: %v: %s", err, out)
	}
	if out, err := run("", "user", "add", "admin", "--role=admin", "--generate"); err != nil || !strings.Contains(out, "password: ") {
		t.Fatalf("add with a generated password: %v: %s", err, out)
	}
	for _, bad := range []struct{ input, says, args string }{
		{"kurz\n", "password: must have 8", "user add b1 --role operator"},
		{"geheim im haus\n", "is taken", "user add operator1 --role admin"},
		{"geheim im haus\n", "responder_id", "user add r1 --role responder"},
		{"", "one of", "user add x --role boss"},
		{"", "not found", "user disable nobody"},
	} {
		if out, err := run(bad.input, strings.Fields(bad.args)...); err == nil || !strings.Contains(out, bad.says) {
			t.Errorf("%s: %v: %s", bad.args, err, out)
		}
	}
	if out, err := run("", "user", "disable", "operator1"); err != nil {
		t.Errorf("disable: %v: %s", err, out)
	}
	out, err := run("", "user", "list")
	if err != nil || !strings.Contains(out, "operator1") || !strings.Contains(out, "disabled") || strings.Contains(out, "argon2") {
		t.Errorf("list: %v: %s", err, out)
	}
	users := store.NewUsers(storetest.Open(t, store.Options{DataDir: dir}))
	u, err := users.UserByName(context.Background(), "operator1")
	if err != nil || u.Phone != "1001" || !u.Disabled || !strings.HasPrefix(u.Password, "$argon2id$") {
		t.Errorf("operator1 is %+v, %v", u, err)
	}
	if lines, err := users.CheckAudit(t.Context()); err != nil || lines != 4 {
		t.Errorf("%d lines in the audit log, %v", lines, err)
	}
	digests := web.NewTelephone("Mufasa", "http-auth@example.org", "Circle of Life").Digests
	if digests["SHA-256"] != "7987c64c30e25f1b74be53f966b49b90f2808aa92faf9a00262392d7b4794232" || digests["MD5"] != "3d78807defe7de2157e2b0b6573a855f" {
		t.Errorf("digests %v are not those of RFC 7616 3.9.1", digests)
	}
}
