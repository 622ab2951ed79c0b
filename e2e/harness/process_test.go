package harness

import (
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
)

func shell(t *testing.T, script string) *Process {
	t.Helper()
	return start(t, command{name: "sh", path: "/bin/sh", args: []string{"-c", script}, env: []string{"PATH=" + os.Getenv("PATH"), "ONLY=this"}})
}

// A child gets the environment that it was given, what it writes is kept, and its exit code is told.
func TestProcessEndsByItself(t *testing.T) {
	p := shell(t, `echo "only=$ONLY home=$HOME"; echo oops >&2; exit 3`)
	if code := p.Wait(t); code != 3 {
		t.Errorf("exit code %d", code)
	}
	if log := p.Log(); !strings.Contains(log, "only=this home=\n") || !strings.Contains(log, "oops\n") {
		t.Errorf("log %q", log)
	}
	if p.alive() == nil {
		t.Error("an ended process is called alive")
	}
	p.Signal(t, syscall.SIGTERM) // does nothing
}

// A child ends by SIGTERM and by SIGKILL, its own children too by the latter.
func TestProcessIsEnded(t *testing.T) {
	p := shell(t, `trap 'kill $!; echo bye; exit 7' TERM; sleep 1000 & echo ready; wait`)
	p.WaitLog(t, "ready")
	if code := p.Terminate(t); code != 7 || !strings.Contains(p.Log(), "bye") {
		t.Errorf("exit code %d, log %q", code, p.Log())
	}
	p = shell(t, `trap '' TERM; sleep 1000 & echo child=$!; wait`)
	p.WaitLog(t, "child=")
	p.Kill(t)
	if code := p.Wait(t); code != -1 {
		t.Errorf("exit code %d after SIGKILL", code)
	}
}

// Addresses given out can be listened on, and none is given out twice.
func TestFreeAddr(t *testing.T) {
	seen := map[string]bool{}
	for range 50 {
		addr := FreeAddr(t)
		if seen[addr] {
			t.Fatalf("%s was given out twice", addr)
		}
		seen[addr] = true
		ln, err := net.Listen("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		if err := ln.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// tail keeps whole lines.
func TestTail(t *testing.T) {
	if got := tail("one\ntwo\nthree\n", 9); got != "…\nthree\n" {
		t.Errorf("%q", got)
	}
	if got := tail("short", 9); got != "short" {
		t.Errorf("%q", got)
	}
}
