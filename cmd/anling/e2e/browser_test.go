package e2e

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// web is the folder of the pages, from this package's.
const web = "../../../web"

// TestPages drives the pages of the built server in a real browser: web/test has the
// scripts, each of which runs against a district of its own.
func TestPages(t *testing.T) {
	for _, tool := range []string{"node", "chromium"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is not installed: make deps", tool)
		}
	}
	if _, err := os.Stat(filepath.Join(web, "node_modules", "playwright-core")); err != nil {
		t.Skip("web/node_modules has no playwright-core: make deps")
	}
	scripts, err := filepath.Glob(filepath.Join(web, "test", "*.mjs"))
	if err != nil || len(scripts) < 4 {
		t.Fatalf("%d scripts in web/test, %v", len(scripts), err)
	}
	for _, script := range scripts {
		name := strings.TrimSuffix(filepath.Base(script), ".mjs")
		if name == "lib" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			s := newServer(t)
			s.start()
			s.browse(t, script)
		})
	}
}

// browse runs a script to its end and follows its orders.
func (s *server) browse(t *testing.T, script string) {
	t.Helper()
	c := exec.CommandContext(t.Context(), "node", filepath.Base(script))
	c.Dir = filepath.Dir(script)
	c.Env = append(os.Environ(), "BASE_URL=http://"+s.http, "ANLING_PASSWORD="+s.password, "ORDERS=1", "SHOTS="+os.Getenv("ANLING_TEST_SHOTS"))
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	said := &output{}
	c.Stderr = said
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	limit := time.AfterFunc(5*time.Minute, func() { _ = c.Process.Kill() })
	defer limit.Stop()
	lines := bufio.NewScanner(io.TeeReader(out, said))
	for lines.Scan() {
		what, order := strings.CutPrefix(lines.Text(), "anling-order ")
		if !order {
			continue
		}
		switch what {
		case "stop":
			s.kill()
		case "start":
			s.start()
		default:
			t.Errorf("order %q is not known", what)
		}
		if _, err := fmt.Fprintf(in, "done %s\n", what); err != nil {
			t.Error(err)
		}
	}
	if err := c.Wait(); err != nil {
		t.Errorf("%s: %v\n%s", filepath.Base(script), err, said)
	}
}
