// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package httpask_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
	"github.com/wsgiparty/wsgiparty/internal/token"
)

// TestUnusableKeysFailTheLoad says what to write, and never the key.
func TestUnusableKeysFailTheLoad(t *testing.T) {
	good := partytest.Key(t, "a")
	t.Setenv("ATTACK_SHARED", good)
	t.Setenv("ATTACK_EMPTY", "")
	t.Setenv("ATTACK_BLANK", "   ")
	short := good[:31]
	t.Setenv("ATTACK_SHORT", short)
	t.Setenv("ATTACK_BROKEN", good+"\n"+good)
	file := filepath.Join(t.TempDir(), "key")
	check.Must(t, os.WriteFile(file, []byte(short+"\n"), 0o600))
	c := partytest.NewCaddy(t)
	a := partytest.NewApplication(t, "", nil)
	for name, each := range map[string]struct {
		a, b  string // the guests' keys
		write []string
	}{
		"empty":                    {"{env.ATTACK_EMPTY}", "", []string{`guest "a"`, "{env.ATTACK_EMPTY}, is empty", "openssl rand -base64 32"}},
		"unset":                    {"{env.ATTACK_UNSET}", "", []string{`guest "a"`, "the variable ATTACK_UNSET is unset"}},
		"blank":                    {"{env.ATTACK_BLANK}", "", []string{"empty"}},
		"no such file":             {"{file." + file + ".missing}", "", []string{"empty: ", "no such file"}},
		"short":                    {"{env.ATTACK_SHORT}", "", []string{"has 31 bytes, but needs at least 32", "openssl rand -base64 32"}},
		"short in a file":          {"{file." + file + "}", "", []string{"has 31 bytes, but needs at least 32", "openssl rand -base64 32"}},
		"short second":             {"{env.a_PARTY_KEY} {env.ATTACK_SHORT}", "", []string{"key 2", "has 31 bytes, but needs at least 32", "openssl rand -base64 32"}},
		"with a line break":        {"{env.ATTACK_BROKEN}", "", []string{"line break"}},
		"literal":                  {good, "", []string{"placeholder", "{env."}},
		"literal from the adapter": {"{$a_PARTY_KEY}", "", []string{"placeholder", "{env."}},
		"literal with more":        {"{env.a_PARTY_KEY}" + good, "", []string{"placeholder", "{env."}},
		"literal before":           {good + "{env.a_PARTY_KEY}", "", []string{"placeholder", "{env."}},
		"shared":                   {"{env.a_PARTY_KEY}", "key {env.ATTACK_SHARED}", []string{`"a"`, `"b"`, "its own", "openssl rand"}},
	} {
		t.Run(name, func(t *testing.T) {
			mounts := partytest.Mounted("a", "answer ping pong\nkey "+each.a, a) + partytest.Mounted("b", "answer ping pong\n"+each.b, a)
			adapted, _, err := c.TryAdapt("ADDRESS {\nwsgi_party " + partytest.FreshParty() + " {\ninvite /a/__invite__/ /b/__invite__/\n" + mounts + "}\n}")
			if err == nil {
				err = caddy.Load(adapted, true)
			}
			check.Fails(t, err, each.write...)
			check.ErrorIf(t, strings.Contains(fmt.Sprint(err), short), "the error has the key")
		})
	}
	check.ErrorIf(t, strings.Contains(partytest.Logged(), short), "the log has the key")
}

// TestGuestsOfOneNameInTwoPartiesShareNoKey: a token of one would be good for the other.
func TestGuestsOfOneNameInTwoPartiesShareNoKey(t *testing.T) {
	key := partytest.Key(t, "a")
	c := partytest.NewCaddy(t)
	a := partytest.NewApplication(t, "", nil)
	one, two := partytest.FreshParty(), partytest.FreshParty()
	config := func(path string) string {
		return "invite /" + path + "/__invite__/ as blog\n" + partytest.Mounted(path, "answer ping pong\nkey {env.a_PARTY_KEY}", a) + "}\n"
	}
	err := c.TryLoad("ADDRESS {\nwsgi_party /a/* " + one + " {\n" + config("a") + "wsgi_party /b/* " + two + " {\n" + config("b") + "}")
	check.ErrorIf(t, err == nil || !strings.Contains(err.Error(), "its own") || !strings.Contains(err.Error(), one) || !strings.Contains(err.Error(), two) || strings.Contains(err.Error(), key), "error %v", err)
}

func TestAStolenKeyIsOnlyItsOwnGuests(t *testing.T) {
	keyA, keyB := partytest.Key(t, "a"), partytest.Key(t, "b")
	c := partytest.NewCaddy(t)
	party := partytest.FreshParty()
	a, b := partytest.NewApplication(t, "", partytest.JSON(`"a"`)), partytest.NewApplication(t, "", partytest.JSON(`"b"`))
	c.TwoGuests(party, "service who /who", "service who /who", a, b)

	// Whose key it is, that guest asks, and is not asked.
	for key, want := range map[string]string{keyA: `["b"]`, keyB: `["a"]`} {
		status, answer := c.AskAs(key, "who", "null", "")
		got, _ := json.Marshal(answer.Answers)
		check.ErrorIf(t, status != 200 || string(got) != want, "status %d, answers %s, want %s", status, got, want)
	}
	// With it nobody makes, or passes on, the other's tokens.
	for name, text := range map[string]string{
		"for the other, signed with this key":       partytest.Signed(t, keyA, "b", time.Now()),
		"for the other, signed with the other's":    partytest.Signed(t, keyB, "b", time.Now()),
		"for this one, signed with the other's key": partytest.Signed(t, keyB, "a", time.Now()),
	} {
		status, _ := c.AskAs(keyA, "who", "null", text)
		check.Equal(t, status, 400, "a token", name)
	}
	for _, r := range b.Requests() {
		_, err := partytest.Token(r, "b", partytest.Keys(t, keyB))
		check.Nil(t, err)
		_, err = partytest.Token(r, "b", partytest.Keys(t, keyA))
		check.ErrorIf(t, !errors.Is(err, token.ErrInvalid), "a token of the other's key: %v", err)
	}
	check.Equal(t, len(b.Requests()), 1, "requests")
	for _, key := range []string{"", keyA[:len(keyA)-1], keyA + "x", strings.ToLower(keyA), "a", "null"} {
		status, _ := c.AskAs(key, "who", "null", "")
		check.Equal(t, status, 401, "key ", key)
	}
}

// TestKeysDoNotShow looks at all that can be seen of a party, also of one where
// everything goes wrong.
func TestKeysDoNotShow(t *testing.T) {
	keyA, keyB := partytest.Key(t, "a"), partytest.Key(t, "b")
	second := partytest.Key(t, "second")
	file := filepath.Join(t.TempDir(), "key")
	check.Must(t, os.WriteFile(file, []byte(second+"\n"), 0o600))
	c := partytest.NewCaddyWithAdmin(t)
	party := partytest.FreshParty()
	a := partytest.NewApplication(t, "", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/fail" {
			w.WriteHeader(http.StatusInternalServerError)
		} else {
			partytest.JSON("1")(w, r)
		}
	})
	b := partytest.NewApplication(t, `{"services": {"who": {"href": "/who"}, "fail": {"href": "/fail"}}}`, a.Config.Handler.ServeHTTP)
	c.Site("log\nwsgi_party " + party + " {\ninvite /a/__invite__/ /b/__invite__/ /down/__invite__/\n" +
		partytest.Mounted("a", "key {env.a_PARTY_KEY} {file."+file+"}\nservice who /who\nservice fail /fail", a) + partytest.Mounted("b", "key {env.b_PARTY_KEY}", b) + `
		handle_path /down/* {
			wsgi_party_guest {
				service fail /fail
			}
			reverse_proxy 127.0.0.1:1
		}
	}
	handle_path /ask/* {
		wsgi_party_ask ` + party + "\n}")
	c.Connected(party, "who", "a", "b")
	var shown strings.Builder
	note := func(what ...any) { fmt.Fprintln(&shown, what...) }
	for _, key := range []string{keyA, keyB, second} {
		header := http.Header{"Authorization": {"Bearer " + key}}
		for _, service := range []string{"who", "fail", "missing", "who?first=maybe", "%zz"} {
			if status, body, err := c.TryDo(context.Background(), "POST", "/ask/"+service, `{"x": 1}`, header); err == nil {
				note(status, body)
			}
		}
		note(c.Do("POST", "/ask/who", "{", header))
		note(c.Do("POST", "/ask/", `[{"service": "fail"}, {"service": "missing"}]`, header))
		note(c.Do("GET", "/ask/", "", header))
		note(c.Do("PUT", "/ask/who", "", header))
		header["Party-Token"] = []string{partytest.Signed(t, key, "b", time.Now())}
		note(c.Do("POST", "/ask/who", "null", header))
		note(c.Do("POST", "/ask/who", "null", http.Header{"Authorization": {"Basic " + key}}))
		note(c.Do("POST", "/ask/who", "null", http.Header{"Authorization": {"Bearer " + key + "x"}}))
		note(c.Do("GET", "/a/__invite__/", "", header))
		note(c.Do("GET", "/b/x", "", http.Header{"Authorization": {"Bearer " + key}}))
	}
	for _, path := range []string{"/config/", "/wsgi_party/", "/wsgi_party/" + party, "/wsgi_party/" + party + "/", "/metrics", "/wsgi_party/missing", "/debug/vars"} {
		response := c.Call("GET", path, "")
		note(response.Status, response.Body)
	}
	for _, path := range []string{"/ask/who", "/ask/fail", "/invite"} {
		response := c.Call("POST", "/wsgi_party/"+party+path, "null")
		note(response.Status, response.Body)
	}
	for _, service := range []string{"who", "fail"} {
		answers, err := operatorOf(c, party).AskAround(context.Background(), service, nil)
		fmt.Fprintf(&shown, "%s %v %+v %#v\n", answers, err, err, err)
	}
	stored, err := filepath.Glob(filepath.Join(caddy.DefaultStorage.Path, "wsgi_party", "*", "*"))
	check.ErrorIf(t, err != nil || len(stored) == 0, "stored manifests: %q, %v", stored, err)
	for _, path := range stored {
		shown.Write(check.Value(os.ReadFile(path))(t))
	}
	shown.WriteString(partytest.Logged())
	check.Contains(t, shown.String(), []string{`"logger":"http.log.access`, `"upstream roundtrip"`, "REDACTED", "{env.a_PARTY_KEY}", `"level":"debug"`, "500", "caddy_wsgi_party"}, "there is no in what was looked at")
	for variable, key := range map[string]string{"A": keyA, "B": keyB, "second": second} {
		for name, form := range map[string]string{
			"as it is": key, "in base64": base64.StdEncoding.EncodeToString([]byte(key)), "in base64url": base64.RawURLEncoding.EncodeToString([]byte(key)),
			"in hexadecimal": fmt.Sprintf("%x", key), "its hash": fmt.Sprintf("%x", sha256.Sum256([]byte(key))), "as bytes": fmt.Sprint([]byte(key)), "in part": key[:20],
		} {
			if i := strings.Index(shown.String(), form); i >= 0 {
				t.Errorf("key %s shows %s: …%s…", variable, name, shown.String()[max(0, i-200):min(shown.Len(), i+len(form)+50)])
			}
		}
	}
}
