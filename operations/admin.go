// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// Package operations shows parties to whoever runs Caddy: its admin API, `caddy wsgi-party`, and
// metrics.
package operations

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/wsgiparty/wsgiparty/internal/admincommand"
	"github.com/wsgiparty/wsgiparty/internal/natural"
	"github.com/wsgiparty/wsgiparty/internal/nearest"
	"github.com/wsgiparty/wsgiparty/internal/wire"
	"github.com/wsgiparty/wsgiparty/party"
	"github.com/wsgiparty/wsgiparty/partyline"
)

func init() { caddy.RegisterModule(new(adminAPI)) }

// adminAPI is a module that provides the /wsgi_party/ endpoints of Caddy's admin
// API. They show the parties of the running config, ask their guests, and invite
// again those that did not join.
type adminAPI struct{}

// CaddyModule returns the Caddy module information.
func (*adminAPI) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "admin.api.wsgi_party", New: func() caddy.Module { return new(adminAPI) }}
}

// Provision adds the metrics to the registry that this admin endpoint shows, which
// after a failed reload is that of the config that failed.
func (*adminAPI) Provision(ctx caddy.Context) error { return registerMetrics(ctx) }

// Routes returns the routes of the endpoints.
func (*adminAPI) Routes() []caddy.AdminRoute {
	return []caddy.AdminRoute{{Pattern: admincommand.Path, Handler: caddy.AdminHandlerFunc(serve)}}
}

func serve(w http.ResponseWriter, r *http.Request) error {
	path, err := splitAdminPath(r.URL.EscapedPath())
	if err != nil {
		return apiError(http.StatusNotFound, err)
	}
	var respond func(w http.ResponseWriter, r *http.Request, p party.PartyInfo, path []string) ([][]byte, error)
	methods := []string{http.MethodGet, http.MethodHead}
	switch {
	case len(path) == 0:
		respond = list
	case len(path) == 1:
		respond = show
	case len(path) == 2 && path[1] == "invite":
		respond, methods = invite, []string{http.MethodPost}
	case len(path) == 3 && path[1] == "ask":
		respond, methods = ask, []string{http.MethodPost}
	default:
		if handler := party.RegisteredAdmin(path[1]); handler != nil {
			return handler(w, r, path[0])
		}
		return apiError(http.StatusNotFound, errNoEndpoint)
	}
	if !slices.Contains(methods, r.Method) {
		w.Header().Set("Allow", strings.Join(methods, ", "))
		return apiError(http.StatusMethodNotAllowed, fmt.Errorf("method %s is not allowed here, only %s", r.Method, strings.Join(methods, " and ")))
	}
	var p party.PartyInfo
	if len(path) > 0 {
		p, err = findParty(path[0])
	}
	var response [][]byte
	if err == nil {
		response, err = respond(w, r, p, path)
	}
	if err != nil {
		if r.Context().Err() != nil {
			return nil // nobody is there to be told
		}
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	buffers := net.Buffers(append(response, []byte("\n")))
	_, err = buffers.WriteTo(w)
	return err
}

func encode(value any) ([][]byte, error) {
	encoded, err := wire.Encode(value)
	return [][]byte{encoded}, err
}

var errNoEndpoint = errors.New("there is nothing at this path: write /wsgi_party/, /wsgi_party/{party}, /wsgi_party/{party}/invite or /wsgi_party/{party}/ask/{service}")

// splitAdminPath returns the parts of an escaped path below that, unescaped.
func splitAdminPath(escaped string) (parts []string, _ error) {
	rest := strings.TrimSuffix(strings.TrimPrefix(escaped, admincommand.Path), "/")
	if rest == "" {
		return nil, nil
	}
	for part := range strings.SplitSeq(rest, "/") {
		name, err := url.PathUnescape(part)
		if err != nil || part == "" {
			return nil, cmp.Or(err, errNoEndpoint)
		}
		parts = append(parts, name)
	}
	return parts, nil
}

func apiError(status int, err error) error {
	return caddy.APIError{HTTPStatus: status, Err: err}
}

// findParty returns the party of the running config, or an error that says which there are.
func findParty(name string) (party.PartyInfo, error) {
	parties := party.Parties()
	for _, p := range parties {
		if p.Partyline.Name() == name {
			return p, nil
		}
	}
	return party.PartyInfo{}, notFound("party", name, each(parties, func(p party.PartyInfo) string { return p.Partyline.Name() }))
}

func notFound(what, name string, names []string) error {
	return apiError(http.StatusNotFound, fmt.Errorf("no %s is called %q: %s", what, name, nearest.ThereAre(what, names)))
}

// The JSON of the endpoints. Durations are in seconds, as in Caddy's logs.
type (
	partyJSON struct {
		Party    string        `json:"party"`
		Loaded   time.Time     `json:"loaded,omitzero"` // the config
		Invites  []inviteJSON  `json:"invites"`
		Guests   []guestJSON   `json:"guests"`
		Services []serviceJSON `json:"services"`
		Counts   []countJSON   `json:"counts"`
		Askers   []askerJSON   `json:"askers"`
		Traffic  trafficJSON   `json:"traffic"`
		AskURLs  []string      `json:"ask_urls,omitempty"`
	}
	inviteJSON struct {
		Server      string             `json:"server"`
		URI         string             `json:"uri"`
		Guest       string             `json:"guest"`
		Result      party.InviteResult `json:"result"`
		Status      int                `json:"status"`
		Error       string             `json:"error"`
		Hint        string             `json:"hint,omitempty"`
		Manifest    manifestJSON       `json:"manifest,omitzero"`
		OldManifest time.Time          `json:"old_manifest,omitzero"`
		Time        time.Time          `json:"time"`
		Duration    float64            `json:"duration"`
	}
	manifestJSON struct { // as party.ManifestInfo
		Accepted  time.Time `json:"accepted"`
		Confirmed time.Time `json:"confirmed"`
	}
	sentJSON struct {
		inviteJSON
		Sent bool `json:"sent"`
	}
	guestJSON struct {
		Guest    string    `json:"guest"`
		Services []string  `json:"services"`
		Replicas int       `json:"replicas"`
		Joined   time.Time `json:"joined"`
		Node     string    `json:"node,omitempty"` // where it is, if it is not here
	}
	serviceJSON struct {
		Service string   `json:"service"`
		Guests  []string `json:"guests"`
	}
	countJSON struct {
		Guest     string `json:"guest"`
		Service   string `json:"service"`
		Asked     uint64 `json:"asked"`
		Answered  uint64 `json:"answered"`
		Declined  uint64 `json:"declined"`
		Failed    uint64 `json:"failed"`
		Refused   uint64 `json:"refused"`
		LastError string `json:"last_error"`
	}
	askerJSON struct {
		Guest   string `json:"guest"` // empty for callers that are not guests
		Service string `json:"service"`
		Asks    uint64 `json:"asks"`
	}
)

func list(http.ResponseWriter, *http.Request, party.PartyInfo, []string) ([][]byte, error) {
	return encode(each(party.Parties(), toJSON))
}

func show(_ http.ResponseWriter, _ *http.Request, p party.PartyInfo, _ []string) ([][]byte, error) {
	return encode(toJSON(p))
}

func toJSON(p party.PartyInfo) partyJSON {
	services := []serviceJSON{}
	for service, guests := range p.Partyline.Services() {
		services = append(services, serviceJSON{service, guests})
	}
	_, replies := p.Partyline.Counts()
	shown := partyJSON{p.Partyline.Name(), p.Loaded, each(p.Invites, inviteToJSON), each(p.Partyline.Guests(), guestToJSON), services, each(replies, countToJSON), each(p.Partyline.Askers(), askerToJSON), trafficToJSON(trafficOf(p)), p.AskURLs}
	shown.sort()
	return shown
}

// sort has s2 come before s10.
func (p *partyJSON) sort() {
	by := func(guest, otherGuest, service, otherService string) int {
		return cmp.Or(natural.Compare(guest, otherGuest), natural.Compare(service, otherService))
	}
	slices.SortFunc(p.Guests, func(a, b guestJSON) int { return by(a.Guest, b.Guest, "", "") })
	slices.SortFunc(p.Services, func(a, b serviceJSON) int { return by("", "", a.Service, b.Service) })
	slices.SortFunc(p.Counts, func(a, b countJSON) int { return by(a.Guest, b.Guest, a.Service, b.Service) })
	slices.SortFunc(p.Askers, func(a, b askerJSON) int { return by(a.Guest, b.Guest, a.Service, b.Service) })
	slices.SortFunc(p.Traffic.Guests, func(a, b guestTrafficJSON) int { return by(a.Guest, b.Guest, "", "") })
	for _, g := range p.Guests {
		slices.SortFunc(g.Services, natural.Compare)
	}
}

func guestToJSON(g partyline.GuestInfo) guestJSON {
	return guestJSON{g.Name, append([]string{}, g.Services...), g.Replicas, g.Joined, g.Node}
}

func countToJSON(c partyline.ReplyCount) countJSON {
	return countJSON{c.Guest, c.Service, c.Asked, c.Answered, c.Declined, c.Failed, c.Refused, wire.Message(c.LastFailure)}
}

func askerToJSON(c partyline.AskerCount) askerJSON { return askerJSON(c) }

func inviteToJSON(i party.InviteInfo) inviteJSON {
	return inviteJSON{i.Server, i.URI, i.Guest, i.Result, i.Status, wire.Message(i.Err), i.Hint, manifestJSON(i.Manifest), i.OldManifest, i.Time, i.Duration.Seconds()}
}

// each returns what f makes of each element.
func each[T, U any](list []T, f func(T) U) []U {
	made := make([]U, len(list)) // not nil, which is not a list in JSON
	for i, element := range list {
		made[i] = f(element)
	}
	return made
}

// invite sends invites again.
func invite(w http.ResponseWriter, r *http.Request, p party.PartyInfo, _ []string) ([][]byte, error) {
	query, err := wire.Query(r)
	if err != nil {
		return nil, apiError(http.StatusBadRequest, err)
	}
	guest := query.Get("guest")
	var guests []string
	for _, i := range p.Invites {
		if !slices.Contains(guests, i.Guest) { // two servers may invite the same
			guests = append(guests, i.Guest)
		}
	}
	if guest != "" && !slices.Contains(guests, guest) {
		return nil, notFound("invited guest", guest, guests)
	}
	// It is noticed that a client has gone when what it sent has been read.
	if _, status, err := wire.ReadPayload(w, r); err != nil {
		return nil, apiError(status, err)
	}
	sent, err := party.SendInvitesContext(r.Context(), p.Partyline.Name(), guest)
	if err != nil {
		return nil, err
	}
	invites := each(sent, func(i party.InviteInfo) sentJSON { return sentJSON{inviteToJSON(i), i.Sent} })
	return encode(map[string][]sentJSON{"invites": invites})
}

// Interface guards
var (
	_ caddy.AdminRouter = (*adminAPI)(nil)
	_ caddy.Provisioner = (*adminAPI)(nil)
)
