package media_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/prometheus/client_golang/prometheus"

	"anling/callcenter/media"
	"anling/configs/prompts"
)

// file is a WAV of the format with the body.
func file(format, bits byte, body []byte) []byte {
	b := []byte("RIFF\x00\x00\x00\x00WAVEfmt \x10\x00\x00\x00")
	b = append(b, format, 0, 1, 0, 0x40, 0x1f, 0, 0, 0x40, 0x1f, 0, 0, bits/8, 0, bits, 0)
	b = append(b, "data"...)
	return append(append(b, byte(len(body)), byte(len(body)>>8), 0, 0), body...)
}

func write(t *testing.T, dir, name string, b []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), b, 0o644); err != nil {
		t.Fatal(err)
	}
}

func load(t *testing.T, dir string) *media.Prompts {
	t.Helper()
	p, err := media.LoadPrompts(prompts.FS, dir, media.PromptOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestDistrictReplacesById(t *testing.T) {
	dir := t.TempDir()
	voice := media.Tone(500, -10, 800)
	write(t, dir, "greeting.wav", file(6, 8, voice))
	write(t, dir, "own.wav", file(6, 8, voice))
	write(t, dir, "busy.wav", []byte("RIFF torn"))
	pcm := make([]byte, 1600)
	for i := range voice {
		v := media.PCMA.Linear(voice[i])
		pcm[2*i], pcm[2*i+1] = byte(v), byte(v>>8)
	}
	write(t, dir, "goodbye.wav", file(1, 16, pcm))
	builtin, p := load(t, ""), load(t, dir)
	if got := p.Get("greeting"); !bytes.Equal(got.Audio, voice) || got.Text != builtin.Get("greeting").Text {
		t.Error("greeting is not the district's, or lost its text")
	}
	if got := p.Get("goodbye"); !bytes.Equal(got.Audio, voice) {
		t.Error("a file of 16-bit PCM is not taken as it sounds")
	}
	if got := p.Get("own"); !bytes.Equal(got.Audio, voice) {
		t.Error("a new id is not taken")
	}
	if got := p.Get("busy"); !bytes.Equal(got.Audio, builtin.Get("busy").Audio) {
		t.Error("a torn file does not fall back to the built-in one")
	}
	if bad := p.Problems(); len(bad) != 1 || !strings.Contains(bad[0], "busy") {
		t.Errorf("problems %q", bad)
	}
	// The pack is changed while calls go on.
	write(t, dir, "busy.wav", file(6, 8, voice))
	if err := p.Reload(); err != nil {
		t.Fatal(err)
	}
	if got := p.Get("busy"); !bytes.Equal(got.Audio, voice) || len(p.Problems()) != 0 {
		t.Error("the mended file is not used")
	}
}

func TestManifestGuardsItsFiles(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "zh-CN")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	good, bad := file(6, 8, media.Tone(500, -10, 800)), file(6, 8, media.Tone(600, -10, 800))
	sum := sha256.Sum256(good)
	text, _ := json.Marshal(media.Manifest{Prompts: []media.PromptEntry{
		{ID: "greeting", File: "a.wav", SHA256: hex.EncodeToString(sum[:]), Text: "您好"},
		{ID: "busy", File: "b.wav", SHA256: hex.EncodeToString(sum[:])},
		{ID: "goodbye", File: "../../etc/passwd"},
		{ID: "robot.job", File: "missing.wav"},
	}})
	write(t, dir, "manifest.json", text)
	write(t, dir, "a.wav", good)
	write(t, dir, "b.wav", bad)
	p, builtin := load(t, filepath.Dir(dir)), load(t, "")
	if p.Get("greeting").Text != "您好" {
		t.Error("the pack is not used")
	}
	for _, id := range []string{"busy", "goodbye", "robot.job"} {
		if !bytes.Equal(p.Get(id).Audio, builtin.Get(id).Audio) {
			t.Errorf("%s does not fall back", id)
		}
	}
	if n := len(p.Problems()); n != 3 {
		t.Errorf("problems %q", p.Problems())
	}
}

func TestMissingPromptIsATone(t *testing.T) {
	r := prometheus.NewRegistry()
	p, err := media.LoadPrompts(prompts.FS, "/does/not/exist", media.PromptOptions{Metrics: r})
	if err != nil {
		t.Fatal(err)
	}
	got := p.Get("no.such.prompt")
	if len(got.Audio) == 0 || got.ID != "no.such.prompt" {
		t.Errorf("a missing prompt is %d bytes of %q", len(got.Audio), got.ID)
	}
	if v := value(t, r, "anling_media_prompts_missing_total"); v != 1 {
		t.Errorf("counted %v times", v)
	}
	if v := value(t, r, "anling_media_prompts_damaged"); v != 1 {
		t.Errorf("the missing directory is not a problem: %v", v)
	}
	if _, err := media.LoadPrompts(fstest.MapFS{}, "", media.PromptOptions{}); err == nil {
		t.Error("a program without built-in prompts starts")
	}
}

func value(t *testing.T, r *prometheus.Registry, name string) float64 {
	t.Helper()
	all, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range all {
		if f.GetName() == name {
			m := f.GetMetric()[0]
			return m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	t.Fatalf("no metric %s", name)
	return 0
}

func TestSpokenNumbers(t *testing.T) {
	for n, want := range map[int]string{
		0: "digit.0", 1: "digit.1", 2: "digit.two", 10: "digit.10", 12: "digit.10 digit.2", 20: "digit.2 digit.10",
		35: "digit.3 digit.10 digit.5", 99: "digit.9 digit.10 digit.9", 250: "digit.9 digit.10 digit.9", -1: "digit.0",
	} {
		if got := strings.Join(media.Count(n), " "); got != want {
			t.Errorf("%d is said as %q, want %q", n, got, want)
		}
	}
	p := load(t, "")
	said := p.Position(12)
	if said.Text != "您前面还有十二位。" || said.ID != "queue.position" {
		t.Errorf("said %+v", said.Text)
	}
	if len(said.Audio) <= len(p.Get("queue.ahead").Audio)+len(p.Get("unit.people").Audio) {
		t.Error("the number is not heard")
	}
	if len(p.Get(media.PromptMusic).Audio) < 10*media.SampleRate {
		t.Error("no music on hold")
	}
}
