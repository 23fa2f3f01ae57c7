package sip

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/emiago/sipgo/sip"
	"go.uber.org/zap"
)

// sipgo keeps its timers, its largest datagram and its logger as globals of the
// process (T29): they are set once, by the first server.
var globals sync.Once

func setGlobals(t1 time.Duration, log *zap.Logger) {
	globals.Do(func() {
		// 1,300 bytes is a rule for requests (RFC 3261 18.1.1); sipgo refuses
		// responses too, so a long Via list would get no answer at all (T16).
		sip.UDPMTUSize = 65535
		sip.SetTimers(t1, 8*t1, 10*t1)
		sip.Timer_D = 64 * t1
		// A leg says 100 itself; sipgo's would be a second one on a busy machine. It
		// stays for an INVITE whose caller takes long to be told.
		sip.Timer_1xx = 2 * time.Second
		sip.SetDefaultLogger(slog.New(&sampler{log: log.Named("sipgo")}))
	})
}

// sampler hands sipgo's log to ours: warnings and errors only, ten a second, cut
// to 200 bytes, digits masked. sipgo writes every datagram that it cannot parse
// in full at error level (T15), which is a way to fill a disk from outside.
type sampler struct {
	log     *zap.Logger
	second  atomic.Int64
	written atomic.Int64
}

const (
	samplePerSecond = 10
	sampleBytes     = 200
)

func (s *sampler) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelWarn }

func (s *sampler) Handle(_ context.Context, r slog.Record) error {
	if now := r.Time.Unix(); s.second.Swap(now) != now {
		s.written.Store(0)
	}
	if s.written.Add(1) > samplePerSecond {
		return nil
	}
	var b strings.Builder
	b.WriteString(r.Message)
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == "caller" {
			return true
		}
		b.WriteString(" " + a.Key + "=" + a.Value.String())
		return b.Len() < sampleBytes
	})
	// A peer's garbage is a peer that misbehaves: a warning, whatever sipgo says.
	s.log.Warn(maskText(b.String(), sampleBytes))
	return nil
}

func (s *sampler) WithAttrs([]slog.Attr) slog.Handler { return s }
func (s *sampler) WithGroup(string) slog.Handler      { return s }

// maskText cuts s and hides the middle of every run of five digits or more, so
// that no telephone number reaches a log.
func maskText(s string, limit int) string {
	if len(s) > limit {
		s = s[:limit]
	}
	out := []byte(s)
	for i := 0; i < len(out); {
		j := i
		for j < len(out) && out[j] >= '0' && out[j] <= '9' {
			j++
		}
		if j-i >= 5 {
			for k := i + 2; k < j-2; k++ {
				out[k] = '*'
			}
		}
		if j == i {
			if out[i] < ' ' || out[i] > '~' {
				out[i] = '.'
			}
			j++
		}
		i = j
	}
	return string(out)
}
