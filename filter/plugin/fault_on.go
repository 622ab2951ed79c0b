//go:build faults

package plugin

// Fault is called in each callback, with the place's name. A test makes it fail.
var Fault func(where string)

func fault(where string) {
	if Fault != nil {
		Fault(where)
	}
}
