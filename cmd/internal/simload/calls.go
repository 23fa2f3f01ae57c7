package simload

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"sync"
	"time"

	"go.uber.org/zap"

	"anling/cmd/internal/simphone"
)

// Tones of the two sides: each must hear the other's.
const (
	CallerTone   = 440
	OperatorTone = 1000
)

// Calls is a load of calls to the hotline, by a trunk.
type Calls struct {
	Server   string   // SIP address
	Network  string   // udp or tcp
	Listen   string   // the trunk's own address; the server must know it as a peer
	Hotline  string   // number called
	Numbers  []string // callers' numbers, in turn
	Rate     float64  // calls a second
	For      time.Duration
	Talk     time.Duration // a call lasts so long once answered
	Patience time.Duration // the caller leaves when no operator is heard; 0: waits as long as Talk
	Phones   []PhoneAccount
	Answer   time.Duration // an operator's phone rings so long
	MaxCalls int           // at the same time, 500 by default
	Seed     uint64
	Log      *zap.Logger
}

// PhoneAccount is an operator's telephone.
type PhoneAccount struct{ Account, Password string }

// CallsResult is what callers and operators saw.
type CallsResult struct {
	Placed, Answered  int
	Greeted           int            // heard something
	Joined            int            // heard the operator's tone
	OperatorHeard     int            // calls in which an operator's phone heard the caller's tone
	Skipped           int            // not placed: too many at once
	Failed            map[string]int // by cause
	Packets, Lost     int            // RTP received by the callers, and missing
	Setup             *Hist          // INVITE to 200
	Greeting          *Hist          // 200 to the first sound
	Join              *Hist          // INVITE to the operator's voice
	RegistrationFails int
}

// Run registers the phones and places the calls.
func (l Calls) Run(ctx context.Context) (CallsResult, error) {
	r := &callsRun{Calls: l, res: CallsResult{Failed: map[string]int{}, Setup: &Hist{}, Greeting: &Hist{}, Join: &Hist{}}}
	switch {
	case l.Rate <= 0 || l.For <= 0:
		return r.res, errors.New("a load of calls needs a rate and a time")
	case len(l.Numbers) == 0:
		return r.res, errors.New("a load of calls needs callers' numbers")
	}
	if r.MaxCalls <= 0 {
		r.MaxCalls = 500
	}
	if r.Talk <= 0 {
		r.Talk = 5 * time.Second
	}
	if r.Patience <= 0 {
		r.Patience = r.Talk
	}
	running, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	if err := r.phones(running, &wg); err != nil {
		return r.res, err
	}
	trunk, err := simphone.New(simphone.Options{Network: l.Network, Listen: l.Listen, Server: l.Server, Account: "trunk", Tone: CallerTone, Log: l.Log})
	if err != nil {
		return r.res, err
	}
	wg.Go(func() { _ = trunk.Run(running) }) // ends without error
	r.place(ctx, trunk)
	r.mu.Lock()
	defer r.mu.Unlock()
	res := r.res
	res.Failed = maps.Clone(res.Failed)
	return res, nil
}

type callsRun struct {
	Calls
	mu  sync.Mutex
	res CallsResult // guarded by mu
}

// phones registers the operators' telephones and lets them answer.
func (r *callsRun) phones(ctx context.Context, wg *sync.WaitGroup) error {
	for _, a := range r.Phones {
		p, err := simphone.New(simphone.Options{Network: r.Network, Server: r.Server, Account: a.Account, Password: a.Password, Register: true, Tone: OperatorTone,
			Answer: simphone.Answer{Ring: r.Answer}, Log: r.Log, OnCall: func(c *simphone.Call) {
				wg.Go(func() { r.listen(ctx, c) })
			}})
		if err != nil {
			return err
		}
		wg.Go(func() { _ = p.Run(ctx) }) // ends without error
		limit, cancel := context.WithTimeout(ctx, 10*time.Second)
		err = p.WaitRegistered(limit)
		cancel()
		if err != nil {
			return err
		}
	}
	return nil
}

// listen notes whether an operator hears the caller.
func (r *callsRun) listen(ctx context.Context, c *simphone.Call) {
	if c.Wait(ctx, simphone.Answered) != nil || c.Audio().WaitTone(ctx, CallerTone) != nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.res.OperatorHeard++
}

func (r *callsRun) place(ctx context.Context, trunk *simphone.Phone) {
	random := rand.New(rand.NewPCG(r.Seed, 5))
	var calls sync.WaitGroup
	defer calls.Wait()
	slots := make(chan struct{}, r.MaxCalls)
	began := time.Now()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for i := range int(r.Rate * r.For.Seconds()) {
		timer.Reset(time.Until(began.Add(time.Duration(float64(i) / r.Rate * float64(time.Second)))))
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		select {
		case slots <- struct{}{}:
		default:
			r.count(func(c *CallsResult) { c.Skipped++ })
			continue
		}
		number := r.Numbers[random.IntN(len(r.Numbers))]
		calls.Go(func() {
			defer func() { <-slots }()
			r.one(ctx, trunk, number)
		})
	}
}

func (r *callsRun) count(f func(*CallsResult)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f(&r.res)
}

// one is a call from beginning to end.
func (r *callsRun) one(ctx context.Context, trunk *simphone.Phone, number string) {
	began := time.Now()
	c, err := trunk.Call(r.Hotline, simphone.CallOptions{From: number})
	if err != nil {
		r.count(func(x *CallsResult) { x.Failed[err.Error()]++ })
		return
	}
	r.count(func(x *CallsResult) { x.Placed++ })
	limit, cancel := context.WithTimeout(ctx, 40*time.Second)
	defer cancel()
	if err := c.Wait(limit, simphone.Answered); err != nil {
		code, reason, _ := c.Result()
		r.count(func(x *CallsResult) {
			if c.State() == simphone.Ended {
				x.Failed[fmt.Sprintf("%d %s", code, reason)]++
			} else {
				x.Failed["not answered"]++
			}
		})
		c.Hangup()
		return
	}
	answered := time.Now()
	r.res.Setup.Add(answered.Sub(began))
	r.count(func(x *CallsResult) { x.Answered++ })
	r.converse(limit, c, began, answered)
	c.Hangup()
	select {
	case <-c.Done():
	case <-limit.Done():
	}
	s := c.Audio().Stats()
	r.count(func(x *CallsResult) { x.Packets += s.Received; x.Lost += s.Lost })
}

func (r *callsRun) converse(ctx context.Context, c *simphone.Call, began, answered time.Time) {
	waiting, cancel := context.WithTimeout(ctx, r.Patience)
	defer cancel()
	if c.Audio().WaitSound(waiting) == nil {
		r.res.Greeting.Add(time.Since(answered))
		r.count(func(x *CallsResult) { x.Greeted++ })
	}
	if len(r.Phones) > 0 && c.Audio().WaitTone(waiting, OperatorTone) == nil {
		r.res.Join.Add(time.Since(began))
		r.count(func(x *CallsResult) { x.Joined++ })
	}
	talk := time.NewTimer(max(0, r.Talk-time.Since(answered)))
	defer talk.Stop()
	select {
	case <-talk.C:
	case <-c.Done():
		if code, reason, byPeer := c.Result(); !byPeer {
			r.count(func(x *CallsResult) { x.Failed[fmt.Sprintf("broke off: %d %s", code, reason)]++ })
		}
	case <-ctx.Done():
	}
}
