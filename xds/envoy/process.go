package envoy

import (
	"io"
	"os/exec"
	"runtime"
	"syscall"
	"time"
)

// process is a started Envoy. It is alone in its process group, so that what is typed at the terminal reaches it only
// through its Supervisor.
type process struct {
	pid  int
	done chan struct{} // closed when it has ended
	err  error         // how it ended; to be read after done
}

// startProcess starts a program that writes its log to out and ends at the latest with this process.
func startProcess(binary string, args, environ []string, out io.Writer) (*process, error) {
	cmd := exec.Command(binary, args...)
	cmd.Env = environ
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = processAttributes()
	cmd.WaitDelay = time.Second // for a log that something else holds open
	p := &process{done: make(chan struct{})}
	started := make(chan error)
	go func() {
		// The kernel takes the end of the thread that started Envoy for the end of its parent, and tells Envoy to stop.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		if err := cmd.Start(); err != nil {
			started <- err
			return
		}
		p.pid = cmd.Process.Pid
		started <- nil
		p.err = cmd.Wait()
		close(p.done)
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	return p, nil
}

// signal sends sig to Envoy and whatever wraps it. A process that has ended is left alone.
func (p *process) signal(sig syscall.Signal) {
	select {
	case <-p.done:
	default:
		_ = syscall.Kill(-p.pid, sig)
	}
}
