// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package partytemplates

import "sync"

// What tests of the package need of it beyond its API.
type DotlessAsks = dotlessAsks

const DotlessTimeout = dotlessTimeout
const MaxDotless = maxDotless

func (x *dotlessAsks) Mu() *sync.Mutex { return &x.mu }

func (x *dotlessAsks) Refusing() *bool { return &x.refusing }

func (x *dotlessAsks) UnderWay() *int { return &x.underWay }
