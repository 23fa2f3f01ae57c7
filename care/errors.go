package care

import (
	"errors"
	"fmt"
)

// Error is what a person will read: a code for programs, a message that says what
// was wrong and where, and the field when there is one. Everything else is shown
// as "internal error".
type Error struct {
	Code    string // "not_found", "invalid", "forbidden", "taken", "expired" …
	Field   string // the JSON name of the field, or empty
	Message string // English; the pages translate by Code
}

func (e *Error) Error() string {
	if e.Field != "" {
		return fmt.Sprintf("%s: %s", e.Field, e.Message)
	}
	return e.Message
}

// ErrorCode is the code, for packages that do not know this one.
func (e *Error) ErrorCode() string { return e.Code }

// Is makes errors.Is compare by code.
func (e *Error) Is(target error) bool {
	var t *Error
	return errors.As(target, &t) && t.Code == e.Code
}

// Sentinels for what a caller decides on; compare with errors.Is.
var (
	ErrNotFound   = &Error{Code: "not_found", Message: "not found"}
	ErrInvalid    = &Error{Code: "invalid", Message: "invalid input"}
	ErrForbidden  = &Error{Code: "forbidden", Message: "not allowed"}
	ErrTransition = &Error{Code: "transition", Message: "the state does not allow this"}
	ErrTaken      = &Error{Code: "taken", Message: "taken by another"}
	ErrBusy       = &Error{Code: "busy", Message: "busy with another job"}
)

// Invalid is an ErrInvalid for one field, with its message.
func Invalid(field, format string, args ...any) *Error {
	return &Error{Code: ErrInvalid.Code, Field: field, Message: fmt.Sprintf(format, args...)}
}

// NotFound is an ErrNotFound that names what was looked for.
func NotFound(what, id string) *Error {
	return &Error{Code: ErrNotFound.Code, Message: fmt.Sprintf("%s %s not found", what, id)}
}

// Refuse is an error with one of the codes above and its own message.
func Refuse(base *Error, format string, args ...any) *Error {
	return &Error{Code: base.Code, Message: fmt.Sprintf(format, args...)}
}
