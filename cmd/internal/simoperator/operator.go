// Package simoperator is an operator at the desk: takes incidents, writes a note,
// sends somebody when nobody is on the way, and resolves and closes when the
// responder is done.
package simoperator

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"sync"
	"time"

	"go.uber.org/zap"

	"anling/cmd/internal/simclient"
)

// Options of an Operator. Server, Name and Password are needed.
type Options struct {
	Server   string
	Name     string
	Password string
	Think    time.Duration // before each step
	Poll     time.Duration // the list is read so often besides the live channel, 2 s by default
	Watch    bool          // only listens: takes nothing, is not ready for calls
	Calls    bool          // is ready for calls, and takes no incidents by itself
	OnEvent  func(simclient.Event)
	OnStep   func(Step) // must not block
	Log      *zap.Logger
}

// Step is something the operator did.
type Step struct {
	What       string // took, noted, dispatched, resolved, closed
	IncidentID string
	At         time.Time
}

// sendAgain is how long a search that found nobody is left alone.
const sendAgain = 15 * time.Second

// Operator is one of them. Run does all.
type Operator struct {
	opts   Options
	client *simclient.Client
	wake   chan struct{}
	ready  chan struct{}
	log    *zap.Logger
	noted  map[string]bool
	sent   map[string]time.Time // when somebody was sent for, by incident

	mu     sync.Mutex
	counts map[string]int // guarded by mu
}

// New makes an operator.
func New(o Options) (*Operator, error) {
	if o.Poll <= 0 {
		o.Poll = 2 * time.Second
	}
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	c, err := simclient.New(o.Server)
	if err != nil {
		return nil, err
	}
	return &Operator{opts: o, client: c, wake: make(chan struct{}, 1), ready: make(chan struct{}), noted: map[string]bool{}, sent: map[string]time.Time{}, counts: map[string]int{}, log: o.Log}, nil
}

// Client is the signed-in client, for more than the operator does by itself; valid
// after WaitReady.
func (p *Operator) Client() *simclient.Client { return p.client }

// WaitReady waits until it is signed in, ready and listening.
func (p *Operator) WaitReady(ctx context.Context) error {
	select {
	case <-p.ready:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("operator %s is not ready: %w", p.opts.Name, ctx.Err())
	}
}

// Counts are the steps and errors so far.
func (p *Operator) Counts() map[string]int {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := map[string]int{}
	for k, n := range p.counts {
		c[k] = n
	}
	return c
}

func (p *Operator) count(what string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.counts[what]++
}

func (p *Operator) step(what, incident string) {
	p.count(what)
	if p.opts.OnStep != nil {
		p.opts.OnStep(Step{What: what, IncidentID: incident, At: time.Now()})
	}
}

func (p *Operator) fault(what string, err error) {
	var refused *simclient.Refusal
	if errors.As(err, &refused) {
		what += ": " + refused.Code
	}
	p.count("error: " + what)
	p.log.Warn(what, zap.String("name", p.opts.Name), zap.Error(err))
}

// Run signs in, becomes ready and works until ctx ends, then goes offline.
func (p *Operator) Run(ctx context.Context) error {
	defer p.client.Close()
	if err := p.client.Login(ctx, p.opts.Name, p.opts.Password); err != nil {
		return err
	}
	if !p.opts.Watch {
		if err := p.state(ctx, "ready"); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	var line sync.WaitGroup
	defer line.Wait()
	defer cancel()
	var once sync.Once
	line.Go(func() {
		err := p.client.Follow(ctx, simclient.Follower{Views: []string{"desk"},
			Event: func(e simclient.Event) {
				if p.opts.OnEvent != nil {
					p.opts.OnEvent(e)
				}
				p.poke()
			},
			Line: func(up bool, _ error) {
				if up {
					once.Do(func() { close(p.ready) })
					p.poke()
				}
			}})
		if err != nil {
			p.fault("live channel", err)
		}
	})
	poll := time.NewTicker(p.opts.Poll)
	defer poll.Stop()
	for {
		select {
		case <-ctx.Done():
			if p.opts.Watch {
				return nil
			}
			off, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
			defer cancel()
			if err := p.state(off, "offline"); err != nil {
				p.fault("offline", err)
			}
			return nil
		case <-p.wake:
		case <-poll.C:
		}
		if p.opts.Watch || p.opts.Calls {
			continue
		}
		if err := p.work(ctx); err != nil && ctx.Err() == nil {
			p.fault("incidents", err)
		}
	}
}

func (p *Operator) poke() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

func (p *Operator) state(ctx context.Context, state string) error {
	return p.client.Post(ctx, "/operators/me/state", map[string]string{"state": state, "reason": "shift"}, nil)
}

// work moves every open incident that is free or ours on by what it lacks.
func (p *Operator) work(ctx context.Context) error {
	var list simclient.Items[simclient.Incident]
	if err := p.client.Get(ctx, "/incidents?status=open&limit=200", &list); err != nil {
		return err
	}
	for _, i := range list.Items {
		if i.Owner != "" && i.Owner != p.client.Me.ID {
			continue
		}
		if err := p.advance(ctx, i); err != nil && !simclient.Refused(err, "taken", "transition") {
			return err
		}
	}
	return nil
}

func (p *Operator) advance(ctx context.Context, i simclient.Incident) error {
	if i.Owner == "" {
		if !p.think(ctx) {
			return nil
		}
		if err := p.post(ctx, i, "take", map[string]any{}, &i); err != nil {
			return err
		}
		p.step("took", i.ID)
	}
	if !p.noted[i.ID] && i.Status != "resolved" {
		if len(p.noted) > 10_000 {
			clear(p.noted)
		}
		p.noted[i.ID] = true
		if err := p.post(ctx, i, "note", map[string]any{"text": "接听：老人清醒，需要帮助"}, nil); err != nil {
			return err
		}
		p.step("noted", i.ID)
	}
	if i.Status == "resolved" {
		return p.close(ctx, i)
	}
	var list simclient.Items[simclient.Assignment]
	if err := p.client.Get(ctx, "/assignments?incident_id="+url.QueryEscape(i.ID), &list); err != nil {
		return err
	}
	done, going := false, false
	for _, a := range list.Items {
		done = done || a.Status == "done"
		// Escalated means that nobody was found: the desk has to try again.
		going = going || (a.Status != "done" && a.Status != "cancelled" && a.Status != "escalated")
	}
	switch {
	case done:
		if !p.think(ctx) {
			return nil
		}
		if err := p.post(ctx, i, "resolve", map[string]any{"claim": i.Claim, "how": "responder reports the elder safe"}, &i); err != nil {
			return err
		}
		p.step("resolved", i.ID)
		return p.close(ctx, i)
	case !going && time.Since(p.sent[i.ID]) > sendAgain:
		if len(p.sent) > 10_000 {
			clear(p.sent)
		}
		p.sent[i.ID] = time.Now()
		if !p.think(ctx) {
			return nil
		}
		if err := p.post(ctx, i, "dispatch", map[string]any{"claim": i.Claim}, nil); err != nil {
			return err
		}
		p.step("dispatched", i.ID)
	}
	return nil
}

func (p *Operator) close(ctx context.Context, i simclient.Incident) error {
	if err := p.post(ctx, i, "close", map[string]any{"claim": i.Claim, "outcome": "helped_at_home", "note": "回访：老人安好"}, nil); err != nil {
		return err
	}
	p.step("closed", i.ID)
	return nil
}

func (p *Operator) post(ctx context.Context, i simclient.Incident, what string, in, out any) error {
	return p.client.Post(ctx, "/incidents/"+url.PathEscape(i.ID)+"/"+what, in, out)
}

func (p *Operator) think(ctx context.Context) bool {
	t := time.NewTimer(p.opts.Think)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
