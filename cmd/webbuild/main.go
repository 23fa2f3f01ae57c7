// Command webbuild bundles the pages of web/src into web/dist, which is committed,
// so that building the server needs Go alone. It needs web/node_modules (npm ci).
//
// The output is the same on every machine: names carry content hashes, and every
// source lies inside the tree.
package main

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"

	"github.com/evanw/esbuild/pkg/api"
)

const (
	root = "web"
	dist = "web/dist"
)

// budget is the gzipped size that an entry with all it imports may have, in KB.
var budget = map[string]int{"console": 60, "responder": 40, "login": 40, "admin": 80, "wall": 70}

func main() {
	if err := build(); err != nil {
		fmt.Fprintln(os.Stderr, "webbuild:", err)
		os.Exit(1)
	}
}

func build() error {
	entries, err := filepath.Glob(root + "/src/*/main.tsx")
	if err != nil || len(entries) == 0 {
		return fmt.Errorf("no %s/src/*/main.tsx here; run it in the project's top folder", root)
	}
	if err := os.RemoveAll(dist); err != nil {
		return fmt.Errorf("empty %s: %w", dist, err)
	}
	result := api.Build(options(entries))
	for _, m := range result.Errors {
		return fmt.Errorf("%s", api.FormatMessages([]api.Message{m}, api.FormatMessagesOptions{})[0])
	}
	manifest, err := readManifest(result)
	if err != nil {
		return err
	}
	if err := writeJSON(filepath.Join(dist, "manifest.json"), manifest); err != nil {
		return err
	}
	if err := writeLicences(); err != nil {
		return err
	}
	return check(manifest)
}

func options(entries []string) api.BuildOptions {
	points := make([]api.EntryPoint, len(entries))
	for i, e := range entries {
		points[i] = api.EntryPoint{InputPath: e, OutputPath: filepath.Base(filepath.Dir(e))}
	}
	return api.BuildOptions{
		EntryPointsAdvanced: points,
		Outdir:              dist,
		EntryNames:          "[name]-[hash]",
		ChunkNames:          "chunk-[hash]",
		AssetNames:          "[name]-[hash]",
		Bundle:              true,
		Splitting:           true,
		Format:              api.FormatESModule,
		Target:              api.ES2020,
		MinifySyntax:        true,
		MinifyWhitespace:    true,
		MinifyIdentifiers:   true,
		JSX:                 api.JSXAutomatic,
		JSXImportSource:     "preact",
		LegalComments:       api.LegalCommentsNone, // gathered in LICENSES.txt
		Charset:             api.CharsetUTF8,
		Metafile:            true,
		Write:               true,
	}
}

// asset is what a page needs: its script, its style, and the chunks to preload.
type asset struct {
	JS     string   `json:"js"`
	CSS    string   `json:"css,omitempty"`
	Chunks []string `json:"chunks,omitempty"`
}

type metafile struct {
	Outputs map[string]struct {
		EntryPoint string `json:"entryPoint"`
		CSSBundle  string `json:"cssBundle"`
		Imports    []struct {
			Path string `json:"path"`
			Kind string `json:"kind"`
		} `json:"imports"`
	} `json:"outputs"`
}

func readManifest(result api.BuildResult) (map[string]asset, error) {
	var meta metafile
	if err := json.Unmarshal([]byte(result.Metafile), &meta); err != nil {
		return nil, fmt.Errorf("read metafile: %w", err)
	}
	manifest := map[string]asset{}
	for path, out := range meta.Outputs {
		if out.EntryPoint == "" || !strings.HasSuffix(path, ".js") {
			continue
		}
		a := asset{JS: filepath.Base(path)}
		if out.CSSBundle != "" {
			a.CSS = filepath.Base(out.CSSBundle)
		}
		for _, i := range out.Imports {
			if i.Kind == "import-statement" {
				a.Chunks = append(a.Chunks, filepath.Base(i.Path))
			}
		}
		sort.Strings(a.Chunks)
		manifest[filepath.Base(filepath.Dir(out.EntryPoint))] = a
	}
	return manifest, nil
}

func writeJSON(path string, v any) error {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("encode %s: %w", path, err)
	}
	if err := os.WriteFile(path, append(text, '\n'), 0o644); err != nil {
		return fmt.Errorf("write manifest: %w", err)
	}
	return nil
}

// writeLicences gathers the licences of what is bundled.
func writeLicences() error {
	var all bytes.Buffer
	for _, name := range []string{"preact", "@preact/signals", "@preact/signals-core"} {
		text, err := os.ReadFile(filepath.Join(root, "node_modules", name, "LICENSE"))
		if err != nil {
			return fmt.Errorf("licence of %s (is npm ci done in web?): %w", name, err)
		}
		fmt.Fprintf(&all, "%s\n\n%s\n\n", name, bytes.TrimSpace(text))
	}
	if err := os.WriteFile(filepath.Join(dist, "LICENSES.txt"), all.Bytes(), 0o644); err != nil {
		return fmt.Errorf("write licences: %w", err)
	}
	return nil
}

// check prints each entry's size and fails when one is over its budget.
func check(manifest map[string]asset) error {
	names := make([]string, 0, len(manifest))
	for n := range manifest {
		names = append(names, n)
	}
	sort.Strings(names)
	for _, n := range names {
		size := 0
		for _, file := range append([]string{manifest[n].JS, manifest[n].CSS}, manifest[n].Chunks...) {
			s, err := gzipped(file)
			if err != nil {
				return err
			}
			size += s
		}
		limit, ok := budget[n]
		fmt.Printf("%-12s %5.1f KB gzipped, budget %d KB\n", n, float64(size)/1024, limit)
		if ok && size > limit*1024 {
			return fmt.Errorf("%s has %d bytes gzipped, over its budget of %d KB", n, size, limit)
		}
	}
	return nil
}

func gzipped(file string) (int, error) {
	if file == "" {
		return 0, nil
	}
	text, err := os.ReadFile(filepath.Join(dist, file))
	if err != nil {
		return 0, fmt.Errorf("measure: %w", err)
	}
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := z.Write(text); err != nil {
		return 0, fmt.Errorf("measure %s: %w", file, err)
	}
	if err := z.Close(); err != nil {
		return 0, fmt.Errorf("measure %s: %w", file, err)
	}
	return b.Len(), nil
}
