package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"anling/cmd/internal/simclient"
)

// patience bounds every wait of these tests; a loaded machine is slow, not wrong.
const patience = 60 * time.Second

var program string // the built one

func TestMain(m *testing.M) {
	if spec := os.Getenv(natsEnv); spec != "" {
		serveNATS(spec)
		return
	}
	dir, err := os.MkdirTemp("", "anling-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	program = filepath.Join(dir, "anling")
	build := exec.Command("go", "build", "-o", program, "anling/cmd/anling")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build: %v\n%s", err, out)
		os.Exit(1)
	}
	flag.Parse()
	if err := flag.Set("test.parallel", "64"); err != nil { // beside bounds them
		panic(err)
	}
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// server is one run of the program on ports and in a directory of its own.
type server struct {
	t        *testing.T
	dir      string
	env      []string
	http     string
	sip      string
	gt06     string
	watch    string
	nats     string
	cmd      *exec.Cmd
	exited   chan error
	output   *output
	password string
}

// output keeps what the program writes, for the failure's report and for demo.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// newServer prepares a server with settings over the defaults ("NATS_LISTEN=…"); it
// is not started yet.
func newServer(t *testing.T, settings ...string) *server {
	t.Helper()
	b := claim(t)
	s := &server{t: t, dir: t.TempDir(), http: b.addr(), sip: b.addr(), gt06: b.addr(), watch: b.addr(), nats: b.addr(), output: &output{}, password: "only-for-this-test"}
	low, high := b.rtp()
	s.env = append(os.Environ(),
		"ANLING_DATA_DIR="+filepath.Join(s.dir, "data"), "ANLING_HTTP_LISTEN="+s.http, "ANLING_SIP_LISTEN="+s.sip,
		"ANLING_SOS_GT06_LISTEN="+s.gt06, "ANLING_SOS_WATCH_LISTEN="+s.watch, "ANLING_NATS_LISTEN="+s.nats,
		"ANLING_STORAGE_RESERVE_MB=0", "ANLING_LOG_FORMAT=console", "ANLING_SOS_MAX_PER_IP=100000",
		fmt.Sprintf("ANLING_MEDIA_PORT_MIN=%d", low), fmt.Sprintf("ANLING_MEDIA_PORT_MAX=%d", high),
		"ANLING_DEMO_PASSWORD="+s.password)
	for _, kv := range settings {
		s.env = append(s.env, "ANLING_"+kv)
	}
	t.Cleanup(func() {
		s.stop()
		if t.Failed() {
			text := s.output.String()
			t.Logf("the server said (last part):\n%s", text[max(0, len(text)-16000):])
		}
	})
	return s
}

// run runs a sub-command to its end and returns what it printed.
func (s *server) run(stdin string, args ...string) string {
	s.t.Helper()
	out, err := s.try(stdin, args...)
	if err != nil {
		s.t.Fatalf("anling %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

func (s *server) try(stdin string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	c := exec.CommandContext(ctx, program, args...)
	c.Env, c.Dir, c.Stdin = s.env, s.dir, strings.NewReader(stdin)
	out, err := c.CombinedOutput()
	return string(out), err
}

// start starts a sub-command that stays and waits until it answers.
func (s *server) start(args ...string) {
	s.t.Helper()
	if len(args) == 0 { // a generated district with the demo's accounts
		args = []string{"demo", "--no-play"}
	}
	s.cmd = exec.Command(program, args...)
	s.cmd.Env, s.cmd.Dir, s.cmd.Stdout, s.cmd.Stderr = s.env, s.dir, s.output, s.output
	// A test program that is killed must not leave its server behind.
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.exited = make(chan error, 1)
	go func() { s.exited <- s.cmd.Wait() }()
	s.until("the server answers", func() bool {
		select {
		case err := <-s.exited:
			s.exited <- err
			s.t.Fatalf("the server ended at its start: %v", err)
		default:
		}
		res, err := http.Get("http://" + s.http + "/healthz")
		if err != nil {
			return false
		}
		_ = res.Body.Close()
		return res.StatusCode == http.StatusOK
	})
}

// stop ends the server in its own way and fails the test when it does not end.
func (s *server) stop() {
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case err := <-s.exited:
		if err != nil {
			s.t.Errorf("the server ended with %v", err)
		}
	case <-time.After(patience):
		s.t.Error("the server does not end")
		_ = s.cmd.Process.Kill()
		<-s.exited
	}
	s.cmd = nil
}

// kill ends the server at once.
func (s *server) kill() {
	s.t.Helper()
	if err := s.cmd.Process.Kill(); err != nil {
		s.t.Fatal(err)
	}
	<-s.exited
	s.cmd = nil
}

// until waits for something to become true.
func (s *server) until(what string, f func() bool) {
	s.t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	end := time.After(patience)
	for !f() {
		select {
		case <-tick.C:
		case <-end:
			s.t.Fatalf("waited %s in vain until %s", patience, what)
		}
	}
}

// login signs somebody in.
func (s *server) login(name string) *simclient.Client {
	s.t.Helper()
	c, err := simclient.New("http://" + s.http)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(c.Close)
	if err := c.Login(s.ctx(), name, s.password); err != nil {
		s.t.Fatalf("login of %s: %v", name, err)
	}
	return c
}

// ctx ends with the test, or when patience does.
func (s *server) ctx() context.Context {
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	s.t.Cleanup(cancel)
	return ctx
}

// ready reads /readyz: its status and the state of each part.
func (s *server) ready() (int, map[string]string) {
	s.t.Helper()
	res, err := http.Get("http://" + s.http + "/readyz")
	if err != nil {
		return 0, nil
	}
	defer res.Body.Close() //nolint:errcheck // read to its end
	var v struct {
		Parts []struct{ Name, State, Detail string }
	}
	if err := json.NewDecoder(res.Body).Decode(&v); err != nil {
		return res.StatusCode, nil
	}
	parts := map[string]string{}
	for _, p := range v.Parts {
		parts[p.Name] = p.State
	}
	return res.StatusCode, parts
}

// metric reads one sample of /metrics by its name with labels.
func (s *server) metric(name string) string {
	s.t.Helper()
	res, err := http.Get("http://" + s.http + "/metrics")
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close() //nolint:errcheck // read to its end
	text, err := io.ReadAll(res.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	lines := strings.Split(string(text), "\n")
	i := slices.IndexFunc(lines, func(l string) bool { return strings.HasPrefix(l, name+" ") })
	if i < 0 {
		return ""
	}
	return strings.TrimPrefix(lines[i], name+" ")
}
