// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

//go:build !unix

// Where nothing tells whether anything has come on a connection that is idle, http.Transport sends all requests.

package httpguest

import "net"

const canCheckIdle = false

type idleCheck struct{}

func newIdleCheck(net.Conn) *idleCheck { return nil }

func (*idleCheck) isQuiet() bool { return false }
