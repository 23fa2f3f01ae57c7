package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"anling/cmd/internal/simclient"
)

const (
	password  = "measured-only-here"
	startTime = 2 * time.Minute
	endTime   = 40 * time.Second
)

// server is the built program on ports and in a directory of its own.
type server struct {
	program string
	dir     string
	env     []string
	http    string
	sip     string
	gt06    string
	watch   string
	cmd     *exec.Cmd
	exited  chan error
	said    tail
}

// tail keeps the last that a program wrote.
type tail struct {
	mu   sync.Mutex
	text []byte // guarded by mu
}

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, b...)
	if n := len(t.text); n > 8192 {
		t.text = bytes.Clone(t.text[n-4096:])
	}
	return len(b), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.text)
}

// freePorts are addresses of 127.0.0.1 that nobody listens on, by TCP or UDP.
func freePorts(n int) ([]string, error) {
	var all []string
	var held []io.Closer
	defer func() {
		for _, h := range held {
			_ = h.Close()
		}
	}()
	for tries := 0; len(all) < n; tries++ {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		held = append(held, l)
		p, err := net.ListenPacket("udp", l.Addr().String())
		if err != nil {
			if tries > 100 {
				return nil, err
			}
			continue
		}
		held = append(held, p)
		all = append(all, l.Addr().String())
	}
	return all, nil
}

// newServer prepares a server with settings over the defaults; it is not started.
func newServer(c *cli, name string, settings ...string) (*server, error) {
	dir, err := c.place(name)
	if err != nil {
		return nil, err
	}
	p, err := freePorts(5)
	if err != nil {
		return nil, err
	}
	s := &server{program: c.Anling, dir: dir, http: p[0], sip: p[1], gt06: p[2], watch: p[3]}
	s.env = append(os.Environ(), "ANLING_DATA_DIR="+filepath.Join(dir, "data"), "ANLING_HTTP_LISTEN="+s.http, "ANLING_SIP_LISTEN="+s.sip,
		"ANLING_SOS_GT06_LISTEN="+s.gt06, "ANLING_SOS_WATCH_LISTEN="+s.watch, "ANLING_NATS_LISTEN="+p[4], "ANLING_STORAGE_RESERVE_MB=0",
		"ANLING_LOG_LEVEL=error", "ANLING_DEMO_PASSWORD="+password)
	for _, kv := range settings {
		s.env = append(s.env, "ANLING_"+kv)
	}
	return s, nil
}

// run runs a sub-command to its end.
func (s *server) run(ctx context.Context, stdin string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, s.program, args...)
	cmd.Env, cmd.Dir, cmd.Stdin = s.env, s.dir, strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("anling %s: %w: %s", args[0], err, out[max(0, len(out)-1000):])
	}
	return string(out), nil
}

// start starts a sub-command that stays, and waits until it is ready.
func (s *server) start(ctx context.Context, args ...string) error {
	s.cmd = exec.Command(s.program, args...)
	s.cmd.Env, s.cmd.Dir, s.cmd.Stdout, s.cmd.Stderr = s.env, s.dir, &s.said, &s.said
	if err := s.cmd.Start(); err != nil {
		return fmt.Errorf("start the server: %w", err)
	}
	s.exited = make(chan error, 1)
	go func() { s.exited <- s.cmd.Wait() }() // ends with the process, which stop ends
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	for !s.ready(ctx) {
		select {
		case err := <-s.exited:
			s.cmd = nil
			return fmt.Errorf("the server ended at its start: %w: %s", err, &s.said)
		case <-ctx.Done():
			s.stop()
			return fmt.Errorf("the server is not ready: %s", &s.said)
		case <-time.After(50 * time.Millisecond):
		}
	}
	return nil
}

func (s *server) ready(ctx context.Context) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.http+"/readyz", nil)
	if err != nil {
		return false
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	_ = res.Body.Close()
	return res.StatusCode == http.StatusOK
}

// stop ends the server; one that does not end is killed.
func (s *server) stop() {
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-s.exited:
	case <-time.After(endTime):
		_ = s.cmd.Process.Kill()
		<-s.exited
	}
	s.cmd = nil
}

func (s *server) pid() int { return s.cmd.Process.Pid }

// login signs somebody in. The accounts come a moment after the pages do.
func (s *server) login(ctx context.Context, name string) (*simclient.Client, error) {
	c, err := simclient.New("http://" + s.http)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	for {
		if err = c.Login(ctx, name, password); err == nil || errors.Is(err, context.DeadlineExceeded) || !pause(ctx, 100*time.Millisecond) {
			return c, err
		}
	}
}
