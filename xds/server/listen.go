package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// maxSocketPath is the longest path of a Unix socket that every supported system takes, in bytes.
const maxSocketPath = 103

// Listen listens on addr: host:port, or unix: and a path. Only the user can reach the socket (mode 0600). An address
// that other machines reach is refused unless open: clients prove who they are by TLS, or the user wants it so. The error
// says what to change, by the setting's name.
func Listen(addr string, open bool) (net.Listener, error) {
	if path, ok := strings.CutPrefix(addr, "unix:"); ok {
		return listenUnix(path)
	}
	if !open && !loopback(addr) {
		return nil, fmt.Errorf("KEYWHEEL_XDS_ADDR: whoever reaches %s over the network gets the keys; set KEYWHEEL_TLS_CERT, KEYWHEEL_TLS_KEY and "+
			"KEYWHEEL_TLS_CA, listen on loopback or a Unix socket, or set KEYWHEEL_XDS_INSECURE=true if the network is safe", addr)
	}
	l, err := net.Listen("tcp", addr)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("KEYWHEEL_XDS_ADDR: %s is in use; end what listens there, or set KEYWHEEL_XDS_ADDR to another address", addr)
	}
	if err != nil {
		return nil, fmt.Errorf("KEYWHEEL_XDS_ADDR: %w", err)
	}
	return l, nil
}

func loopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.Unmap().IsLoopback()
}

// listenUnix makes a socket that only the user can reach. One that a dead process left behind is replaced; one that
// answers is not.
func listenUnix(path string) (net.Listener, error) {
	if len(path) > maxSocketPath {
		return nil, fmt.Errorf("KEYWHEEL_XDS_ADDR: the socket's path %s has more than %d bytes; set a shorter one, such as unix:/run/keywheel/xds.sock",
			path, maxSocketPath)
	}
	if c, err := net.Dial("unix", path); err == nil {
		_ = c.Close()
		return nil, fmt.Errorf("KEYWHEEL_XDS_ADDR: another process listens on %s; end it, or set KEYWHEEL_XDS_ADDR to another address", path)
	}
	switch info, err := os.Lstat(path); {
	case errors.Is(err, os.ErrNotExist):
		err = os.MkdirAll(filepath.Dir(path), 0o700)
		if err != nil {
			return nil, fmt.Errorf("KEYWHEEL_XDS_ADDR: %w", err)
		}
	case err != nil:
		return nil, fmt.Errorf("KEYWHEEL_XDS_ADDR: %w", err)
	case info.Mode().Type() != os.ModeSocket:
		return nil, fmt.Errorf("KEYWHEEL_XDS_ADDR: %s is there and is not a socket; set KEYWHEEL_XDS_ADDR to another path", path)
	default:
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("KEYWHEEL_XDS_ADDR: %w", err)
		}
	}
	private := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		// On Linux the socket's file takes this mode over, so that it never is open to others.
		return c.Control(func(fd uintptr) { _ = syscall.Fchmod(int(fd), 0o600) })
	}}
	l, err := private.Listen(context.Background(), "unix", path)
	if err != nil {
		return nil, fmt.Errorf("KEYWHEEL_XDS_ADDR: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil { // where it does not
		return nil, fmt.Errorf("KEYWHEEL_XDS_ADDR: %w", errors.Join(err, l.Close()))
	}
	return l, nil
}
