package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"go.uber.org/zap"

	"anling/bus"
	"anling/callcenter"
	"anling/callcenter/leg"
	"anling/callcenter/media"
	"anling/callcenter/recording"
	"anling/callcenter/sip"
	"anling/care"
	"anling/cmd/anling/internal/config"
	"anling/cmd/anling/internal/secret"
	"anling/cmd/anling/internal/stage"
	"anling/configs/prompts"
	"anling/dispatch"
	"anling/dispatch/assign"
	"anling/event"
	"anling/sos"
	"anling/sos/gt06"
	"anling/sos/watch"
	"anling/store"
	"anling/store/live"
	"anling/web"
)

// app is the whole server. This file is the one place that knows every concrete
// type; nobody else imports store, bus or web.
type app struct {
	cfg  config.Config
	log  *zap.Logger
	reg  *prometheus.Registry
	zone *time.Location

	store       *store.Store
	journal     *store.Journal
	users       *store.Users
	timers      *store.Timers
	nightly     *nightly
	live        live.Store
	signer      *bus.Signer
	bus         *fanout
	registry    *care.Registry
	engine      *assign.Engine
	board       *dispatch.Board
	guard       *dispatch.Guard
	roster      *roster
	positions   *positions
	presence    *presence
	media       *media.Engine
	prompts     *media.Prompts
	recordings  *recording.Pool
	repaired    []recording.Result
	sip         *sip.Server
	calls       *callcenter.Service
	intake      *sos.Intake
	supervision *sos.Supervision
	gt06        *gt06.Server
	watch       *watch.Server
	web         *web.Server

	listeners map[string]net.Listener // by door
}

// newApp opens and joins everything, and binds the doors, so that a port in use is
// said at once. Nothing is served yet when it returns.
func newApp(ctx context.Context, cfg config.Config, log *zap.Logger) (_ *app, err error) {
	a := &app{cfg: cfg, log: log, reg: prometheus.NewRegistry(), listeners: map[string]net.Listener{}}
	a.reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	defer func() {
		if err != nil {
			err = errors.Join(err, a.close())
		}
	}()
	if a.zone, err = time.LoadLocation(cfg.District.TimeZone); err != nil {
		return nil, fmt.Errorf("district.time_zone: %w", err)
	}
	for _, step := range []func(context.Context) error{a.openStore, a.openLive, a.openRegistry, a.openDispatch, a.openBus, a.openAudio, a.openCalls, a.openDevices, a.openWeb} {
		if err := step(ctx); err != nil {
			return nil, err
		}
	}
	return a, nil
}

func (a *app) openStore(ctx context.Context) (err error) {
	o, err := storeOptions(a.cfg, a.log.Named("store"))
	if err != nil {
		return err
	}
	o.Metrics = a.reg
	if a.store, err = store.Open(ctx, o); err != nil {
		return err
	}
	if a.journal, err = store.OpenJournal(journalDir(a.cfg)); err != nil {
		return err
	}
	a.users = store.NewUsers(a.store)
	a.timers = store.NewTimers(a.store, a.log.Named("timers"))
	a.nightly = newNightly(a.cfg.Backup.At, a.zone, backupDir(a.cfg), a.cfg.Backup.Keep, a.store.Backup, a.log.Named("backup"), a.reg)
	return nil
}

func (a *app) openLive(context.Context) (err error) {
	if a.cfg.Live.Engine == "memory" {
		a.live = live.NewMemory(time.Now)
		return nil
	}
	o := live.RedisOptions{Addrs: a.cfg.Live.Addrs, Username: a.cfg.Live.Username, District: a.cfg.District.Code}
	if a.cfg.Live.PasswordFile != "" {
		text, err := os.ReadFile(a.cfg.Live.PasswordFile)
		if err != nil {
			return fmt.Errorf("live.redis_password_file: %w", err)
		}
		o.Password = strings.TrimSpace(string(text))
	}
	a.live, err = live.NewRedis(o)
	return err
}

func (a *app) openRegistry(ctx context.Context) error {
	key, err := secret.Load(secretsDir(a.cfg), secret.IDNumbers)
	if err != nil {
		return err
	}
	a.registry = care.NewRegistry(care.RegistryOptions{Store: store.NewRegistry(a.store), IDKey: key, PhoneAreaCode: a.cfg.District.PhoneAreaCode,
		Demo: demoDistrict(a.cfg.District.Code), Metrics: a.reg, Log: a.log.Named("care")})
	return a.registry.CheckKey(ctx)
}

func (a *app) openDispatch(ctx context.Context) (err error) {
	keep := store.NewDispatch(a.store)
	a.engine = assign.NewEngine(assign.Options{Store: keep, RadiusM: float64(a.cfg.Dispatch.RadiusM), Log: a.log.Named("assign"), Metrics: a.reg})
	a.board = dispatch.NewBoard(dispatch.Options{Store: keep, Engine: a.engine, Ladder: a.ladder(), OfferAtOnce: a.cfg.Dispatch.OfferAtOnce,
		Zone: a.zone, Log: a.log.Named("dispatch"), Metrics: a.reg})
	a.positions = newPositions(a.live, a.engine, a.log.Named("positions"))
	a.roster = newRoster(a.registry, a.engine, a.log.Named("roster"))
	a.registry.OnChange(a.roster.changed)
	if err := a.roster.load(ctx); err != nil {
		return err
	}
	for _, kind := range assign.Timers() {
		a.timers.Handle(kind, a.engine.HandleTimer)
	}
	a.timers.Handle(dispatch.DeadlineTimer, a.board.HandleTimer)
	a.guard, err = dispatch.NewGuard(dispatch.GuardOptions{Board: a.board, Journal: a.journal.Requests(), Alert: a.alert, Log: a.log.Named("guard"), Metrics: a.reg})
	return err
}

// ladder scales the rungs to the configured first one.
func (a *app) ladder() dispatch.Ladder {
	l := dispatch.DefaultLadder()
	first := l.Rungs[0]
	for i := range l.Rungs {
		l.Rungs[i] = time.Duration(float64(l.Rungs[i]) * float64(a.cfg.Dispatch.AnswerBy) / float64(first))
	}
	l.VoiceWait = a.cfg.CallCentre.VoiceExpect
	return l
}

func (a *app) openBus(context.Context) error {
	key, err := secret.Load(secretsDir(a.cfg), secret.NATS)
	if err != nil {
		return err
	}
	if a.signer, err = bus.NewSigner(key); err != nil {
		return err
	}
	a.bus = newFanout(bus.Options{Mode: a.cfg.NATS.Mode, StoreDir: filepath.Join(a.cfg.DataDir, "nats", "standalone"), Listen: a.cfg.NATS.Listen,
		MaxStore: int64(a.cfg.NATS.MaxStoreMB) << 20, URL: a.cfg.NATS.URL, CredFile: a.cfg.NATS.CredFile, Signer: a.signer, Log: a.log.Named("bus"), Metrics: a.reg}, a.store)
	apps := &partners{engine: a.engine, responders: a.registry, duty: a.registry.SetDuty, move: a.positions.Put, now: time.Now}
	a.bus.do = apps.Do
	return nil
}

func (a *app) openAudio(context.Context) (err error) {
	ip, err := a.mediaIP()
	if err != nil {
		return err
	}
	o := media.Options{IP: ip, PortMin: a.cfg.Media.PortMin, PortMax: a.cfg.Media.PortMax, Log: a.log.Named("media"), Metrics: a.reg}
	if a.cfg.SIP.Advertise != "" {
		if o.Advertise, err = netip.ParseAddr(a.cfg.SIP.Advertise); err != nil {
			return fmt.Errorf("sip.advertise: %w", err)
		}
	}
	if a.media, err = media.New(o); err != nil {
		return err
	}
	if a.recordings, err = recording.New(recording.Options{Dir: recordingsDir(a.cfg), Log: a.log.Named("recording"), Metrics: a.reg}); err != nil {
		return err
	}
	if a.repaired, err = a.recordings.Repair(); err != nil {
		// What cannot be mended stays as it is; the lines do not wait for it.
		a.log.Error("recordings of an interrupted run", zap.Error(err))
	}
	return nil
}

// mediaIP is the address of the RTP sockets.
func (a *app) mediaIP() (netip.Addr, error) {
	host := a.cfg.Media.IP
	if host == "" {
		host = "127.0.0.1"
		if h, _, err := net.SplitHostPort(a.cfg.SIP.Listen); err == nil {
			host = h
		}
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("media.ip: %w", err)
	}
	return ip, nil
}

func (a *app) openCalls(context.Context) (err error) {
	a.prompts, err = media.LoadPrompts(prompts.FS, a.cfg.Media.Prompts, media.PromptOptions{Log: a.log.Named("prompts"), Metrics: a.reg})
	if err != nil {
		return err
	}
	var dialer leg.Dialer = noLines{}
	var phones leg.Phones = noLines{}
	if a.cfg.SIP.Listen != "" {
		o, err := a.sipOptions()
		if err != nil {
			return err
		}
		if a.sip, err = sip.New(o); err != nil {
			return err
		}
		dialer, phones = a.sip, a.sip
	}
	cc := a.cfg.CallCentre
	a.calls, err = callcenter.New(callcenter.Options{Store: store.NewCalls(a.store), Opener: a.guard, Incidents: incidents{a.board}, Directory: a.registry,
		Dialer: dialer, Phones: phones, Prompts: a.prompts, Recordings: a.recordings, Repaired: a.repaired, Emergency: func(m map[string]any) { a.web.Emergency(m) },
		Clocks: callcenter.Clocks{Ring: cc.RingTimeout, SOSRing: cc.SOSRingTimeout, WrapUp: cc.WrapUp, CallbackSOS: cc.CallbackSOS, Callback: cc.Callback, VoiceExpect: cc.VoiceExpect, Drain: cc.Drain},
		Log:    a.log.Named("callcenter"), Metrics: a.reg})
	if err != nil {
		return err
	}
	a.board.SetVoice(a.calls)
	a.timers.Handle(callcenter.CallbackTimer, a.calls.HandleTimer)
	return nil
}

func (a *app) sipOptions() (sip.Options, error) {
	o := sip.Options{Listen: a.cfg.SIP.Listen, Advertise: a.cfg.SIP.Advertise, Realm: a.cfg.SIP.Realm, Hotline: a.cfg.SIP.Hotline, SOSNumbers: a.cfg.SIP.SOSNumbers,
		PhoneAreaCode: a.cfg.District.PhoneAreaCode, RingTimeout: a.cfg.SIP.RingTimeout, Media: a.media, Accounts: a.users, Bindings: a.users,
		OnInvite: func(l leg.Leg) { a.calls.Take(l) }, Log: a.log.Named("sip"), Metrics: a.reg}
	for i, t := range a.cfg.SIP.Trunks {
		trunk := sip.Trunk{Name: t.Name, Target: t.Target, Transport: t.Transport, TrustIdentity: t.TrustPAI, CallerID: t.CallerID}
		for _, peer := range t.Peers {
			prefix, err := netip.ParsePrefix(peer)
			if err != nil {
				addr, err := netip.ParseAddr(peer)
				if err != nil {
					return o, fmt.Errorf("sip.trunks[%d].peers: %w", i, err)
				}
				prefix = netip.PrefixFrom(addr, addr.BitLen())
			}
			trunk.Peers = append(trunk.Peers, prefix)
		}
		o.Trunks = append(o.Trunks, trunk)
	}
	return o, nil
}

func (a *app) openDevices(ctx context.Context) (err error) {
	keep := store.NewSOS(a.store)
	a.intake = sos.NewIntake(sos.IntakeOptions{Opener: a.guard, Directory: a.registry, Store: keep, Log: a.log.Named("sos"), Metrics: a.reg})
	a.registry.OnChange(func(c care.Change) { a.intake.Changed(c.Kind, c.ID) })
	a.supervision = sos.NewSupervision(sos.SupervisionOptions{Opener: a.guard, Directory: a.registry, Store: keep, Log: a.log.Named("supervision"), Metrics: a.reg})
	limits := sos.Limits{Connections: a.cfg.SOS.MaxConns, PerIP: a.cfg.SOS.MaxPerIP, Login: a.cfg.SOS.LoginDeadline, Frame: a.cfg.SOS.FrameDeadline}
	a.gt06 = gt06.NewServer(gt06.ServerOptions{Receiver: a.intake, Models: a.intake, Limits: limits, Log: a.log.Named("gt06"), Metrics: a.reg})
	a.watch = watch.NewServer(watch.ServerOptions{Receiver: a.intake, Limits: limits, Log: a.log.Named("watch"), Metrics: a.reg})
	for door, addr := range map[string]string{"gt06": a.cfg.SOS.GT06, "watch": a.cfg.SOS.Watch} {
		if addr == "" {
			continue
		}
		if a.listeners[door], err = sos.Listen(ctx, addr); err != nil {
			return fmt.Errorf("sos.%s_listen: %w", door, err)
		}
	}
	return nil
}

func (a *app) openWeb(ctx context.Context) (err error) {
	var secure *tls.Config
	if a.cfg.HTTP.TLSCert != "" {
		pair, err := tls.LoadX509KeyPair(a.cfg.HTTP.TLSCert, a.cfg.HTTP.TLSKey)
		if err != nil {
			return fmt.Errorf("http.tls_cert: %w", err)
		}
		secure = &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	}
	parts := a.parts()
	a.reg.MustRegister(partStates(parts))
	a.web, err = web.New(web.Options{Users: a.users, Incidents: desk{a.board, a.guard}, Engine: a.engine, Registry: a.registry, CallCentre: a.calls,
		Importer: importer{a}, Signer: providerTokens{a.signer}, Positions: func(ctx context.Context, id care.ResponderID, fix care.Fix) { a.positions.share(ctx, id, fix) },
		OnUser: a.putOperator, Online: func(kind, id string) bool { return a.presence.Online(kind, id) }, Parts: parts, Probe: a.store.Probe, Epoch: a.store.Epoch(), Build: version, District: a.cfg.District.Name, Hotline: a.cfg.SIP.Hotline,
		Realm: a.cfg.SIP.Realm, PublicURL: a.cfg.HTTP.PublicURL, TLS: secure, SessionTTL: a.cfg.HTTP.SessionTTL, Log: a.log.Named("web"), Metrics: a.reg, Gather: a.reg})
	if err != nil {
		return err
	}
	a.presence = newPresence(a.live, a.web.Here, a.log.Named("presence"))
	if a.listeners["web"], err = (&net.ListenConfig{}).Listen(ctx, "tcp", a.cfg.HTTP.Listen); err != nil {
		return fmt.Errorf("http.listen: %w", err)
	}
	people, err := a.users.Users(ctx)
	if err != nil {
		return err
	}
	for _, u := range people {
		a.putOperator(u)
	}
	return nil
}

// committed passes the facts of a commit on. It runs between two commits and never
// blocks.
func (a *app) committed(events []event.Event) {
	a.web.Committed(events)
	a.bus.committed(events)
}

// Run serves until ctx ends, and then ends in reverse order.
func (a *app) Run(ctx context.Context) error {
	a.store.OnCommit(a.committed)
	if err := a.guard.Replay(ctx); err != nil {
		a.log.Error("journalled alarms are not stored yet; they are tried again", zap.Error(err))
	}
	serve := func(door string, f func(context.Context, net.Listener) error) stage.Runner {
		return stage.Runner{Name: door, Run: func(ctx context.Context) error {
			l := a.listeners[door]
			if l == nil { // closed by the configuration
				<-ctx.Done()
				return nil
			}
			return f(ctx, l)
		}}
	}
	stages := []stage.Stage{
		{Name: "store", Runners: []stage.Runner{{Name: "store", Run: a.store.Run}, {Name: "backup", Run: a.nightly.Run}}},
		{Name: "bus", Runners: []stage.Runner{{Name: "bus", Run: a.bus.Run}}},
		{Name: "dispatch", Runners: []stage.Runner{{Name: "timers", Run: a.timers.Run}, {Name: "board", Run: a.board.Run}, {Name: "guard", Run: a.guard.Run},
			{Name: "positions", Run: a.positions.Run}, {Name: "roster", Run: a.roster.Run}}},
		{Name: "audio", Runners: []stage.Runner{{Name: "media", Run: a.media.Run}, {Name: "recording", Run: a.recordings.Run}}},
	}
	if a.sip != nil {
		stages = append(stages, stage.Stage{Name: "sip", Runners: []stage.Runner{{Name: "sip", Run: a.sip.Run}}})
	}
	stages = append(stages,
		stage.Stage{Name: "calls", Grace: a.cfg.CallCentre.Drain + 30*time.Second, Runners: []stage.Runner{{Name: "calls", Run: a.calls.Run}}},
		stage.Stage{Name: "live", Runners: []stage.Runner{{Name: "hub", Run: a.web.Run}, {Name: "presence", Run: a.presence.Run}, {Name: "intake", Run: a.intake.Run}, {Name: "supervision", Run: a.supervision.Run}}},
		stage.Stage{Name: "doors", Runners: []stage.Runner{serve("gt06", a.gt06.Serve), serve("watch", a.watch.Serve), serve("web", a.web.Serve)}},
	)
	err := stage.Run(ctx, a.log, stages...)
	return errors.Join(err, a.close())
}

// close ends what newApp opened, in reverse.
func (a *app) close() error {
	var errs []error
	for _, l := range a.listeners {
		if err := l.Close(); !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	if a.sip != nil {
		a.sip.Close()
	}
	if a.bus != nil {
		a.bus.Close()
	}
	if a.live != nil {
		errs = append(errs, a.live.Close())
	}
	if a.journal != nil {
		errs = append(errs, a.journal.Close())
	}
	if a.store != nil {
		errs = append(errs, a.store.Close())
	}
	return errors.Join(errs...)
}
