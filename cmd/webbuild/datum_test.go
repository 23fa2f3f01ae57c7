package main

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/evanw/esbuild/pkg/api"

	"anling/geo"
)

// TestDatumOfThePages holds the page's conversion to that of package geo, over China
// and outside.
func TestDatumOfThePages(t *testing.T) {
	node, err := exec.LookPath("node")
	if err != nil {
		t.Skip("no node on this machine: the page's datum conversion is not run")
	}
	text, err := os.ReadFile(filepath.Join(web, "src/shared/datum.ts"))
	if err != nil {
		t.Fatal(err)
	}
	js := api.Transform(string(text), api.TransformOptions{Loader: api.LoaderTS, Format: api.FormatESModule})
	if len(js.Errors) > 0 {
		t.Fatal(js.Errors[0].Text)
	}
	points := []geo.Point{{Lat: 25.0406, Lng: 102.7123}, {Lat: 39.9087, Lng: 116.3975}, {Lat: 51.5007, Lng: -0.1246}}
	r := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		points = append(points, geo.Point{Lat: 18 + 30*r.Float64(), Lng: 80 + 50*r.Float64()})
	}
	in, _ := json.Marshal(points)
	script := filepath.Join(t.TempDir(), "datum.mjs")
	run := string(js.Code) + "\nconsole.log(JSON.stringify(" + string(in) + ".map((p) => [toGCJ02(p), toBD09(p)])));\n"
	if err := os.WriteFile(script, []byte(run), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(node, script).Output()
	if err != nil {
		t.Fatalf("node: %v", err)
	}
	var got [][2]geo.Point
	if err := json.Unmarshal(out, &got); err != nil || len(got) != len(points) {
		t.Fatalf("answer %.200s: %v", out, err)
	}
	near := func(a, b geo.Point, within float64) bool {
		return math.Abs(a.Lat-b.Lat) < within && math.Abs(a.Lng-b.Lng) < within
	}
	for i, p := range points {
		if want := geo.ToGCJ02(p); !near(got[i][0], want, 1e-9) {
			t.Errorf("GCJ-02 of %v is %v, geo says %v", p, got[i][0], want)
		}
		if i == 2 {
			if got[i][1] != p {
				t.Errorf("BD-09 outside China is %v, want %v unchanged", got[i][1], p)
			}
			continue
		}
		back, err := geo.ToWGS84(got[i][1], geo.BD09)
		if err != nil || !near(back, p, 1e-5) { // a metre
			t.Errorf("BD-09 of %v comes back as %v: %v", p, back, err)
		}
	}
	// Tiananmen, as published for both datums.
	if p := got[1][0]; !near(p, geo.Point{Lat: 39.91010, Lng: 116.40374}, 1e-4) {
		t.Errorf("GCJ-02 of 39.9087, 116.3975 is %v", p)
	}
}
