// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package trunk

import (
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
)

func init() { httpcaddyfile.RegisterGlobalOption(appName, parseGlobalOption) }

func parseGlobalOption(d *caddyfile.Dispenser, existing any) (any, error) {
	if existing != nil {
		d.Next()
		return nil, d.Errf("%s is there already: a Caddy is one node of one trunk", appName)
	}
	a := new(App)
	if err := a.UnmarshalCaddyfile(d); err != nil {
		return nil, err
	}
	return httpcaddyfile.App{Name: appName, Value: caddyconfig.JSON(a, nil)}, nil
}

// UnmarshalCaddyfile sets up the app from its global option:
//
//	wsgi_party_trunk [<node>] {
//		nats         <url>...
//		credentials  <file>
//		nkey         <file>
//		user         <name> <password>
//		token        <token>
//		tls {
//			ca           <file>
//			certificate  <file> <key file>
//		}
//		insecure
//		embedded [<listen>] {
//			cluster  <listen>
//			routes   <url>...
//			tls {
//				ca           <file>
//				certificate  <file> <key file>
//			}
//		}
//		secret   <secret>
//		party    <name>...
//		subject  <prefix>
//		origins  <url>...
//	}
func (a *App) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	if d.NextArg() {
		a.Node = d.Val()
	}
	if d.NextArg() {
		return d.ArgErr()
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		option := d.Val()
		switch option {
		case "nats":
			a.NATS = append(a.NATS, d.RemainingArgs()...)
			if len(a.NATS) == 0 {
				return d.Err("nats has no URL: write one such as nats://nats.example.com:4222")
			}
		case "credentials":
			if err := only(d, &a.Credentials); err != nil {
				return err
			}
		case "nkey":
			if err := only(d, &a.NKey); err != nil {
				return err
			}
		case "user":
			if !d.Args(&a.User, &a.Password) || d.NextArg() {
				return d.Err("user has not a name and a password: write `user <name> {env.NATS_PASSWORD}`")
			}
		case "token":
			if err := only(d, &a.Token); err != nil {
				return err
			}
		case "secret":
			if err := only(d, &a.Secret); err != nil {
				return err
			}
		case "subject":
			if err := only(d, &a.Subject); err != nil {
				return err
			}
		case "insecure":
			if d.NextArg() {
				return d.ArgErr()
			}
			a.Insecure = true
		case "party":
			if err := some(d, &a.Parties); err != nil {
				return err
			}
		case "origins":
			if err := some(d, &a.Origins); err != nil {
				return err
			}
		case "tls":
			a.TLS = new(TLS)
			if err := a.TLS.unmarshal(d); err != nil {
				return err
			}
		case "embedded":
			if a.Embedded != nil {
				return d.Err("embedded already specified")
			}
			a.Embedded = new(Embedded)
			if err := a.Embedded.unmarshal(d); err != nil {
				return err
			}
		default:
			return d.Errf("wsgi_party_trunk has no option %s: write nats, credentials, nkey, user, token, tls, insecure, embedded, secret, party, subject or origins", option)
		}
	}
	return nil
}

// some takes the arguments of an option.
func some(d *caddyfile.Dispenser, values *[]string) error {
	args := d.RemainingArgs()
	if len(args) == 0 {
		return d.ArgErr()
	}
	*values = append(*values, args...)
	return nil
}

// only takes the one argument of an option that may be there once.
func only(d *caddyfile.Dispenser, value *string) error {
	if *value != "" {
		return d.Errf("%s already specified", d.Val())
	}
	if !d.Args(value) || d.NextArg() {
		return d.ArgErr()
	}
	return nil
}

func (e *Embedded) unmarshal(d *caddyfile.Dispenser) error {
	if d.NextArg() {
		e.Listen = d.Val()
	}
	if d.NextArg() {
		return d.ArgErr()
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		switch option := d.Val(); option {
		case "cluster":
			if err := only(d, &e.Cluster); err != nil {
				return err
			}
		case "routes":
			if err := some(d, &e.Routes); err != nil {
				return err
			}
		case "tls":
			e.TLS = new(TLS)
			if err := e.TLS.unmarshal(d); err != nil {
				return err
			}
		default:
			return d.Errf("embedded has no option %s: write cluster, routes or tls", option)
		}
	}
	return nil
}

func (t *TLS) unmarshal(d *caddyfile.Dispenser) error {
	if d.NextArg() {
		return d.ArgErr()
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		switch option := d.Val(); option {
		case "ca":
			if err := only(d, &t.CA); err != nil {
				return err
			}
		case "certificate":
			if !d.Args(&t.Certificate, &t.Key) || d.NextArg() {
				return d.Err("certificate has not a file and a key file: write `certificate <file> <key file>`")
			}
		default:
			return d.Errf("tls has no option %s: write ca or certificate", option)
		}
	}
	return nil
}

var _ caddyfile.Unmarshaler = (*App)(nil)
