//go:build unix

package bolt_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"keywheel/xds/ledger/bolt"
	"keywheel/xds/ledger/store"
)

// The test binary runs itself with this variable set to a store's path, to be killed or to run out of room.
const (
	crashEnv = "BOLT_TEST_CRASH"
	fullEnv  = "BOLT_TEST_FULL"
)

func TestMain(m *testing.M) {
	switch {
	case os.Getenv(crashEnv) != "":
		commitForever(os.Getenv(crashEnv))
	case os.Getenv(fullEnv) != "":
		fillUp(os.Getenv(fullEnv))
	}
	os.Exit(m.Run())
}

// commitForever commits a growing number in 50 records at a time, and says each that is durable.
func commitForever(path string) {
	s, err := bolt.Open(path, bolt.Options{})
	for n := 1; err == nil; n++ {
		var writes []store.Record
		for i := range 50 {
			writes = append(writes, store.Record{Bucket: "b", Key: fmt.Sprint(i), Value: []byte(strconv.Itoa(n))})
		}
		if err = s.Commit(writes); err == nil {
			fmt.Println(n)
		}
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

func TestKilledInACommit(t *testing.T) {
	for run := range 10 {
		path := filepath.Join(t.TempDir(), "keywheel.db")
		child := exec.Command(os.Args[0])
		child.Env = append(os.Environ(), crashEnv+"="+path)
		out, err := child.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		acknowledged := 0
		for lines := bufio.NewScanner(out); acknowledged < 5+3*run && lines.Scan(); {
			acknowledged, _ = strconv.Atoi(lines.Text())
		}
		_ = child.Process.Kill()
		_ = child.Wait()
		if acknowledged == 0 {
			t.Fatal("the child committed nothing")
		}
		allAt(t, path, acknowledged)
	}
}

// allAt checks that all records are of one commit, and that it is no older than the last acknowledged.
func allAt(t *testing.T, path string, acknowledged int) {
	t.Helper()
	s := mustOpen(t, path)
	values := map[string]int{}
	if err := s.Load(func(r store.Record) error { values[string(r.Value)]++; return nil }); err != nil {
		t.Fatal(err)
	}
	for v, count := range values {
		if n, _ := strconv.Atoi(v); n < acknowledged || count != 50 {
			t.Errorf("%d records of commit %s; %d was acknowledged", count, v, acknowledged)
		}
	}
}

// fillUp commits until the disk is full, sees that the store still works, and that it goes on when there is room.
func fillUp(path string) {
	signal.Ignore(syscall.SIGXFSZ)
	s, err := bolt.Open(path, bolt.Options{})
	fatal := func(what string, err error) {
		fmt.Fprintln(os.Stderr, what, err)
		os.Exit(1)
	}
	if err != nil {
		fatal("open", err)
	}
	var limit syscall.Rlimit
	_ = syscall.Getrlimit(syscall.RLIMIT_FSIZE, &limit)
	full := limit
	full.Cur = 256 << 10
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &full); err != nil {
		fatal("limit", err)
	}
	put := func(n int) error {
		return s.Commit([]store.Record{{Bucket: "b", Key: fmt.Sprint(n), Value: make([]byte, 10_000)}})
	}
	// A commit that failed may find room among pages that were given back: which ones those are is chance.
	n := 0
	for failures := 0; failures < 3; {
		if err = put(n); err == nil {
			n, failures = n+1, 0
		} else {
			failures++
		}
		if n == 1000 {
			fatal("the disk was never full", nil)
		}
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		fatal("limit", err)
	}
	if err := put(n); err != nil {
		fatal("no recovery:", err)
	}
	if err := s.Close(); err != nil {
		fatal("close", err)
	}
	fmt.Println(n + 1)
	os.Exit(0)
}

func TestDiskFull(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keywheel.db")
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), fullEnv+"="+path)
	out, err := child.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	want, _ := strconv.Atoi(strings.TrimSpace(string(out)))
	count := 0
	if err := mustOpen(t, path).Load(func(store.Record) error { count++; return nil }); err != nil || count != want {
		t.Errorf("%d records of %d, %v", count, want, err)
	}
}
