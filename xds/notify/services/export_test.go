package services

// For tests of what cannot be seen from outside.
var (
	Names    = names
	Harmless = harmless
	Cut      = cut
	Repeats  = repeats
)

// LongestTitle is the longest title that the service takes, in bytes; 0: any, or none.
func (n *Notifier) LongestTitle() int { return n.longestTitle }
