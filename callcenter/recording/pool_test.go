package recording

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"testing"
	"time"

	"anling/callcenter/media"
)

// newPool runs a pool in a temporary directory.
func newPool(t testing.TB, change ...func(*Options)) *Pool {
	t.Helper()
	o := Options{Dir: t.TempDir(), Space: func(string) (uint64, uint64, error) { return 50, 100, nil }}
	for _, c := range change {
		c(&o)
	}
	p, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return p
}

// read returns both channels of a finished recording as linear samples.
func read(t testing.TB, p *Pool, r Result) (left, right []int16) {
	t.Helper()
	f, err := p.Open(r.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	n, err := dataBytes(f)
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, n)
	if _, err := f.ReadAt(b, headerBytes); err != nil {
		t.Fatal(err)
	}
	if st, err := f.Stat(); err != nil || st.Size() != headerBytes+n || st.Size() != r.Bytes {
		t.Fatalf("header tells %d bytes, result %d, file has %d (%v)", headerBytes+n, r.Bytes, st.Size(), err)
	}
	for i := 0; i < len(b); i += 2 {
		left, right = append(left, media.PCMA.Linear(b[i])), append(right, media.PCMA.Linear(b[i+1]))
	}
	return left, right
}

func TestRecordingKeepsEachPacketInItsPlace(t *testing.T) {
	p := newPool(t)
	r, err := p.Start("call-1")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(p.file(r.Path()) + partSuffix); err != nil {
		t.Fatal(err)
	}
	tone := media.Tone(1000, -12, 160)
	// Left speaks from 100 ms, one packet of ten is lost, two come swapped; right
	// answers from 200 ms in the other law.
	mu := make([]byte, len(tone))
	media.Convert(mu, tone, media.PCMA, media.PCMU)
	for i := range 50 {
		k := i
		if i == 20 || i == 21 {
			k = 41 - i
		}
		at := r.start.Add(100*time.Millisecond + time.Duration(k)*20*time.Millisecond)
		if k%10 != 9 {
			r.Write(media.Left, at, tone, media.PCMA)
		}
		r.Write(media.Right, at.Add(100*time.Millisecond), mu, media.PCMU)
	}
	res, err := r.Close()
	if err != nil {
		t.Fatal(err)
	}
	left, right := read(t, p, res)
	if len(left) != 8*(200+1000) {
		t.Fatalf("%d frames", len(left))
	}
	loud := func(s []int16) bool {
		var sum int64
		for _, v := range s {
			sum += int64(v) * int64(v)
		}
		return sum/int64(len(s)) > 1e6
	}
	for i := range 60 {
		frame := func(s []int16) []int16 { return s[i*160:][:160] }
		if want := i >= 5 && i < 55 && (i-5)%10 != 9; loud(frame(left)) != want {
			t.Errorf("left, frame %d: loud is %v", i, !want)
		}
		if want := i >= 10; loud(frame(right)) != want {
			t.Errorf("right, frame %d: loud is %v", i, !want)
		}
	}
	if res.Gaps != 0 || res.Path == "" || len(res.SHA256) != 64 || res.Seconds != 1.2 {
		t.Errorf("result %+v", res)
	}
}

func TestIDsAreNoPaths(t *testing.T) {
	p := newPool(t)
	for _, id := range []string{"", "../x", "a/b", "a.wav", "-x", "..", "a\x00", "日"} {
		if _, err := p.Start(id); err == nil {
			t.Errorf("id %q was taken", id)
		}
	}
	for _, path := range []string{"../x.wav", "/etc/passwd"} {
		if f, err := p.Open(path); err == nil {
			f.Close()
			t.Errorf("%q was opened", path)
		}
	}
}

// dataBytes reads the head of one of our files and returns the size it states.
func dataBytes(r io.Reader) (int64, error) {
	b := make([]byte, headerBytes)
	if _, err := io.ReadFull(r, b); err != nil {
		return 0, err
	}
	n := int64(binary.LittleEndian.Uint32(b[headerBytes-4:]))
	// Everything but the three sizes is constant.
	if want := header(n); string(want) != string(b) {
		return 0, errors.New("not a stereo A-law recording")
	}
	return n, nil
}
