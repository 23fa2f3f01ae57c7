package e2e

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const browserTime = 8 * time.Minute // for one file of browser tests on a busy machine

// TestPagesInABrowser runs web/test against the built server with a generated
// district: the operator's and the responder's page, by keyboard and by touch, axe on
// every screen, and the server killed and started again under both.
func TestPagesInABrowser(t *testing.T) {
	if testing.Short() {
		t.Skip("short: the browser tests take minutes")
	}
	web, err := filepath.Abs("../../../web")
	if err != nil {
		t.Fatal(err)
	}
	node, err := exec.LookPath("node")
	if err != nil {
		t.Skip("no node on this machine: the pages are not tested in a browser (apt-get install nodejs)")
	}
	if found, _ := filepath.Glob("/usr/bin/chromium*"); len(found) == 0 && os.Getenv("CHROMIUM") == "" {
		t.Skip("no Chromium in /usr/bin: the pages are not tested in a browser (apt-get install chromium-headless-shell)")
	}
	if _, err := os.Stat(filepath.Join(web, "node_modules/playwright-core")); err != nil {
		t.Skip("no web/node_modules/playwright-core: the pages are not tested in a browser (npm ci in web)")
	}
	t.Parallel()
	for _, file := range []string{"login", "console", "responder", "reconnect"} {
		t.Run(file, func(t *testing.T) {
			beside(t, working)
			s := newServer(t)
			s.start()
			ctx, cancel := context.WithTimeout(t.Context(), browserTime)
			defer cancel()
			s.browse(ctx, t, node, web, file)
		})
	}
}

// browse runs one file of browser tests and does to the server what it orders.
func (s *server) browse(ctx context.Context, t *testing.T, node, web, file string) {
	c := exec.CommandContext(ctx, node, filepath.Join(web, "test", file+".mjs"))
	c.Dir = web
	c.Env = append(os.Environ(), "BASE_URL=http://"+s.http, "ANLING_PASSWORD="+s.password, "ORDERS=1")
	c.WaitDelay = 10 * time.Second
	orders, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	said, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	c.Stderr = c.Stdout
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	lines := bufio.NewScanner(said)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		order, is := strings.CutPrefix(lines.Text(), "anling-order ")
		if !is {
			fmt.Fprintln(&text, lines.Text())
			continue
		}
		switch order {
		case "stop":
			s.kill()
		case "start":
			s.start("serve") // the demo would sign everybody out: it sets its passwords anew
		default:
			t.Errorf("order %q is not known", order)
		}
		fmt.Fprintf(orders, "done %s\n", order)
	}
	if err := c.Wait(); err != nil {
		t.Errorf("%s.mjs: %v\n%s", file, err, text.String())
	}
}
