package metrics_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"keywheel/xds/ledger"
)

// BenchmarkScrape is a scrape of a hundred keys that ten Envoys use.
func BenchmarkScrape(b *testing.B) {
	keys := make([]ledger.KeyConfig, 100)
	for i := range keys {
		keys[i] = ledger.KeyConfig{
			ID: fmt.Sprint(i + 1), Label: "Backup", Priority: i, Rank: i, Org: fmt.Sprint("key-", i+1), Tier: "free", LimitTokens: 1_000_000,
			SecretHash: [32]byte{byte(i)},
		}
	}
	w := newWorld(b, keys)
	for n := range byte(10) {
		e := w.newEnvoy(fmt.Sprint("edge-", n), n)
		for i := range keys {
			e.spend(fmt.Sprint(i+1, ".1"), llama, 10, 1_000)
		}
		e.mustReport()
	}
	for b.Loop() {
		w.metrics.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/metrics", nil))
	}
}
