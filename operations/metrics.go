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
	"github.com/wsgiparty/wsgiparty/internal/traffic"
	"github.com/wsgiparty/wsgiparty/party"
)

// metrics collects what the parties of the running config count. There is one for
// the process, so that it does not matter which config a registry is of.
type metrics struct{}

func init() { party.RegisterProvisioner(registerMetrics) }

var (
	asksDesc      = desc("asks_total", "Counter of asks for a service.", "party", "service")
	repliesDesc   = desc("replies_total", "Counter of what guests made of asks for a service.", "party", "guest", "service", "outcome")
	guestsDesc    = desc("guests", "Number of guests on the partyline.", "party")
	invitesDesc   = desc("invites_total", "Counter of invites by what became of them.", "party", "outcome")
	requestsDesc  = desc("requests_total", "Counter of requests to guests by the class of their status.", "party", "guest", "class")
	durationsDesc = desc("reply_duration_seconds", "Histogram of how long remote handlers took to reply.", "party", "guest", "service")
)

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(prometheus.BuildFQName("caddy", "wsgi_party", name), help, labels, nil)
}

// registerMetrics adds the metrics to the config's registry.
func registerMetrics(ctx caddy.Context) error {
	registry := ctx.GetMetricsRegistry()
	if registry == nil {
		return nil // a context that somebody derived without it
	}
	err := registry.Register(metrics{})
	if _, ok := errors.AsType[prometheus.AlreadyRegisteredError](err); ok {
		return nil
	}
	return err
}

// Describe describes the metrics.
func (metrics) Describe(ch chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{asksDesc, repliesDesc, guestsDesc, invitesDesc, requestsDesc, durationsDesc} {
		ch <- desc
	}
}

// Collect reads the counters of the parties of the running config.
func (metrics) Collect(ch chan<- prometheus.Metric) {
	count := func(desc *prometheus.Desc, n uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(desc, prometheus.CounterValue, float64(n), labels...)
	}
	for _, info := range party.Parties() {
		party := label(info.Partyline.Name())
		ch <- prometheus.MustNewConstMetric(guestsDesc, prometheus.GaugeValue, float64(len(info.Partyline.Guests())), party)
		for result, n := range info.InvitesSent {
			count(invitesDesc, n, party, string(result))
		}
		for _, g := range trafficOf(info).Guests {
			for i, class := range traffic.Classes {
				count(requestsDesc, g.All[i], party, label(g.Guest), class)
			}
		}
		asks, replies := info.Partyline.Counts()
		for _, c := range asks {
			count(asksDesc, c.Asks, party, label(c.Service))
		}
		for _, c := range replies {
			guest, service := label(c.Guest), label(c.Service)
			count(repliesDesc, c.Answered, party, guest, service, "answered")
			count(repliesDesc, c.Declined, party, guest, service, "declined")
			count(repliesDesc, c.Failed, party, guest, service, "failed")
			count(repliesDesc, c.Refused, party, guest, service, "refused")
			if c.Durations.Count > 0 {
				ch <- prometheus.MustNewConstHistogram(durationsDesc, c.Durations.Count, c.Durations.Sum.Seconds(), inSeconds(c.Durations.Buckets), party, guest, service)
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

// Interface guard
var _ prometheus.Collector = metrics{}
