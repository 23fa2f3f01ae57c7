package web

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"io/fs"
	"mime"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"

	"anling/care"
)

//go:embed shell
var shells embed.FS

// asset is what a page needs, as webbuild's manifest says.
type asset struct {
	JS     string   `json:"js"`
	CSS    string   `json:"css"`
	Chunks []string `json:"chunks"`
}

// file is a built file, compressed once.
type file struct {
	kind   string
	plain  []byte
	zipped []byte // nil when it does not pay
}

// assets are the pages' built files and the shell around them.
type assets struct {
	entries map[string]asset
	files   map[string]file
	shell   *template.Template
	build   string // changes with any file: the pages offer a reload
}

func loadAssets(from fs.FS) (*assets, error) {
	a := &assets{files: map[string]file{}}
	text, err := fs.ReadFile(from, "dist/manifest.json")
	if err != nil {
		return nil, fmt.Errorf("pages: %w", err)
	}
	if err := json.Unmarshal(text, &a.entries); err != nil {
		return nil, fmt.Errorf("pages: manifest: %w", err)
	}
	if a.shell, err = template.ParseFS(shells, "shell/page.html"); err != nil {
		return nil, fmt.Errorf("pages: %w", err)
	}
	sum := sha256.Sum256(text)
	a.build = hex.EncodeToString(sum[:6])
	return a, fs.WalkDir(from, "dist", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		plain, err := fs.ReadFile(from, name)
		if err != nil {
			return fmt.Errorf("pages: %w", err)
		}
		a.files[strings.TrimPrefix(name, "dist/")] = pack(name, plain)
		return nil
	})
}

// kinds of the built files; the table of the machine is not asked, it may be wrong.
var kinds = map[string]string{".js": "text/javascript; charset=utf-8", ".mjs": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8",
	".json": "application/json", ".txt": "text/plain; charset=utf-8", ".svg": "image/svg+xml", ".png": "image/png", ".webmanifest": "application/manifest+json", ".woff2": "font/woff2"}

func pack(name string, plain []byte) file {
	f := file{kind: kinds[path.Ext(name)], plain: plain}
	if f.kind == "" {
		f.kind = mime.TypeByExtension(path.Ext(name))
	}
	var b bytes.Buffer
	z, _ := gzip.NewWriterLevel(&b, gzip.BestCompression) // the level is good
	_, _ = z.Write(plain)                                 // into memory
	_ = z.Close()
	if b.Len() < len(plain)*9/10 {
		f.zipped = b.Bytes()
	}
	return f
}

// pages answers the shells and their files.
func (s *Server) pages(mux *http.ServeMux) {
	mux.HandleFunc("GET /assets/{file...}", s.serveAsset)
	mux.HandleFunc("GET /icon.svg", func(w http.ResponseWriter, r *http.Request) {
		named(r, "icon")
		w.Header().Set("Cache-Control", "public, max-age=86400")
		w.Header().Set("Content-Type", kinds[".svg"])
		http.ServeFileFS(w, r, shells, "shell/icon.svg")
	})
	mux.HandleFunc("GET /login", func(w http.ResponseWriter, r *http.Request) {
		named(r, "page-login")
		s.page(w, r, "login")
	})
	mux.HandleFunc("GET /console", s.forRoles("console", "/console", care.RoleOperator, care.RoleSupervisor, care.RoleAdmin))
	mux.HandleFunc("GET /r", s.forRoles("responder", "/r", care.RoleResponder))
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		named(r, "page-home")
		u, err := s.session(r)
		if err != nil {
			http.Redirect(w, r, "/login", http.StatusSeeOther)
			return
		}
		http.Redirect(w, r, home(u.Role), http.StatusSeeOther)
	})
}

// home is the page that a role works on.
func home(r care.Role) string {
	if r == care.RoleResponder {
		return "/r"
	}
	return "/console"
}

// forRoles serves a page to those who work on it and sends others where they belong.
func (s *Server) forRoles(entry, at string, roles ...care.Role) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		named(r, "page-"+entry)
		u, err := s.session(r)
		var refused *Error
		switch {
		case errors.As(err, &refused):
			http.Redirect(w, r, "/login?next="+url.QueryEscape(at), http.StatusSeeOther)
		case err != nil:
			fail(w, s.explain(r.Context(), err))
		case !slices.Contains(roles, u.Role):
			if to := home(u.Role); to != at {
				http.Redirect(w, r, to, http.StatusSeeOther)
				return
			}
			http.Error(w, "a "+string(u.Role)+" has no page here; use the API", http.StatusForbidden)
		default:
			s.page(w, r, entry)
		}
	}
}

func (s *Server) page(w http.ResponseWriter, r *http.Request, entry string) {
	a, built := s.assets.entries[entry]
	if !built {
		http.Error(w, "this page is not built", http.StatusNotFound)
		return
	}
	title := "安铃"
	if s.opts.District != "" {
		title += " · " + s.opts.District
	}
	var b bytes.Buffer
	err := s.assets.shell.Execute(&b, map[string]any{"Lang": "zh-CN", "Title": title, "Build": s.assets.build, "JS": a.JS, "CSS": a.CSS, "Chunks": a.Chunks,
		"NoScript": "此页面需要 JavaScript。This page needs JavaScript."})
	if err != nil {
		fail(w, s.explain(r.Context(), fmt.Errorf("page %s: %w", entry, err)))
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Cache-Control", "no-cache")
	_, _ = w.Write(b.Bytes()) // the client is gone then
}

// serveAsset serves a built file. Its name carries its hash, so it never changes.
func (s *Server) serveAsset(w http.ResponseWriter, r *http.Request) {
	named(r, "asset")
	f, known := s.assets.files[r.PathValue("file")]
	if !known || r.PathValue("file") == "manifest.json" {
		fail(w, refuse("not_found", "no such file"))
		return
	}
	h := w.Header()
	h.Set("Content-Type", f.kind)
	h.Set("Cache-Control", "public, max-age=31536000, immutable")
	h.Set("Vary", "Accept-Encoding")
	body := f.plain
	if f.zipped != nil && strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		h.Set("Content-Encoding", "gzip")
		body = f.zipped
	}
	_, _ = w.Write(body) // the client is gone then
}
