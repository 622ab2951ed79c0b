package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"

	"keywheel/xds/envoy"
	"keywheel/xds/envoycheck"
)

// envoyFile is what check --envoy is asked.
type envoyFile struct {
	path    string
	version string // of Envoy; empty: of the one on this machine, if there is one
	asJSON  bool
}

// envoyReport is what there is to say about an Envoy configuration.
type envoyReport struct {
	File         string `json:"file"`
	EnvoyVersion string `json:"envoy_version"` // empty: not known
	envoycheck.Report
}

// maxEnvoyFile is how large a configuration may be.
const maxEnvoyFile = 32 << 20

var envoyVersion = regexp.MustCompile(`^\d{1,4}\.\d{1,4}(\.\d{1,4})?$`)

// checkEnvoy says what is wrong with an Envoy configuration. Errors in it make it fail; settings are not looked at.
func (p *Program) checkEnvoy(ctx context.Context, f envoyFile) error {
	if f.version != "" && !envoyVersion.MatchString(f.version) {
		return fmt.Errorf("--envoy-version: %q is no version; write one such as 1.40.0", printable(f.version))
	}
	info, err := os.Stat(f.path)
	if err != nil {
		return fmt.Errorf("--envoy: %w", err)
	}
	if info.Size() > maxEnvoyFile {
		return fmt.Errorf("--envoy: %s is larger than %d MiB; name the file that Envoy is started with", f.path, maxEnvoyFile>>20)
	}
	text, err := os.ReadFile(f.path)
	if err != nil {
		return fmt.Errorf("--envoy: %w", err)
	}
	r := envoyReport{File: f.path, EnvoyVersion: f.version, Report: envoycheck.Check(text)}
	if r.EnvoyVersion == "" {
		if r.EnvoyVersion, err = p.installedEnvoy(ctx); err != nil {
			r.NotLookedAt = append(r.NotLookedAt, fmt.Sprintf("Envoy's version (%v; --envoy-version says it); Keywheel needs %s or newer", err, envoy.MinVersion))
		}
	}
	if r.EnvoyVersion != "" && !envoy.RecentVersion(r.EnvoyVersion) {
		r.Findings = append(r.Findings, envoycheck.TooOld(r.EnvoyVersion, envoy.MinVersion))
	}
	if f.asJSON {
		err = writeJSON(p.Stdout, r)
	} else {
		err = p.printf("%s", r.text())
	}
	if err != nil {
		return err
	}
	if n := r.Count(envoycheck.Error); n > 0 {
		return fmt.Errorf("%s has %s", f.path, counted(n, "error"))
	}
	return nil
}

// installedEnvoy is the version of the Envoy that is on this machine.
func (p *Program) installedEnvoy(ctx context.Context) (string, error) {
	_, version, err := envoy.Installed(ctx, envoy.Options{Getenv: p.getenv})
	if errors.Is(err, exec.ErrNotFound) && p.getenv("ENVOY") == "" {
		return "", errors.New("there is no envoy on PATH")
	}
	return version, err
}

// text is the report as people read it.
func (r envoyReport) text() string {
	var b strings.Builder
	for _, f := range r.Findings {
		at := r.File
		if f.Line > 0 {
			at += fmt.Sprintf(":%d", f.Line)
		}
		fmt.Fprintf(&b, "%s: %s: %s\n  %s\n  %s\n", printable(at), f.Severity, f.Code, printableLine(f.Place), printableLine(f.Wrong))
		if f.Write != "" {
			fmt.Fprintf(&b, "  Write:\n      %s\n", strings.ReplaceAll(printableLines(f.Write), "\n", "\n      "))
		}
		b.WriteByte('\n')
	}
	looked := fmt.Sprintf("looked at %s, %s (%d to Groq) and %s",
		counted(r.Listeners, "listener"), counted(r.Routes, "route"), r.GroqRoutes, counted(r.Clusters, "cluster"))
	if r.EnvoyVersion != "" {
		looked += ", for Envoy " + r.EnvoyVersion
	}
	verdict := "good for Keywheel"
	if len(r.Findings) > 0 {
		verdict = counted(r.Count(envoycheck.Error), "error") + ", " + counted(r.Count(envoycheck.Warning), "warning")
	}
	fmt.Fprintf(&b, "%s: %s (%s).\n", printable(r.File), verdict, looked)
	for _, what := range r.NotLookedAt {
		fmt.Fprintf(&b, "Not looked at: %s.\n", printableLine(what))
	}
	return b.String()
}

// counted is a number with its noun.
func counted(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
