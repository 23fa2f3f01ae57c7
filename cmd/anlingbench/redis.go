package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// redisServer is a real Redis of its own, without persistence, asked over loopback.
// Its protocol is spoken here: a client library would be measured as well.
type redisServer struct {
	cmd  *exec.Cmd
	addr string
	pool chan *redisConn
}

type redisConn struct {
	net.Conn
	r *bufio.Reader
}

// redisConns are as many as ask at once: two readers or a reader and a writer.
const redisConns = 3

func newRedis(ctx context.Context, c *cli) (engine, error) {
	program, err := exec.LookPath("redis-server")
	if err != nil {
		return nil, errors.New("redis-server is not installed (make deps)")
	}
	dir, err := c.place("redis")
	if err != nil {
		return nil, err
	}
	p, err := freePorts(1)
	if err != nil {
		return nil, err
	}
	_, port, _ := net.SplitHostPort(p[0])
	s := &redisServer{addr: p[0], pool: make(chan *redisConn, redisConns)}
	s.cmd = exec.Command(program, "--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", dir)
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	for end := time.Now().Add(10 * time.Second); len(s.pool) < redisConns; {
		conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "tcp", s.addr)
		if err == nil {
			s.pool <- &redisConn{conn, bufio.NewReader(conn)}
			continue
		}
		if time.Now().After(end) || !pause(ctx, 20*time.Millisecond) {
			s.close()
			return nil, fmt.Errorf("redis-server does not answer: %w", err)
		}
	}
	return s, nil
}

func (s *redisServer) name() string { return "Redis" }

func (s *redisServer) close() {
	for len(s.pool) > 0 {
		_ = (<-s.pool).Close()
	}
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait() // killed: its status tells nothing
}

// ask sends one command and reads its answer: a list's items, or one value.
func (s *redisServer) ask(args ...string) ([]string, error) {
	c := <-s.pool
	defer func() { s.pool <- c }()
	var b strings.Builder
	fmt.Fprintf(&b, "*%d\r\n", len(args))
	for _, a := range args {
		fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(a), a)
	}
	if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return nil, err
	}
	if _, err := io.WriteString(c, b.String()); err != nil {
		return nil, err
	}
	return c.answer()
}

func (c *redisConn) answer() ([]string, error) {
	line, err := c.r.ReadString('\n')
	if err != nil {
		return nil, err
	}
	line = strings.TrimRight(line, "\r\n")
	if line == "" {
		return nil, errors.New("redis: an empty answer")
	}
	n, _ := strconv.Atoi(line[1:])
	switch line[0] {
	case '*':
		all := make([]string, 0, max(0, n))
		for range n {
			one, err := c.answer()
			if err != nil {
				return nil, err
			}
			all = append(all, one...)
		}
		return all, nil
	case '$':
		if n < 0 {
			return nil, nil
		}
		b := make([]byte, n+2)
		if _, err := io.ReadFull(c.r, b); err != nil {
			return nil, err
		}
		return []string{string(b[:n])}, nil
	case '-':
		return nil, errors.New("redis: " + line[1:])
	}
	return []string{line[1:]}, nil
}

func decimal(v float64) string { return strconv.FormatFloat(v, 'f', 8, 64) }

func (s *redisServer) put(i int, p *person, x, y float64) error {
	at := point(x, y)
	for _, skill := range p.skills {
		if _, err := s.ask("GEOADD", "sk"+strconv.Itoa(skill), decimal(at.Lng), decimal(at.Lat), strconv.Itoa(i)); err != nil {
			return err
		}
	}
	return nil
}

func (s *redisServer) nearest(q query) ([]int, error) {
	at := point(q.x, q.y)
	hits, err := s.ask("GEOSEARCH", "sk"+strconv.Itoa(q.skill), "FROMLONLAT", decimal(at.Lng), decimal(at.Lat), "BYRADIUS", strconv.Itoa(radiusM), "m", "ASC", "COUNT", strconv.Itoa(nearestK))
	if err != nil {
		return nil, err
	}
	all := make([]int, len(hits))
	for i, h := range hits {
		if all[i], err = strconv.Atoi(h); err != nil {
			return nil, err
		}
	}
	return all, nil
}
