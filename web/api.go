package web

import (
	"context"
	"errors"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"go.uber.org/zap"

	"anling/care"
)

const apiPath = "/api/v1"

// Roles that may use a door, by what they do.
var (
	everybody = care.Roles()
	desk      = []care.Role{care.RoleOperator}
	deskReads = []care.Role{care.RoleOperator, care.RoleSupervisor}
	overview  = []care.Role{care.RoleOperator, care.RoleSupervisor, care.RoleAdmin}
	field     = []care.Role{care.RoleResponder, care.RoleOperator} // an operator answers for who is on the telephone
	admins    = []care.Role{care.RoleAdmin}
)

// readerOf is who asks, or nil.
func readerOf(ctx context.Context) *reader {
	r, _ := ctx.Value(readerKey).(*reader)
	return r
}

// identify finds who asks, once for the request, and sets the time it may take. Who is
// not signed in goes on: each operation says whether that is enough.
func (s *Server) identify(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), answerTime)
		defer cancel()
		r = r.WithContext(ctx)
		who, err := s.session(r)
		var e *Error
		switch {
		case err == nil:
			r = r.WithContext(context.WithValue(r.Context(), readerKey, &who))
		case !errors.As(err, &e):
			s.log.Error("find session", zap.Error(err))
			fail(w, refuse("unavailable", "sessions cannot be read at the moment"))
			return
		}
		w.Header().Set("Cache-Control", "no-store")
		next.ServeHTTP(w, r)
	})
}

// routes joins all doors of the server.
func (s *Server) routes() (http.Handler, error) {
	mux := http.NewServeMux()
	doors := http.NewServeMux()
	s.api = humago.New(doors, s.apiConfig())
	s.doors()
	doors.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		fail(w, refuse("not_found", "no such door, or not by this method"))
	})
	api := s.identify(s.once(doors))
	mux.Handle(apiPath+"/", api)
	s.importDoor(mux)
	s.recordingDoor(mux)
	mux.HandleFunc("GET /ws", s.serveLive)
	s.pages(mux)
	s.healthDoors(mux)
	return s.guard(mux)
}

func (s *Server) apiConfig() huma.Config {
	c := huma.DefaultConfig("Anling", s.opts.Build)
	c.CreateHooks = nil // no $schema member in the answers
	c.OpenAPIPath, c.DocsPath, c.SchemasPath = apiPath+"/openapi", "", ""
	c.Info.Description = "The 24-hour elder hotline and its one-key emergency calls. Sign in by POST /api/v1/login; the session is a cookie. " +
		"Commands take an Idempotency-Key header: a repeat under the same key gets the first answer and does nothing twice. " +
		"Times are RFC 3339 in UTC. A field that is absent is unknown, or not for the reader's eyes."
	c.Components.SecuritySchemes = map[string]*huma.SecurityScheme{"session": {Type: "apiKey", In: "cookie", Name: cookieName, Description: "Set by POST /api/v1/login."}}
	return c
}

// body wraps an answer as huma wants it.
type body[T any] struct{ Body T }

// door is one operation and who may use it.
type door struct {
	id, method, path string
	tag              string
	summary          string
	roles            []care.Role
	status           int // of success, 200 by default
}

// add registers an operation. f gets the reader and answers as far as he may see.
func add[I, O any](s *Server, d door, f func(ctx context.Context, u reader, in *I) (O, error)) {
	op := huma.Operation{OperationID: d.id, Method: d.method, Path: apiPath + d.path, Summary: d.summary, Tags: []string{d.tag}, MaxBodyBytes: bodyMax,
		BodyReadTimeout: readTime, DefaultStatus: d.status, Security: []map[string][]string{{"session": {}}},
		Extensions: map[string]any{"x-roles": d.roles}, Middlewares: huma.Middlewares{s.admit(d)}}
	if d.method == http.MethodPost || d.method == http.MethodPatch {
		op.Parameters = []*huma.Param{{Name: "Idempotency-Key", In: "header", Description: "Makes a repeat of the command safe.", Schema: &huma.Schema{Type: "string", MaxLength: ptr(keyMax)}}}
	}
	huma.Register(s.api, op, func(ctx context.Context, in *I) (*body[O], error) {
		out, err := f(ctx, *readerOf(ctx), in)
		if err != nil {
			return nil, s.explain(ctx, err)
		}
		return &body[O]{out}, nil
	})
}

// raw adds an operation whose body or answer is no JSON. The document tells of it as
// of the others; tell fills in what is its own.
func (s *Server) raw(mux *http.ServeMux, d door, tell func(*huma.Operation), f func(http.ResponseWriter, *http.Request, reader) error) {
	op := &huma.Operation{OperationID: d.id, Method: d.method, Path: apiPath + d.path, Summary: d.summary, Tags: []string{d.tag}, Security: []map[string][]string{{"session": {}}},
		Extensions: map[string]any{"x-roles": d.roles}, Responses: map[string]*huma.Response{"default": s.jsonResponse("Error", reflect.TypeFor[Error]())}}
	tell(op)
	s.api.OpenAPI().AddOperation(op)
	mux.HandleFunc(d.method+" "+op.Path, func(w http.ResponseWriter, r *http.Request) {
		named(r, d.id)
		u, err := s.session(r)
		if err == nil && !slices.Contains(d.roles, u.Role) {
			err = forbidden(u.Role)
		}
		if err == nil {
			err = f(w, r, u)
		}
		if err != nil {
			fail(w, s.explain(r.Context(), err))
		}
	})
}

func (s *Server) jsonResponse(text string, t reflect.Type) *huma.Response {
	return &huma.Response{Description: text, Content: map[string]*huma.MediaType{"application/json": {Schema: s.api.OpenAPI().Components.Schemas.Schema(t, true, t.Name())}}}
}

func pathParam(name, text string) *huma.Param {
	return &huma.Param{Name: name, In: "path", Required: true, Description: text, Schema: &huma.Schema{Type: "string"}}
}

func forbidden(r care.Role) *Error { return refuse("forbidden", "this is not for the role "+string(r)) }

func ptr[T any](v T) *T { return &v }

// admit lets in the roles of a door.
func (s *Server) admit(d door) func(huma.Context, func(huma.Context)) {
	return func(ctx huma.Context, next func(huma.Context)) {
		if n, ok := ctx.Context().Value(opKey).(*opNote); ok {
			n.name = d.id
		}
		who := readerOf(ctx.Context())
		switch {
		case who == nil:
			_ = huma.WriteErr(s.api, ctx, http.StatusUnauthorized, "sign in first")
		case !slices.Contains(d.roles, who.Role):
			_ = huma.WriteErr(s.api, ctx, http.StatusForbidden, forbidden(who.Role).Message)
		default:
			next(ctx)
		}
	}
}

// list is the form of every list.
type list[T any] struct {
	Items []T `json:"items"`
}

func listOf[T any](items []T) list[T] {
	if items == nil {
		items = []T{}
	}
	return list[T]{items}
}

// none is the input of an operation without any.
type none struct{}

// doors registers every operation of the API.
func (s *Server) doors() {
	s.sessionDoors()
	s.userDoors()
	s.incidentDoors()
	s.offerDoors()
	s.responderDoors()
	s.registryDoors()
	s.callDoors()
	s.statusDoors()
}

type loginInput struct {
	Body credentials
}

type loginOutput struct {
	SetCookie []http.Cookie `header:"Set-Cookie"`
	Body      Me
}

type logoutOutput struct {
	SetCookie []http.Cookie `header:"Set-Cookie"`
}

func (s *Server) sessionDoors() {
	login := huma.Operation{OperationID: "login", Method: http.MethodPost, Path: apiPath + "/login", Summary: "Sign in; the answer sets the session cookie", Tags: []string{"session"}, MaxBodyBytes: bodyMax, BodyReadTimeout: readTime, Middlewares: huma.Middlewares{s.open("login")}}
	huma.Register(s.api, login, func(ctx context.Context, in *loginInput) (*loginOutput, error) {
		r := requestOf(ctx)
		who, cookie, err := s.login(ctx, in.Body, address(r), s.secure(r))
		if err != nil {
			var wait huma.HeadersError
			if errors.As(err, &wait) {
				return nil, err
			}
			return nil, s.explain(ctx, err)
		}
		return &loginOutput{SetCookie: []http.Cookie{*cookie}, Body: who}, nil
	})
	logout := huma.Operation{OperationID: "logout", Method: http.MethodPost, Path: apiPath + "/logout", Summary: "End the session", Tags: []string{"session"}, DefaultStatus: http.StatusNoContent, Middlewares: huma.Middlewares{s.open("logout")}}
	huma.Register(s.api, logout, func(ctx context.Context, _ *none) (*logoutOutput, error) {
		if u := readerOf(ctx); u != nil {
			if err := s.opts.Users.EndSession(ctx, u.session); err != nil {
				return nil, s.explain(ctx, err)
			}
			s.hub.endSession(u.session)
			s.audit(ctx, *u, "session.ended", "user:"+string(u.ID), "")
		}
		return &logoutOutput{SetCookie: []http.Cookie{*clearCookie(s.secure(requestOf(ctx)))}}, nil
	})
	add(s, door{id: "me", method: http.MethodGet, path: "/me", tag: "session", summary: "Who is signed in", roles: everybody},
		func(_ context.Context, u reader, _ *none) (Me, error) { return me(u.User), nil })
}

// open names an operation that needs no session, and keeps the request for it.
func (s *Server) open(id string) func(huma.Context, func(huma.Context)) {
	return func(ctx huma.Context, next func(huma.Context)) {
		if n, ok := ctx.Context().Value(opKey).(*opNote); ok {
			n.name = id
		}
		r, _ := humago.Unwrap(ctx)
		next(huma.WithValue(ctx, requestKey, r))
	}
}

func requestOf(ctx context.Context) *http.Request { return ctx.Value(requestKey).(*http.Request) }

// commandKey is the key of a command for the doors of the domain: the caller's own,
// or a new one.
func commandKey(u reader, key string) string {
	if key == "" {
		key = string(care.NewID[care.TaskID]())
	}
	return string(u.ID) + ":" + key
}

// within bounds a list.
func within(limit, def, most int) int {
	if limit <= 0 {
		limit = def
	}
	return min(limit, most)
}

// longAnswer lifts the time limits of one request whose body or answer is large.
func longAnswer(w http.ResponseWriter, read, write time.Duration) {
	c := http.NewResponseController(w)
	now := time.Now()
	_ = c.SetReadDeadline(now.Add(read))   // a recorder in a test has none
	_ = c.SetWriteDeadline(now.Add(write)) // the same
}

func trimmed(s string) string { return strings.TrimSpace(s) }
