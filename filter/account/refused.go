package account

import "hash/fnv"

// Refuse counts a message of the control plane's that could not be used. Each worker refuses the same one: it counts once,
// unless another was refused in between.
func (k *Book) Refuse(message []byte) {
	h := fnv.New64a()
	_, _ = h.Write(message) // never fails
	update(k.data, refusedName, func(old []byte) []byte {
		n, last := readRefused(old)
		if n > 0 && last == h.Sum64() {
			return nil
		}
		return le.AppendUint64(le.AppendUint64(nil, uint64(n+1)), h.Sum64())
	})
}

// Refusals is how often Refuse counted, in this process.
func (k *Book) Refusals() int64 {
	b, _, _ := k.data.Get(refusedName)
	n, _ := readRefused(b)
	return n
}

func readRefused(b []byte) (n int64, last uint64) {
	if len(b) != 2*8 {
		return 0, 0
	}
	return max(0, i64(b, 0)), le.Uint64(b[8:])
}
