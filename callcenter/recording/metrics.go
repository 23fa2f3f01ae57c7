package recording

import "github.com/prometheus/client_golang/prometheus"

// metrics of the pool; with a nil registerer they count unseen.
type metrics struct {
	saved, failed, refused, gaps, recovered, bytes prometheus.Counter
}

func newMetrics(r prometheus.Registerer, p *Pool) *metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "anling_recording_" + name, Help: help})
	}
	m := &metrics{
		saved:     counter("saved_total", "Recordings finished."),
		failed:    counter("failed_total", "Recordings that could not be started or finished."),
		refused:   counter("refused_total", "Calls that went unrecorded because the disk was nearly full."),
		gaps:      counter("gaps_total", "Times that sound was lost to a slow or full disk."),
		recovered: counter("recovered_total", "Recordings finished after a crash."),
		bytes:     counter("written_bytes", "Bytes of finished recordings."),
	}
	if r != nil {
		r.MustRegister(m.saved, m.failed, m.refused, m.gaps, m.recovered, m.bytes,
			prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "anling_recording_active", Help: "Recordings being written."},
				func() float64 { return float64(len(p.recordings())) }),
			prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "anling_recording_disk_free_ratio", Help: "Free share of the disk of recordings."},
				p.share))
	}
	return m
}
