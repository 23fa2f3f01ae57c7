package sos

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are shared by the doors of all protocols.
type metrics struct {
	connections *prometheus.GaugeVec
	frames      *prometheus.CounterVec
	refused     *prometheus.CounterVec
	closed      *prometheus.CounterVec
	alarms      *prometheus.CounterVec
	limited     *prometheus.CounterVec
	takeovers   *prometheus.CounterVec
	answer      *prometheus.HistogramVec
}

func newMetrics(r prometheus.Registerer) *metrics {
	if r == nil {
		r = prometheus.NewRegistry()
	}
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return register(r, prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels))
	}
	return &metrics{
		connections: register(r, prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "anling_sos_connections", Help: "Connections of devices."}, []string{"protocol"})),
		frames:      counter("anling_sos_frames_total", "Frames by type, or by why they could not be read.", "protocol", "type"),
		refused:     counter("anling_sos_refused_total", "Connections refused at the door by reason.", "protocol", "reason"),
		closed:      counter("anling_sos_closed_total", "Connections ended by reason.", "protocol", "reason"),
		alarms:      counter("anling_sos_alarms_total", "Alarms by what became of them.", "protocol", "result"),
		limited:     counter("anling_sos_limited_total", "Messages beyond the rate of one device by what was done.", "protocol", "what"),
		takeovers:   counter("anling_sos_takeovers_total", "Sessions that claimed the identity of a live one.", "protocol", "result"),
		answer: register(r, prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "anling_sos_answer_seconds",
			Help: "From an alarm's frame to its answer.", Buckets: prometheus.ExponentialBuckets(0.0005, 2, 15)}, []string{"protocol"})),
	}
}

// register returns the collector of this name that is registered already, so that
// the doors of several protocols share one.
func register[T prometheus.Collector](r prometheus.Registerer, c T) T {
	var have prometheus.AlreadyRegisteredError
	if err := r.Register(c); errors.As(err, &have) {
		return have.ExistingCollector.(T)
	} else if err != nil {
		panic(err) // a name with other labels: a mistake in the program
	}
	return c
}

// frameCounter is the counter of one type of frame, found without the vector's cost.
func (d *Door) frameCounter(kind string) prometheus.Counter {
	if c, ok := d.counters.Load(kind); ok {
		return c.(prometheus.Counter)
	}
	c := d.metrics.frames.WithLabelValues(d.protocol, kind)
	d.counters.Store(kind, c)
	return c
}
