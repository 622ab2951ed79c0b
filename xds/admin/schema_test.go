package admin_test

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// openAPI is the served document, as a client would read it.
type openAPI map[string]any

// at follows path through the document's objects; nil where it ends.
func (d openAPI) at(path ...string) map[string]any {
	node := map[string]any(d)
	for _, p := range path {
		node, _ = node[p].(map[string]any)
	}
	return node
}

// template returns the document's path that a request path falls under.
func (d openAPI) template(path string) string {
	want := strings.Split(path, "/")
	for template := range d.at("paths") {
		parts := strings.Split(template, "/")
		if slices.EqualFunc(parts, want, func(p, w string) bool { return p == w || strings.HasPrefix(p, "{") }) {
			return template
		}
	}
	return ""
}

// check fails the test unless the document describes this answer and the answer is as described.
func (d openAPI) check(t *testing.T, method, path string, status int, contentType string, body []byte) {
	t.Helper()
	path, _, _ = strings.Cut(path, "?")
	template := d.template(path)
	response := d.at("paths", template, strings.ToLower(method), "responses", strconv.Itoa(status))
	if response == nil {
		t.Fatalf("%s %s: the document has no answer %d", method, path, status)
	}
	schema := openAPI(response).at("content", contentType, "schema")
	if schema == nil {
		t.Fatalf("%s %s: the document has no %s for %d", method, path, contentType, status)
	}
	var v any
	if err := json.Unmarshal(body, &v); err != nil {
		t.Fatalf("%s %s: %v in %s", method, path, err, body)
	}
	for _, problem := range d.problems(schema, v, "body") {
		t.Errorf("%s %s (%d): %s\n%s", method, path, status, problem, body)
	}
}

// problems says where v is not as schema has it: of JSON Schema, the words that the document uses.
func (d openAPI) problems(schema map[string]any, v any, at string) []string {
	if ref, ok := schema["$ref"].(string); ok {
		return d.problems(d.at(strings.Split(strings.TrimPrefix(ref, "#/"), "/")...), v, at)
	}
	var types []any
	switch t := schema["type"].(type) {
	case string:
		types = []any{t}
	case []any:
		types = t
	default:
		return []string{at + ": the document states no type"}
	}
	if !slices.Contains(types, any(typeName(v))) && (typeName(v) != "integer" || !slices.Contains(types, any("number"))) {
		return []string{fmt.Sprintf("%s: %v is none of %v", at, v, types)}
	}
	var found []string
	switch v := v.(type) {
	case map[string]any:
		found = d.objectProblems(schema, v, at)
	case []any:
		items, _ := schema["items"].(map[string]any)
		for i, item := range v {
			found = append(found, d.problems(items, item, at+"["+strconv.Itoa(i)+"]")...)
		}
	case float64:
		if low, ok := schema["minimum"].(float64); ok && v < low {
			found = append(found, fmt.Sprintf("%s: %v is below %v", at, v, low))
		}
		if high, ok := schema["maximum"].(float64); ok && v > high {
			found = append(found, fmt.Sprintf("%s: %v is above %v", at, v, high))
		}
	case string:
		if schema["format"] == "date-time" {
			if _, err := time.Parse(time.RFC3339, v); err != nil || !strings.HasSuffix(v, "Z") {
				found = append(found, at+": "+v+" is not RFC 3339 in UTC")
			}
		}
		if schema["format"] == "date" {
			if _, err := time.Parse(time.DateOnly, v); err != nil {
				found = append(found, at+": "+v+" is no date")
			}
		}
		if enum, ok := schema["enum"].([]any); ok && !slices.Contains(enum, any(v)) {
			found = append(found, fmt.Sprintf("%s: %s is none of %v", at, v, enum))
		}
	}
	return found
}

func (d openAPI) objectProblems(schema, v map[string]any, at string) []string {
	var found []string
	properties, _ := schema["properties"].(map[string]any)
	required, _ := schema["required"].([]any)
	for _, name := range required {
		if _, ok := v[name.(string)]; !ok {
			found = append(found, fmt.Sprintf("%s: %v is missing", at, name))
		}
	}
	for name, member := range v {
		property, ok := properties[name].(map[string]any)
		if !ok {
			found = append(found, at+": "+name+" is not in the document")
			continue
		}
		found = append(found, d.problems(property, member, at+"."+name)...)
	}
	return found
}

func typeName(v any) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case bool:
		return "boolean"
	case string:
		return "string"
	case float64:
		if v == math.Trunc(v) {
			return "integer"
		}
		return "number"
	case []any:
		return "array"
	}
	return "object"
}
