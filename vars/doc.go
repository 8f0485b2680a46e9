// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// Package vars brings answers of guests into a config: it registers the
// http.handlers.wsgi_party_vars module, and gives parties placeholders for the URLs of
// their guests' pages.
package vars
