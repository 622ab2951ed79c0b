//go:build !faults

package plugin

// fault is where tests of the guards make a callback fail. The module that ships is built without the tag.
func fault(string) {}
