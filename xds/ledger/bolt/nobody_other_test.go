//go:build !linux

package bolt_test

import "testing"

// asNobody does nothing: tests run as an ordinary user here.
func asNobody(*testing.T) {}
