// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// Questions in Go: to one application and to sixteen, against plain HTTP and NATS.

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/wsgiparty/wsgiparty/bench/question"
)

const (
	askerKey = "the-key-of-the-asker-of-the-benchmark"
	guestKey = "the-key-of-the-guest-that-wants-proof"
)

// goRows starts 17 applications, Caddy, a NATS server, and a server that asks the sixteen by plain HTTP.
func goRows(s *stage) ([]row, error) {
	free, err := addresses(22)
	if err != nil {
		return nil, err
	}
	applications, proving := free[:16], free[16]
	broker, hop, site, ask := free[17], free[18], free[19], free[20]
	host, port, _ := strings.Cut(broker, ":")
	if err := s.serve(broker, "nats", nil, "nats-server", "-a", host, "-p", port); err != nil {
		return nil, err
	}
	var guests strings.Builder
	for i, address := range append(applications, proving) {
		name, services, env, key := fmt.Sprintf("app%d", i), "all,all-batch", []string(nil), ""
		switch {
		case i == 0:
			services += ",one,one-batch"
		case address == proving:
			name, services, env, key = "proving", "proving", []string{"WSGI_PARTY_KEY=" + guestKey}, "key {env.GUEST_KEY}"
		}
		if err := s.serve(address, name, env, "app", "-listen", address, "-services", services, "-nats", "nats://"+broker); err != nil {
			return nil, err
		}
		fmt.Fprintf(&guests, `
		invite /%[1]s/__invite__/
		handle_path /%[1]s/* {
			wsgi_party_guest {
				direct %[2]s
				%[3]s
			}
			reverse_proxy %[2]s
		}
`, name, address, key)
	}
	if err := s.serve(hop, "hop", nil, "app", "-listen", hop, "-hop", strings.Join(applications, ",")); err != nil {
		return nil, err
	}
	if _, err := s.write("page.html", `<!doctype html><title>Users</title>{{range askAround . "all" (dict "id" 7)}}<p>{{.id}}: {{.name}}</p>{{end}}`); err != nil {
		return nil, err
	}
	err = s.caddy(free[21], site, fmt.Sprintf(`
	wsgi_party main {
		ask_on %s
		%s
		invite /asker/__invite__/
		handle_path /asker/* {
			wsgi_party_guest {
				key {env.ASKER_KEY}
				answer asker true
			}
			respond 204
		}
		handle /bench {
			bench main %s
		}
		handle /page.html {
			root %s
			templates {
				extensions {
					wsgi_party
				}
			}
			file_server
		}
	}`, ask, &guests, strings.Join(applications, " "), s.dir))
	if err != nil {
		return nil, err
	}
	connection, err := nats.Connect("nats://" + broker)
	if err != nil {
		return nil, err
	}

	party := func(service string, answers int) func() error {
		return func() error {
			answer, err := question.Plain.Post("http://"+ask+"/"+service, askerKey, question.Asked)
			return answered(answer, err, answers)
		}
	}
	if err := until(20*time.Second, func() error { return party("all", 16)() }); err != nil {
		return nil, err
	}
	if err := until(20*time.Second, func() error { return party("proving", 1)() }); err != nil {
		return nil, err
	}
	plain := func() error {
		answer, err := question.Plain.Post("http://"+applications[0]+"/user", "", question.Asked)
		return user(answer, err)
	}
	byNATS := func() error {
		m, err := connection.Request("one", question.Asked, 10*time.Second)
		if err != nil {
			return err
		}
		return user(m.Data, nil)
	}
	gather := func() error {
		inbox := connection.NewRespInbox()
		answers, err := connection.SubscribeSync(inbox)
		if err != nil {
			return err
		}
		if err := answers.AutoUnsubscribe(16); err != nil {
			return err
		}
		if err := connection.PublishRequest("all", inbox, question.Asked); err != nil {
			return err
		}
		for range 16 {
			m, err := answers.NextMsg(10 * time.Second)
			if err != nil {
				return err
			}
			if err := user(m.Data, nil); err != nil {
				return err
			}
		}
		return nil
	}
	hopped := func(path string, answers int) func() error {
		return func() error {
			answer, err := question.Plain.Post("http://"+hop+path, "", question.Asked)
			return answered(answer, err, answers)
		}
	}
	page := func(url string) func() error {
		return func() error {
			text, err := question.Plain.Get(url)
			if err == nil && strings.Count(string(text), "<p>7: Ann</p>") != 16 {
				err = fmt.Errorf("%s: %.200s", url, text)
			}
			return err
		}
	}
	together := func(n int) func() error {
		asked := batchOf(n, "one-batch")
		return func() error {
			answer, err := question.Plain.Post("http://"+ask+"/", askerKey, asked)
			return results(answer, err, n)
		}
	}

	const withHop = "a server in Go with plain parallel requests"
	var rows []row
	for _, askers := range []int{1, 16} {
		goal := map[int]float64{1: 1, 16: 1.5}[askers]
		rows = append(rows, row{
			work: fmt.Sprintf("one question through `wsgi_party_ask`, %s", counted(askers)),
			contenders: []contender{
				by(askers, ours, party("one", 1)), by(askers, "with `batch`", party("one-batch", 1)),
				by(askers, "with tokens that are verified", party("proving", 1)), by(askers, "a plain request", plain), by(askers, "NATS", byNATS),
				by(askers, "a server in Go that asks by a plain request", hopped("/one", 1)),
			},
			comparisons: []comparison{
				{ours, "a plain request", 2.5}, {ours, "NATS", goal}, {"with `batch`", "NATS", 1},
				{"with tokens that are verified", "a plain request", 0}, {ours, "a server in Go that asks by a plain request", 0},
				{"a plain request", "NATS", 0}, {"a server in Go that asks by a plain request", "NATS", 0},
			},
		})
	}
	inCaddy := func(by string) contender {
		return timed(by, "http://"+site+"/bench?by=%s&for=all&askers=1&times=%d")
	}
	fromGo := []contender{inCaddy("party"), inCaddy("plain")}
	fromGo[0].name, fromGo[1].name = ours, "plain parallel requests"
	rows = append(rows,
		row{work: "16 applications, from a module in Go", contenders: fromGo, comparisons: []comparison{{ours, "plain parallel requests", 1.3}}},
		row{
			work:        "16 applications, from a page of a template",
			contenders:  []contender{by(1, ours, page("http://"+site+"/page.html")), by(1, withHop, page("http://"+hop+"/page"))},
			comparisons: []comparison{{ours, withHop, 1.3}},
		},
	)
	for _, askers := range []int{1, 16} {
		goals := map[int][3]float64{1: {1, 1, 0}, 16: {0, 1, 1.5}}[askers]
		rows = append(rows, row{
			work: fmt.Sprintf("16 applications through `wsgi_party_ask`, %s", counted(askers)),
			contenders: []contender{
				by(askers, ours, party("all", 16)), by(askers, "with `batch`", party("all-batch", 16)),
				by(askers, "NATS", gather), by(askers, withHop, hopped("/all", 16)),
			},
			comparisons: []comparison{
				{ours, "NATS", goals[0]}, {"with `batch`", "NATS", goals[1]},
				{ours, withHop, goals[2]},
			},
		})
	}
	return append(rows,
		row{
			work: "16 questions at once to one application, in one request with `batch`",
			contenders: []contender{
				by(1, ours, together(16)), by(1, "NATS, 16 requests at once", atOnce(16, byNATS)),
				by(1, "16 plain requests at once", atOnce(16, plain)),
			},
			comparisons: []comparison{{ours, "NATS, 16 requests at once", 1}, {ours, "16 plain requests at once", 1}, {"16 plain requests at once", "NATS, 16 requests at once", 0}},
		},
		row{
			work:        "50 questions to one application in one request",
			contenders:  []contender{by(1, ours, together(50)), by(1, "one question", party("one-batch", 1))},
			comparisons: []comparison{{ours, "one question", 3}},
		},
	), nil
}

// batchOf returns so many asks of a service in one list.
func batchOf(n int, service string) []byte {
	type ask struct {
		Service string         `json:"service"`
		Payload map[string]int `json:"payload"`
		First   bool           `json:"first"`
	}
	asks := make([]ask, n)
	for i := range asks {
		asks[i] = ask{service, map[string]int{"id": i}, true}
	}
	text, err := json.Marshal(asks)
	if err != nil {
		panic(err)
	}
	return text
}

// results says what is wrong with the answer to so many asks in one list.
func results(answer []byte, err error, n int) error {
	if err != nil {
		return err
	}
	var results []json.RawMessage
	if err := json.Unmarshal(answer, &results); err != nil {
		return err
	}
	if len(results) != n {
		return fmt.Errorf("%d results", len(results))
	}
	for _, result := range results {
		if err := answered(result, nil, 1); err != nil {
			return err
		}
	}
	return nil
}

// atOnce does something so many times at the same time.
func atOnce(n int, do func() error) func() error {
	return func() error {
		errs := make([]error, n)
		var all sync.WaitGroup
		for i := range errs {
			all.Go(func() { errs[i] = do() })
		}
		all.Wait()
		return errors.Join(errs...)
	}
}

func counted(askers int) string {
	if askers == 1 {
		return "1 asker"
	}
	return fmt.Sprintf("%d askers", askers)
}

// timed returns a contender whose time another process takes.
func timed(by, format string) contender {
	return contender{by, func(times int) (time.Duration, error) {
		text, err := question.Plain.Get(fmt.Sprintf(format, by, times))
		if err != nil {
			return 0, err
		}
		n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
		return time.Duration(n), err
	}}
}

func user(answer []byte, err error) error {
	if err != nil {
		return err
	}
	var user question.User
	if err := json.Unmarshal(answer, &user); err != nil {
		return err
	}
	if user != (question.User{ID: 7, Name: "Ann"}) {
		return fmt.Errorf("the answer is %v", user)
	}
	return nil
}

func answered(answer []byte, err error, n int) error {
	if err != nil {
		return err
	}
	var result struct{ Answers []question.User }
	if err := json.Unmarshal(answer, &result); err != nil {
		return err
	}
	if len(result.Answers) != n {
		return fmt.Errorf("%d answers: %.300s", len(result.Answers), answer)
	}
	for _, user := range result.Answers {
		if user.Name != "Ann" {
			return fmt.Errorf("the answer is %v", user)
		}
	}
	return nil
}
