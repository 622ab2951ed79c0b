package account

// Panicked counts a bug that a callback met.
func (k *Book) Panicked() {
	update(k.data, panicsName, func(old []byte) []byte { return le.AppendUint64(nil, uint64(readPanics(old)+1)) })
}

// Panics is how many bugs callbacks met, in this process.
func (k *Book) Panics() int64 {
	b, _, _ := k.data.Get(panicsName)
	return readPanics(b)
}

func readPanics(b []byte) int64 {
	if len(b) != 8 {
		return 0
	}
	return max(0, i64(b, 0))
}
