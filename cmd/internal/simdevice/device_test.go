package simdevice

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"anling/geo"
)

const (
	imei    = "860000000000012"
	watchID = "8800000015"
)

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The worked examples of the protocols' description.
func TestFramesAreThoseOfTheExamples(t *testing.T) {
	login, err := gt06LoginFrame(imei, 1)
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 11, 22, 8, 5, 0, 0, time.UTC)
	kunming := geo.Point{Lat: 25.0389, Lng: 102.7183}
	for name, c := range map[string]struct{ got, want []byte }{
		"login":     {login, unhex(t, "78 78 11 01 0860000000000012 2700 3200 0001 8E47 0D0A")},
		"heartbeat": {gt06HeartbeatFrame(2), unhex(t, "78 78 0A 13 44 06 04 00 02 0002 8F4F 0D0A")},
		"watch": {watchPlaceFrame(watchID, "AL_LTE", at, kunming, 12, 0x00230001),
			[]byte("[3G*8800000015*0070*AL_LTE,221126,080500,A,25.038900,N,102.718300,E,0.0,0,1890,9,80,12,100,0,00230001,1,1,460,0,1234,5678,100,0,10.0]")},
	} {
		if !bytes.Equal(c.got, c.want) {
			t.Errorf("%s:\n got % x\nwant % x", name, c.got, c.want)
		}
	}
	alarm := gt06AlarmFrame(Press{Serial: 0x0a1b, At: at, Point: kunming, Battery: 30})
	want := unhex(t, "787825261A0B16080500C802AFB6C40B053E0C0014000901CC00123400567864020301010A1B718E0D0A")
	if !bytes.Equal(alarm, want) {
		t.Errorf("alarm:\n got % x\nwant % x", alarm, want)
	}
	if info := gt06AlarmFrame(Press{At: at, Point: kunming, LowBattery: true})[31]; info>>3&7 != 3 {
		t.Errorf("low battery has info %02x", info)
	}
}

func TestAnswersAreChecked(t *testing.T) {
	for _, c := range []struct {
		name, protocol, bytes string
		want                  answer
		bad                   bool
	}{
		{"ack of an alarm", GT06, string(unhex(t, "78780526 0A1B 1449 0D0A")), answer{kind: "26", serial: 0x0a1b}, false},
		{"wrong checksum", GT06, string(unhex(t, "78780526 0A1B 1448 0D0A")), answer{}, true},
		{"no frame", GT06, "HTTP/1.1 400", answer{}, true},
		{"watch", Watch, "[3G*8800000015*0002*AL]", answer{kind: "AL"}, false},
		{"command", Watch, "[3G*8800000015*000E*CALL,053012349]", answer{kind: "CALL", text: "053012349"}, false},
		{"wrong length", Watch, "[3G*8800000015*0003*AL]", answer{}, true},
	} {
		got, err := readAnswer(c.protocol, bufio.NewReader(strings.NewReader(c.bytes)))
		if c.bad != errors.Is(err, errAnswer) || got != c.want {
			t.Errorf("%s: %+v, %v", c.name, got, err)
		}
	}
}

// server answers like the real one, apart from what answer says: nil loses the
// answer, and the second result ends the connection.
type server struct {
	protocol string
	l        net.Listener
	answer   func(kind string, frame []byte) (reply bool, hangUp bool)
	mu       sync.Mutex
	frames   map[string]int // by their bytes
	came     chan struct{}  // a frame was counted
	wg       sync.WaitGroup
}

func serve(t *testing.T, protocol string, answer func(string, []byte) (bool, bool)) *server {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &server{protocol: protocol, l: l, answer: answer, frames: map[string]int{}, came: make(chan struct{}, 1)}
	s.wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s.wg.Go(func() { s.talk(c) })
		}
	})
	t.Cleanup(func() { l.Close(); s.wg.Wait() })
	return s
}

func (s *server) talk(c net.Conn) {
	defer c.Close()
	r := bufio.NewReader(c)
	for {
		var kind string
		var frame, reply []byte
		if s.protocol == Watch {
			b, err := r.ReadBytes(']')
			if err != nil {
				return
			}
			frame = b
			parts := strings.Split(strings.Trim(string(b), "[]"), "*")
			kind, _, _ = strings.Cut(parts[3], ",")
			reply = watchFrame(parts[1], kind)
		} else {
			head, err := r.Peek(3)
			if err != nil {
				return
			}
			frame = make([]byte, int(head[2])+5)
			if _, err := readFull(r, frame); err != nil {
				return
			}
			kind = hex.EncodeToString(frame[3:4])
			reply = gt06Frame(frame[3], nil, uint16(frame[len(frame)-6])<<8|uint16(frame[len(frame)-5]))
		}
		s.mu.Lock()
		s.frames[string(frame)]++
		s.mu.Unlock()
		select {
		case s.came <- struct{}{}:
		default:
		}
		send, hangUp := s.answer(kind, frame)
		if send {
			if _, err := c.Write(reply); err != nil {
				return
			}
		}
		if hangUp {
			return
		}
	}
}

// times are how often each alarm frame came.
func (s *server) times() []int {
	s.mu.Lock()
	defer s.mu.Unlock()
	var n []int
	for f, times := range s.frames {
		if strings.Contains(f, "*AL,") || f[3] == gt06Alarm {
			n = append(n, times)
		}
	}
	slices.Sort(n)
	return n
}

func start(t *testing.T, o Options) *Device {
	t.Helper()
	d := New(o)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := d.Run(ctx); err != nil {
			t.Error(err)
		}
	}()
	t.Cleanup(func() { cancel(); <-done })
	return d
}

func limit(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	t.Cleanup(cancel)
	return ctx
}

var both = map[string]Identity{"26": {Protocol: GT06, ID: imei}, "AL": {Protocol: Watch, ID: watchID}}

func TestPressesTheSameFrameUntilItIsAcknowledged(t *testing.T) {
	for kind, identity := range both {
		t.Run(identity.Protocol, func(t *testing.T) {
			var mu sync.Mutex
			lost, cut := 2, 1
			s := serve(t, identity.Protocol, func(k string, _ []byte) (bool, bool) {
				mu.Lock()
				defer mu.Unlock()
				switch {
				case k != kind:
					return true, false
				case lost > 0:
					lost--
					return false, false
				case cut > 0:
					cut--
					return false, true
				}
				return true, false
			})
			path := filepath.Join(t.TempDir(), "ledger")
			ledger, err := OpenLedger(path)
			if err != nil {
				t.Fatal(err)
			}
			d := start(t, Options{Identity: identity, Addr: s.l.Addr().String(), Resend: 30 * time.Millisecond, Reconnect: time.Millisecond, Ledger: ledger})
			e, err := d.Press(limit(t), Press{LowBattery: true})
			if err != nil {
				t.Fatal(err)
			}
			if got := s.times(); !slices.Equal(got, []int{4}) {
				t.Errorf("the frame came %v times", got)
			}
			st := d.Stats()
			if st.Acked != 1 || st.Resent != 3 || st.Connects != 2 || st.Lost != 1 {
				t.Errorf("stats %+v", st)
			}
			if err := ledger.Close(); err != nil {
				t.Fatal(err)
			}
			kept, err := ReadLedger(path)
			if err != nil || len(kept) != 1 || kept[0].Key() != e.Key() || kept[0].Serial != e.Serial {
				t.Errorf("ledger has %+v, %v", kept, err)
			}
		})
	}
}

func TestPressesNeverShareASecond(t *testing.T) {
	for kind, identity := range both {
		s := serve(t, identity.Protocol, func(k string, _ []byte) (bool, bool) { return true, false })
		d := start(t, Options{Identity: identity, Addr: s.l.Addr().String(), Duplicates: 2})
		keys := map[string]bool{}
		for range 5 {
			e, err := d.Press(limit(t), Press{})
			if err != nil {
				t.Fatalf("%s: %v", kind, err)
			}
			keys[e.Key()] = true
		}
		ctx, got := limit(t), s.times()
		for !slices.Equal(got, []int{3, 3, 3, 3, 3}) { // the repeats of the last press are on the way
			select {
			case <-ctx.Done():
				t.Fatalf("%s: frames %v", kind, got)
			case <-s.came:
				got = s.times()
			}
		}
		if len(keys) != 5 {
			t.Errorf("%s: keys %v", kind, keys)
		}
	}
}

// An answer of a watch names no press. When one is lost, a later one must not be
// counted for a press that the server has not answered.
func TestWatchNeverCountsAnAnswerTwice(t *testing.T) {
	var mu sync.Mutex
	answered := map[string]bool{} // frames that were answered
	n := 0
	s := serve(t, Watch, func(k string, frame []byte) (bool, bool) {
		mu.Lock()
		defer mu.Unlock()
		if n++; k == "AL" && n%3 == 0 {
			return false, false
		}
		answered[string(frame)] = true
		return true, false
	})
	var wrong []string
	d := start(t, Options{Identity: both["AL"], Addr: s.l.Addr().String(), Resend: 20 * time.Millisecond, Duplicates: 1, Reconnect: time.Millisecond, Shout: true,
		OnAck: func(e Entry) {
			mu.Lock()
			defer mu.Unlock()
			if !answered[string(watchAlarmFrame(e.ID, Press{At: e.At, Battery: 80}))] {
				wrong = append(wrong, e.Key())
			}
		}})
	for range 12 {
		if _, err := d.Press(limit(t), Press{}); err != nil {
			t.Fatal(err)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if len(wrong) > 0 {
		t.Errorf("counted as acknowledged: %v", wrong)
	}
}

func TestDeviceThatShoutsIsPaced(t *testing.T) {
	s := serve(t, GT06, func(string, []byte) (bool, bool) { return true, false })
	d := start(t, Options{Identity: both["26"], Addr: s.l.Addr().String()})
	for range paceBurst + 3 {
		if _, err := d.Send(Press{}); err != nil {
			t.Fatal(err)
		}
	}
	began := time.Now()
	if _, err := d.Press(limit(t), Press{}); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took < 3*time.Second/paceRate {
		t.Errorf("the last of %d left after %s", paceBurst+4, took)
	}
}

func TestIdleConnectionsAndHeartbeats(t *testing.T) {
	for kind, identity := range both {
		s := serve(t, identity.Protocol, func(string, []byte) (bool, bool) { return true, false })
		idle := OpenIdle(limit(t), identity.Protocol, s.l.Addr().String(), slices.Repeat([]string{identity.ID}, 120), 1000)
		if len(idle.Conns) != 120 || len(idle.Failed) > 0 {
			t.Fatalf("%s: %d open, failed %v", kind, len(idle.Conns), idle.Failed)
		}
		from := map[string]bool{}
		for _, c := range idle.Conns {
			host, _, _ := net.SplitHostPort(c.LocalAddr().String())
			from[host] = true
		}
		if n, failed := idle.Beat(limit(t), 4); n != 120 || len(failed) > 0 || len(from) != 2 {
			t.Errorf("%s: %d answered, failed %v, from %v", kind, n, failed, from)
		}
		idle.Close()
	}
}

func TestHarmEndsWithTheServersPatience(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			b := make([]byte, 64)
			if _, err := c.Read(b); err != nil { // bears no more than its first bytes
				t.Error(err)
			}
			c.Close()
		}
	})
	for _, a := range []Abuse{Garbage, Slow, Oversize, BadSum} {
		if _, ended, err := Harm(limit(t), a, GT06, l.Addr().String(), 1); err != nil || !ended {
			t.Errorf("%s: ended %t, %v", a, ended, err)
		}
	}
	l.Close()
}

func TestBrokenLedgerIsNotBelieved(t *testing.T) {
	for _, s := range []string{"gt06\tx\n", "gt06\tx\tzz\t1\t2026-01-01T00:00:00Z\t2026-01-01T00:00:00Z\n"} {
		if all, err := readEntries(strings.NewReader(s), "f"); err == nil || !strings.Contains(err.Error(), "f:1") {
			t.Errorf("%q is %v, %v", s, all, err)
		}
	}
}

func TestListsOfDevices(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"as imported":     {"protocol,device_id,number,elder\ngt06,860000000000012,+8613900001111,e1\nsip,op1,,\nwatch,8800000015,,e2\n", "[{gt06 860000000000012 +8613900001111} {watch 8800000015 }]"},
		"Chinese header":  {"\ufeff设备号,协议,电话号码\n860000000000012,GT06,139\n", "[{gt06 860000000000012 139}]"},
		"without columns": {"a,b\n1,2\n", "names no protocol"},
	} {
		got, err := readIdentities(strings.NewReader(c.text), "f.csv")
		text := fmt.Sprint(got)
		if err != nil {
			text = err.Error()
		}
		if !strings.Contains(text, c.want) {
			t.Errorf("%s: %s", name, text)
		}
	}
}
