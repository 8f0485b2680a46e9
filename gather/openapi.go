// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// One OpenAPI document of many. They are taken as JSON: libraries decode them into types of one version, and lose what
// these have no field for.

package gather

import (
	"cmp"
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"strconv"
	"strings"

	"github.com/wsgiparty/wsgiparty/internal/wire"
)

var (
	apiVersion    = regexp.MustCompile(`^3\.(\d{1,3})\.\d{1,3}(-.*)?$`)
	componentName = regexp.MustCompile(`^[a-zA-Z0-9._-]+$`)
	sections      = map[string]bool{"schemas": true, "responses": true, "parameters": true, "examples": true, "requestBodies": true, "headers": true,
		"securitySchemes": true, "links": true, "callbacks": true, "pathItems": true, "mediaTypes": true}
	notInNames = regexp.MustCompile(`[^a-zA-Z0-9.-]`)
	apiMethods = []string{"get", "put", "post", "delete", "options", "head", "patch", "trace", "query"}
)

// checkAPIs checks the documents each by itself, and puts the paths under the mount.
func checkAPIs(p *part, _ string) error {
	for _, answer := range p.answers {
		doc, ok := answer.(map[string]any)
		if !ok {
			return fmt.Errorf("the answer is %s, not an OpenAPI document", kindOf(answer))
		}
		if version, ok := doc["openapi"].(string); !ok || !apiVersion.MatchString(version) {
			return fmt.Errorf("the answer's member openapi is not a version 3.x.y: write an OpenAPI 3 document; convert Swagger 2.0")
		}
		if err := p.checkAPI(doc); err != nil {
			return fmt.Errorf("the OpenAPI document: %w", err)
		}
	}
	return nil
}

func (p *part) checkAPI(doc map[string]any) error {
	base, err := p.basePath(doc)
	if err != nil {
		return err
	}
	for _, member := range []string{"paths", "components", "webhooks"} {
		if value, there := doc[member]; there {
			if _, ok := value.(map[string]any); !ok {
				return fmt.Errorf("%s is %s: write an object", member, kindOf(value))
			}
		}
	}
	own, paths := objectIn(doc, "paths"), make(map[string]any)
	for name, item := range own {
		if strings.HasPrefix(name, "x-") {
			continue
		}
		if !strings.HasPrefix(name, "/") || strings.HasPrefix(name, "//") || strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || strings.ContainsRune(`\?#`, r) }) {
			return fmt.Errorf("the path %.100q: write one that begins with one slash", name)
		}
		if _, err := cleanPath(strings.NewReplacer("{", "", "}", "").Replace(name)); err != nil {
			return fmt.Errorf("the path %.100q: %w", name, err)
		}
		paths[base+name] = item
		if err := p.ownPathItem(name, item, doc); err != nil {
			return err
		}
	}
	doc["paths"] = paths
	for name, item := range objectIn(doc, "webhooks") {
		if err := p.ownPathItem(name, item, doc); err != nil {
			return err
		}
	}
	for section, value := range objectIn(doc, "components") {
		if !sections[section] && !strings.HasPrefix(section, "x-") {
			delete(objectIn(doc, "components"), section)
			continue
		}
		components, ok := value.(map[string]any)
		if !ok && !strings.HasPrefix(section, "x-") {
			return fmt.Errorf("components/%.100s is %s: write an object", section, kindOf(value))
		}
		for name, component := range components {
			if !componentName.MatchString(name) {
				return fmt.Errorf("the component %.100q in %.100s: write letters, digits and . _ - only", name, section)
			}
			var err error
			switch section {
			case "pathItems":
				err = p.ownPathItem(name, component, doc)
			case "callbacks":
				err = p.ownCallback(name, component, doc)
			}
			if err != nil {
				return err
			}
		}
	}
	for _, member := range []string{"paths", "components", "webhooks"} {
		if err := eachObject(doc[member], member != "components", func(object map[string]any) error { return checkReferences(object, doc, own, base) }); err != nil {
			return err
		}
	}
	return nil
}

// basePath returns what comes before the paths: the mount, and what the first server says below it.
func (p *part) basePath(doc map[string]any) (string, error) {
	servers, _ := doc["servers"].([]any)
	if len(servers) == 0 {
		return p.mount, nil
	}
	first, _ := servers[0].(map[string]any)
	text, _ := first["url"].(string)
	parsed, err := url.Parse(text)
	if err != nil || strings.ContainsAny(text, "{}") {
		return "", fmt.Errorf("the first server's url is %.100q: write one without variables, such as /api", text)
	}
	base, err := p.under(cmp.Or(parsed.EscapedPath(), "/"), "") // of the site, whatever host the guest takes itself for
	if err != nil {
		return "", err
	}
	return strings.TrimSuffix(base, "/"), nil
}

// ownPathItem makes the operations the guest's.
func (p *part) ownPathItem(name string, value any, doc map[string]any) error {
	item, ok := value.(map[string]any)
	if !ok {
		return fmt.Errorf("the path %.100q is %s: write an object", name, kindOf(value))
	}
	delete(item, "servers")
	for _, method := range apiMethods {
		operation, ok := item[method].(map[string]any)
		if !ok {
			delete(item, method)
			continue
		}
		delete(operation, "servers")
		operation["tags"] = []any{p.guest}
		for name, callback := range objectIn(operation, "callbacks") {
			if err := p.ownCallback(name, callback, doc); err != nil {
				return err
			}
		}
		if security, there := doc["security"]; there && operation["security"] == nil {
			operation["security"] = cloneSecurity(security)
		}
	}
	return nil
}

// ownCallback makes the operations of a callback the guest's.
func (p *part) ownCallback(name string, value any, doc map[string]any) error {
	callback, ok := value.(map[string]any)
	if !ok {
		return fmt.Errorf("the callback %.100q is %s: write an object", name, kindOf(value))
	}
	for expression, item := range callback {
		if expression == "$ref" || strings.HasPrefix(expression, "x-") {
			continue
		}
		if err := p.ownPathItem(expression, item, doc); err != nil {
			return err
		}
	}
	return nil
}

// cloneSecurity copies the requirements of a document for an operation, in which names may change.
func cloneSecurity(value any) any {
	list, _ := value.([]any)
	clone := make([]any, 0, len(list))
	for _, element := range list {
		if object, ok := element.(map[string]any); ok {
			element = maps.Clone(object)
		}
		clone = append(clone, element)
	}
	return clone
}

func writeOpenAPI(f *frame) ([]byte, error) {
	all, minor := map[string]any{"info": map[string]any{"title": f.party, "version": "1"}}, 0
	paths, components, webhooks, tags := make(map[string]any), make(map[string]any), make(map[string]any), []any{}
	names, mounts := newNaming(f.parts), f.mounts()
	for _, p := range f.parts {
		for i, answer := range p.answers {
			doc := answer.(map[string]any)
			names.rename(p, i, doc)
			minor = max(minor, minorOf(doc))
			for name, item := range objectIn(doc, "paths") {
				if _, taken := paths[name]; !taken && p.has(name, mounts) {
					paths[name] = item
				}
			}
			for section, value := range objectIn(doc, "components") {
				named, _ := value.(map[string]any)
				if components[section] == nil && len(named) > 0 {
					components[section] = make(map[string]any)
				}
				maps.Copy(objectIn(components, section), named)
			}
			maps.Copy(webhooks, objectIn(doc, "webhooks"))
			if i == 0 {
				tag := map[string]any{"name": p.guest}
				if title, ok := objectIn(doc, "info")["title"].(string); ok {
					tag["description"] = title
				}
				tags = append(tags, tag)
			}
		}
	}
	all["openapi"], all["paths"], all["tags"] = fmt.Sprintf("3.%d.0", minor), paths, tags
	if len(components) > 0 {
		all["components"] = components
	}
	if len(webhooks) > 0 {
		all["webhooks"] = webhooks
	}
	if len(f.absent) > 0 {
		all["x-party-absent"] = f.absent
	}
	return wire.Encode(all)
}

// has reports whether a path is not below the mount of another guest, which is longer. Caddy matches paths unescaped, and in
// any case.
func (p *part) has(path string, mounts map[string]string) bool {
	path = matched(path)
	for guest, mount := range mounts {
		if mount = matched(mount); guest != p.guest && len(mount) > len(matched(p.mount)) && (path == mount || strings.HasPrefix(path, mount+"/")) {
			return false
		}
	}
	return true
}

func matched(path string) string {
	if unescaped, err := url.PathUnescape(path); err == nil {
		path = unescaped
	}
	return strings.ToLower(path)
}

// minorOf returns the x of version 3.x.y, no later than the last one that programs know: else a guest that makes one up
// would have them refuse what all others say.
func minorOf(doc map[string]any) int {
	minor, _ := strconv.Atoi(apiVersion.FindStringSubmatch(doc["openapi"].(string))[1])
	return min(minor, lastMinor)
}

const lastMinor = 2
