package config

import (
	"hash/maphash"
)

// content is what reading a file gave.
type content struct {
	bytes []byte
	err   error
}

// read reads a file once: all that is said of it holds of one moment.
func (l *loader) read(path string) ([]byte, error) {
	c, done := l.files[path]
	if !done {
		c.bytes, c.err = l.opts.ReadFile(path)
		l.files[path] = c
	}
	return c.bytes, c.err
}

// sources are the files that settings came from, with a sum of what each held; those that could not be read, too.
type sources map[string]uint64

// seed makes the sums useless outside this process: what they are of may be short.
var seed = maphash.MakeSeed()

func (c content) sum() uint64 {
	if c.err != nil {
		return maphash.String(seed, "unreadable: "+c.err.Error())
	}
	return maphash.Bytes(seed, c.bytes)
}

func (l *loader) sources() sources {
	all := make(sources, len(l.files))
	for path, c := range l.files {
		all[path] = c.sum()
	}
	return all
}
