// Package secret holds the bytes of API keys in a type that cannot print itself.
//
// It is a leaf: the small standard library only, as it is part of the filter.
package secret

import "fmt"

// redacted is all that a Key ever shows.
const redacted = "[redacted]"

// Key is a secret. It shows "[redacted]" under every fmt verb, in JSON and other text encodings, and in logs, also
// deep inside other values. Only Reveal gives its bytes.
//
// The zero Key holds nothing. Keys are copied freely and compared with Equal, never with ==.
type Key struct {
	// A pointer: fmt prints an unexported field by reflection, without its methods, and stops at a nested pointer.
	bytes *string
}

// New returns a Key that holds s.
func New(s string) Key {
	if s == "" {
		return Key{}
	}
	return Key{&s}
}

// Reveal returns the secret's bytes. Call it only where they leave for the one place that needs them.
func (k Key) Reveal() string {
	if k.bytes == nil {
		return ""
	}
	return *k.bytes
}

// IsZero says that the Key holds nothing.
func (k Key) IsZero() bool { return k.bytes == nil }

// Equal says that two Keys hold the same secret.
func (k Key) Equal(o Key) bool { return k.Reveal() == o.Reveal() }

// Format implements fmt.Formatter for every verb.
func (k Key) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(redacted)) }

// String implements fmt.Stringer.
func (k Key) String() string { return redacted }

// GoString implements fmt.GoStringer.
func (k Key) GoString() string { return redacted }

// MarshalText implements encoding.TextMarshaler, by which YAML, TOML and slog write values.
func (k Key) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// MarshalJSON implements json.Marshaler.
func (k Key) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }
