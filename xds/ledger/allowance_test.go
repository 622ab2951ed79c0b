package ledger

import (
	"testing"

	"pgregory.net/rapid"

	"keywheel/shared/protocol"
)

func TestMeter(t *testing.T) {
	for _, c := range []struct {
		name        string
		m           meter
		held        int64
		n           int
		room, fresh int64
	}{
		{"nobody yet", meter{limit: 100_000}, 0, 0, 98_000, 2000},
		{"the first", meter{limit: 100_000, fresh: 2000}, 0, 1, 98_000, 1000},
		{"one, converged", meter{limit: 100_000, held: 98_000, fresh: 1000}, 98_000, 1, 98_000, 1000},
		{"one, half way", meter{limit: 100_000, spent: 50_000, held: 48_000, fresh: 1000}, 48_000, 1, 48_000, 1000},
		{"one, below a quarter: fresh is still out", meter{limit: 100_000, spent: 75_010, held: 22_990, fresh: 1000}, 22_990, 1, 23_990, 0},
		{"one, below a quarter", meter{limit: 100_000, spent: 75_010, held: 23_990}, 23_990, 1, 24_990, 0},
		{"one, the last token", meter{limit: 100_000, spent: 99_999}, 0, 1, 1, 0},
		{"one, beyond", meter{limit: 100_000, spent: 104_000}, 0, 1, 0, 0},
		{"the second finds little", meter{limit: 100_000, held: 98_000, fresh: 1000}, 0, 2, 1000, 1000},
		{"the first gives up half", meter{limit: 100_000, held: 99_000, fresh: 1000}, 98_000, 2, 49_000, 1000},
		{"then the second has its share", meter{limit: 100_000, held: 50_000, fresh: 1000}, 1000, 2, 49_000, 1000},
		{"newcomers took of what is held back", meter{limit: 100_000, spent: 200, held: 99_000, fresh: 1000}, 49_000, 2, 49_000, 400},
		{"about a share is left alone", meter{limit: 100_000, spent: 10_000, held: 88_000, fresh: 1000}, 39_000, 2, 39_000, 1000},
		{"a small limit: nobody yet", meter{limit: 14_400}, 0, 0, 14_400, 288},
		{"a small limit: nothing is held back", meter{limit: 14_400, held: 14_112, fresh: 0}, 14_112, 1, 14_400, 0},
		{"a limit of one request", meter{limit: 1}, 0, 1, 1, 0},
		{"no limit", meter{}, 0, 1, 0, protocol.Unlimited},
		{"limit lowered below use", meter{limit: 100, spent: 500, held: 300}, 300, 1, 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := c.m.room(c.held, c.n); got != c.room {
				t.Errorf("room %d, want %d", got, c.room)
			}
			if got := c.m.nextFresh(c.n); got != c.fresh {
				t.Errorf("fresh %d, want %d", got, c.fresh)
			}
		})
	}
}

func TestRoomIsNeverMoreThanThereIs(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := meter{limit: rapid.Int64Range(1, 1<<53).Draw(t, "limit")}
		m.spent = rapid.Int64Range(0, m.limit+m.limit/8).Draw(t, "spent")
		mine := rapid.Int64Range(0, m.limit).Draw(t, "mine")
		m.held = mine + rapid.Int64Range(0, m.limit).Draw(t, "others")
		m.fresh = rapid.Int64Range(0, m.limit/heldBackPart).Draw(t, "fresh")
		n := rapid.IntRange(1, 9).Draw(t, "n")
		room := m.room(mine, n)
		if room < 0 {
			t.Fatalf("room %d", room)
		}
		if more := room - mine; more > 0 && more > m.unallotted()-m.fresh {
			t.Fatalf("%d more from %d unallotted of which %d are promised", more, m.unallotted(), m.fresh)
		}
		if fresh := m.nextFresh(n); fresh < 0 || fresh > max(0, m.unallotted()) || 2*fresh > m.limit/heldBackPart {
			t.Fatalf("fresh %d of %d unallotted", fresh, m.unallotted())
		}
	})
}

func TestGrantIsLoweredWhenAcknowledged(t *testing.T) {
	g := grant{offered: notOffered}
	g.offer(1000, 5)
	g.offer(400, 6)
	g.offer(300, 7) // what came between is as high as 400
	if g.granted != 1000 || g.hold(100) != 900 {
		t.Fatalf("an offer holds before it is acknowledged: %+v", g)
	}
	g.acknowledge(5, 100)
	if g.granted != 1000 {
		t.Fatalf("lowered by an older generation: %+v", g)
	}
	g.acknowledge(6, 450)
	if g.granted != 450 {
		t.Fatalf("what is reserved was taken away: %+v", g)
	}
	g.acknowledge(7, 420) // a part of it came back unspent
	if g.granted != 420 {
		t.Fatalf("what came back is still held: %+v", g)
	}
	lower := g
	lower.offer(200, 8)
	if lower.acknowledge(7, 100); lower.granted != 420 {
		t.Fatalf("lowered before it is acknowledged: %+v", lower)
	}
	if lower.acknowledge(8, 100); lower.granted != 200 {
		t.Fatalf("not lowered: %+v", lower)
	}
	if g.acknowledge(7, 100); g.granted != 400 || g.lowerAt != 0 {
		t.Fatalf("what came back is still held: %+v", g)
	}
	g.offer(300, 8)
	g.offer(2000, 9)
	g.acknowledge(8, 0)
	if g.granted != 2000 {
		t.Fatalf("a higher offer is out: %+v", g)
	}
	g.forfeit(123)
	if g.hold(123) != 0 || g.offered != notOffered {
		t.Fatalf("the dead hold: %+v", g)
	}
}
