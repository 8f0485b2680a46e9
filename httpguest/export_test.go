// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package httpguest

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/wsgiparty/wsgiparty/internal/manifest"
	"github.com/wsgiparty/wsgiparty/party"
)

// What tests of the package need of it beyond its API.
var AnswerOf = answerOf

type Application = application

var Applications = &applications

const BreakerFailures = breakerFailures
const BreakerPause = breakerPause

var CheckForwarded = checkForwarded

const DefaultMaxAsks = defaultMaxAsks

var FetchWaits = &fetchWaits

type Fetcher = fetcher
type LastManifest = lastManifest
type ManifestKey = manifestKey

var MaxAgeOf = maxAgeOf

const MaxWaiting = maxWaiting

var NewFetcher = newFetcher
var NewSlots = newSlots

const PrefixHeader = prefixHeader

type Retries = retries

var RetryAfter = retryAfter

type Slots = slots

var StartingTime = &startingTime

type StatusError = statusError

const TokenHeader = tokenHeader

type Waits = waits

func (x *Guest) SpeaksFor() *atomic.Pointer[application] { return &x.speaksFor }

func (x *application) Adopt(a0 *manifest.Manifest) error { return x.adopt(a0) }

func (x *application) Breakers() *sync.Map { return &x.breakers }

func (x *application) CheckPage(a0 string, a1 string) error { return x.checkPage(a0, a1) }

func (x *application) End() *context.CancelFunc { return &x.end }

func (x *application) FetchSoon() { x.fetchSoon() }

func (x *application) Invitation() **party.Invitation { return &x.invitation }

func (x *application) Slots() **slots { return &x.slots }

func (x *application) Surroundings() []string { return x.surroundings() }

func (x *fetcher) Hear(a0 answer) time.Duration { return x.hear(a0) }

func (x *fetcher) Key() *manifestKey { return &x.key }

func (x *fetcher) Last() **lastManifest { return &x.last }

func (x *remembered) Last() *atomic.Pointer[lastManifest] { return &x.last }

func (x *retries) AfterDenial(a0 bool) time.Duration { return x.afterDenial(a0) }

func (x *retries) AfterFailure(a0 bool, a1 time.Duration, a2 float64) time.Duration {
	return x.afterFailure(a0, a1, a2)
}

func (x *retries) Reached() *bool { return &x.reached }

func (x *retries) Reset() { x.reset() }

func (x *slots) Acquire(a0 context.Context, a1 string, a2 bool) (release func(), waited time.Duration, err error) {
	return x.acquire(a0, a1, a2)
}

func (x *slots) Mu() *sync.Mutex { return &x.mu }

func (x *slots) OfOne() *int { return &x.ofOne }

func (x *slots) Waiting() *int { return &x.waiting }

func (x *waits) Answered() *[2]time.Duration { return &x.answered }

func (x *waits) Broken() *time.Duration { return &x.broken }

func (x *waits) Denied() *[2]time.Duration { return &x.denied }

func (x *waits) Unreached() *[2]time.Duration { return &x.unreached }

func (x manifestKey) StorageKey(a0 []string) string { return x.storageKey(a0) }
