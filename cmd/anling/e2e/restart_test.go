package e2e

import (
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"anling/cmd/internal/simclient"
	"anling/cmd/internal/simdevice"
	"anling/cmd/internal/simload"
	"anling/cmd/internal/simphone"
	"anling/geo"
)

// near is the place of a responder who has an account, so that he is offered what is
// pressed there.
func (s *server) near(t *testing.T, desk *simclient.Client) geo.Point {
	t.Helper()
	var me struct {
		ResponderID string `json:"responder_id"`
	}
	if err := s.login("responder1").Get(s.ctx(), "/me", &me); err != nil {
		t.Fatal(err)
	}
	var all simclient.Items[simclient.Responder]
	if err := desk.Get(s.ctx(), "/responders", &all); err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(all.Items, func(r simclient.Responder) bool { return r.ID == me.ResponderID && r.Fix != nil })
	if i < 0 {
		t.Fatal("nobody knows where responder1 is")
	}
	return geo.Point{Lat: all.Items[i].Fix.Point.Lat, Lng: all.Items[i].Fix.Point.Lng}
}

// offered presses and waits for the first wave; the incident's id is returned.
func (s *server) offered(t *testing.T, k *console, d simclient.Device, at geo.Point) string {
	t.Helper()
	if _, err := s.wear(t, d, time.Second).Press(s.ctx(), simdevice.Press{Point: at}); err != nil {
		t.Fatal(err)
	}
	id := k.opened(t, d.ID)
	k.shown(t, "an offer", func(e simclient.Event) bool { return e.Kind == "dispatch.offer.sent" && e.IncidentID == id })
	return id
}

// TestRestartBetweenOfferAndAcceptance kills the server while responders think. The
// offers stand after the restart: one of them is accepted, once, and goes on to the end.
func TestRestartBetweenOfferAndAcceptance(t *testing.T) {
	beside(t, waiting)
	s := newServer(t)
	s.start()
	admin, desk := s.login("admin"), s.login("operator1")
	k := s.screen(t, desk)
	at := s.near(t, desk)
	id := s.offered(t, k, s.pendants(t, admin, simdevice.GT06, 1)[0], at)
	s.kill()
	s.start("serve")
	desk = s.login("operator1")
	var crew []*simclient.Client
	for n := range 12 {
		crew = append(crew, s.login(fmt.Sprintf("responder%d", n+1)))
	}
	var took *simclient.Client
	var result simclient.Result
	s.until("a responder accepts", func() bool {
		for n, c := range crew {
			var mine simclient.Items[simclient.Offer]
			if err := c.Get(s.ctx(), "/offers", &mine); err != nil {
				t.Fatal(err)
			}
			for _, o := range mine.Items {
				if o.IncidentID != id || !o.Waiting() {
					continue
				}
				err := c.Post(s.ctx(), "/offers/"+o.ID+"/accept", map[string]any{"epoch": o.Epoch, "device_id": "phone", "device_seq": 1}, &result)
				if err != nil {
					t.Logf("responder%d: %v", n+1, err) // it ended in between
					continue
				}
				took = c
				return true
			}
		}
		return false
	})
	for _, step := range []string{"en_route", "on_scene", "done"} {
		body := map[string]string{"status": step}
		if step == "done" {
			body["outcome"] = "helped"
		}
		if err := took.Post(s.ctx(), "/assignments/"+result.AssignmentID+"/advance", body, nil); err != nil {
			t.Fatalf("%s: %v", step, err)
		}
	}
	f, err := desk.File(s.ctx(), id)
	if err != nil {
		t.Fatal(err)
	}
	told(t, f, "dispatch.incident.opened", "dispatch.assignment.accepted", "dispatch.assignment.en_route", "dispatch.assignment.on_scene", "dispatch.assignment.done")
	once(t, f)
	accepted := 0
	for _, m := range f.Timeline {
		if m.Type == "dispatch.assignment.accepted" {
			accepted++
		}
	}
	if accepted != 1 {
		t.Errorf("the incident was accepted %d times", accepted)
	}
}

// once fails when a responder was offered the same assignment twice in one wave.
func once(t *testing.T, f simclient.IncidentFile) {
	t.Helper()
	seen := map[string]bool{}
	for _, o := range f.Offers {
		key := fmt.Sprint(o.AssignmentID, o.ResponderID, o.Epoch)
		if seen[key] {
			t.Errorf("responder %s was offered twice: %+v", o.ResponderID, o)
		}
		seen[key] = true
	}
}

// TestRestartInTheLadder kills the server with offers out and nobody at the desk. The
// clocks are rows: the next wave leaves when the first has ended, not before, and the
// ladder climbs on.
func TestRestartInTheLadder(t *testing.T) {
	beside(t, waiting)
	s := newServer(t)
	s.start()
	desk := s.login("operator1")
	id := s.offered(t, s.screen(t, desk), s.pendants(t, s.login("admin"), simdevice.GT06, 1)[0], s.near(t, desk))
	before, err := desk.File(s.ctx(), id)
	if err != nil {
		t.Fatal(err)
	}
	s.kill()
	s.start("serve")
	desk = s.login("operator1")
	var f simclient.IncidentFile
	s.until("the next wave leaves and the ladder climbs", func() bool {
		if f, err = desk.File(s.ctx(), id); err != nil {
			t.Fatal(err)
		}
		return slices.ContainsFunc(f.Offers, func(o simclient.Offer) bool { return o.Wave > before.Offers[0].Wave }) &&
			slices.ContainsFunc(f.Timeline, func(m simclient.Moment) bool { return m.Type == "dispatch.incident.escalated" })
	})
	once(t, f)
	var ended time.Time
	for _, o := range f.Offers {
		if o.Wave == before.Offers[0].Wave && o.Deadline.After(ended) {
			ended = o.Deadline
		}
	}
	for _, o := range f.Offers {
		if o.Wave == before.Offers[0].Wave+1 && (o.SentAt.Before(ended.Add(-time.Second)) || o.SentAt.After(ended.Add(20*time.Second))) {
			t.Errorf("the second wave left at %s, the first ended at %s", o.SentAt, ended)
		}
	}
	if v := s.metric("anling_dispatch_unwatched_incidents"); v != "0" {
		t.Errorf("open incidents without deadline or task: %q", v)
	}
}

// TestTerminate ends the server in its own way during alarms and a conversation: it
// ends with 0, the line is hung up in order, and nothing acknowledged is lost.
func TestTerminate(t *testing.T) {
	beside(t, working)
	s := newServer(t)
	s.start()
	x := staffed(t, s, "udp")
	x.ready("ready")
	c := x.rings(x.trunk(simphone.Options{}), simphone.CallOptions{From: "13987650055"})
	d := x.answered(c)
	talk := x.live("that talks", func(v aCall) bool { return v.State == "talking" })
	var devices []simdevice.Identity
	for _, v := range s.pendants(t, x.admin, simdevice.GT06, 20) {
		devices = append(devices, simdevice.Identity{Protocol: v.Protocol, ID: v.ExternalID})
	}
	for i := range 100 {
		devices = append(devices, simdevice.Identity{Protocol: simdevice.GT06, ID: imei(fmt.Sprintf("99555502%06d", i))})
	}
	ledger, err := simdevice.OpenLedger(filepath.Join(s.dir, "ledger"))
	if err != nil {
		t.Fatal(err)
	}
	under := make(chan struct{})
	load := simload.Alarms{Devices: devices, GT06: s.gt06, Watch: s.watch, Rate: 60, Count: 600, Grace: patience, Resend: time.Second,
		Around: geo.Point{Lat: 25.04, Lng: 102.72}, Ledger: ledger, OnReady: func() { close(under) }}
	done := make(chan error, 1)
	go func() {
		_, err := load.Run(t.Context())
		done <- err
	}()
	<-under
	stored := `anling_sos_intake_total{result="opened"}`
	s.until("alarms arrive", func() bool { return s.number(stored) > 20 })
	s.stop() // fails the test unless it ends with 0
	x.over(c, d)
	if _, _, byPeer := c.Result(); !byPeer {
		t.Error("the conversation was not ended by the server's BYE")
	}
	s.start("serve")
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if err := ledger.Close(); err != nil {
		t.Fatal(err)
	}
	entries, err := simdevice.ReadLedger(filepath.Join(s.dir, "ledger"))
	if err != nil {
		t.Fatal(err)
	}
	audit, err := simload.CheckLedger(s.ctx(), s.login("admin"), entries)
	if err != nil {
		t.Fatal(err)
	}
	if !audit.Good() || audit.Acknowledged < 600 {
		t.Errorf("%d acknowledged of 600; lost %v, doubled %v, without incident %v", audit.Acknowledged, audit.Lost, audit.Doubled, audit.Loose)
	}
	var kept aCall
	if err := s.login("operator1").Get(s.ctx(), "/calls/"+talk.ID, &kept); err != nil || kept.State != "ended" || kept.Cause != "drained" {
		t.Errorf("the conversation is kept as %+v, %v", kept, err)
	}
}
