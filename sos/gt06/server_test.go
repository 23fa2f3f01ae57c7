package gt06

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"runtime"
	"sync"
	"testing"
	"time"

	"anling/care"
	"anling/sos"
	"anling/sos/sostest"
)

const imei = "860000000000012"

// models is a registry of one model.
type models string

func (m models) Model(context.Context, string, string) string { return string(m) }

func serve(t testing.TB, e sos.Receiver, o ServerOptions) string {
	t.Helper()
	l, err := sos.Listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	o.Receiver = e
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- NewServer(o).Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return l.Addr().String()
}

type device struct {
	net.Conn
	t testing.TB
}

func connect(t testing.TB, addr string) device {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return device{c, t}
}

func (d device) send(frames ...[]byte) {
	d.t.Helper()
	if _, err := d.Write(bytes.Join(frames, nil)); err != nil {
		d.t.Fatal(err)
	}
}

// answered reads exactly these answers, in this order.
func (d device) answered(want ...[]byte) {
	d.t.Helper()
	all := bytes.Join(want, nil)
	got := make([]byte, len(all))
	_ = d.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.ReadFull(d, got); err != nil || !bytes.Equal(got, all) {
		d.t.Fatalf("answered %x %v, want %x", got, err, all)
	}
}

// unanswered sends a heartbeat and reads its answer and nothing before it.
func (d device) unanswered(serial uint16) {
	d.t.Helper()
	d.send(EncodeHeartbeat(InfoFix, 6, 4, 1, serial))
	d.answered(EncodeReply(0x13, serial))
}

func (d device) closed() {
	d.t.Helper()
	_ = d.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.Copy(io.Discard, d); errors.Is(err, context.DeadlineExceeded) || isTimeout(err) {
		d.t.Fatal("the connection stays open")
	}
}

func isTimeout(err error) bool {
	var n net.Error
	return errors.As(err, &n) && n.Timeout()
}

func login(t testing.TB, id string, serial uint16) []byte {
	t.Helper()
	zone := 8 * 3600
	b, err := EncodeLogin(id, 1, &zone, 1, serial)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestPressOfAPendant(t *testing.T) {
	e := &sostest.Ear{}
	d := connect(t, serve(t, e, ServerOptions{Models: models("VL103"), Now: func() time.Time { return pressed.Add(2 * time.Second) }}))
	low := press()
	low.Voltage = 1
	d.send(login(t, imei, 1), EncodeHeartbeat(InfoFix, 6, 4, 1, 2), EncodeTimeRequest(3), EncodeAlarm(low, 4), EncodeCellAlarm(low, 5))
	d.answered(EncodeReply(0x01, 1), EncodeReply(0x13, 2), EncodeTimeAnswer(3, pressed.Add(2*time.Second)), EncodeReply(0x26, 4), EncodeReply(0x19, 5))
	all := e.Alarms()
	a := all[0]
	if len(all) != 2 || a.ClaimedID != imei || a.Protocol != "gt06" || a.Kinds[0] != care.KindSOS || a.Position == nil || a.TimeQuality != "good" || a.History || *a.Battery > 20 {
		t.Fatalf("alarms %+v", all)
	}
	if !bytes.Equal(a.Raw, EncodeAlarm(low, 4)) {
		t.Errorf("raw frame %x", a.Raw)
	}
	if all[1].TimeQuality != "absent" || all[1].SourceEventID == a.SourceEventID {
		t.Errorf("alarm by cell %+v", all[1])
	}
	if len(e.Signs()) < 4 {
		t.Errorf("%d signs of life", len(e.Signs()))
	}
}

func TestAlarmWaitsForItsCommit(t *testing.T) {
	e := &sostest.Ear{}
	d := connect(t, serve(t, e, ServerOptions{}))
	d.send(login(t, imei, 1))
	d.answered(EncodeReply(0x01, 1))
	block := make(chan struct{})
	e.Set(block, nil)
	d.send(EncodeAlarm(press(), 2))
	d.unanswered(3)
	close(block)
	d.answered(EncodeReply(0x26, 2))
	e.Set(nil, errors.New("disk is full"))
	d.send(EncodeAlarm(press(), 4))
	d.unanswered(5)
	other := connect(t, d.RemoteAddr().String())
	other.send(login(t, "860000000000020", 1))
	other.answered(EncodeReply(0x01, 1)) // login and heartbeat do not depend on the store
	e.Set(nil, nil)
	d.send(EncodeAlarm(press(), 4))
	d.answered(EncodeReply(0x26, 4))
	if all := e.Alarms(); all[1].SourceEventID != all[2].SourceEventID || all[0].SourceEventID == all[1].SourceEventID {
		t.Errorf("keys %q %q %q", all[0].SourceEventID, all[1].SourceEventID, all[2].SourceEventID)
	}
}

func TestPressBeforeTheLoginIsAPress(t *testing.T) {
	e := &sostest.Ear{}
	d := connect(t, serve(t, e, ServerOptions{}))
	d.send(EncodeHeartbeat(4, 6, 4, 1, 1), EncodeAlarm(press(), 2))
	d.answered(EncodeReply(0x26, 2))
	if a := e.Alarms()[0]; a.ClaimedID != "addr:127.0.0.1" || a.Kinds[0] != care.KindSOS || len(a.Reasons) == 0 {
		t.Errorf("alarm %+v", a)
	}
}

func TestFrameIsReadAtEveryCut(t *testing.T) {
	e := &sostest.Ear{}
	addr := serve(t, e, ServerOptions{})
	alarm := EncodeAlarm(press(), 2)
	for cut := 1; cut < len(alarm); cut += 3 {
		d := connect(t, addr)
		_ = d.Conn.(*net.TCPConn).SetNoDelay(true)
		d.send(login(t, fmt.Sprintf("8600000000%05d", cut), 1), alarm[:cut])
		d.answered(EncodeReply(0x01, 1)) // what came before the cut is answered: the half frame waits alone
		d.send(alarm[cut:])
		d.answered(EncodeReply(0x26, 2))
	}
}

func TestBadFramesEndAConnection(t *testing.T) {
	e := &sostest.Ear{}
	addr := serve(t, e, ServerOptions{})
	bad := EncodeAlarm(press(), 9)
	bad[20] ^= 1
	patient := connect(t, addr)
	patient.send(login(t, imei, 1))
	patient.answered(EncodeReply(0x01, 1))
	for range 9 {
		patient.send(bad)
	}
	patient.unanswered(2)
	for range 9 {
		patient.send(bad)
	}
	patient.unanswered(3)
	for range 10 {
		patient.send(bad)
	}
	patient.closed()
	for name, junk := range map[string][]byte{"HTTP": []byte("GET / HTTP/1.1\r\nHost: a\r\nUser-Agent: " + string(bytes.Repeat([]byte("b"), 300))),
		"zeroes": make([]byte, 400), "an endless frame": append([]byte{0x79, 0x79, 0x0F, 0xFF}, bytes.Repeat([]byte{1}, 6000)...)} {
		t.Run(name, func(t *testing.T) {
			d := connect(t, addr)
			_, _ = d.Write(junk)
			d.closed()
		})
	}
	if n := len(e.Alarms()); n != 0 {
		t.Errorf("%d alarms out of garbage", n)
	}
}

func TestUnknownMessageIsAnsweredAfterItIsKept(t *testing.T) {
	e := &sostest.Ear{}
	d := connect(t, serve(t, e, ServerOptions{}))
	d.send(login(t, imei, 1), EncodeFrame(0x55, []byte{1, 2, 3}, 2))
	d.answered(EncodeReply(0x01, 1), EncodeReply(0x55, 2))
	if f := e.Frames(); len(f) != 1 || f[0].ClaimedID != imei || f[0].Reason != "unknown_type" {
		t.Errorf("kept %+v", f)
	}
	e.Set(nil, errors.New("disk is full"))
	d.send(EncodeFrame(0x55, []byte{1, 2, 3}, 3))
	d.unanswered(4)
}

func TestFloodOfOneDeviceLosesPositionsOnly(t *testing.T) {
	e := &sostest.Ear{}
	d := connect(t, serve(t, e, ServerOptions{}))
	d.send(login(t, imei, 1))
	for i := range 500 {
		d.send(EncodePosition(press(), uint16(i)))
	}
	d.send(EncodeAlarm(press(), 501))
	d.answered(EncodeReply(0x01, 1), EncodeReply(0x26, 501))
	if n := len(e.Signs()); n > 100 {
		t.Errorf("%d of 500 positions in a moment", n)
	}
}

// A storm of garbage leaves nothing behind.
func TestTenThousandPeersOfGarbage(t *testing.T) {
	if testing.Short() {
		t.Skip("ten thousand connections")
	}
	e := &sostest.Ear{}
	addr := serve(t, e, ServerOptions{Limits: sos.Limits{PerIP: 1000, AcceptRate: 1e6, AcceptBurst: 1e6, Login: time.Second}})
	before := heap()
	goroutines := runtime.NumGoroutine()
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(w), 1))
			junk := make([]byte, 700)
			for range 10_000 / 8 {
				c, err := net.Dial("tcp", addr)
				if err != nil {
					continue
				}
				for i := range junk {
					junk[i] = byte(r.Uint32())
				}
				copy(junk, []byte{0x78, 0x78, byte(r.Uint32()), 1})
				_, _ = c.Write(junk[:r.IntN(len(junk))])
				_ = c.Close()
			}
		})
	}
	wg.Wait()
	deadline := time.Now().Add(10 * time.Second)
	for runtime.NumGoroutine() > goroutines+4 && time.Now().Before(deadline) {
		runtime.Gosched()
		d := connect(t, addr) // the door is open to those who mean it
		d.send(login(t, imei, 1))
		d.answered(EncodeReply(0x01, 1))
		_ = d.Close()
	}
	if n := runtime.NumGoroutine(); n > goroutines+4 {
		t.Errorf("%d goroutines, %d before", n, goroutines)
	}
	if grown := int64(heap()) - int64(before); grown > 8<<20 {
		t.Errorf("the heap grew by %d KiB", grown>>10)
	}
	d := connect(t, addr)
	d.send(login(t, imei, 1), EncodeAlarm(press(), 2))
	d.answered(EncodeReply(0x01, 1), EncodeReply(0x26, 2))
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
