// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package httpguest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/wsgiparty/wsgiparty/internal/manifest"
	"github.com/wsgiparty/wsgiparty/party"
	"go.uber.org/zap"
)

// storageKey is where the application's manifest is stored. Another project on this machine
// may have the same names, but not the same surroundings.
func (k manifestKey) storageKey(surroundings []string) string {
	return party.StorageKey(k.Party, k.Guest, k.URI, surroundings)
}

// surroundings are the addresses of the server that the guest is in, and the upstreams
// of the application as far as they are in the config.
func (a *application) surroundings() []string {
	addresses := slices.Sorted(slices.Values(a.invitation.Host().Server().Listen))
	var upstreams []string
	for _, proxy := range a.Guest.host.ProxiesBehind(a.Guest) {
		for _, upstream := range proxy.Upstreams {
			upstreams = append(upstreams, upstream.Dial)
		}
	}
	slices.Sort(upstreams)
	return append(append(addresses, "->"), upstreams...)
}

// storedManifest is the JSON in the storage.
type storedManifest struct {
	Fetched  time.Time       `json:"fetched"`
	Manifest json.RawMessage `json:"manifest"`
}

// stored returns the manifest in Caddy's storage, nil if there is none.
func (f *fetcher) stored() *lastManifest {
	last, err := f.load()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		f.logger.Warn("the guest's last manifest cannot be read from storage", zap.String("party", f.key.Party), zap.String("guest", f.guest()), zap.Error(err))
	}
	return last
}

func (f *fetcher) load() (*lastManifest, error) {
	encoded, err := f.app.Storage().Load(f.storage)
	if err != nil {
		return nil, err
	}
	var stored storedManifest
	if err := json.Unmarshal(encoded, &stored); err != nil {
		return nil, err
	}
	m, err := manifest.Parse(stored.Manifest)
	if err != nil {
		return nil, err
	}
	return &lastManifest{manifest: m, fetched: stored.Fetched, stored: f.storage}, nil
}

// store stores the last good manifest. If that fails, it is tried again when the
// application is next asked for it.
func (f *fetcher) store() {
	last := *f.last
	encoded, err := last.manifest.MarshalJSON() // json.Marshal would make it longer
	if err == nil {
		encoded = fmt.Appendf(nil, `{"fetched":%q,"manifest":%s}`, last.fetched.UTC().Format(time.RFC3339), encoded)
		err = f.app.Storage().Store(f.storage, encoded)
	}
	if err != nil {
		if f.unstored || errors.Is(err, context.Canceled) {
			return // it has been told, or is the next config's to tell
		}
		f.unstored = true
		f.logger.Warn("the guest's manifest cannot be stored", zap.String("party", f.key.Party), zap.String("guest", f.guest()), zap.Error(err), zap.String("hint", "it is tried again when the application is next asked for it; until then Caddy must not be restarted while the application is down"))
		return
	}
	last.stored, f.unstored = f.storage, false
	f.keep(&last)
}

func (f *fetcher) forget() {
	if err := f.app.Storage().Delete(f.storage); err != nil && !errors.Is(err, fs.ErrNotExist) {
		f.logger.Warn("the guest's manifest cannot be deleted from storage", zap.String("party", f.key.Party), zap.String("guest", f.guest()), zap.Error(err))
	}
}
