package simphone_test

import (
	"context"
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"math"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"

	"anling/callcenter"
	"anling/callcenter/leg"
	"anling/callcenter/media"
	"anling/callcenter/recording"
	"anling/callcenter/sip"
	"anling/care"
	"anling/cmd/internal/simphone"
	"anling/configs/prompts"
	"anling/dispatch"
	"anling/dispatch/assign"
	"anling/store"
	"anling/store/storetest"
)

// hall is a call centre on real sockets: SIP, RTP, SQLite, recordings, the board of
// incidents, one operator with a telephone and one carrier.
type hall struct {
	*testing.T
	calls    *callcenter.Service
	board    *dispatch.Board
	store    *store.Store
	full     atomic.Bool // the disk refuses every commit
	server   string
	carrier  *simphone.Phone
	operator *simphone.Phone
}

type accounts map[string]string

func (a accounts) Digest(_ context.Context, account, realm, algorithm string) (string, bool) {
	password, ok := a[account]
	text := account + ":" + realm + ":" + password
	if algorithm == "MD5" {
		sum := md5.Sum([]byte(text))
		return hex.EncodeToString(sum[:]), ok
	}
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:]), ok
}

type incidents struct{ *dispatch.Board }

func (i incidents) Take(ctx context.Context, id care.IncidentID, u care.UserID, over bool) error {
	_, err := i.Board.Take(ctx, id, u, over)
	return err
}

func (i incidents) Owner(ctx context.Context, id care.IncidentID) (care.UserID, error) {
	inc, err := i.Record(ctx, id)
	return inc.Owner, err
}

const (
	deviceNumber = "+8613900000001"
	callerTone   = 600
	operatorTone = 1000
)

func newHall(t *testing.T) *hall {
	t.Helper()
	log := zaptest.NewLogger(t, zaptest.Level(zap.ErrorLevel))
	h := &hall{T: t}
	h.store = storetest.Open(t, store.Options{Log: zap.NewNop(), Fault: func(string) error {
		if h.full.Load() {
			return errors.New("no space left")
		}
		return nil
	}})
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	t.Cleanup(func() { cancel(); running.Wait() })
	run := func(what string, f func(context.Context) error) {
		running.Go(func() {
			if err := f(ctx); err != nil && ctx.Err() == nil {
				t.Errorf("%s: %v", what, err)
			}
		})
	}
	keep := store.NewDispatch(h.store)
	engine := assign.NewEngine(assign.Options{Store: keep})
	if err := engine.Load(ctx, nil, nil); err != nil {
		t.Fatal(err)
	}
	h.board = dispatch.NewBoard(dispatch.Options{Store: keep, Engine: engine})
	registry := care.NewRegistry(care.RegistryOptions{Store: store.NewRegistry(h.store), IDKey: make([]byte, 32), PhoneAreaCode: "0871", Demo: true})
	h.register(registry)

	ports, err := storetest.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	ports = 20000 + ports%10000&^1
	engineOfAudio, err := media.New(media.Options{IP: netip.MustParseAddr("127.0.0.1"), PortMin: ports, PortMax: ports + 199})
	if err != nil {
		t.Fatal(err)
	}
	spoken, err := media.LoadPrompts(prompts.FS, "", media.PromptOptions{})
	if err != nil {
		t.Fatal(err)
	}
	pool, err := recording.New(recording.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	h.carrier, err = simphone.New(simphone.Options{Account: "carrier", Server: "127.0.0.1:9", Tone: callerTone})
	if err != nil {
		t.Fatal(err)
	}
	server, err := sip.New(sip.Options{Listen: "127.0.0.1:0", Hotline: "+8687196000", SOSNumbers: []string{"96911"}, PhoneAreaCode: "0871", Media: engineOfAudio,
		Accounts: accounts{"1001": "secret"}, OnInvite: func(l leg.Leg) { h.calls.Take(l) }, Log: log,
		Trunks: []sip.Trunk{{Name: "carrier", Peers: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}, Target: h.carrier.Addr().String()}}})
	if err != nil {
		t.Fatal(err)
	}
	h.server = server.Addr().String()
	h.calls, err = callcenter.New(callcenter.Options{Store: store.NewCalls(h.store), Opener: h.board, Incidents: incidents{h.board}, Directory: registry,
		Dialer: server, Phones: server, Prompts: spoken, Recordings: pool, Clocks: callcenter.Clocks{WrapUp: time.Second}, Log: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	h.board.SetVoice(h.calls)
	h.operator, err = simphone.New(simphone.Options{Server: h.server, Account: "1001", Password: "secret", Register: true, Tone: operatorTone, Answer: simphone.Answer{Manual: true}})
	if err != nil {
		t.Fatal(err)
	}
	run("audio", engineOfAudio.Run)
	run("recordings", pool.Run)
	run("sip", server.Run)
	run("calls", h.calls.Run)
	run("carrier", h.carrier.Run)
	run("operator", h.operator.Run)
	if err := h.operator.WaitRegistered(h.limit()); err != nil {
		t.Fatal(err)
	}
	h.calls.PutOperator(callcenter.Operator{UserID: "op", Name: "operator", Account: "1001"})
	if err := h.calls.SetState(ctx, "op", "ready", ""); err != nil {
		t.Fatal(err)
	}
	return h
}

// register makes one elder with one device known.
func (h *hall) register(r *care.Registry) {
	h.Helper()
	e, err := r.SaveElder(h.Context(), care.Elder{Name: "测试", Sex: "female", BirthDate: "1940", Status: "active", AreaCode: "990100001001", Address: "测试路1号"}, "test")
	if err != nil {
		h.Fatal(err)
	}
	if _, err := r.SaveDevice(h.Context(), care.Device{Kind: "pendant", Protocol: "gt06", ExternalID: "123456789012345", SIMNumber: deviceNumber, ElderID: e.ID, State: "active"}, "test"); err != nil {
		h.Fatal(err)
	}
}

func (h *hall) limit() context.Context {
	ctx, cancel := context.WithTimeout(h.Context(), 20*time.Second)
	h.Cleanup(cancel)
	return ctx
}

func (h *hall) must(what string, err error) {
	h.Helper()
	if err != nil {
		h.Fatalf("%s: %v (calls %+v)", what, err, h.calls.Calls())
	}
}

// comeIn lets a caller ring a number of ours through the carrier.
func (h *hall) comeIn(from, to string) *simphone.Call {
	h.Helper()
	p, err := simphone.New(simphone.Options{Server: h.server, Account: from, Tone: callerTone})
	h.must("caller", err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = p.Run(ctx) }()
	h.Cleanup(func() { cancel(); <-done })
	c, err := p.Call(to, simphone.CallOptions{})
	h.must("call", err)
	return c
}

func (h *hall) pickUp() *simphone.Call {
	h.Helper()
	c, err := h.operator.WaitCall(h.limit())
	h.must("the operator's telephone rings", err)
	c.Answer()
	h.must("operator", c.Wait(h.limit(), simphone.Answered))
	return c
}

func (h *hall) last(ok func(callcenter.Call) bool) callcenter.Call {
	h.Helper()
	var c callcenter.Call
	storetest.Eventually(h, "the call is as expected", func() bool {
		all, err := h.calls.RecentCalls(context.Background(), 1)
		h.must("recent calls", err)
		if len(all) == 1 {
			c = all[0]
		}
		return len(all) == 1 && ok(c)
	})
	return c
}

func TestHotlineCallIsGreetedQueuedJoinedHeldAndRecorded(t *testing.T) {
	h := newHall(t)
	caller := h.comeIn("+8613700000009", "96000")
	h.must("answer", caller.Wait(h.limit(), simphone.Answered))
	h.must("greeting", caller.Audio().WaitSound(h.limit()))
	operator := h.pickUp()
	h.must("the caller hears the operator", caller.Audio().WaitTone(h.limit(), operatorTone))
	h.must("the operator hears the caller", operator.Audio().WaitTone(h.limit(), callerTone))

	h.must("hold", operator.Hold(h.limit()))
	storetest.Eventually(t, "music instead of the operator", func() bool { return !caller.Audio().Hears(operatorTone) })
	if c := h.calls.Calls(); len(c) != 1 || c[0].State != callcenter.Held {
		t.Errorf("on hold: %+v", c)
	}
	h.must("resume", operator.Resume(h.limit()))
	h.must("joined again", caller.Audio().WaitTone(h.limit(), operatorTone))

	caller.Hangup()
	h.must("the operator is released", operator.Wait(h.limit(), simphone.Ended))
	c := h.last(func(c callcenter.Call) bool { return c.Recording != nil && c.Recording.State == "saved" })
	if c.Result != "talked" || c.From != "+8613700000009" || c.Recording.Seconds <= 0 {
		t.Errorf("%+v", c)
	}
	path, err := h.calls.RecordingPath(h.Context(), c.ID)
	h.must("recording", err)
	wav, err := os.ReadFile(path)
	h.must("recording", err)
	if sum := sha256.Sum256(wav); hex.EncodeToString(sum[:]) != c.Recording.SHA256 || filepath.Ext(path) != ".wav" {
		t.Error("the file is not the one of the record")
	}
	left, right := stereo(wav)
	if tone(left, callerTone) < 10*tone(left, operatorTone) || tone(right, operatorTone) < 10*tone(right, callerTone) {
		t.Errorf("left %g and %g, right %g and %g", tone(left, callerTone), tone(left, operatorTone), tone(right, callerTone), tone(right, operatorTone))
	}
	storetest.Eventually(t, "the operator is ready again", func() bool {
		all, err := h.calls.Operators(context.Background())
		return err == nil && len(all) == 1 && all[0].State == "ready"
	})
}

// stereo splits an A-law file into its two sides.
func stereo(wav []byte) (left, right []int16) {
	data := wav[len(wav)-(len(wav)-58)&^1:]
	for i := 0; i+1 < len(data); i += 2 {
		left = append(left, media.PCMA.Linear(data[i]))
		right = append(right, media.PCMA.Linear(data[i+1]))
	}
	return left, right
}

// tone is the energy at a frequency (Goertzel), by blocks, so that a phase that jumps
// in between does not cancel it.
func tone(pcm []int16, hz float64) float64 {
	const block = 400
	total := 0.0
	k := 2 * math.Cos(2*math.Pi*hz/8000)
	for ; len(pcm) >= block; pcm = pcm[block:] {
		var s1, s2 float64
		for _, v := range pcm[:block] {
			s1, s2 = float64(v)+k*s1-s2, s1
		}
		total += s1*s1 + s2*s2 - k*s1*s2
	}
	return total
}

func TestDeviceThatCallsOpensItsIncidentAndTheOperatorOwnsIt(t *testing.T) {
	h := newHall(t)
	caller := h.comeIn(deviceNumber, "96000")
	h.must("answer", caller.Wait(h.limit(), simphone.Answered))
	operator := h.pickUp()
	h.must("joined", caller.Audio().WaitTone(h.limit(), operatorTone))
	c := h.last(func(c callcenter.Call) bool { return c.State == callcenter.Talking })
	if c.Class.String() != "sos" || c.IncidentID == "" || c.DeviceID == "" {
		t.Fatalf("%+v", c)
	}
	storetest.Eventually(t, "the operator owns the incident", func() bool {
		i, err := h.board.Record(context.Background(), c.IncidentID)
		return err == nil && i.Owner == "op" && i.Status == dispatch.Answered && len(i.CallIDs) == 1
	})
	operator.Hangup()
	h.must("the device is released", caller.Wait(h.limit(), simphone.Ended))
}

func TestCallerWhoGivesUpIsRungBack(t *testing.T) {
	h := newHall(t)
	caller := h.comeIn("+8613700000009", "96000")
	h.must("answer", caller.Wait(h.limit(), simphone.Answered))
	_, err := h.operator.WaitCall(h.limit())
	h.must("the telephone rings", err)
	caller.Hangup()
	var open []callcenter.Callback
	storetest.Eventually(t, "he is owed a call", func() bool {
		open, err = h.calls.Callbacks(context.Background())
		return err == nil && len(open) == 1 && len(h.operator.Calls()) == 0
	})
	h.must("dial", h.calls.DialCallback(h.Context(), open[0].ID, "op"))
	operator := h.pickUp()
	back, err := h.carrier.WaitCall(h.limit())
	h.must("the caller is rung", err)
	h.must("back", back.Wait(h.limit(), simphone.Answered))
	h.must("joined", operator.Audio().WaitTone(h.limit(), callerTone))
	operator.Hangup()
	storetest.Eventually(t, "the debt is paid", func() bool {
		cb, err := h.calls.Callback(context.Background(), open[0].ID)
		return err == nil && cb.State == callcenter.Reached && cb.DoneBy == "op"
	})
}

func TestDiskIsFullAndTheDeviceStillReachesTheOperator(t *testing.T) {
	h := newHall(t)
	h.full.Store(true)
	caller := h.comeIn(deviceNumber, "96911")
	h.must("answer", caller.Wait(h.limit(), simphone.Answered))
	operator := h.pickUp()
	h.must("joined", caller.Audio().WaitTone(h.limit(), operatorTone))
	h.must("joined", operator.Audio().WaitTone(h.limit(), callerTone))
	if c := h.calls.Calls(); len(c) != 1 || !c[0].Unsaved {
		t.Errorf("it is not marked: %+v", c)
	}
	caller.Hangup()
	h.must("the operator is released", operator.Wait(h.limit(), simphone.Ended))
	h.full.Store(false) // what was not stored is stored now
	if c := h.last(func(callcenter.Call) bool { return true }); c.Class.String() != "sos" || c.BridgedAt.IsZero() {
		t.Errorf("%+v", c)
	}
}
