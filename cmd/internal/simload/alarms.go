package simload

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"go.uber.org/zap"

	"anling/cmd/internal/simclient"
	"anling/cmd/internal/simdevice"
	"anling/geo"
)

// perDevice is the most presses a second that one device may be asked for: servers
// join the alarms of one that presses faster.
const perDevice = 5

// Alarms is a load of presses.
type Alarms struct {
	Devices    []simdevice.Identity
	GT06       string // address of the door
	Watch      string
	Rate       float64       // presses a second over all devices
	For        time.Duration // or
	Count      int           // so many presses
	Grace      time.Duration // for the last answers, 10 s by default
	Resend     time.Duration // as simdevice
	Duplicates int
	LowBattery float64   // share of presses that state it too
	Around     geo.Point // devices are spread over some kilometres around
	Ledger     *simdevice.Ledger
	Seed       uint64
	Console    *Console // sees the presses arrive; may be nil
	OnReady    func()   // all devices are logged in: the load begins
	Log        *zap.Logger
}

// AlarmsResult is what the devices and the console saw.
type AlarmsResult struct {
	Sent, Acked int
	Resent      int
	Connects    int            // more than devices: connections were lost
	Unanswered  []string       // keys of presses without an answer
	Errors      map[string]int // of connections, by cause
	Answer      *Hist          // first byte sent to answer read
	Late        *Hist          // from when a press was due to its first byte: our own delay
	Took        time.Duration
}

// Run puts the load on and waits for the last answers. Presses are due at fixed
// moments, whether or not earlier ones were answered.
func (l Alarms) Run(ctx context.Context) (AlarmsResult, error) {
	if len(l.Devices) == 0 || l.Rate <= 0 || l.For <= 0 && l.Count <= 0 {
		return AlarmsResult{}, errors.New("a load of alarms needs devices, a rate, and a time or a number")
	}
	if l.Rate > perDevice*float64(len(l.Devices)) {
		return AlarmsResult{}, fmt.Errorf("%d devices cannot press %g times a second: at most %d each", len(l.Devices), l.Rate, perDevice)
	}
	if l.Grace <= 0 {
		l.Grace = 10 * time.Second
	}
	if l.Count <= 0 {
		l.Count = int(l.Rate * l.For.Seconds())
	}
	b := &book{open: map[string]time.Time{}, left: make(chan struct{}, 1), res: AlarmsResult{Errors: map[string]int{}, Answer: &Hist{}, Late: &Hist{}}, console: l.Console}
	devices, err := l.devices(b)
	if err != nil {
		return AlarmsResult{}, err
	}
	running, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	for _, d := range devices {
		wg.Go(func() { _ = d.Run(running) }) // ends without error
	}
	ready, stop := context.WithTimeout(ctx, 30*time.Second)
	defer stop()
	for _, d := range devices {
		if err := d.WaitReady(ready); err != nil {
			return AlarmsResult{}, err
		}
	}
	if l.OnReady != nil {
		l.OnReady()
	}
	began := time.Now()
	if err := l.press(ctx, devices, b, began); err != nil && ctx.Err() == nil {
		return AlarmsResult{}, err
	}
	b.wait(ctx, l.Grace)
	return b.result(devices, time.Since(began)), nil
}

func (l Alarms) devices(b *book) ([]*simdevice.Device, error) {
	random := rand.New(rand.NewPCG(l.Seed, 3))
	var all []*simdevice.Device
	for i, id := range l.Devices {
		addr := l.GT06
		if id.Protocol == simdevice.Watch {
			addr = l.Watch
		}
		if _, _, err := net.SplitHostPort(addr); err != nil {
			return nil, fmt.Errorf("address of the %s door: %w", id.Protocol, err)
		}
		var at geo.Point
		if !l.Around.IsZero() {
			at = geo.Offset(l.Around, random.Float64()*6000-3000, random.Float64()*6000-3000)
		}
		all = append(all, simdevice.New(simdevice.Options{Identity: id, Addr: addr, Point: at, Ledger: l.Ledger, Resend: l.Resend, Duplicates: l.Duplicates,
			OnSent: b.sent, OnAck: b.acked, Dialer: simdevice.Spread(addr, i)}))
	}
	return all, nil
}

func (l Alarms) press(ctx context.Context, devices []*simdevice.Device, b *book, began time.Time) error {
	random := rand.New(rand.NewPCG(l.Seed, 4))
	order := random.Perm(len(devices))
	timer := time.NewTimer(0)
	defer timer.Stop()
	for i := range l.Count {
		due := began.Add(time.Duration(float64(i) / l.Rate * float64(time.Second)))
		if wait := time.Until(due); wait > 0 {
			timer.Reset(wait)
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-timer.C:
			}
		}
		d := devices[order[i%len(order)]]
		if err := b.press(d, simdevice.Press{At: due, LowBattery: random.Float64() < l.LowBattery}, due); err != nil {
			return err
		}
	}
	return nil
}

// book knows which presses are under way.
type book struct {
	console *Console

	mu   sync.Mutex
	open map[string]time.Time // guarded by mu: when a press was due, by its key
	res  AlarmsResult         // guarded by mu
	left chan struct{}
}

func (b *book) press(d *simdevice.Device, p simdevice.Press, due time.Time) error {
	b.mu.Lock() // the answer cannot be counted before the press is
	defer b.mu.Unlock()
	p, err := d.Send(p)
	if err != nil {
		return err
	}
	id := d.Identity()
	b.open[simdevice.Key(id.Protocol, id.ID, p.At)] = due
	b.res.Sent++
	return nil
}

func (b *book) sent(id simdevice.Identity, p simdevice.Press, at time.Time) {
	key := simdevice.Key(id.Protocol, id.ID, p.At)
	if b.console != nil {
		b.console.expect(key, at)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if due, ok := b.open[key]; ok {
		b.res.Late.Add(at.Sub(due))
	}
}

func (b *book) acked(e simdevice.Entry) {
	b.mu.Lock()
	delete(b.open, e.Key())
	b.res.Acked++
	empty := len(b.open) == 0
	b.mu.Unlock()
	b.res.Answer.Add(e.Acked.Sub(e.Sent))
	if empty {
		select {
		case b.left <- struct{}{}:
		default:
		}
	}
}

// wait waits for the last answers.
func (b *book) wait(ctx context.Context, grace time.Duration) {
	timer := time.NewTimer(grace)
	defer timer.Stop()
	for {
		b.mu.Lock()
		n := len(b.open)
		b.mu.Unlock()
		if n == 0 {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
			return
		case <-b.left:
		}
	}
}

func (b *book) result(devices []*simdevice.Device, took time.Duration) AlarmsResult {
	b.mu.Lock()
	defer b.mu.Unlock()
	r := b.res
	r.Errors = maps.Clone(r.Errors)
	for key := range b.open {
		r.Unanswered = append(r.Unanswered, key)
	}
	for _, d := range devices {
		s := d.Stats()
		r.Resent += s.Resent
		r.Connects += s.Connects
		for cause, n := range s.Errors {
			r.Errors[cause] += n
		}
	}
	r.Took = took
	return r
}

// Console is an operator's screen that waits for the presses.
type Console struct {
	Push   *Hist // first byte sent to the alarm on the screen
	Opened *Hist // to the incident on the screen, for presses that opened one
	Offer  *Hist // to the first offer on the screen

	ids map[string]string // registry's id of a device to "protocol:id"

	mu     sync.Mutex
	sent   map[string]time.Time // guarded by mu, as all below: by key of the press
	early  map[string]time.Time // incidents whose opening was seen, before their alarm
	offers map[string]time.Time // incidents whose offer is awaited: when their press was sent
	drops  int                  // connections lost
}

// NewConsole knows the devices by their identity of the registry.
func NewConsole(ctx context.Context, c *simclient.Client, devices []simdevice.Identity) (*Console, error) {
	k := &Console{Push: &Hist{}, Opened: &Hist{}, Offer: &Hist{}, ids: map[string]string{}, sent: map[string]time.Time{}, early: map[string]time.Time{}, offers: map[string]time.Time{}}
	all, err := c.Devices(ctx, "")
	if err != nil {
		return nil, err
	}
	known := map[string]bool{}
	note := func(all []simclient.Device) {
		for _, d := range all {
			k.ids[d.ID] = d.Protocol + ":" + d.ExternalID
			known[k.ids[d.ID]] = true
		}
	}
	note(all)
	for _, d := range devices {
		if known[d.Protocol+":"+d.ID] {
			continue
		}
		some, err := c.Devices(ctx, d.ID)
		if err != nil {
			return nil, err
		}
		note(some)
	}
	return k, nil
}

func (k *Console) expect(key string, at time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if _, again := k.sent[key]; !again {
		k.sent[key] = at
	}
}

// Waiting is how many presses were not seen yet.
func (k *Console) Waiting() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.sent)
}

// Drops is how often the connection was lost.
func (k *Console) Drops() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.drops
}

// Watch listens until ctx ends.
func (k *Console) Watch(ctx context.Context, c *simclient.Client, ready func()) error {
	var once sync.Once
	return c.Follow(ctx, simclient.Follower{Views: []string{"desk"}, Event: k.see, Line: func(up bool, _ error) {
		if up && ready != nil {
			once.Do(ready)
		}
		if !up {
			k.mu.Lock()
			k.drops++
			k.mu.Unlock()
		}
	}})
}

func (k *Console) see(e simclient.Event) {
	k.mu.Lock()
	defer k.mu.Unlock()
	switch e.Kind {
	case "dispatch.incident.opened":
		k.early[e.AggID] = e.Received
	case "sos.alarm.received":
		id, _ := e.Body["device_id"].(string)
		text, _ := e.Body["device_time"].(string)
		at, err := time.Parse(time.RFC3339, text)
		if err != nil {
			return
		}
		key := fmt.Sprintf("%s:%d", k.ids[id], at.Unix())
		sent, mine := k.sent[key]
		if !mine {
			return
		}
		delete(k.sent, key)
		k.Push.Add(e.Received.Sub(sent))
		if opened, ok := k.early[e.IncidentID]; ok {
			delete(k.early, e.IncidentID)
			k.Opened.Add(opened.Sub(sent))
			k.offers[e.IncidentID] = sent
		}
	case "dispatch.offer.sent":
		if sent, ok := k.offers[e.IncidentID]; ok {
			delete(k.offers, e.IncidentID)
			k.Offer.Add(e.Received.Sub(sent))
		}
	}
	for _, m := range []map[string]time.Time{k.early, k.offers} {
		if len(m) > 10_000 { // of others, or of incidents without an offer
			clear(m)
		}
	}
}
