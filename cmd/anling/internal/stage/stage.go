// Package stage starts what runs in order and ends it in reverse.
package stage

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"
)

// Runner is something that runs until its context ends.
type Runner struct {
	Name string
	Run  func(ctx context.Context) error
}

// Stage is what starts together and ends together.
type Stage struct {
	Name    string
	Runners []Runner
	Grace   time.Duration // time it has to end, 10 s by default
}

// ErrStuck says that a stage did not end within its grace.
var ErrStuck = errors.New("did not end in time")

type ended struct {
	name string
	err  error
}

type running struct {
	Stage
	cancel context.CancelFunc
	done   chan ended
}

// Run starts the stages one after another and waits. When ctx ends, or anything
// that runs returns before that, the stages end in reverse order, each wholly
// before the one it stands on. The error is that of the runner that ended first.
func Run(ctx context.Context, log *zap.Logger, stages ...Stage) error {
	first := make(chan ended, 1)
	var up []*running
	for _, s := range stages {
		up = append(up, start(ctx, s, first))
	}
	var errs []error
	select {
	case <-ctx.Done():
	case e := <-first:
		if e.err == nil {
			e.err = errors.New("ended by itself")
		}
		errs = append(errs, fmt.Errorf("%s: %w", e.name, e.err))
		log.Error("a part of the server ended", zap.String("part", e.name), zap.Error(e.err))
	}
	for i := len(up) - 1; i >= 0; i-- {
		errs = append(errs, up[i].stop(log)...)
	}
	return errors.Join(errs...)
}

// start runs a stage. Its context does not end with ctx: stop ends it in its turn.
func start(ctx context.Context, s Stage, first chan<- ended) *running {
	inner, cancel := context.WithCancel(context.WithoutCancel(ctx))
	r := &running{Stage: s, cancel: cancel, done: make(chan ended, len(s.Runners))}
	for _, runner := range s.Runners {
		go func() {
			e := ended{name: s.Name + "/" + runner.Name, err: runner.Run(inner)}
			if inner.Err() == nil {
				select {
				case first <- e:
				default:
				}
				e.err = nil // told already
			}
			r.done <- e
		}()
	}
	return r
}

func (r *running) stop(log *zap.Logger) []error {
	r.cancel()
	grace := r.Grace
	if grace <= 0 {
		grace = 10 * time.Second
	}
	limit := time.NewTimer(grace)
	defer limit.Stop()
	var errs []error
	for range r.Runners {
		select {
		case e := <-r.done:
			if e.err != nil && !errors.Is(e.err, context.Canceled) {
				errs = append(errs, fmt.Errorf("%s: %w", e.name, e.err))
			}
		case <-limit.C:
			log.Error("a part of the server does not end", zap.String("stage", r.Name))
			return append(errs, fmt.Errorf("%s: %w", r.Name, ErrStuck))
		}
	}
	return errs
}
