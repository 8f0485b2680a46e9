// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package party_test

import (
	"errors"
	"fmt"
	"net/http"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/party"
)

func init() {
	party.RegisterAdmin("taken", func(http.ResponseWriter, *http.Request, string) error { return errors.ErrUnsupported })
	party.RegisterTemplateFunction("taken", func(caddy.Context, string) (any, error) { return fmt.Sprint, nil })
}

func TestWhatIsTakenIsNotRegisteredAgain(t *testing.T) {
	admin := func(name string) func() { return func() { party.RegisterAdmin(name, nil) } }
	function := func(name string) func() { return func() { party.RegisterTemplateFunction(name, nil) } }
	for what, register := range map[string]func(){
		`endpoint "taken" is registered already`:           admin("taken"),
		`endpoint "invite" is registered already`:          admin("invite"),
		`endpoint "" is registered already`:                admin(""),
		`template function "taken" is registered already`:  function("taken"),
		`template function "urlFor" is registered already`: function("urlFor"),
		`function name "greet you" is not a valid`:         function("greet you"),
	} {
		func() {
			defer func() {
				check.Has(t, fmt.Sprint(recover()), what, "it panics with, not with")
			}()
			register()
		}()
	}
}
