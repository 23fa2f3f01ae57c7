package main

import (
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

func TestAFloodIsThinnedOutAndErrorsAreNot(t *testing.T) {
	core, seen := observer.New(zapcore.InfoLevel)
	log := zap.New(sampled(core))
	for range 5000 {
		log.Info("a frame")
		log.Error("an alarm is not stored")
		log.Debug("unheard")
	}
	info, loud := seen.FilterMessage("a frame").Len(), seen.FilterMessage("an alarm is not stored").Len()
	// Sampling goes by the second; the loop may touch two of them.
	if info < sampleFirst || info > 3*sampleFirst || loud != 5000 || seen.FilterMessage("unheard").Len() != 0 {
		t.Errorf("%d infos, %d errors", info, loud)
	}
}
