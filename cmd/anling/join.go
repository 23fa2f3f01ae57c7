package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"anling/bus"
	"anling/callcenter"
	"anling/callcenter/leg"
	"anling/care"
	"anling/dispatch"
	"anling/web"
)

// incidents is the board as a call sees it.
type incidents struct{ *dispatch.Board }

var _ callcenter.Incidents = incidents{}

// Take implements callcenter.Incidents.
func (i incidents) Take(ctx context.Context, id care.IncidentID, u care.UserID, takeOver bool) error {
	_, err := i.Board.Take(ctx, id, u, takeOver)
	return err
}

// Owner implements callcenter.Incidents.
func (i incidents) Owner(ctx context.Context, id care.IncidentID) (care.UserID, error) {
	inc, err := i.Record(ctx, id)
	return inc.Owner, err
}

// desk is the board as the pages see it: what they open goes through the guard.
type desk struct {
	*dispatch.Board
	guard *dispatch.Guard
}

var _ web.Incidents = desk{}

// Open implements web.Opener.
func (d desk) Open(ctx context.Context, r care.OpenRequest) (care.Opened, error) {
	return d.guard.Open(ctx, r)
}

// providerTokens signs for provider apps.
type providerTokens struct{ s *bus.Signer }

// SignProvider implements web.Signer.
func (p providerTokens) SignProvider(provider care.ProviderID, user string, until time.Time) (string, error) {
	return p.s.Sign(bus.Grant{Provider: string(provider), User: user, Expires: until})
}

// noLines stands for SIP when its door is closed: nobody can be dialled, no
// telephone is signed in, and incidents are handled at the consoles.
type noLines struct{}

var errNoLines = fmt.Errorf("sip.listen is empty: there are no telephones")

// Dial implements leg.Dialer.
func (noLines) Dial(context.Context, leg.Call) (leg.Leg, error) { return nil, errNoLines }

// Registered implements leg.Phones.
func (noLines) Registered(string) bool { return false }

// OnRegistration implements leg.Phones.
func (noLines) OnRegistration(func(string, bool)) {}

// putOperator makes an account known to the call centre; a disabled one is signed off.
func (a *app) putOperator(u care.User) {
	if u.Role != care.RoleOperator && u.Role != care.RoleSupervisor {
		return
	}
	a.calls.PutOperator(callcenter.Operator{UserID: u.ID, Name: u.DisplayName, Account: u.Phone, Skills: u.Skills, Role: string(u.Role)})
	if u.Disabled {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := a.calls.SetState(ctx, u.ID, "offline", "disabled"); err != nil {
			a.log.Warn("sign off an operator", zap.String("operator_id", string(u.ID)), zap.Error(err))
		}
	}
}

// importer loads lists that are sent over HTTP.
type importer struct{ a *app }

// rejectsMax bounds the refused rows that an answer carries.
const rejectsMax = 16 << 20

// Import implements web.Importer.
func (i importer) Import(ctx context.Context, kind string, from io.Reader, o care.ImportOptions) (web.ImportReport, error) {
	rejects := &clipped{left: rejectsMax}
	o.Rejects = rejects
	report, err := i.a.registry.Import(ctx, kind, from, o)
	return web.ImportReport{Report: report, RejectedCSV: rejects.text.String()}, err
}

// clipped keeps whole writes up to its bound, and drops what comes after.
type clipped struct {
	text strings.Builder
	left int
}

func (c *clipped) Write(b []byte) (int, error) {
	if c.left -= len(b); c.left >= 0 {
		c.text.Write(b)
	}
	return len(b), nil
}

// alert rings operators for an alarm that is not stored: on every console, and on
// their telephones.
func (a *app) alert(r care.OpenRequest, kept bool, reason error) {
	body := map[string]any{"incident_id": r.IncidentID, "kinds": r.Kinds, "priority": r.Priority, "elder_id": r.ElderID, "device_id": r.DeviceID, "at": r.At, "journalled": kept}
	if r.Alarm != nil {
		body["protocol"], body["claimed_id"] = r.Alarm.Protocol, r.Alarm.ClaimedID
	}
	a.web.Emergency(body)
	if r.CallID != "" || r.Priority > care.P2 {
		return // a call rings by itself; what is no emergency waits
	}
	err := a.calls.RequestCall(context.Background(), care.CallRequest{IncidentID: r.IncidentID, ElderID: r.ElderID, DeviceID: r.DeviceID, Priority: r.Priority})
	if err != nil {
		a.log.Error("ring for an alarm that is not stored", zap.NamedError("store_err", reason), zap.Error(err))
	}
}

// parts tell how the server is, in the order of the consoles' footer.
func (a *app) parts() []web.Part {
	named := func(name string, f func() (string, string)) web.Part {
		return func() (string, string, string) {
			state, detail := f()
			return name, state, detail
		}
	}
	parts := []web.Part{
		named("store", a.store.Health), named("journal", a.guard.Health), named("nats", a.bus.Health), named("live", a.positions.Health),
		named("recording", a.recordings.Health), named("prompts", a.promptHealth),
	}
	if a.sip != nil {
		parts = append(parts, named("sip", a.sip.Health))
	}
	return parts
}

// promptHealth is degraded while a prompt's file cannot be used: its built-in one, or
// a tone, is played instead.
func (a *app) promptHealth() (state, detail string) {
	if p := a.prompts.Problems(); len(p) > 0 {
		return "degraded", strings.Join(p, "; ")
	}
	return "ok", ""
}

// partStates is the metric of what /readyz tells of each part.
type partStates []web.Part

var partState = prometheus.NewDesc("anling_server_part_state", "How a part of the server is: 0 ok, 1 degraded, 2 failing.", []string{"part"}, nil)

// Describe implements prometheus.Collector.
func (partStates) Describe(ch chan<- *prometheus.Desc) { ch <- partState }

// Collect implements prometheus.Collector.
func (p partStates) Collect(ch chan<- prometheus.Metric) {
	for _, part := range p {
		name, state, _ := part()
		value := map[string]float64{"ok": 0, "degraded": 1}
		v, known := value[state]
		if !known {
			v = 2
		}
		ch <- prometheus.MustNewConstMetric(partState, prometheus.GaugeValue, v, name)
	}
}
