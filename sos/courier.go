package sos

import (
	"context"
	"slices"
	"time"

	"go.uber.org/zap"

	"anling/care"
)

// Alarm hands an alarm over. ack leaves after an incident stands for it, in the
// order of the alarms; until then it does not, whatever happens. The reader is not
// held up: a heartbeat behind the alarm is answered while the store is slow.
//
// A repeat of an alarm that waits is answered together with it. Beyond the device's
// rate, and when too many wait, alarms are joined: the sets are united, none is
// dropped.
func (c *Conn) Alarm(ctx context.Context, a care.Alarm, ack []byte) {
	allowed := c.Allow()
	c.queue.Lock()
	defer c.queue.Unlock()
	if p := c.companion(a, allowed); p != nil {
		p.join(a, ack)
		c.Limited("alarm_joined")
		return
	}
	c.held = append(c.held, &parcel{alarm: a, acks: [][]byte{ack}, at: time.Now()})
	if !c.busy {
		c.busy = true
		c.door.workers.Go(func() { c.settle(context.WithoutCancel(ctx)) })
	}
}

// companion is the waiting alarm that this one is joined to; queue is held.
func (c *Conn) companion(a care.Alarm, allowed bool) *parcel {
	for _, p := range c.held {
		if p.alarm.SourceEventID == a.SourceEventID {
			return p
		}
		if !allowed && p.alarm.ClaimedID == a.ClaimedID && slices.Equal(p.alarm.Kinds, a.Kinds) {
			return p
		}
	}
	if len(c.held) >= maxQueue {
		return c.held[len(c.held)-1]
	}
	return nil
}

// join unites another alarm with the one that waits.
func (p *parcel) join(a care.Alarm, ack []byte) {
	if len(p.acks) < maxAcks {
		p.acks = append(p.acks, ack)
	}
	if p.alarm.SourceEventID == a.SourceEventID {
		return
	}
	p.merged++
	// Sets are shared with nobody: the union is a new slice.
	p.alarm.Kinds = Union(p.alarm.Kinds, a.Kinds)
	p.alarm.Levels = slices.DeleteFunc(slices.Clone(p.alarm.Kinds), func(k care.Kind) bool {
		return !slices.Contains(p.alarm.Levels, k) && !slices.Contains(a.Levels, k) || edge(p.alarm, k) || edge(a, k)
	})
	if p.merged == 1 {
		p.alarm.Reasons = append(slices.Clone(p.alarm.Reasons), "joined beyond the rate of one device")
	}
	if p.alarm.Position == nil {
		p.alarm.Position = a.Position
	}
}

// edge reports whether an alarm says k as something that happened, not as a state.
func edge(a care.Alarm, k care.Kind) bool {
	return slices.Contains(a.Kinds, k) && !slices.Contains(a.Levels, k)
}

// Union is the set of both, most urgent first and SOS before all.
func Union(a, b []care.Kind) []care.Kind {
	all := slices.Clone(a)
	for _, k := range b {
		if !slices.Contains(all, k) {
			all = append(all, k)
		}
	}
	slices.SortStableFunc(all, func(x, y care.Kind) int { return rank(x) - rank(y) })
	return all
}

func rank(k care.Kind) int {
	if k == care.KindSOS {
		return 0
	}
	return int(care.PriorityOf(k))
}

// settle receives the waiting alarms one after the other and ends with the last.
func (c *Conn) settle(ctx context.Context) {
	for {
		c.queue.Lock()
		if len(c.held) == 0 {
			c.held, c.busy = nil, false
			c.queue.Unlock()
			return
		}
		p := c.held[0]
		c.held = c.held[1:]
		c.queue.Unlock()
		c.deliver(ctx, p)
	}
}

// deliver answers the device if, and only if, the incident stands.
func (c *Conn) deliver(ctx context.Context, p *parcel) {
	d := c.door
	ctx, cancel := context.WithTimeout(ctx, d.limits.Commit)
	defer cancel()
	opened, err := d.receiver.Receive(ctx, p.alarm)
	if err != nil {
		d.metrics.alarms.WithLabelValues(d.protocol, "unanswered").Inc()
		d.log.Error("an alarm is not stored and not answered", zap.String("protocol", d.protocol), zap.String("remote", c.Remote()), zap.Error(err))
		return
	}
	result := "opened"
	switch {
	case opened.Repeat:
		result = "repeat"
	case opened.Joined:
		result = "joined"
	}
	d.metrics.alarms.WithLabelValues(d.protocol, result).Inc()
	for _, ack := range p.acks {
		c.Send(ack)
	}
	d.metrics.answer.WithLabelValues(d.protocol).Observe(time.Since(p.at).Seconds())
}
