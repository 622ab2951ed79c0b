package metrics_test

import (
	"testing"
	"time"
)

func TestWithoutTLSNoCertificateExpires(t *testing.T) {
	w := newWorld(t, threeKeys())
	const name = "keywheel_tls_certificate_expiry_timestamp_seconds"
	w.want(map[string]float64{name: float64(w.expires.Unix())})
	w.expires = time.Time{}
	if v, there := w.scrape()[name]; there {
		t.Errorf("%s is %v", name, v)
	}
}
