package sip

import (
	"fmt"
	"strings"
)

// Health is "ok", or "degraded" with the carriers that do not answer: calls still
// come in from them when they can, and outbound ones go to the others.
func (s *Server) Health() (state, detail string) {
	var silent []string
	for _, t := range s.trunks {
		if t.silent() {
			silent = append(silent, t.Name)
		}
	}
	if len(silent) > 0 {
		return "degraded", fmt.Sprintf("carriers do not answer: %s", strings.Join(silent, ", "))
	}
	return "ok", ""
}

// silent tells whether the carrier was asked and has not answered.
func (t *trunk) silent() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.Target != "" && t.misses > 0 && !t.answers
}
