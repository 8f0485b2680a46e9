// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// Package question is what all of the processes in Go ask and answer, and how they do it by plain HTTP.
package question

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"
)

// Asked is the question, in JSON.
var Asked = []byte(`{"id":7}`)

// User is the answer.
type User struct {
	ID   int    `json:"id"`
	Name string `json:"name"`
}

// Page is a template of a page of several answers.
const Page = `<!doctype html><title>Users</title>{{range .}}<p>{{.ID}}: {{.Name}}</p>{{end}}`

// Answer answers a question, both in JSON.
func Answer(asked []byte) ([]byte, error) {
	var id struct{ ID int }
	if err := json.Unmarshal(asked, &id); err != nil {
		return nil, err
	}
	return json.Marshal(User{id.ID, "Ann"})
}

// AnswerBatch answers a question, or a batch of them.
func AnswerBatch(asked []byte) ([]byte, error) {
	if !bytes.HasPrefix(asked, []byte("[")) { // none of the questions here is a list
		return Answer(asked)
	}
	var questions []struct {
		Payload json.RawMessage `json:"payload"`
	}
	if err := json.Unmarshal(asked, &questions); err != nil {
		return nil, err
	}
	answers := make([]struct {
		Answer json.RawMessage `json:"answer"`
	}, len(questions))
	for i, q := range questions {
		answer, err := Answer(q.Payload)
		if err != nil {
			return nil, err
		}
		answers[i].Answer = answer
	}
	return json.Marshal(answers)
}

// A Client sends questions over connections that are kept.
type Client struct{ http.Client }

// Plain is the client that a program in Go would have.
var Plain = &Client{http.Client{
	Transport: &http.Transport{MaxIdleConnsPerHost: 256, IdleConnTimeout: 2 * time.Minute},
	Timeout:   10 * time.Second,
}}

// Post sends a question, and returns the answer.
func (c *Client) Post(url, key string, asked []byte) ([]byte, error) {
	request, err := http.NewRequest("POST", url, bytes.NewReader(asked))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/json")
	if key != "" {
		request.Header.Set("Authorization", "Bearer "+key)
	}
	return c.do(request)
}

// Get returns what is at a URL.
func (c *Client) Get(url string) ([]byte, error) {
	request, err := http.NewRequest("GET", url, nil)
	if err != nil {
		return nil, err
	}
	return c.do(request)
}

func (c *Client) do(request *http.Request) ([]byte, error) {
	response, err := c.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s: %.200s", request.URL, response.Status, body)
	}
	return body, err
}

// AskAll asks several applications at the same time.
func (c *Client) AskAll(addresses []string, asked []byte) ([]json.RawMessage, error) {
	if len(addresses) == 1 {
		answer, err := c.Post("http://"+addresses[0]+"/user", "", asked)
		return []json.RawMessage{answer}, err
	}
	answers, errs := make([]json.RawMessage, len(addresses)), make([]error, len(addresses))
	var all sync.WaitGroup
	for i, address := range addresses {
		all.Go(func() { answers[i], errs[i] = c.Post("http://"+address+"/user", "", asked) })
	}
	all.Wait()
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	return answers, nil
}
