package protocol

// Bundle is what the plugin configuration carries: an envoy.extensions.transport_sockets.tls.v3.Secret whose
// generic_secret.secrets map holds inline bytes. Envoy prints such a configuration as [redacted]. The filter gets the
// raw protobuf and reads the few fields by hand, because the protobuf runtime costs each worker megabytes.
type Bundle map[string][]byte

// Protobuf field numbers, from envoy's secret.proto and base.proto.
const (
	secretGeneric     = 5 // Secret.generic_secret
	genericSecrets    = 2 // GenericSecret.secrets
	entryKey          = 1
	entryValue        = 2
	sourceInlineBytes = 2 // DataSource.inline_bytes
	sourceInlineText  = 3 // DataSource.inline_string
)

// ParseBundle reads a serialized Secret. The values alias b. It returns ErrMalformed for anything else; an empty
// Secret is an empty bundle.
func ParseBundle(b []byte) (Bundle, error) {
	out := Bundle{}
	err := fields(b, func(num int, v []byte) error {
		if num != secretGeneric {
			return nil
		}
		return fields(v, func(num int, v []byte) error {
			if num != genericSecrets {
				return nil
			}
			return out.entry(v)
		})
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

func (b Bundle) entry(v []byte) error {
	var name string
	var value []byte
	err := fields(v, func(num int, v []byte) error {
		switch num {
		case entryKey:
			name = string(v)
		case entryValue:
			return fields(v, func(num int, v []byte) error {
				if num == sourceInlineBytes || num == sourceInlineText {
					value = v
				}
				return nil
			})
		}
		return nil
	})
	if err == nil {
		b[name] = value
	}
	return err
}

// fields calls f for each length-delimited field of a message and skips the others.
func fields(b []byte, f func(num int, v []byte) error) error {
	for len(b) > 0 {
		tag, n := varint(b)
		if n == 0 || tag>>3 == 0 || tag>>3 > 1<<29-1 {
			return ErrMalformed
		}
		b = b[n:]
		var skip uint64
		switch tag & 7 {
		case 0:
			_, n := varint(b)
			if n == 0 {
				return ErrMalformed
			}
			skip = uint64(n)
		case 1:
			skip = 8
		case 5:
			skip = 4
		case 2:
			size, n := varint(b)
			if n == 0 || size > uint64(len(b)-n) {
				return ErrMalformed
			}
			if err := f(int(tag>>3), b[n:n+int(size)]); err != nil {
				return err
			}
			skip = uint64(n) + size
		default:
			return ErrMalformed
		}
		if skip > uint64(len(b)) {
			return ErrMalformed
		}
		b = b[skip:]
	}
	return nil
}

// varint reads a base-128 varint; n is 0 where there is none.
func varint(b []byte) (v uint64, n int) {
	for i, c := range b {
		if i == 10 || i == 9 && c > 1 {
			return 0, 0
		}
		v |= uint64(c&0x7f) << (7 * i)
		if c < 0x80 {
			return v, i + 1
		}
	}
	return 0, 0
}
