// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package operations

import (
	"errors"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/caddyserver/caddy/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/wsgiparty/wsgiparty/party"
)

// metrics collects what the parties of the running config count. There is one for
// the process, so that it does not matter which config a registry is of.
var metrics = newMetricsCollector()

func init() { party.RegisterProvisioner(registerMetrics) }

type metricsCollector struct{ asks, replies, guests, invites, durations *prometheus.Desc }

func newMetricsCollector() *metricsCollector {
	const ns, sub = "caddy", "wsgi_party"
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(prometheus.BuildFQName(ns, sub, name), help, labels, nil)
	}
	return &metricsCollector{
		asks:      desc("asks_total", "Counter of asks for a service.", "party", "service"),
		replies:   desc("replies_total", "Counter of what guests made of asks for a service.", "party", "guest", "service", "outcome"),
		guests:    desc("guests", "Number of guests on the partyline.", "party"),
		invites:   desc("invites_total", "Counter of invites by what became of them.", "party", "outcome"),
		durations: desc("reply_duration_seconds", "Histogram of how long remote handlers took to reply.", "party", "guest", "service"),
	}
}

// registerMetrics adds the metrics to the config's registry.
func registerMetrics(ctx caddy.Context) error {
	registry := ctx.GetMetricsRegistry()
	if registry == nil {
		return nil // a context that somebody derived without it
	}
	err := registry.Register(metrics)
	if _, ok := errors.AsType[prometheus.AlreadyRegisteredError](err); ok {
		return nil
	}
	return err
}

// Describe describes the metrics.
func (m *metricsCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{m.asks, m.replies, m.guests, m.invites, m.durations} {
		ch <- desc
	}
}

// Collect reads the counters of the parties of the running config.
func (m *metricsCollector) Collect(ch chan<- prometheus.Metric) {
	count := func(desc *prometheus.Desc, n uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(desc, prometheus.CounterValue, float64(n), labels...)
	}
	for _, info := range party.Parties() {
		party := label(info.Partyline.Name())
		ch <- prometheus.MustNewConstMetric(m.guests, prometheus.GaugeValue, float64(len(info.Partyline.Guests())), party)
		for result, n := range info.InvitesSent {
			count(m.invites, n, party, string(result))
		}
		asks, replies := info.Partyline.Counts()
		for _, c := range asks {
			count(m.asks, c.Asks, party, label(c.Service))
		}
		for _, c := range replies {
			guest, service := label(c.Guest), label(c.Service)
			count(m.replies, c.Answered, party, guest, service, "answered")
			count(m.replies, c.Declined, party, guest, service, "declined")
			count(m.replies, c.Failed, party, guest, service, "failed")
			count(m.replies, c.Refused, party, guest, service, "refused")
			if c.Durations.Count > 0 {
				ch <- prometheus.MustNewConstHistogram(m.durations, c.Durations.Count, c.Durations.Sum.Seconds(), inSeconds(c.Durations.Buckets), party, guest, service)
			}
		}
	}
}

func inSeconds(buckets map[time.Duration]uint64) map[float64]uint64 {
	seconds := make(map[float64]uint64, len(buckets))
	for bound, n := range buckets {
		seconds[bound.Seconds()] = n
	}
	return seconds
}

// label returns a name as a label's value, which has to be UTF-8; different names have
// different ones.
func label(name string) string {
	if utf8.ValidString(name) && !strings.HasPrefix(name, `"`) {
		return name
	}
	return strconv.Quote(name)
}

var _ prometheus.Collector = (*metricsCollector)(nil)
