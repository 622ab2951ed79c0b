package envoy

import "syscall"

// processAttributes puts Envoy into a process group of its own and ends it when this process dies, however it dies.
func processAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
}
