package e2e

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"anling/care/district"
	"anling/cmd/internal/simclient"
	"anling/cmd/internal/simdevice"
)

// write puts a file into the server's directory and returns its path.
func (s *server) write(name string, content []byte) string {
	s.t.Helper()
	path := filepath.Join(s.dir, name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		s.t.Fatal(err)
	}
	return path
}

// TestNewUser goes the way of who installs the server: checks the configuration,
// loads lists, makes accounts, serves, backs up and restores.
func TestNewUser(t *testing.T) {
	beside(t, waiting)
	s := newServer(t)
	bad := s.write("bad.yml", []byte("http:\n  listen: 127.0.0.1:8080\n  lisen: x\nsip:\n  ring_timeout: soon\n"))
	out, err := s.try("", "config", "check", "--config", bad)
	if err == nil || !strings.Contains(out, "line 3") || !strings.Contains(out, "http.lisen") {
		t.Errorf("a misspelt key gives %v:\n%s", err, out)
	}
	town := district.New(district.Options{Seed: 7, Elders: 60, Responders: 8})
	for _, list := range []struct {
		kind  string
		write func(*bytes.Buffer) error
	}{
		{"providers", func(b *bytes.Buffer) error { return town.WriteProviders(b) }},
		{"responders", func(b *bytes.Buffer) error { return town.WriteResponders(b) }},
		{"elders", func(b *bytes.Buffer) error { return town.WriteElders(b) }},
		{"devices", func(b *bytes.Buffer) error { return town.WriteDevices(b) }},
	} {
		var csv bytes.Buffer
		if err := list.write(&csv); err != nil {
			t.Fatal(err)
		}
		path := s.write(list.kind+".csv", csv.Bytes())
		first := s.run("", "import", list.kind, path)
		again := s.run("", "import", list.kind, path)
		t.Logf("%s: %s%s", list.kind, first, again)
		if !strings.Contains(again, "0 added") {
			t.Errorf("the second import of %s says:\n%s", list.kind, again)
		}
	}
	broken := s.write("broken.csv", []byte("编号,姓名,身份证号,电话\nb1,张三,11010519491231002X,13800138000\nb2,李四,110105194912310021,138\n"))
	out, err = s.try("", "import", "elders", broken)
	if err == nil && !strings.Contains(out, "1 rejected") || !strings.Contains(out, "3") {
		t.Errorf("a bad row gives %v:\n%s", err, out)
	}
	rejected, err := os.ReadFile(broken + ".rejected.csv")
	if err != nil || !strings.Contains(string(rejected), "李四") || strings.Contains(string(rejected), "张三") {
		t.Errorf("the rejected rows are %q, %v", rejected, err)
	}
	for name, role := range map[string]string{"admin": "admin", "operator1": "operator"} {
		s.run(s.password+"\n"+s.password+"\n", "user", "add", name, "--role", role)
	}
	s.start("serve")
	if out, err := s.try("", "backup"); err == nil || !strings.Contains(out, "in use") {
		t.Errorf("a backup beside the server gives %v:\n%s", err, out)
	}
	// Beside the running server the same command goes through its API.
	if err := os.Remove(broken + ".rejected.csv"); err != nil {
		t.Fatal(err)
	}
	s.env = append(s.env, "ANLING_PASSWORD="+s.password)
	if out := s.run("", "import", "elders", broken, "--server", "http://"+s.http); !strings.Contains(out, "1 unchanged, 1 rejected") {
		t.Errorf("the import over HTTP says:\n%s", out)
	}
	if again, err := os.ReadFile(broken + ".rejected.csv"); err != nil || string(again) != string(rejected) {
		t.Errorf("over HTTP the rejected rows are %q, %v", again, err)
	}
	admin := s.login("admin")
	who := s.device(t, admin, simdevice.GT06)
	d := s.plug(t, simdevice.Options{Identity: simdevice.Identity{Protocol: simdevice.GT06, ID: who.ExternalID}, Addr: s.gt06})
	if _, err := d.Press(s.ctx(), simdevice.Press{}); err != nil {
		t.Fatal(err)
	}
	open := func() int {
		var list simclient.Items[simclient.Incident]
		if err := s.login("operator1").Get(s.ctx(), "/incidents?status=open", &list); err != nil {
			t.Fatal(err)
		}
		return len(list.Items)
	}
	if n := open(); n != 1 {
		t.Fatalf("%d incidents are open after one press", n)
	}
	s.stop()
	copied := strings.TrimSpace(s.run("", "backup"))
	s.start("serve")
	other := s.plug(t, simdevice.Options{Identity: simdevice.Identity{Protocol: simdevice.GT06, ID: imei("99555502000001")}, Addr: s.gt06})
	if _, err := other.Press(s.ctx(), simdevice.Press{}); err != nil {
		t.Fatal(err)
	}
	if n := open(); n != 2 {
		t.Fatalf("%d incidents are open after two presses", n)
	}
	s.stop()
	s.run("", "restore", copied)
	s.start("serve")
	if n := open(); n != 1 {
		t.Errorf("%d incidents are open after the restore, want that of the backup", n)
	}
}
