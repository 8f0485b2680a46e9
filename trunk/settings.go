// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// The settings of a trunk, with their placeholders replaced.

package trunk

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
)

// settings are those of a link: configs with the same ones share it.
type settings struct {
	Node        string
	Servers     []string
	Credentials string
	NKey        string
	NKeyIs      string // digest of its file, which a reload reads again
	User        string
	Password    string
	Token       string
	TLS         TLS
	Embedded    *Embedded
	Secret      string
	Parties     []string
	Subject     string
	Origins     []string
}

const (
	minSecret = 32  // bytes
	maxNode   = 128 // bytes
)

// resolver replaces placeholders. It keeps the first error.
type resolver struct {
	*caddy.Replacer
	err error
}

func (r *resolver) fail(format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf(format, args...)
	}
}

func (r *resolver) text(what, text string) string {
	replaced, err := r.ReplaceOrErr(text, true, true)
	if err != nil {
		r.fail("%s: %w: set it in Caddy's environment, or write another one", what, err)
	}
	return replaced
}

func (r *resolver) texts(what string, texts []string) (replaced []string) {
	for _, text := range texts {
		replaced = append(replaced, r.text(what, text))
	}
	return replaced
}

// secret is text for what must not be written in the config.
func (r *resolver) secret(what, text string) string {
	if text == "" {
		return ""
	}
	if !(strings.HasPrefix(text, "{env.") || strings.HasPrefix(text, "{file.")) || strings.Index(text, "}") != len(text)-1 {
		r.fail("%s is written in the config: write a placeholder such as {env.TRUNK_SECRET} or {file./run/secrets/trunk}, so that it stays out of it", what)
		return ""
	}
	return strings.TrimSpace(r.text(what, text))
}

// resolve returns the settings, or an error that says what to write.
func (a *App) resolve() (s settings, err error) {
	r := &resolver{Replacer: caddy.NewReplacer()}
	s = settings{
		Node: r.text("the node's name", a.Node), Servers: r.texts("nats", a.NATS), Credentials: r.text("credentials", a.Credentials), NKey: r.text("nkey", a.NKey),
		User: r.text("user", a.User), Password: r.secret("password", a.Password), Token: r.secret("token", a.Token), Secret: r.secret("secret", a.Secret),
		TLS: r.tls(a.TLS), Parties: slices.Compact(slices.Sorted(slices.Values(a.Parties))), Subject: cmp.Or(a.Subject, "wsgi_party"), Origins: r.texts("origins", a.Origins),
	}
	if s.Node == "" {
		if s.Node, err = os.Hostname(); err != nil {
			r.fail("the host's name, which would be the node's, is not known: write `wsgi_party_trunk <node>`: %w", err)
		}
	}
	if a.Embedded != nil {
		s.Embedded = &Embedded{Listen: r.text("the address of embedded", a.Embedded.Listen), Cluster: r.text("cluster", a.Embedded.Cluster), Routes: r.texts("routes", a.Embedded.Routes)}
		if a.Embedded.TLS != nil {
			tls := r.tls(a.Embedded.TLS)
			s.Embedded.TLS = &tls
		}
	}
	if r.err != nil {
		return s, r.err
	}
	if seed, err := os.ReadFile(s.NKey); err == nil {
		s.NKeyIs = digestOf(seed)
	}
	for _, check := range []func(settings) error{checkNode, a.checkServers, a.checkCredentials, checkEmbedded, checkOrigins} {
		if err := check(s); err != nil {
			return s, err
		}
	}
	return s, nil
}

func (r *resolver) tls(t *TLS) TLS {
	if t == nil {
		return TLS{}
	}
	return TLS{CA: r.text("the ca of tls", t.CA), Certificate: r.text("the certificate of tls", t.Certificate), Key: r.text("the key of tls", t.Key)}
}

func checkNode(s settings) error {
	if len(s.Node) > maxNode || strings.ContainsFunc(s.Node, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
		return fmt.Errorf("the node's name is %.200q: write one of up to %d bytes without spaces", s.Node, maxNode)
	}
	if strings.ContainsAny(s.Subject, " \t\r\n*>") || strings.HasPrefix(s.Subject, "$") || slices.Contains(strings.Split(s.Subject, "."), "") {
		return fmt.Errorf("subject is %q: write words with dots between them, such as shop.trunk", s.Subject)
	}
	return nil
}

// needsBrackets reports whether a URL has the IPv6 address ::1 where [::1] belongs.
func needsBrackets(u *url.URL) bool {
	return strings.Count(u.Host, ":") > 1 && !strings.HasPrefix(u.Host, "[")
}

func (a *App) checkServers(s settings) error {
	if len(s.Servers) == 0 && s.Embedded == nil {
		return errors.New("the trunk has no NATS: write `nats nats://<host>`, or `embedded` for a server in this process")
	}
	if len(s.Servers) > 0 && s.Embedded != nil {
		return errors.New("nats and embedded exclude each other: leave one of them out")
	}
	for i, server := range s.Servers {
		u, err := url.Parse(server)
		if err != nil || u.Host == "" || needsBrackets(u) || !slices.Contains([]string{"nats", "tls", "ws", "wss"}, u.Scheme) {
			return fmt.Errorf("nats: %q is not the URL of a NATS server: write one such as nats://nats.example.com:4222", a.NATS[i])
		}
		written, _, _ := strings.Cut(strings.TrimPrefix(a.NATS[i], u.Scheme+"://"), "@")
		if u.User != nil && strings.Contains(a.NATS[i], "@") && !strings.Contains(written, "{") {
			return fmt.Errorf("nats: the URL of %s has a password or token, which is written in the config: write `user <name> {env.NATS_PASSWORD}` or `token {env.NATS_TOKEN}` instead", u.Host)
		}
	}
	return nil
}

// checkCredentials refuses a NATS that everybody could use: guests are processes of this machine, too.
func (a *App) checkCredentials(s settings) error {
	if (s.User == "") != (s.Password == "") {
		return errors.New("user and password need each other: write `user <name> {env.NATS_PASSWORD}`")
	}
	if s.TLS.Certificate == "" != (s.TLS.Key == "") {
		return errors.New("the certificate of tls and its key need each other: write `tls { certificate <file> <key file> }`")
	}
	var logins []string
	for _, login := range [][2]string{{"credentials", s.Credentials}, {"nkey", s.NKey}, {"user", s.User}, {"token", s.Token}, {"secret", s.Secret}} {
		if login[1] != "" && (s.Embedded == nil || login[0] != "secret") {
			logins = append(logins, login[0])
		}
	}
	if s.Embedded != nil {
		others := logins
		if a.TLS != nil {
			others = append(others, "tls outside of embedded")
		}
		if a.Insecure {
			others = append(others, "insecure")
		}
		if len(others) > 0 {
			return fmt.Errorf("%s is for an existing NATS, and the trunk has an embedded one: leave it out", others[0])
		}
	}
	if len(logins) > 1 {
		return fmt.Errorf("%s exclude each other: leave all but one out", strings.Join(logins, " and "))
	}
	has := s.Secret != "" || s.Credentials != "" || s.NKey != "" || s.User != "" || s.Token != "" || s.TLS.Certificate != ""
	for _, server := range s.Servers {
		if u, _ := url.Parse(server); !has && u.User == nil && !a.Insecure {
			return fmt.Errorf("nobody has to log in to the NATS at %s, so every process that reaches it could ask all guests, and answer for them: write `credentials <file>`, `user <name> {env.NATS_PASSWORD}`, `token {env.NATS_TOKEN}`, `tls { certificate … }`, or `secret {env.TRUNK_SECRET}` for the embedded server of another node, or `insecure` if that is meant", u.Host)
		}
	}
	return nil
}

func checkEmbedded(s settings) error {
	e := s.Embedded
	if e == nil {
		return nil
	}
	for what, address := range map[string]string{"embedded": e.Listen, "cluster": e.Cluster} {
		if _, port, err := net.SplitHostPort(address); address != "" && (err != nil || !isPort(port)) {
			return fmt.Errorf("%s: %q is not an address to listen on: write host and port, such as 10.0.0.1:6222", what, address)
		}
	}
	if e.Cluster == "" && len(e.Routes) > 0 {
		return errors.New("embedded has routes and no cluster: write `cluster <address>`, where the servers of other nodes connect")
	}
	if e.Cluster == "" && e.TLS != nil {
		return errors.New("embedded has tls and no cluster: tls is between the servers of the nodes; write `cluster <address>`, or leave tls out")
	}
	if e.Cluster != "" && e.Cluster == e.Listen {
		return fmt.Errorf("embedded and cluster both have the address %s: write another port in one of them", e.Cluster)
	}
	for _, route := range e.Routes {
		if u, err := url.Parse(route); err != nil || u.Hostname() == "" || u.Port() == "" || needsBrackets(u) || u.User != nil {
			return fmt.Errorf("routes: %q is not the URL of another node's cluster: write one such as nats://10.0.0.2:6222, without a password", route)
		}
	}
	if (e.Listen != "" || e.Cluster != "") && len(s.Secret) < minSecret {
		return fmt.Errorf("embedded listens, and the secret has %d bytes: write `secret {env.TRUNK_SECRET}` with one of at least %d bytes, the same on all nodes, such as `openssl rand -hex 32` makes", len(s.Secret), minSecret)
	}
	if t := e.TLS; t != nil && (t.CA == "" || t.Certificate == "" || t.Key == "") {
		return errors.New("the tls of embedded is mutual: write `ca <file>` and `certificate <file> <key file>`")
	}
	return nil
}

func isPort(text string) bool {
	port, err := strconv.ParseUint(text, 10, 16)
	return err == nil && port > 0
}

func checkOrigins(s settings) error {
	for _, origin := range s.Origins {
		if _, err := parseOrigin(origin); err != nil {
			return err
		}
	}
	return nil
}

func parseOrigin(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || strings.Contains(u.Host, "*") || u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" {
		return nil, fmt.Errorf("origins: %q is not a scheme and a host: write one such as https://shop.example.com", text)
	}
	return u, nil
}
