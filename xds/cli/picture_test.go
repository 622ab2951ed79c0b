package cli

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"keywheel/shared/quota"
	"keywheel/xds/admin"
)

var update = flag.Bool("update", false, "write the pictures anew")

func at(hour, minute int) time.Time { return time.Date(2025, 11, 18, hour, minute, 0, 0, time.UTC) }

func ptr[T any](v T) *T { return &v }

// poolAt is a pool that is counted until midnight.
func poolAt(now time.Time, health float64, used int64, limit *int64) admin.Pool {
	return admin.Pool{Used: used, Limit: limit, Health: health, Now: now, ResetsAt: at(24, 0)}
}

func keyOf(id, label string, status quota.Status, used, limit int64) admin.Key {
	return admin.Key{ID: id, Label: label, Status: string(status), Active: status == quota.Active, UsedTokens: used, LimitTokens: &limit, Percent: ptr(quota.Percent(used, limit))}
}

func TestPictures(t *testing.T) {
	inUse := keyOf("3", "Emergency", quota.Warning, 80, 100)
	inUse.Active = true
	unlimited := admin.Key{ID: "1", Label: "Primary", Status: "active", Active: true, UsedTokens: 5}
	byRequests := admin.Key{ID: "2", Label: "Backup", Status: "standby", Requests: 30, LimitRequests: ptr(int64(100))}
	for name, tc := range map[string]struct {
		pool admin.Pool
		keys []admin.Key
	}{
		"scenario-1400": {
			poolAt(at(14, 0), 95, 22900, ptr(int64(43200))),
			[]admin.Key{keyOf("1", "Primary", quota.Exhausted, 14400, 14400), keyOf("2", "Backup", quota.Active, 8500, 14400), keyOf("3", "Emergency", quota.Standby, 0, 14400)},
		},
		"every-status": {
			poolAt(at(23, 59), 79.9, 0, ptr(int64(800))),
			[]admin.Key{
				keyOf("1", "Primary", quota.Disabled, 0, 100), keyOf("2", "Backup", quota.Invalid, 4, 100), inUse, keyOf("4", "Emergency", quota.Critical, 99, 100),
				keyOf("5", "Emergency", quota.Cooling, 45, 100), keyOf("6", "Emergency", quota.Exhausted, 120, 100), keyOf("7", "", quota.Standby, 0, 100), keyOf("8", "x", "unheard of", 0, 100),
			},
		},
		"long-and-odd-labels": {
			poolAt(at(0, 0), 100, 0, ptr(int64(300))),
			[]admin.Key{
				keyOf("1", "an account of forty characters, or nearly", quota.Active, 0, 100), keyOf("12", "東京", quota.Standby, 50, 100),
				keyOf("3", "e\u0301te\u0301", quota.Standby, 94, 100), keyOf("4", "es\x1b[2Jcape\n", quota.Standby, 95, 100),
			},
		},
		"no-limit":    {poolAt(at(12, 30), 100, 5, nil), []admin.Key{unlimited, byRequests}},
		"nobody-left": {poolAt(at(12, 0), 90, 100, ptr(int64(100))), []admin.Key{keyOf("1", "Primary", quota.Exhausted, 100, 100)}},
		"no-keys":     {poolAt(at(24, 1), 0, 0, nil), nil},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join("testdata", "pictures", name+".txt")
			got := picture(tc.pool, tc.keys)
			if *update && name != "scenario-1400" { // that one is the scenario's own
				if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func TestGauge(t *testing.T) {
	for percent, want := range map[float64]string{
		0: "░░░░░░░░░░   0%", 4.9: "░░░░░░░░░░   5%", 5: "█░░░░░░░░░   5%", 59: "██████░░░░  59%", 94.9: "█████████░  95%",
		95: "█████████░  95%", 99.9: "█████████░  99%", 100: "██████████ 100%", 130: "██████████ 130%",
	} {
		if got := gauge(admin.Key{Percent: &percent}); got != want {
			t.Errorf("%v: %q, want %q", percent, got, want)
		}
	}
}

// However keys are called, the bars begin in one column, and a full bar means 100 %.
func TestBarsAreAligned(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var keys []admin.Key
		for range rapid.IntRange(1, 5).Draw(t, "keys") {
			keys = append(keys, admin.Key{
				ID: rapid.StringMatching(`[1-9][0-9]{0,5}`).Draw(t, "id"), Label: rapid.String().Draw(t, "label"), Status: "standby",
				Percent: ptr(rapid.Float64Range(0, 200).Draw(t, "percent")),
			})
		}
		lines := strings.Split(picture(admin.Pool{}, keys), "\n")
		column := -1
		for i, key := range keys {
			line := lines[i+1]
			start := columns(line[:firstCell(line)])
			if column < 0 {
				column = start
			}
			if start != column {
				t.Fatalf("bars begin in columns %d and %d:\n%s", column, start, strings.Join(lines, "\n"))
			}
			if full := strings.Count(line[firstCell(line):], "█") == barCells; full != (*key.Percent >= 100) {
				t.Fatalf("%v %%: %s", *key.Percent, line)
			}
		}
	})
}

// firstCell is where a line's bar begins: ten cells before the last one.
func firstCell(line string) int {
	last := max(strings.LastIndex(line, "█"), strings.LastIndex(line, "░"))
	return last - (barCells-1)*len("█")
}
