package main

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap/zaptest"
)

func TestNightlyBackup(t *testing.T) {
	zone, err := time.LoadLocation("Asia/Shanghai")
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) { // begins at 2000-01-01 00:00 UTC: 08:00 in Shanghai
		var ran []string
		fail := true
		n := newNightly("03:30", zone, t.TempDir(), 3, func(context.Context, string) (string, error) {
			ran = append(ran, time.Now().In(zone).Format("02 15:04"))
			if fail {
				fail = false
				return "", errors.New("disk full")
			}
			return "x", nil
		}, zaptest.NewLogger(t), prometheus.NewRegistry())
		ctx, cancel := context.WithTimeout(t.Context(), 44*time.Hour)
		defer cancel()
		if err := n.Run(ctx); err != nil {
			t.Fatal(err)
		}
		if want := []string{"02 03:30", "02 04:30", "03 03:30"}; !slices.Equal(ran, want) {
			t.Errorf("ran at %v, want %v", ran, want)
		}
	})
}
