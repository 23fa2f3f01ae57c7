package sip

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"anling/callcenter/leg"
	"anling/callcenter/media"
)

// BenchmarkCalls lets sipp call through the whole path of a leg: sockets, filter,
// validation, actor, RTP ports, SDP, 200, ACK, BYE. It reports the processor time
// of this process alone and what sipp saw:
//
//	go test -bench Calls -benchtime 10000x -run - ./callcenter/sip
//
// SIPP_RATE is the calls offered per second, 1000 by default.
func BenchmarkCalls(b *testing.B) {
	path, err := exec.LookPath("sipp")
	if err != nil {
		b.Skip("sipp is not installed (make deps)")
	}
	rate := "1000"
	if r := os.Getenv("SIPP_RATE"); r != "" {
		rate = r
	}
	engine, err := media.New(media.Options{IP: netip.MustParseAddr("127.0.0.1"), PortMin: 30000, PortMax: 59999, Quarantine: time.Millisecond})
	if err != nil {
		b.Fatal(err)
	}
	s, err := New(Options{
		Listen: "127.0.0.1:0", T1: testT1 * 10, Media: engine,
		Trunks: []Trunk{{Name: "sipp", Peers: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}}},
		OnInvite: func(l leg.Leg) {
			go func() {
				_ = l.Answer(context.Background())
				for range l.Events() { // to its end
				}
			}()
		},
	})
	if err != nil {
		b.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{}, 2)
	go func() { _ = engine.Run(ctx); done <- struct{}{} }()
	go func() { _ = s.Run(ctx); done <- struct{}{} }()
	defer func() { stop(); <-done; <-done }()
	dir := b.TempDir()
	stats := filepath.Join(dir, "st.csv")
	cmd := exec.Command(path, s.Addr().String(), "-sn", "uac", "-i", "127.0.0.1", "-mi", "127.0.0.1", "-t", "u1", "-r", rate, "-m", fmt.Sprint(b.N),
		"-l", "30000", "-d", "0", "-nostdin", "-buff_size", "4194304", "-trace_stat", "-stf", stats, "-fd", "1", "-timeout", "300s")
	cmd.Dir = dir
	before := cpu(b)
	start := time.Now()
	b.ResetTimer()
	out, err := cmd.CombinedOutput()
	b.StopTimer()
	took, used := time.Since(start), cpu(b)-before
	if err != nil {
		b.Logf("sipp: %v\n%s", err, out[max(0, len(out)-1500):])
	}
	b.ReportMetric(float64(b.N)/took.Seconds(), "calls/s")
	b.ReportMetric(used.Seconds()*1000/float64(b.N), "cpu-s/1000calls")
	for name, unit := range map[string]string{"FailedCall(C)": "failed", "Retransmissions(C)": "retransmissions"} {
		b.ReportMetric(column(b, stats, name), unit)
	}
}

func cpu(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// column is the last value of a column of sipp's statistics.
func column(b *testing.B, file, name string) float64 {
	raw, err := os.ReadFile(file)
	if err != nil {
		return -1
	}
	lines := strings.Split(strings.TrimSpace(string(raw)), "\n")
	for i, h := range strings.Split(lines[0], ";") {
		if f := strings.Split(lines[len(lines)-1], ";"); h == name && i < len(f) {
			v, err := strconv.ParseFloat(f[i], 64)
			if err == nil {
				return v
			}
		}
	}
	return -1
}
