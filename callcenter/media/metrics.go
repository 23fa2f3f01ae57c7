package media

import "github.com/prometheus/client_golang/prometheus"

// metrics of the media; with a nil registerer they count unseen. Sessions count
// for themselves and hand over at each report, so packets touch no metric.
type metrics struct {
	packets       *prometheus.CounterVec // direction: in, out
	dropped       *prometheus.CounterVec // reason: foreign, flood, invalid, early
	lost          prometheus.Counter
	eventsDropped prometheus.Counter
	exhausted     prometheus.Counter
	wheelSkipped  prometheus.Counter
	filled        prometheus.Counter
	mos           prometheus.Histogram
	jitter        prometheus.Histogram
}

func newMetrics(r prometheus.Registerer, e *Engine) *metrics {
	m := &metrics{
		packets:       prometheus.NewCounterVec(prometheus.CounterOpts{Name: "anling_media_packets_total", Help: "RTP packets taken and sent."}, []string{"direction"}),
		dropped:       prometheus.NewCounterVec(prometheus.CounterOpts{Name: "anling_media_dropped_total", Help: "Datagrams that were not taken as audio."}, []string{"reason"}),
		lost:          prometheus.NewCounter(prometheus.CounterOpts{Name: "anling_media_lost_total", Help: "RTP packets that never came."}),
		eventsDropped: prometheus.NewCounter(prometheus.CounterOpts{Name: "anling_media_events_dropped_total", Help: "Events that a full queue refused."}),
		exhausted:     prometheus.NewCounter(prometheus.CounterOpts{Name: "anling_media_ports_exhausted_total", Help: "Parties that found no RTP port."}),
		wheelSkipped:  prometheus.NewCounter(prometheus.CounterOpts{Name: "anling_media_wheel_skipped_total", Help: "20 ms ticks given up because the machine was too slow."}),
		filled:        prometheus.NewCounter(prometheus.CounterOpts{Name: "anling_media_filled_total", Help: "Frames of silence sent because nothing else was there."}),
		mos:           prometheus.NewHistogram(prometheus.HistogramOpts{Name: "anling_media_mos", Help: "Estimated quality of a party's audio at its end, 1 to 4.5.", Buckets: []float64{2, 2.5, 3, 3.3, 3.6, 3.8, 4, 4.2, 4.4}}),
		jitter:        prometheus.NewHistogram(prometheus.HistogramOpts{Name: "anling_media_jitter_seconds", Help: "Interarrival jitter of a party at its end.", Buckets: []float64{.001, .002, .005, .01, .02, .04, .08, .16}}),
	}
	if r != nil {
		r.MustRegister(m.packets, m.dropped, m.lost, m.eventsDropped, m.exhausted, m.wheelSkipped, m.filled, m.mos, m.jitter,
			prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "anling_media_sessions", Help: "Parties with open RTP sockets."}, func() float64 { return float64(e.Sessions()) }),
			prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "anling_media_ports_free", Help: "Ordinary parties that can still be opened."}, func() float64 { return float64(e.Free()) }))
	}
	return m
}
