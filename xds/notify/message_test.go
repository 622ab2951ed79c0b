package notify

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"keywheel/xds/event"
)

// waiting is n notifications that nobody has tried to send yet.
func waiting(n int) []event.Notification {
	out := make([]event.Notification, n)
	for i := range out {
		id := fmt.Sprintf("id-%d", i+1)
		e := crossing(75, event.Warning, 10800)
		e.Key, e.ID = fmt.Sprint(i+1), int64(i+1)
		out[i] = event.Notification{Seq: int64(i + 1), ID: id, Message: id, Event: e}
	}
	return out
}

func TestFewGoOutOneByOne(t *testing.T) {
	for n := 1; n <= few; n++ {
		p := pack(waiting(n), 4096)
		if len(p.items) != 1 || p.message.ID != "id-1" || p.message.Text != storyWarning {
			t.Errorf("of %d that wait: %d in message %+v", n, len(p.items), p.message)
		}
	}
}

func TestBurstIsAList(t *testing.T) {
	p := pack(waiting(50), 4096)
	if len(p.items) != 50 || p.message.ID != "id-1" || len(p.message.Events) != 50 || p.message.Subject != "⚠️ WARNING: 50 notices" {
		t.Errorf("%d in %+v", len(p.items), p.message)
	}
	if lines := strings.Split(p.message.Text, "\n"); len(lines) != 52 || lines[2] != "• 10:00 ⚠️ WARNING: Groq Key 1 at 75%" {
		t.Errorf("text %q", p.message.Text)
	}
}

// What went out together, and may have arrived, goes out together again, whatever came after it.
func TestBundleStaysTogether(t *testing.T) {
	all := waiting(9)
	for i := range 5 {
		all[i].Message = "id-1"
	}
	p := pack(all, 4096)
	if len(p.items) != 5 || p.message.ID != "id-1" {
		t.Errorf("%d in message %s", len(p.items), p.message.ID)
	}
	all = all[5:]
	if p := pack(all, 4096); len(p.items) != 4 || p.message.ID != "id-6" {
		t.Errorf("%d in message %s", len(p.items), p.message.ID)
	}
}

// However many wait and however short messages must be, each goes into exactly one, in order, and none is too long.
func TestPackTakesAll(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		left := waiting(rapid.IntRange(1, 300).Draw(t, "waiting"))
		most := rapid.SampledFrom([]int{0, 150, 500, 2000, 4096}).Draw(t, "most")
		for i := range left {
			left[i].Event.At = left[i].Event.At.Add(time.Duration(i) * time.Minute)
			if rapid.IntRange(0, 9).Draw(t, "long") == 0 {
				left[i].Event.Kind, left[i].Event.Detail = event.Rejected, strings.Repeat("🧨", 200)
			}
		}
		for len(left) > 0 {
			p := pack(left[:min(len(left), maxList)], most)
			if len(p.items) == 0 || p.items[0].ID != left[0].ID || len(p.message.Events) != len(p.items) {
				t.Fatalf("%d of %d, first %s", len(p.items), len(left), left[0].ID)
			}
			if most > 0 && units(p.message.Text) > most {
				t.Fatalf("%d units, at most %d", units(p.message.Text), most)
			}
			left = left[len(p.items):]
		}
	})
}
