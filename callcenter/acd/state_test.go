package acd

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestEveryPairOfStates(t *testing.T) {
	allowed := map[State]string{
		Offline:  "ready break",
		Ready:    "reserved break offline",
		Reserved: "ringing talking ready wrap_up break offline",
		Ringing:  "talking ready wrap_up break offline",
		Talking:  "hold wrap_up ready break offline",
		Hold:     "talking wrap_up ready break offline",
		WrapUp:   "ready reserved break offline",
		Break:    "ready reserved offline",
	}
	for _, from := range States() {
		may := map[string]bool{}
		for _, w := range strings.Fields(allowed[from]) {
			may[w] = true
		}
		for _, to := range States() {
			if got := CanMove(from, to); got != may[string(to)] {
				t.Errorf("%s → %s: %v", from, to, got)
			}
		}
	}
}

func TestClassByName(t *testing.T) {
	b, err := json.Marshal([]Class{SOS, Urgent, Normal, Callback})
	if err != nil || string(b) != `["sos","urgent","normal","callback"]` {
		t.Fatalf("%s, %v", b, err)
	}
	var back []Class
	if err := json.Unmarshal(b, &back); err != nil || len(back) != 4 || back[3] != Callback {
		t.Fatalf("%v, %v", back, err)
	}
	if err := json.Unmarshal([]byte(`"red"`), new(Class)); err == nil {
		t.Error("an unknown class was taken")
	}
	if _, err := json.Marshal(Class(9)); err == nil {
		t.Error("an unknown class was written")
	}
}
