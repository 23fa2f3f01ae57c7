package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
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

func TestNewestCopyIsKnownAfterARestart(t *testing.T) {
	dir := t.TempDir()
	at := time.Date(2026, 3, 1, 3, 30, 0, 0, time.UTC)
	for i, name := range []string{"anling-20260228-193000.db", "anling-20260301-193000.db", "notes.txt"} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, at, at.AddDate(0, 0, i)); err != nil {
			t.Fatal(err)
		}
	}
	for where, want := range map[string]float64{dir: float64(at.AddDate(0, 0, 1).Unix()), filepath.Join(dir, "none"): 0} {
		reg := prometheus.NewRegistry()
		newNightly("", time.UTC, where, 3, nil, zaptest.NewLogger(t), reg)
		all, err := reg.Gather()
		if err != nil || len(all) != 1 {
			t.Fatalf("%d metrics, %v", len(all), err)
		}
		if got := all[0].GetMetric()[0].GetGauge().GetValue(); got != want {
			t.Errorf("%s: %v, want %v", where, got, want)
		}
	}
}
