// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package partytest

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// Figures are the values of a party's series by name and other labels, as in
// `asks_total{service="url"}`.
type Figures map[string]float64

// ReadFigures returns the figures of each party in a page of metrics.
func ReadFigures(page io.Reader) (map[string]Figures, error) {
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(page)
	if err != nil {
		return nil, err
	}
	parties := make(map[string]Figures)
	for name, family := range families {
		name, ok := strings.CutPrefix(name, "caddy_wsgi_party_")
		if !ok {
			continue
		}
		for _, m := range family.GetMetric() {
			var party string
			labels := make(map[string]string)
			for _, l := range m.GetLabel() {
				if l.GetName() == "party" {
					party = l.GetValue()
				} else {
					labels[l.GetName()] = l.GetValue()
				}
			}
			if parties[party] == nil {
				parties[party] = make(Figures)
			}
			set := func(suffix string, value float64) { parties[party][name+suffix+Labels(labels)] = value }
			switch family.GetType().String() {
			case "COUNTER":
				set("", m.GetCounter().GetValue())
			case "GAUGE":
				set("", m.GetGauge().GetValue())
			case "HISTOGRAM":
				set("_count", float64(m.GetHistogram().GetSampleCount()))
				set("_sum", m.GetHistogram().GetSampleSum())
				for _, b := range m.GetHistogram().GetBucket() {
					labels["le"] = fmt.Sprint(b.GetUpperBound())
					set("_bucket", float64(b.GetCumulativeCount()))
				}
			default:
				return nil, fmt.Errorf("%s is a %s", name, family.GetType())
			}
		}
	}
	return parties, nil
}

// Labels are a series' labels as Figures has them.
func Labels(labels map[string]string) string {
	var written []string
	for _, name := range slices.Sorted(maps.Keys(labels)) {
		written = append(written, fmt.Sprintf("%s=%q", name, labels[name]))
	}
	if len(written) == 0 {
		return ""
	}
	return "{" + strings.Join(written, ",") + "}"
}

// Figures are the party's at the admin endpoint.
func (c *Caddy) Figures(party string) Figures {
	c.Helper()
	parties, err := ReadFigures(strings.NewReader(c.Call("GET", "/metrics", "").Body))
	if err != nil {
		c.Fatal(err)
	}
	return parties[party]
}
