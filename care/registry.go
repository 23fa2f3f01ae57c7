package care

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"anling/event"
)

// Facts of the registry. Their bodies carry ids and states only.
const (
	ElderSaved     event.Type = "care.elder.saved"
	EldersImported event.Type = "care.elder.imported"
	DeviceSaved    event.Type = "care.device.saved"
	ProviderSaved  event.Type = "care.provider.saved"
	ResponderSaved event.Type = "care.responder.saved"
	ResponderDuty  event.Type = "care.responder.duty"
)

// RegistryOptions are the parts of a registry. Only Store is required; without
// IDKey no ID number can be kept.
type RegistryOptions struct {
	Store         Store
	IDKey         []byte // 32 bytes, from the secrets directory
	PhoneAreaCode string // completes local numbers: "0871"
	Demo          bool   // accepts ID numbers of generated districts
	Metrics       prometheus.Registerer
	Log           *zap.Logger
	Now           func() time.Time
}

// Registry is who is served, with what, and by whom. It is safe for concurrent use.
type Registry struct {
	o       RegistryOptions
	store   Store
	vault   *vault
	metrics *registryMetrics
	loading sync.Mutex // one import at a time

	hooks    sync.RWMutex
	onChange []func(Change) // guarded by hooks
}

type registryMetrics struct {
	search *prometheus.HistogramVec
	rows   *prometheus.CounterVec
}

// NewRegistry makes a registry. A key of the wrong length is a mistake of the
// program.
func NewRegistry(o RegistryOptions) *Registry {
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	if o.Metrics == nil {
		o.Metrics = prometheus.NewRegistry()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	r := &Registry{o: o, store: o.Store, metrics: &registryMetrics{
		search: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "anling_care_search_seconds", Help: "Time of a search in the registry.",
			Buckets: []float64{.0005, .001, .002, .005, .01, .02, .05, .1, .5}}, []string{"by"}),
		rows: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "anling_care_import_rows_total", Help: "Rows read by imports."}, []string{"kind", "result"}),
	}}
	o.Metrics.MustRegister(r.metrics.search, r.metrics.rows)
	if len(o.IDKey) > 0 {
		v, err := newVault(o.IDKey)
		if err != nil {
			panic("care: " + err.Error())
		}
		r.vault = v
	}
	return r
}

// CheckKey refuses a key other than the one that the registry was written with.
// Call it before anything is served.
func (r *Registry) CheckKey(ctx context.Context) error {
	if r.vault == nil {
		return errNoKey
	}
	kept, err := r.store.KeyCheck(ctx, r.vault.check())
	if err != nil {
		return fmt.Errorf("check the key of ID numbers: %w", err)
	}
	if kept != r.vault.check() {
		return errors.New("the key of ID numbers in the secrets directory is not the one that this registry was written with; put the right one back")
	}
	return nil
}

// Change tells which record was saved.
type Change struct {
	Kind string // "elder", "device", "provider", "responder"; "" after an import: anything
	ID   string
}

// OnChange calls f after each committed change. f must not block.
func (r *Registry) OnChange(f func(Change)) {
	r.hooks.Lock()
	defer r.hooks.Unlock()
	r.onChange = append(r.onChange, f)
}

func (r *Registry) changed(kind, id string) {
	r.hooks.RLock()
	defer r.hooks.RUnlock()
	for _, f := range r.onChange {
		f(Change{kind, id})
	}
}

func (r *Registry) fact(t event.Type, agg, id string, seq int64, actor string, provider ProviderID, body any) event.Event {
	return event.Event{ID: NewID[string](), Type: t, V: 1, Agg: agg, AggID: id, Seq: seq, ProviderID: string(provider),
		At: r.o.Now(), Actor: actor, Body: event.Body(body)}
}
