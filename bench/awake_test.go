package bench

import (
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"
	"unsafe"
)

// spinning is set in the environment of a process that only spins.
const spinning = "KEYWHEEL_BENCH_SPIN"

// awake keeps every processor from sleeping until the returned function is called, by processes that run only where nothing
// else does. Between the steps of one connection's calls both processors have nothing to do; one of a virtual machine that
// sleeps then takes longer to wake than a call takes, and may come back with cold caches.
func awake(t testing.TB) (sleep func()) {
	t.Helper()
	var spinners []*exec.Cmd
	for range runtime.NumCPU() {
		s := exec.Command(os.Args[0], "-test.run", "^$")
		s.Env = append(os.Environ(), spinning+"=1")
		s.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		if err := s.Start(); err != nil {
			t.Fatal(err)
		}
		spinners = append(spinners, s)
	}
	return func() {
		for _, s := range spinners {
			_ = s.Process.Kill()
			_ = s.Wait() // it was killed
		}
	}
}

// spin never returns.
func spin() {
	const idle = 5 // SCHED_IDLE
	runtime.LockOSThread()
	priority := int32(0)
	if _, _, err := syscall.RawSyscall(syscall.SYS_SCHED_SETSCHEDULER, 0, idle, uintptr(unsafe.Pointer(&priority))); err != 0 {
		os.Exit(1) // it would take time from what is measured
	}
	for {
		runtime.Gosched() // to nobody
	}
}
