package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// wantFiles are the files that both sides of the idle connections need.
const wantFiles = 12_000

// openFiles raises the limit of open files, of this process and of those it starts.
func openFiles() error {
	var l syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
		return fmt.Errorf("limit of open files: %w", err)
	}
	l.Cur = max(l.Cur, min(l.Max, 65_536))
	l.Max = max(l.Max, wantFiles)
	l.Cur = max(l.Cur, wantFiles)
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
		fmt.Printf("note: the limit of open files stays: %v\n", err)
	}
	return nil
}

// tellMachine prints what the figures were measured on.
func tellMachine(c *cli) {
	fmt.Printf("anlingbench  %s\n", time.Now().UTC().Format("2006-01-02 15:04 MST"))
	line := func(name, text string) { fmt.Printf("  %-10s %s\n", name, text) }
	line("processor", fmt.Sprintf("%d × %s", runtime.NumCPU(), field("/proc/cpuinfo", "model name")))
	line("memory", field("/proc/meminfo", "MemTotal"))
	line("kernel", first(os.ReadFile("/proc/sys/kernel/osrelease")))
	line("data on", fileSystem(c.Dir))
	line("load", fmt.Sprintf("%.2f", load()))
	line("commit", first(exec.Command("git", "describe", "--always", "--dirty").Output()))
	line("server", first(exec.Command(c.Anling, "version").Output()))
	line("go", runtime.Version())
}

func first(b []byte, err error) string {
	if err != nil {
		return "unknown"
	}
	text, _, _ := strings.Cut(strings.TrimSpace(string(b)), "\n")
	return text
}

// field is the value of a line "name : value".
func field(path, name string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return "unknown"
	}
	for line := range strings.Lines(string(b)) {
		if k, v, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(k) == name {
			return strings.TrimSpace(v)
		}
	}
	return "unknown"
}

func fileSystem(dir string) string {
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		return "unknown"
	}
	names := map[int64]string{0xEF53: "ext4", 0x58465342: "xfs", 0x9123683E: "btrfs", 0x01021994: "tmpfs", 0x794C7630: "overlayfs"}
	name, known := names[int64(s.Type)]
	if !known {
		name = fmt.Sprintf("file system %#x", s.Type)
	}
	return fmt.Sprintf("%s, %d GiB free", name, int64(s.Bavail)*s.Bsize>>30)
}

// load is the average of the last minute.
func load() float64 {
	b, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return 0
	}
	text, _, _ := strings.Cut(string(b), " ")
	v, _ := strconv.ParseFloat(text, 64)
	return v
}

// busy is the share of all cores that is in use over a time.
func busy(ctx context.Context, over time.Duration) (float64, error) {
	total1, idle1, err := ticks()
	if err != nil {
		return 0, err
	}
	if !pause(ctx, over) {
		return 0, ctx.Err()
	}
	total2, idle2, err := ticks()
	if err != nil || total2 == total1 {
		return 0, err
	}
	return 1 - float64(idle2-idle1)/float64(total2-total1), nil
}

// ticks are those of all cores since the start, and the idle ones of them.
func ticks() (total, idle int64, err error) {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, 0, err
	}
	line, _, _ := strings.Cut(string(b), "\n")
	f := strings.Fields(line)
	if len(f) < 6 {
		return 0, 0, errors.New("/proc/stat has no line of all cores")
	}
	for i, v := range f[1:] {
		n, _ := strconv.ParseInt(v, 10, 64)
		if total += n; i == 3 || i == 4 { // idle, and waiting for the disk
			idle += n
		}
	}
	return total, idle, nil
}

// quiet waits until others leave the machine alone, and says when they do not. The
// load average lags: what is in use now counts.
func quiet(ctx context.Context, most time.Duration) {
	end := time.Now().Add(most)
	for {
		b, err := busy(ctx, 2*time.Second)
		switch {
		case err != nil || ctx.Err() != nil:
			return
		case b < 0.15:
			return
		case time.Now().After(end):
			fmt.Printf("note: the machine is not quiet: %.0f %% of its processor time is in use, load %.2f\n", b*100, load())
			return
		}
	}
}

// pause waits, unless ctx ends first.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// cpuOf is the processor time that a process has used.
func cpuOf(pid int) (time.Duration, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	_, rest, ok := strings.Cut(string(b), ") ")
	f := strings.Fields(rest)
	if !ok || len(f) < 13 {
		return 0, fmt.Errorf("/proc/%d/stat cannot be read", pid)
	}
	user, err1 := strconv.ParseInt(f[11], 10, 64)
	system, err2 := strconv.ParseInt(f[12], 10, 64)
	return time.Duration(user+system) * 10 * time.Millisecond, errors.Join(err1, err2)
}
