package stage

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap/zaptest"
)

type diary struct {
	mu    sync.Mutex
	lines []string
}

func (d *diary) note(s string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lines = append(d.lines, s)
}

func (d *diary) runner(name string, took time.Duration) Runner {
	return Runner{Name: name, Run: func(ctx context.Context) error {
		<-ctx.Done()
		time.Sleep(took)
		d.note(name)
		return nil
	}}
}

func TestStagesEndInReverse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d diary
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Minute, cancel)
		err := Run(ctx, zaptest.NewLogger(t),
			Stage{Name: "store", Runners: []Runner{d.runner("store", 0)}},
			Stage{Name: "work", Runners: []Runner{d.runner("dispatch", time.Second), d.runner("bus", 0)}},
			Stage{Name: "doors", Runners: []Runner{d.runner("web", 2*time.Second)}})
		if err != nil || !slices.Equal(d.lines, []string{"web", "bus", "dispatch", "store"}) {
			t.Errorf("ended as %v, %v", d.lines, err)
		}
	})
}

func TestAFailureEndsAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d diary
		oops := errors.New("port in use")
		err := Run(t.Context(), zaptest.NewLogger(t),
			Stage{Name: "store", Runners: []Runner{d.runner("store", 0)}},
			Stage{Name: "doors", Runners: []Runner{{"sip", func(context.Context) error { time.Sleep(time.Second); return oops }}, d.runner("web", 0)}})
		if !errors.Is(err, oops) || !strings.Contains(err.Error(), "doors/sip") || len(d.lines) != 2 {
			t.Errorf("%v; ended %v", err, d.lines)
		}
	})
}

func TestAStuckStageIsLeftBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d diary
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		release := make(chan struct{})
		err := Run(ctx, zaptest.NewLogger(t),
			Stage{Name: "store", Runners: []Runner{d.runner("store", 0)}},
			Stage{Name: "stuck", Grace: time.Second, Runners: []Runner{{"x", func(context.Context) error { <-release; return nil }}}})
		close(release)
		if !errors.Is(err, ErrStuck) || !slices.Equal(d.lines, []string{"store"}) {
			t.Errorf("%v; ended %v", err, d.lines)
		}
	})
}
