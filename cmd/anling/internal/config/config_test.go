package config

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"anling/configs"
)

func TestFileAndCodeAreEqual(t *testing.T) {
	var c Config
	lines, err := decode(configs.Default, &c)
	if err != nil {
		t.Fatal(err)
	}
	if want := Default(); !reflect.DeepEqual(c, want) {
		t.Errorf("configs/anling.yml and Default() differ:\nfile %+v\ncode %+v", c, want)
	}
	for key := range Keys() {
		if _, ok := lines[key]; !ok && !strings.Contains(key, "[]") {
			t.Errorf("configs/anling.yml does not show %s", key)
		}
	}
}

func TestEveryLineOfTheFileHasItsComment(t *testing.T) {
	var root yaml.Node
	if err := yaml.Unmarshal(configs.Default, &root); err != nil {
		t.Fatal(err)
	}
	top := root.Content[0]
	for i := 0; i < len(top.Content); i += 2 {
		if v := top.Content[i+1]; v.Kind == yaml.ScalarNode && top.Content[i].HeadComment == "" {
			t.Errorf("%s has no comment", top.Content[i].Value)
		}
	}
}

func load(t *testing.T, text string, env ...string) (Config, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "a.yml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return Load(path, env)
}

func TestBadInputNamesLineAndKey(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		env  []string
		want []string
	}{
		"unknown key":            {"http:\n  lisen: x\n", nil, []string{"line 2", `unknown key "http.lisen"`}},
		"unknown group":          {"htpp: {}\n", nil, []string{"line 1", `"htpp"`}},
		"wrong type":             {"media:\n  port_min: many\n", nil, []string{"line 2", "media.port_min", "many", "whole number"}},
		"duration without unit":  {"callcenter:\n  wrap_up: soon\n", nil, []string{"line 2", "callcenter.wrap_up", "duration"}},
		"bad value":              {"log:\n  level: loud\n", nil, []string{"line 2", "log.level", "loud", "debug, info"}},
		"two bad values":         {"log: {level: loud}\nstorage: {engine: csv}\n", nil, []string{"log.level", "storage.engine", "line 2"}},
		"wildcard sip":           {"sip: {listen: '0.0.0.0:5060'}\n", nil, []string{"sip.listen", "explicit IP"}},
		"bad trunk":              {"sip:\n  trunks:\n    - name: a\n      peers: [carrier]\n", nil, []string{"line 4", "sip.trunks[0].peers", "carrier"}},
		"unknown key in trunk":   {"sip:\n  trunks:\n    - name: a\n      peer: [x]\n", nil, []string{"line 4", "sip.trunks[0].peer"}},
		"not yaml":               {"a: [\n", nil, []string{"line"}},
		"misspelt variable":      {"", []string{"ANLING_HTTP_LISEN=x"}, []string{"ANLING_HTTP_LISEN", "no setting"}},
		"variable's type":        {"", []string{"ANLING_MEDIA_PORT_MIN=many"}, []string{"ANLING_MEDIA_PORT_MIN", "many", "whole number"}},
		"variable's value":       {"", []string{"ANLING_LOG_LEVEL=loud"}, []string{"log.level", "loud"}},
		"postgres without dsn":   {"storage: {engine: postgres}\n", nil, []string{"storage.dsn_file"}},
		"file that is not there": {"storage:\n  engine: postgres\n  dsn_file: /no/such\n", nil, []string{"line 3", "storage.dsn_file", "/no/such"}},
		"file that is none":      {"live: {redis_password_file: /}\n", nil, []string{"live.redis_password_file", "directory"}},
		"no wrap-up":             {"callcenter:\n  wrap_up: 0s\n", nil, []string{"line 2", "callcenter.wrap_up", "0s"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := load(t, c.text, c.env...)
			if err == nil {
				t.Fatal("was taken")
			}
			for _, w := range c.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("error %q does not say %q", err, w)
				}
			}
		})
	}
}

func TestEnvironmentOverridesFile(t *testing.T) {
	c, err := load(t, "http: {listen: '127.0.0.1:1'}\n",
		"ANLING_HTTP_LISTEN=127.0.0.1:2", "ANLING_CALLCENTER_WRAP_UP=3s", "ANLING_SIP_SOS_NUMBERS=[a, b]",
		"ANLING_DISPATCH_OFFER_AT_ONCE=false", "ANLING_DEMO_PASSWORD=x", "PATH=/bin")
	if err != nil {
		t.Fatal(err)
	}
	if c.HTTP.Listen != "127.0.0.1:2" || c.CallCentre.WrapUp != 3*time.Second || len(c.SIP.SOSNumbers) != 2 || c.Dispatch.OfferAtOnce {
		t.Errorf("got %+v", c)
	}
}

func TestMissingFileIsNamed(t *testing.T) {
	if _, err := Load("no/such.yml", nil); err == nil || !strings.Contains(err.Error(), "no/such.yml") {
		t.Errorf("got %v", err)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(configs.Default)
	f.Fuzz(func(t *testing.T, text []byte) {
		c := Default()
		if _, err := decode(text, &c); err == nil {
			c.check()
		}
	})
}
