package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/nats-io/nats.go"

	"anling/cmd/internal/simclient"
	"anling/cmd/internal/simdevice"
	"anling/cmd/internal/simphone"
)

// rss is the resident memory of the server's process in bytes.
func (s *server) rss(t *testing.T) int64 {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid))
	if err != nil {
		t.Skipf("memory cannot be read here: %v", err)
	}
	for line := range strings.Lines(string(text)) {
		if v, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kb, err := strconv.ParseInt(strings.Fields(v)[0], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return kb << 10
		}
	}
	t.Fatal("no VmRSS")
	return 0
}

// bounded fails the test when memory grew by more than the door's buffers can hold:
// a connection owns a few KiB and the collector may let the heap double.
func (s *server) bounded(t *testing.T, before int64) {
	t.Helper()
	const most = 192 << 20
	if grown := s.rss(t) - before; grown > most {
		t.Errorf("the server grew by %d MiB", grown>>20)
	} else {
		t.Logf("the server grew by %d MiB", grown>>20)
	}
}

// TestAbuse lets peers do harm at every door. A press is acknowledged meanwhile, the
// server stays up, and its memory is bounded.
func TestAbuse(t *testing.T) {
	beside(t, working)
	s := newServer(t)
	s.start()
	admin, desk := s.login("admin"), s.login("operator1")
	k := s.screen(t, desk)
	who := s.pendants(t, admin, simdevice.GT06, 3)
	watch := s.pendants(t, admin, simdevice.Watch, 1)[0]
	t.Run("devices", func(t *testing.T) { s.harmDevices(t, k, who[0], watch) })
	t.Run("http", func(t *testing.T) { s.harmHTTP(t, desk) })
	t.Run("sip", func(t *testing.T) { s.harmSIP(t, k, who[1]) })
	t.Run("nats", func(t *testing.T) { s.harmNATS(t, admin) })
	s.pressed(t, s.wear(t, who[2], time.Second))
	k.opened(t, who[2].ID)
	s.unharmed(t)
}

// unharmed fails when a handler panicked or the SIP stack met a fault.
func (s *server) unharmed(t *testing.T) {
	t.Helper()
	for _, name := range []string{"anling_web_panics_total", "anling_sip_faults_total"} {
		if v := s.number(name); v > 0 {
			t.Errorf("%s is %v", name, v)
		}
	}
}

// harmDevices has 300 bad devices of every kind at both doors while good ones press.
func (s *server) harmDevices(t *testing.T, k *console, pendant, watch simclient.Device) {
	before := s.rss(t)
	ctx, cancel := context.WithCancel(s.ctx())
	defer cancel()
	var harm sync.WaitGroup
	var mu sync.Mutex
	ended := map[simdevice.Abuse]int{}
	kinds := []simdevice.Abuse{simdevice.Garbage, simdevice.Slow, simdevice.Silent, simdevice.Oversize, simdevice.BadSum}
	for i := range 300 {
		kind, protocol, addr := kinds[i%len(kinds)], simdevice.GT06, s.gt06
		if i%2 == 1 {
			protocol, addr = simdevice.Watch, s.watch
		}
		harm.Go(func() {
			for ctx.Err() == nil { // an ended one comes back
				if _, bye, err := simdevice.Harm(ctx, kind, protocol, addr, uint64(i)); err == nil && bye {
					mu.Lock()
					ended[kind]++
					mu.Unlock()
				}
				select {
				case <-ctx.Done():
				case <-time.After(200 * time.Millisecond):
				}
			}
		})
	}
	for _, d := range []simclient.Device{pendant, watch} {
		dev := s.wear(t, d, 2*time.Second)
		s.pressed(t, dev)
		k.opened(t, d.ID)
	}
	s.until("every kind of harm is cut off", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(ended) == len(kinds)
	})
	s.bounded(t, before)
	cancel()
	harm.Wait()
}

// harmHTTP sends what no page sends.
func (s *server) harmHTTP(t *testing.T, desk *simclient.Client) {
	before := s.rss(t)
	cookie := s.cookie(t)
	ask := func(method, path string, body io.Reader, header map[string]string) (int, string) {
		t.Helper()
		req, err := http.NewRequestWithContext(s.ctx(), method, "http://"+s.http+path, body)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Cookie", cookie)
		for k, v := range header {
			req.Header.Set(k, v)
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close() //nolint:errcheck // read to its end
		text, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return res.StatusCode, string(text)
	}
	big := `{"duty":"` + strings.Repeat("x", 8<<20) + `"}`
	cases := []struct {
		name, path, body string
		header           map[string]string
		status           int
		says             string
	}{
		{"a body of eight megabytes", "/api/v1/incidents", big, nil, 413, ""},
		{"the same before the sign-in", "/api/v1/login", big, map[string]string{"Cookie": ""}, 413, ""},
		{"no JSON", "/api/v1/incidents", `{"kinds":[`, nil, 400, ""},
		{"a field of a wrong type", "/api/v1/operators/me/state", `{"state":7}`, nil, 400, "state"},
		{"a field that does not exist", "/api/v1/operators/me/state", `{"state":"ready","moon":1}`, nil, 400, "moon"},
		{"an impossible position", "/api/v1/incidents", `{"kinds":["sos"],"note":"x","place":{"lat":900,"lng":1}}`, nil, 400, "lat"},
		{"a header of 64 KiB", "/api/v1/login", `{}`, map[string]string{"X-Long": strings.Repeat("a", 64<<10)}, 431, ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			status, text := ask("POST", c.path, strings.NewReader(c.body), c.header)
			if status != c.status || !strings.Contains(text, c.says) {
				t.Errorf("answered %d %.300s, want %d naming %q", status, text, c.status, c.says)
			}
			if c.status != 431 {
				var e struct{ Code, Message string }
				if err := json.Unmarshal([]byte(text), &e); err != nil || e.Code == "" || e.Message == "" {
					t.Errorf("the refusal is not explained: %.300s", text)
				}
			}
		})
	}
	// Two hundred clients that never finish their head: cut off, others are served.
	var slow []net.Conn
	for range 200 {
		c, err := net.Dial("tcp", s.http)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close() //nolint:errcheck // given up
		if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\nX-A: "); err != nil {
			t.Fatal(err)
		}
		slow = append(slow, c)
	}
	if status, _ := ask("GET", "/api/v1/incidents", nil, nil); status != 200 {
		t.Errorf("answered %d while slow clients hold on", status)
	}
	for _, c := range slow {
		_ = c.SetReadDeadline(time.Now().Add(patience))
		if _, err := io.Copy(io.Discard, c); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal("a client that never finishes its head is not cut off")
		}
	}
	s.bounded(t, before)
}

// cookie signs operator1 in and returns the session as a header.
func (s *server) cookie(t *testing.T) string {
	t.Helper()
	body := fmt.Sprintf(`{"name":"operator1","password":%q}`, s.password)
	res, err := http.Post("http://"+s.http+"/api/v1/login", "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close() //nolint:errcheck // not read
	for _, c := range res.Cookies() {
		return c.Name + "=" + c.Value
	}
	t.Fatalf("no cookie: %d", res.StatusCode)
	return ""
}

// TestPageThatDoesNotRead has a page that stops reading: it is closed as too slow, when
// its queue runs over or when it answers no ping, whichever is first; others go on.
func TestPageThatDoesNotRead(t *testing.T) {
	beside(t, waiting)
	s := newServer(t)
	s.start()
	admin, desk := s.login("admin"), s.login("operator1")
	before := s.rss(t)
	// A small window, so that the kernel does not read for it.
	var line *net.TCPConn
	transport := &http.Transport{DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := (&net.Dialer{}).DialContext(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		line = c.(*net.TCPConn)
		return c, line.SetReadBuffer(4096)
	}}
	conn, _, err := websocket.Dial(s.ctx(), "ws://"+s.http+"/ws", &websocket.DialOptions{HTTPClient: &http.Client{Transport: transport}, HTTPHeader: http.Header{"Cookie": {s.cookie(t)}}})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.CloseNow() //nolint:errcheck // it is over
	conn.SetReadLimit(64 << 20)
	if err := conn.Write(s.ctx(), websocket.MessageText, []byte(`{"type":"hello","client":1,"views":["desk"]}`)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := conn.Read(s.ctx()); err != nil { // welcome; and no more is read
		t.Fatal(err)
	}
	var who simclient.Items[simclient.Responder]
	if err := admin.Get(s.ctx(), "/responders", &who); err != nil || len(who.Items) == 0 {
		t.Fatalf("responders: %v", err)
	}
	slow := `anling_web_live_closed_total{reason="too slow"}`
	n := 0
	s.until("the page that does not read is closed", func() bool {
		n++
		if err := desk.Post(s.ctx(), "/responders/"+who.Items[n%len(who.Items)].ID+"/duty", map[string]string{"duty": []string{"on", "paused"}[n/len(who.Items)%2]}, nil); err != nil {
			t.Fatalf("who reads does not go on: %v", err)
		}
		return s.number(slow) >= 1
	})
	if err := line.SetReadBuffer(4 << 20); err != nil { // what was sent already is read now
		t.Fatal(err)
	}
	for err == nil {
		_, _, err = conn.Read(s.ctx())
	}
	if code := websocket.CloseStatus(err); code != 4008 && code != -1 { // −1: cut off, the code could not come through
		t.Errorf("closed with %d: %v", code, err)
	}
	s.bounded(t, before)
	s.unharmed(t)
}

// tortures are the messages of RFC 4475 as sipgo's module has them, if it is there.
func tortures(t *testing.T) [][]byte {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/emiago/sipgo").Output()
	if err != nil {
		t.Logf("no torture files: %v", err)
		return nil
	}
	var all [][]byte
	for _, kind := range []string{"valid", "invalid"} {
		names, _ := filepath.Glob(filepath.Join(strings.TrimSpace(string(out)), "sip", "testdata", "torture", kind, "*"))
		for _, name := range names {
			b, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, b)
		}
	}
	return all
}

// harmSIP sends what is no SIP, and what only looks like it, by UDP and TCP. A
// telephone registers and a press is acknowledged meanwhile.
func (s *server) harmSIP(t *testing.T, k *console, pendant simclient.Device) {
	before := s.rss(t)
	random := rand.New(rand.NewPCG(7, 7))
	noise := func(n int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(random.Uint32())
		}
		return b
	}
	head := "INVITE sip:x@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:9;branch=z9hG4bK%d\r\n"
	messages := tortures(t)
	t.Logf("%d torture messages", len(messages))
	for i := range 200 {
		messages = append(messages, noise(1+random.IntN(1400)), append(fmt.Appendf(nil, head, i), noise(300)...))
	}
	messages = append(messages,
		append(fmt.Appendf(nil, head, 1000), []byte("X: "+strings.Repeat("a", 60000)+"\r\n\r\n")...),
		append(fmt.Appendf(nil, head, 1001), bytes.Repeat([]byte("V: SIP/2.0/UDP a\r\n"), 3000)...),
		append(fmt.Appendf(nil, head, 1002), []byte("Content-Length: 999999999\r\n\r\n")...))
	ctx, cancel := context.WithCancel(s.ctx())
	defer cancel()
	var harm sync.WaitGroup
	rounds := make(chan struct{}, 1)
	harm.Go(func() {
		c, err := net.Dial("udp", s.sip)
		if err != nil {
			return
		}
		defer c.Close() //nolint:errcheck // no more is sent
		for n := 0; ctx.Err() == nil; n++ {
			_, _ = c.Write(messages[n%len(messages)])
			if n == 3*len(messages) {
				rounds <- struct{}{}
			}
			if n%20 == 0 {
				<-time.After(5 * time.Millisecond)
			}
		}
	})
	for range 8 {
		harm.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				c, err := net.Dial("tcp", s.sip)
				if err != nil {
					continue
				}
				_ = c.SetDeadline(time.Now().Add(2 * time.Second))
				if n%3 == 0 { // a head without end
					for range 2000 {
						if _, err := io.WriteString(c, "X-Header: "+strings.Repeat("b", 1000)+"\r\n"); err != nil {
							break
						}
					}
				}
				for range 5 {
					_, _ = c.Write(messages[(n*7)%len(messages)])
				}
				_, _ = io.Copy(io.Discard, bufio.NewReader(io.LimitReader(c, 1<<16)))
				_ = c.Close()
			}
		})
	}
	s.telephone(t, simphone.Options{Account: "1001", Password: s.password, Register: true, Tone: 440})
	s.pressed(t, s.wear(t, pendant, 2*time.Second))
	k.opened(t, pendant.ID)
	select {
	case <-rounds:
	case <-time.After(patience):
		t.Error("not all messages were sent")
	}
	s.bounded(t, before)
	cancel()
	harm.Wait()
	phone := s.telephone(t, simphone.Options{Account: "carrier"})
	if code, err := phone.Options(s.ctx()); err != nil || code != 200 {
		t.Errorf("OPTIONS is answered %d, %v", code, err)
	}
}

// harmNATS tries the door of provider apps without a token, with a wrong one, and
// with one provider's at another's subjects.
func (s *server) harmNATS(t *testing.T, admin *simclient.Client) {
	url := "nats://" + s.nats
	for name, o := range map[string]nats.Option{"no token": nats.Name("x"), "a made-up token": nats.Token("eyJwIjoiYSJ9.c2ln"), "a user and password": nats.UserInfo("admin", s.password)} {
		if c, err := nats.Connect(url, o, nats.MaxReconnects(0)); err == nil {
			c.Close()
			t.Errorf("NATS lets in with %s", name)
		} else if !errors.Is(err, nats.ErrAuthorization) && !strings.Contains(strings.ToLower(err.Error()), "authorization") {
			t.Errorf("with %s: %v", name, err)
		}
	}
	var providers simclient.Items[struct{ ID string }]
	if err := admin.Get(s.ctx(), "/providers", &providers); err != nil || len(providers.Items) < 2 {
		t.Fatalf("providers: %d, %v", len(providers.Items), err)
	}
	own, other := providers.Items[0].ID, providers.Items[1].ID
	var token struct{ Token, User string }
	if err := admin.Post(s.ctx(), "/providers/"+own+"/token", map[string]any{"user": "app"}, &token); err != nil {
		t.Fatal(err)
	}
	refused := make(chan error, 64)
	c, err := nats.Connect(url, nats.Token(token.Token), nats.CustomInboxPrefix("_INBOX_"+token.User), nats.MaxReconnects(0),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			select {
			case refused <- err:
			default:
			}
		}))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	denied := func(what string) {
		t.Helper()
		_ = c.Flush()
		select {
		case err := <-refused:
			if !errors.Is(err, nats.ErrPermissionViolation) {
				t.Errorf("%s: %v", what, err)
			}
		case <-time.After(patience):
			t.Errorf("%s is not refused", what)
		}
	}
	for _, subject := range []string{"anling.evt.>", "anling.fast.>", "anling.prov." + other + ".down.>", ">", "$JS.API.>", "_INBOX.>"} {
		if _, err := c.SubscribeSync(subject); err != nil {
			t.Fatal(err)
		}
		denied("to listen to " + subject)
	}
	for _, subject := range []string{"anling.evt.dispatch.incident.opened", "anling.prov." + other + ".up.offer.accept", "anling.prov." + own + ".down.offer.x", "$JS.API.STREAM.DELETE.EVT"} {
		if err := c.Publish(subject, []byte("{}")); err != nil {
			t.Fatal(err)
		}
		denied("to say " + subject)
	}
	down, err := c.SubscribeSync("anling.prov." + own + ".down.>")
	if err != nil {
		t.Fatal(err)
	}
	if err := c.FlushWithContext(s.ctx()); err != nil {
		t.Fatal(err)
	}
	// Its own: a command is answered, be it with a refusal that says why.
	answer, err := c.RequestWithContext(s.ctx(), "anling.prov."+own+".up.offer.accept", []byte(`{"offer_id":"nonesuch"}`))
	if err != nil {
		t.Fatalf("a command of the provider's own: %v", err)
	}
	var e struct{ Code, Message string }
	if err := json.Unmarshal(answer.Data, &e); err != nil || e.Code == "" {
		t.Errorf("answered %s", answer.Data)
	}
	select {
	case err := <-refused:
		t.Errorf("its own subjects are refused: %v", err)
	default:
	}
	if !down.IsValid() {
		t.Error("listening to its own subjects is ended")
	}
}
