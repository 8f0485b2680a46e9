// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package gather_test

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
)

// fastAPI is a document as FastAPI makes it, with an API that has what may collide.
const fastAPI = `{"openapi": "3.1.0", "info": {"title": "TITLE", "version": "0.1.0"}, "security": [{"token": []}], "tags": [{"name": "items"}],
"paths": {"/items/{id}": {"servers": [{"url": "https://evil.example"}], "get": {"tags": ["items"], "operationId": "read", "servers": [{"url": "/"}],
	"parameters": [{"name": "id", "in": "path", "required": true, "schema": {"$ref": "#/components/schemas/ID"}}],
	"responses": {"200": {"description": "ok", "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Item"}, "example": {"$ref": "#/components/schemas/data"}}}, "links": {"again": {"operationId": "read"}, "path": {"operationRef": "#/paths/~1items~1{id}/get"}}},
		"default": {"$ref": "#/components/responses/Problem"}}},
	"post": {"operationId": "ONLY", "security": [], "responses": {}}}},
"components": {"securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}, "responses": {"Problem": {"description": "no"}},
	"schemas": {"ID": {"type": "string", "default": {"$ref": "data"}}, "ONLYSchema": {"$ref": "#/components/schemas/Item/properties/id"},
		"Item": {"type": "object", "properties": {"id": {"$ref": "#/components/schemas/ID"}, "default": {"$ref": "#/components/schemas/ID"}, "$ref": {"type": "string"}}, "oneOf": [{"$ref": "#/components/schemas/Item"}],
			"discriminator": {"propertyName": "id", "mapping": {"a": "#/components/schemas/Item", "b": "Item"}}, "enum": [{"$ref": "#/components/schemas/ID"}]}}}}`

func api(title, only string) any {
	return raw(strings.NewReplacer("TITLE", title, "ONLY", only).Replace(fastAPI))
}

// at returns what a pointer leads to.
func at(t testing.TB, value any, pointer ...string) string {
	t.Helper()
	for _, member := range pointer {
		object, _ := value.(map[string]any)
		value = object[member]
	}
	return string(check.Value(json.Marshal(value))(t))
}

func TestOpenAPIDocumentsBecomeOne(t *testing.T) {
	g := newGuests(t)
	g.on("one", api("Blog", "write"))
	g.on("two", api("Shop", "buy"))
	g.on("alone", raw(`{"openapi": "3.0.3", "info": {}, "servers": [{"url": "https://internal:8000/alone/v2/"}, {"url": "x"}], "paths": {"/": {"get": {"responses": {}}}, "x-more": 1}, "webhooks": {"new": {"post": {}}}, "x-tra": {}}`))
	g.on("down", errDown)
	g.serve("as openapi\nabsent note", "one", "two", "alone", "down")
	r := g.doc()
	doc := partytest.DecodeJSON(t, []byte(r.Body))
	check.Equal(t, at(t, doc, "openapi"), `"3.1.0"`)
	check.Equal(t, at(t, doc, "info"), `{"title":"`+g.party+`","version":"1"}`)
	check.Equal(t, at(t, doc, "x-party-absent"), `["down"]`)
	check.Equal(t, at(t, doc, "tags"), `[{"description":"Blog","name":"one"},{"description":"Shop","name":"two"},{"name":"alone"}]`)
	check.Slices(t, slices.Sorted(maps.Keys(doc.(map[string]any))), []string{"components", "info", "openapi", "paths", "tags", "webhooks", "x-party-absent"})
	paths := doc.(map[string]any)["paths"].(map[string]any)
	check.Slices(t, slices.Sorted(maps.Keys(paths)), []string{"/alone/v2/", "/one/items/{id}", "/two/items/{id}"})
	for guest, only := range map[string]string{"one": "write", "two": "buy"} {
		get := paths["/"+guest+"/items/{id}"].(map[string]any)["get"]
		check.Equal(t, at(t, get, "tags"), `["`+guest+`"]`)
		check.Equal(t, at(t, get, "operationId"), `"`+guest+`_read"`)
		check.Equal(t, at(t, get, "security"), `[{"`+guest+`_token":[]}]`)
		check.Equal(t, at(t, get, "servers"), "null")
		check.Equal(t, at(t, get, "responses", "default"), `{"$ref":"#/components/responses/`+guest+`_Problem"}`)
		check.Equal(t, at(t, get, "responses", "200", "content", "application/json"), `{"example":{"$ref":"#/components/schemas/data"},"schema":{"$ref":"#/components/schemas/`+guest+`_Item"}}`)
		check.Equal(t, at(t, get, "responses", "200", "links"), `{"again":{"operationId":"`+guest+`_read"},"path":{"operationRef":"#/paths/~1`+guest+`~1items~1{id}/get"}}`)
		post := paths["/"+guest+"/items/{id}"].(map[string]any)["post"]
		check.Equal(t, at(t, post, "security")+at(t, post, "operationId"), `[]"`+only+`"`)
		item := doc.(map[string]any)["components"].(map[string]any)["schemas"].(map[string]any)[guest+"_Item"]
		id := `{"$ref":"#/components/schemas/` + guest + `_ID"}`
		check.Equal(t, at(t, item, "properties"), `{"$ref":{"type":"string"},"default":`+id+`,"id":`+id+`}`)
		check.Equal(t, at(t, item, "discriminator", "mapping"), `{"a":"#/components/schemas/`+guest+`_Item","b":"`+guest+`_Item"}`)
		check.Equal(t, at(t, item, "enum"), `[{"$ref":"#/components/schemas/ID"}]`)
		check.Equal(t, at(t, doc, "components", "schemas", only+"Schema"), `{"$ref":"#/components/schemas/`+guest+`_Item/properties/id"}`)
		check.Equal(t, at(t, doc, "components", "schemas", guest+"_ID"), `{"default":{"$ref":"data"},"type":"string"}`)
	}
	check.Equal(t, r.Header.Get("Party-Absent"), "down")
}

// TestNoGuestNamesWhatIsAnothers has guests take names that others get, and paths that are others'.
func TestNoGuestNamesWhatIsAnothers(t *testing.T) {
	g := newGuests(t)
	g.on("a/b", raw(`{"openapi": "3.0.0", "paths": {}, "components": {"schemas": {"X": {"title": "a/b"}}}}`))
	g.on("a_b", raw(`{"openapi": "3.0.0", "paths": {}, "components": {"schemas": {"X": {"title": "a_b"}, "c_X": {"title": "first"}}}}`))
	g.on("c", raw(`{"openapi": "3.0.0", "paths": {}, "components": {"schemas": {"X": {"title": "c"}}}}`))
	g.on("leaves", raw(`{"openapi": "3.1.0", "paths": {"/x": {"$ref": "#/components/pathItems/x"}}, "components": {"pathItems": {"x": {"servers": [{"url": "https://evil.example"}], "get": {"tags": ["c"], "servers": [{"url": "https://evil.example"}]}}}}}`))
	g.on("root", raw(`{"openapi": "3.0.0", "paths": {"/c/pay": {"get": {"summary": "stolen"}}, "/%63/pay": {}, "/C/pay": {}, "/cc": {}, "/down/x": {}}}`))
	g.isDown("down")
	config := strings.Replace(g.config("as openapi\nabsent note", "a/b", "a_b", "c", "leaves", "down"), "handle /doc", "invite /__invite__/\nhandle /__invite__/ {\ntest_app root\n}\nhandle /doc", 1)
	g.Site(config)
	r := g.doc()
	doc := partytest.DecodeJSON(t, []byte(r.Body))
	check.Equal(t, at(t, doc, "components", "schemas"), `{"a_b_X":{"title":"a/b"},"a_b_X_2":{"title":"a_b"},"c_X":{"title":"first"},"c_X_2":{"title":"c"}}`)
	check.Equal(t, at(t, doc, "paths"), `{"/cc":{},"/leaves/x":{"$ref":"#/components/pathItems/x"}}`)
	check.Equal(t, at(t, doc, "components", "pathItems"), `{"x":{"get":{"tags":["leaves"]}}}`)
}

// TestReferencesLeadWhereTheyDid has them lead into lists, and to paths whose names are escaped.
func TestReferencesLeadWhereTheyDid(t *testing.T) {
	g := newGuests(t)
	g.on("one", raw(`{"openapi": "3.1.0", "paths": {"/a~b/{id}": {"parameters": [{"name": "id"}], "get": {"x-a": {"$ref": "#/paths/~1a~0b~1%7Bid%7D/parameters/0"}}}, "/c": {"$ref": "#/paths/~1a~0b~1{id}"}},
		"components": {"schemas": {"a": {"oneOf": [{"type": "string"}, {"$ref": "#/components/schemas/a/oneOf/0"}]}}}}`))
	g.on("two", raw(`{"openapi": "3.1.0", "components": {"schemas": {"a": {}}}}`))
	g.serve("as openapi\nabsent note", "one", "two")
	r := g.doc()
	check.Equal(t, r.Header.Get("Party-Absent"), "")
	doc := partytest.DecodeJSON(t, []byte(r.Body))
	check.Equal(t, at(t, doc, "paths", "/one/c"), `{"$ref":"#/paths/~1one~1a~0b~1{id}"}`)
	check.Equal(t, at(t, doc, "paths", "/one/a~b/{id}", "get", "x-a"), `{"$ref":"#/paths/~1one~1a~0b~1%7Bid%7D/parameters/0"}`)
	check.Equal(t, at(t, doc, "components", "schemas", "one_a"), `{"oneOf":[{"type":"string"},{"$ref":"#/components/schemas/one_a/oneOf/0"}]}`)
}

// TestCallbacksAreTheirGuests has one say that they are another's, and that its document has a section of its own.
func TestCallbacksAreTheirGuests(t *testing.T) {
	g := newGuests(t)
	const callback = `{"{$url}": {"servers": [{"url": "https://evil.example"}], "post": {"tags": ["two"], "servers": [{"url": "https://evil.example"}]}}}`
	g.on("one", raw(`{"openapi": "3.1.0", "paths": {"/a": {"post": {"callbacks": {"here": `+callback+`, "there": {"$ref": "#/components/callbacks/c"}}}}}, "components": {"callbacks": {"c": `+callback+`}, "made-up": {"a": {}}}}`))
	g.serve("as openapi", "one")
	doc := partytest.DecodeJSON(t, []byte(g.doc().Body))
	const own = `{"{$url}":{"post":{"tags":["one"]}}}`
	check.Equal(t, at(t, doc, "paths", "/one/a", "post", "callbacks"), `{"here":`+own+`,"there":{"$ref":"#/components/callbacks/c"}}`)
	check.Equal(t, at(t, doc, "components"), `{"callbacks":{"c":`+own+`}}`)
}

// TestNoGuestMakesTheVersionUp has one say a version that no program knows, in which all others would be.
func TestNoGuestMakesTheVersionUp(t *testing.T) {
	for version, want := range map[string]string{"3.1.1": "3.1.0", "3.999.7": "3.2.0", "3.1.0-<script>": "3.1.0", "3.0.4": "3.0.0"} {
		g := newGuests(t)
		g.on("one", raw(`{"openapi": "3.0.3", "paths": {}}`))
		g.on("two", raw(`{"openapi": "`+version+`", "paths": {}}`))
		g.serve("as openapi", "one", "two")
		check.Equal(t, at(t, partytest.DecodeJSON(t, []byte(g.doc().Body)), "openapi"), `"`+want+`"`, version)
	}
}

func TestWhatIsNoOpenAPIDocumentIsItsGuestsFailure(t *testing.T) {
	for text, want := range map[string]string{
		`[]`:                                "a list, not an OpenAPI document",
		`{"swagger": "2.0"}`:                "convert Swagger 2.0",
		`{"openapi": "4.0.0"}`:              "not a version 3.x.y",
		`{"openapi": "3.0.0", "paths": []}`: "paths is a list",
		`{"openapi": "3.0.0", "paths": {"x": {}}}`:                                                                         "begins with one slash",
		`{"openapi": "3.0.0", "paths": {"//evil.example/x": {}}}`:                                                          "begins with one slash",
		`{"openapi": "3.1.0", "components": {"pathItems": {"a": []}}}`:                                                     "a list: write an object",
		`{"openapi": "3.0.0", "paths": {"/../two/x": {}}}`:                                                                 `its path has a ".."`,
		`{"openapi": "3.0.0", "paths": {"/%2e%2e/two": {}}}`:                                                               `its path has a ".."`,
		`{"openapi": "3.0.0", "paths": {"/x": 1}}`:                                                                         "a number: write an object",
		`{"openapi": "3.0.0", "servers": [{"url": "/{v}"}]}`:                                                               "without variables",
		`{"openapi": "3.0.0", "servers": [{"url": "/../two"}]}`:                                                            `its path has a ".."`,
		`{"openapi": "3.0.0", "components": {"schemas": {"a/b": {}}}}`:                                                     "letters, digits",
		`{"openapi": "3.0.0", "components": {"schemas": []}}`:                                                              "components/schemas is a list",
		`{"openapi": "3.0.0", "paths": {"/": {"$ref": "https://evil.example/x.json"}}}`:                                    "leads out of the document",
		`{"openapi": "3.0.0", "components": {"schemas": {"a": {"$ref": "other.json#/x"}}}}`:                                "leads out of the document",
		`{"openapi": "3.0.0", "components": {"schemas": {"a": {"items": {"$ref": "#/components/schemas/Another"}}}}}`:      "refers to nothing",
		`{"openapi": "3.0.0", "paths": {"/a": {"$ref": "#/paths/~1b"}}}`:                                                   "refers to nothing",
		`{"openapi": "3.0.0", "paths": {"/a": {"$ref": "#/paths/~1two~1x"}}}`:                                              "refers to nothing",
		`{"openapi": "3.0.0", "paths": {"/a": {"$ref": "#/info"}}}`:                                                        "refers to nothing",
		`{"openapi": "3.0.0", "paths": {"/a": {"$ref": "#"}}}`:                                                             "leads out of the document",
		`{"openapi": "3.0.0", "paths": {"/a": {"$ref": 7}}}`:                                                               "$ref is a number: write a string",
		`{"openapi": "3.0.0", "components": {"schemas": {"a": {"$ref": "#/components/schemas/%61"}}}}`:                     "refers to nothing",
		`{"openapi": "3.0.0", "components": {"schemas": {"a": {"$ref": "#/components/schemas/a/oneOf/0"}}}}`:               "refers to nothing",
		`{"openapi": "3.0.0", "components": {"made-up": {"a": {}}, "schemas": {"a": {"$ref": "#/components/made-up/a"}}}}`: "refers to nothing",
		`{"openapi": "3.0.0", "components": {"callbacks": {"a": {"{$url}": 1}}}}`:                                          "a number: write an object",
		`{"openapi": "3.0.0", "paths": {"/a": {"post": {"callbacks": {"a": []}}}}}`:                                        "a list: write an object",
		`{"openapi": "3.0.0", "webhooks": {"a": []}}`:                                                                      "a list: write an object",
	} {
		g := newGuests(t)
		g.on("one", raw(text))
		g.serve("as openapi\nabsent note", "one")
		r := g.doc()
		check.Equal(t, at(t, partytest.DecodeJSON(t, []byte(r.Body)), "paths")+r.Header.Get("Party-Absent"), "{}one", text)
		entries := partytest.LogEntries(t, "guest failed")
		check.FatalIf(t, len(entries) == 0, text)
		check.Has(t, entries[len(entries)-1]["error"].(string), want, text)
	}
}
