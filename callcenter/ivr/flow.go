// Package ivr holds what a caller hears before the queue, as data: a flow of nodes,
// checked when it is loaded, and a menu that walks through it for one call. It plays
// nothing and reads no clock: the call does what a step says and tells what came.
package ivr

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Flow is one service's greeting and menus.
type Flow struct {
	ID    string          `json:"id"`
	V     int             `json:"v"`
	Start string          `json:"start"`
	Nodes map[string]Node `json:"nodes"`
}

// Node is one step of a flow.
type Node struct {
	Do        string            `json:"do"` // play, digits, class, queue, hangup
	Prompt    string            `json:"prompt,omitempty"`
	Interrupt bool              `json:"interrupt,omitempty"` // any key ends the prompt
	Keys      map[string]string `json:"map,omitempty"`       // key → node
	Next      string            `json:"next,omitempty"`
	FirstSec  float64           `json:"first_s,omitempty"` // digits: wait for the key
	Timeout   string            `json:"timeout,omitempty"`
	Invalid   string            `json:"invalid,omitempty"`
	Class     string            `json:"class,omitempty"`
}

// Hotline is the default: one short greeting, then the queue. Practice advises
// against menus, so a key during the greeting only adds what is known: 1 is urgent.
func Hotline() Flow {
	return Flow{ID: "hotline", V: 1, Start: "hi", Nodes: map[string]Node{
		"hi":     {Do: "play", Prompt: "greeting", Interrupt: true, Keys: map[string]string{"1": "urgent"}, Next: "q"},
		"urgent": {Do: "class", Class: "urgent", Next: "q"},
		"q":      {Do: "queue"},
	}}
}

// Parse reads and checks a flow.
func Parse(b []byte) (Flow, error) {
	var f Flow
	if err := json.Unmarshal(b, &f); err != nil {
		return f, fmt.Errorf("flow: %w", err)
	}
	return f, f.Check()
}

const menuLevels = 3

// Check tells what is wrong with a flow: a node that is missing or cannot be reached,
// a menu without exits, a way that does not end, menus more than three deep.
func (f Flow) Check() error {
	var errs []error
	bad := func(node, format string, a ...any) {
		errs = append(errs, fmt.Errorf("flow %s, node %s: %s", f.ID, node, fmt.Sprintf(format, a...)))
	}
	reached := map[string]bool{}
	var walk func(id string, from []string, menus int)
	walk = func(id string, from []string, menus int) {
		n, ok := f.Nodes[id]
		switch {
		case !ok:
			bad(id, "is missing")
			return
		case slices.Contains(from, id):
			bad(id, "leads back to itself")
			return
		}
		reached[id] = true
		if n.Do == "digits" {
			if menus++; menus > menuLevels {
				bad(id, "is a menu deeper than %d levels", menuLevels)
				return
			}
		}
		for _, next := range n.exits() {
			walk(next, append(slices.Clone(from), id), menus)
		}
	}
	walk(f.Start, nil, 0)
	for id, n := range f.Nodes {
		if !reached[id] {
			bad(id, "cannot be reached")
		}
		for _, what := range n.faults() {
			bad(id, "%s", what)
		}
	}
	slices.SortFunc(errs, func(a, b error) int {
		if a.Error() < b.Error() {
			return -1
		}
		return 1
	})
	return errors.Join(errs...)
}

func (n Node) exits() []string {
	var all []string
	for _, to := range n.Keys {
		all = append(all, to)
	}
	for _, to := range []string{n.Next, n.Timeout, n.Invalid} {
		if to != "" {
			all = append(all, to)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

func (n Node) faults() []string {
	var all []string
	need := func(ok bool, what string) {
		if !ok {
			all = append(all, what)
		}
	}
	switch n.Do {
	case "play":
		need(n.Prompt != "", "has no prompt")
		need(n.Next != "", "has no next")
	case "digits":
		need(n.Timeout != "", "has no timeout")
		need(n.Invalid != "", "has no way for an invalid key")
		need(len(n.Keys) > 0, "has no keys")
		need(n.FirstSec > 0, "has no first_s")
	case "class":
		need(n.Class == "urgent" || n.Class == "normal", "has a class that is not urgent or normal")
		need(n.Next != "", "has no next")
	case "queue", "hangup":
		need(len(n.exits()) == 0, "is an end and leads on")
	default:
		need(false, fmt.Sprintf("does %q, which is not one of play, digits, class, queue, hangup", n.Do))
	}
	for k := range n.Keys {
		need(len(k) == 1 && k[0] != 0 && isKey(k[0]), fmt.Sprintf("has a key %q", k))
	}
	return all
}

func isKey(b byte) bool { return b >= '0' && b <= '9' || b == '*' || b == '#' }

// Step is what the call does next. A step that is neither Queue nor Hangup waits for
// Digit, Played or Timeout.
type Step struct {
	Play   string        // the prompt to be played, if any
	Within time.Duration // a key is awaited so long; then Timeout
	Class  string        // the class the caller chose, kept to the end
	Queue  bool
	Hangup bool
}

// Menu is one caller's walk through a flow.
type Menu struct {
	flow  Flow
	at    string
	class string
	ended bool
}

// Begin starts a walk through a flow that has been checked.
func (f Flow) Begin() (*Menu, Step) {
	m := &Menu{flow: f}
	return m, m.enter(f.Start)
}

func (m *Menu) enter(id string) Step {
	m.at = id
	n := m.flow.Nodes[id]
	switch n.Do {
	case "class":
		m.class = n.Class
		return m.enter(n.Next)
	case "play":
		return Step{Play: n.Prompt, Class: m.class}
	case "digits":
		return Step{Play: n.Prompt, Within: time.Duration(n.FirstSec * float64(time.Second)), Class: m.class}
	case "hangup":
		m.ended = true
		return Step{Hangup: true, Class: m.class}
	}
	m.ended = true
	return Step{Queue: true, Class: m.class}
}

// Digit is a key the caller pressed. ok is false when it changes nothing.
func (m *Menu) Digit(key byte) (step Step, ok bool) {
	if m.ended {
		return Step{}, false
	}
	n := m.flow.Nodes[m.at]
	if to, known := n.Keys[string(key)]; known {
		return m.enter(to), true
	}
	switch {
	case n.Do == "digits":
		return m.enter(n.Invalid), true
	case n.Interrupt:
		return m.enter(n.Next), true
	}
	return Step{}, false
}

// Played is the end of the prompt.
func (m *Menu) Played() (step Step, ok bool) {
	if m.ended || m.flow.Nodes[m.at].Do != "play" {
		return Step{}, false
	}
	return m.enter(m.flow.Nodes[m.at].Next), true
}

// Timeout is the end of the time for a key.
func (m *Menu) Timeout() (step Step, ok bool) {
	if m.ended || m.flow.Nodes[m.at].Do != "digits" {
		return Step{}, false
	}
	return m.enter(m.flow.Nodes[m.at].Timeout), true
}
