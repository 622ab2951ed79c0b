package harness

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"syscall"
	"testing"
	"unsafe"

	"keywheel/xds/logging/loggingtest"
)

// openTerminal makes a pseudo-terminal, and returns what stands on it and the end that a child writes to.
func openTerminal(t testing.TB) (*loggingtest.Buffer, *os.File) {
	t.Helper()
	ours, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ours.Close() })
	var locked, number int32
	for request, arg := range map[uintptr]*int32{syscall.TIOCSPTLCK: &locked, syscall.TIOCGPTN: &number} {
		if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, ours.Fd(), request, uintptr(unsafe.Pointer(arg))); errno != 0 {
			t.Fatalf("make a terminal: %v", errno)
		}
	}
	theirs, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	s := &loggingtest.Buffer{}
	go func() { _, _ = ours.WriteTo(s) }() // until the child has ended
	return s, theirs
}

var link = regexp.MustCompile(`http://[^\s]+/#token=[^\s]+`)

// StartOnTerminal is Start with a terminal to write to, as a person has it. It returns the link to the page that is
// shown there and signs in.
func (k *Keywheel) StartOnTerminal(t testing.TB, subcommand string) string {
	t.Helper()
	shown, theirs := openTerminal(t)
	k.stdout = theirs
	k.Start(t, subcommand)
	k.stdout = nil
	_ = theirs.Close() // the child has its own
	var found string
	Eventually(t, "the terminal shows the link", func() error {
		if found = link.FindString(shown.String()); found == "" {
			return errors.New("it does not")
		}
		return nil
	})
	return found
}
