package recording

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"anling/callcenter/media"
)

// lag finds by cross-correlation how many samples b comes after a.
func lag(a, b []int16, most int) int {
	best, at := int64(-1), 0
	for d := -most; d <= most; d++ {
		var sum int64
		for i := range a {
			if j := i + d; j >= 0 && j < len(b) {
				sum += int64(a[i]) * int64(b[j]) >> 8
			}
		}
		if sum > best {
			best, at = sum, d
		}
	}
	return at
}

// TestChannelsStayAligned records the same voice on both sides, with loss on one.
func TestChannelsStayAligned(t *testing.T) {
	p := newPool(t)
	r, err := p.Start("aligned")
	if err != nil {
		t.Fatal(err)
	}
	noise := rand.New(rand.NewPCG(5, 6))
	for i := range 150 {
		voice := make([]byte, 160)
		for k := range voice {
			voice[k] = media.EncodeA(int16(noise.IntN(16000) - 8000))
		}
		at := r.start.Add(time.Duration(i) * 20 * time.Millisecond)
		r.Write(media.Left, at, voice, media.PCMA)
		if noise.Float64() > 0.1 {
			// A few milliseconds that the clock of this side is off.
			r.Write(media.Right, at.Add(time.Duration(noise.IntN(7))*time.Millisecond), voice, media.PCMA)
		}
	}
	res, err := r.Close()
	if err != nil {
		t.Fatal(err)
	}
	left, right := read(t, p, res)
	for from := 0; from+8000 <= len(left); from += 8000 {
		if d := lag(left[from:from+8000], right[from:from+8000], 400); d < -160 || d > 160 {
			t.Errorf("second %d: the channels are %d samples apart", from/8000, d)
		}
	}
}

func TestStalledDiskLosesSoundNotTime(t *testing.T) {
	p, err := New(Options{Dir: t.TempDir()}) // Run does not run: nothing is drained
	if err != nil {
		t.Fatal(err)
	}
	r, err := p.Start("stalled")
	if err != nil {
		t.Fatal(err)
	}
	loud := bytes.Repeat([]byte{media.EncodeA(9000)}, 160)
	write := func(from, to time.Duration) {
		for at := from; at < to; at += 20 * time.Millisecond {
			r.Write(media.Left, r.start.Add(at), loud, media.PCMA)
		}
	}
	write(0, 20*time.Second) // the ring holds eleven
	r.drain(r.start.Add(20 * time.Second))
	write(20*time.Second, 21*time.Second)
	res, err := r.Close()
	if err != nil {
		t.Fatal(err)
	}
	if res.Gaps != 1 || res.Seconds != 21 {
		t.Fatalf("result %+v", res)
	}
	left, _ := read(t, p, res)
	for sec, want := range map[int]bool{0: true, 9: true, 12: false, 19: false, 20: true} {
		if got := left[sec*8000+4000] > 5000; got != want {
			t.Errorf("second %d: loud is %v", sec, got)
		}
	}
}

// TestFullDiskLosesSoundNotTime lets the file refuse writes for a while.
func TestFullDiskLosesSoundNotTime(t *testing.T) {
	var faults []error
	p, err := New(Options{Dir: t.TempDir(), OnFault: func(_ string, err error) { faults = append(faults, err) }})
	if err != nil {
		t.Fatal(err)
	}
	r, err := p.Start("full")
	if err != nil {
		t.Fatal(err)
	}
	loud := bytes.Repeat([]byte{media.EncodeA(9000)}, 8000)
	second := func(n int) {
		r.Write(media.Right, r.start.Add(time.Duration(n)*time.Second), loud, media.PCMA)
		r.drain(r.start.Add(time.Duration(n+1) * time.Second))
	}
	second(0)
	good := r.file
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip("no /dev/full here")
	}
	r.file = full
	second(1)
	second(2)
	r.file = good
	_ = full.Close()
	second(3)
	res, err := r.Close()
	if err != nil {
		t.Fatal(err)
	}
	_, right := read(t, p, res)
	for sec, want := range []bool{true, false, false, true} {
		if got := right[sec*8000+4000] > 5000; got != want {
			t.Errorf("second %d: loud is %v", sec, got)
		}
	}
	if res.Gaps != 1 || len(faults) != 1 || !errors.Is(faults[0], syscall.ENOSPC) {
		t.Errorf("gaps %d, told %v", res.Gaps, faults)
	}
}

func TestLowDiskLeavesSOSForLast(t *testing.T) {
	free := uint64(9)
	p := newPool(t, func(o *Options) {
		o.Space = func(string) (uint64, uint64, error) { return free, 100, nil }
	})
	if _, err := p.Start("ordinary"); !errors.Is(err, ErrDiskLow) {
		t.Errorf("an ordinary call at 9 %%: %v", err)
	}
	if _, err := p.StartSOS("sos"); err != nil {
		t.Errorf("an SOS call at 9 %%: %v", err)
	}
	if state, _ := p.Health(); state != "degraded" {
		t.Errorf("health %s", state)
	}
	p.mu.Lock()
	p.checked, free = time.Time{}, 1
	p.mu.Unlock()
	if _, err := p.StartSOS("sos2"); !errors.Is(err, ErrDiskLow) {
		t.Errorf("an SOS call at 1 %%: %v", err)
	}
}

func TestSameCallTwiceKeepsBoth(t *testing.T) {
	p := newPool(t)
	var paths []string
	for range 3 {
		r, err := p.Start("call")
		if err != nil {
			t.Fatal(err)
		}
		r.Write(media.Left, r.start, make([]byte, 160), media.PCMA)
		res, err := r.Close()
		if err != nil {
			t.Fatal(err)
		}
		if again, err := r.Close(); err != nil || again != res {
			t.Error("a second Close tells another result")
		}
		paths = append(paths, res.Path)
	}
	if paths[0] == paths[1] || paths[1] == paths[2] || !strings.HasSuffix(paths[1], "/call.2.wav") {
		t.Errorf("paths %v", paths)
	}
}

// TestHeaderIsTrueWhileRecording reads the part as a player or a crash would.
func TestHeaderIsTrueWhileRecording(t *testing.T) {
	p := newPool(t)
	r, err := p.Start("live")
	if err != nil {
		t.Fatal(err)
	}
	r.Write(media.Left, r.start, make([]byte, 8000), media.PCMA)
	r.drain(r.start.Add(time.Second))
	part := r.partPath()
	if n := stated(t, part); n != 0 {
		t.Fatalf("the header tells of %d bytes that are not durable", n)
	}
	r.sync()
	if n := stated(t, part); n < 16000 {
		t.Fatalf("the header tells of %d bytes, 16000 are durable", n)
	}
}

func stated(t *testing.T, part string) int64 {
	t.Helper()
	f, err := os.Open(part)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	n, err := dataBytes(f)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestWritersAndCloseAtOnce(t *testing.T) {
	p := newPool(t)
	var writers sync.WaitGroup
	for i := range 8 {
		r, err := p.Start(fmt.Sprintf("c%d", i))
		if err != nil {
			t.Fatal(err)
		}
		for ch := range media.Channel(2) {
			writers.Go(func() {
				for k := range 500 {
					r.Write(ch, r.start.Add(time.Duration(k)*20*time.Millisecond), make([]byte, 160), media.PCMU)
				}
			})
		}
		writers.Go(func() {
			for range 20 {
				r.drain(time.Now())
				r.sync()
			}
			if _, err := r.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	writers.Wait()
	if n := len(p.recordings()); n != 0 {
		t.Errorf("%d recordings are left", n)
	}
}

func TestRunFinishesWhatIsOpen(t *testing.T) {
	dir := t.TempDir()
	var path string
	t.Run("run", func(t *testing.T) {
		p := newPool(t, func(o *Options) { o.Dir = dir })
		r, err := p.Start("open")
		if err != nil {
			t.Fatal(err)
		}
		r.Write(media.Left, r.start, make([]byte, 160), media.PCMA)
		path = p.file(r.Path())
	})
	if _, err := os.Stat(path); err != nil {
		t.Error(err)
	}
	if done, _ := Repair(dir); len(done) != 0 {
		t.Error("something is left to repair after an orderly stop")
	}
}

// TestOthersReadTheFile lets sox say what it is.
func TestOthersReadTheFile(t *testing.T) {
	if _, err := exec.LookPath("sox"); err != nil {
		t.Skip("sox is not installed: make deps")
	}
	p := newPool(t)
	r, err := p.Start("sox")
	if err != nil {
		t.Fatal(err)
	}
	tone := media.Tone(440, -10, 8000)
	r.Write(media.Left, r.start, tone, media.PCMA)
	res, err := r.Close()
	if err != nil {
		t.Fatal(err)
	}
	f, err := p.File(res.Path)
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("sox", f, "-t", "raw", "-e", "signed", "-b", "16", "-").Output()
	if err != nil {
		t.Fatal(err)
	}
	if len(out) != 4*8000 {
		t.Fatalf("sox reads %d bytes", len(out))
	}
	for i := range tone {
		if got := int16(binary.LittleEndian.Uint16(out[4*i:])); got != media.PCMA.Linear(tone[i]) {
			t.Fatalf("sample %d: sox reads %d, we %d", i, got, media.PCMA.Linear(tone[i]))
		}
	}
}
