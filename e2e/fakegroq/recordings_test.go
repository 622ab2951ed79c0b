package fakegroq

import (
	"encoding/json"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"testing"
)

// recordings is where recorded exchanges with Groq lie, if they are there. They are no part of this repository.
const recordings = "../../../shared/groq-recordings"

// Every field of the simulated answers occurs in recorded ones of the same kind, with the same type.
func TestShapesOccurInRecordings(t *testing.T) {
	if _, err := os.Stat(recordings); err != nil {
		t.Skipf("the recordings are not there: %v", err)
	}
	s := start(t, Options{})
	c := client(t, false, nil)
	kinds := []struct{ glob, path, body string }{
		{"json-*", chat, hello(false)},
		{"stream-*", chat, strings.Replace(hello(true), "{", `{"stream_options":{"include_usage":true},`, 1)},
		{"responses-*", "/openai/v1/responses", `{"model":"m","input":"x"}`},
	}
	for _, k := range kinds {
		seen := recordedShapes(t, k.glob)
		r, err := post(t, c, s, one, k.path, k.body, "prompt=5,completion=6,cached=1,usage=both")
		if err != nil {
			t.Fatal(err)
		}
		checkShapes(t, k.path+" "+k.glob, seen, r.body)
	}
	seen := recordedShapes(t, "err-*")
	for name, f := range faults {
		if f.html || f.status/100 == 2 { // a success without a body
			continue
		}
		r, err := post(t, c, s, one, chat, hello(false), "fault="+string(name))
		if err != nil {
			t.Fatal(err)
		}
		checkShapes(t, string(name), seen, r.body)
	}
}

// recordedShapes is the union of all fields, with their types, of the recordings that match.
func recordedShapes(t *testing.T, glob string) map[string]bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(recordings, glob, "body.bin"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no recording matches %s: %v", glob, err)
	}
	seen := map[string]bool{}
	for _, file := range files {
		body, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for path := range shapes(body) {
			seen[path] = true
		}
	}
	return seen
}

func checkShapes(t *testing.T, what string, seen map[string]bool, body []byte) {
	t.Helper()
	own := shapes(body)
	if len(own) == 0 {
		t.Errorf("%s: no JSON in %.200s", what, body)
	}
	var strange []string
	for path := range own {
		if !seen[path] {
			strange = append(strange, path)
		}
	}
	sort.Strings(strange)
	if len(strange) > 0 {
		t.Errorf("%s: not seen in recordings: %s", what, strings.Join(strange, ", "))
	}
}

// shapes are the paths of a body's fields with their types; of an event stream's, those of all its events.
func shapes(body []byte) map[string]bool {
	found := map[string]bool{}
	var walk func(path string, v any)
	walk = func(path string, v any) {
		switch v := v.(type) {
		case map[string]any:
			for name, field := range v {
				walk(path+"."+name, field)
			}
		case []any:
			found[path+": array"] = true
			for _, element := range v {
				walk(path+"[]", element)
			}
		case nil:
			found[path+": null"] = true
		case string:
			found[path+": text"] = true
		case float64:
			found[path+": number"] = true
		case bool:
			found[path+": bool"] = true
		}
	}
	var v any
	if json.Unmarshal(body, &v) == nil {
		walk("", v)
		return found
	}
	for line := range strings.Lines(string(body)) {
		data, isData := strings.CutPrefix(line, "data: ")
		if isData && json.Unmarshal([]byte(data), &v) == nil {
			walk("", v)
		}
		v = nil
	}
	return found
}
