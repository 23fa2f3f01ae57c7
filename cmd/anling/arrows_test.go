package main

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"strings"
	"testing"
)

// pkg is what `go list -json` says of a package.
type pkg struct {
	ImportPath string
	Imports    []string
}

func projectPackages(t *testing.T) []pkg {
	t.Helper()
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports", "anling/...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []pkg
	d := json.NewDecoder(strings.NewReader(string(out)))
	for {
		var p pkg
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

// arrows names, for each room, the rooms that it may import; a room that ends in
// "/..." stands for all below it. Siblings never appear in each other's row.
var arrows = map[string][]string{
	"geo":                  {},
	"event":                {},
	"care":                 {"event", "geo"},
	"care/district":        {"care", "geo"},
	"sos":                  {"care", "event", "geo"},
	"sos/gt06":             {"sos", "care", "geo"},
	"sos/sostest":          {"sos", "care"},
	"sos/watch":            {"sos", "care", "geo"},
	"dispatch":             {"dispatch/assign", "care", "event", "geo"},
	"dispatch/assign":      {"care", "event", "geo"},
	"callcenter":           {"callcenter/acd", "callcenter/ivr", "callcenter/leg", "callcenter/media", "callcenter/recording", "care", "event"},
	"callcenter/acd":       {"callcenter/leg", "care"},
	"callcenter/ivr":       {},
	"callcenter/leg":       {"callcenter/media", "care"},
	"callcenter/media":     {},
	"callcenter/recording": {"callcenter/media"},
	"callcenter/sip":       {"callcenter/leg", "callcenter/media", "care"},
	"bus":                  {"event"},
	"store/live":           {"geo"},
	"web":                  {"sos", "dispatch", "dispatch/assign", "callcenter", "callcenter/...", "care", "event", "geo"},
	"configs":              {},
	"configs/prompts":      {},
}

// doors names the one package that may import a library.
var doors = map[string][]string{
	"github.com/emiago/sipgo":       {"anling/callcenter/sip"},
	"github.com/pion/":              {"anling/callcenter/media"},
	"github.com/redis/go-redis":     {"anling/store/live"},
	"modernc.org/sqlite":            {"anling/store"},
	"github.com/jackc/pgx":          {"anling/store"},
	"database/sql":                  {"anling/store"},
	"github.com/nats-io/":           {"anling/bus"},
	"github.com/danielgtaylor/huma": {"anling/web"},
	"github.com/coder/websocket":    {"anling/web"},
	"github.com/evanw/esbuild":      {"anling/cmd/webbuild"},
}

func TestArrows(t *testing.T) {
	for _, p := range projectPackages(t) {
		room := strings.TrimPrefix(p.ImportPath, "anling/")
		allowed, named := arrows[room]
		if !named {
			named = strings.HasPrefix(room, "cmd/") || strings.HasPrefix(room, "store")
			if !named {
				t.Errorf("%s has no row in the table of arrows", p.ImportPath)
			}
			continue
		}
		for _, imported := range p.Imports {
			to, ours := strings.CutPrefix(imported, "anling/")
			if ours && !allows(allowed, to) {
				t.Errorf("%s imports %s: not an arrow of the design", p.ImportPath, imported)
			}
		}
	}
}

func allows(rooms []string, to string) bool {
	for _, r := range rooms {
		if r == to || (strings.HasSuffix(r, "/...") && strings.HasPrefix(to, strings.TrimSuffix(r, "..."))) {
			return true
		}
	}
	return false
}

func TestOnlyCmdImportsStoreBusWeb(t *testing.T) {
	for _, p := range projectPackages(t) {
		if strings.HasPrefix(p.ImportPath, "anling/cmd/") || strings.HasPrefix(p.ImportPath, "anling/store") {
			continue
		}
		for _, imported := range p.Imports {
			for _, room := range []string{"anling/store", "anling/bus", "anling/web"} {
				if imported == room || strings.HasPrefix(imported, room+"/") {
					t.Errorf("%s imports %s: only cmd may", p.ImportPath, imported)
				}
			}
		}
	}
}

func TestLibrariesStayBehindTheirDoor(t *testing.T) {
	for _, p := range projectPackages(t) {
		// The simulator and the tests' helpers speak the peers' side of a protocol.
		if strings.HasPrefix(p.ImportPath, "anling/cmd/internal/") || strings.HasPrefix(p.ImportPath, "anling/cmd/anlingsim") || p.ImportPath == "anling/store/storetest" {
			continue
		}
		for _, imported := range p.Imports {
			for library, rooms := range doors {
				if strings.HasPrefix(imported, library) && !behind(rooms, p.ImportPath) {
					t.Errorf("%s imports %s, whose door is %s", p.ImportPath, imported, rooms)
				}
			}
		}
	}
}

func behind(rooms []string, path string) bool {
	for _, r := range rooms {
		if path == r || strings.HasPrefix(path, r+"/") {
			return true
		}
	}
	return false
}
