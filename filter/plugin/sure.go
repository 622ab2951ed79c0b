package plugin

import (
	"keywheel/filter/account"
	"keywheel/filter/picker"
)

// sure is that a key has plenty left, as the newest choice of this VM's showed: until the next tick a call like that one
// is admitted without another look at the account. What other workers change in that time is the attempt's to see, which
// takes the key and can refuse as well. The zero value is sure of nothing.
type sure struct {
	version account.Version
	model   string
	need    int64 // the most tokens that a call may need
	left    int64 // tokens that may still be used up before another look is due
}

// plenty is for how many such calls there must be room.
const plenty = 64

func (s *sure) of(a *assigned, r picker.Request) bool {
	return s.left > 0 && r.Need <= s.need && r.Model == s.model && r.Only == "" && s.version == a.version()
}

// seen takes down what a choice showed.
func (v *vm) seen(a *assigned, r picker.Request, c picker.Choice) {
	v.inUse = c.InUse
	v.sure = sure{}
	if r.Only != "" || c.Key == nil || c.Again || c.Room.Free < plenty*r.Need || c.Room.FreeRequests < plenty || runsLow(c.Room) {
		return
	}
	v.sure = sure{version: a.version(), model: r.Model, need: r.Need, left: c.Room.Free / 2}
}

// runsLow says whether a later answer may allow more and a quarter of what was granted is left.
func runsLow(room account.Room) bool { return room.More && room.Unspent < room.Granted/4 }
