package sip

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"go.uber.org/zap"
)

const udpBuffer = 4 << 20 // with the kernel's default a burst of calls is retransmitted (T18)

// socket is the one UDP socket of a server. sipgo reads it through generations:
// each is a net.PacketConn that ends by itself when it has passed so many
// distinct sources that sipgo's pool, which never forgets one, should be thrown
// away (T14). What is in progress keeps writing through the old generation.
type socket struct {
	conn    *net.UDPConn
	edge    *edge
	log     *zap.Logger
	scanner scanner // of the goroutine that holds reading

	reading sync.Mutex // held by the generation that reads
	buf     []byte     // guarded by reading
	closed  atomic.Bool
	ready   chan struct{} // closed when sipgo knows the socket and reads it
	first   sync.Once
}

func listenUDP(ctx context.Context, addr netip.AddrPort, e *edge, log *zap.Logger) (*socket, error) {
	var lc net.ListenConfig
	pc, err := lc.ListenPacket(ctx, "udp", addr.String())
	if err != nil {
		return nil, fmt.Errorf("listen for sip on udp %s: %w", addr, err)
	}
	conn := pc.(*net.UDPConn)
	if err := conn.SetReadBuffer(udpBuffer); err != nil {
		log.Warn("udp receive buffer", zap.Error(err))
	}
	if got := receiveBuffer(conn); got < udpBuffer {
		log.Warn("udp receive buffer is small: set net.core.rmem_max", zap.Int("bytes", got), zap.Int("wanted", udpBuffer))
	}
	return &socket{conn: conn, edge: e, log: log, buf: make([]byte, 65536), ready: make(chan struct{})}, nil
}

// receiveBuffer is the buffer in use; the kernel reports twice what it holds.
func receiveBuffer(conn *net.UDPConn) int {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0
	}
	n := 0
	if err := raw.Control(func(fd uintptr) {
		n, _ = syscall.GetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF)
	}); err != nil {
		return 0
	}
	return n / 2
}

// serve runs generations of serveUDP until the socket is closed.
func (s *socket) serve(serveUDP func(net.PacketConn) error) error {
	for !s.closed.Load() {
		if err := serveUDP(&generation{socket: s}); err != nil {
			return fmt.Errorf("serve sip on udp: %w", err)
		}
	}
	return nil
}

func (s *socket) close() {
	s.closed.Store(true)
	s.conn.Close()
}

// generation is a net.PacketConn of the socket, for one run of sipgo's reader.
type generation struct {
	*socket
	sources map[netip.AddrPort]struct{} // of this generation; touched by its reader only
}

// ReadFrom returns the next datagram that the filter lets through. It never
// returns an error while the socket is open: sipgo would stop listening (T13).
func (g *generation) ReadFrom(p []byte) (int, net.Addr, error) {
	g.first.Do(func() { close(g.ready) })
	g.reading.Lock()
	defer g.reading.Unlock()
	if g.sources == nil {
		g.sources = map[netip.AddrPort]struct{}{}
	}
	for {
		if len(g.sources) >= g.edge.limits.Sources || g.closed.Load() {
			return 0, nil, net.ErrClosed
		}
		n, src, err := g.conn.ReadFromUDPAddrPort(g.buf)
		if err != nil {
			if g.closed.Load() {
				return 0, nil, net.ErrClosed
			}
			// An ICMP error of some peer; the socket is well.
			g.edge.metrics.dropped.WithLabelValues("socket").Inc()
			g.log.Debug("udp read", zap.Error(err))
			continue
		}
		src = netip.AddrPortFrom(src.Addr().Unmap(), src.Port())
		if n <= 4 || src.Port() == 0 { // keep-alive
			continue
		}
		c := g.edge.classify(src)
		if !g.edge.early(src, c) {
			continue
		}
		out, answer := g.edge.filter(&g.scanner, src, c, g.buf[:n], true)
		if answer != nil {
			if _, err := g.conn.WriteToUDPAddrPort(answer, src); err != nil {
				g.log.Debug("udp write", zap.Error(err))
			}
		}
		if len(out) == 0 || len(out) > len(p) {
			continue
		}
		g.sources[src] = struct{}{}
		return copy(p, out), udpAddr(src), nil
	}
}

func (g *generation) WriteTo(p []byte, addr net.Addr) (int, error) {
	return g.conn.WriteTo(p, addr)
}

// Close does nothing: the socket outlives its generations.
func (g *generation) Close() error                       { return nil }
func (g *generation) LocalAddr() net.Addr                { return g.conn.LocalAddr() }
func (g *generation) SetDeadline(t time.Time) error      { return g.conn.SetDeadline(t) }
func (g *generation) SetReadDeadline(t time.Time) error  { return g.conn.SetReadDeadline(t) }
func (g *generation) SetWriteDeadline(t time.Time) error { return g.conn.SetWriteDeadline(t) }

// udpAddr is a net.Addr that sipgo only prints.
type udpAddr netip.AddrPort

func (a udpAddr) Network() string { return "udp" }
func (a udpAddr) String() string  { return netip.AddrPort(a).String() }
