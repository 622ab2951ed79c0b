package cli_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"keywheel/shared/secret"
	"keywheel/xds/admin"
	"keywheel/xds/admin/admintest"
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
			Wasm: []byte(os.Getenv("MODULE")), // which a script asks for
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
		if o.EnvoyConfigOutput != "" {
			command += " to " + o.EnvoyConfigOutput
		}
		_, err := fmt.Fprintf(o.Stdout, "%s: %d keys, demo %v, clock %s, envoy config %q, version %s\n",
			command, len(o.Config.Keys), o.Demo, now, o.EnvoyConfigPath, o.Version)
		return err
	}
}

const (
	token     = "a-token-that-nobody-guesses"
	readToken = "a-token-that-only-reads"
)

func TestScripts(t *testing.T) {
	serve := func(handler http.Handler) *httptest.Server {
		srv := httptest.NewServer(handler)
		t.Cleanup(srv.Close)
		return srv
	}
	idle := serve(admin.New(admin.Options{Ledger: account{}, Token: secret.New(token)}))
	plane := serve(admin.New(admin.Options{
		Ledger: account{envoys: 1}, Notifier: notifier{{Receiver: "telegram"}, {Receiver: "slack-2"}}, Token: secret.New(token), ReadToken: secret.New(readToken),
	}))
	unreached := serve(admin.New(admin.Options{Ledger: account{}, Token: secret.New(token), Notifier: notifier{
		{Receiver: "telegram"}, {Receiver: "email", Failure: "the server refuses the recipient:\r\n550 5.1.1 \x1b[31mno such user\t here"},
	}}))
	troubled := serve(admin.New(admin.Options{Ledger: account{proxies: []ledger.ProxyView{
		{Incarnation: "well", Node: "a", Connected: true, Reports: 7, SkewMS: 29_999},
		{Incarnation: "voided", Node: "b", Reports: 8, Voided: true, RefusedAt: at(13, 59), SkewMS: 90_000, Rejected: 4},
		{Incarnation: "over", Node: "b", Reports: 8, Voided: true, RefusedAt: at(13, 50)},
		{Incarnation: "odd", Node: "c\x1b[31m", Connected: true, Reports: 1234, Quarantined: 1 << 40, Panics: 3, SkewMS: -45_400, Rejected: 2, LastError: "no such\nmodule"},
		{Node: "d", Connected: true, Rejected: 1},
		{Incarnation: "gone", Node: "e", Quarantined: 5, SkewMS: 90_000, Rejected: 1},
	}}, Token: secret.New(token)}))
	unready := serve(admin.New(admin.Options{Ledger: account{}, Missing: func() []string { return []string{"store"} }}))
	groq, other := serve(http.HandlerFunc(models)), serve(http.NotFoundHandler())
	closed := httptest.NewServer(nil)
	closed.Close()
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			env.Setenv("GORACE", "atexit_sleep_ms=0") // else each command that ends well takes a second more
			env.Setenv("XDG_STATE_HOME", env.WorkDir+"/state")
			env.Setenv("PLANE", plane.Listener.Addr().String())
			env.Setenv("IDLE", idle.Listener.Addr().String())
			env.Setenv("TROUBLED", troubled.Listener.Addr().String())
			env.Setenv("UNREACHED", unreached.Listener.Addr().String())
			env.Setenv("UNREADY", unready.Listener.Addr().String())
			env.Setenv("GROQ", groq.URL)
			env.Setenv("OTHER", other.Listener.Addr().String())
			env.Setenv("NOBODY", closed.Listener.Addr().String())
			for name, o := range map[string]admintest.KeysOptions{
				"KEYED": {}, "UNSEALED": {NoMaster: true}, "BROKEN": {Failing: func() error { return errors.New("no space left on device") }},
			} { // each script has its own, as it changes them
				srv := serve(keyed(t, o, 0))
				env.Setenv(name, srv.Listener.Addr().String())
			}
			env.Setenv("FOLLOWED", serve(keyed(t, admintest.KeysOptions{}, 2)).Listener.Addr().String())
			env.Setenv("VAULT", serve(vaulted(t)).Listener.Addr().String())
			env.Setenv("TOKEN", token)
			env.Setenv("READ_TOKEN", readToken)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"exitcode": exitCode, "json": validJSON, "store": makeStore},
	})
}

// keyed is a control plane with keys that can be changed, and Envoys that follow, though not at once.
func keyed(t *testing.T, o admintest.KeysOptions, envoys int) http.Handler {
	o.Now = at(14, 0)
	for i, label := range []string{"Primary", "Backup"} {
		id := fmt.Sprint(i + 1)
		o.Configured = append(o.Configured, config.Key{
			ID: id, Label: label, Priority: i + 1, Org: config.OwnOrg(id), Tier: config.TierFree, LimitTokens: 14400, Thresholds: config.DefaultThresholds(),
			Source: config.SourceEnvironment, Secret: secret.New("gsk_CANARYsetting" + id),
		})
	}
	keys := admintest.NewKeys(t, o)
	return admin.New(admin.Options{
		Ledger: &followed{Ledger: keys.Ledger, envoys: envoys}, Roster: keys, Token: secret.New(token), ReadToken: secret.New(readToken),
	})
}

// followed is an account whose changes Envoys know when they are looked at for the third time.
type followed struct {
	*ledger.Ledger
	envoys int
	looks  atomic.Int64
}

func (f *followed) View() ledger.View {
	v, now := f.Ledger.View(), f.Assignment().Generation
	late := now
	if f.looks.Add(1)%3 != 0 {
		late--
	}
	for i := range f.envoys {
		p := ledger.ProxyView{Incarnation: fmt.Sprint(i), Connected: true, Generation: now, Config: now}
		if i == 0 {
			p.Config = late
		}
		v.Proxies = append(v.Proxies, p)
	}
	return v
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
