// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// A visitor follows links.

package main

import (
	"cmp"
	"crypto/rand"
	"errors"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"time"
)

// pages are what a visitor sees and sends, by the links of the pages that lead there.
var pages = []string{"Invoices", "Invoice", "Customers", "Reports", "New", "POST New", "POST Sign in"}

// request is one request, and what came of it.
type request struct {
	visitor, page, path string
	guest               string // who served it
	started, ended      time.Time
	err                 error
}

type visitor struct {
	site, name string
	client     *http.Client
	ticks      <-chan time.Time
	requests   chan<- request
	visits     int
	signedIn   bool
}

func newVisitor(site string, n int, transport http.RoundTripper, ticks <-chan time.Time, requests chan<- request) *visitor {
	jar, err := cookiejar.New(nil)
	if err != nil {
		panic(err)
	}
	return &visitor{
		site: site, name: fmt.Sprint("visitor ", n), ticks: ticks, requests: requests, visits: n,
		client: &http.Client{
			Transport: transport, Jar: jar, Timeout: 30 * time.Second,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

var (
	heading = regexp.MustCompile(`<h1>(\w+)`)
	nav     = regexp.MustCompile(`<a href="([^"]+)">(\w+)</a>`)
	first   = regexp.MustCompile(`<td><a href=['"]([^'"]+)['"]>`)
	form    = regexp.MustCompile(`<form method="post" action="([^"]+)">`)
)

// visit goes once through all pages. Where something fails it ends, and begins again later.
func (v *visitor) visit() {
	v.visits++
	page, err := v.get("Invoices", v.site+"/invoices")
	if err == nil {
		page, err = v.send("Sign in", v.found(form, page), url.Values{"user": {v.name}}, "Invoices", "Signed in as "+v.name)
	}
	if err != nil {
		return
	}
	v.signedIn = true
	links := make(map[string]string)
	for _, link := range nav.FindAllStringSubmatch(page, -1) {
		links[link[2]] = v.site + html.UnescapeString(link[1])
	}
	v.get("Invoice", v.found(first, page))
	v.get("Customers", links["Customers"])
	v.get("Reports", links["Reports"])
	v.get("New", links["New"])
	// Every fourth form is one of more than 100 kB, which has to arrive as it was sent.
	note := rand.Text()
	if v.visits%4 == 0 {
		note = strings.Repeat(note, 100<<10/len(note)+1)
	}
	v.send("New", links["New"], url.Values{"customer": {"Anna Blume"}, "amount": {"12.34"}, "note": {note}}, "Invoice", "<pre>"+note+"</pre>")
}

// found returns the address that a page has there.
func (v *visitor) found(where *regexp.Regexp, page string) string {
	if match := where.FindStringSubmatch(page); match != nil {
		return v.site + html.UnescapeString(match[1])
	}
	return v.site + "/no such link"
}

// get visits a page, and wherever that has moved to, and checks that it is the one.
func (v *visitor) get(page, address string, has ...string) (string, error) {
	for range 3 {
		body, location, err := v.request(page, http.MethodGet, address, nil, has)
		if err != nil || location == "" {
			return body, err
		}
		address = location
	}
	return "", errors.New("it moves on and on")
}

// send sends a form, and gets the page to which that leads.
func (v *visitor) send(page, address string, values url.Values, next string, has ...string) (string, error) {
	_, location, err := v.request("POST "+page, http.MethodPost, address, values, nil)
	if err != nil {
		return "", err
	}
	return v.get(next, cmp.Or(location, address), has...)
}

func (v *visitor) request(page, method, address string, values url.Values, has []string) (body, location string, err error) {
	<-v.ticks
	r := request{visitor: v.name, page: page, started: time.Now()}
	var response *http.Response
	if response, err = v.response(method, address, values); err == nil {
		r.path, r.guest = response.Request.URL.Path, response.Header.Get("Served-By")
		body, location, err = v.read(response)
		if err == nil && location == "" {
			err = v.check(page, body, has)
		}
	}
	if r.ended = time.Now(); err != nil {
		r.err = fmt.Errorf("%s %s: %w", method, address, err)
	}
	v.requests <- r
	return body, location, err
}

func (v *visitor) response(method, address string, values url.Values) (*http.Response, error) {
	if method == http.MethodGet {
		return v.client.Get(address)
	}
	r, err := http.NewRequest(method, address, strings.NewReader(values.Encode()))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	// As browsers do, send it again where an idle connection turns out to be closed: Caddy
	// closes them when it loads another config.
	r.Header["Idempotency-Key"] = nil
	return v.client.Do(r)
}

func (v *visitor) read(response *http.Response) (body, location string, err error) {
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	switch {
	case err != nil:
		return "", "", err
	case response.StatusCode >= 400:
		return "", "", errors.New(response.Status)
	case response.StatusCode >= 300:
		to, err := response.Location()
		if err != nil {
			return "", "", err
		}
		return "", to.String(), nil
	}
	return string(text), "", nil
}

func (v *visitor) check(page, body string, has []string) error {
	title := heading.FindStringSubmatch(body)
	if title == nil || title[1] != page {
		return fmt.Errorf("this is not the page %s: %.300s", page, body)
	}
	if v.signedIn {
		has = append(has, "Signed in as "+v.name)
	}
	for _, text := range has {
		if !strings.Contains(body, text) {
			return fmt.Errorf("the page lacks %.50q", text)
		}
	}
	return nil
}
