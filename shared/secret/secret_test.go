package secret_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os/exec"
	"strings"
	"testing"

	"github.com/lmittmann/tint"

	"keywheel/shared/secret"
)

const canary = "gsk_CANARY_5f1e9b0c7d"

// holder is how other packages keep keys: by value and by pointer, exported and not.
type holder struct {
	Key    secret.Key
	Ptr    *secret.Key
	hidden secret.Key
	inner  struct{ list []secret.Key }
	any    any
}

func newHolder() holder {
	k := secret.New(canary)
	h := holder{Key: k, Ptr: &k, hidden: k, any: k}
	h.inner.list = []secret.Key{k}
	return h
}

// shows fails if out shows the canary, in any writing of its bytes.
func shows(t *testing.T, how, out string) {
	t.Helper()
	raw := []byte(canary)
	for _, form := range []string{
		canary, hex.EncodeToString(raw), strings.ToUpper(hex.EncodeToString(raw)),
		base64.StdEncoding.EncodeToString(raw), base64.RawURLEncoding.EncodeToString(raw),
		fmt.Sprint(raw), fmt.Sprintf("% x", raw), fmt.Sprintf("%#v", raw),
	} {
		if strings.Contains(out, form) {
			t.Errorf("%s shows the secret: %s", how, out)
		}
	}
}

func TestNoVerbShowsTheSecret(t *testing.T) {
	h := newHolder()
	for _, verb := range strings.Split("v s q x X d o b c e f g t T p U O w", " ") {
		for _, flag := range []string{"", "+", "#", " ", "0", "-40", ".3", "+#"} {
			format := "%" + flag + verb
			for name, v := range map[string]any{
				"key": h.Key, "pointer": h.Ptr, "struct": h, "struct pointer": &h, "slice": h.inner.list,
				"map": map[string]secret.Key{"1": h.Key}, "map key": map[any]int{h.Key: 1},
			} {
				shows(t, format+" of "+name, fmt.Sprintf(format, v))
			}
		}
	}
	if got := fmt.Sprintf("%v %s %q %x %#v %d", h.Key, h.Key, h.Key, h.Key, h.Key, h.Key); got !=
		strings.TrimSpace(strings.Repeat("[redacted] ", 6)) {
		t.Errorf("verbs give %q", got)
	}
	shows(t, "Sprint", fmt.Sprint(h, h.Key, &h))
	shows(t, "String", h.Key.String()+h.Key.GoString())
}

func TestNoEncodingShowsTheSecret(t *testing.T) {
	h := newHolder()
	out, err := json.Marshal(map[string]any{"h": h, "k": h.Key, "l": h.inner.list})
	if err != nil {
		t.Fatal(err)
	}
	shows(t, "JSON", string(out))
	if !bytes.Contains(out, []byte(`"k":"[redacted]"`)) {
		t.Errorf("JSON is %s", out)
	}
	out, err = json.Marshal(map[secret.Key]int{})
	shows(t, "JSON map", fmt.Sprint(string(out), err))
}

func TestNoErrorShowsTheSecret(t *testing.T) {
	h := newHolder()
	shows(t, "Errorf", fmt.Errorf("key 1: %v %w", h.Key, errors.New("refused")).Error())
	shows(t, "Join", errors.Join(fmt.Errorf("a %s", h.Key), fmt.Errorf("b %+v", h)).Error())
	func() {
		defer func() { shows(t, "panic", fmt.Sprint(recover())) }()
		panic(h)
	}()
}

func TestNoLogShowsTheSecret(t *testing.T) {
	h := newHolder()
	var buf bytes.Buffer
	options := &slog.HandlerOptions{Level: slog.LevelDebug, AddSource: true}
	for name, handler := range map[string]slog.Handler{
		"text": slog.NewTextHandler(&buf, options),
		"json": slog.NewJSONHandler(&buf, options),
		"tint": tint.NewTextHandler(&buf, &tint.Options{Level: slog.LevelDebug}),
	} {
		buf.Reset()
		l := slog.New(handler).With("with", h.Key)
		l.Info("m", "key", h.Key, "ptr", h.Ptr, "struct", h, "list", h.inner.list, slog.Group("g", "k", h.Key))
		l.Error("m", "err", fmt.Errorf("%v", h))
		if buf.Len() == 0 {
			t.Fatalf("%s wrote nothing", name)
		}
		shows(t, name, buf.String())
		if !strings.Contains(buf.String(), "[redacted]") {
			t.Errorf("%s: %s", name, buf.String())
		}
	}
}

func TestKey(t *testing.T) {
	k, same, other, zero := secret.New(canary), secret.New(canary), secret.New("gsk_other"), secret.Key{}
	if k.Reveal() != canary || k.IsZero() || zero.Reveal() != "" || !zero.IsZero() || !secret.New("").IsZero() {
		t.Error("a Key does not hold what it was given")
	}
	if !k.Equal(same) || k.Equal(other) || k.Equal(zero) || !zero.Equal(secret.New("")) {
		t.Error("Equal does not compare the secrets")
	}
	if zero.String() != "[redacted]" {
		t.Error("an empty Key tells that it is empty")
	}
}

// The filter carries this package, and every import is memory in every Envoy worker.
func TestFilterDependencies(t *testing.T) {
	cmd := exec.Command("go", "list", "-deps", ".")
	cmd.Env = append(cmd.Environ(), "GOOS=wasip1", "GOARCH=wasm")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, out)
	}
	deps := strings.Fields(string(out))
	if len(deps) < 5 {
		t.Fatalf("go list names too few packages: %v", deps)
	}
	for _, d := range deps {
		if strings.HasPrefix(d, "crypto") || d == "encoding/json" || d == "log/slog" || strings.HasPrefix(d, "net") {
			t.Errorf("the filter would carry %s", d)
		}
	}
}
