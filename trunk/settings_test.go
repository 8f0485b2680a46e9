// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package trunk

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/wsgiparty/wsgiparty/internal/check"
)

const testSecret = "0123456789abcdef0123456789abcdef"

func parse(t *testing.T, options string) (*App, error) {
	t.Helper()
	a := new(App)
	return a, a.UnmarshalCaddyfile(caddyfile.NewTestDispenser(appName + " n {\n" + options + "\n}"))
}

func TestWhatATrunkMayNotSay(t *testing.T) {
	t.Setenv("SECRET", testSecret)
	t.Setenv("SHORT", "short")
	for options, want := range map[string]string{
		"":                                "write `nats nats://<host>`, or `embedded`",
		"nats":                            "nats has no URL",
		"nats nats://h\nembedded":         "exclude each other",
		"nats http://h":                   `"http://h" is not the URL of a NATS server`,
		"nats nats://h":                   "nobody has to log in to the NATS at h",
		"nats nats://127.0.0.1":           "write `credentials <file>`",
		"nats nats://me:password@h":       "which is written in the config",
		"nats nats://h\nuser me password": "password is written in the config",
		"nats nats://h\nuser me {env.UNSET_HERE}":                           "password",
		"nats nats://h\nuser me":                                            "write `user <name> {env.NATS_PASSWORD}`",
		"nats nats://h\ntoken {$HOME}":                                      "token is written in the config",
		"nats nats://h\ncredentials a b":                                    "wrong argument count",
		"embedded 127.0.0.1:4222":                                           "the secret has 0 bytes",
		"embedded {\ncluster :6222\n}\nsecret {env.SHORT}":                  "the secret has 5 bytes: write `secret {env.TRUNK_SECRET}` with one of at least 32 bytes",
		"embedded {\ncluster 6222\n}\nsecret {env.SECRET}":                  `"6222" is not an address to listen on`,
		"embedded {\nroutes nats://h:6222\n}":                               "write `cluster <address>`",
		"embedded {\ncluster :6222\nroutes h\n}\nsecret {env.SECRET}":       "is not the URL of another node's cluster",
		"embedded {\ncluster :6222\ntls {\nca x\n}\n}\nsecret {env.SECRET}": "the tls of embedded is mutual",
		"embedded {\nnothing\n}":                                            "embedded has no option nothing: write cluster, routes or tls",
		"embedded\nnothing":                                                 "wsgi_party_trunk has no option nothing",
		"embedded\nsubject a..b":                                            `subject is "a..b"`,
		"embedded\nsubject *":                                               `subject is "*"`,
		"embedded\norigins shop":                                            "write one such as https://shop.example.com",
		"embedded\nsubject $SYS":                                            `subject is "$SYS"`,
		"embedded\norigins https://*.h":                                     "is not a scheme and a host",
		"embedded\norigins":                                                 "wrong argument count",
		"embedded\nparty":                                                   "wrong argument count",
		"embedded {\nroutes\n}":                                             "wrong argument count",
		"embedded\nembedded":                                                "embedded already specified",
		"embedded {\ncluster :1\ncluster :2\n}":                             "cluster already specified",
		"embedded {\ntls {\nca x\n}\n}":                                     "embedded has tls and no cluster",
		"embedded :1 {\ncluster :1\n}\nsecret {env.SECRET}":                 "both have the address :1",
		"embedded {\ncluster 127.0.0.1:0\n}\nsecret {env.SECRET}":           "is not an address to listen on",
		"embedded {\ncluster 127.0.0.1:99999\n}\nsecret {env.SECRET}":       "is not an address to listen on",
		"embedded {\ncluster :1\nroutes nats://::1:2\n}":                    "is not the URL of another node's cluster",
		"embedded\ntoken {env.SECRET}":                                      "token is for an existing NATS",
		"embedded\ntls {\n}\ninsecure":                                      "tls outside of embedded is for an existing NATS",
		"nats nats://::1:4222\ninsecure":                                    "is not the URL of a NATS server",
		"nats nats://h\ntoken {env.SECRET}\nuser u {env.SECRET}":            "user and token exclude each other",
		"nats nats://h\ntoken {env.UNSET_HERE}":                             "is empty: set it in Caddy's environment",
		"embedded\ntls {\nnothing\n}":                                       "tls has no option nothing",
	} {
		a, err := parse(t, strings.ReplaceAll(options, "{$HOME}", os.Getenv("HOME")))
		if err == nil {
			_, err = a.resolve()
		}
		check.ErrorIf(t, err == nil || !strings.Contains(err.Error(), want), "%q: got %v, want %s", options, err, want)
	}
}

func TestWhatATrunkMaySay(t *testing.T) {
	t.Setenv("SECRET", testSecret)
	for _, options := range []string{
		"embedded", "embedded 127.0.0.1:4222\nsecret {env.SECRET}", "nats nats://h nats://i\ninsecure", "nats nats://h\nsecret {env.SECRET}", "nats nats://{env.SECRET}@h",
		"nats tls://h\ntls {\ncertificate a b\nca c\n}", "nats nats://h\ncredentials f\nparty a b\nparty c\nsubject x.y\norigins https://h http://i:8080/",
	} {
		a, err := parse(t, options)
		check.Must(t, err)
		_, err = a.resolve()
		check.ErrorIf(t, err != nil, "%q: %v", options, err)
	}
}

// TestAReloadReadsAnNKeyAgain has a file of the same name have another seed: a link of its own connects with it.
func TestAReloadReadsAnNKeyAgain(t *testing.T) {
	file := filepath.Join(t.TempDir(), "node.nk")
	resolved := func(seed string) settings {
		check.Must(t, os.WriteFile(file, []byte(seed), 0o600))
		a, err := parse(t, "nats nats://h\nnkey "+file)
		check.Must(t, err)
		s, err := a.resolve()
		check.Must(t, err)
		return s
	}
	first, again, next := resolved("SUA1"), resolved("SUA1"), resolved("SUA2")
	check.ErrorIf(t, first.NKeyIs != again.NKeyIs, "a reload is a change")
	check.ErrorIf(t, first.NKeyIs == next.NKeyIs, "a reload is no change")
	encoded, err := json.Marshal(next)
	check.Must(t, err)
	check.ErrorIf(t, strings.Contains(string(encoded), "SUA2"), "the seed is in the settings")
}
