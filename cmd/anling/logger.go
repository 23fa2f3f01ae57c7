package main

import (
	"fmt"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"anling/cmd/anling/internal/config"
)

// newLogger writes to standard error. Bursts of one message are sampled, so that a
// flood at a door cannot fill a disk; errors never are.
func newLogger(c config.Log) (*zap.Logger, error) {
	level, err := zapcore.ParseLevel(c.Level)
	if err != nil {
		return nil, fmt.Errorf("log level: %w", err)
	}
	zc := zap.NewProductionConfig()
	zc.Level = zap.NewAtomicLevelAt(level)
	zc.EncoderConfig.EncodeTime = zapcore.ISO8601TimeEncoder
	zc.EncoderConfig.EncodeDuration = zapcore.StringDurationEncoder
	zc.DisableStacktrace = true
	zc.Sampling = nil
	if c.Format == "console" {
		zc.Encoding = "console"
		zc.EncoderConfig.EncodeLevel = zapcore.CapitalLevelEncoder
		zc.EncoderConfig.EncodeTime = zapcore.TimeEncoderOfLayout("15:04:05.000")
	}
	return zc.Build(zap.WrapCore(func(core zapcore.Core) zapcore.Core { return sampled(core) }))
}

const (
	samplePeriod = time.Second
	sampleFirst  = 100 // lines of one message and second that are written whole
	sampleThen   = 100 // and one of so many after that
)

// sampled thins out everything below Error.
func sampled(core zapcore.Core) zapcore.Core {
	loud, err := zapcore.NewIncreaseLevelCore(core, zapcore.ErrorLevel)
	if err != nil { // the level was Error or above already
		return core
	}
	quiet := zapcore.NewSamplerWithOptions(below{core}, samplePeriod, sampleFirst, sampleThen)
	return zapcore.NewTee(loud, quiet)
}

// below passes what is less than Error.
type below struct{ zapcore.Core }

func (b below) Enabled(l zapcore.Level) bool { return l < zapcore.ErrorLevel && b.Core.Enabled(l) }

func (b below) With(fields []zapcore.Field) zapcore.Core { return below{b.Core.With(fields)} }

func (b below) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if b.Enabled(e.Level) {
		return ce.AddCore(e, b.Core)
	}
	return ce
}
