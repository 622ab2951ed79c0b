package account_test

import (
	"testing"

	"keywheel/filter/account"
	"keywheel/filter/account/accounttest"
)

func TestTheNewestAssignmentThatWasToldOf(t *testing.T) {
	b := account.NewBook(&accounttest.Data{})
	if got := b.Assigned(); got != (account.Version{}) {
		t.Errorf("before any answer: %+v", got)
	}
	for _, c := range []struct{ told, want account.Version }{
		{account.Version{Epoch: 1, Generation: 5}, account.Version{Epoch: 1, Generation: 5}},
		{account.Version{Epoch: 1, Generation: 4}, account.Version{Epoch: 1, Generation: 5}},
		{account.Version{Epoch: 2, Generation: 1}, account.Version{Epoch: 2, Generation: 1}}, // a restored store
		{account.Version{Epoch: 1, Generation: 9}, account.Version{Epoch: 2, Generation: 1}},
	} {
		b.SetAssigned(c.told)
		if got := b.Assigned(); got != c.want {
			t.Errorf("after %+v: %+v, want %+v", c.told, got, c.want)
		}
	}
}

func TestBugsAreCounted(t *testing.T) {
	b := account.NewBook(&accounttest.Data{})
	for want := range int64(3) {
		if got := b.Panics(); got != want {
			t.Errorf("%d, want %d", got, want)
		}
		b.Panicked()
	}
}
