// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package hosts

import (
	"fmt"
	"strings"
	"testing"

	"github.com/wsgiparty/wsgiparty/internal/check"
)

var longest = strings.Repeat(strings.Repeat("a", 61)+".", 4) + "abcde" // 253 bytes

func TestNames(t *testing.T) {
	for _, test := range []struct{ name, want, problem string }{
		{name: "shop.example.com", want: "shop.example.com"},
		{name: "Shop.EXAMPLE.com", want: "shop.example.com"},
		{name: "localhost", want: "localhost"},
		{name: "a-b.1.example", want: "a-b.1.example"},
		{name: "bücher.example", want: "xn--bcher-kva.example"},
		{name: "BÜCHER.example", want: "xn--bcher-kva.example"},
		{name: "xn--bcher-kva.example", want: "xn--bcher-kva.example"},
		{name: "例。example", want: "xn--fsq.example"},
		{name: longest, want: longest},
		{name: strings.Repeat("a", 63) + ".example", want: strings.Repeat("a", 63) + ".example"},

		{name: "", problem: "empty"},
		{name: ".", problem: "ends with a dot"},
		{name: "shop.example.com.", problem: "ends with a dot"},
		{name: ".example.com", problem: "empty label"},
		{name: "shop..example.com", problem: "empty label"},
		{name: longest + "f", problem: "254 bytes"},
		{name: strings.Repeat("a.", 100000) + "com", problem: "200003 bytes"},
		{name: strings.Repeat("ü", 400) + ".example", problem: ""},
		{name: strings.Repeat("a", 64) + ".example", problem: "label of 64 bytes"},
		{name: "*.example.com", problem: "wildcard"},
		{name: "shop.*.com", problem: "wildcard"},
		{name: "shop.example.com:443", problem: "port"},
		{name: "127.0.0.1", problem: "IP address"},
		{name: "127.1", problem: "IP address"},
		{name: "0x7f.1", problem: "IP address"},
		{name: "2130706433", problem: "IP address"},
		{name: "::1", problem: "IP address"},
		{name: "[2001:db8::1]", problem: "IP address"},
		{name: "１２７.0.0.1", problem: "IP address"},
		{name: "-shop.example.com", problem: "hyphen"},
		{name: "shop-.example.com", problem: "hyphen"},
		{name: "xn--zzzzzzzz99999999.example", problem: ""},
		{name: "shop_1.example.com", problem: "'_'"},
		{name: "shop.example.com\n", problem: `'\n'`},
		{name: "shop\x00.example.com", problem: `'\x00'`},
		{name: "shop/.example.com", problem: "'/'"},
		{name: "../../etc/passwd", problem: ""},
		{name: "{env.SECRET}.example.com", problem: ""},
		{name: "shop\xff.example.com", problem: ""},
	} {
		got, err := hostOf(test.name)
		if test.want != "" {
			check.ErrorIf(t, err != nil || got != test.want, "%q is %q: %v", test.name, got, err)
			continue
		}
		check.ErrorIf(t, err == nil || !strings.Contains(err.Error(), test.problem), "%q is %q: %v, want an error with %q", test.name, got, err, test.problem)
	}
}

// TestAnInternationalizedNameIsConvertedOnce floods what is kept with other names.
func TestAnInternationalizedNameIsConvertedOnce(t *testing.T) {
	for _, name := range []string{"xn--bcher-kva.example", "bücher.example", "Bücher.example"} {
		for range 2 {
			check.Equal(t, check.Value(hostOf(name))(t), "xn--bcher-kva.example", name)
		}
		check.Equal(t, testing.AllocsPerRun(100, func() { _, _ = hostOf(name) }), 0, "allocations for %s", name)
	}
	for i := range 2 * maxConverted {
		check.Value(hostOf(fmt.Sprintf("ü%d.example", i)))(t)
	}
	check.Equal(t, converted.Len(), maxConverted, "names kept")
}

// FuzzNames has no name pass that a guest would not expect.
func FuzzNames(f *testing.F) {
	for _, name := range []string{"shop.example.com", "bücher.example", "127.0.0.1", "*.example.com", longest} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		host, err := hostOf(name)
		if err != nil {
			return
		}
		again, err := hostOf(host)
		check.ErrorIf(t, err != nil || again != host, "%q is %q, which is %q: %v", name, host, again, err)
		check.ErrorIf(t, len(host) > maxName || strings.Trim(host, "abcdefghijklmnopqrstuvwxyz0123456789-.") != "" || strings.Contains(host, ".."), "%q", host)
	})
}

func BenchmarkName(b *testing.B) {
	for _, name := range []string{"shop.example.com", "xn--bcher-kva.example", "xn--mgbh0fb.xn--kgbechtv", "bücher.example"} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, _ = hostOf(name)
			}
		})
	}
}
