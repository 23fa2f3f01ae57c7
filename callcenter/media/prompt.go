package media

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
)

// Prompt is a spoken text, ready to be sent.
type Prompt struct {
	ID    string
	Text  string
	Audio []byte // A-law, 8 kHz
}

// Manifest lists a pack's prompts; it lies beside their files.
type Manifest struct {
	Language string        `json:"language"`
	Speaker  string        `json:"speaker"`
	Licence  string        `json:"licence"`
	Prompts  []PromptEntry `json:"prompts"`
}

// PromptEntry is one prompt of a pack.
type PromptEntry struct {
	ID      string  `json:"id"`
	Text    string  `json:"text"`
	File    string  `json:"file"`
	SHA256  string  `json:"sha256"`
	Seconds float64 `json:"seconds"`
}

// ManifestFile is the name of a pack's manifest.
const ManifestFile = "manifest.json"

// PromptOptions of LoadPrompts; the zero value speaks Mandarin and logs nothing.
type PromptOptions struct {
	Language string // zh-CN
	Log      *zap.Logger
	Metrics  prometheus.Registerer
}

// Prompts are the built-in pack with a district's own in its place, by id. It is
// safe for concurrent use.
type Prompts struct {
	builtin fs.FS
	dir     string
	o       PromptOptions
	packs   atomic.Pointer[shelf]
	missing prometheus.Counter
	told    sync.Map // ids already logged as missing
}

type shelf struct {
	prompts  map[string]Prompt
	problems []string
}

// LoadPrompts reads the built-in pack (builtin/<language>/manifest.json) and, when
// dir is not empty, the replacements in it: a pack with a manifest, or plain files
// named <id>.wav. A file that is missing or damaged is told in Problems and falls
// back by id; only a built-in pack without manifest is an error.
func LoadPrompts(builtin fs.FS, dir string, o PromptOptions) (*Prompts, error) {
	if o.Language == "" {
		o.Language = "zh-CN"
	}
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	p := &Prompts{builtin: builtin, dir: dir, o: o,
		missing: prometheus.NewCounter(prometheus.CounterOpts{Name: "anling_media_prompts_missing_total", Help: "Times a tone was played because a prompt was missing."})}
	if err := p.Reload(); err != nil {
		return nil, err
	}
	if o.Metrics != nil {
		o.Metrics.MustRegister(p.missing, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "anling_media_prompts_damaged", Help: "Prompt files that could not be used."},
			func() float64 { return float64(len(p.Problems())) }))
	}
	return p, nil
}

// Reload reads the packs again; prompts that are being played go on.
func (p *Prompts) Reload() error {
	next := &shelf{prompts: map[string]Prompt{
		PromptMusic: {ID: PromptMusic, Audio: music()},
		PromptBeep:  {ID: PromptBeep, Audio: beep()},
	}}
	own, err := fs.Sub(p.builtin, p.o.Language)
	if err != nil {
		return fmt.Errorf("built-in prompts: %w", err)
	}
	if err := next.addPack(own, "built-in"); err != nil {
		return fmt.Errorf("built-in prompts %s: %w", p.o.Language, err)
	}
	if p.dir != "" {
		next.addDistrict(p.dir, p.o.Language)
	}
	for _, problem := range next.problems {
		p.o.Log.Error("prompt cannot be used", zap.String("prompt", problem))
	}
	p.packs.Store(next)
	return nil
}

// addDistrict reads a replacement directory, or its folder of the language.
func (s *shelf) addDistrict(dir, language string) {
	root := os.DirFS(dir)
	if sub, err := fs.Stat(root, language); err == nil && sub.IsDir() {
		root, _ = fs.Sub(root, language)
	}
	if _, err := fs.Stat(root, "."); err != nil {
		s.problem("%s: %v", dir, err)
		return
	}
	err := s.addPack(root, dir)
	if err == nil {
		return
	}
	if !errors.Is(err, fs.ErrNotExist) {
		s.problem("%s: %v", dir, err)
		return
	}
	files, err := fs.Glob(root, "*.wav")
	if err != nil {
		s.problem("%s: %v", dir, err)
	}
	for _, file := range files {
		s.add(root, dir, PromptEntry{ID: strings.TrimSuffix(file, ".wav"), File: file})
	}
}

func (s *shelf) addPack(pack fs.FS, name string) error {
	text, err := fs.ReadFile(pack, ManifestFile)
	if err != nil {
		return err
	}
	var m Manifest
	if err := json.Unmarshal(text, &m); err != nil {
		return fmt.Errorf("%s: %w", ManifestFile, err)
	}
	for _, e := range m.Prompts {
		s.add(pack, name, e)
	}
	return nil
}

// maxPrompt is ten minutes: more is a mistake.
const maxPrompt = 600 * SampleRate

func (s *shelf) add(pack fs.FS, name string, e PromptEntry) {
	fail := func(err error) { s.problem("%s: %s: %v", name, e.ID, err) }
	file := path.Clean(e.File)
	if info, err := fs.Stat(pack, file); err != nil {
		fail(err)
		return
	} else if info.Size() > 2*maxPrompt+4096 {
		fail(fmt.Errorf("%s has %d bytes, more than ten minutes", e.File, info.Size()))
		return
	}
	b, err := fs.ReadFile(pack, file)
	if err != nil {
		fail(err)
		return
	}
	if sum := sha256.Sum256(b); e.SHA256 != "" && !strings.EqualFold(e.SHA256, hex.EncodeToString(sum[:])) {
		fail(fmt.Errorf("%s is not the file of the manifest (sha256 differs)", e.File))
		return
	}
	audio, err := ReadWAV(b)
	if err != nil {
		fail(fmt.Errorf("%s: %w", e.File, err))
		return
	}
	text := e.Text
	if text == "" {
		text = s.prompts[e.ID].Text
	}
	s.prompts[e.ID] = Prompt{ID: e.ID, Text: text, Audio: audio}
}

func (s *shelf) problem(format string, args ...any) {
	s.problems = append(s.problems, fmt.Sprintf(format, args...))
}

// Problems lists the files that could not be used, for the health page.
func (p *Prompts) Problems() []string { return p.packs.Load().problems }

// IDs lists what can be played, sorted.
func (p *Prompts) IDs() []string {
	prompts := p.packs.Load().prompts
	ids := make([]string, 0, len(prompts))
	for id := range prompts {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

// Get returns a prompt by id; a tone, logged and counted, when there is none.
func (p *Prompts) Get(id string) Prompt {
	if found, ok := p.packs.Load().prompts[id]; ok {
		return found
	}
	p.missing.Inc()
	if _, told := p.told.LoadOrStore(id, true); !told {
		p.o.Log.Error("prompt is missing, a tone is played", zap.String("prompt", id))
	}
	return Prompt{ID: id, Audio: beep()}
}

// pause between the parts of a spoken sequence.
const pause = SampleRate / 12

// Say joins prompts to one, which is told as id when it ends. Missing parts are
// left out; when all are, it is the tone.
func (p *Prompts) Say(id string, parts ...string) Prompt {
	said := Prompt{ID: id}
	for _, part := range parts {
		next, ok := p.packs.Load().prompts[part]
		if !ok {
			p.missing.Inc()
			continue
		}
		if len(said.Audio) > 0 {
			for range pause {
				said.Audio = append(said.Audio, PCMA.Silence())
			}
		}
		said.Audio = append(said.Audio, next.Audio...)
		said.Text += next.Text
	}
	if len(said.Audio) == 0 {
		said.Audio = beep()
	}
	return said
}

// Position says how many callers are ahead: 您前面还有…位.
func (p *Prompts) Position(ahead int) Prompt {
	parts := append([]string{"queue.ahead"}, Count(ahead)...)
	return p.Say("queue.position", append(parts, "unit.people")...)
}

// Count is the ids that say an amount from 0 to 99; more is said as 99.
func Count(n int) []string {
	n = max(0, min(n, 99))
	switch {
	case n == 2:
		return []string{"digit.two"} // 两位, not 二位
	case n < 10:
		return []string{digitID(n)}
	}
	var ids []string
	if n >= 20 {
		ids = append(ids, digitID(n/10))
	}
	ids = append(ids, "digit.10")
	if n%10 != 0 {
		ids = append(ids, digitID(n%10))
	}
	return ids
}

func digitID(n int) string { return fmt.Sprintf("digit.%d", n) }
