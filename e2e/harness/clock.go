package harness

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"
)

// SetArgs replaces what stands after the command, from the next start on.
func (k *Keywheel) SetArgs(args ...string) { k.args = args }

// Moved is a clock that was moved, and when: somewhere between two instants of the host's clock.
type Moved struct {
	To       time.Time
	Speed    float64
	From, By time.Time
}

// Earliest is the least that the moved clock can show at an instant of the host's.
func (m Moved) Earliest(host time.Time) time.Time { return m.since(host.Sub(m.By)) }

// Latest is the most that the moved clock can show at an instant of the host's.
func (m Moved) Latest(host time.Time) time.Time { return m.since(host.Sub(m.From)) }

func (m Moved) since(d time.Duration) time.Time {
	return m.To.Add(time.Duration(float64(d) * m.Speed))
}

// SetClock moves the virtual clock of a Keywheel that was started with --now.
func (k *Keywheel) SetClock(t testing.TB, to time.Time, speed float64) Moved {
	t.Helper()
	body, err := json.Marshal(map[string]any{"now": to.UTC(), "speed": speed})
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(Context(t), http.MethodPut, "http://"+k.Admin+"/api/v1/clock", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+k.Token(t))
	req.Header.Set("Content-Type", "application/json")
	req.Close = true
	m := Moved{To: to, Speed: speed, From: time.Now()}
	res, err := direct.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("set the clock to %s: %d %s, %v", to, res.StatusCode, answer, err)
	}
	m.By = time.Now()
	return m
}

// MoveClock is SetClock, and returns once every connected Envoy goes by the clock as it is now. A moved clock is a new
// assignment; an Envoy that shows its generation, as taken from the answer to a report, has the clock too.
func (k *Keywheel) MoveClock(t testing.TB, to time.Time, speed float64) Moved {
	t.Helper()
	before := map[string]int64{}
	for _, p := range k.WaitFollowed(t) {
		before[p.Incarnation] = p.Config
	}
	m := k.SetClock(t, to, speed)
	Eventually(t, "Envoy follows the clock", func() error {
		for _, p := range k.Proxies(t) {
			if was, known := before[p.Incarnation]; known && p.Config <= was {
				return fmt.Errorf("Envoy has assignment %d as before", was)
			}
		}
		return nil
	})
	k.WaitFollowed(t)
	return m
}

// WaitFollowed returns once at least one Envoy is connected, and each goes by the newest assignment that it was sent.
func (k *Keywheel) WaitFollowed(t testing.TB) []ProxyState {
	t.Helper()
	var connected []ProxyState
	Eventually(t, "Envoy goes by its assignment", func() error {
		connected = nil
		for _, p := range k.Proxies(t) {
			if !p.Connected {
				continue
			}
			if p.Config == 0 || p.Generation < p.Config {
				return fmt.Errorf("Envoy was sent assignment %d and goes by %d", p.Config, p.Generation)
			}
			connected = append(connected, p)
		}
		if len(connected) == 0 {
			return errors.New("no Envoy is connected")
		}
		return nil
	})
	return connected
}
