// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package party_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/wsgiparty/wsgiparty"
	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/debian"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
)

// oddJSON is JSON that encoding/json takes, and some parser may not: whether every one
// does is the value.
var oddJSON = map[string]bool{
	"\"\xff\"":                       false,
	"\"\xed\xa0\x80\"":               false,
	"[\"\xc0\xae\"]":                 false,
	"{\"\xff\": 1, \"\xfe\": 2}":     false,
	`"\ud800"`:                       false,
	`["\udc00\ud800"]`:               false,
	`{"\ud800": 1}`:                  false,
	`{"\u0000": 1}`:                  false,
	`{"a": [{"\u0000b": 1}]}`:        false,
	`{"a": 1, "\u0061": 2}`:          false,
	`1e400`:                          false,
	`[-1e99999999999999999999]`:      false,
	`1e-400`:                         false,
	strings.Repeat("9", 5000):        false,
	"0." + strings.Repeat("1", 5000): false,
	strings.Repeat("[", 65) + strings.Repeat("]", 65):             false,
	strings.Repeat(`{"a":`, 600) + "1" + strings.Repeat("}", 600): false,

	`"\u0000"`:                true,
	`{"": 1, "__proto__": 2}`: true,
	`"\ud83d\ude00\uffff"`:    true,
	"\"\u2028\U0010ffff\"":    true,
	`[5e-324, 1.7976931348623157e308, -0, 0e9999, 0.0E-99999]`: true,
	strings.Repeat("9", 64):                           true,
	`{"a": 1, "A": 2}`:                                true,
	strings.Repeat("[", 64) + strings.Repeat("]", 64): true,
}

// TestWhatOneParserRefusesIsOneGuestsFailure has a guest answer with all of that, next
// to one that answers fine, and has the whole read by what applications read it with.
func TestWhatOneParserRefusesIsOneGuestsFailure(t *testing.T) {
	c := partytest.NewCaddy(t)
	var answer atomic.Value
	odd := partytest.NewApplication(t, "", func(w http.ResponseWriter, r *http.Request) { partytest.JSON(answer.Load().(string))(w, r) })
	key := partytest.Key(t, "asker")
	c.Around(partytest.Asker + "invite /odd/__invite__/ /fine/__invite__/\n" + partytest.Mounted("odd", "service odd /odd", odd) +
		"handle_path /fine/* {\nwsgi_party_guest {\nanswer odd fine\nanswer fine fine\n}\n}")
	connectMain(c, "module", "raw", func(context.Context, any) (any, error) { return json.RawMessage(answer.Load().(string)), nil })
	connectMain(c, "module", "keys", func(context.Context, any) (any, error) {
		var value any
		_ = json.Unmarshal([]byte(answer.Load().(string)), &value)
		return map[string]any{"a\x00": value, "b\xff": 1, "b\xfe": 2}, nil
	})
	connectMain(c, "module", "errs", func(context.Context, any) (any, error) {
		return nil, errors.New(answer.Load().(string) + "\xff\xed\xa0\x80\x00")
	})
	for _, service := range []string{"raw", "keys", "errs"} {
		connectMain(c, "fine-module", service, partytest.Answers("fine"))
	}

	var responses []string
	for text, taken := range oddJSON {
		check.FatalIf(t, !json.Valid([]byte(text)), "%.99q is not JSON", text)
		answer.Store(text)
		response := c.Ask(partytest.Asking{Key: key, Path: "/", Body: `[{"service": "odd"}, {"service": "raw"}, {"service": "keys"}, {"service": "errs"}, {"service": "fine"}]`})
		responses = append(responses, response.Body)
		var results []struct {
			Answers []any
			Replies []struct{ Guest, Status, Error string }
		}
		if err := json.Unmarshal([]byte(response.Body), &results); err != nil || len(results) != 5 {
			t.Errorf("%.99q: %v: %.200q", text, err, response.Body)
			continue
		}
		for i, result := range results[:4] {
			want := 1
			if i < 2 && taken {
				want = 2
			}
			check.ErrorIf(t, len(result.Answers) != want || result.Answers[want-1] != "fine", "%.99q, %d: answers %.99q", text, i, result.Answers)
			first := result.Replies[0]
			check.ErrorIf(t, (first.Status == "answered") != (want == 2) || want == 1 && i < 3 && !strings.Contains(first.Error, "JSON that some parsers reject: "), "%.99q, %d: %+.300v", text, i, first)
		}
	}
	for text, taken := range oddJSON {
		for path, body := range map[string]string{"/fine": text, "/": `[{"service": "fine", "payload": ` + text + `}]`} {
			response := c.Ask(partytest.Asking{Key: key, Path: path, Body: body})
			responses = append(responses, response.Body)
			if path == "/" && strings.HasPrefix(text, "[[[") {
				continue // it is deeper in a list
			}
			check.Equal(t, response.Status == http.StatusOK, taken, "the payload %.99q: %d %s", body, response.Status, response.Body)
			if !taken {
				partytest.IsProblem(t, body, response.Body, http.StatusBadRequest, "JSON that some parsers reject: ", "byte ")
			}
		}
	}
	for program, refused := range parsersOf(t, responses) {
		for i, why := range refused {
			check.ErrorIf(t, why != "", "%s on %.300q: %s", program, responses[i], why)
		}
	}
	// They do refuse what Caddy does not let through: else this tests nothing.
	var texts []string
	for text, taken := range oddJSON {
		if !taken {
			texts = append(texts, text)
		}
	}
	for program, refused := range parsersOf(t, texts) {
		check.ErrorIf(t, strings.Join(refused, "") == "", "%s refuses nothing", program)
	}
}

// parsersOf has texts parsed as applications parse them. By program it returns why it
// refuses each, empty where it does not.
func parsersOf(t *testing.T, texts []string) map[string][]string {
	t.Helper()
	debian.Install(t, "nodejs", "php-cli", "python3")
	refused := make(map[string][]string)
	var lines bytes.Buffer
	for _, text := range texts {
		fmt.Fprintln(&lines, base64.StdEncoding.EncodeToString([]byte(text)))
		why := ""
		if err := json.Unmarshal([]byte(text), new(any)); err != nil {
			why = err.Error()
		}
		refused["go"] = append(refused["go"], why)
	}
	path := filepath.Join(t.TempDir(), "texts")
	check.Must(t, os.WriteFile(path, lines.Bytes(), 0o600))
	for program, command := range map[string][]string{
		"python": {"python3", "-c", `
import base64, json, sys
for line in open(sys.argv[1]):
    try:
        text = base64.b64decode(line).decode("utf-8")
        # What was read has to go on as UTF-8, too: to a page, or a database.
        json.dumps(json.loads(text), ensure_ascii=False).encode("utf-8")
        print("")
    except Exception as e:
        print(type(e).__name__, str(e).replace("\n", " ")[:200])
`},
		"node": {"node", "-e", `
for (const line of require('fs').readFileSync(process.argv[1], 'ascii').split('\n').slice(0, -1)) {
	try {
		// encodeURIComponent refuses half a surrogate pair, as whatever writes UTF-8 should.
		JSON.parse(new TextDecoder('utf-8', {fatal: true}).decode(Buffer.from(line, 'base64')), (name, value) => encodeURIComponent(name + value) && value)
		console.log('')
	} catch (e) { console.log(String(e).replaceAll('\n', ' ').slice(0, 200)) }
}`},
		"php": {"php", "-r", `
foreach (file($argv[1], FILE_IGNORE_NEW_LINES) as $line) {
	try {
		json_decode(base64_decode($line), true, 512, JSON_THROW_ON_ERROR);
		json_decode(base64_decode($line), false, 512, JSON_THROW_ON_ERROR);
		echo "\n";
	} catch (Throwable $e) { echo str_replace("\n", ' ', $e->getMessage()), "\n"; }
}`},
	} {
		output, err := exec.Command(command[0], append(command[1:], path)...).Output()
		check.FatalIf(t, err != nil, "%s: %v", program, err)
		refused[program] = strings.Split(strings.TrimSuffix(string(output), "\n"), "\n")
		check.FatalIf(t, len(refused[program]) != len(texts), "%s: %d lines for %d texts: %.500s", program, len(refused[program]), len(texts), output)
	}
	return refused
}

func TestManifestsThatSomeParserRefusesAreRefused(t *testing.T) {
	c := partytest.NewCaddy(t)
	var answer atomic.Value
	app := partytest.NewApplication(t, "", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", partytest.ManifestType)
		_, _ = fmt.Fprintf(w, `{"services": {"odd": {"answer": %s}}}`, answer.Load())
	})
	for text, taken := range oddJSON {
		answer.Store(text)
		party := partytest.FreshParty()
		c.Site("wsgi_party " + party + " {\ninvite /odd/__invite__/\n" + partytest.Mounted("odd", "", app) + "\n}")
		info := invitesOf(t, party, true)["odd"]
		if strings.HasPrefix(text, "[[[") {
			taken = false // it is deeper in the manifest
		}
		check.ErrorIf(t, (info.Result == wsgiparty.InviteJoined) != taken || !taken && (info.Err == nil || !strings.Contains(info.Err.Error(), "manifest: ")), "%.99q: %+v", text, info)
	}
}
