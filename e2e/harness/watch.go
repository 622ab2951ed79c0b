package harness

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// watch looks for the secrets of a stack's keys in every answer that its clients get.
type watch struct {
	secrets [][]writing

	mu    sync.Mutex
	leaks map[string]int // what leaked, and how often
}

func newWatch(keys []Key) *watch {
	w := &watch{leaks: map[string]int{}}
	for _, k := range keys {
		w.secrets = append(w.secrets, writings(k.Secret))
	}
	return w
}

// look takes an answer. A nil watch looks for nothing.
func (w *watch) look(a Answer) {
	if w == nil {
		return
	}
	w.find("an answer's headers", headers(a.Header)+headers(a.Trailer))
	w.find("an answer's body", string(a.Body))
}

func headers(h http.Header) string {
	var b strings.Builder
	_ = h.Write(&b) // a strings.Builder takes everything
	return b.String()
}

func (w *watch) find(where, data string) {
	for i, forms := range w.secrets {
		for _, form := range forms {
			if strings.Contains(data, form.text) {
				w.mu.Lock()
				w.leaks[where+": key "+string(rune('1'+i))+"'s secret, "+form.name]++
				w.mu.Unlock()
			}
		}
	}
}

// watched looks, when the test ends, at what a stack left: what its clients were answered, its logs and its store.
func (s *Stack) watched(t testing.TB) {
	w := newWatch(s.Keys)
	s.H1.watch, s.H2.watch = w, w
	t.Cleanup(func() {
		w.find("Keywheel's log", s.Keywheel.Log())
		if s.Envoy != nil {
			w.find("Envoy's log", s.Envoy.Log())
		}
		store, err := os.ReadFile(filepath.Join(s.Keywheel.Dir, "keywheel.db"))
		if err == nil { // a test may have moved it
			w.find("the store", string(store))
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		for leak, n := range w.leaks {
			t.Errorf("in %s (%d times)", leak, n)
		}
	})
}
