package config

import (
	"errors"
	"strings"
)

// ErrNoKeys is in the error of Load when no Groq key is set at all.
var ErrNoKeys = errors.New("no Groq key is set")

// Problem is one thing that is wrong with the settings.
type Problem struct {
	Name  string // of the setting, in keywheel.yaml its path; or the file and line
	Wrong string // what is wrong
	Fix   string // what to write instead
	Where string // file and line that set it; empty: the environment
	Err   error  // what it wraps; may be nil
}

func (p Problem) Error() string {
	s := p.Name + ": " + p.Wrong
	if p.Fix != "" {
		s += "; " + p.Fix
	}
	if p.Where != "" {
		s += " (" + p.Where + ")"
	}
	return s
}

// Unwrap returns what the problem wraps.
func (p Problem) Unwrap() error { return p.Err }

// Problems is all that is wrong, in the order of the settings. Its text has a line for each.
type Problems []Problem

func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap lets errors.Is and errors.As see each problem.
func (ps Problems) Unwrap() []error {
	errs := make([]error, len(ps))
	for i, p := range ps {
		errs[i] = p
	}
	return errs
}

// Warning is something that works, but perhaps not as meant.
type Warning struct {
	Name string // as a Problem's
	Text string
}

func (w Warning) String() string { return w.Name + ": " + w.Text }
