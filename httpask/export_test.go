// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package httpask

// What tests of the package need of it beyond its API.
const MaxUnderWay = maxUnderWay
