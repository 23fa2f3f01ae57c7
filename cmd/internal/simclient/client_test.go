package simclient_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"anling/cmd/internal/simclient"
	"anling/cmd/internal/simfake"
)

func limit(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func signIn(t *testing.T, s *simfake.Server, name string) *simclient.Client {
	t.Helper()
	c, err := simclient.New(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	if err := c.Login(limit(t), name, simfake.Password); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestRefusalsAreTold(t *testing.T) {
	s := simfake.New(t)
	c, err := simclient.New(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Login(limit(t), "admin", "wrong"); !simclient.Refused(err, "unauthorized") || !strings.Contains(err.Error(), "401") {
		t.Errorf("login: %v", err)
	}
	if err := c.Get(limit(t), "/incidents", nil); !simclient.Refused(err, "unauthorized") {
		t.Errorf("without session: %v", err)
	}
	c = signIn(t, s, "admin")
	if err := c.PostKey(limit(t), "/operators/me/state", "k", map[string]string{"state": "ready"}, nil); err != nil {
		t.Error(err)
	}
	if err := c.PostKey(limit(t), "/operators/me/state", "k", map[string]string{"state": "ready"}, nil); !simclient.Refused(err, "key_reused") {
		t.Errorf("same key: %v", err)
	}
	if _, err := simclient.New("localhost:8080"); err == nil {
		t.Error("an address without scheme is taken")
	}
}

func TestAlarmsPageByPage(t *testing.T) {
	s := simfake.New(t)
	at := time.Unix(1_800_000_000, 0).UTC()
	for n := range 5 {
		s.Alarms = append(s.Alarms, simfake.AlarmOf(n, "gt06", "860000000000012", "i1", at))
	}
	c := signIn(t, s, "admin")
	var ids []string
	next, err := c.Alarms(limit(t), "", func(page []simclient.Alarm) {
		for _, a := range page {
			ids = append(ids, a.ID)
		}
	})
	if err != nil || next != "5" || !slices.Equal(ids, []string{"al0", "al1", "al2", "al3", "al4"}) {
		t.Errorf("%v, next %s, %v", ids, next, err)
	}
}

func TestLiveChannelResumesWithoutGapOrRepeat(t *testing.T) {
	s := simfake.New(t)
	c := signIn(t, s, "operator1")
	ctx, cancel := context.WithCancel(limit(t))
	var mu sync.Mutex
	var heard []string
	snaps, ups := 0, 0
	changed := make(chan struct{}, 100)
	var wg sync.WaitGroup
	wg.Go(func() {
		err := c.Follow(ctx, simclient.Follower{Views: []string{"desk"}, Again: time.Millisecond,
			Event: func(e simclient.Event) {
				mu.Lock()
				heard = append(heard, e.AggID)
				mu.Unlock()
				changed <- struct{}{}
			},
			Snap: func(map[string]json.RawMessage) { snaps++ },
			Line: func(up bool, _ error) {
				if up {
					mu.Lock()
					ups++
					mu.Unlock()
					changed <- struct{}{}
				}
			}})
		if err != nil {
			t.Error(err)
		}
	})
	await := func() {
		select {
		case <-changed:
		case <-ctx.Done():
			t.Fatal(ctx.Err())
		}
	}
	await()
	var want []string
	for n := range 9 {
		id := fmt.Sprint(n)
		s.Say("dispatch.incident.opened", "incident", id, nil)
		want = append(want, id)
		for n%3 == 2 { // the line breaks, and comes back
			mu.Lock()
			up := ups
			mu.Unlock()
			if up == 2+n/3 {
				break
			}
			if up == 1+n/3 {
				s.Break()
			}
			await()
		}
	}
	for {
		mu.Lock()
		got := slices.Clone(heard)
		mu.Unlock()
		if len(got) >= len(want) {
			if !slices.Equal(got, want) {
				t.Errorf("heard %v", got)
			}
			break
		}
		await()
	}
	cancel()
	wg.Wait()
	if snaps != 1 || ups != 4 {
		t.Errorf("%d snapshots, connected %d times", snaps, ups)
	}
}
