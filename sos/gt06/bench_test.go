package gt06

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"

	"anling/sos"
	"anling/sos/sostest"
)

func BenchmarkDecodeHeartbeat(b *testing.B) { benchmarkDecode(b, EncodeHeartbeat(InfoFix, 6, 4, 1, 2)) }
func BenchmarkDecodeAlarm(b *testing.B)     { benchmarkDecode(b, EncodeAlarm(press(), 2)) }

func benchmarkDecode(b *testing.B, frame []byte) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Decode(frame, Context{}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "frames/s")
}

// BenchmarkHeartbeats is heartbeats answered through real sockets, the client's work
// on the same cores included.
func BenchmarkHeartbeats(b *testing.B) {
	const devices = 200
	addr := serve(b, &sostest.Ear{}, ServerOptions{Limits: sos.Limits{PerIP: devices, Rate: 1e9, Burst: 1e9}})
	conns := make([]net.Conn, devices)
	answer := len(EncodeReply(0x13, 1))
	for i := range conns {
		d := connect(b, addr)
		d.send(login(b, fmt.Sprintf("8600000000%05d", i), 1))
		d.answered(EncodeReply(0x01, 1))
		conns[i] = d
	}
	b.ResetTimer()
	var wg sync.WaitGroup
	for i, c := range conns {
		n := b.N / devices
		if i < b.N%devices {
			n++
		}
		wg.Go(func() {
			frame, buf := EncodeHeartbeat(InfoFix, 6, 4, 1, 2), make([]byte, answer)
			for range n {
				if _, err := c.Write(frame); err != nil {
					b.Error(err)
					return
				}
				if _, err := io.ReadFull(c, buf); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "heartbeats/s")
}

const idleServer = "ANLING_TEST_IDLE_SERVER"

// TestIdleServer is the child of BenchmarkIdleConnection: a server alone in its
// process. It prints its address and ends with its standard input.
func TestIdleServer(t *testing.T) {
	if os.Getenv(idleServer) == "" {
		t.Skip("only as the child of a benchmark")
	}
	fmt.Println("listening", serve(t, &quiet{}, ServerOptions{Limits: sos.Limits{PerIP: 100_000, Unidentified: 100_000, AcceptRate: 1e6, AcceptBurst: 1e6}}))
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// quiet remembers nothing.
type quiet struct{ sostest.Ear }

func (*quiet) Seen(sos.Sign) {}

// BenchmarkIdleConnection is the memory of the server's process for one connection
// that logged in, sent heartbeats, and is idle: resident size with 5,000 of them
// less the size before, as the kernel counts it, without the kernel's own sockets.
func BenchmarkIdleConnection(b *testing.B) {
	const connections = 5000
	child := exec.Command(os.Args[0], "-test.run=^TestIdleServer$", "-test.v")
	child.Env = append(os.Environ(), idleServer+"=1")
	in, err := child.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := child.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := child.Start(); err != nil {
		b.Fatal(err)
	}
	defer func() {
		_ = in.Close()
		_ = child.Wait()
	}()
	addr := ""
	for buf := make([]byte, 4096); addr == ""; {
		n, err := out.Read(buf)
		if err != nil {
			b.Fatal(err)
		}
		if _, after, ok := strings.Cut(string(buf[:n]), "listening "); ok {
			addr, _, _ = strings.Cut(after, "\n")
		}
	}
	go func() { _, _ = io.Copy(io.Discard, out) }()
	before := resident(b, child.Process.Pid) // one run is enough, whatever b.N: a second finds the memory there
	conns := make([]device, connections)
	for i := range conns {
		d := connect(b, addr)
		d.send(login(b, fmt.Sprintf("8600000000%05d", i), 1))
		d.answered(EncodeReply(0x01, 1))
		conns[i] = d
	}
	for round := range uint16(3) {
		for _, d := range conns {
			d.unanswered(round)
		}
	}
	b.ReportMetric(float64(resident(b, child.Process.Pid)-before)/connections, "B/conn")
	b.ReportMetric(0, "ns/op")
}

func resident(b *testing.B, pid int) int64 {
	b.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		b.Skip("no /proc: ", err)
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kb, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 10, 64)
			if err != nil {
				b.Fatal(err)
			}
			return kb << 10
		}
	}
	b.Fatal("no VmRSS")
	return 0
}
