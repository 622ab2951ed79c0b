//go:build unix && !linux

package envoy

import "syscall"

// processAttributes puts Envoy into a process group of its own. It outlives this process if that is killed.
func processAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true}
}
