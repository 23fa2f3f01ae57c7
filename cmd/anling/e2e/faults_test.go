package e2e

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	natsd "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/redis/go-redis/v9"
	_ "modernc.org/sqlite" // the server's database is read when the server has ended

	"anling/cmd/internal/simclient"
	"anling/cmd/internal/simdevice"
	"anling/cmd/internal/simphone"
	"anling/geo"
)

// natsEnv makes this test's binary a NATS server, a process that can be killed.
const natsEnv = "E2E_NATS_SERVER"

// serveNATS is the child: "address directory".
func serveNATS(spec string) {
	addr, dir, _ := strings.Cut(spec, " ")
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		panic(err)
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		panic(err)
	}
	ns, err := natsd.NewServer(&natsd.Options{Host: host, Port: n, JetStream: true, StoreDir: dir, SyncAlways: true, NoLog: true})
	if err != nil {
		panic(err)
	}
	ns.Start()
	ns.WaitForShutdown()
}

// peer is another program that the server needs, which dies and comes back.
type peer struct {
	t    *testing.T
	make func() *exec.Cmd
	cmd  *exec.Cmd
	addr string
}

func (p *peer) start() {
	p.t.Helper()
	p.cmd = p.make()
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	end := time.Now().Add(patience)
	for {
		c, err := net.DialTimeout("tcp", p.addr, time.Second)
		if err == nil {
			_ = c.Close()
			return
		}
		if time.Now().After(end) {
			p.t.Fatalf("%s does not listen on %s: %v", p.cmd.Path, p.addr, err)
		}
		<-time.After(20 * time.Millisecond)
	}
}

// kill ends it at once, as a crash does.
func (p *peer) kill() {
	if p.cmd == nil {
		return
	}
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
	p.cmd = nil
}

func newPeer(t *testing.T, addr string, command func() *exec.Cmd) *peer {
	p := &peer{t: t, make: command, addr: addr}
	t.Cleanup(p.kill)
	p.start()
	return p
}

// facts reads the ids of all events from the database of a server that has ended.
func (s *server) facts(t *testing.T) map[string]bool {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(s.dir, "data", "db", "anling.db")+"?mode=ro")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close() //nolint:errcheck // opened read-only
	rows, err := db.QueryContext(s.ctx(), "SELECT id FROM event")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close() //nolint:errcheck // read to its end
	all := map[string]bool{}
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			t.Fatal(err)
		}
		all[id] = true
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return all
}

// streamed reads the whole stream of facts and counts each id.
func streamed(ctx context.Context, t *testing.T, url string) map[string]int {
	t.Helper()
	nc, err := nats.Connect(url)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	stream, err := js.Stream(ctx, "EVT")
	if err != nil {
		t.Fatal(err)
	}
	info, err := stream.Info(ctx)
	if err != nil {
		t.Fatal(err)
	}
	reader, err := js.OrderedConsumer(ctx, "EVT", jetstream.OrderedConsumerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]int{}
	for n := uint64(0); n < info.State.Msgs; {
		batch, err := reader.Fetch(500, jetstream.FetchMaxWait(5*time.Second))
		if err != nil {
			t.Fatal(err)
		}
		was := n
		for m := range batch.Messages() {
			var e struct{ ID string }
			if err := json.Unmarshal(m.Data(), &e); err != nil || e.ID == "" {
				t.Fatalf("a message of the stream is no event: %v %s", err, m.Data())
			}
			if id := m.Headers().Get("Nats-Msg-Id"); id != e.ID {
				t.Errorf("message of event %s has id %q", e.ID, id)
			}
			found[e.ID]++
			n++
		}
		if n == was {
			t.Fatalf("the stream says that it has %d messages and gives %d", info.State.Msgs, n)
		}
	}
	return found
}

// number reads a metric as a number; −1 when it is not there.
func (s *server) number(name string) float64 {
	v, err := strconv.ParseFloat(s.metric(name), 64)
	if err != nil {
		return -1
	}
	return v
}

// TestNATSAway kills an external NATS while alarms arrive. They are acknowledged and
// shown without it; when it is back the stream has every fact once.
func TestNATSAway(t *testing.T) {
	beside(t, waiting)
	addr, dir := claim(t).addr(), t.TempDir()
	bus := newPeer(t, addr, func() *exec.Cmd {
		c := exec.Command(os.Args[0])
		c.Env = append(os.Environ(), natsEnv+"="+addr+" "+dir)
		return c
	})
	s := newServer(t, "NATS_MODE=external", "NATS_URL=nats://"+addr)
	s.start()
	s.part("nats", "ok", 200)
	admin := s.login("admin")
	k := s.screen(t, s.login("operator1"))
	who := s.pendants(t, admin, simdevice.GT06, 6)
	s.pressed(t, s.wear(t, who[0], time.Second))
	k.opened(t, who[0].ID)
	s.until("the outbox is empty", func() bool {
		return s.number("anling_bus_outbox_pending") == 0 && s.number("anling_bus_relayed_total") > 0
	})

	bus.kill()
	for _, d := range who[1:5] {
		s.pressed(t, s.wear(t, d, time.Second))
		k.opened(t, d.ID)
	}
	s.part("nats", "degraded", 200)
	s.until("the outbox shows what waits", func() bool { return s.number("anling_bus_outbox_pending") >= 4 })
	s.until("the metric shows NATS degraded", func() bool { return s.number(`anling_server_part_state{part="nats"}`) == 1 })

	bus.start()
	s.pressed(t, s.wear(t, who[5], time.Second))
	k.opened(t, who[5].ID)
	s.part("nats", "ok", 200)
	s.until("the outbox is empty again", func() bool { return s.number("anling_bus_outbox_pending") == 0 })
	s.stop() // the relay's last round may still miss what the end itself wrote
	kept, sent := s.facts(t), streamed(s.ctx(), t, "nats://"+addr)
	for id, n := range sent {
		if n != 1 || !kept[id] {
			t.Errorf("event %s is %d times in the stream, in the table: %t", id, n, kept[id])
		}
	}
	late := 0
	for id := range kept {
		if sent[id] == 0 {
			late++
		}
	}
	if late > 20 { // sign-offs and ends of calls at the stop; sent at the next start
		t.Errorf("%d of %d events are not in the stream", late, len(kept))
	}
	// The next start sends the rest.
	s.start("serve")
	s.until("the stream has all", func() bool {
		return s.number("anling_bus_relayed_total") >= float64(late) && s.number("anling_bus_outbox_pending") == 0
	})
	sent = streamed(s.ctx(), t, "nats://"+addr)
	for id := range kept {
		if sent[id] != 1 {
			t.Errorf("event %s is %d times in the stream after the next start", id, sent[id])
		}
	}
}

// TestNATSStoreGone takes the embedded server's files away, while it runs and before
// it starts.
func TestNATSStoreGone(t *testing.T) {
	beside(t, waiting)
	s := newServer(t)
	s.start()
	admin := s.login("admin")
	k := s.screen(t, s.login("operator1"))
	who := s.pendants(t, admin, simdevice.GT06, 3)
	s.part("nats", "ok", 200)
	place := filepath.Join(s.dir, "data", "nats", "standalone")
	if err := os.RemoveAll(place); err != nil {
		t.Fatal(err)
	}
	s.pressed(t, s.wear(t, who[0], time.Second))
	k.opened(t, who[0].ID)
	s.until("/readyz answers", func() bool { status, _ := s.ready(); return status == 200 })
	s.kill()

	// A file in the place of the directory: the embedded server cannot start.
	if err := os.RemoveAll(place); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(place), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(place, []byte("not a directory"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.start("serve")
	k = s.screen(t, s.login("operator1"))
	s.part("nats", "degraded", 200)
	s.pressed(t, s.wear(t, who[1], time.Second))
	k.opened(t, who[1].ID)
	s.until("the outbox shows what waits", func() bool { return s.number("anling_bus_outbox_pending") > 0 })
	s.until("the metric shows NATS degraded", func() bool { return s.number(`anling_server_part_state{part="nats"}`) == 1 })
	if err := os.Remove(place); err != nil {
		t.Fatal(err)
	}
	s.part("nats", "ok", 200)
	s.until("the outbox is empty", func() bool { return s.number("anling_bus_outbox_pending") == 0 })
	s.pressed(t, s.wear(t, who[2], time.Second))
	k.opened(t, who[2].ID)
}

// TestRedisAway wipes and kills the live store while alarms, offers and positions go on.
func TestRedisAway(t *testing.T) {
	beside(t, waiting)
	if _, err := exec.LookPath("redis-server"); err != nil {
		t.Skip("redis-server is not installed: make test installs it")
	}
	addr, dir := claim(t).addr(), t.TempDir()
	_, port, _ := strings.Cut(addr, ":")
	box := newPeer(t, addr, func() *exec.Cmd {
		return exec.Command("redis-server", "--bind", "127.0.0.1", "--port", port, "--save", "", "--appendonly", "no", "--dir", dir)
	})
	s := newServer(t, "LIVE_ENGINE=redis", "LIVE_REDIS_ADDRS=["+addr+"]")
	s.start()
	s.part("live", "ok", 200)
	admin, desk := s.login("admin"), s.login("operator1")
	k := s.screen(t, desk)
	who := s.pendants(t, admin, simdevice.GT06, 3)
	field := s.login("responder1")
	var me struct {
		ResponderID string `json:"responder_id"`
	}
	if err := field.Get(s.ctx(), "/me", &me); err != nil {
		t.Fatal(err)
	}
	if err := field.Post(s.ctx(), "/responders/"+me.ResponderID+"/duty", map[string]string{"duty": "on"}, nil); err != nil {
		t.Fatal(err)
	}
	moved := func(lat float64) {
		t.Helper()
		err := field.Post(s.ctx(), "/positions", map[string]any{"lat": lat, "lng": 102.7201, "accuracy_m": 10, "at": time.Now().UTC(), "datum": "wgs84"}, nil)
		if err != nil {
			t.Fatalf("position: %v", err)
		}
		s.until("the desk sees where the responder is", func() bool {
			var all simclient.Items[struct {
				ID  string
				Fix struct{ Point simclient.Point }
			}]
			if err := desk.Get(s.ctx(), "/responders", &all); err != nil {
				t.Fatal(err)
			}
			return slices.ContainsFunc(all.Items, func(r struct {
				ID  string
				Fix struct{ Point simclient.Point }
			}) bool {
				return r.ID == me.ResponderID && r.Fix.Point.Lat > lat-1e-6 && r.Fix.Point.Lat < lat+1e-6
			})
		})
	}
	client := redis.NewClient(&redis.Options{Addr: addr})
	defer client.Close() //nolint:errcheck // of the test alone
	shared := func() bool {
		keys, err := client.Keys(s.ctx(), "*posval*").Result()
		if err != nil {
			return false
		}
		for _, key := range keys {
			if ok, err := client.HExists(s.ctx(), key, me.ResponderID).Result(); err == nil && ok {
				return true
			}
		}
		return false
	}
	alarm := func(d simclient.Device) {
		t.Helper()
		s.pressed(t, s.wear(t, d, time.Second))
		id := k.opened(t, d.ID)
		k.shown(t, "an offer for the incident", func(e simclient.Event) bool { return e.Kind == "dispatch.offer.sent" && e.IncidentID == id })
	}
	moved(25.0411)
	s.until("positions are shared", shared)
	if err := client.FlushAll(s.ctx()).Err(); err != nil {
		t.Fatal(err)
	}
	s.until("positions are shared again after FLUSHALL", shared)
	alarm(who[0])

	box.kill()
	moved(25.0412)
	alarm(who[1])
	s.part("live", "degraded", 200)
	s.until("the metric shows the live store degraded", func() bool { return s.number(`anling_server_part_state{part="live"}`) == 1 })

	box.start()
	s.part("live", "ok", 200)
	s.until("positions are shared after Redis came back", shared)
	moved(25.0413)
	alarm(who[2])
}

// disk is a small file system of its own, which can be filled.
type disk struct {
	t     *testing.T
	place string
}

// newDisk mounts one, or skips the test where that is not allowed.
func newDisk(t *testing.T, mib int) *disk {
	t.Helper()
	d := &disk{t: t, place: t.TempDir()}
	if err := syscall.Mount("tmpfs", d.place, "tmpfs", 0, fmt.Sprintf("size=%dm", mib)); err != nil {
		t.Skipf("SKIPPED: a full disk needs the right to mount a small one (root): %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(d.place, syscall.MNT_DETACH); err != nil {
			t.Errorf("unmount %s: %v", d.place, err)
		}
	})
	return d
}

// fill takes every byte that is left.
func (d *disk) fill() {
	d.t.Helper()
	f, err := os.OpenFile(filepath.Join(d.place, "fill"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		d.t.Fatal(err)
	}
	defer f.Close() //nolint:errcheck // a full disk may say so again
	for size := 1 << 20; size > 0; {
		if _, err := f.Write(bytes.Repeat([]byte{1}, size)); errors.Is(err, syscall.ENOSPC) {
			size /= 2
		} else if err != nil {
			d.t.Fatal(err)
		}
	}
}

// free gives it all back.
func (d *disk) free() {
	d.t.Helper()
	if err := os.Remove(filepath.Join(d.place, "fill")); err != nil {
		d.t.Fatal(err)
	}
}

// checkpoint is the default of storage.checkpoint: each may find room in the log for
// some more changes although the disk is full.
const checkpoint = time.Second

// filled is a server that serves a generated district from a small disk.
func filled(t *testing.T, d *disk, settings ...string) *server {
	t.Helper()
	s := newServer(t, append([]string{"DATA_DIR=" + filepath.Join(d.place, "data"), "RECORDING_DIR=" + filepath.Join(d.place, "recordings"),
		"BACKUP_AT=", "SIP_HOTLINE=" + hotline, "LOG_LEVEL=warn"}, settings...)...)
	s.start() // the district is written
	s.stop()
	s.start("serve")
	return s
}

// exhaust writes until the space that the database has already is used up as well.
func (s *server) exhaust(desk *simclient.Client, over func() bool) {
	s.t.Helper()
	var who simclient.Items[simclient.Responder]
	if err := desk.Get(s.ctx(), "/responders", &who); err != nil || len(who.Items) == 0 {
		s.t.Fatalf("responders: %v", err)
	}
	n := 0
	s.until("the disk is full to the last page", func() bool {
		n++
		// Each is a row and a fact; that it is refused in the end is the purpose.
		_ = desk.Post(s.ctx(), "/responders/"+who.Items[n%len(who.Items)].ID+"/duty", map[string]string{"duty": []string{"on", "paused"}[n/len(who.Items)%2]}, nil)
		return n%10 == 0 && over()
	})
}

// TestDiskFullBallast fills the disk: the ballast is freed, and alarms go on.
func TestDiskFullBallast(t *testing.T) {
	beside(t, waiting)
	d := newDisk(t, 256)
	s := filled(t, d, "STORAGE_RESERVE_MB=16", "STORAGE_JOURNAL_DIR="+t.TempDir())
	admin, desk := s.login("admin"), s.login("operator1")
	k := s.screen(t, desk)
	who := s.pendants(t, admin, simdevice.GT06, 3)
	reserve := filepath.Join(d.place, "data", "reserve.bin")
	s.until("the ballast is laid", func() bool { st, err := os.Stat(reserve); return err == nil && st.Size() == 16<<20 })
	d.fill()
	s.exhaust(desk, func() bool { _, err := os.Stat(reserve); return errors.Is(err, os.ErrNotExist) })
	for _, x := range who {
		s.pressed(t, s.wear(t, x, time.Second))
		k.opened(t, x.ID)
	}
	s.part("store", "degraded", 200)
	if v := s.number(`anling_store_degraded{reason="disk"}`); v != 1 {
		t.Errorf("anling_store_degraded of the disk is %v on a full one", v)
	}
}

// TestDiskFull takes the last byte. The press gets no answer, and yet an operator's
// console and telephone know of it; when there is room again it is stored once.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		apart bool // the journal is on a disk of its own
		kill  bool // the server is killed in that state
	}{
		{"journal on the same disk", false, false},
		{"journal on another disk, killed", true, true},
		{"journal on the same disk, killed", false, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			beside(t, waiting)
			d := newDisk(t, 192)
			var settings []string
			if c.apart {
				settings = append(settings, "STORAGE_JOURNAL_DIR="+t.TempDir())
			}
			s := filled(t, d, settings...)
			admin, desk := s.login("admin"), s.login("operator1")
			k := s.screen(t, desk)
			who := s.pendants(t, admin, simdevice.GT06, 2)
			phone := s.telephone(t, simphone.Options{Account: "1001", Password: s.password, Register: true, Expires: time.Hour, Tone: 440, Answer: simphone.Answer{Manual: true}})
			if err := desk.Post(s.ctx(), "/operators/me/state", map[string]string{"state": "ready"}, nil); err != nil {
				t.Fatal(err)
			}
			pendant := s.wear(t, who[0], 500*time.Millisecond)
			d.fill()
			var failing time.Time
			s.exhaust(desk, func() bool {
				if status, _ := s.ready(); status != 503 {
					failing = time.Time{}
				} else if failing.IsZero() {
					failing = time.Now()
				}
				return !failing.IsZero() && time.Since(failing) > 3*checkpoint
			})
			s.part("store", "failing", 503)
			if _, err := pendant.Send(simdevice.Press{Point: geo.Point{Lat: 25.0401, Lng: 102.7203}}); err != nil {
				t.Fatal(err)
			}
			if e := k.emergency(t, who[0].ID); e["journalled"] != true {
				t.Errorf("the emergency says journalled=%v", e["journalled"])
			}
			ring, err := phone.WaitCall(s.ctx())
			if err != nil {
				t.Fatalf("no telephone rings for the alarm that is not stored: %v", err)
			}
			if n := pendant.Stats().Acked; n != 0 {
				t.Errorf("the press is acknowledged %d times although it is not stored", n)
			}
			if n := s.number("anling_dispatch_unstored_alarms"); n < 1 {
				t.Errorf("anling_dispatch_unstored_alarms is %v", n)
			}
			if n := s.number(`anling_store_degraded{reason="commit"}`); n != 1 {
				t.Errorf("anling_store_degraded is %v", n)
			}
			s.part("journal", "failing", 503)
			ring.Answer()
			if err := ring.Wait(s.ctx(), simphone.Answered); err != nil {
				t.Errorf("the operator cannot answer while the disk is full: %v", err)
			}
			if c.kill {
				s.kill()
				d.free()
				s.start("serve")
				admin = s.login("admin")
			} else {
				d.free()
			}
			s.until("the press is acknowledged", func() bool { return pendant.Stats().Acked == 1 })
			s.part("journal", "ok", 200)
			s.until("no alarm is unstored", func() bool { return s.number("anling_dispatch_unstored_alarms") == 0 })
			stored := s.alarmsOf(t, admin, who[0].ID)
			if len(stored) != 1 || stored[0].IncidentID == "" {
				t.Errorf("the press is stored as %v, want once, with an incident", stored)
			}
			// And the next one goes the usual way.
			s.pressed(t, s.wear(t, who[1], time.Second))
			if n := len(s.alarmsOf(t, admin, who[1].ID)); n != 1 {
				t.Errorf("the next press is stored %d times", n)
			}
		})
	}
}
