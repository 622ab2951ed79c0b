package config

import (
	"log/slog"
	"reflect"
	"slices"
	"testing"
	"time"

	"keywheel/shared/secret"
)

// TestEveryFieldHasAnEffect changes each field of a Config alone: it is seen, and it needs a restart or is said not to.
func TestEveryFieldHasAnEffect(t *testing.T) {
	live := []string{"Keys", "Strategy", "RequiredTokens", "Thresholds", "ReportInterval", "PushInterval", "CallerHeader", "UseKeyHeader", "Notify.Telegram", "Notify.Email", "Notify.Webhook",
		"Notify.Services", "Notify.Routes"}
	restarts := map[string]bool{}
	try := func(name string, changed *Config) {
		names := Diff(&Config{}, changed)
		if want := !slices.Contains(live, name); len(names) > 1 || (len(names) == 1) != want {
			t.Errorf("%s: a restart is needed for %v", name, names)
		}
		for _, n := range names {
			restarts[n] = true
		}
		if same(&Config{}, changed) || !same(changed, changed) {
			t.Errorf("a change of %s is not seen", name)
		}
	}
	typ := reflect.TypeFor[Config]()
	for i := range typ.NumField() {
		f := typ.Field(i)
		switch {
		case f.Name == "read":
			if !same(&Config{}, &Config{read: sources{"a": 1}}) {
				t.Error("where settings were read from is taken for a setting")
			}
		case f.Type == reflect.TypeFor[Notify]():
			for j := range f.Type.NumField() {
				c := &Config{}
				fill(t, reflect.ValueOf(c).Elem().Field(i).Field(j))
				try("Notify."+f.Type.Field(j).Name, c)
			}
		default:
			c := &Config{}
			fill(t, reflect.ValueOf(c).Elem().Field(i))
			try(f.Name, c)
		}
	}
	for _, e := range effects {
		if !e.live && !restarts[e.name] {
			t.Errorf("nothing makes %s need a restart", e.name)
		}
	}
}

// fill makes a field another than it was.
func fill(t *testing.T, v reflect.Value) {
	t.Helper()
	switch f := v.Addr().Interface().(type) {
	case *secret.Key:
		*f = secret.New("x")
		return
	case *time.Duration:
		*f = time.Minute
		return
	case *slog.Level:
		*f = slog.LevelError
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString("x")
	case reflect.Int, reflect.Int64:
		v.SetInt(7)
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
	case reflect.Struct:
		fill(t, v.Field(0))
	default:
		t.Fatalf("a field of kind %v", v.Kind())
	}
}

func TestSameSecretsAreTheSame(t *testing.T) {
	with := func(s string) *Config {
		return &Config{Keys: []Key{{ID: "1", Secret: secret.New(s)}}, AdminToken: secret.New(s), MasterKeys: []secret.Key{secret.New(s)}}
	}
	if !same(with("a"), with("a")) || len(Diff(with("a"), with("a"))) > 0 {
		t.Error("secrets of the same bytes differ")
	}
	if got := Diff(with("a"), with("b")); !slices.Equal(got, []string{"KEYWHEEL_ADMIN_TOKEN", "KEYWHEEL_MASTER_KEY"}) {
		t.Errorf("other secrets need a restart for %v", got)
	}
}
