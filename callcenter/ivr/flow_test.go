package ivr

import (
	"strings"
	"testing"
	"time"
)

func TestHotline(t *testing.T) {
	f := Hotline()
	if err := f.Check(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		do   func(m *Menu) (Step, bool)
		want Step
	}{
		{"hears the greeting", func(m *Menu) (Step, bool) { return m.Played() }, Step{Queue: true}},
		{"presses 1", func(m *Menu) (Step, bool) { return m.Digit('1') }, Step{Queue: true, Class: "urgent"}},
		{"presses another key", func(m *Menu) (Step, bool) { return m.Digit('7') }, Step{Queue: true}},
	} {
		m, first := f.Begin()
		if first != (Step{Play: "greeting"}) {
			t.Errorf("%s: first %+v", c.name, first)
		}
		if got, ok := c.do(m); !ok || got != c.want {
			t.Errorf("%s: %+v, %v", c.name, got, ok)
		}
		for what, again := range map[string]func() (Step, bool){"played": m.Played, "timeout": m.Timeout, "digit": func() (Step, bool) { return m.Digit('1') }} {
			if got, ok := again(); ok {
				t.Errorf("%s: %s after the end does %+v", c.name, what, got)
			}
		}
	}
}

const menu = `{"id":"m","v":1,"start":"ask","nodes":{
 "ask":{"do":"digits","prompt":"press","first_s":3,"map":{"1":"urgent","9":"bye"},"timeout":"q","invalid":"sorry"},
 "sorry":{"do":"play","prompt":"invalid","next":"q"},
 "urgent":{"do":"class","class":"urgent","next":"thanks"},
 "thanks":{"do":"play","prompt":"thanks","next":"q"},
 "bye":{"do":"hangup"},
 "q":{"do":"queue"}}}`

func TestMenu(t *testing.T) {
	f, err := Parse([]byte(menu))
	if err != nil {
		t.Fatal(err)
	}
	m, s := f.Begin()
	if s.Play != "press" || s.Within != 3*time.Second {
		t.Errorf("first %+v", s)
	}
	if _, ok := m.Played(); ok {
		t.Error("the end of the prompt ended the time for a key")
	}
	s, _ = m.Digit('1')
	if s.Play != "thanks" || s.Class != "urgent" {
		t.Errorf("1: %+v", s)
	}
	if _, ok := m.Digit('5'); ok {
		t.Error("a prompt that cannot be interrupted was")
	}
	if s, ok := m.Played(); !ok || !s.Queue || s.Class != "urgent" {
		t.Errorf("end: %+v", s)
	}
	m, _ = f.Begin()
	if s, ok := m.Timeout(); !ok || !s.Queue {
		t.Errorf("timeout: %+v", s)
	}
	m, _ = f.Begin()
	if s, ok := m.Digit('5'); !ok || s.Play != "invalid" {
		t.Errorf("invalid key: %+v", s)
	}
	m, _ = f.Begin()
	if s, ok := m.Digit('9'); !ok || !s.Hangup {
		t.Errorf("9: %+v", s)
	}
}

func TestCheckSaysWhatIsWrong(t *testing.T) {
	for name, c := range map[string]struct{ flow, want string }{
		"not JSON":       {`{`, "unexpected end"},
		"missing node":   {`{"id":"f","start":"a","nodes":{"a":{"do":"play","prompt":"p","next":"b"}}}`, "node b: is missing"},
		"unreachable":    {`{"id":"f","start":"a","nodes":{"a":{"do":"queue"},"b":{"do":"queue"}}}`, "node b: cannot be reached"},
		"loop":           {`{"id":"f","start":"a","nodes":{"a":{"do":"play","prompt":"p","next":"a"}}}`, "leads back to itself"},
		"no exits":       {`{"id":"f","start":"a","nodes":{"a":{"do":"digits","first_s":1,"map":{"1":"q"}},"q":{"do":"queue"}}}`, "has no timeout"},
		"unknown kind":   {`{"id":"f","start":"a","nodes":{"a":{"do":"sing"}}}`, `does "sing"`},
		"end leads on":   {`{"id":"f","start":"a","nodes":{"a":{"do":"queue","next":"b"},"b":{"do":"queue"}}}`, "is an end and leads on"},
		"sos by a key":   {`{"id":"f","start":"a","nodes":{"a":{"do":"class","class":"sos","next":"q"},"q":{"do":"queue"}}}`, "not urgent or normal"},
		"key of letters": {`{"id":"f","start":"a","nodes":{"a":{"do":"play","prompt":"p","map":{"ab":"q"},"next":"q"},"q":{"do":"queue"}}}`, `key "ab"`},
		"too deep": {`{"id":"f","start":"a","nodes":{
			"a":{"do":"digits","first_s":1,"map":{"1":"b"},"timeout":"q","invalid":"q"},
			"b":{"do":"digits","first_s":1,"map":{"1":"c"},"timeout":"q","invalid":"q"},
			"c":{"do":"digits","first_s":1,"map":{"1":"d"},"timeout":"q","invalid":"q"},
			"d":{"do":"digits","first_s":1,"map":{"1":"q"},"timeout":"q","invalid":"q"},
			"q":{"do":"queue"}}}`, "deeper than 3"},
	} {
		if _, err := Parse([]byte(c.flow)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}
