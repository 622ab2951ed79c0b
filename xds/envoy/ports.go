package envoy

import (
	"errors"
	"fmt"
	"net"
	"syscall"
)

// Port is an address that Envoy is going to listen on, and the setting that moves it.
type Port struct {
	Setting string // "KEYWHEEL_LISTEN_ADDR"
	Addr    string // host:port
}

// CheckPorts says which of ports cannot be listened on, and the setting that moves each. Envoy itself would share a
// port with another Envoy of the same user without a word.
func CheckPorts(ports ...Port) error {
	var problems []error
	for _, p := range ports {
		l, err := net.Listen("tcp", p.Addr)
		if err == nil {
			problems = append(problems, l.Close())
			continue
		}
		switch {
		case errors.Is(err, syscall.EADDRINUSE):
			err = fmt.Errorf("%s: %s is in use; end what listens there, or set %s to another address", p.Setting, p.Addr, p.Setting)
		case errors.Is(err, syscall.EACCES):
			err = fmt.Errorf("%s: this user may not listen on %s; set %s to a port above 1023", p.Setting, p.Addr, p.Setting)
		case errors.Is(err, syscall.EADDRNOTAVAIL):
			err = fmt.Errorf("%s: %s is not an address of this machine; set %s to one that is", p.Setting, p.Addr, p.Setting)
		default:
			err = fmt.Errorf("%s: %w", p.Setting, err)
		}
		problems = append(problems, err)
	}
	return errors.Join(problems...)
}
