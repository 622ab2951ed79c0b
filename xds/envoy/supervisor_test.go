package envoy_test

import (
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"keywheel/xds/envoy"
)

func TestEnvoyIsStartedWithoutSecrets(t *testing.T) {
	c := quick(t)
	c.Environ = []string{"GROQ_API_KEY_1=gsk_CANARY", "KEYWHEEL_ADMIN_TOKEN=CANARY", "AWS_SECRET=CANARY", "TZ=UTC", "PATH=" + os.Getenv("PATH")}
	c.Concurrency = 3
	s := supervise(t, c)
	s.serve(t)
	if env := s.read(t, "environ"); strings.Contains(env, "CANARY") || !strings.Contains(env, "TZ=UTC") {
		t.Errorf("environment:\n%s", env)
	}
	args := s.read(t, "args")
	for _, want := range []string{"-c " + c.ConfigPath, "--concurrency 3", "--log-level warning"} {
		if !strings.Contains(args, want) {
			t.Errorf("no %q in %s", want, args)
		}
	}
	info, err := os.Stat(c.ConfigPath)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info, err)
	}
}

func TestADeadEnvoyIsStartedAgain(t *testing.T) {
	s := supervise(t, quick(t))
	s.serve(t)
	for range 3 {
		first := s.read(t, "pid")
		pid, err := strconv.Atoi(first)
		if err != nil {
			t.Fatal(err)
		}
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		eventually(t, "another Envoy", func() bool { return s.read(t, "pid") != first && s.read(t, "pid") != "" })
	}
	s.stop()
	if err := s.ended(t); err != nil {
		t.Error(err)
	}
	if log := s.log.String(); !strings.Contains(log, `level=ERROR msg="Envoy died; it is started again" how="signal: killed"`) || !strings.Contains(log, "deaths=3") {
		t.Errorf("log:\n%s", log)
	}
}

func TestDeathsAreForgottenAfterAStableTime(t *testing.T) {
	c := quick(t)
	c.Stable = time.Millisecond
	s := supervise(t, c)
	s.serve(t)
	for range 2 {
		first := s.read(t, "pid")
		pid, _ := strconv.Atoi(first)
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		eventually(t, "another Envoy", func() bool { return s.read(t, "pid") != first && s.read(t, "pid") != "" })
	}
	if log := s.log.String(); strings.Count(log, "deaths=1") != 2 {
		t.Errorf("log:\n%s", log)
	}
}

func TestAStopWaitsForCalls(t *testing.T) {
	s := supervise(t, quick(t), "active")
	s.serve(t)
	s.stop()
	eventually(t, "the listeners drain", func() bool { return s.saw("unhealthy") && s.saw("drained") && s.saw("counted") })
	s.remove("counted")
	eventually(t, "calls are counted again", func() bool { return s.saw("counted") })
	if s.saw("terminated") {
		t.Fatal("stopped while calls ran")
	}
	s.remove("active")
	if err := s.ended(t); err != nil || !s.saw("terminated") {
		t.Errorf("%v, terminated: %v", err, s.saw("terminated"))
	}
	if !strings.Contains(s.log.String(), "calls=2") {
		t.Errorf("log:\n%s", s.log)
	}
}

func TestAStopDoesNotWaitForEver(t *testing.T) {
	c := quick(t)
	c.Drain, c.Kill = 20*time.Millisecond, 20*time.Millisecond
	s := supervise(t, c, "active", "stubborn")
	s.serve(t)
	s.stop()
	if err := s.ended(t); err != nil || !s.saw("terminated") {
		t.Errorf("%v, terminated: %v", err, s.saw("terminated"))
	}
	for _, want := range []string{"Calls that did not end are cut", "it is killed"} {
		if !strings.Contains(s.log.String(), want) {
			t.Errorf("no %q in\n%s", want, s.log)
		}
	}
}

func TestASecondInterruptCutsCallsAndAThirdKills(t *testing.T) {
	c := quick(t)
	c.Drain, c.Kill = time.Hour, time.Hour
	s := supervise(t, c, "active", "stubborn")
	s.serve(t)
	s.stop()
	eventually(t, "calls are counted", func() bool { return s.saw("counted") })
	s.Hurry()
	eventually(t, "SIGTERM", func() bool { return s.saw("terminated") })
	s.Hurry()
	if err := s.ended(t); err != nil {
		t.Error(err)
	}
}

func TestAnEnvoyThatNeverServesIsAnError(t *testing.T) {
	s := supervise(t, quick(t), "fail")
	err := s.ended(t)
	if err == nil || err.Error() != "envoy ended before it served (exit status 1): error initializing configuration: no such thing" {
		t.Error(err)
	}
	c := quick(t)
	c.Binary = "/nonexistent/envoy"
	if err := supervise(t, c).ended(t); err == nil || !strings.Contains(err.Error(), "starting Envoy") {
		t.Error(err)
	}
}

func TestABusyPortIsNamedWithItsSetting(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c := quick(t)
	c.Ports = []envoy.Port{{Setting: "KEYWHEEL_ENVOY_ADMIN_ADDR", Addr: c.AdminAddr}, {Setting: "KEYWHEEL_LISTEN_ADDR", Addr: l.Addr().String()}}
	err = supervise(t, c).ended(t)
	if err == nil || err.Error() != "KEYWHEEL_LISTEN_ADDR: "+l.Addr().String()+" is in use; end what listens there, or set KEYWHEEL_LISTEN_ADDR to another address" {
		t.Error(err)
	}
	if err := envoy.CheckPorts(envoy.Port{Setting: "KEYWHEEL_LISTEN_ADDR", Addr: "192.0.2.1:80"}); err == nil || !strings.Contains(err.Error(), "not an address of this machine") {
		t.Error(err)
	}
}
