package webhook_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"keywheel/xds/event"
	"keywheel/xds/notify"
	"keywheel/xds/notify/webhook"
)

// object is a part of a JSON document.
type object = map[string]any

// decoded is a document as encoding/json reads it.
func decoded(t testing.TB, document []byte) object {
	t.Helper()
	var o object
	if err := json.Unmarshal(document, &o); err != nil {
		t.Fatalf("%v in %s", err, document)
	}
	return o
}

// problems says where v is not as schema has it: of JSON Schema, the words that root uses. A field without a description
// in the schema is a problem too, though receivers ignore it.
func problems(root, schema object, v any, at string) []string {
	var found []string
	wrong := func(format string, args ...any) { found = append(found, at+": "+fmt.Sprintf(format, args...)) }
	for word, said := range schema {
		switch word {
		case "$ref":
			name, _ := strings.CutPrefix(said.(string), "#/$defs/")
			found = append(found, problems(root, root["$defs"].(object)[name].(object), v, at)...)
		case "type":
			if !isA(said.(string), v) {
				wrong("%v is no %v", v, said)
			}
		case "const":
			if v != said {
				wrong("%v is not %v", v, said)
			}
		case "enum":
			if !slices.Contains(said.([]any), v) {
				wrong("%v is not one of %v", v, said)
			}
		case "format":
			text, _ := v.(string)
			if _, err := time.Parse(time.RFC3339Nano, text); said != "date-time" || err != nil {
				wrong("%v is no %v", v, said)
			}
		case "required":
			fields, _ := v.(object)
			for _, name := range said.([]any) {
				if _, ok := fields[name.(string)]; !ok {
					wrong("no %v", name)
				}
			}
		case "properties":
			fields, _ := v.(object)
			for name, value := range fields {
				if property, ok := said.(object)[name].(object); ok {
					found = append(found, problems(root, property, value, at+"."+name)...)
				} else {
					wrong("%s is not described", name)
				}
			}
		case "items":
			list, _ := v.([]any)
			for i, item := range list {
				found = append(found, problems(root, said.(object), item, fmt.Sprintf("%s[%d]", at, i))...)
			}
		case "$schema", "$id", "$defs", "title", "description", "examples":
		default:
			wrong("this check does not know the schema's word %q", word)
		}
	}
	return found
}

// isA says whether v, as encoding/json reads it, is of one of JSON Schema's types.
func isA(kind string, v any) bool {
	switch v := v.(type) {
	case string:
		return kind == "string"
	case bool:
		return kind == "boolean"
	case float64:
		return kind == "integer" && v == math.Trunc(v)
	case object:
		return kind == "object"
	case []any:
		return kind == "array"
	}
	return false
}

// full is an event with a value in every field.
func full(t *testing.T) event.Event {
	t.Helper()
	at := time.Date(2025, 11, 18, 10, 0, 0, 5, time.UTC)
	e := event.Event{Level: event.Warning, Unit: event.Tokens, At: at, Until: at.Add(time.Hour)}
	v := reflect.ValueOf(&e).Elem()
	for i := range v.NumField() {
		switch f := v.Field(i); {
		case !f.IsZero():
		case f.Kind() == reflect.String:
			f.SetString("x")
		case f.CanInt():
			f.SetInt(7)
		case f.Kind() == reflect.Bool:
			f.SetBool(true)
		default:
			t.Fatalf("no value for the field %s", v.Type().Field(i).Name)
		}
	}
	return e
}

func TestBodyIsAsTheSchemaSays(t *testing.T) {
	schema := decoded(t, webhook.Schema)
	now := time.Date(2025, 11, 18, 10, 0, 1, 999, time.FixedZone("", 3600))
	e := full(t)
	for name, m := range map[string]notify.Message{
		"all fields": {ID: "n-1", Subject: "subject", Text: "a\nb", Events: []event.Event{e, e}},
		"none":       {ID: "n-2"},
		"plain":      {ID: "n-3", Subject: "s", Text: "t", Events: []event.Event{{ID: 1, Level: event.Info}}},
	} {
		body := decoded(t, posted(t, m, now).body)
		if found := problems(schema, schema, body, name); len(found) > 0 {
			t.Errorf("%q", found)
		}
		want := object{
			"schema": 1.0, "id": m.ID, "subject": m.Subject, "text": m.Text, "sent_at": "2025-11-18T09:00:01Z", "events": []any{},
		}
		events, err := json.Marshal(m.Events)
		if err != nil {
			t.Fatal(err)
		}
		if len(m.Events) > 0 {
			want["events"] = decoded(t, []byte(`{"e":`+string(events)+`}`))["e"]
		}
		if diff := cmp.Diff(want, body); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// The schema describes what an event has, and no more.
func TestSchemaIsComplete(t *testing.T) {
	described := decoded(t, webhook.Schema)["$defs"].(object)["event"].(object)["properties"].(object)
	var fields, kinds, levels []string
	for field := range reflect.TypeFor[event.Event]().Fields() {
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		fields = append(fields, name)
	}
	if diff := cmp.Diff(slices.Sorted(slices.Values(fields)), slices.Sorted(maps.Keys(described))); diff != "" {
		t.Errorf("fields (-event +schema):\n%s", diff)
	}
	for _, v := range described["kind"].(object)["examples"].([]any) {
		kinds = append(kinds, v.(string))
	}
	for _, v := range described["level"].(object)["enum"].([]any) {
		levels = append(levels, v.(string))
	}
	if diff := cmp.Diff(fmt.Sprint(event.Kinds()), fmt.Sprint(kinds)); diff != "" {
		t.Errorf("kinds (-event +schema):\n%s", diff)
	}
	if diff := cmp.Diff(fmt.Sprint(event.Levels()), fmt.Sprint(levels)); diff != "" {
		t.Errorf("levels (-event +schema):\n%s", diff)
	}
}

// The check of bodies sees each thing that can be wrong with one.
func TestProblems(t *testing.T) {
	schema := decoded(t, webhook.Schema)
	good := posted(t, notify.Message{ID: "n-1", Events: []event.Event{full(t)}}, time.Now()).body
	for name, spoil := range map[string]func(body, event object){
		"another version": func(b, _ object) { b["schema"] = 2.0 },
		"no ID":           func(b, _ object) { delete(b, "id") },
		"number as ID":    func(b, _ object) { b["id"] = 1.0 },
		"no events":       func(b, _ object) { b["events"] = nil },
		"no date":         func(b, _ object) { b["sent_at"] = "yesterday" },
		"undescribed":     func(b, _ object) { b["more"] = true },
		"event: level":    func(_, e object) { e["level"] = "loud" },
		"event: fraction": func(_, e object) { e["used"] = 1.5 },
		"event: text":     func(_, e object) { e["late"] = "yes" },
		"event: no kind":  func(_, e object) { delete(e, "kind") },
		"event: more":     func(_, e object) { e["more"] = 1.0 },
	} {
		body := decoded(t, good)
		if found := problems(schema, schema, body, "body"); len(found) > 0 {
			t.Fatalf("the good one: %q", found)
		}
		spoil(body, body["events"].([]any)[0].(object))
		if len(problems(schema, schema, body, "body")) == 0 {
			t.Errorf("%s is not seen", name)
		}
	}
	if len(problems(schema, object{"minimum": 1.0}, 0.0, "x")) == 0 {
		t.Error("a word that is not checked is not seen")
	}
}

func TestAnyTextArrives(t *testing.T) {
	schema := decoded(t, webhook.Schema)
	rapid.Check(t, func(rt *rapid.T) {
		m := notify.Message{
			ID:      rapid.StringMatching(`[a-z0-9-]{1,20}`).Draw(rt, "id"),
			Subject: rapid.String().Draw(rt, "subject"),
			Text:    rapid.String().Draw(rt, "text"),
			Events: []event.Event{{
				ID: rapid.Int64Range(0, 1<<53).Draw(rt, "event"), Level: event.Critical, Label: rapid.String().Draw(rt, "label"),
				At: time.Unix(rapid.Int64Range(0, 1<<35).Draw(rt, "at"), 0), Used: rapid.Int64Range(0, 1<<53).Draw(rt, "used"),
			}},
		}
		got := posted(t, m, time.Now())
		body := decoded(t, got.body)
		if found := problems(schema, schema, body, "body"); len(found) > 0 {
			rt.Errorf("%q", found)
		}
		if body["text"] != m.Text || body["subject"] != m.Subject || body["id"] != m.ID || got.header.Get("webhook-id") != m.ID {
			rt.Errorf("%+v became %s", m, got.body)
		}
	})
}
