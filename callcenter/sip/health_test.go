package sip

import (
	"strings"
	"testing"
)

func TestHealthNamesSilentCarriers(t *testing.T) {
	s := &Server{}
	for _, name := range []string{"carrier-a", "carrier-b"} {
		k, err := newTrunk(Trunk{Name: name, Target: "192.0.2.1:5060"}, "0871")
		if err != nil {
			t.Fatal(err)
		}
		s.trunks = append(s.trunks, k)
	}
	want := func(state, named string) {
		t.Helper()
		if got, detail := s.Health(); got != state || !strings.Contains(detail, named) {
			t.Errorf("health is %s, %q, want %s naming %q", got, detail, state, named)
		}
	}
	want("ok", "")
	s.trunks[0].heard()
	s.trunks[1].missed()
	want("degraded", "carrier-b")
	s.trunks[0].missed()
	if _, detail := s.Health(); strings.Contains(detail, "carrier-a") {
		t.Error("one missed question is no silence")
	}
	s.trunks[0].missed()
	want("degraded", "carrier-a")
	s.trunks[0].heard()
	s.trunks[1].heard()
	want("ok", "")
}
