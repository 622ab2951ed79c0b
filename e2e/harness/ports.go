package harness

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
)

// Ports given out lie below those that the kernel gives to outgoing connections, so that none of those takes one
// between the test's look and the child's bind.
const (
	firstPort = 20000
	lastPort  = 32000
)

// FreeAddr returns a host:port of 127.0.0.1 that nobody listens on. It is the test's own until the test ends, also
// against other test binaries: two Envoys on one port would not fail, they would share it.
func FreeAddr(t testing.TB) string {
	t.Helper()
	dir := filepath.Join(os.TempDir(), "keywheel-e2e-ports")
	if err := os.MkdirAll(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	for range 1000 {
		port := firstPort + rand.IntN(lastPort-firstPort)
		lock, err := lockPort(filepath.Join(dir, strconv.Itoa(port)))
		if err != nil {
			continue // another's
		}
		addr := fmt.Sprintf("127.0.0.1:%d", port)
		ln, err := net.Listen("tcp", addr)
		if err != nil {
			_ = lock.Close()
			continue
		}
		if err := ln.Close(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = lock.Close() }) // the file stays: removing it would race with others' locks
		return addr
	}
	t.Fatal("no free port on 127.0.0.1")
	return ""
}

// lockPort takes the lock of a port for as long as the file is open.
func lockPort(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o666)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}
