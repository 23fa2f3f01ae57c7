// Package simload puts a server under load from its peers' side and measures what they
// see: presses at a fixed rate whether or not the server keeps up, calls, idle
// connections; from the first byte to the answer and to the operator's screen.
package simload

import (
	"fmt"
	"math/bits"
	"strings"
	"sync"
	"time"
)

// Hist is a histogram of durations with 32 steps to the octave: 3 % exact at any size.
// The zero value is ready, and safe for concurrent use.
type Hist struct {
	mu    sync.Mutex
	steps [64 * subSteps]int64 // guarded by mu, as all below
	n     int64
	sum   time.Duration
	max   time.Duration
}

const subSteps = 32

func step(d time.Duration) int {
	us := uint64(max(0, d.Microseconds()))
	if us < subSteps {
		return int(us)
	}
	octave := bits.Len64(us) - 6 // us>>octave is 32 to 63
	return (octave+1)*subSteps + int(us>>octave) - subSteps
}

// upper is the largest duration of a step.
func upper(i int) time.Duration {
	if i < subSteps {
		return time.Duration(i) * time.Microsecond
	}
	octave, rest := i/subSteps-1, uint64(i%subSteps+subSteps)
	return time.Duration((rest+1)<<octave-1) * time.Microsecond
}

// Add counts one.
func (h *Hist) Add(d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.steps[step(d)]++
	h.n++
	h.sum += d
	h.max = max(h.max, d)
}

// Count is how many there are.
func (h *Hist) Count() int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.n
}

// Max is the longest.
func (h *Hist) Max() time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.max
}

// Quantile is the duration that the share q does not exceed.
func (h *Hist) Quantile(q float64) time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.n == 0 {
		return 0
	}
	want, seen := int64(q*float64(h.n)+0.999999), int64(0)
	for i, n := range h.steps {
		if seen += n; seen >= max(1, want) {
			return min(upper(i), h.max)
		}
	}
	return h.max
}

func (h *Hist) String() string {
	if h.Count() == 0 {
		return "none"
	}
	round := func(q float64) string { return short(h.Quantile(q)) }
	return fmt.Sprintf("p50 %s  p90 %s  p99 %s  p99.9 %s  max %s  n %d", round(0.5), round(0.9), round(0.99), round(0.999), short(h.Max()), h.Count())
}

func short(d time.Duration) string {
	switch {
	case d < 10*time.Millisecond:
		return fmt.Sprintf("%.2f ms", d.Seconds()*1000)
	case d < time.Second:
		return fmt.Sprintf("%.0f ms", d.Seconds()*1000)
	}
	return fmt.Sprintf("%.2f s", d.Seconds())
}

// Bars draws the histogram by octaves: one line each with its share.
func (h *Hist) Bars(indent string) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.n == 0 {
		return ""
	}
	var lines []string
	octaves := len(h.steps) / subSteps
	first, last := octaves, 0
	counts := make([]int64, octaves)
	for i, n := range h.steps {
		if n > 0 {
			o := i / subSteps
			counts[o] += n
			first, last = min(first, o), max(last, o)
		}
	}
	for o := first; o <= last; o++ {
		share := float64(counts[o]) / float64(h.n)
		lines = append(lines, fmt.Sprintf("%s≤ %9s %6.2f %% %s", indent, short(upper(o*subSteps+subSteps-1)), share*100, strings.Repeat("█", int(share*50+0.5))))
	}
	return strings.Join(lines, "\n") + "\n"
}
