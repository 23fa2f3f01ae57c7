package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sync/errgroup"

	"anling/care"
	"anling/care/district"
	"anling/cmd/anling/internal/config"
	"anling/store"
	"anling/web"
)

// demoCmd runs the server on a generated district and plays one SOS press and one
// hotline call through its real sockets.
type demoCmd struct {
	Data   string `help:"Directory to keep the demo's data in; by default a temporary one that is removed at the end." type:"path"`
	Seed   uint64 `default:"1" help:"Of the generated district."`
	Elders int    `default:"300" help:"How many elders live in it."`
	Play   bool   `default:"true" negatable:"" help:"Play a press and a call; without, only the district and its accounts are there."`
	Once   bool   `help:"End after the play instead of staying up."`
}

// The demo's SIP telephone, and the trunk through which the caller comes.
const (
	demoPhone      = "1001"
	demoTrunk      = "demo"
	demoResponders = 12 // accounts responder1 …
)

func (d demoCmd) Run(ctx context.Context, c *cli) (err error) {
	cfg, err := c.load()
	if err != nil {
		return err
	}
	if !demoDistrict(cfg.District.Code) || cfg.Storage.Engine != store.SQLite {
		return errors.New("the demo fills a district with made-up people and sets its passwords: it runs on SQLite and a district.code that begins with " + care.DemoProvince)
	}
	remove, err := d.place(&cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, remove()) }()
	demoSettings(&cfg)
	log, err := newLogger(cfg.Log)
	if err != nil {
		return err
	}
	a, err := newApp(ctx, cfg, log)
	if err != nil {
		return fmt.Errorf("start: %w", err)
	}
	show := newNarrator(os.Stdout, a.zone)
	a.store.OnCommit(show.committed)
	return a.runDemo(ctx, d, show)
}

// place says where the demo keeps its data; remove ends a place of its own.
func (d demoCmd) place(c *config.Config) (remove func() error, err error) {
	keep := func() error { return nil }
	if d.Data != "" {
		c.DataDir = d.Data
		return keep, nil
	}
	if os.Getenv("ANLING_DATA_DIR") != "" {
		return keep, nil
	}
	dir, err := os.MkdirTemp("", "anling-demo-")
	if err != nil {
		return nil, fmt.Errorf("demo's data directory: %w", err)
	}
	c.DataDir = dir
	return func() error { return os.RemoveAll(dir) }, nil
}

// demoSettings lets calls from this machine in as a carrier's.
func demoSettings(c *config.Config) {
	c.SIP.Trunks = append(c.SIP.Trunks, config.Trunk{Name: demoTrunk, Peers: []string{"127.0.0.1"}})
	if c.SIP.Hotline == "" {
		c.SIP.Hotline = "+8687190000000" // answers nobody outside
	}
	if c.Log.Level == "info" {
		c.Log.Level = "warn" // the timeline is what is to be seen
	}
	c.Log.Format = "console"
	c.CallCentre.Drain = 0
	// A fresh district has no disk to spare for a ballast.
	c.Storage.ReserveMB = 0
}

func (a *app) runDemo(ctx context.Context, d demoCmd, show *narrator) (err error) {
	town := district.New(district.Options{Seed: d.Seed, Elders: d.Elders, Responders: max(demoResponders, d.Elders*2/15)})
	people, err := a.fillDemo(ctx, town)
	if err != nil {
		return errors.Join(err, a.close())
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return show.run(ctx) })
	g.Go(func() error { return a.Run(ctx) })
	g.Go(func() error {
		var err error
		if d.Play {
			err = a.play(ctx, people, show)
		}
		switch {
		case ctx.Err() != nil:
			return nil
		case d.Once:
			stop()
			return err
		case err != nil:
			show.say("the play stopped: %v", err)
		}
		if err := a.staff(ctx, people); err != nil && ctx.Err() == nil {
			show.say("not everybody is on duty: %v", err)
		}
		show.welcome(a, people, d.Play)
		return nil
	})
	return g.Wait()
}

// cast are the accounts of the demo.
type cast struct {
	password   string // of every account, and of the operator's telephone
	responders []care.Responder
	presser    care.Device // who presses
	caller     care.Elder  // who calls
}

// fillDemo puts the district into the registry and makes the accounts.
func (a *app) fillDemo(ctx context.Context, town *district.District) (*cast, error) {
	if err := town.Fill(ctx, a.registry); err != nil {
		return nil, fmt.Errorf("fill the district: %w", err)
	}
	if err := a.roster.load(ctx); err != nil {
		return nil, err
	}
	people := &cast{password: os.Getenv("ANLING_DEMO_PASSWORD")}
	if people.password == "" {
		people.password = web.NewSecret(10)
	}
	if err := a.chooseCast(ctx, people); err != nil {
		return nil, err
	}
	hash, err := web.HashPassword(people.password)
	if err != nil {
		return nil, err
	}
	accounts := []care.User{
		{Name: "admin", DisplayName: "管理员", Role: care.RoleAdmin},
		{Name: "operator1", DisplayName: "接线员一", Role: care.RoleOperator, Skills: []string{"putonghua", "yunnan"}},
		{Name: "supervisor1", DisplayName: "监管一", Role: care.RoleSupervisor},
	}
	for i, r := range people.responders {
		accounts = append(accounts, care.User{Name: fmt.Sprintf("responder%d", i+1), DisplayName: r.Name, Role: care.RoleResponder, ResponderID: r.ID})
	}
	for _, u := range accounts {
		if err := a.saveDemoUser(ctx, u, hash, people.password); err != nil {
			return nil, err
		}
	}
	return people, nil
}

// saveDemoUser makes an account, or gives one that is there the demo's password. Who
// has that already stays signed in.
func (a *app) saveDemoUser(ctx context.Context, u care.User, hash, password string) error {
	old, err := a.users.UserByName(ctx, u.Name)
	if err != nil && !errors.Is(err, care.ErrNotFound) {
		return err
	}
	same := false
	if err == nil {
		if same, err = web.CheckPassword(ctx, old.Password, password); err != nil {
			return err
		}
		u = old
	}
	if !same {
		u.Password = hash
		if u, err = a.users.SaveUser(ctx, u, "demo"); err != nil {
			return fmt.Errorf("account %s: %w", u.Name, err)
		}
	}
	if u.Role == care.RoleOperator {
		if err := a.users.SetPhone(ctx, u.ID, web.NewTelephone(demoPhone, a.cfg.SIP.Realm, password), "demo"); err != nil {
			return err
		}
		u.Phone = demoPhone
	}
	a.putOperator(u)
	return nil
}

// chooseCast finds who plays: a device with an elder whose home is known, an elder
// with a telephone of his own, and responders near the first.
func (a *app) chooseCast(ctx context.Context, people *cast) error {
	devices, err := a.registry.Devices(ctx, care.DeviceFilter{Protocol: "gt06", Limit: 50})
	if err != nil {
		return err
	}
	var home care.Elder
	for _, d := range devices {
		if d.ElderID == "" || d.State != "active" {
			continue
		}
		e, err := a.registry.Elder(ctx, d.ElderID)
		if err != nil {
			return err
		}
		switch {
		case people.presser.ID == "" && !e.Home.IsZero():
			people.presser, home = d, e
		case people.caller.ID == "" && len(e.Phones) > 0:
			people.caller = e
		}
	}
	if people.presser.ID == "" || people.caller.ID == "" {
		return errors.New("the district has nobody to press or to call")
	}
	for _, c := range a.engine.Recommend(rankNear(home)) {
		if len(people.responders) == demoResponders {
			break
		}
		r, err := a.registry.Responder(ctx, c.ResponderID)
		if err != nil {
			return err
		}
		people.responders = append(people.responders, r)
	}
	if len(people.responders) == 0 {
		return errors.New("the district has no responder")
	}
	return nil
}

// staff puts everybody on duty again, for whoever looks at the pages: the players
// went off when the play was over.
func (a *app) staff(ctx context.Context, people *cast) error {
	for _, r := range people.responders {
		if err := a.registry.SetDuty(ctx, r.ID, "on", "demo"); err != nil {
			return err
		}
	}
	u, err := a.users.UserByName(ctx, "operator1")
	if err != nil {
		return err
	}
	return a.calls.SetState(ctx, u.ID, "ready", "")
}

// welcome says what can be done now.
func (n *narrator) welcome(a *app, people *cast, played bool) {
	base := "http://" + a.cfg.HTTP.Listen
	n.say("")
	n.say("安铃 is up. 页面 pages: %s   Ctrl-C ends it.", base)
	n.say("  接警台 console   %s/console   operator1, supervisor1, admin", base)
	n.say("  响应人 responder %s/r         responder1 … responder%d", base, len(people.responders))
	if os.Getenv("ANLING_DEMO_PASSWORD") == "" {
		n.say("  密码 password    %s", people.password)
	} else {
		n.say("  密码 password    as in ANLING_DEMO_PASSWORD")
	}
	if played {
		n.say("  SIP %s: telephone %s is played by the demo and answers by itself", a.cfg.SIP.Listen, demoPhone)
	} else {
		n.say("  SIP %s: telephone %s of operator1 has the same password", a.cfg.SIP.Listen, demoPhone)
	}
	n.say("  GT06 %s  watch %s  NATS %s  API %s/api/v1/openapi.json", a.cfg.SOS.GT06, a.cfg.SOS.Watch, a.cfg.NATS.Listen, base)
}
