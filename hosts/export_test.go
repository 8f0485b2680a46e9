// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package hosts

// Kept returns how many names are denied without asking.
func (p *Permission) Kept() int { return p.denials.Len() }

const (
	AskTimeout     = askTimeout
	DenialKept     = denialKept
	FailureKept    = failureKept
	MaxKept        = maxKept
	NamesPerSecond = namesPerSecond
	NamesAtOnce    = namesAtOnce
)
