package bus

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics of the bus; with a nil registerer they count unseen.
type metrics struct {
	relayed     prometheus.Counter
	relayErrors prometheus.Counter
	fastDropped prometheus.Counter
}

func newMetrics(r prometheus.Registerer) *metrics {
	return &metrics{
		relayed:     counter(r, "anling_bus_relayed_total", "Events published to the stream."),
		relayErrors: counter(r, "anling_bus_relay_errors_total", "Rounds of the outbox relay that failed."),
		fastDropped: counter(r, "anling_bus_fast_dropped_total", "Copies sent at once that NATS did not take."),
	}
}

// counter registers a counter, or finds that of an earlier Start of the same program.
func counter(r prometheus.Registerer, name, help string) prometheus.Counter {
	c := prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	if r == nil {
		return c
	}
	err := r.Register(c)
	var known prometheus.AlreadyRegisteredError
	if errors.As(err, &known) {
		if old, ok := known.ExistingCollector.(prometheus.Counter); ok {
			return old
		}
	}
	if err != nil {
		panic("bus: " + err.Error()) // two different collectors of one name
	}
	return c
}
