package server_test

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"keywheel/xds/server"
)

func TestListenOnASocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "xds.sock")
	l, err := server.Listen("unix:"+path, false)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if _, err := server.Listen("unix:"+path, false); err == nil || !strings.Contains(err.Error(), "another process listens") {
		t.Errorf("twice: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("left behind: %v", err)
	}
}

func TestADeadSocketIsReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "xds.sock")
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	dead.SetUnlinkOnClose(false)
	if err := dead.Close(); err != nil {
		t.Fatal(err)
	}
	l, err := server.Listen("unix:"+path, false)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
}

func TestListenErrorsNameTheSetting(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	for addr, want := range map[string]string{
		"unix:" + file:                      "is there and is not a socket",
		"unix:/" + strings.Repeat("x", 120): "more than 103 bytes",
		busy.Addr().String():                "is in use",
		"0.0.0.0:0":                         "KEYWHEEL_TLS_CERT, KEYWHEEL_TLS_KEY and KEYWHEEL_TLS_CA",
		":0":                                "KEYWHEEL_XDS_INSECURE=true",
		"192.0.2.1:18000":                   "KEYWHEEL_XDS_INSECURE=true",
		"127.0.0.1:x":                       "port",
	} {
		l, err := server.Listen(addr, false)
		if err == nil {
			l.Close()
		}
		if err == nil || !strings.HasPrefix(err.Error(), "KEYWHEEL_XDS_ADDR: ") || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", addr, err)
		}
	}
	if content, err := os.ReadFile(file); err != nil || string(content) != "precious" {
		t.Errorf("the file: %q, %v", content, err)
	}
	for _, addr := range []string{"[::1]:0", "localhost:0", "127.0.0.1:0"} {
		l, err := server.Listen(addr, false)
		if err != nil {
			t.Errorf("%s: %v", addr, err)
			continue
		}
		l.Close()
	}
	l, err := server.Listen("0.0.0.0:0", true)
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
}
