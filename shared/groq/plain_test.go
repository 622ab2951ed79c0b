package groq

import (
	"fmt"
	"testing"
)

// FuzzPlainEvents feeds streams whole, where plain events are read in passing, and byte by byte, where the scanner reads
// all: what is found is the same.
func FuzzPlainEvents(f *testing.F) {
	const first = `"id":"1","model":"m","choices":[]}`
	for _, second := range []string{
		first, `"id":"2","model":"m","choices":[]}`, `"id":"1","model":"n","choices":[]}`, `"id":"1","choices":[]}`,
		`"id":"1","model":"m","choices":[],"usage":{"total_tokens":3}}`, `"id":"1","model":"m","choices":[{"content":"\"usage\":\\"}]}`,
		`"id":"1","model":"m","\u0075sage":{"total_tokens":3}}`, `"id":"1","model":"m","error":{"status_code":500}}`,
		`"model":"m","model":"n"}`, `"id":"\","model":"m"}`, `"id":"1","model" : "n"}`, "\"id\":\"1\",\r\"model\":\"m\"}",
	} {
		f.Add(first, second, first)
		f.Add(first, `"id":"1","model":"m","choices":[{"content":" word"}]}`, second)
		f.Add(`"id":"1","choices":[]}`, second, second)
	}
	f.Fuzz(func(t *testing.T, a, b, c string) {
		stream := []byte("data: {" + a + "\n\ndata: {" + b + "\n\ndata: {" + c + "\n\ndata: {" + b + "\n\n")
		whole, bytewise := NewMeter("text/event-stream"), NewMeter("text/event-stream")
		whole.Feed(stream)
		for i := range stream {
			bytewise.Feed(stream[i : i+1])
		}
		whole.End()
		bytewise.End()
		if got, want := finding(whole), finding(bytewise); got != want {
			t.Errorf("%q\nwhole:        %s\nbyte by byte: %s", stream, got, want)
		}
	})
}

func finding(m *Meter) string {
	status, code, failed := m.StreamError()
	return fmt.Sprintf("%+v, %d events, %d bytes, error %d %q %t, done %t", m.Usage(), m.Events(), m.Bytes(), status, code, failed, m.Done())
}
