package plugin

import "syscall"

// hostMS is the host's time, in Unix milliseconds. time.Now would ask the host for a second clock as well.
func hostMS() int64 {
	var tv syscall.Timeval
	if err := syscall.Gettimeofday(&tv); err != nil {
		return 0 // it cannot fail
	}
	return tv.Sec*1000 + int64(tv.Usec)/1000
}
