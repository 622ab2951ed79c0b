// Package account keeps the account inside one Envoy process: what every credential was spent on, what requests in
// flight hold of it, what was learned about it. It lives in the host's shared data, so that all workers see one truth
// and it outlives xDS pushes, plugin rebuilds and a worker's crash; not the process.
//
// Values have a fixed binary form with a version in front, little endian. An entry of another version, or one that is
// damaged, is started anew: that can only happen when the module is replaced under a running Envoy.
//
// The package is pure but for the Data it is given: bytes and times in, values out.
package account

// Data is the host's shared data.
type Data interface {
	// Get returns the value's bytes, which the caller owns, and the number to swap against. ok is false where the
	// name does not exist.
	Get(name string) (value []byte, cas uint32, ok bool)
	// Swap stores value if nobody did since Get returned cas, or, with cas Absent, if the name does not exist.
	Swap(name string, value []byte, cas uint32) bool
}

// Absent is the compare-and-swap number with which a name is created. 0 would overwrite blindly: two workers that
// create the same counter at once would lose one's counts.
const Absent = 0xFFFFFFFF

// Names of the entries. They can be neither deleted nor listed, so they are few and fixed.
const (
	credentialPrefix = "kw/c/"
	gateName         = "kw/gate"
	findingsName     = "kw/findings"
	notesName        = "kw/notes"
	indexName        = "kw/index"
	incarnationName  = "kw/incarnation"
	senderName       = "kw/sender"
	vmsName          = "kw/vms"
	answerName       = "kw/answer"
	refusedName      = "kw/refused"
	panicsName       = "kw/panics"
	assignedName     = "kw/assigned"
)

// update replaces the value of name by what f makes of it, again and again until nobody else did at the same time.
// f may run several times; it returns nil to leave the value as it is.
func update(d Data, name string, f func(old []byte) []byte) {
	for {
		old, cas, ok := d.Get(name)
		if !ok {
			cas = Absent
		}
		v := f(old)
		if v == nil || d.Swap(name, v, cas) {
			return
		}
	}
}
