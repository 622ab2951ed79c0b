package e2e

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"keywheel/e2e/fakegroq"
	"keywheel/e2e/harness"
)

// day is the user's day: three keys, a control plane whose clock the test moves, and an Envoy beside it.
type day struct {
	*harness.Stack
	now  time.Time // that the control plane's clock shows
	done []dayCall // in the window of now

	told        *people
	link        string        // to the page, as the terminal shows it
	teams       []string      // that make calls in turn; nil: nobody says who it is
	least, most time.Duration // that the calls of the first day took: as the simulated Groq waited, and as clients saw it
}

// dotEnv is the user's settings file, as the story has it.
func dotEnv(keys []harness.Key) string {
	var b strings.Builder
	for i, k := range keys {
		fmt.Fprintf(&b, "GROQ_API_KEY_%s=%s\nGROQ_KEY_%[1]s_PRIORITY=%[3]d\nGROQ_KEY_%[1]s_DAILY_LIMIT=%[4]d\n", k.ID, k.Secret, i+1, dayLimit)
	}
	fmt.Fprintf(&b, "KEYWHEEL_REQUIRED_TOKENS=%d\n", dayNeed)
	return b.String()
}

// startDay starts everything at 08:00. settings are further lines of the settings file.
func startDay(t *testing.T, settings ...string) *day {
	t.Helper()
	harness.EnvoyBinary(t)
	keys := harness.Keys(3, 0)
	d := &day{Stack: &harness.Stack{Keys: keys}, now: dayTime("08:00"), told: startPeople(t)}
	d.Groq = harness.StartGroq(t, fakegroq.Options{}, keys)
	d.Keywheel = harness.NewKeywheel(t, harness.KeywheelOptions{
		Upstream: d.Groq.URL(), Args: []string{"--now", d.now.Format(time.RFC3339), "--speed", "0"},
	})
	if err := os.WriteFile(filepath.Join(d.Keywheel.Dir, ".env"), []byte(dotEnv(keys)+d.told.dotEnv()+strings.Join(settings, "\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	d.H1, d.H2 = harness.NewClient(t, d.Keywheel.Listen, false), harness.NewClient(t, d.Keywheel.Listen, true)
	d.link = d.Keywheel.StartOnTerminal(t, "serve")
	d.Envoy = harness.NewEnvoy(t, d.Keywheel.EnvoyConfig(t))
	d.Envoy.Start(t)
	d.Envoy.WaitAssigned(t)
	d.Keywheel.WaitFollowed(t)
	return d
}

// call makes one call of the day, in one of the ways that clients have.
func (d *day) call(t *testing.T, c dayCall) {
	t.Helper()
	client := d.H1
	if c.number%2 == 0 {
		client = d.H2
	}
	prompt := c.tokens * 2 / 3
	script := fakegroq.Rule{Prompt: prompt, Completion: c.tokens - prompt}
	if c.number%50 == 0 {
		script.Silence = fakegroq.Duration(daySilence)
		d.least += daySilence
	}
	begun := time.Now()
	call := harness.Call{Stream: c.number%50 == 0 || c.number%3 == 0, IncludeUsage: c.number%9 == 0, Script: script}
	if d.teams != nil {
		call.Header = http.Header{"X-Team": {d.teams[c.number%len(d.teams)]}}
	}
	a := client.Do(t, call)
	d.most += time.Since(begun)
	if a.Status != 200 || a.Err != nil || a.Key != c.key {
		t.Fatalf("call #%d, which key %s must serve: %s", c.number, c.key, a)
	}
	if tried := harness.KeysOf(d.Attempts(t, a.Tag)); tried != c.key {
		t.Fatalf("call #%d was tried with keys %q", c.number, tried)
	}
	d.done = append(d.done, c)
}

// daySilence is how long Groq says nothing within some of the day's answers.
const daySilence = 300 * time.Millisecond

// play makes the calls that are due at the present time, and looks at the account after those that the story tells of.
func (d *day) play(t *testing.T, calls []dayCall) {
	t.Helper()
	for _, c := range calls {
		if !c.at.Equal(d.now) {
			continue
		}
		d.call(t, c)
		if c.number == 144 || c.number == 145 {
			d.check(t)
		}
	}
	d.check(t)
	d.AssertOracle(t)
}

// move moves the clock, and looks at the account at the new time.
func (d *day) move(t *testing.T, to time.Time) {
	t.Helper()
	d.Keywheel.MoveClock(t, to, 0)
	d.now = to
	d.check(t)
}

// keyShown is what the admin API says of a key.
type keyShown struct {
	ID        string    `json:"id"`
	Label     string    `json:"label"`
	Status    string    `json:"status"`
	Active    bool      `json:"active"`
	Used      int64     `json:"used_tokens"`
	Limit     int64     `json:"limit_tokens"`
	Remaining int64     `json:"remaining_tokens"`
	Percent   float64   `json:"percent"`
	Requests  int64     `json:"requests"`
	Health    float64   `json:"health"`
	ResetsAt  time.Time `json:"resets_at"`
}

// poolShown is what it says of all keys together.
type poolShown struct {
	Used      int64     `json:"used"`
	Limit     int64     `json:"limit"`
	Remaining int64     `json:"remaining"`
	Percent   float64   `json:"percent"`
	Health    float64   `json:"health"`
	KeyInUse  string    `json:"key_in_use"`
	Window    string    `json:"window"`
	Now       time.Time `json:"now"`
	ResetsAt  time.Time `json:"resets_at"`
	Requests  int64     `json:"requests"`
	Succeeded int64     `json:"succeeded"`
	Refused   int64     `json:"refused"`
	Rotations int64     `json:"rotations"`
	Rescues   int64     `json:"rescues"`
}

// expected is what the API must show after the calls that were made, by the story's words.
func (d *day) expected() ([]keyShown, poolShown) {
	midnight := d.now.Truncate(24 * time.Hour).Add(24 * time.Hour)
	pool := poolShown{
		Limit: 3 * dayLimit, Health: 100, Window: d.now.Format(time.DateOnly), Now: d.now, ResetsAt: midnight,
		Requests: int64(len(d.done)), Succeeded: int64(len(d.done)),
	}
	var keys []keyShown
	for i, label := range []string{"Primary", "Backup", "Emergency"} {
		id := strconv.Itoa(i + 1)
		used, n := dayUse(d.done, id)
		k := keyShown{
			ID: id, Label: label, Used: used, Limit: dayLimit, Remaining: dayLimit - used, Percent: percentOf(used, dayLimit),
			Requests: int64(n), Health: 100, ResetsAt: midnight,
		}
		switch {
		case k.Remaining < dayNeed:
			k.Status = "exhausted"
			pool.Health -= 5
		case pool.KeyInUse == "":
			k.Status, k.Active, pool.KeyInUse = "active", true, id
		default:
			k.Status = "standby"
		}
		if k.Status != "exhausted" && k.Percent >= 90 {
			k.Status = "critical"
		} else if k.Status != "exhausted" && k.Percent >= 75 {
			k.Status = "warning"
		}
		if i > 0 && n > 0 {
			pool.Rotations++
		}
		pool.Used += used
		keys = append(keys, k)
	}
	pool.Remaining, pool.Percent = pool.Limit-pool.Used, percentOf(pool.Used, pool.Limit)
	return keys, pool
}

// check waits until the account is as it must be after the calls that were made.
func (d *day) check(t *testing.T) {
	t.Helper()
	wantKeys, wantPool := d.expected()
	harness.Eventually(t, "the account at "+d.now.Format(time.DateTime), func() error {
		var keys []keyShown
		var pool poolShown
		d.Keywheel.API(t, "/api/v1/keys", &keys)
		d.Keywheel.API(t, "/api/v1/pool", &pool)
		diff := cmp.Diff(wantKeys, keys) + cmp.Diff(wantPool, pool)
		if diff != "" {
			return errors.New("(-want +got):\n" + diff)
		}
		return nil
	})
}

// The user's day of the story, played to the shipped binary with a real Envoy: 450 calls, of which none fails; each
// figure at its time; one change of key; every line of the log. Then a midnight for which no control plane is there.
func TestDay(t *testing.T) {
	d := startDay(t)
	d.check(t)
	d.assertFreshScores(t)
	calls := dayCalls()
	for {
		d.play(t, calls)
		if d.now.Equal(dayTime("18:00")) {
			break
		}
		d.move(t, d.now.Add(15*time.Minute))
		if d.now.Equal(dayTime("14:00")) {
			d.assertPicture(t)
		}
	}
	d.assertEnd(t)
	d.assertSummary(t)
	d.evening(t)
	d.midnight(t, calls)
	d.nextMidnight(t)
	assertGolden(t, "day_after.golden", logLines(d.Keywheel.Log()))
	d.assertTold(t)
}

// assertFreshScores looks at what fresh keys are worth: 40 for quota, 30 for health, and up to 10 for the rank.
func (d *day) assertFreshScores(t *testing.T) {
	t.Helper()
	var keys []struct {
		Score float64 `json:"score"`
	}
	d.Keywheel.API(t, "/api/v1/keys", &keys)
	if got := fmt.Sprint(keys); got != "[{80} {75} {70}]" {
		t.Errorf("the keys' scores are %s", got)
	}
}

// picture is the story's, at 14:00, and below it the pool's capacity.
const picture = `🟢 Groq (3 keys) - Health: 95%
Key 1 (Primary)    ██████████ 100% 🔴 Exhausted
Key 2 (Backup)     ██████░░░░  59% ✅ Active
Key 3 (Emergency)  ░░░░░░░░░░   0% ⏸ Standby
Resets in: 10h 00m
Pool: 22,900 / 43,200 tokens (53.0%)
`

func (d *day) assertPicture(t *testing.T) {
	t.Helper()
	stdout, stderr, exit := d.Keywheel.Output(t, "status")
	if diff := cmp.Diff(picture, stdout); diff != "" || stderr != "" || exit != 0 {
		t.Errorf("keywheel status: exit code %d, %q (-want +got):\n%s", exit, stderr, diff)
	}
}

// assertEnd looks at the end of work once more, without what expected knows.
func (d *day) assertEnd(t *testing.T) {
	t.Helper()
	pool, keys := d.Keywheel.Pool(t), d.Keywheel.Keys(t)
	if pool.Used != 24634 || pool.Requests != 450 || pool.Succeeded != 450 || pool.Rotations != 1 {
		t.Errorf("the day ended with %+v", pool)
	}
	for id, want := range map[string]string{"1": "144 / 14400", "2": "306 / 10234", "3": "0 / 0"} {
		if got := fmt.Sprintf("%d / %d", keys[id].Requests, keys[id].UsedTokens); got != want {
			t.Errorf("key %s: %s, want %s", id, got, want)
		}
	}
	if got := d.Groq.Truth().Received; got != 450 {
		t.Errorf("Groq received %d requests", got)
	}
}

// evening passes without a call.
func (d *day) evening(t *testing.T) {
	t.Helper()
	for d.now.Before(dayTime("23:45")) {
		d.now = d.now.Add(15 * time.Minute)
		d.Keywheel.SetClock(t, d.now, 0)
	}
	d.check(t)
}

// midnight passes while no control plane is there: it is stopped at 23:58 and started at 00:05. Envoy begins the new day
// by itself.
func (d *day) midnight(t *testing.T, calls []dayCall) {
	t.Helper()
	const speed = 20 // midnight is seconds away: time enough to stop the control plane before, also on a slow machine
	moved := d.Keywheel.MoveClock(t, dayTime("23:57").Add(50*time.Second), speed)
	waitClock(t, moved, dayTime("23:58"))
	d.Keywheel.Terminate(t)
	newDay := dayTime("23:45").Add(15 * time.Minute)
	if at := moved.Latest(time.Now()); !at.Before(newDay) {
		t.Fatalf("the control plane was stopped at %s only", at)
	}
	assertGolden(t, "day.golden", logLines(d.Keywheel.Log()))
	waitClock(t, moved, newDay.Add(time.Second))
	d.done = nil
	d.call(t, dayCall{number: 1, key: "1", tokens: 150}) // whom key 2 served yesterday

	d.now = newDay.Add(5 * time.Minute)
	d.Keywheel.SetArgs("--now", d.now.Format(time.RFC3339), "--speed", "0")
	d.Keywheel.Start(t, "serve")
	d.check(t)
	d.Keywheel.WaitLog(t, "+150 tokens")
	d.Keywheel.WaitLog(t, "New day")
	d.Keywheel.WaitLog(t, "📊 Daily Summary (2025-11-18)")

	// With the clock turned back the account shows yesterday.
	today := d.done
	d.now, d.done = newDay.Add(-time.Second), calls
	d.Keywheel.SetClock(t, d.now, 0)
	d.check(t)
	d.now, d.done = newDay.Add(15*time.Minute), today
	d.Keywheel.MoveClock(t, d.now, 0)
	d.check(t)
}

// nextMidnight passes with the control plane there.
func (d *day) nextMidnight(t *testing.T) {
	t.Helper()
	d.now, d.done = d.now.Truncate(24*time.Hour).Add(24*time.Hour), nil
	d.Keywheel.MoveClock(t, d.now, 0)
	d.check(t)
	d.Keywheel.WaitLog(t, "📊 Daily Summary (2025-11-19)")
	d.call(t, dayCall{number: 1, key: "1", tokens: 200})
	d.check(t)
	told := int64(0)
	for _, tokens := range harness.Oracle(d.Groq, d.Keys) {
		told += tokens
	}
	if want := int64(24634 + 150 + 200); told != want {
		t.Errorf("Groq told of %d tokens in all, want %d", told, want)
	}
}

// waitClock returns once a moved clock has passed a time.
func waitClock(t *testing.T, moved harness.Moved, at time.Time) {
	t.Helper()
	harness.Eventually(t, "it is "+at.Format(time.TimeOnly), func() error {
		if now := moved.Earliest(time.Now()); now.Before(at) {
			return fmt.Errorf("it is %s", now.Format(time.TimeOnly))
		}
		return nil
	})
}
