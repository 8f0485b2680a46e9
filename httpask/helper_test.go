// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package httpask_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/wsgiparty/wsgiparty"
	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
	"github.com/wsgiparty/wsgiparty/internal/wire"
)

func TestMain(m *testing.M) {
	partytest.Main(m, wsgiparty.Lookup, wsgiparty.Join, wsgiparty.OperatorFrom, wsgiparty.ErrHighAndDry)
}

var (
	operatorOf  = partytest.OperatorOf(wsgiparty.Lookup)
	connectMain = partytest.ConnectMain(wsgiparty.Lookup)
)

// answered is the JSON of these answers, by guests that are each written with their mount, as in
// "two /two".
func answered(answers string, guests ...string) string {
	var replies []string
	for _, guest := range guests {
		name, mount, _ := strings.Cut(guest, " ")
		replies = append(replies, fmt.Sprintf(`{"guest": %q, "mount": %q, "status": "answered"}`, name, mount))
	}
	return `{"answers": [` + answers + `], "replies": [` + strings.Join(replies, ",") + "]}"
}

// lasting is a result that holds until the version of the line changes.
func lasting(result string) string { return strings.TrimSuffix(result, "}") + `, "lasting": true}` }

// asked returns the results of a request for a list, or for one service.
func asked(t testing.TB, r partytest.Response) (results []wire.Asked) {
	t.Helper()
	list := "[" + strings.TrimSuffix(strings.TrimPrefix(r.Body, "["), "]") + "]"
	check.FatalIf(t, json.Unmarshal([]byte(list), &results) != nil || r.Status != 200, "%d %.300s", r.Status, r.Body)
	return results
}

// answersBack has an application ask back, and returns the answers.
func answersBack(a *partytest.Application, r *http.Request, service string) ([]any, error) {
	response, err := a.AskBack(r, service)
	var got struct{ Answers []any }
	if err = errors.Join(err, json.Unmarshal([]byte(response.Body), &got)); err == nil && response.Status != 200 {
		err = errors.New(response.Body)
	}
	return got.Answers, err
}

// listOf is a list of as many asks for a service.
func listOf(n int, service string) string {
	return "[" + strings.TrimSuffix(strings.Repeat(fmt.Sprintf(`{"service": %q},`, service), n), ",") + "]"
}
