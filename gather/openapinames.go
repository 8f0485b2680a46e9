// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// What several OpenAPI documents name alike, named apart.

package gather

import (
	"fmt"
	"maps"
	"slices"
)

// operationIDs, and webhooks, are named apart as components are.
const (
	operationIDs = "operationId"
	webhookNames = "webhooks"
)

// sectionName is a name in a section of components, or one of the above.
type sectionName struct{ section, name string }

// source is one document of a guest.
type source struct {
	part *part
	doc  int
}

// naming knows the new names of what collides.
type naming map[source]map[sectionName]string

// newNaming finds what is named alike, and puts the guest's name before it. What has such a name already keeps it.
func newNaming(parts []*part) naming {
	sources, has := []source(nil), make(map[source][]sectionName)
	count := make(map[sectionName]int)
	for _, p := range parts {
		for i, answer := range p.answers {
			s := source{p, i}
			sources = append(sources, s)
			has[s] = namesIn(answer.(map[string]any))
			for _, name := range has[s] {
				count[name]++
			}
		}
	}
	n := make(naming)
	for _, s := range sources {
		n[s] = make(map[sectionName]string)
		for _, name := range has[s] {
			if count[name] == 1 {
				continue
			}
			apart := sectionName{name.section, notInNames.ReplaceAllString(s.part.guest, "_") + "_" + name.name}
			for i := 2; count[apart] > 0; i++ {
				apart.name = fmt.Sprintf("%s_%s_%d", notInNames.ReplaceAllString(s.part.guest, "_"), name.name, i)
			}
			count[apart] = 1
			n[s][name] = apart.name
		}
	}
	return n
}

// namesIn returns what a document names, in an order that is always the same.
func namesIn(doc map[string]any) (names []sectionName) {
	components := objectIn(doc, "components")
	for _, section := range slices.Sorted(maps.Keys(components)) {
		for _, name := range slices.Sorted(maps.Keys(objectIn(components, section))) {
			names = append(names, sectionName{section, name})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(objectIn(doc, "webhooks"))) {
		names = append(names, sectionName{webhookNames, name})
	}
	ids := make(map[string]bool)
	eachSpecified(doc, func(object map[string]any) {
		if id, ok := object["operationId"].(string); ok {
			ids[id] = true
		}
	})
	for _, id := range slices.Sorted(maps.Keys(ids)) {
		names = append(names, sectionName{operationIDs, id})
	}
	return names
}

// eachSpecified calls do with the objects of a document.
func eachSpecified(doc map[string]any, do func(map[string]any)) {
	for _, member := range []string{"paths", "components", "webhooks"} {
		_ = eachObject(doc[member], member != "components", func(object map[string]any) error { do(object); return nil })
	}
}

// rename gives what a document has its new names, and has all that refers to it refer to these.
func (n naming) rename(p *part, i int, doc map[string]any) {
	apart := n[source{p, i}]
	if len(apart) == 0 {
		return
	}
	eachSpecified(doc, func(object map[string]any) { renameIn(object, apart) })
	components := objectIn(doc, "components")
	for section := range components {
		renameKeys(objectIn(components, section), section, apart)
	}
	renameKeys(objectIn(doc, "webhooks"), webhookNames, apart)
}

func renameIn(object map[string]any, apart map[sectionName]string) {
	for _, member := range []string{"$ref", "operationRef"} {
		if reference, ok := object[member].(string); ok {
			object[member] = renameReference(reference, apart)
		}
	}
	if id, ok := object["operationId"].(string); ok {
		if name, ok := apart[sectionName{operationIDs, id}]; ok {
			object["operationId"] = name
		}
	}
	for schema, value := range objectIn(objectIn(object, "discriminator"), "mapping") {
		reference, _ := value.(string)
		if name, ok := apart[sectionName{"schemas", reference}]; ok {
			reference = name
		}
		objectIn(objectIn(object, "discriminator"), "mapping")[schema] = renameReference(reference, apart)
	}
	requirements, _ := object["security"].([]any)
	for _, requirement := range requirements {
		if object, ok := requirement.(map[string]any); ok {
			renameKeys(object, "securitySchemes", apart)
		}
	}
}

func renameReference(reference string, apart map[sectionName]string) string {
	if section, name, rest, ok := componentIn(reference); ok {
		if name, ok := apart[sectionName{section, name}]; ok {
			return "#/components/" + section + "/" + name + rest
		}
	}
	return reference
}

func renameKeys(object map[string]any, section string, apart map[sectionName]string) {
	renamed := make(map[string]any)
	for name, value := range object {
		if to, ok := apart[sectionName{section, name}]; ok {
			delete(object, name)
			renamed[to] = value
		}
	}
	maps.Copy(object, renamed)
}
