package ledger

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"keywheel/shared/protocol"
	"keywheel/xds/ledger/bolt"
	"keywheel/xds/ledger/store"
	"keywheel/xds/ledger/store/storetest"
)

// BenchmarkApply takes reports in, each with new usage of three keys, of 64 Envoys at once.
func BenchmarkApply(b *testing.B) {
	for _, c := range []struct {
		name string
		keys int
		disk bool
	}{{"3 keys in memory", 3, false}, {"3 keys on disk", 3, true}, {"1000 keys in memory", 1000, false}} {
		b.Run(c.name, func(b *testing.B) {
			var s store.Store = storetest.NewMemory()
			if c.disk {
				disk, err := bolt.Open(b.TempDir()+"/keywheel.db", bolt.Options{})
				if err != nil {
					b.Fatal(err)
				}
				s = disk
			}
			var keys []KeyConfig
			for i := range c.keys {
				keys = append(keys, KeyConfig{ID: fmt.Sprint(i + 1), Rank: i, Org: fmt.Sprint(i), LimitTokens: 1 << 40, Thresholds: []int{75, 90, 100}})
			}
			l, err := Open(context.Background(), Options{Store: s, Keys: keys, Policy: protocol.Policy{ReportIntervalMS: 60_000}, Now: func() time.Time { return at("10:00") }})
			if err != nil {
				b.Fatal(err)
			}
			defer func() { _ = l.Close() }()
			var n atomic.Int64
			b.SetParallelism(32)
			b.ReportAllocs()
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				e := newEnvoy(time.Now())
				e.peer = Peer{ConnID: uint64(n.Add(1))}
				for pb.Next() {
					for i := range 3 {
						e.spend(today, fmt.Sprint(i+1, ".1"), 100)
					}
					a, err := l.Apply(context.Background(), e.peer, e.report(at("10:00")))
					if err != nil {
						b.Error(err)
						return
					}
					e.take(a)
				}
			})
		})
	}
}
