package web

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	requests *prometheus.HistogramVec
	panics   prometheus.Counter
	logins   *prometheus.CounterVec
	clients  *prometheus.GaugeVec
	sent     *prometheus.CounterVec
	closed   *prometheus.CounterVec
	lag      prometheus.Histogram
}

func newMetrics(r prometheus.Registerer) *metrics {
	m := &metrics{
		requests: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "anling_web_request_seconds",
			Help: "Answer times of the API by operation and class of status.", Buckets: prometheus.ExponentialBuckets(0.0005, 3, 10)}, []string{"op", "status"}),
		panics:  prometheus.NewCounter(prometheus.CounterOpts{Name: "anling_web_panics_total", Help: "Requests that ended in a panic of a handler."}),
		logins:  prometheus.NewCounterVec(prometheus.CounterOpts{Name: "anling_web_logins_total", Help: "Sign-ins by result: ok, refused, throttled."}, []string{"result"}),
		clients: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "anling_web_live_clients", Help: "Open live channels by role."}, []string{"role"}),
		sent:    prometheus.NewCounterVec(prometheus.CounterOpts{Name: "anling_web_live_messages_total", Help: "Messages put on live channels by type."}, []string{"type"}),
		closed:  prometheus.NewCounterVec(prometheus.CounterOpts{Name: "anling_web_live_closed_total", Help: "Live channels closed by the server, by reason."}, []string{"reason"}),
		lag: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "anling_web_live_seconds",
			Help: "From the commit of a fact to its place in every client's queue.", Buckets: prometheus.ExponentialBuckets(0.00001, 4, 12)}),
	}
	r.MustRegister(m.requests, m.panics, m.logins, m.clients, m.sent, m.closed, m.lag)
	return m
}
