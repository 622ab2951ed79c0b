package storetest

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"keywheel/xds/ledger/store"
)

// Place is where a store lives. Open opens it, or makes it where there is none; every call but the first follows a Close.
type Place interface {
	Open() (store.Store, error)
}

// Run checks that stores keep the contract. fresh makes an empty place.
func Run(t *testing.T, fresh func(t testing.TB) Place) {
	t.Run("empty", func(t *testing.T) {
		s := open(t, fresh(t))
		expect(t, s, nil)
	})
	t.Run("keeps what was committed", func(t *testing.T) { keeps(t, fresh(t)) })
	t.Run("keeps odd values", func(t *testing.T) { odd(t, fresh(t)) })
	t.Run("replaces everything", func(t *testing.T) { replaces(t, fresh(t)) })
	t.Run("stops at the caller's error", func(t *testing.T) { stops(t, fresh(t)) })
	t.Run("refuses after close", func(t *testing.T) { closed(t, fresh(t)) })
	t.Run("loaded values are the caller's", func(t *testing.T) { owned(t, fresh(t)) })
	t.Run("many at once", func(t *testing.T) { concurrent(t, fresh(t)) })
	t.Run("any history", func(t *testing.T) {
		rapid.Check(t, func(rt *rapid.T) { history(rt, fresh(t)) })
	})
}

func open(t testing.TB, p Place) store.Store {
	t.Helper()
	s, err := p.Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func load(s store.Store) ([]store.Record, error) {
	var got []store.Record
	err := s.Load(func(r store.Record) error {
		got = append(got, r)
		return nil
	})
	return got, err
}

func expect(t testing.TB, s store.Store, want []store.Record) {
	t.Helper()
	got, err := load(s)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("records (-want +got):\n%s", diff)
	}
}

func commit(t testing.TB, s store.Store, writes ...store.Record) {
	t.Helper()
	if err := s.Commit(writes); err != nil {
		t.Fatal(err)
	}
}

func rec(bucket, key, value string) store.Record {
	return store.Record{Bucket: bucket, Key: key, Value: []byte(value)}
}

func gone(bucket, key string) store.Record { return store.Record{Bucket: bucket, Key: key} }

func keeps(t *testing.T, p Place) {
	s := open(t, p)
	commit(t, s, rec("b", "2", "two"), rec("b", "1", "one"), rec("a", "z", "last"))
	commit(t, s, rec("b", "2", "zwei"), gone("a", "z"), gone("a", "never"), gone("none", "x"))
	want := []store.Record{rec("b", "1", "one"), rec("b", "2", "zwei")}
	expect(t, s, want)
	commit(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	expect(t, open(t, p), want)
}

func odd(t *testing.T, p Place) {
	s := open(t, p)
	want := []store.Record{
		{Bucket: "b", Key: "empty", Value: []byte{}},
		{Bucket: "b", Key: "large", Value: bytes.Repeat([]byte("x"), 300_000)},
		{Bucket: "b", Key: strings.Repeat("k", 1000), Value: []byte{0, 255, '\n'}},
		{Bucket: "ключ", Key: "/a b/" + "\xff", Value: []byte("é")},
	}
	slices.SortFunc(want[:3], func(a, b store.Record) int { return strings.Compare(a.Key, b.Key) })
	commit(t, s, want...)
	_ = s.Close()
	expect(t, open(t, p), want)
}

func replaces(t *testing.T, p Place) {
	s := open(t, p)
	commit(t, s, rec("a", "1", "one"), rec("b", "2", "two"))
	want := []store.Record{rec("b", "2", "zwei"), rec("c", "3", "drei")}
	if err := s.Replace(want); err != nil {
		t.Fatal(err)
	}
	expect(t, s, want)
	commit(t, s, gone("c", "3")) // it goes on from there
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, p)
	expect(t, s, want[:1])
	if err := s.Replace(nil); err != nil {
		t.Fatal(err)
	}
	expect(t, s, nil)
	_ = s.Close()
	if err := s.Replace(want); err == nil {
		t.Error("a closed store replaces")
	}
}

func stops(t *testing.T, p Place) {
	s := open(t, p)
	commit(t, s, rec("b", "1", "one"), rec("b", "2", "two"))
	mine, calls := errors.New("mine"), 0
	err := s.Load(func(store.Record) error { calls++; return mine })
	if !errors.Is(err, mine) || calls != 1 {
		t.Errorf("error %v after %d calls", err, calls)
	}
}

func closed(t *testing.T, p Place) {
	s := open(t, p)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Commit([]store.Record{rec("b", "1", "one")}); err == nil {
		t.Error("a closed store commits")
	}
	if _, err := load(s); err == nil {
		t.Error("a closed store loads")
	}
}

func owned(t *testing.T, p Place) {
	s := open(t, p)
	value := []byte("one")
	commit(t, s, store.Record{Bucket: "b", Key: "1", Value: value})
	value[0] = 'X'
	got, err := load(s)
	if err != nil {
		t.Fatal(err)
	}
	got[0].Value[1] = 'X'
	expect(t, s, []store.Record{rec("b", "1", "one")})
}

func concurrent(t *testing.T, p Place) {
	s := open(t, p)
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			if err := s.Commit([]store.Record{rec("b", fmt.Sprintf("%02d", i), "x"), rec("b", "same", "y")}); err != nil {
				t.Error(err)
			}
			if _, err := load(s); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	got, err := load(s)
	if err != nil || len(got) != 21 {
		t.Errorf("%d records, %v", len(got), err)
	}
}

// history commits at random, with reopens between, and compares with a store in memory.
func history(t *rapid.T, p Place) {
	s, err := p.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	model := NewMemory()
	for range rapid.IntRange(1, 12).Draw(t, "commits") {
		batch := map[[2]string]store.Record{}
		for range rapid.IntRange(0, 20).Draw(t, "writes") {
			r := store.Record{
				Bucket: rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "bucket"),
				Key:    rapid.StringMatching(`[a-f]{1,2}`).Draw(t, "key"),
			}
			if rapid.Bool().Draw(t, "put") {
				r.Value = bytes.Repeat([]byte{'v'}, rapid.SampledFrom([]int{0, 1, 50, 5000}).Draw(t, "size"))
			}
			batch[[2]string{r.Bucket, r.Key}] = r
		}
		var writes []store.Record
		for _, r := range batch {
			writes = append(writes, r)
		}
		if err := s.Commit(writes); err != nil {
			t.Fatal(err)
		}
		_ = model.Commit(writes)
		if rapid.IntRange(0, 9).Draw(t, "replace") == 0 {
			if err := s.Replace(model.Records()[len(model.Records())/2:]); err != nil {
				t.Fatal(err)
			}
			_ = model.Replace(model.Records()[len(model.Records())/2:])
		}
		if rapid.IntRange(0, 4).Draw(t, "reopen") == 0 {
			_ = s.Close()
			if s, err = p.Open(); err != nil {
				t.Fatal(err)
			}
		}
	}
	got, err := load(s)
	if err != nil {
		t.Fatal(err)
	}
	want := model.Records()
	if len(want) == 0 {
		want = nil
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("records (-want +got):\n%s", diff)
	}
}
