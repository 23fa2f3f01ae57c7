package simload

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"anling/cmd/internal/simclient"
	"anling/cmd/internal/simdevice"
)

// Audit is a ledger held against the server's list of alarms.
type Audit struct {
	Acknowledged int
	Found        int
	Lost         []simdevice.Entry // acknowledged, and not in the list
	Doubled      []string          // in the list more than once
	Loose        []string          // acknowledged alarms that belong to no incident
	Listed       int               // alarms that the server lists in all
	Others       int               // of them not acknowledged to us, or not ours
}

// Good tells whether every promise was kept.
func (a Audit) Good() bool { return len(a.Lost) == 0 && len(a.Doubled) == 0 && len(a.Loose) == 0 }

// CheckLedger reads the server's alarms and compares. The client must be one who may
// read the list.
func CheckLedger(ctx context.Context, c *simclient.Client, entries []simdevice.Entry) (Audit, error) {
	a := Audit{}
	acked := map[string]simdevice.Entry{}
	ours := map[string]bool{}
	for _, e := range entries {
		acked[e.Key()] = e
		ours[e.Protocol+":"+e.ID] = true
	}
	a.Acknowledged = len(acked)
	times := map[string]int{}
	_, err := c.Alarms(ctx, "", func(page []simclient.Alarm) {
		for _, alarm := range page {
			a.Listed++
			id := claimed(alarm)
			key := simdevice.Key(alarm.Protocol, id, alarm.DeviceTime)
			if !ours[alarm.Protocol+":"+id] {
				a.Others++
				continue
			}
			times[key]++
			if _, ok := acked[key]; !ok {
				a.Others++
			} else if alarm.IncidentID == "" {
				a.Loose = append(a.Loose, key)
			}
		}
	})
	if err != nil {
		return a, fmt.Errorf("list alarms: %w", err)
	}
	for key, e := range acked {
		if times[key] == 0 {
			a.Lost = append(a.Lost, e)
		} else {
			a.Found++
		}
	}
	for key, n := range times {
		if n > 1 {
			a.Doubled = append(a.Doubled, fmt.Sprintf("%s × %d", key, n))
		}
	}
	slices.SortFunc(a.Lost, func(x, y simdevice.Entry) int { return x.Acked.Compare(y.Acked) })
	slices.Sort(a.Doubled)
	slices.Sort(a.Loose)
	return a, nil
}

// claimed is the identity inside an alarm's key, "gt06:860000000000012:26:0001:…".
func claimed(a simclient.Alarm) string {
	rest, found := strings.CutPrefix(a.SourceEventID, a.Protocol+":")
	if !found {
		return ""
	}
	id, _, _ := strings.Cut(rest, ":")
	return id
}
