package web

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"regexp"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"go.uber.org/zap"

	"anling/care"
)

// Error is every error of the API.
type Error struct {
	Code    string `json:"code" doc:"What was wrong, for programs: invalid, unauthorized, forbidden, not_found, taken, transition, busy, key_reused, expired, too_large, too_many, unavailable, internal" example:"invalid"`
	Message string `json:"message" doc:"What was wrong and where, in English; pages translate by code" example:"priority: 9 is not 1 to 4"`
	Field   string `json:"field,omitempty" doc:"JSON name of the field that is wrong, when there is one" example:"priority"`

	status int
}

func (e *Error) Error() string { return e.Message }

// GetStatus implements huma.StatusError.
func (e *Error) GetStatus() int { return e.status }

var statuses = map[string]int{
	"invalid": http.StatusBadRequest, "unauthorized": http.StatusUnauthorized, "forbidden": http.StatusForbidden, "not_found": http.StatusNotFound,
	"taken": http.StatusConflict, "transition": http.StatusConflict, "busy": http.StatusConflict, "key_reused": http.StatusConflict,
	"expired": http.StatusGone, "too_large": http.StatusRequestEntityTooLarge, "too_many": http.StatusTooManyRequests,
	"unavailable": http.StatusServiceUnavailable, "internal": http.StatusInternalServerError,
}

func refuse(code, message string) *Error {
	return &Error{Code: code, Message: message, status: statuses[code]}
}

func codeOf(status int) string {
	switch status {
	case http.StatusUnprocessableEntity, http.StatusBadRequest, http.StatusUnsupportedMediaType, http.StatusNotAcceptable:
		return "invalid"
	case http.StatusRequestTimeout:
		return "expired"
	case http.StatusMethodNotAllowed:
		return "not_found"
	}
	for code, s := range statuses {
		if s == status && code != "transition" && code != "busy" && code != "key_reused" {
			return code
		}
	}
	return "internal"
}

// init gives huma our form of errors: huma has one for the whole program, and this
// package is its only door.
func init() {
	huma.NewError = func(status int, msg string, errs ...error) huma.StatusError {
		e := &Error{Code: codeOf(status), Message: msg, status: status}
		if status == http.StatusUnprocessableEntity {
			e.status = http.StatusBadRequest
		}
		for _, err := range errs {
			var d huma.ErrorDetailer
			if !errors.As(err, &d) {
				continue
			}
			detail := d.ErrorDetail()
			e.Field = fieldOf(detail.Location)
			if m := missing.FindStringSubmatch(detail.Message); m != nil {
				e.Field = strings.TrimPrefix(strings.TrimPrefix(detail.Location+"."+m[1], "body."), ".")
				e.Message = e.Field + ": is missing"
				break
			}
			e.Message = detail.Message
			if e.Field != "" {
				e.Message = e.Field + ": " + detail.Message
			}
			break
		}
		return e
	}
	huma.DefaultArrayNullable = false
}

// missing is how huma says that a member is not there: it names the object, not the
// member.
var missing = regexp.MustCompile(`^expected required property (\S+) to be present$`)

// fieldOf turns "body.kinds[0]" into "kinds[0]"; the body itself stays "body".
func fieldOf(location string) string {
	for _, prefix := range []string{"body.", "query.", "path.", "header."} {
		if rest, ok := strings.CutPrefix(location, prefix); ok {
			return rest
		}
	}
	return location
}

// explain turns an error of the domain into what the reader is told. What is not
// meant for a person is logged and shown as "internal error".
func (s *Server) explain(ctx context.Context, err error) *Error {
	var own *Error
	var known *care.Error
	switch {
	case errors.As(err, &own):
		return own
	case errors.As(err, &known):
		status, ok := statuses[known.Code]
		if !ok {
			status = http.StatusConflict
		}
		return &Error{Code: known.Code, Message: known.Error(), Field: known.Field, status: status}
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return refuse("unavailable", "no answer in time; ask again with the same key")
	}
	s.log.Error("request failed", zap.String("op", opName(ctx)), zap.Error(err))
	return refuse("internal", "internal error")
}

// fail writes an error outside of huma.
func fail(w http.ResponseWriter, e *Error) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(e.status)
	_ = json.NewEncoder(w).Encode(e) // the client is gone then
}
