package bolt_test

import (
	"os"
	"syscall"
	"testing"
)

// asNobody has this thread reach files as a user who is not root, for whom permissions mean nothing.
func asNobody(t *testing.T) {
	const nobody = 65534
	if os.Geteuid() == 0 {
		if err := syscall.Setfsuid(nobody); err != nil {
			t.Error(err)
		}
	}
}
