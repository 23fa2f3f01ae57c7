package callcenter

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	calls    *prometheus.CounterVec
	offers   *prometheus.CounterVec
	wait     *prometheus.HistogramVec
	live     prometheus.Gauge
	waiting  prometheus.Gauge
	repaired prometheus.Counter
	idle     prometheus.Counter
	unsaved  prometheus.Counter
	debts    prometheus.Gauge
	noOpen   prometheus.Counter
	faults   prometheus.Counter
}

func newMetrics(r prometheus.Registerer) *metrics {
	if r == nil {
		r = prometheus.NewRegistry()
	}
	m := &metrics{
		calls:  prometheus.NewCounterVec(prometheus.CounterOpts{Name: "anling_callcenter_calls_total", Help: "Calls that ended, by class and result."}, []string{"class", "result"}),
		offers: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "anling_callcenter_offers_total", Help: "Offers to operators by what became of them."}, []string{"result"}),
		wait: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "anling_callcenter_wait_seconds", Help: "From the arrival of a call to the operator's answer.",
			Buckets: []float64{1, 2, 5, 10, 15, 20, 30, 60, 120, 300}}, []string{"class"}),
		live:     prometheus.NewGauge(prometheus.GaugeOpts{Name: "anling_callcenter_live_calls", Help: "Calls that are carried now."}),
		waiting:  prometheus.NewGauge(prometheus.GaugeOpts{Name: "anling_callcenter_waiting_calls", Help: "Calls that wait for an operator."}),
		repaired: prometheus.NewCounter(prometheus.CounterOpts{Name: "anling_callcenter_queue_repairs_total", Help: "States that stood still and were repaired: must stay 0."}),
		idle:     prometheus.NewCounter(prometheus.CounterOpts{Name: "anling_callcenter_idle_while_waiting_total", Help: "Matches that left a free operator beside a waiting call: must stay 0."}),
		unsaved:  prometheus.NewCounter(prometheus.CounterOpts{Name: "anling_callcenter_store_failures_total", Help: "Changes of calls that the store did not take at once."}),
		debts:    prometheus.NewGauge(prometheus.GaugeOpts{Name: "anling_callcenter_unstored_calls", Help: "Ended calls whose record is not stored yet."}),
		noOpen:   prometheus.NewCounter(prometheus.CounterOpts{Name: "anling_callcenter_open_failures_total", Help: "SOS calls whose incident could not be opened at once."}),
		faults:   prometheus.NewCounter(prometheus.CounterOpts{Name: "anling_callcenter_faults_total", Help: "Panics in a call."}),
	}
	r.MustRegister(m.calls, m.offers, m.wait, m.live, m.waiting, m.repaired, m.idle, m.unsaved, m.debts, m.noOpen, m.faults)
	return m
}
