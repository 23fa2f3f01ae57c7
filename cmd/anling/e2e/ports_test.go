package e2e

import (
	"fmt"
	"net"
	"os"
	"sync/atomic"
	"testing"
)

// Ports of the tests lie below those that a system gives to outgoing connections
// (from 32768 on Linux), so that nobody sits down on the port of a killed server.
const (
	portsFrom = 10000
	portsEach = 250 // of a block: ten doors, the rest for RTP
	doors     = 10
	blocks    = 40
)

var blocksTaken atomic.Int64

// block is a range of ports of 127.0.0.1 of one server of one test, by TCP and UDP.
// Its first port is listened on as the mark of its owner, for other tests run beside.
type block struct {
	t    *testing.T
	base int
	used int
}

// claim takes a block until the test ends.
func claim(t *testing.T) *block {
	t.Helper()
	for range blocks {
		n := (int64(os.Getpid()) + blocksTaken.Add(1)) % blocks
		b := &block{t: t, base: portsFrom + int(n)*portsEach}
		mark, err := net.Listen("tcp", b.addr())
		if err != nil {
			continue
		}
		t.Cleanup(func() { _ = mark.Close() })
		if b.free() {
			return b
		}
	}
	t.Fatalf("every block of ports from %d on is taken", portsFrom)
	return nil
}

// addr is the next address of the block.
func (b *block) addr() string {
	b.t.Helper()
	if b.used == doors {
		b.t.Fatalf("a block has %d doors only", doors)
	}
	b.used++
	return fmt.Sprintf("127.0.0.1:%d", b.base+b.used-1)
}

// free tells whether nobody sits on a door of the block already.
func (b *block) free() bool {
	for port := b.base + 1; port < b.base+doors; port++ {
		addr := fmt.Sprintf("127.0.0.1:%d", port)
		l, err := net.Listen("tcp", addr)
		if err != nil {
			return false
		}
		_ = l.Close()
		p, err := net.ListenPacket("udp", addr)
		if err != nil {
			return false
		}
		_ = p.Close()
	}
	return true
}

// rtp is the range of a server's audio.
func (b *block) rtp() (low, high int) { return b.base + doors, b.base + portsEach - 1 }
