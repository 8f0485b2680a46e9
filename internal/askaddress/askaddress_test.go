// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package askaddress

import (
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/wsgiparty/wsgiparty/internal/check"
)

func TestWhatGuestsAreTold(t *testing.T) {
	for listen, want := range map[string]string{
		"127.0.0.1:2080":                           "http://127.0.0.1:2080/",
		"tcp/127.0.0.1:2080":                       "http://127.0.0.1:2080/",
		"tcp4/127.0.0.1:2080":                      "http://127.0.0.1:2080/",
		"localhost:2080":                           "http://localhost:2080/",
		"[::1]:2080":                               "http://[::1]:2080/",
		"party.internal:80":                        "http://party.internal:80/",
		"unix//run/party.sock":                     "unix//run/party.sock",
		"unix//run/party.sock|0660":                "unix//run/party.sock",
		":2080 http://proxy/":                      "http://proxy/",
		"0.0.0.0:2080-2082 https://party.x:1/y/":   "https://party.x:1/y/",
		"unix/party.sock unix//srv/app/party.sock": "unix//srv/app/party.sock",
		"fd/3 unix//run/party.sock":                "unix//run/party.sock",
		"[::]:2080 http://[fd00::1]:2080/":         "http://[fd00::1]:2080/",
	} {
		address, url, _ := strings.Cut(listen, " ")
		got, err := Parse(address, url)
		check.ErrorIf(t, err != nil || got.URL != want, "%s: %q %v, want %q", listen, got.URL, err, want)
	}
}

// TestAddressesThatNoGuestCouldUse are refused with what to write.
func TestAddressesThatNoGuestCouldUse(t *testing.T) {
	write := "write the address that guests use after it, as in `ask_on "
	for listen, want := range map[string]string{
		":2080":                            write + ":2080 http://127.0.0.1:2080/`",
		"0.0.0.0:2080":                     write,
		"[::]:2080":                        write,
		"127.0.0.1:2080-2081":              "is a range of ports, but guests need one: " + write,
		"[fe80::1%eth0]:2080":              "has a zone",
		"unix/party.sock":                  "is not an absolute path, but guests have other working directories: " + write,
		"unix/@party":                      write,
		"fd/3":                             write,
		"127.0.0.1":                        "has no port: write one, as in 127.0.0.1:2080",
		"127.0.0.1:0":                      "has no port",
		"127.0.0.1:0 http://x/":            "has no port",
		"2080":                             "has no port",
		"":                                 "has no port",
		"http://127.0.0.1:2080/":           "is a URL, but the first address is what Caddy listens on: write 127.0.0.1:2080",
		"/run/party.sock":                  "is a path: for a unix socket write unix//run/party.sock",
		"unix/":                            "has no path",
		"unix//run/x.sock|9":               "is not an address to listen on",
		"unix//run/x.sock|0444":            "is not an address to listen on",
		"unix/" + strings.Repeat("/x", 54): "has a path of 108 bytes, but that of a unix socket has at most 107",
		"udp/127.0.0.1:2080":               "names the network udp, which has no connections",
		"unixgram//run/x":                  "names the network unixgram",
		"127.0.0.1:70000":                  "is not an address to listen on",

		"127.0.0.1:2080 127.0.0.1:2080":                     "does not begin with http://",
		"127.0.0.1:2080 ftp://x/":                           "does not begin with http://",
		"127.0.0.1:2080 http:///x":                          "and a host",
		"127.0.0.1:2080 http://0.0.0.0:2080/":               "stands for every address of a machine",
		"127.0.0.1:2080 http://user@x/":                     "has a user, a query or a fragment",
		"127.0.0.1:2080 http://x/?":                         "has a user, a query or a fragment",
		"127.0.0.1:2080 http://x/#y":                        "has a user, a query or a fragment",
		"127.0.0.1:2080 http://x:y/":                        "is not a URL",
		"127.0.0.1:2080 http://x/;mac=y":                    "has the character ';' in it",
		"127.0.0.1:2080 http://x/\r\nSet-Cookie:a=b":        "has the character '\\r' in it",
		"127.0.0.1:2080 http://x/\ny":                       "has the character '\\n' in it",
		"127.0.0.1:2080 http://x/a,b":                       "has the character ',' in it",
		"127.0.0.1:2080 http://ü/":                          "has the character 'ü' in it",
		"127.0.0.1:2080 unix/run/x.sock":                    "is not the absolute path of a unix socket",
		"127.0.0.1:2080 unix//":                             "is not the absolute path of a unix socket",
		"127.0.0.1:2080 unix//run/x|0660":                   "has a file mode, which is for Caddy only",
		"127.0.0.1:2080 http://" + strings.Repeat("x", 600): "has 607 bytes, but may have at most 512",
		"unix//run/a;b.sock":                                "has the character ';' in it",
		"unix//run/a\r\nb.sock":                             "has the character '\\r' in it",
		"party;x:2080":                                      "has the character ';' in it",
	} {
		address, url, _ := strings.Cut(listen, " ")
		_, err := Parse(address, url)
		check.Fails(t, err, "ask_on", want)
		if t.Failed() {
			t.Fatalf("of %q", listen)
		}
	}
}

func TestOverlap(t *testing.T) {
	for pair, want := range map[string]bool{
		"127.0.0.1:2080 127.0.0.1:2080":      true,
		"127.0.0.1:2080 127.0.0.1:2081":      false,
		"127.0.0.1:2080 127.0.0.2:2080":      false,
		"127.0.0.1:2080 tcp4/127.0.0.1:2080": true,
		"127.0.0.1:2080 localhost:2080":      true,
		"127.0.0.1:2080 :2080":               true,
		"[::]:2080 0.0.0.0:2080":             true,
		"[::1]:2080 [0:0::1]:2080":           true,
		"party.x:2080 PARTY.x:2080":          true,
		"unix//a|0660 unix//a":               true,
		"unix//a unix//b":                    false,
		"unix//a/../b unix//b":               true,
		"fd/3 fd/3":                          true,
		"fd/3 fd/4":                          false,
		"127.0.0.1:2080 unix//a":             false,
		"127.0.0.1:2080 udp/127.0.0.1:2080":  false,
	} {
		one, other, _ := strings.Cut(pair, " ")
		a, b := check.Value(caddy.ParseNetworkAddress(one))(t), check.Value(caddy.ParseNetworkAddress(other))(t)
		check.Equal(t, Overlap(a, b), want, pair)
		check.Equal(t, Overlap(b, a), want, pair)
	}
}
