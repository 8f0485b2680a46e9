// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package partytemplates_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/wsgiparty/wsgiparty"
	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/party"
)

func init() {
	party.RegisterTemplateFunction("greet", func(ctx caddy.Context, party string) (any, error) {
		if party == "hostile" {
			return nil, errors.New("who goes there")
		}
		operator, err := wsgiparty.Join(ctx, party, "greeter")
		return func(whom string) (string, error) {
			if whom == "" {
				return "", errors.New("nobody to greet")
			}
			return fmt.Sprintf("%s greets %s of %s", operator, whom, operator.Partyline().Name()), nil
		}, err
	})
}

func TestPagesHaveRegisteredFunctions(t *testing.T) {
	c := templateSite(t, "")
	c.ExpectPage(`{{greet "you"}}`, "greeter greets you of main")
	c.ExpectPage(`{{with maybeURL . "greet"}}{{.}}{{else}}no page{{end}}`, "no page")
	expectNoPage(c, `{{greet ""}}`, "nobody to greet")
	err := c.TryLoad("ADDRESS {\ntemplates {\nextensions {\nwsgi_party hostile\n}\n}\n}")
	check.Fails(t, err, "template function greet: who goes there")
}
