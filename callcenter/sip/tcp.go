package sip

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"go.uber.org/zap"
)

// Deadlines of a stream (T22): sipgo has none.
const (
	streamFirst   = 10 * time.Second // from the connection to the first whole message
	streamMessage = 10 * time.Second // from a message's first byte to its last
	streamIdle    = 3 * time.Minute  // between messages; telephones are asked every 30 s
	streamWrite   = 5 * time.Second
)

var errFraming = errors.New("stream framing lost")

// listener accepts streams under caps and hands out connections that deliver
// whole, filtered messages only.
type listener struct {
	net.Listener
	edge   *edge
	log    *zap.Logger
	onDrop func(netip.AddrPort) // a connection ended

	mu    sync.Mutex
	perIP map[netip.Addr]int // guarded by mu
	total int                // guarded by mu
	conns map[*stream]struct{}
}

func listenTCP(ctx context.Context, addr netip.AddrPort, e *edge, log *zap.Logger, onDrop func(netip.AddrPort)) (*listener, error) {
	lc := net.ListenConfig{KeepAlive: time.Minute}
	l, err := lc.Listen(ctx, "tcp", addr.String())
	if err != nil {
		return nil, fmt.Errorf("listen for sip on tcp %s: %w", addr, err)
	}
	return &listener{Listener: l, edge: e, log: log, onDrop: onDrop, perIP: map[netip.Addr]int{}, conns: map[*stream]struct{}{}}, nil
}

func (l *listener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return nil, err
			}
			// Out of descriptors, or the peer has gone already: sipgo would stop.
			l.log.Warn("sip accept", zap.Error(err))
			time.Sleep(10 * time.Millisecond)
			continue
		}
		src := addrPort(conn.RemoteAddr())
		s := &stream{Conn: conn, src: src, l: l, first: true}
		if !l.admit(s) {
			l.edge.metrics.dropped.WithLabelValues("connections").Inc()
			conn.Close()
			continue
		}
		return s, nil
	}
}

func (l *listener) admit(s *stream) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	ip := s.src.Addr()
	if l.total >= l.edge.limits.Connections || l.perIP[ip] >= l.edge.limits.PerIP && !l.edge.isCarrier(ip) {
		return false
	}
	l.total++
	l.perIP[ip]++
	l.conns[s] = struct{}{}
	return true
}

func (l *listener) release(s *stream) {
	l.mu.Lock()
	l.total--
	ip := s.src.Addr()
	if l.perIP[ip]--; l.perIP[ip] <= 0 {
		delete(l.perIP, ip)
	}
	delete(l.conns, s)
	l.mu.Unlock()
	l.onDrop(s.src)
}

// closeAll ends every connection that was accepted.
func (l *listener) closeAll() {
	l.mu.Lock()
	conns := make([]*stream, 0, len(l.conns))
	for s := range l.conns {
		conns = append(conns, s)
	}
	l.mu.Unlock()
	for _, s := range conns {
		s.Close()
	}
}

// stream is a connection whose Read returns one whole message, or a part of it
// when the caller's buffer is smaller.
type stream struct {
	net.Conn
	src     netip.AddrPort
	l       *listener
	scanner scanner
	first   bool
	in      []byte // read, not yet a whole message
	out     []byte // of the current message, not yet handed out
	once    sync.Once
}

func (s *stream) Close() error {
	err := s.Conn.Close()
	s.once.Do(func() { s.l.release(s) })
	return err
}

func (s *stream) Read(p []byte) (int, error) {
	for len(s.out) == 0 {
		if err := s.next(); err != nil {
			return 0, err
		}
	}
	n := copy(p, s.out)
	s.out = s.out[n:]
	return n, nil
}

// next reads until there is a whole message, and filters it into out.
func (s *stream) next() error {
	deadline := time.Now().Add(streamIdle)
	if s.first {
		deadline = time.Now().Add(streamFirst)
	}
	started := false
	chunk := make([]byte, 4096)
	for {
		if err := s.keepAlive(); err != nil {
			return err
		}
		size, err := frame(s.in)
		if err != nil {
			s.l.edge.metrics.dropped.WithLabelValues("framing").Inc()
			return err
		}
		if size > 0 {
			s.take(size)
			return nil
		}
		if len(s.in) > 0 && !started {
			started, deadline = true, time.Now().Add(streamMessage)
		}
		if err := s.SetReadDeadline(deadline); err != nil {
			return err
		}
		n, err := s.Conn.Read(chunk)
		if err != nil {
			if ne, ok := errors.AsType[net.Error](err); ok && ne.Timeout() {
				s.l.edge.metrics.dropped.WithLabelValues("slow").Inc()
				return net.ErrClosed // quiet: the log must not be filled from outside
			}
			return err
		}
		s.in = append(s.in, chunk[:n]...)
	}
}

// keepAlive answers a double CRLF between messages (RFC 5626 3.5.1).
func (s *stream) keepAlive() error {
	for bytes.HasPrefix(s.in, []byte("\r\n\r\n")) {
		s.in = s.in[4:]
		if err := s.write([]byte("\r\n")); err != nil {
			return err
		}
	}
	for len(s.in) > 2 && s.in[0] == '\r' && s.in[1] == '\n' && s.in[2] != '\r' {
		s.in = s.in[2:]
	}
	return nil
}

func (s *stream) take(size int) {
	msg := s.in[:size]
	c := s.l.edge.classify(s.src)
	if s.l.edge.early(s.src, c) {
		out, answer := s.l.edge.filter(&s.scanner, s.src, c, msg, false)
		if answer != nil {
			if err := s.write(answer); err != nil {
				s.l.log.Debug("tcp write", zap.Error(err))
			}
		}
		s.out = append(s.out[:0], out...)
		s.first = s.first && len(out) == 0
	}
	s.in = append([]byte(nil), s.in[size:]...)
}

func (s *stream) write(b []byte) error {
	if err := s.SetWriteDeadline(time.Now().Add(streamWrite)); err != nil {
		return err
	}
	_, err := s.Conn.Write(b)
	return err
}

// frame is the size of the first message in b, 0 when it is not whole yet. A
// message whose length cannot be told loses the stream (RFC 3261 18.3).
func frame(b []byte) (int, error) {
	end := bytes.Index(b, []byte("\r\n\r\n"))
	if end < 0 {
		if len(b) > maxMessage {
			return 0, fmt.Errorf("%w: headers of more than %d bytes", errFraming, maxMessage)
		}
		return 0, nil
	}
	length := -1
	for rest := b[:end]; len(rest) > 0; {
		var h []byte
		h, rest = cutHeader(rest)
		name, value, ok := bytes.Cut(h, []byte(":"))
		if !ok || canonicalName(bytes.TrimRight(name, " \t")) != "Content-Length" {
			continue
		}
		n, err := strconv.Atoi(string(bytes.TrimSpace(value)))
		if err != nil || n < 0 || n > maxMessage || length >= 0 && length != n {
			return 0, fmt.Errorf("%w: content-length %.20q", errFraming, value)
		}
		length = n
	}
	size := end + 4 + max(length, 0)
	if len(b) < size {
		return 0, nil
	}
	return size, nil
}

func addrPort(a net.Addr) netip.AddrPort {
	ap, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}
