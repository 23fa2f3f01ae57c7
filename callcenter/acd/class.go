// Package acd decides who is put through to whom: the order of those who wait, the
// operators who may be rung for each, offers, acceptance, wrap-up. It is pure: it
// reads no clock, starts no goroutine and touches no line. Every method is told the
// time, and answers with what is to be done.
package acd

import "fmt"

// Class orders what waits. A lower one is always served first.
type Class int

const (
	SOS      Class = iota // a device, an SOS line, a lost SOS call
	Urgent                // one key in the greeting
	Normal                // the hotline
	Callback              // an ordinary call-back
)

var classNames = [...]string{"sos", "urgent", "normal", "callback"}

func (c Class) String() string {
	if c < SOS || c > Callback {
		return fmt.Sprintf("class(%d)", int(c))
	}
	return classNames[c]
}

// MarshalText writes the name.
func (c Class) MarshalText() ([]byte, error) {
	if c < SOS || c > Callback {
		return nil, fmt.Errorf("class %d is not known", int(c))
	}
	return []byte(classNames[c]), nil
}

// UnmarshalText reads the name.
func (c *Class) UnmarshalText(b []byte) error {
	for i, name := range classNames {
		if name == string(b) {
			*c = Class(i)
			return nil
		}
	}
	return fmt.Errorf("class %q is not one of sos, urgent, normal, callback", b)
}
