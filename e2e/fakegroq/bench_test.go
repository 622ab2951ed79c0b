package fakegroq

import (
	"io"
	"net/http"
	"strings"
	"testing"
)

// BenchmarkCompletion is what one recorded completion costs, client included.
func BenchmarkCompletion(b *testing.B) {
	s, err := Start(Options{Keys: []Key{{Secret: one, Name: "1"}}, Remember: 1000})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	c := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64, DisableCompression: true}}
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			req, err := http.NewRequest(http.MethodPost, s.URL()+chat, strings.NewReader(hello(false)))
			if err != nil {
				b.Error(err)
				return
			}
			req.Header.Set("Authorization", "Bearer "+one)
			res, err := c.Do(req)
			if err != nil {
				b.Error(err)
				return
			}
			if _, err := io.Copy(io.Discard, res.Body); err != nil {
				b.Error(err)
				return
			}
			res.Body.Close()
		}
	})
}
