package plugin

// spare keeps what calls have done with for those that come: it is large, and every one would else be garbage.
// Its zero value is ready. A VM has one thread.
type spare[T any] struct{ free []*T }

// mostSpare bounds what a burst leaves behind.
const mostSpare = 64

// Neither method is inlined: they are called at many places, and what a call executes should be little code.

// take returns a T, which may hold what its last user left.
//
//go:noinline
func (s *spare[T]) take() *T {
	n := len(s.free)
	if n == 0 {
		return new(T)
	}
	v := s.free[n-1]
	s.free = s.free[:n-1]
	return v
}

// give takes back what take returned; nil is nothing. The caller must forget it.
//
//go:noinline
func (s *spare[T]) give(v *T) {
	if v != nil && len(s.free) < mostSpare {
		s.free = append(s.free, v)
	}
}
