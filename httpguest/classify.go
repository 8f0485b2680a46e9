// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package httpguest

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/wsgiparty/wsgiparty/party"
)

const manifestType = "application/vnd.wsgi-party+json"

// answer is what came when an application was asked for its manifest.
type answer struct {
	status   int // 0 where nobody answered
	header   http.Header
	body     []byte
	err      error
	ofCaddy  bool // whether a handler of Caddy answered, by an error
	time     time.Time
	duration time.Duration
}

// answerOf returns what sending the request at that time came to.
func answerOf(response *http.Response, err error, asked time.Time) answer {
	a := answer{err: err, time: asked, duration: time.Since(asked)}
	if statusErr, ok := errors.AsType[*statusError](err); ok {
		a.status, a.err, a.ofCaddy = statusErr.Status, statusErr.Err, true
		if a.status < 500 || a.status == http.StatusNotImplemented {
			a.err = nil // it is how Caddy's handlers respond with that status
		}
	} else if _, ok := errors.AsType[*party.UnconnectedError](err); ok {
		a.status = http.StatusBadGateway // as proxies say
	} else if err == nil {
		a.status, a.header = response.StatusCode, response.Header
		a.body, a.err = io.ReadAll(response.Body)
	}
	return a
}

// verdict is what an application's answer says of it as a guest.
type verdict int

const (
	unanswered verdict = iota // nothing that counts
	broken                    // it has failed itself
	refused                   // it does not want to say
	notGuest                  // it has no manifest
	unchanged                 // its last manifest holds
	manifested                // here is its manifest
)

// classify returns the verdict. lastKnown is whether the application has a last manifest.
func classify(a answer, lastKnown bool) verdict {
	switch {
	case a.err != nil:
		return unanswered
	case a.status == http.StatusNotModified && lastKnown:
		return unchanged
	case a.status == http.StatusOK && mediaTypeOf(a.header) == manifestType:
		return manifested
	case a.status >= 200 && a.status < 300:
		return notGuest
	}
	switch a.status {
	case http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusGone, http.StatusNotImplemented:
		return notGuest
	}
	switch {
	case a.status >= 500:
		return broken
	case a.status >= 400:
		return refused
	}
	return unanswered // redirects are not followed
}

// joins reports whether it is a guest by that.
func (v verdict) joins() bool { return v == manifested || v == unchanged }

// result is what comes of the invite by that.
func (v verdict) result() party.InviteResult {
	switch {
	case v.joins():
		return party.InviteJoined
	case v == notGuest:
		return party.InviteNotAnswered
	case v == refused:
		return party.InviteRefused
	}
	return party.InviteFailed
}

// standing is where an application stands as a guest by its answers so far, as the table in
// the package's documentation has it.
type standing int

const (
	unknown   standing = iota // it has not said whether it is one: on the line is what is declared
	confirmed                 // it is on the line by its last manifest
	doubted                   // likewise, but has not confirmed that manifest when it was asked last
	denied                    // it is none: on the line is what is declared
)

// after returns the standing that the verdict leads to. denials is how often it was notGuest
// in a row.
func (s standing) after(v verdict, denials int) standing {
	hasManifest := s == confirmed || s == doubted
	switch {
	case v.joins():
		return confirmed
	case v == notGuest && (!hasManifest || denials >= notGuestAnswers):
		return denied
	case hasManifest:
		return doubted
	}
	return s
}

// mediaTypeOf returns the type without its parameters.
func mediaTypeOf(header http.Header) string {
	mediaType, _, _ := mime.ParseMediaType(header.Get("Content-Type"))
	return mediaType
}

const maxETag = 1 << 10

// etagOf returns a response's ETag, empty for one that is too long to be kept and sent.
func etagOf(header http.Header) string {
	etag := header.Get("Etag")
	if len(etag) > maxETag {
		return ""
	}
	return strings.Clone(etag) // not with the whole header
}

// maxAgeOf returns how long a response is fresh.
func maxAgeOf(header http.Header) time.Duration {
	for directive := range strings.SplitSeq(header.Get("Cache-Control"), ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(directive), "=")
		seconds, err := strconv.ParseUint(strings.Trim(value, `"`), 10, 31)
		if strings.EqualFold(name, "max-age") && (err == nil || errors.Is(err, strconv.ErrRange)) {
			return min(max(time.Duration(seconds)*time.Second, minMaxAge), maxMaxAge)
		}
	}
	return defaultMaxAge
}
