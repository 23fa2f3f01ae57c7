package main

import (
	"fmt"
	"time"

	"anling/cmd/internal/simload"
)

func title(name, about string) { fmt.Printf("\n%s — %s\n", name, about) }

func row(name, format string, args ...any) {
	fmt.Printf("  %-34s %s\n", name, fmt.Sprintf(format, args...))
}

// hist prints a histogram: its percentiles, and its shape.
func hist(name string, h *simload.Hist) {
	row(name, "%s", h)
	fmt.Print(h.Bars("      "))
}

// goal prints a goal beside what was reached.
func goal(what string, reached bool, format string, args ...any) {
	mark := "missed "
	if reached {
		mark = "reached"
	}
	fmt.Printf("  GOAL %s: %s: %s\n", mark, what, fmt.Sprintf(format, args...))
}

// goalHist is a goal about two percentiles.
func goalHist(what string, h *simload.Hist, p50, p99 time.Duration) {
	a, b := h.Quantile(0.5), h.Quantile(0.99)
	goal(fmt.Sprintf("%s p50 ≤ %s, p99 ≤ %s", what, p50, p99), h.Count() > 0 && a <= p50 && b <= p99, "p50 %.2f ms, p99 %.2f ms", ms(a), ms(b))
}

func ms(d time.Duration) float64 { return d.Seconds() * 1000 }
