// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// Answers that are not JSON.

package manifest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"mime"
	"slices"
	"strings"
	"unicode/utf8"
)

// parseType parses the media type of a href's answers.
func parseType(at path, raw json.RawMessage) (string, error) {
	var text string
	_ = json.Unmarshal(raw, &text) // it stays empty if that is not a string
	mediaType, parameters, err := mime.ParseMediaType(text)
	switch {
	case err != nil, len(parameters) > 0, strings.Count(mediaType, "/") != 1, strings.Contains(mediaType, "*"), len(mediaType) > maxName:
		return "", at.errorf(`it is %s: write a media type without parameters, such as "text/plain"`, shorten(raw))
	case mediaType == "application/json", strings.HasSuffix(mediaType, "+json"):
		return "", at.errorf("it is %s, which is the default: leave it out", shorten(raw))
	}
	return mediaType, nil
}

// checkTypes refuses a type where answers are not just any text.
func checkTypes(at path, handlers []Handler) error {
	if service := at[len(at)-1]; service != urlService && service != claimsService && service != hostsService {
		return nil
	}
	if i := slices.IndexFunc(handlers, func(h Handler) bool { return h.Type != "" }); i >= 0 {
		return at.errorf("an href has the type %s, but answers to this service are JSON: leave the type out", handlers[i].Type)
	}
	return nil
}

// Text returns the answer that the body of a response is, of a href that says a Type.
func (h Handler) Text(contentType string, body []byte) (string, error) {
	mediaType, parameters, err := mime.ParseMediaType(contentType)
	if err != nil || mediaType != h.Type {
		return "", fmt.Errorf("the Content-Type of the answer is %.100q: answer with %s, or change the type beside the href", contentType, h.Type)
	}
	switch charset := strings.ToLower(parameters["charset"]); charset {
	case "", "utf-8", "us-ascii":
	default:
		return "", fmt.Errorf("the answer's charset is %.100q: answer in utf-8", charset)
	}
	body = bytes.TrimPrefix(body, []byte("\ufeff"))
	if !utf8.Valid(body) {
		return "", fmt.Errorf("the answer is not UTF-8: answer in UTF-8")
	}
	return string(body), nil
}
