package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"sync"
	"time"

	"anling/event"
)

// narrator prints the demo's timeline as it happens. Facts are handed over without
// waiting; one goroutine writes.
type narrator struct {
	w    io.Writer
	zone *time.Location
	in   chan line
	mu   sync.Mutex
	from time.Time                    // guarded by mu: zero of the clock that is shown
	on   bool                         // guarded by mu: facts are printed
	wait map[event.Type]chan struct{} // guarded by mu: closed by the next fact of the type
}

// line is something to print; flush answers when all before it is printed.
type line struct {
	text  string
	flush chan struct{}
}

func newNarrator(w io.Writer, zone *time.Location) *narrator {
	return &narrator{w: w, zone: zone, in: make(chan line, 1024), wait: map[event.Type]chan struct{}{}}
}

func (n *narrator) run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case l := <-n.in:
			if l.flush != nil {
				close(l.flush)
				continue
			}
			if _, err := fmt.Fprintln(n.w, l.text); err != nil {
				return fmt.Errorf("print the timeline: %w", err)
			}
		}
	}
}

func (n *narrator) put(text string) {
	select {
	case n.in <- line{text: text}:
	default: // nobody reads that fast; the timeline is in the incident
	}
}

func (n *narrator) say(format string, args ...any) { n.put(fmt.Sprintf(format, args...)) }

func (n *narrator) title(text string) { n.say("\n%s", text) }

// start sets the clock to zero and prints facts from here on.
func (n *narrator) start() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.from, n.on = time.Now(), true
}

// drain prints what is there and stops printing facts.
func (n *narrator) drain() {
	n.mu.Lock()
	n.on = false
	n.mu.Unlock()
	done := make(chan struct{})
	select {
	case n.in <- line{flush: done}:
		select {
		case <-done:
		case <-time.After(time.Second):
		}
	case <-time.After(time.Second):
	}
}

// await is closed by the next fact of a type.
func (n *narrator) await(t event.Type) <-chan struct{} {
	n.mu.Lock()
	defer n.mu.Unlock()
	c := make(chan struct{})
	n.wait[t] = c
	return c
}

func (n *narrator) note(format string, args ...any) {
	n.mu.Lock()
	from := n.from
	n.mu.Unlock()
	now := time.Now()
	n.say("%s  %+8.3f s  %s", now.In(n.zone).Format("15:04:05"), now.Sub(from).Seconds(), fmt.Sprintf(format, args...))
}

// committed is the store's hook.
func (n *narrator) committed(events []event.Event) {
	n.mu.Lock()
	from, on := n.from, n.on
	for _, e := range events {
		if c := n.wait[e.Type]; c != nil {
			defer close(c) // when it has been printed
			delete(n.wait, e.Type)
		}
	}
	n.mu.Unlock()
	if !on {
		return
	}
	now := time.Now()
	for _, e := range events {
		words, told := told[e.Type]
		if !told {
			continue
		}
		n.say("%s  %+8.3f s  %-26s %s%s", now.In(n.zone).Format("15:04:05"), now.Sub(from).Seconds(), words, e.Type, detail(e))
	}
}

// detail is what a body says besides its status.
func detail(e event.Event) string {
	var b struct {
		Kinds   []string `json:"kinds"`
		No      string   `json:"no"`
		Offers  int      `json:"offers"`
		ETASec  int      `json:"eta_sec"`
		Outcome string   `json:"outcome"`
		Result  string   `json:"result"`
		What    string   `json:"what"`
	}
	if err := json.Unmarshal(e.Body, &b); err != nil {
		return ""
	}
	s := ""
	add := func(format string, v any) { s += "  " + fmt.Sprintf(format, v) }
	if b.No != "" {
		add("no %s", b.No)
	}
	if len(b.Kinds) > 0 {
		add("%v", b.Kinds)
	}
	if b.Offers > 0 {
		add("%d offers", b.Offers)
	}
	if b.ETASec > 0 {
		add("ETA %s", time.Duration(b.ETASec)*time.Second)
	}
	if b.What != "" {
		add("%s", b.What)
	}
	if b.Result != "" {
		add("%s", b.Result)
	}
	if b.Outcome != "" {
		add("%s", b.Outcome)
	}
	return s
}

// told are the facts that the demo tells, in the field's words.
var told = map[event.Type]string{
	"sos.alarm.received":              "收到报警",
	"dispatch.incident.opened":        "事件立案",
	"dispatch.incident.joined":        "并入事件",
	"dispatch.incident.ringing":       "接线员振铃",
	"dispatch.incident.answered":      "接线员接手",
	"dispatch.incident.dispatching":   "开始派遣",
	"dispatch.incident.attending":     "有人前往",
	"dispatch.incident.escalated":     "升级",
	"dispatch.incident.call_attached": "通话并入事件",
	"dispatch.incident.noted":         "记录",
	"dispatch.incident.resolved":      "已平安",
	"dispatch.incident.closed":        "结案",
	"dispatch.assignment.offered":     "发出邀约",
	"dispatch.assignment.accepted":    "接单",
	"dispatch.assignment.en_route":    "出发",
	"dispatch.assignment.on_scene":    "到场",
	"dispatch.assignment.done":        "完成",
	"dispatch.offer.declined":         "拒绝",
	"callcenter.call.received":        "来电",
	"callcenter.call.matched":         "来电对应事件",
	"callcenter.call.queued":          "排队",
	"callcenter.call.offered":         "话机振铃",
	"callcenter.call.answered":        "接线员接听",
	"callcenter.call.bridged":         "接通",
	"callcenter.call.ended":           "通话结束",
	"callcenter.recording.saved":      "录音保存",
	"callcenter.callback.opened":      "需回拨",
	"dispatch.task.opened":            "待办",
}
