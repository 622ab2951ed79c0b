//go:build !wasip1

package plugin

import "time"

// hostMS is the host's time, in Unix milliseconds.
func hostMS() int64 { return time.Now().UnixMilli() }
