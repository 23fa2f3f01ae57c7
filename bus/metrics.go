package bus

import (
	"github.com/prometheus/client_golang/prometheus"
)

// metrics of the bus; with a nil registerer they count unseen.
type metrics struct {
	relayed     prometheus.Counter
	relayErrors prometheus.Counter
	fastDropped prometheus.Counter
}

func newMetrics(r prometheus.Registerer) *metrics {
	m := &metrics{
		relayed:     prometheus.NewCounter(prometheus.CounterOpts{Name: "anling_bus_relayed_total", Help: "Events published to the stream."}),
		relayErrors: prometheus.NewCounter(prometheus.CounterOpts{Name: "anling_bus_relay_errors_total", Help: "Rounds of the outbox relay that failed."}),
		fastDropped: prometheus.NewCounter(prometheus.CounterOpts{Name: "anling_bus_fast_dropped_total", Help: "Copies sent at once that NATS did not take."}),
	}
	if r != nil {
		r.MustRegister(m.relayed, m.relayErrors, m.fastDropped)
	}
	return m
}
