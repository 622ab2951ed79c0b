package envoy

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// Config says what a Supervisor runs, and how. Times that are zero are the defaults said here.
type Config struct {
	Binary      string       // Envoy, as Find returned it
	Bootstrap   []byte       // its configuration, as Configure returned it
	ConfigPath  string       // the file that the configuration is written to
	AdminAddr   string       // host:port at which Envoy's admin interface is reached from here
	Ports       []Port       // checked before the first start
	Concurrency int          // worker threads; 0: one for each core
	Logger      *slog.Logger // nil: slog.Default()
	Environ     []string     // nil: the process's own; Envoy sees only what cannot be a secret

	Drain      time.Duration // how long a stop waits for calls that run (30 s)
	Kill       time.Duration // how long after SIGTERM SIGKILL follows (10 s)
	RestartMin time.Duration // wait before the first restart, doubled with each (500 ms)
	RestartMax time.Duration // longest wait (30 s)
	Stable     time.Duration // an Envoy that lived this long is restarted as at the first time (60 s)
	Quiet      time.Duration // how long a log line of Envoy that repeats is kept back and counted (10 s)
}

// Poll intervals of the admin interface.
const (
	readyPoll = 50 * time.Millisecond
	drainPoll = 100 * time.Millisecond
)

// Supervisor starts Envoy, starts it again when it dies, and stops it without cutting calls.
type Supervisor struct {
	Config
	admin     *adminClient
	ready     chan struct{}
	readyOnce sync.Once
	hurry     chan struct{}
	failures  int // deaths since the last stable time
}

// NewSupervisor returns a Supervisor that has started nothing yet.
func NewSupervisor(c Config) *Supervisor {
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.Environ == nil {
		c.Environ = os.Environ()
	}
	for _, d := range []struct {
		value    *time.Duration
		standard time.Duration
	}{
		{&c.Drain, 30 * time.Second}, {&c.Kill, 10 * time.Second}, {&c.RestartMin, 500 * time.Millisecond},
		{&c.RestartMax, 30 * time.Second}, {&c.Stable, time.Minute}, {&c.Quiet, 10 * time.Second},
	} {
		if *d.value <= 0 {
			*d.value = d.standard
		}
	}
	return &Supervisor{Config: c, admin: newAdminClient(c.AdminAddr), ready: make(chan struct{}), hurry: make(chan struct{}, 2)}
}

// Ready is closed when Envoy serves for the first time.
func (s *Supervisor) Ready() <-chan struct{} { return s.ready }

// Hurry shortens a stop: the first call ends the wait for running calls, the second kills Envoy.
func (s *Supervisor) Hurry() {
	select {
	case s.hurry <- struct{}{}:
	default:
	}
}

// Run runs Envoy until ctx ends, then stops it and returns nil: clients' calls that run may end first, for at most
// Config.Drain. It returns an error if Envoy cannot be started, or dies before it ever served: that would only happen
// again. Run is called once.
func (s *Supervisor) Run(ctx context.Context) error {
	if err := CheckPorts(s.Ports...); err != nil {
		return err
	}
	if err := WriteFile(s.ConfigPath, s.Bootstrap, 0o600); err != nil {
		return fmt.Errorf("writing Envoy's configuration: %w", err)
	}
	for {
		log := newEnvoyLog(s.Logger, s.Quiet)
		p, err := startProcess(s.Binary, s.args(), envoyEnviron(s.Environ), log)
		if err != nil {
			return fmt.Errorf("starting Envoy: %w", err)
		}
		s.Logger.Debug("Envoy started", "pid", p.pid, "binary", s.Binary, "config", s.ConfigPath)
		stopped := s.attend(ctx, p, log)
		lastError := log.close()
		if stopped {
			s.Logger.Info("Envoy stopped")
			return nil
		}
		if !s.served() {
			return startFailure(p.err, lastError)
		}
		if !s.pause(ctx, p.err, lastError) {
			return nil
		}
	}
}

func (s *Supervisor) args() []string {
	args := []string{
		"-c", s.ConfigPath,
		"--log-level", "warning", "--component-log-level", "wasm:info", // lower, Envoy writes headers of requests
		"--log-format", logFormat,
		"--disable-hot-restart", // it would need shared memory and a number of its own beside other Envoys
	}
	if s.Concurrency > 0 {
		args = append(args, "--concurrency", strconv.Itoa(s.Concurrency))
	}
	return args
}

func (s *Supervisor) served() bool {
	select {
	case <-s.ready:
		return true
	default:
		return false
	}
}

// attend watches Envoy until it ends. It says whether that was wanted.
func (s *Supervisor) attend(ctx context.Context, p *process, log *envoyLog) (stopped bool) {
	stable := time.NewTimer(s.Stable)
	defer stable.Stop()
	poll := time.NewTicker(readyPoll)
	defer poll.Stop()
	serving := false
	for {
		select {
		case <-p.done:
			return false
		case <-ctx.Done():
			log.silence()
			s.stop(p, serving)
			return true
		case <-stable.C:
			s.failures = 0
		case <-poll.C:
			if !s.admin.ready(ctx) {
				continue
			}
			serving = true
			poll.Stop()
			s.Logger.Debug("Envoy serves", "pid", p.pid)
			s.readyOnce.Do(func() { close(s.ready) })
		}
	}
}

// pause says that Envoy died, and waits before the next start. It returns false if ctx ended meanwhile.
func (s *Supervisor) pause(ctx context.Context, ended error, lastError string) bool {
	wait := s.RestartMax
	if s.failures < 16 {
		wait = min(wait, s.RestartMin<<s.failures)
	}
	s.failures++
	wait += time.Duration(rand.Int64N(int64(wait)/4 + 1)) //nolint:gosec // jitter
	s.Logger.Error("Envoy died; it is started again", "how", exitText(ended), "said", lastError,
		"in", wait.Round(10*time.Millisecond).String(), "deaths", s.failures)
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// stop ends Envoy: it takes no new calls, those that run may end, then SIGTERM, by which the last usage report goes
// out, and SIGKILL only if that does not help.
func (s *Supervisor) stop(p *process, serving bool) {
	if serving || s.admin.ready(context.Background()) { // the poll may not have seen it yet
		s.drain(p)
	}
	p.signal(syscall.SIGTERM)
	timer := time.NewTimer(s.Kill)
	defer timer.Stop()
	select {
	case <-p.done:
		return
	case <-timer.C:
		s.Logger.Warn("Envoy does not end; it is killed", "pid", p.pid)
	case <-s.hurry:
	}
	p.signal(syscall.SIGKILL)
	<-p.done
}

// drain waits until no call runs, Config.Drain is over, or somebody is in a hurry.
func (s *Supervisor) drain(p *process) {
	ctx, cancel := context.WithTimeout(context.Background(), s.Drain)
	defer cancel()
	if err := s.admin.drain(ctx); err != nil {
		s.Logger.Warn("Envoy does not drain; calls that run are cut", "error", err)
		return
	}
	poll := time.NewTicker(drainPoll)
	defer poll.Stop()
	said := false
	for {
		calls, err := s.admin.activeCalls(ctx)
		if err != nil || calls == 0 {
			return
		}
		if !said {
			said = true
			s.Logger.Info("Waiting for calls to end; a second interrupt cuts them", "calls", calls, "for_at_most", s.Drain.String())
		}
		select {
		case <-poll.C:
		case <-p.done:
			return
		case <-s.hurry:
			return
		case <-ctx.Done():
			s.Logger.Warn("Calls that did not end are cut", "calls", calls)
			return
		}
	}
}

// startFailure is the error when Envoy ended before it served.
func startFailure(ended error, lastError string) error {
	if lastError == "" {
		lastError = "it wrote no error; try again with KEYWHEEL_LOG_LEVEL=debug"
	}
	return fmt.Errorf("envoy ended before it served (%s): %s", exitText(ended), lastError)
}

// exitText says how a process ended.
func exitText(ended error) string {
	if ended == nil {
		return "exit status 0"
	}
	return ended.Error()
}
