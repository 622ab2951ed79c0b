package bolt

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
)

// The layout of a bbolt file, version 2, in the byte order of the host that wrote it.
const (
	magic   = 0xED0CDAED
	version = 2

	headerSize  = 16 // id u64, flags u16, count u16, overflow u32
	elementSize = 16
	metaSize    = 64 // magic, version, page size, flags u32; root u64, sequence u64; free list, high water, tx, sum u64
	bucketSize  = 16 // root u64, sequence u64

	branchFlag = 1
	leafFlag   = 2
	bucketFlag = 1 // of an element

	maxDepth = 32
)

var order = binary.NativeEndian

// contents is what a verified file holds.
type contents struct {
	format   map[string]string
	sum      sum
	tornHead bool // only one of the two heads is whole
}

// walker reads the pages that a head leads to. Whatever the bytes, it returns an error rather than fail otherwise.
type walker struct {
	r        io.ReaderAt
	pageSize int
	high     uint64 // pages at and beyond it were never used
	seen     map[uint64]bool
	found    contents
}

// verify reads everything in a file that bbolt would, and finds every page whole, used once and in its place, and
// every key in order. Bytes that nothing leads to may be anything.
func verify(r io.ReaderAt) (*contents, error) {
	head, torn, err := newestHead(r)
	if err != nil {
		return nil, err
	}
	w := walker{r: r, pageSize: head.pageSize, high: head.high, seen: map[uint64]bool{0: true, 1: true}}
	w.found = contents{format: map[string]string{}, tornHead: torn}
	if head.free != ^uint64(0) {
		return nil, errors.New("it was last written by another program")
	}
	if err := w.page(head.root, "", nil, nil, 0); err != nil {
		return nil, err
	}
	return &w.found, nil
}

type head struct {
	pageSize             int
	root, free, high, tx uint64
}

// newestHead finds the head of the last commit, of the two that a file has.
func newestHead(r io.ReaderAt) (newest head, torn bool, err error) {
	first, ok := readHead(r, 0, 0)
	if ok {
		second, ok := readHead(r, int64(first.pageSize), first.pageSize)
		switch {
		case !ok:
			return first, true, nil
		case second.tx > first.tx:
			return second, false, nil
		}
		return first, false, nil
	}
	for size := 1024; size <= 1<<24; size *= 2 {
		if second, ok := readHead(r, int64(size), size); ok {
			return second, true, nil
		}
	}
	return head{}, false, errors.New("neither of its heads is whole")
}

// readHead reads a head at off. pageSize is what it must say, 0 for any.
func readHead(r io.ReaderAt, off int64, pageSize int) (head, bool) {
	b := make([]byte, headerSize+metaSize)
	if _, err := r.ReadAt(b, off); err != nil {
		return head{}, false
	}
	b = b[headerSize:]
	h := fnv.New64a()
	h.Write(b[:metaSize-8])
	if order.Uint32(b) != magic || order.Uint32(b[4:]) != version || order.Uint64(b[56:]) != h.Sum64() {
		return head{}, false
	}
	size := int(order.Uint32(b[8:]))
	if size < 1024 || size > 1<<24 || size&(size-1) != 0 || pageSize != 0 && size != pageSize {
		return head{}, false
	}
	return head{pageSize: size, root: order.Uint64(b[16:]), free: order.Uint64(b[32:]), high: order.Uint64(b[40:]), tx: order.Uint64(b[48:])}, true
}

// page walks the page id and what lies below it. Its keys must be at least low and below high, where they are not nil.
// bucket is empty for the list of buckets.
func (w *walker) page(id uint64, bucket string, low, high []byte, depth int) error {
	if depth > maxDepth {
		return errors.New("its tree is too deep")
	}
	b, err := w.read(id)
	if err != nil {
		return err
	}
	switch order.Uint16(b[8:]) {
	case leafFlag:
		used, err := w.leaf(b, bucket, low, high, depth)
		return errors.Join(err, w.fits(b, used, id))
	case branchFlag:
		used, err := w.branch(b, bucket, low, high, depth)
		return errors.Join(err, w.fits(b, used, id))
	}
	return fmt.Errorf("page %d is of no known kind", id)
}

// read returns a page, with those that it runs over, and marks them as used.
func (w *walker) read(id uint64) ([]byte, error) {
	if id < 2 || id >= w.high {
		return nil, fmt.Errorf("page %d is outside the file", id)
	}
	b := make([]byte, w.pageSize)
	if _, err := w.r.ReadAt(b, int64(id)*int64(w.pageSize)); err != nil {
		return nil, fmt.Errorf("page %d cannot be read: %w", id, err)
	}
	if order.Uint64(b) != id {
		return nil, fmt.Errorf("page %d is another one", id)
	}
	over := uint64(order.Uint32(b[12:]))
	if over >= w.high-id {
		return nil, fmt.Errorf("page %d runs over the file's end", id)
	}
	for i := id; i <= id+over; i++ {
		if w.seen[i] {
			return nil, fmt.Errorf("page %d is used twice", i)
		}
		w.seen[i] = true
	}
	if over == 0 {
		return b, nil
	}
	rest := make([]byte, int(over)*w.pageSize)
	if _, err := w.r.ReadAt(rest, int64(id+1)*int64(w.pageSize)); err != nil {
		return nil, fmt.Errorf("page %d cannot be read: %w", id, err)
	}
	return append(b, rest...), nil
}

// fits says whether a page takes as many pages as its used bytes need.
func (w *walker) fits(b []byte, used int, id uint64) error {
	if need := max(1, (used+w.pageSize-1)/w.pageSize); need*w.pageSize != len(b) {
		return fmt.Errorf("page %d has a wrong size", id)
	}
	return nil
}

// leaf reads a leaf's elements and returns how many bytes they end at.
func (w *walker) leaf(b []byte, bucket string, low, high []byte, depth int) (used int, err error) {
	used = headerSize
	var last []byte
	for i := range int(order.Uint16(b[10:])) {
		at := headerSize + i*elementSize // flags, place, key size, value size u32
		if at+elementSize > len(b) {
			return 0, errOutside
		}
		keySize, valueSize := int(order.Uint32(b[at+8:])), int(order.Uint32(b[at+12:]))
		both, end, err := slice(b, at, int(order.Uint32(b[at+4:])), keySize+valueSize)
		if err != nil {
			return 0, err
		}
		key, value := both[:keySize], both[keySize:]
		if err := inOrder(key, &last, low, high); err != nil {
			return 0, err
		}
		used = max(used, end)
		if err := w.element(order.Uint32(b[at:]), bucket, key, value, depth); err != nil {
			return 0, err
		}
	}
	return used, nil
}

var errOutside = errors.New("an element points outside its page")

// slice returns the n bytes at pos after the element at elem, and where they end.
func slice(b []byte, elem, pos, n int) (part []byte, end int, err error) {
	from := elem + pos
	if pos < elementSize || from > len(b) || n > len(b)-from {
		return nil, 0, errOutside
	}
	return b[from : from+n], from + n, nil
}

func inOrder(key []byte, last *[]byte, low, high []byte) error {
	if *last != nil && bytes.Compare(*last, key) >= 0 || low != nil && bytes.Compare(low, key) > 0 || high != nil && bytes.Compare(key, high) >= 0 {
		return errors.New("its keys are out of order")
	}
	*last = key
	return nil
}

// element takes down a record, or walks a bucket.
func (w *walker) element(flags uint32, bucket string, key, value []byte, depth int) error {
	switch {
	case bucket == "" && flags != bucketFlag, bucket != "" && flags != 0, len(key) == 0:
		return errors.New("a record is where none can be")
	case bucket == formatBucket:
		w.found.format[string(key)] = string(value)
		return nil
	case bucket != "":
		w.found.sum.add(bucket, key, value)
		return nil
	case len(value) < bucketSize:
		return errors.New("a bucket is too short")
	}
	root := order.Uint64(value)
	if root != 0 {
		return w.page(root, string(key), nil, nil, depth+1)
	}
	inline := value[bucketSize:]
	if len(inline) < headerSize || order.Uint16(inline[8:]) != leafFlag || order.Uint32(inline[12:]) != 0 {
		return errors.New("a bucket is not whole")
	}
	used, err := w.leaf(inline, string(key), nil, nil, depth+1)
	if err == nil && used != len(inline) {
		err = errors.New("a bucket has a wrong size")
	}
	return err
}

// branch walks a branch's pages and returns how many bytes its elements end at.
func (w *walker) branch(b []byte, bucket string, low, high []byte, depth int) (used int, err error) {
	used = headerSize
	count := int(order.Uint16(b[10:]))
	if count == 0 {
		return 0, errors.New("a branch is empty")
	}
	keys, pages := make([][]byte, count), make([]uint64, count)
	var last []byte
	for i := range count {
		at := headerSize + i*elementSize // place, size u32, page u64
		if at+elementSize > len(b) {
			return 0, errOutside
		}
		var end int
		if keys[i], end, err = slice(b, at, int(order.Uint32(b[at:])), int(order.Uint32(b[at+4:]))); err != nil {
			return 0, err
		}
		if err := inOrder(keys[i], &last, low, high); err != nil {
			return 0, err
		}
		pages[i] = order.Uint64(b[at+8:])
		used = max(used, end)
	}
	for i, id := range pages {
		next := high
		if i+1 < count {
			next = keys[i+1]
		}
		if err := w.page(id, bucket, keys[i], next, depth+1); err != nil {
			return 0, err
		}
	}
	return used, nil
}
