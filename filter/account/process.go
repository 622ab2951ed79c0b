package account

import (
	"keywheel/filter/record"
	"keywheel/shared/protocol"
)

// Incarnation returns this process's name, and creates it from propose where it has none yet.
func (k *Book) Incarnation(propose func() string) string {
	for {
		if b, _, ok := k.data.Get(incarnationName); ok {
			return string(b)
		}
		k.data.Swap(incarnationName, []byte(propose()), Absent)
	}
}

// VMs that have not shown a sign of life for this long are taken for dead and what they held is given back.
const vmTimeoutMS = 5000

// Beat is a VM's sign of life at the host's time. It returns which VMs are alive, and whether one was found dead.
func (k *Book) Beat(vm uint32, hostMS int64) (alive func(vm uint32) bool, died bool) {
	var ids []uint32
	update(k.data, vmsName, func(old []byte) []byte {
		ids, died = append(ids[:0], vm), false
		out := le.AppendUint64(le.AppendUint32(nil, vm), uint64(hostMS))
		for r := (record.Reader{Rest: old}); r.More(); {
			id, at := r.Uint32(), r.Int64()
			switch {
			case r.Bad, id == vm:
			case hostMS-at > vmTimeoutMS || at-hostMS > vmTimeoutMS:
				died = true
			default:
				ids = append(ids, id)
				out = le.AppendUint64(le.AppendUint32(out, id), uint64(at))
			}
		}
		return out
	})
	return func(vm uint32) bool {
		for _, id := range ids {
			if id == vm {
				return true
			}
		}
		return false
	}, died
}

// Sender is who sends this process's reports, and what it knows of them.
type Sender struct {
	VM      uint32  // that sends
	LeaseMS int64   // host's time at which anyone else may
	Seq     int64   // of the newest report
	SentMS  int64   // host's time of the newest report
	Version Version // of the newest answer
}

const senderSize = 4 + 5*8

func readSender(b []byte) Sender {
	if len(b) != senderSize {
		return Sender{}
	}
	r := record.Reader{Rest: b}
	return Sender{VM: r.Uint32(), LeaseMS: r.Int64(), Seq: r.Int64(), SentMS: r.Int64(), Version: Version{r.Int64(), r.Int64()}}
}

// Sender returns the state of reporting.
func (k *Book) Sender() Sender {
	b, _, _ := k.data.Get(senderName)
	return readSender(b)
}

// UpdateSender changes the state of reporting; f may run several times and returns false to leave it.
func (k *Book) UpdateSender(f func(s *Sender) bool) bool {
	done := false
	update(k.data, senderName, func(old []byte) []byte {
		s := readSender(old)
		if done = f(&s); !done {
			return nil
		}
		b := le.AppendUint32(make([]byte, 0, senderSize), s.VM)
		for _, v := range [...]int64{s.LeaseMS, s.Seq, s.SentMS, s.Version.Epoch, s.Version.Generation} {
			b = le.AppendUint64(b, uint64(v))
		}
		return b
	})
	return done
}

const versionSize = 2 * 8

// Assigned is the version of the newest assignment that an answer told of, for VMs that fetch theirs.
func (k *Book) Assigned() Version {
	b, _, _ := k.data.Get(assignedName)
	return readVersion(b)
}

func readVersion(b []byte) Version {
	if len(b) != versionSize {
		return Version{}
	}
	r := record.Reader{Rest: b}
	return Version{r.Int64(), r.Int64()}
}

// SetAssigned takes down that there is an assignment of this version. An older one than is known changes nothing.
func (k *Book) SetAssigned(v Version) {
	update(k.data, assignedName, func(old []byte) []byte {
		if !readVersion(old).Before(v) {
			return nil
		}
		return le.AppendUint64(le.AppendUint64(make([]byte, 0, versionSize), uint64(v.Epoch)), uint64(v.Generation))
	})
}

// Standing is what answers say of all keys together: the clock and each key's health and speed.
type Standing struct {
	Clock    protocol.Clock
	OffsetMS int64 // to add to the clock's time
	Keys     []protocol.KeyState
}

// SetStanding keeps what the newest answer said.
func (k *Book) SetStanding(s Standing) {
	b := le.AppendUint64(nil, uint64(s.Clock.AnchorHostMS))
	b = le.AppendUint64(b, uint64(s.Clock.AnchorNowMS))
	b = le.AppendUint64(b, uint64(int64(s.Clock.Speed*1e6)))
	b = le.AppendUint64(b, uint64(s.OffsetMS))
	for _, key := range s.Keys {
		b = record.AppendString(b, key.ID)
		b = le.AppendUint64(b, uint64(int64(key.Health*1e6)))
		b = le.AppendUint64(b, uint64(key.MedianMS))
	}
	update(k.data, answerName, func([]byte) []byte { return b })
}

// Standing returns what the newest answer said; ok is false before the first.
func (k *Book) Standing() (s Standing, ok bool) {
	b, _, ok := k.data.Get(answerName)
	if !ok {
		return s, false
	}
	r := record.Reader{Rest: b}
	s.Clock = protocol.Clock{AnchorHostMS: r.Int64(), AnchorNowMS: r.Int64(), Speed: float64(r.Int64()) / 1e6}
	s.OffsetMS = r.Int64()
	for r.More() {
		s.Keys = append(s.Keys, protocol.KeyState{ID: r.String(), Health: float64(r.Int64()) / 1e6, MedianMS: r.Int64()})
	}
	return s, !r.Bad
}
