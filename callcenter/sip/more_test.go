package sip

import (
	"net"
	"net/netip"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"
	"go.uber.org/zap"
)

// eventually waits for a condition that has no event of its own.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	deadline := time.After(patience)
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			stacks := make([]byte, 1<<20)
			t.Logf("%s", stacks[:runtime.Stack(stacks, true)])
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// count is how many legs live.
func (s *Server) count() int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.all)
}

type sipResponse = sip.Response

// o0 is a Server without sockets.
func o0() *Server { return &Server{log: zap.NewNop(), metrics: newMetrics(nil)} }

// tcpCarrier is an office with one trunk over TCP; the channel brings the streams
// that the server opens.
func tcpCarrier(t *testing.T) (*office, <-chan *peer) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	o := newOffice(t, func(o *Options) {
		o.Trunks = []Trunk{{
			Name: "tcp", Peers: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")},
			Target: l.Addr().String(), Transport: "tcp", CallerID: "+8687112349",
		}}
	})
	peers := make(chan *peer, 4)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			peers <- streamPeer(t, conn)
		}
	}()
	return o, peers
}

// moduleDir is where the module cache keeps a module.
func moduleDir(tb testing.TB, module string) string {
	tb.Helper()
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", module).Output()
	if err != nil {
		tb.Fatalf("go list %s: %v", module, err)
	}
	return strings.TrimSpace(string(out))
}
