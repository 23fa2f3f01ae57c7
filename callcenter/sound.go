package callcenter

import (
	"context"
	"slices"
	"time"

	"go.uber.org/zap"

	"anling/callcenter/acd"
	"anling/callcenter/leg"
	"anling/callcenter/media"
	"anling/callcenter/recording"
	"anling/care"
)

// Prompts by their ids in the pack.
const (
	promptSOS        = "sos.received" // one short line: do not hang up
	promptWait       = "queue.wait"
	promptRequeued   = "comfort.relost"
	promptHold       = "comfort.hold"
	promptWhisper    = "operator.whisper"
	promptSOSWhisper = "operator.whisper.p1"
)

const (
	comfortFirst    = 10 * time.Second
	comfortEvery    = 30 * time.Second
	sosComfortEvery = 15 * time.Second
	noFirst         = 30 * time.Second // an ordinary call without any audio ends
	noMore          = 15 * time.Second // and one whose audio stopped
	noVoice         = 30 * time.Second // an SOS so silent is treated as an emergency
)

func (s *Service) prompt(id string) media.Prompt {
	if s.o.Prompts == nil {
		return media.Prompt{ID: id}
	}
	return s.o.Prompts.Get(id)
}

// length is how long a prompt is.
func (s *Service) length(id string) time.Duration {
	return time.Duration(len(s.prompt(id).Audio)) * time.Second / media.SampleRate
}

func (a *actor) play(p *party, id string, loop bool) {
	if m := p.media(); m != nil && id != "" {
		m.Play(a.s.prompt(id), loop)
	}
}

// join lets caller and operator hear each other; what was played is cut.
func (a *actor) join() {
	x, y := a.caller.media(), a.op.media()
	if x == nil || y == nil {
		return
	}
	x.StopPlay()
	y.StopPlay()
	media.Join(x, y)
}

// part separates the two.
func (a *actor) part() {
	if m := a.caller.media(); m != nil {
		m.Leave()
	}
	if m := a.op.media(); m != nil {
		m.Leave()
	}
}

// comfort is what a waiting caller hears: never nothing. An SOS hears at once, and
// again and again, that it was received; others hear music, and after a while how
// many are before them.
func (a *actor) comfort(first bool) {
	if a.ended || a.op != nil || a.caller == nil || !a.caller.up {
		return
	}
	every := comfortEvery
	switch {
	case a.c.Class == acd.SOS:
		every = sosComfortEvery
		a.play(a.caller, promptSOS, false)
	case first:
		every = comfortFirst
		a.play(a.caller, media.PromptMusic, true)
	default:
		a.announce()
	}
	a.after("comfort", every, func() { a.comfort(false) })
}

// announce tells the caller how many are before him; an urgent one is not told.
func (a *actor) announce() {
	ahead := a.s.ahead(a.c.ID)
	m := a.caller.media()
	if m == nil || a.s.o.Prompts == nil || ahead == 0 || a.c.Class < acd.Normal {
		a.play(a.caller, promptWait, false)
		return
	}
	m.Play(a.s.o.Prompts.Position(ahead), false)
}

// ahead is how many wait before a call.
func (s *Service) ahead(id care.CallID) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return max(0, slices.Index(s.queue.Order(s.now()), id))
}

// sounded is what happened on a party's audio.
func (a *actor) sounded(p *party, e media.Event) {
	if a.ended || p.over || (p != a.caller && p != a.op) {
		return
	}
	switch e.Kind {
	case media.DTMF:
		a.key(p, e.Digit)
	case media.PlayEnded:
		a.played(p, e)
	case media.Lost:
		a.unheard(p, e)
	case media.Silent, media.OneWay:
		a.silent(p, e)
	case media.FirstPacket, media.Back, media.Heard:
		a.heardAgain(p)
	}
}

func (a *actor) played(p *party, e media.Event) {
	switch {
	case e.Cut || p != a.caller:
	case a.c.State == Greeting && a.menu != nil:
		a.walk(a.menu.Played())
	case a.c.State == Held, a.op == nil && e.Prompt != media.PromptMusic:
		a.play(p, media.PromptMusic, true)
	}
}

// unheard is a party whose audio stopped or never came. An ordinary call without it
// ends after a while; an SOS never does: the operator is told instead.
func (a *actor) unheard(p *party, e media.Event) {
	p.lost = true
	if p == a.op {
		// A muted telephone may send nothing, so this alone parts nobody.
		a.trouble("operator_audio", "")
		return
	}
	if p.held {
		return
	}
	what, limit := "lost_rtp", noMore
	if e.Never {
		what, limit = "no_rtp", noFirst
	}
	if a.c.Class == acd.SOS || a.c.IncidentID != "" {
		a.quiet(what)
		return
	}
	a.trouble(what, "")
	a.after("media", max(0, limit-e.Gap), func() { a.end(leg.MediaLost, "lost", "rule:media") })
}

func (a *actor) silent(p *party, e media.Event) {
	if p != a.caller || p.held {
		return
	}
	if a.c.Class == acd.SOS || a.c.IncidentID != "" {
		a.quiet(string(e.Kind))
	}
}

// quiet is an SOS caller of whom nothing is heard: an alarm to the operator, and after
// a while it is to be treated as an emergency.
func (a *actor) quiet(what string) {
	a.trouble(what, "")
	if _, set := a.at["quiet"]; !set {
		a.after("quiet", noVoice, func() { a.trouble("no_answer_emergency", "rule:silence") })
	}
}

func (a *actor) trouble(what, by string) {
	if a.c.Trouble == what {
		return
	}
	if by == "" {
		by = "system"
	}
	a.c.Trouble = what
	a.fact(CallTrouble, by, map[string]any{"what": what})
}

func (a *actor) heardAgain(p *party) {
	p.lost = false
	if p == a.caller {
		a.never("media")
		a.never("quiet")
	}
	if a.c.Trouble == "" || a.c.Trouble == "no_incident" || (a.caller != nil && a.caller.lost) {
		return
	}
	a.c.Trouble = ""
	a.fact(CallTrouble, "system", map[string]any{"what": "heard_again"})
}

// record begins the recording, or lets it hear a further party.
func (a *actor) record() {
	if a.s.o.Recordings == nil || a.ended || a.caller.media() == nil {
		return
	}
	if a.rec != nil {
		a.tap()
		return
	}
	if a.c.Recording != nil {
		return // being opened, or it could not be
	}
	a.c.Recording = &Recording{State: "recording"}
	a.recEnd = false
	id, start := string(a.c.ID), a.s.o.Recordings.Start
	if a.c.Class == acd.SOS {
		start = a.s.o.Recordings.StartSOS
	}
	a.aside(endWithin, func(context.Context) func(*actor) {
		r, err := start(id)
		return func(a *actor) { a.recordingOpen(r, err) }
	})
}

func (a *actor) recordingOpen(r *recording.Recording, err error) {
	if err != nil {
		a.recordingDone(recording.Result{}, err)
		return
	}
	a.rec = r
	if a.ended {
		a.endRecording()
		return
	}
	a.tap()
}

// tap lets the recording hear both sides of the outside party's line: left what it
// says, right what it hears, prompts and music included.
func (a *actor) tap() {
	if m := a.caller.media(); m != nil {
		m.Record(a.rec, media.Left)
		m.RecordSent(a.rec, media.Right)
	}
}

// endRecording closes the file; its end is stored behind that of the call.
func (a *actor) endRecording() {
	if a.rec == nil {
		return
	}
	r := a.rec
	a.rec = nil
	if m := a.caller.media(); m != nil {
		m.Record(nil, media.Left)
		m.RecordSent(nil, media.Right)
	}
	a.aside(endWithin, func(context.Context) func(*actor) {
		result, err := r.Close()
		return func(a *actor) { a.recordingDone(result, err) }
	})
}

func (a *actor) recordingDone(r recording.Result, err error) {
	a.recEnd = true
	if err != nil {
		a.log.Error("record a call", zap.Error(err))
		a.c.Recording = &Recording{State: "failed"}
		a.fact(RecordingFailed, "system", nil)
		return
	}
	a.c.Recording = &Recording{State: "saved", Path: r.Path, SHA256: r.SHA256, Seconds: r.Seconds, Bytes: r.Bytes, Gaps: r.Gaps}
	a.fact(RecordingSaved, "system", map[string]any{"seconds": r.Seconds, "bytes": r.Bytes, "gaps": r.Gaps})
}
