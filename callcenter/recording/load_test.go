package recording

import (
	"bufio"
	"context"
	"encoding/binary"
	"flag"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"anling/callcenter/media"
)

// The load comes from another process, so that the CPU measured here is the
// server's own: the test's program started again with this in its environment.
const peerEnv = "ANLING_TEST_RTP_PEER"

var soak = flag.Duration("soak", 0, "run TestSoak with 200 parties for so long")

func TestMain(m *testing.M) {
	if d := os.Getenv(peerEnv); d != "" {
		if err := peer(d); err != nil {
			fmt.Fprintln(os.Stderr, "peer:", err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// peer is the telephones: "parties seconds". It writes its ports, reads ours, then
// talks on all of them and writes what it heard.
func peer(spec string) error {
	var parties int
	var seconds float64
	if _, err := fmt.Sscan(spec, &parties, &seconds); err != nil {
		return err
	}
	conns := make([]*net.UDPConn, parties)
	for i := range conns {
		c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			return err
		}
		conns[i] = c
		fmt.Println(c.LocalAddr().(*net.UDPAddr).Port)
	}
	in := bufio.NewReader(os.Stdin)
	to := make([]netip.AddrPort, parties)
	for i := range to {
		line, err := in.ReadString('\n')
		if err != nil {
			return err
		}
		port, err := strconv.Atoi(strings.TrimSpace(line))
		if err != nil {
			return err
		}
		to[i] = netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(port))
	}
	var heard atomic.Int64
	delays := make([][]int64, parties)
	var ears sync.WaitGroup
	for i, c := range conns {
		ears.Go(func() { delays[i] = listen(c, &heard) })
	}
	sent := talk(conns, to, time.Duration(seconds*float64(time.Second)))
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(5 * time.Second); heard.Load() < int64(sent) && time.Now().Before(end); {
		<-tick.C // what is on its way
	}
	for _, c := range conns {
		_ = c.Close()
	}
	ears.Wait()
	all := slices.Concat(delays...)
	slices.Sort(all)
	at := func(q float64) int64 {
		if len(all) == 0 {
			return 0
		}
		return all[int(q*float64(len(all)-1))]
	}
	fmt.Println(sent, heard.Load(), at(0.5), at(0.99))
	return nil
}

const stampMark = 0x5A

func listen(c *net.UDPConn, heard *atomic.Int64) (delays []int64) {
	var buf [1500]byte
	for {
		n, err := c.Read(buf[:])
		if err != nil {
			return delays
		}
		if n < 12+9 || buf[1]&0x7F != 8 || buf[12] != stampMark {
			continue // reports, silence
		}
		heard.Add(1)
		delays = append(delays, time.Now().UnixNano()-int64(binary.BigEndian.Uint64(buf[13:])))
	}
}

// talk sends 50 packets a second on each socket, spread over the 20 ms.
func talk(conns []*net.UDPConn, to []netip.AddrPort, d time.Duration) (sent int) {
	p := make([]byte, 12+160)
	p[0], p[1] = 0x80, 8
	start := time.Now()
	for k := 0; time.Duration(k)*20*time.Millisecond < d; k++ {
		binary.BigEndian.PutUint16(p[2:], uint16(k))
		binary.BigEndian.PutUint32(p[4:], uint32(k*160))
		for i, c := range conns {
			if i%16 == 0 {
				due := start.Add(time.Duration(k)*20*time.Millisecond + time.Duration(i)*20*time.Millisecond/time.Duration(len(conns)))
				time.Sleep(time.Until(due))
			}
			binary.BigEndian.PutUint32(p[8:], uint32(i+1))
			p[12] = stampMark
			binary.BigEndian.PutUint64(p[13:], uint64(time.Now().UnixNano()))
			if _, err := c.WriteToUDPAddrPort(p, to[i]); err == nil {
				sent++
			}
		}
	}
	return sent
}

type outcome struct {
	sent, heard int64
	p50, p99    time.Duration
	cpu, wall   time.Duration
	memory      int64 // bytes of heap and stacks per call while talking
	results     []Result
	stats       []media.Stats
}

// load bridges so many calls between the peer's telephones.
func load(t testing.TB, calls int, d time.Duration, record bool) outcome {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	e, err := media.New(media.Options{IP: netip.MustParseAddr("127.0.0.1"), PortMin: 50000, PortMax: 59999})
	if err != nil {
		t.Fatal(err)
	}
	p := newPool(t)
	ctx, cancel := context.WithCancel(context.Background())
	ran := make(chan error, 1)
	go func() { ran <- e.Run(ctx) }()
	defer func() { cancel(); <-ran }()

	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d %f", peerEnv, 2*calls, d.Seconds()))
	cmd.Stderr = os.Stderr
	stdin, _ := cmd.StdinPipe()
	stdout, _ := cmd.StdoutPipe()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	lines := bufio.NewScanner(stdout)
	before := inUse()
	var sessions []*media.Session
	var recordings []*Recording
	for i := range 2 * calls {
		if !lines.Scan() {
			t.Fatal("the peer ended early")
		}
		port, err := strconv.Atoi(lines.Text())
		if err != nil {
			t.Fatal(err)
		}
		s, err := e.OpenSOS()
		if err != nil {
			t.Fatal(err)
		}
		s.Configure(media.Remote{Addr: netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(port)), Codec: media.PCMA, Send: true, Receive: true})
		s.Start()
		sessions = append(sessions, s)
		if i%2 == 0 {
			continue
		}
		caller := sessions[i-1]
		media.Join(caller, s)
		if record {
			r, err := p.Start(fmt.Sprintf("load-%d", i))
			if err != nil {
				t.Fatal(err)
			}
			caller.Record(r, media.Left)
			caller.RecordSent(r, media.Right)
			recordings = append(recordings, r)
		}
	}
	var out outcome
	cpu, wall := cpuTime(), time.Now()
	for _, s := range sessions {
		fmt.Fprintln(stdin, s.Local().Port())
	}
	select {
	case <-time.After(d / 2):
	case <-t.Context().Done():
	}
	out.memory = (inUse() - before) / int64(calls)
	lines.Scan()
	out.cpu, out.wall = cpuTime()-cpu, time.Since(wall)
	var p50, p99 int64
	if _, err := fmt.Sscan(lines.Text(), &out.sent, &out.heard, &p50, &p99); err != nil {
		t.Fatalf("the peer says %q: %v", lines.Text(), err)
	}
	out.p50, out.p99 = time.Duration(p50), time.Duration(p99)
	_, _ = io.Copy(io.Discard, stdout)
	for _, s := range sessions {
		out.stats = append(out.stats, s.Stats())
		s.Close()
	}
	for _, r := range recordings {
		res, err := r.Close()
		if err != nil {
			t.Error(err)
		}
		out.results = append(out.results, res)
	}
	return out
}

func inUse() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// TestSoak bridges and records calls and wants nothing lost and nothing left. The
// long run is go test -run Soak -soak 2m.
func TestSoak(t *testing.T) {
	calls, d := 10, 2*time.Second
	if *soak > 0 {
		calls, d = 100, *soak
	}
	goroutines := runtime.NumGoroutine()
	files, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip("no /proc here")
	}
	var out outcome
	t.Run("calls", func(t *testing.T) { out = load(t, calls, d, true) })
	t.Logf("%d calls for %v: %d sent, %d heard, delay p50 %v p99 %v, %d KB per call, %.2f s of CPU", calls, d,
		out.sent, out.heard, out.p50, out.p99, out.memory>>10, out.cpu.Seconds())
	if out.heard != out.sent {
		t.Errorf("%d of %d packets were lost inside", out.sent-out.heard, out.sent)
	}
	for _, st := range out.stats {
		if st.Lost != 0 || st.Foreign != 0 || st.Invalid != 0 || st.Flood != 0 {
			t.Errorf("a party's account: %+v", st)
			break
		}
	}
	for _, r := range out.results {
		if r.Gaps != 0 || r.Seconds < d.Seconds()-1 {
			t.Errorf("recording %+v", r)
		}
	}
	if n := runtime.NumGoroutine(); n > goroutines {
		t.Errorf("%d goroutines before, %d after", goroutines, n)
	}
	if after, _ := os.ReadDir("/proc/self/fd"); len(after) > len(files)+2 { // the poller's own
		t.Errorf("%d files before, %d after", len(files), len(after))
	}
}

// BenchmarkBridgedCalls measures two-way G.711 calls per core of CPU, with the load
// in another process (telephony.md 4.5: 1,300 bridged, 1,000 recorded).
func BenchmarkBridgedCalls(b *testing.B) {
	for _, record := range []bool{false, true} {
		name := "bridged"
		if record {
			name = "recorded"
		}
		b.Run(name, func(b *testing.B) {
			const calls = 250
			out := load(b, calls, 8*time.Second, record)
			b.ReportMetric(calls*out.wall.Seconds()/out.cpu.Seconds(), "calls/core")
			b.ReportMetric(float64(out.cpu.Nanoseconds())/float64(out.sent), "cpu-ns/packet")
			b.ReportMetric(float64(out.sent-out.heard), "lost")
			b.ReportMetric(out.p50.Seconds()*1000, "p50-ms")
			b.ReportMetric(out.p99.Seconds()*1000, "p99-ms")
			b.ReportMetric(float64(out.memory)/1024, "KB/call")
			b.Logf("%d CPUs, %s %s/%s", runtime.NumCPU(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
		})
	}
}
