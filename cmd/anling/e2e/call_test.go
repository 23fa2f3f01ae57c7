package e2e

import (
	"bytes"
	"encoding/binary"
	"io"
	"math"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"anling/cmd/internal/simclient"
	"anling/cmd/internal/simphone"
)

// aCall is a call as the desk sees it.
type aCall struct {
	ID, Direction, Purpose, State, Class, Trouble, Cause, Result, Match string
	SOS                                                                 bool
	Position                                                            int
	ElderID                                                             string `json:"elder_id"`
	IncidentID                                                          string `json:"incident_id"`
	Name                                                                string
	Recording                                                           bool
	Elder                                                               *struct{ ID, Name string }
}

type aCallback struct {
	ID, State, Reason, Class string
	Attempts                 int
	ElderID                  string `json:"elder_id"`
}

// exchange is the desk of one operator with a telephone that a test answers by hand,
// and a carrier's trunk.
type exchange struct {
	*server
	t       *testing.T
	desk    *simclient.Client
	admin   *simclient.Client
	screen  *console
	phone   *simphone.Phone
	network string
	outside *simphone.Phone // takes what the server dials by its carrier
}

// staffed is an exchange whose operator is ready.
func staffed(t *testing.T, s *server, network string) *exchange {
	t.Helper()
	x := &exchange{server: s, t: t, desk: s.login("operator1"), admin: s.login("admin"), network: network}
	x.screen = s.screen(t, x.desk)
	x.phone = s.telephone(t, simphone.Options{Account: "1001", Password: s.password, Register: true, Expires: time.Hour, Tone: 440, Answer: simphone.Answer{Manual: true}})
	return x
}

// ready makes the operator ready: he must be offered a call before the next test.
func (x *exchange) ready(state string) {
	x.t.Helper()
	if err := x.desk.Post(x.ctx(), "/operators/me/state", map[string]string{"state": state, "reason": "test"}, nil); err != nil {
		x.t.Fatal(err)
	}
}

func (x *exchange) trunk(o simphone.Options) *simphone.Phone {
	x.t.Helper()
	if o.Account == "" {
		o.Account = "carrier"
	}
	if o.Network == "" {
		o.Network = x.network
	}
	o.Tone = 800
	return x.telephone(x.t, o)
}

// rings places a call to the hotline and waits until it is answered by the line.
func (x *exchange) rings(trunk *simphone.Phone, o simphone.CallOptions) *simphone.Call {
	x.t.Helper()
	c, err := trunk.Call(hotline, o)
	if err != nil {
		x.t.Fatal(err)
	}
	if err := c.Wait(x.ctx(), simphone.Answered); err != nil {
		x.t.Fatal(err)
	}
	return c
}

// answered answers at the operator's telephone and waits until both hear each other.
func (x *exchange) answered(c *simphone.Call) *simphone.Call {
	x.t.Helper()
	d, err := x.phone.WaitCall(x.ctx())
	if err != nil {
		x.t.Fatal(err)
	}
	d.Answer()
	if err := d.Wait(x.ctx(), simphone.Answered); err != nil {
		x.t.Fatal(err)
	}
	x.hear(c, d)
	return d
}

func (x *exchange) hear(c, d *simphone.Call) {
	x.t.Helper()
	if err := c.Audio().WaitTone(x.ctx(), 440); err != nil {
		x.t.Fatalf("the caller does not hear the operator: %v", err)
	}
	if err := d.Audio().WaitTone(x.ctx(), 800); err != nil {
		x.t.Fatalf("the operator does not hear the caller: %v", err)
	}
}

func (x *exchange) over(calls ...*simphone.Call) {
	x.t.Helper()
	for _, c := range calls {
		select {
		case <-c.Done():
		case <-time.After(patience):
			x.t.Fatal("a leg does not end")
		}
	}
}

func (x *exchange) calls(query string) []aCall {
	x.t.Helper()
	var list simclient.Items[aCall]
	if err := x.desk.Get(x.ctx(), "/calls"+query, &list); err != nil {
		x.t.Fatal(err)
	}
	return list.Items
}

// live waits for a live call that is as wanted.
func (x *exchange) live(what string, f func(aCall) bool) (found aCall) {
	x.t.Helper()
	x.until("a call "+what, func() bool {
		all := x.calls("")
		i := slices.IndexFunc(all, f)
		if i >= 0 {
			found = all[i]
		}
		return i >= 0
	})
	return found
}

// quiet waits until no call lives, so that the next test begins with none.
func (x *exchange) quiet() {
	x.t.Helper()
	x.until("no call lives", func() bool { return len(x.calls("")) == 0 })
}

// owed waits for the call-back of an elder or of a reason.
func (x *exchange) owed(f func(aCallback) bool) (found aCallback) {
	x.t.Helper()
	x.until("the call-back is owed", func() bool {
		var list simclient.Items[aCallback]
		if err := x.desk.Get(x.ctx(), "/callbacks", &list); err != nil {
			x.t.Fatal(err)
		}
		i := slices.IndexFunc(list.Items, f)
		if i >= 0 {
			found = list.Items[i]
		}
		return i >= 0
	})
	return found
}

// neighbours are elders with a telephone of their own, read through the audited door.
func (x *exchange) neighbours(n int) (ids, numbers []string) {
	x.t.Helper()
	for _, d := range x.pendants(x.t, x.admin, "gt06", 3*n) {
		var v struct{ Value string }
		err := x.desk.Post(x.ctx(), "/elders/"+d.ElderID+"/reveal", map[string]string{"field": "phone", "purpose": "回访"}, &v)
		if err != nil || v.Value == "" {
			continue
		}
		if ids, numbers = append(ids, d.ElderID), append(numbers, v.Value); len(ids) == n {
			return ids, numbers
		}
	}
	x.t.Fatalf("%d elders have a telephone, %d are needed", len(ids), n)
	return nil, nil
}

// hotlineOf starts a server with an operator, and a carrier that it dials by.
func hotlineOf(t *testing.T, network string) *exchange {
	t.Helper()
	carrier := claim(t).addr()
	s := newServer(t, "CALLCENTER_WRAP_UP=100ms", "SIP_TRUNKS=[{name: outside, peers: [127.0.0.2], target: \""+carrier+"\", transport: udp}]")
	s.start()
	x := staffed(t, s, network)
	x.outside = s.telephone(t, simphone.Options{Account: "outside", Listen: carrier, Tone: 800})
	return x
}

// TestHotline is the hotline by UDP and by TCP: who rings it is answered, waits in
// his turn, is heard, and is rung back when nobody answered.
func TestHotline(t *testing.T) {
	t.Parallel()
	for _, network := range []string{"udp", "tcp"} {
		t.Run(network, func(t *testing.T) {
			beside(t, waiting)
			x := hotlineOf(t, network)
			ids, numbers := x.neighbours(2)
			t.Run("caller is known before the answer", func(t *testing.T) { x.on(t).known(ids[0], numbers[0]) })
			t.Run("BYE from either side, recording", func(t *testing.T) { x.on(t).byes(numbers[0]) })
			t.Run("hold and resume by the caller", func(t *testing.T) { x.on(t).holds(numbers[0]) })
			t.Run("hangs up in the queue", func(t *testing.T) { x.on(t).lost(ids[1], numbers[1]) })
			if network == "udp" {
				t.Run("CANCEL before the answer", func(t *testing.T) { x.on(t).cancelled() })
				t.Run("SOS goes before a routine call", func(t *testing.T) { x.on(t).sosFirst() })
				t.Run("ACK is lost", func(t *testing.T) { x.on(t).lostACK() })
			}
		})
	}
}

// on is the exchange for a test inside another.
func (x *exchange) on(t *testing.T) *exchange {
	y := *x
	y.t = t
	return &y
}

func (x *exchange) known(elder, number string) {
	trunk := x.trunk(simphone.Options{})
	x.ready("ready")
	c := x.rings(trunk, simphone.CallOptions{From: number})
	ring, err := x.phone.WaitCall(x.ctx())
	if err != nil {
		x.t.Fatal(err)
	}
	seen := x.live("of the elder, not answered yet", func(v aCall) bool { return v.ElderID == elder })
	if seen.Elder == nil || seen.Elder.ID != elder || seen.Elder.Name == "" || ring.State() != simphone.Ringing {
		x.t.Errorf("before the answer the desk sees %+v, the telephone is %s", seen, ring.State())
	}
	d := x.answered(c)
	c.Hangup()
	x.over(c, d)
	x.quiet()
}

func (x *exchange) byes(number string) {
	trunk := x.trunk(simphone.Options{})
	x.ready("ready")
	c := x.rings(trunk, simphone.CallOptions{From: number})
	d := x.answered(c)
	id := x.live("that talks", func(v aCall) bool { return v.State == "talking" }).ID
	heard := c.Audio().Stats().Received
	x.until("two seconds are spoken", func() bool { return c.Audio().Stats().Received >= heard+100 })
	d.Hangup()
	x.over(c, d)
	if code, reason, byPeer := c.Result(); !byPeer {
		x.t.Errorf("the caller's leg ended with %d %s, not by the server's BYE", code, reason)
	}
	x.quiet()
	x.recorded(id)

	x.ready("ready")
	c = x.rings(trunk, simphone.CallOptions{From: number})
	d = x.answered(c)
	c.Hangup()
	x.over(c, d)
	if _, _, byPeer := d.Result(); !byPeer {
		x.t.Error("the operator's leg was not ended by the server's BYE")
	}
	x.quiet()
}

// recorded plays the recording as a page does: in two ranges, which together are a
// stereo WAV with the caller on the left and the operator on the right.
func (x *exchange) recorded(id string) {
	x.t.Helper()
	x.until("the recording is saved", func() bool {
		var v aCall
		return x.desk.Get(x.ctx(), "/calls/"+id, &v) == nil && v.Recording
	})
	cookie := x.cookie(x.t)
	part := func(span string) (int, []byte, string) {
		req, err := http.NewRequestWithContext(x.ctx(), http.MethodGet, "http://"+x.http+"/api/v1/calls/"+id+"/recording", nil)
		if err != nil {
			x.t.Fatal(err)
		}
		req.Header.Set("Cookie", cookie)
		if span != "" {
			req.Header.Set("Range", "bytes="+span)
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			x.t.Fatal(err)
		}
		defer res.Body.Close() //nolint:errcheck // read to its end
		b, err := io.ReadAll(res.Body)
		if err != nil {
			x.t.Fatal(err)
		}
		return res.StatusCode, b, res.Header.Get("Content-Type")
	}
	status, whole, kind := part("")
	if status != 200 || !strings.HasPrefix(kind, "audio/") {
		x.t.Fatalf("recording: %d %s", status, kind)
	}
	s1, head, _ := part("0-99")
	s2, tail, _ := part("100-")
	if s1 != 206 || s2 != 206 || !bytes.Equal(append(head, tail...), whole) {
		x.t.Errorf("ranges: %d, %d, %d+%d of %d bytes", s1, s2, len(head), len(tail), len(whole))
	}
	if string(whole[:4]) != "RIFF" || string(whole[8:12]) != "WAVE" {
		x.t.Fatalf("no WAV: %q", whole[:12])
	}
	format, channels, rate := uint16(0), uint16(0), uint32(0)
	var data []byte
	for at := 12; at+8 <= len(whole); {
		size := int(binary.LittleEndian.Uint32(whole[at+4:]))
		body := whole[at+8 : min(len(whole), at+8+size)]
		switch string(whole[at : at+4]) {
		case "fmt ":
			format, channels, rate = binary.LittleEndian.Uint16(body), binary.LittleEndian.Uint16(body[2:]), binary.LittleEndian.Uint32(body[4:])
		case "data":
			data = body
		}
		at += 8 + size + size&1
	}
	if format != 6 || channels != 2 || rate != 8000 || len(data) < 8000 {
		x.t.Fatalf("format %d, %d channels, %d Hz, %d bytes", format, channels, rate, len(data))
	}
	for side, hz := range []float64{800, 440} {
		if other := []float64{440, 800}[side]; !toned(data, side, hz) || toned(data, side, other) {
			x.t.Errorf("channel %d does not hold the tone of %v Hz alone", side, hz)
		}
	}
}

// toned tells whether half a second of a channel of A-law is mostly this tone.
func toned(data []byte, side int, hz float64) bool {
	const n = 1600
	for at := 0; at+2*n <= len(data); at += 2 * n {
		var re, im, power float64
		for i := range n {
			v := alaw(data[at+2*i+side])
			re += v * math.Cos(2*math.Pi*hz*float64(i)/8000)
			im += v * math.Sin(2*math.Pi*hz*float64(i)/8000)
			power += v * v
		}
		if power/n > 1e4 && 2*(re*re+im*im)/n > 0.5*power {
			return true
		}
	}
	return false
}

// alaw decodes one byte (ITU-T G.711).
func alaw(b byte) float64 {
	b ^= 0x55
	seg, v := int(b>>4&7), int(b&15)<<4+8
	if seg > 0 {
		v = (v + 256) << (seg - 1)
	}
	if b&0x80 == 0 {
		v = -v
	}
	return float64(v)
}

func (x *exchange) holds(number string) {
	trunk := x.trunk(simphone.Options{})
	x.ready("ready")
	c := x.rings(trunk, simphone.CallOptions{From: number})
	d := x.answered(c)
	if err := c.Hold(x.ctx()); err != nil {
		x.t.Fatal(err)
	}
	// Who holds may send music of his own (sendonly); what he must not get is our side.
	if err := c.Audio().WaitQuiet(x.ctx()); err != nil {
		x.t.Errorf("the caller who holds hears the operator: %v", err)
	}
	if err := d.Audio().WaitTone(x.ctx(), 800); err != nil {
		x.t.Errorf("what the caller who holds plays does not reach the operator: %v", err)
	}
	if c.Audio().Hears(440) {
		x.t.Error("the caller who holds hears the operator again")
	}
	if d.State() != simphone.Answered {
		x.t.Errorf("the operator's leg is %s while the caller holds", d.State())
	}
	if err := c.Resume(x.ctx()); err != nil {
		x.t.Fatal(err)
	}
	x.hear(c, d)
	c.Hangup()
	x.over(c, d)
	x.quiet()
}

// lost is a caller who is answered by nobody: he is owed a call, and one click rings
// the operator, then him.
func (x *exchange) lost(elder, number string) {
	trunk := x.trunk(simphone.Options{})
	x.ready("offline")
	c := x.rings(trunk, simphone.CallOptions{From: number})
	x.live("that waits", func(v aCall) bool { return v.ElderID == elder && v.State == "queued" })
	c.Hangup()
	x.over(c)
	debt := x.owed(func(b aCallback) bool { return b.ElderID == elder && (b.State == "due" || b.State == "dialling") })
	x.quiet()
	x.ready("ready")
	if err := x.desk.Post(x.ctx(), "/callbacks/"+debt.ID+"/dial", map[string]string{}, nil); err != nil {
		x.t.Fatal(err)
	}
	d, err := x.phone.WaitCall(x.ctx())
	if err != nil {
		x.t.Fatal(err)
	}
	d.Answer()
	if err := d.Wait(x.ctx(), simphone.Answered); err != nil {
		x.t.Fatal(err)
	}
	elderly, err := x.outside.WaitCall(x.ctx())
	if err != nil {
		x.t.Fatalf("the caller is not rung back: %v", err)
	}
	x.hear(elderly, d)
	elderly.Hangup()
	x.over(elderly, d)
	x.until("the debt is paid", func() bool {
		var list simclient.Items[aCallback]
		if err := x.desk.Get(x.ctx(), "/callbacks", &list); err != nil {
			x.t.Fatal(err)
		}
		return !slices.ContainsFunc(list.Items, func(b aCallback) bool { return b.ID == debt.ID && (b.State == "due" || b.State == "dialling") })
	})
	x.quiet()
}

// cancelled is a caller who gives up before the line is answered. The answer is lost
// on the way, so that CANCEL comes first for certain.
func (x *exchange) cancelled() {
	x.ready("offline")
	trunk := x.trunk(simphone.Options{Drop: func(incoming bool, first string) bool { return incoming && first == "200 INVITE" }})
	c, err := trunk.Call(hotline, simphone.CallOptions{From: "13987650011"})
	if err != nil {
		x.t.Fatal(err)
	}
	if err := c.Wait(x.ctx(), simphone.Ringing); err != nil {
		x.t.Fatal(err)
	}
	c.Hangup()
	x.owed(func(b aCallback) bool { return b.State == "due" && b.ElderID == "" })
	x.until("the call is over", func() bool { return len(x.calls("")) == 0 })
}

func (x *exchange) sosFirst() {
	trunk := x.trunk(simphone.Options{})
	x.ready("offline")
	routine := x.rings(trunk, simphone.CallOptions{From: "13987650022"})
	x.live("that waits", func(v aCall) bool { return !v.SOS && v.State == "queued" })
	who := x.device(x.t, x.admin, "sip")
	sos := x.rings(trunk, simphone.CallOptions{From: who.ExternalID})
	first := x.live("for SOS that waits", func(v aCall) bool { return v.SOS && v.Direction == "in" && v.State == "queued" })
	if all := x.calls(""); all[0].ID != first.ID {
		x.t.Errorf("the SOS call is not first in the list: %+v", all)
	}
	x.ready("ready")
	d := x.answered(sos)
	x.live("that waits still", func(v aCall) bool { return !v.SOS && v.State == "queued" })
	sos.Hangup()
	x.over(sos, d)
	d = x.answered(routine)
	routine.Hangup()
	x.over(routine, d)
	x.until("the calls are over", func() bool { return len(x.calls("")) == 0 })
}

// TestSilentSOS has a caller in need who is not heard any more: nobody hangs up on him.
func TestSilentSOS(t *testing.T) {
	beside(t, waiting)
	x := hotlineOf(t, "udp")
	trunk := x.trunk(simphone.Options{})
	x.ready("ready")
	who := x.device(x.t, x.admin, "sip")
	c := x.rings(trunk, simphone.CallOptions{From: who.ExternalID})
	d := x.answered(c)
	c.Audio().Mute(true)
	x.live("in trouble", func(v aCall) bool { return v.SOS && v.Trouble != "" })
	x.live("treated as an emergency", func(v aCall) bool { return v.SOS && v.Trouble == "no_answer_emergency" })
	if c.State() != simphone.Answered || d.State() != simphone.Answered {
		x.t.Errorf("a silent SOS call was ended: caller %s, operator %s", c.State(), d.State())
	}
	x.screen.shown(x.t, "the trouble", func(e simclient.Event) bool { return e.Kind == "callcenter.call.trouble" })
	c.Audio().Mute(false)
	x.hear(c, d)
	x.live("out of trouble", func(v aCall) bool { return v.SOS && v.Trouble == "" })
	c.Hangup()
	x.over(c, d)
	x.quiet()
}

// lostACK loses three ACKs: both hear each other, and the call stands.
func (x *exchange) lostACK() {
	var acks atomic.Int32
	trunk := x.trunk(simphone.Options{Drop: func(in bool, first string) bool { return !in && first == "ACK" && acks.Add(1) <= 3 }})
	x.ready("ready")
	c := x.rings(trunk, simphone.CallOptions{From: "13987650033"})
	d := x.answered(c)
	x.until("the fourth ACK is sent", func() bool { return acks.Load() > 3 })
	x.hear(c, d)
	d.Hangup()
	x.over(c, d)
	x.quiet()
}

// TestNeverAcknowledged has a caller whose ACK never comes: the audio flows, and the
// call ends by BYE after 64*T1.
func TestNeverAcknowledged(t *testing.T) {
	beside(t, waiting)
	x := hotlineOf(t, "udp")
	trunk := x.trunk(simphone.Options{Drop: func(in bool, first string) bool { return !in && first == "ACK" }})
	x.ready("ready")
	c := x.rings(trunk, simphone.CallOptions{From: "13987650044"})
	d := x.answered(c)
	x.over(c)
	if took := c.Times().Ended.Sub(c.Times().Answered); took < 30*time.Second { // 64*T1 is 32 s
		x.t.Errorf("a call without ACK was ended after %s", took)
	}
	if _, _, byPeer := c.Result(); !byPeer {
		x.t.Error("a call without ACK was not ended by the server's BYE")
	}
	d.Hangup()
	x.over(d)
	x.quiet()
}
