package cli_test

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"keywheel/shared/secret"
	"keywheel/xds/admin"
	"keywheel/xds/cli"
)

// screen is what a command writes, as a test waits for it.
type screen struct {
	mu      sync.Mutex
	text    strings.Builder
	written chan struct{}
}

func newScreen() *screen { return &screen{written: make(chan struct{}, 1)} }

func (s *screen) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.text.Write(b)
	select {
	case s.written <- struct{}{}:
	default:
	}
	return len(b), nil
}

func (s *screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// wait waits until part stands in it n times.
func (s *screen) wait(t *testing.T, part string, n int) {
	t.Helper()
	deadline := time.After(30 * time.Second)
	for strings.Count(s.String(), part) < n {
		select {
		case <-s.written:
		case <-deadline:
			t.Fatalf("%q is not there %d times:\n%s", part, n, s)
		}
	}
}

// watching is a status that is watched, of a control plane that can be away.
type watching struct {
	out, errors *screen
	away        atomic.Bool
	missed      atomic.Int64 // times that it was asked while away
	token       atomic.Pointer[string]
	interrupt   func()
	code        chan int
}

func watch(t *testing.T, args ...string) *watching {
	t.Helper()
	w := &watching{out: newScreen(), errors: newScreen(), code: make(chan int, 1)}
	w.token.Store(new(token))
	plane := admin.New(admin.Options{
		Ledger: account{envoys: 1}, Tokens: func() (admin, read secret.Key) { return secret.New(*w.token.Load()), secret.Key{} },
	})
	srv := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if w.away.Load() {
			w.missed.Add(1)
			panic(http.ErrAbortHandler) // hangs up
		}
		plane.ServeHTTP(rw, r)
	}))
	t.Cleanup(srv.Close)
	program := cli.Program{
		Environ: []string{"KEYWHEEL_ADMIN_ADDR=" + srv.Listener.Addr().String(), "KEYWHEEL_ADMIN_TOKEN=" + token, "XDG_STATE_HOME=" + t.TempDir()},
		Stdout:  w.out, Stderr: w.errors,
	}
	ctx, interrupt := context.WithCancel(t.Context())
	t.Cleanup(interrupt)
	w.interrupt = interrupt
	go func() { w.code <- program.Execute(ctx, append([]string{"status", "--watch"}, args...)) }()
	return w
}

func (w *watching) wantCode(t *testing.T, want int) {
	t.Helper()
	select {
	case got := <-w.code:
		if got != want {
			t.Errorf("exit code %d, want %d: %s", got, want, w.errors)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("it goes on")
	}
}

const poolLine = "Pool: 22,900 / 43,200 tokens (53.0%)\n"

func TestWatch(t *testing.T) {
	t.Parallel()
	w := watch(t)
	w.out.wait(t, poolLine, 2)
	w.interrupt()
	w.wantCode(t, 0)
	if w.errors.String() != "" {
		t.Errorf("said %s", w.errors)
	}
	if strings.Contains(w.out.String(), "\x1b") {
		t.Error("what is no terminal gets its codes")
	}
}

func TestWatchAsJSON(t *testing.T) {
	t.Parallel()
	w := watch(t, "--json")
	w.out.wait(t, `"pool"`, 2)
	w.interrupt()
	w.wantCode(t, 0)
	documents := json.NewDecoder(bytes.NewBufferString(w.out.String()))
	for range 2 {
		var shown struct {
			Pool admin.Pool  `json:"pool"`
			Keys []admin.Key `json:"keys"`
		}
		if err := documents.Decode(&shown); err != nil || shown.Pool.Used != 22900 || len(shown.Keys) != 3 {
			t.Errorf("got %+v, %v", shown, err)
		}
	}
}

// TestWatchWaits for a control plane that was there, and says so once.
func TestWatchWaits(t *testing.T) {
	t.Parallel()
	w := watch(t)
	w.out.wait(t, poolLine, 2) // so the first look is over
	w.away.Store(true)
	const waiting = "The control plane does not answer; waiting for it.\n"
	w.errors.wait(t, waiting, 1)
	shown := strings.Count(w.out.String(), poolLine)
	for deadline := time.Now().Add(30 * time.Second); w.missed.Load() < 2 && time.Now().Before(deadline); {
		<-time.After(10 * time.Millisecond)
	}
	w.away.Store(false)
	w.out.wait(t, poolLine, shown+2)
	if got := w.errors.String(); got != waiting {
		t.Errorf("said %q", got)
	}
	w.away.Store(true)
	w.errors.wait(t, waiting, 2)
	w.interrupt()
	w.wantCode(t, 0)
}

// TestWatchEnds where waiting does not help.
func TestWatchEnds(t *testing.T) {
	t.Parallel()
	w := watch(t)
	w.out.wait(t, poolLine, 2)
	w.token.Store(new("another-token-altogether"))
	w.wantCode(t, 1)
	w.errors.wait(t, "does not accept the token", 1)
}

func TestWatchOfNobody(t *testing.T) {
	t.Parallel()
	gone := httptest.NewServer(nil)
	gone.Close()
	var out, said bytes.Buffer
	program := cli.Program{
		Environ: []string{"KEYWHEEL_ADMIN_ADDR=" + gone.Listener.Addr().String(), "XDG_STATE_HOME=" + t.TempDir()}, Stdout: &out, Stderr: &said,
	}
	if code := program.Execute(t.Context(), []string{"status", "-w"}); code != 1 || out.Len() != 0 {
		t.Errorf("exit code %d, %s", code, &out)
	}
	if got := said.String(); !strings.Contains(got, "no control plane answers") || !strings.Contains(got, "Start one with `keywheel run`") {
		t.Errorf("said %s", got)
	}
}
