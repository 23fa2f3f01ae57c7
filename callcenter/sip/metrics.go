package sip

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	dropped   *prometheus.CounterVec
	legs      *prometheus.GaugeVec
	calls     *prometheus.CounterVec
	ended     *prometheus.CounterVec
	responses *prometheus.CounterVec
	resent    prometheus.Counter
	bindings  prometheus.Gauge
	logins    *prometheus.CounterVec
	trunkUp   *prometheus.GaugeVec
	faults    prometheus.Counter
	overflow  prometheus.Counter
}

func newMetrics(r prometheus.Registerer) *metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "anling_sip_" + name, Help: help}, labels)
	}
	gauge := func(name, help string, labels ...string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "anling_sip_" + name, Help: help}, labels)
	}
	m := &metrics{
		dropped:   counter("dropped_total", "Messages and connections that the edge dropped, by reason.", "reason"),
		legs:      gauge("legs", "Legs in progress.", "direction"),
		calls:     counter("calls_total", "Legs begun.", "direction", "kind"),
		ended:     counter("ended_total", "Legs ended, by cause.", "direction", "cause"),
		responses: counter("responses_total", "Final answers to requests outside a leg.", "method", "status"),
		resent:    prometheus.NewCounter(prometheus.CounterOpts{Name: "anling_sip_resent_total", Help: "2xx answers sent again for want of an ACK."}),
		bindings:  prometheus.NewGauge(prometheus.GaugeOpts{Name: "anling_sip_bindings", Help: "Registered contacts."}),
		logins:    counter("logins_total", "Digest answers, by result.", "result"),
		trunkUp:   gauge("trunk_up", "1 while the trunk answers.", "trunk"),
		faults:    prometheus.NewCounter(prometheus.CounterOpts{Name: "anling_sip_faults_total", Help: "Panics that were caught."}),
		overflow:  prometheus.NewCounter(prometheus.CounterOpts{Name: "anling_sip_inbox_overflow_total", Help: "Messages refused because a leg's inbox was full."}),
	}
	if r == nil {
		r = prometheus.NewRegistry()
	}
	r.MustRegister(m.dropped, m.legs, m.calls, m.ended, m.responses, m.resent, m.bindings, m.logins, m.trunkUp, m.faults, m.overflow)
	return m
}
