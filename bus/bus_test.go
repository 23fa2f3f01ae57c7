package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"anling/event"
)

// memoryBox is an outbox in memory that keeps the promises of the durable one.
type memoryBox struct {
	mu   sync.Mutex
	rows []Outgoing // guarded by mu
	wake chan struct{}
	fail error // guarded by mu: MarkSent fails with it
}

func newBox() *memoryBox { return &memoryBox{wake: make(chan struct{}, 1)} }

func (b *memoryBox) add(n int) {
	b.mu.Lock()
	for range n {
		i := int64(len(b.rows) + 1)
		b.rows = append(b.rows, Outgoing{Pos: i, EventID: fmt.Sprintf("e-%d", i), Subject: fmt.Sprintf("anling.evt.sos.alarm.received.a%d", i), Body: []byte(`{}`)})
	}
	b.mu.Unlock()
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

func (b *memoryBox) Waiting(_ context.Context, limit int) ([]Outgoing, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out []Outgoing
	for _, r := range b.rows {
		if r.EventID != "" && len(out) < limit {
			out = append(out, r)
		}
	}
	return out, nil
}

func (b *memoryBox) MarkSent(_ context.Context, rows []Outgoing) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.fail != nil {
		err := b.fail
		b.fail = nil
		return err
	}
	for _, r := range rows {
		b.rows[r.Pos-1].EventID = ""
	}
	return nil
}

func (b *memoryBox) Wake() <-chan struct{} { return b.wake }

func (b *memoryBox) waiting() int {
	rows, _ := b.Waiting(context.Background(), 1<<20)
	return len(rows)
}

func startBus(t *testing.T, opts Options) *Bus {
	t.Helper()
	if opts.StoreDir == "" {
		opts.StoreDir = t.TempDir()
	}
	opts.MaxStore = 64 << 20
	b, err := Start(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return b
}

// eventually polls a condition; it is the only way these tests wait.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(15 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("not within 15 s: %s", what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

func runRelay(t *testing.T, b *Bus, box Outbox) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- b.Relay(ctx, box) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("relay: %v", err)
		}
	})
}

func streamMessages(t *testing.T, b *Bus) uint64 {
	t.Helper()
	s, err := b.js.Stream(t.Context(), Stream)
	if err != nil {
		return 0
	}
	info, err := s.Info(t.Context())
	if err != nil {
		return 0
	}
	return info.State.Msgs
}

func TestRelayPublishesEveryRowOnce(t *testing.T) {
	for _, n := range []int{1, 15, 16, 1200} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			b, box := startBus(t, Options{}), newBox()
			box.add(n)
			runRelay(t, b, box)
			eventually(t, "outbox empty", func() bool { return box.waiting() == 0 })
			if got := streamMessages(t, b); got != uint64(n) {
				t.Errorf("stream has %d messages, want %d", got, n)
			}
		})
	}
}

func TestLostMarkIsRepeatedWithoutDoubles(t *testing.T) {
	b, box := startBus(t, Options{}), newBox()
	box.fail = errors.New("disk full")
	box.add(40) // an atomic batch; its repeat holds ids already stored
	runRelay(t, b, box)
	eventually(t, "outbox empty", func() bool { return box.waiting() == 0 })
	if got := streamMessages(t, b); got != 40 {
		t.Errorf("stream has %d messages, want 40", got)
	}
}

func TestStreamDeletedWhileRunningIsMadeAnew(t *testing.T) {
	b, box := startBus(t, Options{}), newBox()
	runRelay(t, b, box)
	box.add(3)
	eventually(t, "first rows sent", func() bool { return box.waiting() == 0 })
	if err := b.js.DeleteStream(t.Context(), Stream); err != nil {
		t.Fatal(err)
	}
	box.add(3)
	eventually(t, "rows sent after the stream was deleted", func() bool { return box.waiting() == 0 })
	if got := streamMessages(t, b); got != 3 {
		t.Errorf("stream has %d messages, want 3", got)
	}
	eventually(t, "health is ok again", func() bool { s, _ := b.Health(); return s == "ok" })
}

func TestExternalServerAwayThenBack(t *testing.T) {
	server := startBus(t, Options{Listen: "127.0.0.1:0", Signer: testSigner(t)})
	addr := server.Addr()
	b, err := Start(Options{Mode: External, URL: "nats://" + addr})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	box := newBox()
	box.add(1)
	runRelay(t, b, box)
	// Nobody has credentials here: the bus stays degraded, keeps the row, never ends.
	eventually(t, "health degraded", func() bool { s, d := b.Health(); return s == "degraded" && d != "" })
	if box.waiting() != 1 {
		t.Error("a row left the outbox without an acknowledgement")
	}
}

func testSigner(t *testing.T) *Signer {
	t.Helper()
	s, err := NewSigner([]byte(strings.Repeat("k", 32)))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func connectAs(t *testing.T, b *Bus, s *Signer, provider, user string, d time.Duration) (*nats.Conn, error) {
	t.Helper()
	token, err := s.Sign(Grant{Provider: provider, User: user, Expires: time.Now().Add(d)})
	if err != nil {
		t.Fatal(err)
	}
	return nats.Connect("nats://"+b.Addr(), nats.UserInfo(user, token), nats.CustomInboxPrefix("_INBOX_"+user), nats.NoReconnect())
}

func TestProviderHearsOnlyItsOwn(t *testing.T) {
	s := testSigner(t)
	b := startBus(t, Options{Listen: "127.0.0.1:0", Signer: s})
	nc, err := connectAs(t, b, s, "p7", "u1", time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	own, err := nc.SubscribeSync("anling.prov.p7.down.>")
	if err != nil {
		t.Fatal(err)
	}
	refused := make(chan error, 8)
	nc.SetErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { refused <- err })
	for _, subject := range []string{"anling.prov.p8.down.>", ">", "anling.>", "_INBOX.>", "$SYS.>"} {
		if _, err := nc.SubscribeSync(subject); err != nil {
			t.Fatal(err)
		}
	}
	for _, subject := range []string{"anling.prov.p8.up.offer.accept", "$JS.API.INFO", "anling.evt.sos.alarm.received.x"} {
		if err := nc.Publish(subject, []byte("{}")); err != nil {
			t.Fatal(err)
		}
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	for range 8 {
		select {
		case err := <-refused:
			if !errors.Is(err, nats.ErrPermissionViolation) {
				t.Errorf("got %v, want a permission violation", err)
			}
		case <-time.After(5 * time.Second):
			t.Fatal("a foreign subject was not refused")
		}
	}
	b.Down([]event.Event{
		{ID: "1", Type: "dispatch.offer.sent", AggID: "o1", ProviderID: "p8"},
		{ID: "2", Type: "dispatch.offer.sent", AggID: "o2", ProviderID: "p7"},
	})
	m, err := own.NextMsg(5 * time.Second)
	if err != nil {
		t.Fatal(err)
	}
	var e event.Event
	if err := json.Unmarshal(m.Data, &e); err != nil || e.AggID != "o2" || m.Subject != "anling.prov.p7.down.offer.o2" {
		t.Errorf("got %s %s (%v), want its own offer o2", m.Subject, m.Data, err)
	}
}

func TestDoorRefuses(t *testing.T) {
	s := testSigner(t)
	b := startBus(t, Options{Listen: "127.0.0.1:0", Signer: s})
	other, _ := NewSigner([]byte(strings.Repeat("x", 32)))
	forged, _ := other.Sign(Grant{Provider: "p7", User: "u1", Expires: time.Now().Add(time.Hour)})
	for what, opt := range map[string]nats.Option{
		"no credentials":   nats.Name("x"),
		"a forged token":   nats.UserInfo("u1", forged),
		"a guessed secret": nats.Token("anling"),
	} {
		if nc, err := nats.Connect("nats://"+b.Addr(), opt, nats.NoReconnect()); err == nil {
			nc.Close()
			t.Errorf("%s was let in", what)
		}
	}
	if nc, err := connectAs(t, b, s, "p7", "u1", -time.Second); err == nil {
		nc.Close()
		t.Error("an expired token was let in")
	}
}

func TestConnectionEndsWithItsToken(t *testing.T) {
	s := testSigner(t)
	b := startBus(t, Options{Listen: "127.0.0.1:0", Signer: s})
	nc, err := connectAs(t, b, s, "p7", "u1", 1500*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	eventually(t, "connection closed at its deadline", nc.IsClosed)
}

// coded is an error that is meant for the app.
type coded string

func (c coded) Error() string   { return string(c) }
func (coded) ErrorCode() string { return "invalid" }

func TestProviderCommandsAreAnswered(t *testing.T) {
	s := testSigner(t)
	b := startBus(t, Options{Listen: "127.0.0.1:0", Signer: s})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- b.Up(ctx, func(_ context.Context, c Command) (any, error) {
			switch c.Kind {
			case "offer.accept":
				return map[string]string{"provider": c.Provider}, nil
			case "offer.decline":
				return nil, errors.New("sqlite: disk I/O error of 王秀英")
			}
			return nil, coded("unknown command " + c.Kind)
		})
	}()
	defer func() { cancel(); <-done }()
	nc, err := connectAs(t, b, s, "p7", "u1", time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	ask := func(kind, body string) (text string) {
		eventually(t, "an answer to "+kind, func() bool {
			m, err := nc.Request("anling.prov.p7.up."+kind, []byte(body), time.Second)
			if err == nil {
				text = string(m.Data)
			}
			return err == nil
		})
		return text
	}
	for _, c := range []struct{ kind, body, want string }{
		{"offer.accept", `{"offer_id":"x"}`, `"provider":"p7"`},
		{"offer.steal", `{}`, `"code":"invalid","message":"unknown command offer.steal"`},
		{"offer.decline", `{}`, `{"code":"unavailable","message":"not done; ask again"}`},
		{"offer.accept", `{broken`, `not JSON`},
	} {
		if got := ask(c.kind, c.body); !strings.Contains(got, c.want) {
			t.Errorf("%s %s: got %s, want it to hold %s", c.kind, c.body, got, c.want)
		}
	}
}

func TestPortInUseIsSaid(t *testing.T) {
	first := startBus(t, Options{Listen: "127.0.0.1:0", Signer: testSigner(t)})
	_, err := Start(Options{StoreDir: t.TempDir(), Listen: first.Addr()})
	if err == nil || !strings.Contains(err.Error(), "address already in use") {
		t.Errorf("got %v, want an error that names the port in use", err)
	}
}

func TestUnlistenedServerOpensNoPort(t *testing.T) {
	b := startBus(t, Options{})
	if b.Addr() != "" {
		t.Errorf("listens on %s, want nothing", b.Addr())
	}
	if _, err := b.js.AccountInfo(t.Context()); err != nil && !errors.Is(err, jetstream.ErrJetStreamNotEnabled) {
		t.Errorf("jetstream: %v", err)
	}
}

func FuzzToken(f *testing.F) {
	s, _ := NewSigner([]byte(strings.Repeat("k", 32)))
	good, _ := s.Sign(Grant{Provider: "p7", User: "u1", Expires: time.Now().Add(time.Hour)})
	f.Add(good)
	f.Add("a.b")
	f.Fuzz(func(t *testing.T, token string) {
		if _, err := s.Check(token); err == nil && token != good {
			t.Errorf("forged token %q was taken", token)
		}
	})
}
