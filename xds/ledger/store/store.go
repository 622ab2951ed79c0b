// Package store is where the ledger keeps its account for good: records with a name in a bucket, changed together.
package store

import "errors"

// Schema is the version of what the ledger writes. A store of a newer one is refused.
const Schema = 1

// Errors of opening a store. The message that wraps one says which store it is and what can be done.
var (
	ErrLocked  = errors.New("the store is in use by another process")
	ErrNewer   = errors.New("the store was written by a newer Keywheel")
	ErrForeign = errors.New("this is no store of Keywheel's")
	ErrCorrupt = errors.New("the store is damaged")
)

// Record is a value under a key in a bucket. Buckets and keys are not empty and do not hold a zero byte.
type Record struct {
	Bucket, Key string
	Value       []byte
}

// Store keeps records. Its methods are safe for concurrent use.
type Store interface {
	// Load calls f once for each record, buckets and keys in ascending order, with a Value that is f's to keep.
	// It returns f's first error and stops there; ErrCorrupt where what was read is not what was written.
	Load(f func(Record) error) error

	// Commit makes all writes, or none of them. A nil Value deletes the record, if there is one. When Commit returns
	// nil the writes outlive a power cut. When it returns an error they may or may not have been made, all
	// or none; the same writes can be committed again. A record is written at most once in one Commit.
	Commit(writes []Record) error

	// Replace makes these records all that there is, or changes nothing; else it is as Commit.
	Replace(records []Record) error

	// Close waits for a running Commit. After it Load and Commit return an error.
	Close() error
}
