package simphone

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"
)

// wire carries messages over UDP or TCP. Over TCP the phone has one connection to
// each peer, those that the peer opened included.
type wire struct {
	network string
	local   netip.AddrPort
	take    func(m *message, from netip.AddrPort)
	drop    func(incoming bool, first string) bool
	udp     *net.UDPConn
	tcp     net.Listener

	wg     sync.WaitGroup
	mu     sync.Mutex
	conns  map[netip.AddrPort]net.Conn // guarded by mu
	closed bool                        // guarded by mu
}

func listen(network, address string, drop func(bool, string) bool, take func(*message, netip.AddrPort)) (*wire, error) {
	w := &wire{network: network, take: take, drop: drop, conns: map[netip.AddrPort]net.Conn{}}
	switch network {
	case "udp":
		addr, err := net.ResolveUDPAddr("udp", address)
		if err != nil {
			return nil, err
		}
		if w.udp, err = net.ListenUDP("udp", addr); err != nil {
			return nil, err
		}
		_ = w.udp.SetReadBuffer(4 << 20) // the kernel's cap is good enough
		w.local = plain(w.udp.LocalAddr().(*net.UDPAddr).AddrPort())
	case "tcp":
		l, err := net.Listen("tcp", address)
		if err != nil {
			return nil, err
		}
		w.tcp = l
		w.local = plain(l.Addr().(*net.TCPAddr).AddrPort())
	default:
		return nil, fmt.Errorf("transport %q is not udp or tcp", network)
	}
	return w, nil
}

// serve begins to read.
func (w *wire) serve() {
	if w.udp != nil {
		w.wg.Go(w.readUDP)
	} else {
		w.wg.Go(w.accept)
	}
}

func plain(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()) }

func (w *wire) close() {
	w.mu.Lock()
	w.closed = true
	for _, c := range w.conns {
		c.Close()
	}
	w.mu.Unlock()
	if w.udp != nil {
		w.udp.Close()
	}
	if w.tcp != nil {
		w.tcp.Close()
	}
	w.wg.Wait()
}

func (w *wire) readUDP() {
	buf := make([]byte, maxMessage)
	for {
		n, from, err := w.udp.ReadFromUDPAddrPort(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil || n < 4 {
			continue // an ICMP error, or a keep-alive
		}
		if m, err := parse(buf[:n]); err == nil && !w.dropped(true, m) {
			w.take(m, plain(from))
		}
	}
}

func (w *wire) dropped(incoming bool, m *message) bool {
	if w.drop == nil {
		return false
	}
	first := m.method
	if !m.request() {
		_, method := m.cseq()
		first = fmt.Sprintf("%d %s", m.code, method)
	}
	return w.drop(incoming, first)
}

func (w *wire) accept() {
	for {
		c, err := w.tcp.Accept()
		if err != nil {
			return
		}
		w.keep(plain(c.RemoteAddr().(*net.TCPAddr).AddrPort()), c)
	}
}

func (w *wire) keep(from netip.AddrPort, c net.Conn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		c.Close()
		return
	}
	w.conns[from] = c
	w.wg.Go(func() { w.readTCP(from, c) })
}

func (w *wire) readTCP(from netip.AddrPort, c net.Conn) {
	defer func() {
		c.Close()
		w.mu.Lock()
		if w.conns[from] == c {
			delete(w.conns, from)
		}
		w.mu.Unlock()
	}()
	r := bufio.NewReader(c)
	for {
		m, err := read(r, false)
		if err != nil {
			return
		}
		if !w.dropped(true, m) {
			w.take(m, from)
		}
	}
}

func (w *wire) send(m *message, to netip.AddrPort) error {
	if w.dropped(false, m) {
		return nil
	}
	if w.udp != nil {
		_, err := w.udp.WriteToUDPAddrPort(m.bytes(), to)
		return err
	}
	c, err := w.conn(to)
	if err != nil {
		return err
	}
	if err := c.SetWriteDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return err
	}
	_, err = c.Write(m.bytes())
	return err
}

func (w *wire) conn(to netip.AddrPort) (net.Conn, error) {
	w.mu.Lock()
	c := w.conns[to]
	w.mu.Unlock()
	if c != nil {
		return c, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	c, err := (&net.Dialer{}).DialContext(ctx, "tcp", to.String())
	if err != nil {
		return nil, err
	}
	w.keep(to, c)
	return c, nil
}
