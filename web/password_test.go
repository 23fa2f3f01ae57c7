package web

import (
	"strings"
	"testing"
)

// TestUnknownNamesCostAsMuch: what an unknown name's password is compared with has the
// cost of a real one, so that the time of the answer tells nothing.
func TestUnknownNamesCostAsMuch(t *testing.T) {
	phc, err := HashPassword("eight or more")
	if err != nil {
		t.Fatal(err)
	}
	cost := func(s string) string { return strings.Join(strings.Split(s, "$")[:4], "$") }
	real, fake := strings.Split(phc, "$"), strings.Split(nobody, "$")
	if cost(phc) != cost(nobody) || len(real[4]) != len(fake[4]) || len(real[5]) != len(fake[5]) {
		t.Errorf("nobody is %s, a real one %s", nobody, phc)
	}
	for text, want := range map[string]bool{phc: true, nobody: false} {
		if good, err := CheckPassword(t.Context(), text, "eight or more"); err != nil || good != want {
			t.Errorf("%s: %t, %v", text, good, err)
		}
	}
	for _, bad := range []string{"", "$2b$10$abc", "$argon2id$v=19$m=4294967295,t=1,p=1$AAAA$AAAA", "$argon2id$v=16$m=19456,t=2,p=1$AAAA$AAAA", "$argon2id$v=19$m=1,t=1,p=1$!$AAAA"} {
		if good, err := CheckPassword(t.Context(), bad, "x"); good || err == nil {
			t.Errorf("a damaged hash %q: %t, %v", bad, good, err)
		}
	}
}
