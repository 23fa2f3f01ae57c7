package watch

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"anling/care"
	"anling/sos"
	"anling/sos/sostest"
)

// wear connects a watch to a server of its own.
func wear(t *testing.T, e *sostest.Ear) *wrist {
	t.Helper()
	l, err := sos.Listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	server := NewServer(ServerOptions{Receiver: e, Now: func() time.Time { return pressed.Add(time.Second) }})
	go func() { ended <- server.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return &wrist{c, t}
}

type wrist struct {
	net.Conn
	t *testing.T
}

func (w *wrist) send(frames ...[]byte) {
	w.t.Helper()
	if _, err := w.Write(bytes.Join(frames, nil)); err != nil {
		w.t.Fatal(err)
	}
}

// answered reads exactly this.
func (w *wrist) answered(want string) {
	w.t.Helper()
	got := make([]byte, len(want))
	_ = w.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.ReadFull(w, got); err != nil || string(got) != want {
		w.t.Fatalf("answered %q %v, want %q", got, err, want)
	}
}

const (
	lk = "[3G*8800000015*0002*LK]"
	al = "[3G*8800000015*0002*AL]"
)

func TestPressOfAWatch(t *testing.T) {
	e := &sostest.Ear{}
	w := wear(t, e)
	w.send(EncodeHeartbeat(id, 1, 2, 80), EncodePosition(id, press(0), false), EncodeAlarm(id, press(StatusSOS|StatusLow)), Encode("3G", id, "", "HUMBUG,1"))
	w.answered(lk + al)
	w.send(EncodePosition(id, press(StatusSOS|StatusLow), true), EncodeHeartbeat(id, 1, 2, 80))
	w.answered(lk)
	all := e.Alarms()
	if len(all) == 0 {
		t.Fatal("no alarm")
	}
	a := all[0]
	if a.Protocol != "watch" || a.ClaimedID != id || !slices.Equal(a.Kinds, []care.Kind{care.KindSOS, care.KindBattery}) || a.Position == nil || a.TimeQuality != "good" || *a.Battery != 12 {
		t.Errorf("alarm %+v", a)
	}
	deadline := time.Now().Add(5 * time.Second)
	for len(e.Alarms()) < 2 && time.Now().Before(deadline) {
		w.send(EncodeHeartbeat(id, 1, 2, 80))
		w.answered(lk)
	}
	if all = e.Alarms(); len(all) != 2 || !all[1].History || all[1].SourceEventID != a.SourceEventID {
		t.Errorf("the same press as history: %+v", all)
	}
	if len(e.Frames()) != 1 || !strings.Contains(string(e.Frames()[0].Raw), "HUMBUG") || len(e.Signs()) < 5 {
		t.Errorf("kept %v, %d signs", e.Frames(), len(e.Signs()))
	}
}

func TestAlarmWaitsForItsCommitAndHeartbeatDoesNot(t *testing.T) {
	e := &sostest.Ear{}
	w := wear(t, e)
	block := make(chan struct{})
	e.Set(block, nil)
	w.send(EncodeAlarm(id, press(StatusSOS)), EncodeHeartbeat(id, 1, 2, 80))
	w.answered(lk)
	w.send(EncodeAlarm(id, press(StatusSOS)), EncodeHeartbeat(id, 1, 2, 80)) // it repeats until answered
	w.answered(lk)
	close(block)
	w.answered(al + al)
	e.Set(nil, errors.New("disk is full"))
	later := press(StatusSOS)
	later.Time = later.Time.Add(time.Minute)
	w.send(EncodeAlarm(id, later), EncodeHeartbeat(id, 1, 2, 80))
	w.answered(lk)
	e.Set(nil, nil)
	w.send(EncodeAlarm(id, later))
	w.answered(al)
}

func TestAnotherWatchOnTheSameLineIsNoted(t *testing.T) {
	e := &sostest.Ear{}
	w := wear(t, e)
	w.send(EncodeHeartbeat(id, 1, 2, 80), EncodeAlarm("8800000016", press(StatusSOS)))
	w.answered(lk + "[3G*8800000016*0002*AL]")
	if a := e.Alarms()[0]; a.ClaimedID != "8800000016" || len(a.Reasons) != 1 {
		t.Errorf("alarm %+v", a)
	}
}

func TestGarbageEndsAConnection(t *testing.T) {
	for name, junk := range map[string]string{"HTTP": strings.Repeat("GET / HTTP/1.1\r\n", 30), "bad headers": strings.Repeat("[x]", 12), "a frame without end": "[" + strings.Repeat("y", 70_000)} {
		t.Run(name, func(t *testing.T) {
			e := &sostest.Ear{}
			w := wear(t, e)
			_, _ = io.WriteString(w, junk)
			_ = w.SetReadDeadline(time.Now().Add(10 * time.Second))
			var n net.Error
			if _, err := io.Copy(io.Discard, w); errors.As(err, &n) && n.Timeout() {
				t.Fatal("the connection stays open")
			}
			if len(e.Alarms()) != 0 {
				t.Error("an alarm out of garbage")
			}
		})
	}
}
