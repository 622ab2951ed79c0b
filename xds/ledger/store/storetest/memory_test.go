package storetest_test

import (
	"testing"

	"keywheel/xds/ledger/store"
	"keywheel/xds/ledger/store/storetest"
)

type memoryPlace struct{ memory *storetest.Memory }

func (p memoryPlace) Open() (store.Store, error) { return p.memory.Open(), nil }

func TestMemory(t *testing.T) {
	storetest.Run(t, func(testing.TB) storetest.Place { return memoryPlace{storetest.NewMemory()} })
}
