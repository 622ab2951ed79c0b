// Package accounttest helps to test what keeps an account.
package accounttest

import (
	"slices"
	"sync"
)

// Data is an account.Data in memory that behaves as Envoy's shared data does.
type Data struct {
	mu     sync.Mutex
	values map[string]value
	last   uint32
}

type value struct {
	b   []byte
	cas uint32
}

// Get implements account.Data.
func (d *Data) Get(name string) ([]byte, uint32, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	v, ok := d.values[name]
	return slices.Clone(v.b), v.cas, ok
}

// Swap implements account.Data. As in Envoy, cas 0 overwrites whatever is there.
func (d *Data) Swap(name string, b []byte, cas uint32) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if v, ok := d.values[name]; ok && cas != 0 && v.cas != cas {
		return false
	}
	if d.values == nil {
		d.values = map[string]value{}
	}
	d.last++
	d.values[name] = value{slices.Clone(b), d.last}
	return true
}

// Size is how many bytes are kept under a name.
func (d *Data) Size(name string) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.values[name].b)
}

// Corrupt replaces a value behind everybody's back.
func (d *Data) Corrupt(name string, f func(b []byte) []byte) {
	b, cas, ok := d.Get(name)
	if ok {
		d.Swap(name, f(b), cas)
	}
}
