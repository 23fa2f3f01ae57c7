package simdevice

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Spread is a dialer for the n-th of many connections to a server on this machine:
// each hundred come from a loopback address of their own, so that limits per address
// hold for them as for devices of the world. Other servers get the usual dialer.
func Spread(addr string, n int) *net.Dialer {
	d := &net.Dialer{Timeout: 10 * time.Second, KeepAlive: -1}
	a, err := netip.ParseAddrPort(addr)
	if err != nil || !a.Addr().Is4() || !a.Addr().IsLoopback() {
		return d
	}
	group := n / 100
	d.LocalAddr = &net.TCPAddr{IP: net.IPv4(127, 1+byte(group/62500%200), byte(group/250), byte(1+group%250))}
	return d
}

// Idle are connections that are logged in and say nothing but their heartbeat. They
// share a few goroutines: thousands cost this side little.
type Idle struct {
	Protocol string
	Conns    []net.Conn
	ids      []string
	Failed   map[string]int // attempts that failed, by cause
}

// OpenIdle logs in a device on a connection each, so many a second: servers bound how
// fast they accept. What fails is tried twice more.
func OpenIdle(ctx context.Context, protocol, addr string, ids []string, perSecond float64) *Idle {
	all := &Idle{Protocol: protocol, Failed: map[string]int{}}
	var mu sync.Mutex
	var wg sync.WaitGroup
	next := make(chan int)
	for range 32 {
		wg.Go(func() {
			for i := range next {
				conn, err := dialIn(ctx, protocol, addr, ids[i], Spread(addr, i))
				for again := 0; err != nil && again < 2 && sleep(ctx, time.Second); again++ {
					conn, err = dialIn(ctx, protocol, addr, ids[i], Spread(addr, i))
				}
				mu.Lock()
				if err != nil {
					all.Failed[cause(err)]++
				} else {
					all.Conns, all.ids = append(all.Conns, conn), append(all.ids, ids[i])
				}
				mu.Unlock()
			}
		})
	}
	began := time.Now()
	for i := range ids {
		if !sleep(ctx, time.Until(began.Add(time.Duration(float64(i)/perSecond*float64(time.Second))))) {
			break
		}
		next <- i
	}
	close(next)
	wg.Wait()
	return all
}

// sleep waits, and tells whether ctx goes on.
func sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

func dialIn(ctx context.Context, protocol, addr, id string, dialer *net.Dialer) (net.Conn, error) {
	conn, err := dialer.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	hello := watchHeartbeatFrame(id, 80)
	if protocol != Watch {
		if hello, err = gt06LoginFrame(id, 1); err != nil {
			return nil, errors.Join(err, conn.Close())
		}
	}
	if err := exchange(conn, protocol, hello); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return conn, nil
}

// exchange sends a frame and reads the one answer to it.
func exchange(conn net.Conn, protocol string, frame []byte) error {
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return err
	}
	if _, err := conn.Write(frame); err != nil {
		return err
	}
	if _, err := readAnswer(protocol, bufio.NewReaderSize(conn, 64)); err != nil {
		return err
	}
	return conn.SetDeadline(time.Time{})
}

// Beat sends a heartbeat on every connection and reads its answer; it tells how many
// were answered.
func (i *Idle) Beat(ctx context.Context, atOnce int) (answered int, failed map[string]int) {
	failed = map[string]int{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	next := make(chan int)
	for range max(1, atOnce) {
		wg.Go(func() {
			for n := range next {
				frame := watchHeartbeatFrame(i.ids[n], 80)
				if i.Protocol != Watch {
					frame = gt06HeartbeatFrame(2)
				}
				err := exchange(i.Conns[n], i.Protocol, frame)
				mu.Lock()
				if err == nil {
					answered++
				} else {
					failed[cause(err)]++
				}
				mu.Unlock()
			}
		})
	}
	for n := range i.Conns {
		if ctx.Err() != nil {
			break
		}
		next <- n
	}
	close(next)
	wg.Wait()
	return answered, failed
}

// Close ends the connections.
func (i *Idle) Close() {
	for _, c := range i.Conns {
		c.Close()
	}
}

// Memory is what the kernel says of a process, in bytes.
type Memory struct{ RSS, PSS, Anonymous int64 }

// MemoryOf reads /proc/<pid>/smaps_rollup.
func MemoryOf(pid int) (Memory, error) {
	var m Memory
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return m, err
	}
	for _, line := range strings.Split(string(b), "\n") {
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		kib, err := strconv.ParseInt(f[1], 10, 64)
		if err != nil {
			continue
		}
		switch f[0] {
		case "Rss:":
			m.RSS = kib << 10
		case "Pss:":
			m.PSS = kib << 10
		case "Anonymous:":
			m.Anonymous = kib << 10
		}
	}
	if m.RSS == 0 {
		return m, fmt.Errorf("no memory figures of process %d", pid)
	}
	return m, nil
}
