package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"anling/callcenter/media"
	"anling/configs/prompts"
)

var update = flag.Bool("update", false, "rewrite the golden file")

const golden = "testdata/phonemes.golden"

func TestSpeakable(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"请拨119或120", "请拨幺幺九或幺二零"},
		{"501室", "五零幺室"},
		{"2026年", "二零二六年"},
		{"14:30", "十四点三十分"},
		{"9:05", "九点零五分"},
		{"20:00", "二十点整"},
		{"3.5公里", "三点五公里"},
		{"￥30", "三十元"},
		{"电话13800138001", "电话幺三八零零幺三八零零幺"},
		{"还有2位", "还有两位"},
		{"还有12位", "还有十二位"},
		{"还有105位", "还有一百零五位"},
		{"接单请按1，拒绝请按2", "接单请按一，拒绝请按二"},
		{"SOS", "紧急呼叫"},
		{"重新连接银行", "chong2 xin1 连接 yin2 hang2"},
		{"2楼", "二楼"},
		{"10003", "幺零零零三"},
		{"2000元", "二千元"},
	} {
		if got := speakable(c.text); got != c.want {
			t.Errorf("%s: got %q, want %q", c.text, got, c.want)
		}
	}
}

// TestPhonemes shows any change in how a prompt is read, polyphones above all.
func TestPhonemes(t *testing.T) {
	if _, err := exec.LookPath("espeak-ng"); err != nil {
		t.Skip("espeak-ng is not installed: make deps")
	}
	var all strings.Builder
	for _, e := range texts {
		p, err := phonemes(e.text)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&all, "%s\t%s\t%s\n", e.id, speakable(e.text), p)
	}
	if *update {
		if err := os.WriteFile(golden, []byte(all.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	got, old := strings.Split(all.String(), "\n"), strings.Split(string(want), "\n")
	if len(got) != len(old) {
		t.Errorf("%d prompts are read, the golden file has %d", len(got)-1, len(old)-1)
	}
	for i := range min(len(got), len(old)) {
		if got[i] != old[i] {
			t.Errorf("got  %s\nwant %s", got[i], old[i])
		}
	}
}

func manifest(t *testing.T) map[string]media.PromptEntry {
	t.Helper()
	b, err := prompts.FS.ReadFile(language + "/" + media.ManifestFile)
	if err != nil {
		t.Fatal(err)
	}
	var m media.Manifest
	if err := json.Unmarshal(b, &m); err != nil {
		t.Fatal(err)
	}
	all := map[string]media.PromptEntry{}
	for _, e := range m.Prompts {
		all[e.ID] = e
	}
	return all
}

func TestBuiltInPackIsWhole(t *testing.T) {
	m := manifest(t)
	if len(m) != len(texts) {
		t.Errorf("the manifest has %d prompts, the builder %d: make prompts", len(m), len(texts))
	}
	for _, e := range texts {
		if m[e.id].Text != e.text {
			t.Errorf("%s: the manifest says %q: make prompts", e.id, m[e.id].Text)
		}
	}
	p, err := media.LoadPrompts(prompts.FS, "", media.PromptOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if bad := p.Problems(); len(bad) > 0 {
		t.Error(bad)
	}
	if s := m["sos.received"].Seconds; s > 5 {
		t.Errorf("an SOS caller waits %v s for the end of the first words", s)
	}
	if s := m["robot.job"].Seconds; s > 12 {
		t.Errorf("the robot's offer takes %v s, 12 at most", s)
	}
}

// TestPackIsWhatTheBuilderBuilds proves that the committed files come from here.
func TestPackIsWhatTheBuilderBuilds(t *testing.T) {
	for _, tool := range []string{"espeak-ng", "sox"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip(tool + " is not installed: make deps")
		}
	}
	if v, _ := run(nil, "espeak-ng", "--version"); !strings.Contains(string(v), " 1.51 ") {
		t.Skipf("the pack was made with espeak-ng 1.51, this is %s", v)
	}
	m := manifest(t)
	for i, e := range texts {
		if i%6 != 0 { // a sample: the engine takes its time
			continue
		}
		wav, err := speak(e.text)
		if err != nil {
			t.Fatal(err)
		}
		if sum := sha256.Sum256(wav); hex.EncodeToString(sum[:]) != m[e.id].SHA256 {
			t.Errorf("%s is another file now: make prompts", e.id)
		}
	}
}
