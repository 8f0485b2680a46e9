// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// Command app is an application that answers one question in three ways: by plain HTTP, as a
// guest of a party, and by NATS. With -hop it is a server that asks several by plain HTTP instead.
package main

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"flag"
	"html/template"
	"io"
	"log"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/wsgiparty/wsgiparty/bench/question"
)

func main() {
	listen := flag.String("listen", "", "address")
	services := flag.String("services", "", "what it answers for, with commas; those that end in -batch as batches")
	broker := flag.String("nats", "", "URL of a NATS server at which it answers, too")
	hop := flag.String("hop", "", "addresses, with commas, of applications that it asks")
	flag.Parse()

	mux := http.NewServeMux()
	if *hop != "" {
		addresses := strings.Split(*hop, ",")
		for path, asked := range map[string][]string{"POST /one": addresses[:1], "POST /all": addresses} {
			mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
				body, err := io.ReadAll(r.Body)
				if err == nil {
					var answers []json.RawMessage
					if answers, err = question.Plain.AskAll(asked, body); err == nil {
						w.Header().Set("Content-Type", "application/json")
						err = json.NewEncoder(w).Encode(map[string]any{"answers": answers})
					}
				}
				failed(w, err)
			})
		}
		mux.HandleFunc("GET /page", func(w http.ResponseWriter, r *http.Request) {
			answers, err := question.Plain.AskAll(addresses, question.Asked)
			if err == nil {
				users := make([]question.User, len(answers))
				for i, answer := range answers {
					if err = json.Unmarshal(answer, &users[i]); err != nil {
						break
					}
				}
				w.Header().Set("Content-Type", "text/html")
				err = page.Execute(w, users)
			}
			failed(w, err)
		})
	}
	if *broker != "" {
		connection, err := nats.Connect(*broker)
		if err != nil {
			log.Fatal(err)
		}
		for _, service := range strings.Split(*services, ",") {
			if _, err := connection.Subscribe(service, func(m *nats.Msg) {
				if answer, err := question.Answer(m.Data); err == nil {
					_ = m.Respond(answer)
				}
			}); err != nil {
				log.Fatal(err)
			}
		}
	}
	key := []byte(os.Getenv("WSGI_PARTY_KEY"))
	mux.HandleFunc("GET /__invite__/", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/vnd.wsgi-party+json")
		_ = json.NewEncoder(w).Encode(map[string]any{"services": hrefs(*services)})
	})
	mux.HandleFunc("POST /__invite__/user", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err == nil && len(key) > 0 && !proven(key, r.Header.Get("Party-Token"), body) {
			http.Error(w, "no token of Caddy's", http.StatusForbidden)
			return
		}
		if err == nil {
			if body, err = question.AnswerBatch(body); err == nil {
				w.Header().Set("Content-Type", "application/json")
				_, err = w.Write(body)
			}
		}
		failed(w, err)
	})
	mux.HandleFunc("POST /user", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err == nil {
			if body, err = question.Answer(body); err == nil {
				w.Header().Set("Content-Type", "application/json")
				_, err = w.Write(body)
			}
		}
		failed(w, err)
	})
	server := &http.Server{Addr: *listen, Handler: mux, IdleTimeout: 3 * time.Minute}
	log.Fatal(server.ListenAndServe())
}

func failed(w http.ResponseWriter, err error) {
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
}

func hrefs(services string) map[string]any {
	all := make(map[string]any)
	for _, name := range strings.Split(services, ",") {
		service := map[string]any{"href": "/__invite__/user"}
		if strings.HasSuffix(name, "-batch") {
			service["batch"] = true
		}
		all[name] = service
	}
	return all
}

var page = template.Must(template.New("").Parse(question.Page))

// proven says whether a token is Caddy's, for this body.
func proven(key []byte, token string, body []byte) bool {
	signed, signature, _ := cutLast(token)
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(signed))
	got, err := base64.RawURLEncoding.DecodeString(signature)
	if err != nil || !hmac.Equal(got, mac.Sum(nil)) {
		return false
	}
	_, claimed, _ := strings.Cut(signed, ".")
	text, err := base64.RawURLEncoding.DecodeString(claimed)
	if err != nil {
		return false
	}
	var claims struct {
		Exp int64  `json:"exp"`
		Bsh string `json:"bsh"`
	}
	sum := sha256.Sum256(body)
	return json.NewDecoder(bytes.NewReader(text)).Decode(&claims) == nil &&
		time.Now().Unix() < claims.Exp+30 && claims.Bsh == base64.RawURLEncoding.EncodeToString(sum[:])
}

func cutLast(token string) (before, after string, found bool) {
	i := strings.LastIndexByte(token, '.')
	if i < 0 {
		return "", "", false
	}
	return token[:i], token[i+1:], true
}
