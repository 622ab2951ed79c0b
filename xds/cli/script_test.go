package cli_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"keywheel/shared/quota"
	"keywheel/shared/secret"
	"keywheel/xds/admin"
	"keywheel/xds/app"
	"keywheel/xds/cli"
	"keywheel/xds/config"
	"keywheel/xds/ledger"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"keywheel": func() {
		program := cli.Program{
			Version: "1.2.3", Environ: os.Environ(), Stdout: os.Stdout, Stderr: os.Stderr,
			Run: started("run"), Serve: started("serve"), EnvoyConfig: started("envoy-config"),
		}
		os.Exit(program.Execute(context.Background(), os.Args[1:]))
	}})
}

// started stands in for the program: it says how it was started.
func started(command string) func(context.Context, app.Options) error {
	return func(_ context.Context, o app.Options) error {
		if o.Config.HistoryDays == 13 { // by which a script asks for a failure
			return config.Problem{Name: "KEYWHEEL_LISTEN_ADDR", Wrong: "the port is taken", Fix: "write another"}
		}
		for _, w := range o.Warnings {
			o.Log.Warn(w.String())
		}
		now := "real"
		if o.Clock.Virtual() {
			now = fmt.Sprintf("%s at speed %v", o.Clock.Now().Format(time.DateOnly), o.Clock.Spec().Speed)
		}
		_, err := fmt.Fprintf(o.Stdout, "%s: %d keys, demo %v, clock %s, envoy config %q, version %s\n",
			command, len(o.Config.Keys), o.Demo, now, o.EnvoyConfigPath, o.Version)
		return err
	}
}

const token = "a-token-that-nobody-guesses"

func TestScripts(t *testing.T) {
	idle := httptest.NewServer(admin.New(admin.Options{Ledger: account{}, Token: secret.New(token)}))
	t.Cleanup(idle.Close)
	plane := httptest.NewServer(admin.New(admin.Options{Ledger: account{envoys: 1}, Token: secret.New(token)}))
	t.Cleanup(plane.Close)
	groq := httptest.NewServer(http.HandlerFunc(models))
	t.Cleanup(groq.Close)
	other := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(other.Close)
	closed := httptest.NewServer(nil)
	closed.Close()
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			env.Setenv("XDG_STATE_HOME", env.WorkDir+"/state")
			env.Setenv("PLANE", plane.Listener.Addr().String())
			env.Setenv("IDLE", idle.Listener.Addr().String())
			env.Setenv("GROQ", groq.URL)
			env.Setenv("OTHER", other.Listener.Addr().String())
			env.Setenv("NOBODY", closed.Listener.Addr().String())
			env.Setenv("TOKEN", token)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"exitcode": exitCode, "json": validJSON},
	})
}

// exitCode runs keywheel and wants a certain exit code: exitcode 2 run.
func exitCode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exitcode CODE ARGS…")
	}
	code := "0"
	if err := ts.Exec("keywheel", args[1:]...); err != nil {
		code = strings.TrimPrefix(err.Error(), "exit status ")
	}
	if code != args[0] {
		ts.Fatalf("exit code %s, want %s", code, args[0])
	}
}

// validJSON wants the last command's standard output to be JSON.
func validJSON(ts *testscript.TestScript, _ bool, _ []string) {
	if !json.Valid([]byte(ts.ReadFile("stdout"))) {
		ts.Fatalf("standard output is not JSON")
	}
}

// models is Groq's list of models: one key is good, one unknown.
func models(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Authorization") != "Bearer gsk_good" {
		w.WriteHeader(http.StatusUnauthorized)
		fmt.Fprint(w, `{"error":{"message":"Invalid API Key","type":"invalid_request_error","code":"invalid_api_key"}}`)
	}
}

// account is the scenario's at 14:00.
type account struct{ envoys int }

func (a account) View() ledger.View {
	now := time.Date(2025, 11, 18, 14, 0, 0, 0, time.UTC)
	v := ledger.View{
		Now: now, Window: quota.WindowAt(now), ResetsAt: quota.WindowAt(now).End(), Health: 95,
		Pool: ledger.PoolView{Used: 22900, Limit: 43200, Remaining: 20300, KeyInUse: "2"},
	}
	for i, k := range []struct {
		label  string
		status quota.Status
		used   int64
	}{{"Primary", quota.Exhausted, 14400}, {"Backup", quota.Active, 8500}, {"Emergency", quota.Standby, 0}} {
		v.Keys = append(v.Keys, ledger.KeyView{
			KeyConfig: ledger.KeyConfig{ID: fmt.Sprint(i + 1), Label: k.label, Priority: i + 1, Rank: i, Org: fmt.Sprintf("key-%d", i+1), Tier: "free", LimitTokens: 14400},
			Status:    k.status, InUse: k.status == quota.Active, Used: k.used, Remaining: 14400 - k.used, Percent: quota.Percent(k.used, 14400), Health: 100, Score: 70,
		})
	}
	for range a.envoys {
		v.Proxies = append(v.Proxies, ledger.ProxyView{Incarnation: "one", Connected: true})
	}
	return v
}

func (account) Clear(context.Context, string) (int64, error) { return 7, nil }
