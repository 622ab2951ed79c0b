// Package seal keeps secrets that are stored from whoever has the store but not the master key.
//
// The rules are:
//   - A box is AES-256-GCM under a key that Argon2id makes of the master key, with a salt that is in the box; so a
//     master key may be a passphrase.
//   - A box says what it is for. It cannot be opened as another's, nor moved to another place.
//   - Of several master keys the first seals, all open. So a master key is replaced by naming the new one first.
package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"strings"
	"sync"

	"golang.org/x/crypto/argon2"

	"keywheel/shared/secret"
)

// Errors of Open.
var (
	// ErrWrongKey is a box that no master key opens: it was sealed under another one, or was changed.
	ErrWrongKey = errors.New("no master key opens it")
	// ErrNoBox is text that Seal did not make.
	ErrNoBox = errors.New("it is no sealed secret")
)

// version begins every box.
const version = "kw1"

// Argon2id's costs: RFC 9106, section 4, the second recommended option.
const (
	passes   = 3
	memory   = 64 << 10 // KiB
	threads  = 4
	keyBytes = 32
	salt     = 16 // bytes
)

// Sealer seals and opens. It is safe for concurrent use.
type Sealer struct {
	masters []secret.Key
	salt    string // of what it seals

	mu      sync.Mutex
	derived map[place]cipher.AEAD
}

// place is a master key, by its number, with a salt.
type place struct {
	master int
	salt   string
}

// New returns a Sealer with at least one master key, the first of which seals.
func New(masters []secret.Key) (*Sealer, error) {
	if len(masters) == 0 || masters[0].IsZero() {
		return nil, errors.New("there is no master key")
	}
	random := make([]byte, salt)
	_, _ = rand.Read(random) // never fails, by its documentation
	return &Sealer{masters: masters, salt: string(random), derived: map[place]cipher.AEAD{}}, nil
}

// Seal returns a box that Open opens for the same purpose.
func (s *Sealer) Seal(purpose string, plain secret.Key) (string, error) {
	aead, err := s.cipher(place{0, s.salt})
	if err != nil {
		return "", err
	}
	nonce := make([]byte, aead.NonceSize())
	_, _ = rand.Read(nonce)
	text := base64.RawURLEncoding.EncodeToString
	return strings.Join([]string{version, text([]byte(s.salt)), text(nonce), text(aead.Seal(nil, nonce, []byte(plain.Reveal()), []byte(purpose)))}, "."), nil
}

// Open returns what a box holds, and whether the first master key sealed it; else it should be sealed anew.
func (s *Sealer) Open(purpose, box string) (plain secret.Key, current bool, err error) {
	parts := strings.Split(box, ".")
	if len(parts) != 4 || parts[0] != version {
		return secret.Key{}, false, ErrNoBox
	}
	var raw [3][]byte
	for i, part := range parts[1:] {
		if raw[i], err = base64.RawURLEncoding.DecodeString(part); err != nil {
			return secret.Key{}, false, ErrNoBox
		}
	}
	if len(raw[0]) != salt || len(raw[1]) != 12 {
		return secret.Key{}, false, ErrNoBox
	}
	for i := range s.masters {
		aead, err := s.cipher(place{i, string(raw[0])})
		if err != nil {
			return secret.Key{}, false, err
		}
		if opened, err := aead.Open(nil, raw[1], raw[2], []byte(purpose)); err == nil {
			return secret.New(string(opened)), i == 0, nil
		}
	}
	return secret.Key{}, false, ErrWrongKey
}

// cipher makes the key of a place, which takes a moment, once.
func (s *Sealer) cipher(p place) (cipher.AEAD, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if aead := s.derived[p]; aead != nil {
		return aead, nil
	}
	block, err := aes.NewCipher(argon2.IDKey([]byte(s.masters[p.master].Reveal()), []byte(p.salt), passes, memory, threads, keyBytes))
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, err
	}
	s.derived[p] = aead
	return aead, nil
}
