// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// Package gather makes one document from the answers of all guests of a party: a menu, an API catalog, a sitemap
// index, a health page, an OpenAPI document.
package gather

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/wsgiparty/wsgiparty/internal/jsonpayload"
	"github.com/wsgiparty/wsgiparty/internal/kept"
	"github.com/wsgiparty/wsgiparty/internal/reservedheader"
	"github.com/wsgiparty/wsgiparty/party"
	"github.com/wsgiparty/wsgiparty/partyline"
	"go.uber.org/zap"
)

func init() {
	caddy.RegisterModule(new(Gather))
}

// Gather is an HTTP handler that responds with one document, made from the answers of all guests of a party to one
// service. It never calls the next handler.
//
// The last good answer of each guest is kept in memory, across reloads, and in Caddy's storage, so the document
// does not lose an application that restarts. No request waits for a guest whose answer is kept: Gather serves a
// stale answer at once, and asks for a new one in the background. It asks each guest at most once in the time for
// which an answer is fresh, however many requests there are. A guest that takes longer than 5 seconds keeps no request
// waiting once others have answered, and comes into the document when it answers.
//
// Responses have an `ETag`. HEAD and `If-None-Match` are supported. The same answers give the same bytes.
//
// Pages of the `templates` handler with `extensions { wsgi_party }` get the same by `{{gather $ "nav"}}`: a value
// if the document is JSON, and otherwise text. They share the settings and the kept answers of the party's
// `wsgi_party_gather nav`. Without one the defaults apply.
type Gather struct {
	// Required. The service to ask the guests for.
	Service string `json:"service"`

	// The name of the party. Default: the party in whose routes the handler is.
	Party string `json:"party,omitempty"`

	// The kind of document. Default: `list`.
	//
	// As | Document | Answers
	// ---|----------|--------
	// `list` | a list of the answers, in the order of the invites | any
	// `map` | an object with each guest's answer by the guest's name; a list if the guest has several | any
	// `merge` | one object; if several have the same member, the first value counts, but lists are joined and objects merged | objects
	// `lines` | text, one line for each string | strings and lists of strings; a string of several lines counts as several
	// `linkset` | a linkset as in RFC 9264 | linksets, their link context objects, or lists of these
	// `sitemapindex` | a sitemap index of sitemaps.org | URLs of sitemaps, and lists of them
	// `openapi` | one OpenAPI document, with each guest's mount before its paths | OpenAPI 3 documents
	// `opml` | OPML 2.0 | outlines: objects with `text`, other attributes, and `outline`, a list of more; or URLs of feeds; or lists of both
	As string `json:"as,omitempty"`

	// The payload to ask the guests with, in JSON. Placeholders in its strings are replaced; their values can
	// change nothing else of the JSON. Each value of the payload has its own kept answers. Default: null.
	Payload json.RawMessage `json:"payload,omitempty"`

	// The members of the payload whose strings become a number, true, false or null if that is what they say once
	// their placeholders are replaced.
	PayloadTypes []string `json:"payload_types,omitempty"`

	// The members of answers that hold URLs relative to the guest, or lists of them. `href` stands for all members
	// of this name, at any depth, and `.links.href` for those in the answer's own member `links`. Gather puts these
	// URLs under the guest's mount, and its origin if its invite has one. A URL that leads elsewhere makes the
	// guest count as failed.
	Rebase []string `json:"rebase,omitempty"`

	// How long answers are kept.
	Cache Cache `json:"cache,omitzero"`

	// The headers of the visitor's request to send to those guests whose own `forward` lists them. The answers are
	// then that visitor's own, so this needs `off` in `cache`. Default: none but the trace.
	Forward []string `json:"forward,omitempty"`

	// What to do about a guest that failed and has no kept answer to fall back on. `omit` leaves it out. `note`
	// names it in the header `Party-Absent`, and in the document if that is a `map` or `openapi`. `fail` responds
	// with status 503 and a problem (RFC 9457) that names it: for a health page, keep no answers, by `cache 2s 0s`.
	// Default: `omit`.
	Absent string `json:"absent,omitempty"`

	// The media type of the document. Default: that of `as`.
	Type string `json:"type,omitempty"`

	// How long the document may be, and all answers together, in bytes, up to 8 MiB. If they are longer, the guests
	// with the longest answers count as failed, until the rest fits; of answers of the same length, the last in the
	// order of the invites. So a guest whose answer is no longer than an equal share never loses its place, whatever
	// others answer. In a sitemap index, the same goes for the number of URLs, up to 50,000. Default: 8 MiB.
	MaxResponse int64 `json:"max_response,omitempty"`

	form      *form
	payload   *jsonpayload.Payload
	rebase    members
	operator  *partyline.Operator
	entry     *party.Entry
	logger    *zap.Logger
	holds     kept.Holds
	gathering *gathering // nil with cache off
	headers   headers
}

// Cache says how long answers are kept.
type Cache struct {
	// Whether to keep no answers: every request asks the guests, and waits for them.
	Off bool `json:"off,omitempty"`

	// How long to serve an answer without asking for a new one. Default: `60s`.
	Fresh caddy.Duration `json:"fresh,omitempty"`

	// How long, after that, to serve the answer while a new one is asked for or cannot be had. Default: `24h`.
	Stale *caddy.Duration `json:"stale,omitempty"`
}

const (
	defaultFresh = time.Minute
	defaultStale = 24 * time.Hour
	maxCached    = 365 * 24 * time.Hour

	maxResponse = 8 << 20 // what an ask collects from applications
)

func (c Cache) times() (fresh, stale time.Duration) {
	fresh, stale = cmp.Or(time.Duration(c.Fresh), defaultFresh), defaultStale
	if c.Stale != nil {
		stale = time.Duration(*c.Stale)
	}
	return fresh, stale
}

// What may be done about a guest that is absent.
const (
	absentOmit = "omit"
	absentNote = "note"
	absentFail = "fail"
)

// CaddyModule returns the Caddy module information.
func (*Gather) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.wsgi_party_gather", New: func() caddy.Module { return new(Gather) }}
}

// Provision finds the party, and what is kept of it.
func (g *Gather) Provision(ctx caddy.Context) error {
	g.logger = ctx.Logger()
	if h := party.Around(ctx); g.Party == "" && h != nil {
		g.Party = h.Name()
	}
	if g.Party == "" {
		return fmt.Errorf("wsgi_party_gather is in no party's routes: say whom it asks (party <party>); %s", party.WhichParties(ctx))
	}
	if err := g.compile(); err != nil {
		return err
	}
	var err error
	if g.operator, err = party.Join(ctx, g.Party, ""); err != nil {
		return err
	}
	g.entry = g.operator.Partyline().Owner().(*party.Entry)
	if !g.Cache.Off {
		g.gathering = kept.Hold(&g.holds, gatherings, g.key())
	}
	party.StateOf[handlers](g.entry).add(g)
	if g.Absent == absentFail && !g.Cache.Off && g.Cache.Stale == nil {
		g.logger.Warn("a guest that dies is not absent while its last answer is kept", zap.String("party", g.Party), zap.String("service", g.Service), zap.Duration("kept_for", defaultStale),
			zap.String("hint", "for a page that says who is down write `cache 2s 0s`; otherwise write for how long a last answer is good enough, as in `cache 60s 24h`"))
	}
	return nil
}

// compile checks the settings and sets up what follows from them.
func (g *Gather) compile() (err error) {
	if g.Service == "" {
		return errors.New("wsgi_party_gather: the service is empty: write the one to ask the guests for")
	}
	g.As = cmp.Or(g.As, "list")
	if g.form = forms[g.As]; g.form == nil {
		return unknown("as", g.As, forms)
	}
	if g.payload, err = jsonpayload.Parse(g.Payload, g.PayloadTypes); err != nil {
		return err
	}
	if g.rebase, err = parseMembers(g.Rebase); err != nil {
		return err
	}
	g.Absent = cmp.Or(g.Absent, absentOmit)
	if !absents[g.Absent] {
		return unknown("absent", g.Absent, absents)
	}
	g.MaxResponse = cmp.Or(g.MaxResponse, maxResponse)
	if g.MaxResponse < 0 || g.MaxResponse > maxResponse {
		return fmt.Errorf("max_response is %d bytes: write a size above zero and up to 8 MiB, which is what one ask collects", g.MaxResponse)
	}
	if err := g.Cache.check(); err != nil {
		return err
	}
	if err := reservedheader.CheckForwarded(g.Forward); err != nil {
		return err
	}
	if len(g.Forward) > 0 && !g.Cache.Off {
		return fmt.Errorf("forward sends the guests %s of one visitor, but their answers would be kept for others: write `cache off`, too, or leave forward out", strings.Join(g.Forward, ", "))
	}
	g.headers = g.newHeaders()
	return g.headers.check()
}

func (c Cache) check() error {
	fresh, stale := c.times()
	switch {
	case c.Off && (c.Fresh != 0 || c.Stale != nil):
		return errors.New("cache is off, but says how long answers are kept: write one of the two")
	case fresh < 0 || fresh > maxCached || stale < 0 || stale > maxCached:
		return fmt.Errorf("cache is %v %v: write durations of up to %v, as in `cache 60s 24h`, or `cache off`", fresh, stale, maxCached)
	}
	return nil
}

var absents = map[string]bool{absentOmit: true, absentNote: true, absentFail: true}

// Cleanup lets go of what is kept.
func (g *Gather) Cleanup() error {
	g.holds.Release()
	if g.entry != nil {
		party.StateOf[handlers](g.entry).remove(g)
	}
	return nil
}

// ServeHTTP responds with the document.
func (g *Gather) ServeHTTP(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		return caddyhttp.Error(http.StatusMethodNotAllowed, fmt.Errorf("method %s is not allowed here, only GET and HEAD", r.Method))
	}
	if err := party.CheckLoops(r.Header); err != nil {
		return caddyhttp.Error(http.StatusLoopDetected, err)
	}
	origin := ""
	if g.form.absolute {
		var err error
		if origin, err = originOf(r); err != nil {
			return caddyhttp.Error(http.StatusBadRequest, err)
		}
	}
	d, err := g.document(r.Context(), origin)
	if err != nil {
		return err
	}
	return g.headers.serve(w, r, d)
}

// document returns the document for whoever asks in that context, whose links without one begin with that origin.
func (g *Gather) document(ctx context.Context, origin string) (*document, error) {
	q := &question{Gather: g, note: g.Absent == absentNote, origin: origin}
	placeholders, _ := ctx.Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	if placeholders == nil {
		placeholders = caddy.NewEmptyReplacer()
	}
	var err error
	if q.payload, err = g.payload.Fill(placeholders); err != nil {
		return nil, caddyhttp.Error(http.StatusRequestURITooLong, err)
	}
	var d *document
	if g.gathering == nil {
		d, err = q.askNow(ctx)
	} else {
		var s *set
		if s, err = g.gathering.set(ctx, q); err == nil {
			d, err = s.document(ctx, q)
		}
	}
	if err != nil {
		return nil, err
	}
	if d.err != nil {
		return nil, d.err
	}
	return d, nil
}

// Interface guards
var (
	_ caddy.Provisioner           = (*Gather)(nil)
	_ caddy.CleanerUpper          = (*Gather)(nil)
	_ caddyhttp.MiddlewareHandler = (*Gather)(nil)
)
