package docker

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"
)

// engine is a Docker engine.
type engine struct {
	env []string // by which its clients find it

	cmd  *exec.Cmd // of one that the tests started
	dir  string    // all that that one keeps
	done chan struct{}
}

var theEngine struct {
	sync.Once
	*engine
	err error
}

// needEngine is the engine for the tests of this package, started if need be. Without one the test skips.
func needEngine(t testing.TB) *engine {
	t.Helper()
	if os.Getenv(asked) == "" {
		t.Skip("`make e2e-docker` runs this")
	}
	theEngine.Do(func() { theEngine.engine, theEngine.err = findEngine(t) })
	if theEngine.err != nil {
		lacking(t, "no Docker engine: %v", theEngine.err)
	}
	return theEngine.engine
}

func findEngine(t testing.TB) (*engine, error) {
	e := &engine{}
	out, err := e.run(context.Background(), "", nil, "docker", "version", "--format", "{{.Server.Version}}")
	if err == nil {
		t.Logf("Docker engine %s", out)
		return e, nil
	}
	if errors.Is(err, exec.ErrNotFound) || os.Getuid() != 0 {
		return nil, fmt.Errorf("%w: %s", err, out)
	}
	return startEngine(t)
}

// startEngine runs an engine of the tests' own. It has no bridge for containers outside of a network, and no rules in the
// firewall: published ports are forwarded by its own process, and nothing needs the world outside.
func startEngine(t testing.TB) (*engine, error) {
	host, err := ownAddress()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "kwdocker") //nolint:usetesting // all tests of the package use this engine
	if err != nil {
		return nil, err
	}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	defer log.Close()
	socket := "unix://" + filepath.Join(dir, "docker.sock")
	e := &engine{env: []string{"DOCKER_HOST=" + socket}, dir: dir, done: make(chan struct{})}
	e.cmd = exec.Command("dockerd", "--host", socket, "--data-root", filepath.Join(dir, "data"), "--exec-root", filepath.Join(dir, "exec"),
		"--pidfile", filepath.Join(dir, "pid"), "--bridge", "none", "--iptables=false", "--ip6tables=false", "--host-gateway-ip", host)
	e.cmd.Stdout, e.cmd.Stderr = log, log
	e.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // the death signal comes when the thread ends
		err := e.cmd.Start()
		started <- err
		if err == nil {
			_ = e.cmd.Wait()
			close(e.done)
		}
	}()
	if err := <-started; err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	if err := e.await(); err != nil {
		said, _ := os.ReadFile(log.Name())
		return nil, errors.Join(err, e.stop(), fmt.Errorf("dockerd wrote:\n%s", said))
	}
	t.Logf("started a Docker engine of %s", e.docker(t, "info", "--format", "{{.ServerVersion}} with {{.Driver}}"))
	return e, nil
}

// await returns once the engine answers.
func (e *engine) await() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		_, err := e.run(ctx, "", nil, "docker", "version")
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-e.done:
			return errors.New("dockerd ended at once")
		case <-ctx.Done():
			return err
		}
	}
}

// ownAddress is an address of this machine at which containers reach it.
func ownAddress() (string, error) {
	all, err := net.InterfaceAddrs()
	if err != nil {
		return "", err
	}
	for _, a := range all {
		if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil && n.IP.IsGlobalUnicast() {
			return n.IP.String(), nil
		}
	}
	return "", errors.New("this machine has no address but its loopback")
}

// stop ends an engine that the tests started, with its containers, and removes what it kept. On another it removes the
// images that the tests made.
func (e *engine) stop() error {
	if e.cmd == nil {
		if len(made) == 0 {
			return nil
		}
		out, err := e.run(context.Background(), "", nil, "docker", append([]string{"image", "rm", "--force"}, made...)...)
		if err != nil {
			err = fmt.Errorf("%w: %s", err, out)
		}
		return err
	}
	_ = e.cmd.Process.Signal(syscall.SIGTERM)
	timer := time.NewTimer(time.Minute)
	defer timer.Stop()
	select {
	case <-e.done:
	case <-timer.C:
		_ = e.cmd.Process.Kill()
		<-e.done
	}
	return os.RemoveAll(e.dir)
}

func stopEngine() {
	if theEngine.engine == nil {
		return
	}
	if err := theEngine.engine.stop(); err != nil {
		fmt.Fprintln(os.Stderr, "stop the Docker engine:", err)
	}
}
