// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package examples

import (
	"html"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig"

	"github.com/wsgiparty/wsgiparty/internal/check"
)

// faults returns what is wrong with how a page looks and with what it is made of.
const faults = `(() => {
	const found = [];
	const root = document.documentElement;
	if (root.scrollWidth > innerWidth) found.push("is " + root.scrollWidth + " px wide");
	if (root.lang !== "en" || !document.querySelector("meta[name=viewport]")) found.push("has no lang or viewport");
	const levels = [...document.querySelectorAll("h1, h2, h3, h4")].map((h) => +h.tagName[1]);
	if (levels.filter((l) => l === 1).length !== 1) found.push("has no heading, or two");
	levels.forEach((l, i) => { if (l > (levels[i - 1] ?? 0) + 1) found.push("has headings " + levels); });
	for (const r of performance.getEntriesByType("resource")) {
		if (!r.name.startsWith(location.origin) && !r.name.startsWith("data:")) found.push("loads " + r.name);
	}
	const rgba = (color) => { const n = color.match(/[\d.]+/g).map(Number); return n.length < 4 ? [...n, 1] : n; };
	const light = (c) => { const [r, g, b] = c.map((v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
	for (const e of document.body.querySelectorAll("*")) {
		const text = [...e.childNodes].filter((n) => n.nodeType === 3).map((n) => n.data.trim()).join("");
		if (!text || e.tagName === "NOSCRIPT" || !e.checkVisibility()) continue;
		const style = getComputedStyle(e);
		let behind = e;
		while (rgba(getComputedStyle(behind).backgroundColor)[3] < 1 && behind.parentElement) behind = behind.parentElement;
		const [a, b] = [light(rgba(style.color)), light(rgba(getComputedStyle(behind).backgroundColor))].sort((x, y) => y - x);
		const size = parseFloat(style.fontSize);
		if ((a + 0.05) / (b + 0.05) < (size >= 24 ? 3 : 4.5)) found.push(((a + 0.05) / (b + 0.05)).toFixed(1) + " is too little contrast: " + text);
		if (size < 12) found.push(size + " px is too small: " + text);
	}
	return found.join("\n");
})()`

// TestThePagesOfTheTrialLookWell looks at all pages, at screens of all sizes, in light and in darkness.
func TestThePagesOfTheTrialLookWell(t *testing.T) {
	s := startTrial(t)
	look := func(page string) {
		s.Visit(s.address + page)
		s.becomes(page+" complete", "location.pathname + ' ' + document.readyState")
		for _, width := range []int{320, 768, 1280, 2000} {
			for _, scheme := range []string{"light", "dark"} {
				if scheme == "dark" && width != 1280 {
					continue // its colours are the same everywhere
				}
				s.Dark(scheme == "dark")
				s.Size(width, 900)
				got := s.Get(faults)
				check.ErrorIf(t, got != "", "%s, %s, %d px wide:\n%s", page, scheme, width, got)
			}
		}
		text := s.Get("document.body.innerText")
		check.ErrorIf(t, regexp.MustCompile(`(?i)error|unknown|not found|nobody knows|fail|<no value>|<nil>|%!`).MatchString(text), "%s reads like an error:\n%s", page, text)
	}
	pages := []string{"/", "/magazine/", "/magazine/articles/lamplight", "/magazine/articles/tea", "/shop/", "/shop/products/brass-lamp", "/shop/products/teapot",
		"/cafe/", "/cafe/evenings/owls", "/nowhere", "/shop/nothing"}
	for _, page := range pages {
		look(page)
	}
	got := s.Get("document.querySelector('h1').style = 'color: var(--paper); width: 3000px'; " + faults)
	check.ErrorIf(t, !strings.Contains(got, "contrast") || !strings.Contains(got, "wide"), "a heading that nobody can see, and is too wide, is well: %s", got)
	s.Visit(s.address + "/")
	s.becomes("Links that follow", "document.title")
	s.do("cafe")
	s.becomes("3", "frames.length")
	for _, page := range []string{"/", "/magazine/", "/magazine/articles/tea", "/shop/products/teapot", "/cafe/evenings/owls"} {
		look(page)
	}
}

// TestTheLinesForAnApplicationOfOnesOwnLoad writes what the trial ends with where it says.
func TestTheLinesForAnApplicationOfOnesOwnLoad(t *testing.T) {
	text := string(check.Value(os.ReadFile("../Caddyfile.example"))(t))
	lines := regexp.MustCompile(`(?s)<pre id="own">(.*?)</pre>`).FindStringSubmatch(text)
	if lines == nil {
		t.Fatal("there are no such lines")
	}
	config, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(strings.Replace(text, "\twsgi_party main {\n", "\twsgi_party main {\n"+html.UnescapeString(lines[1])+"\n", 1)), nil)
	check.Must(t, err)
	for _, want := range []string{`"guest":"blog"`, `"key_auto":{"file":"blog.key"}`, `127.0.0.1:2080`, `localhost:8000`} {
		check.ErrorIf(t, !strings.Contains(string(config), want), "there is no %s in\n%s", want, config)
	}
	readme := strings.ReplaceAll(string(readReadme(t)), "`", "")
	for _, want := range []string{"Party(app)", "const line = party(app)", `$party = WsgiParty\Party::plain($pages)`, "WSGI_PARTY_KEY_FILE=blog.key"} {
		check.ErrorIf(t, !strings.Contains(text, want) || !strings.Contains(readme, want), "%s is not in both the trial and the README", want)
	}
	for _, file := range []string{"README.md", "Caddyfile.example", "examples/run"} {
		check.ErrorIf(t, !strings.Contains(text, "<b>"+file+"</b>"), "the trial does not lead to %s", file)
		_, err := os.Stat("../" + file)
		check.Must(t, err)
	}
}
