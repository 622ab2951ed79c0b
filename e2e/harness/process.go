package harness

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
)

// Process is a child, with all that it wrote.
type Process struct {
	name string
	cmd  *exec.Cmd
	out  string        // file that it writes into: a pipe would be held open by its own children
	done chan struct{} // closed once it has ended
	err  error         // of Wait; read it after done
}

// command says what to run.
type command struct {
	name string // shown with its output
	path string
	args []string
	env  []string // all of its environment
	dir  string

	stdout *os.File // in place of what Log shows; nil: there
}

// start runs a child until it ends or the test does.
func start(t testing.TB, c command) *Process {
	t.Helper()
	file, err := os.CreateTemp(tempDir(t), "output")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	p := &Process{name: c.name, out: file.Name(), done: make(chan struct{})}
	p.cmd = exec.Command(c.path, c.args...)
	p.cmd.Env, p.cmd.Dir = c.env, c.dir
	p.cmd.Stdout, p.cmd.Stderr = file, file
	if c.stdout != nil {
		p.cmd.Stdout = c.stdout
	}
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	go func() {
		// Death signals come when the thread ends that started the child, so it lives as long as the child. It is
		// not unlocked: it ends with this goroutine.
		runtime.LockOSThread()
		err := p.cmd.Start()
		started <- err
		if err != nil {
			return
		}
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	if err := <-started; err != nil {
		t.Fatalf("start %s: %v", c.name, err)
	}
	t.Cleanup(func() {
		when := "at the test's end"
		if p.alive() != nil {
			when = "before"
		}
		p.end(t)
		if t.Failed() {
			t.Logf("--- %s ended %s (%s); it wrote ---\n%s", p.name, when, p.cmd.ProcessState, tail(p.Log(), 8<<10))
		}
	})
	return p
}

// Pid is the child's process id.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Log is everything that the child wrote until now.
func (p *Process) Log() string {
	content, err := os.ReadFile(p.out)
	if err != nil {
		return "no output: " + err.Error()
	}
	return string(content)
}

// Signal sends a signal to the child alone. It does nothing to one that has ended.
func (p *Process) Signal(t testing.TB, sig syscall.Signal) {
	t.Helper()
	select {
	case <-p.done:
		return
	default:
	}
	if err := syscall.Kill(p.Pid(), sig); err != nil && !errors.Is(err, syscall.ESRCH) {
		t.Fatalf("send %s to %s: %v", sig, p.name, err)
	}
}

// Wait returns the exit code once the child has ended; -1 if a signal ended it.
func (p *Process) Wait(t testing.TB) int {
	t.Helper()
	select {
	case <-p.done:
		return p.cmd.ProcessState.ExitCode()
	case <-Context(t).Done():
		t.Fatalf("%s did not end within %s", p.name, Deadline)
		return 0
	}
}

// Terminate asks the child to end, by SIGTERM, and returns its exit code.
func (p *Process) Terminate(t testing.TB) int {
	t.Helper()
	p.Signal(t, syscall.SIGTERM)
	return p.Wait(t)
}

// Kill ends the child and its process group at once, by SIGKILL.
func (p *Process) Kill(t testing.TB) {
	t.Helper()
	p.killGroup()
	p.Wait(t)
}

// KillNow sends SIGKILL to the child and its process group, and does not wait: it is for goroutines other than the
// test's.
func (p *Process) KillNow() { p.killGroup() }

// killGroup ends what is left of the child's process group. It sends nothing once the child is gone and its group with it.
func (p *Process) killGroup() { _ = syscall.Kill(-p.Pid(), syscall.SIGKILL) }

// WaitLog returns once the child wrote this text.
func (p *Process) WaitLog(t testing.TB, text string) {
	t.Helper()
	Eventually(t, fmt.Sprintf("%s says %q", p.name, text), func() error {
		if strings.Contains(p.Log(), text) {
			return nil
		}
		select {
		case <-p.done:
			return fmt.Errorf("it has ended: %w", errors.Join(p.err))
		default:
			return errors.New("it has not said so")
		}
	})
}

// alive is an error once the child has ended.
func (p *Process) alive() error {
	select {
	case <-p.done:
		return fmt.Errorf("%s has ended (exit code %d)", p.name, p.cmd.ProcessState.ExitCode())
	default:
		return nil
	}
}

// end stops the child when its test is over: politely, then not.
func (p *Process) end(t testing.TB) {
	select {
	case <-p.done:
		return
	default:
	}
	_ = syscall.Kill(p.Pid(), syscall.SIGTERM)
	if err := waitClosed(p.done); err != nil {
		t.Errorf("%s did not end on SIGTERM within %s", p.name, endDeadline)
		p.killGroup()
		<-p.done
	}
}

// tail is the end of a long text, from a line's beginning.
func tail(s string, most int) string {
	if len(s) <= most {
		return s
	}
	s = s[len(s)-most:]
	_, after, _ := strings.Cut(s, "\n")
	return "…\n" + after
}
