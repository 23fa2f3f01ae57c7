package care

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"hash"
	"strings"
	"sync"
)

// vault encrypts what is kept encrypted: ID number, key safe, door code and duress
// word. Look-ups go by a keyed hash, so neither the file nor a copy of it tells
// whose number is whose.
type vault struct {
	aead cipher.AEAD
	hash sync.Pool // of hash.Hash: the keyed hash, its key worked in already
}

// IDKeySize is the length of the key in RegistryOptions.
const IDKeySize = 32

func newVault(key []byte) (*vault, error) {
	if len(key) != IDKeySize {
		return nil, fmt.Errorf("the key of ID numbers has %d bytes, want %d", len(key), IDKeySize)
	}
	block, err := aes.NewCipher(derive(key, "anling id number encryption"))
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, err
	}
	lookUp := derive(key, "anling id number look-up")
	return &vault{aead: aead, hash: sync.Pool{New: func() any { return hmac.New(sha256.New, lookUp) }}}, nil
}

func derive(key []byte, purpose string) []byte {
	m := hmac.New(sha256.New, key)
	m.Write([]byte(purpose))
	return m.Sum(nil)
}

// check names the key without telling it: a registry is opened with the key that
// it was written with.
func (v *vault) check() string { return v.lookup("check", "key") }

// lookup is the keyed hash of a value.
func (v *vault) lookup(kind, value string) string {
	m := v.hash.Get().(hash.Hash)
	defer v.hash.Put(m)
	m.Reset()
	var sum [sha256.Size]byte
	m.Write([]byte(kind + "\x00" + value))
	return base64.RawURLEncoding.EncodeToString(m.Sum(sum[:0])[:18])
}

const secretSep = "\x1f"

// seal encrypts the secrets of an elder, bound to the elder's id.
func (v *vault) seal(e *Elder) string {
	if e.IDNumber == "" && e.KeySafe == "" && e.DoorCode == "" && e.Communication.DuressWord == "" {
		return ""
	}
	plain := strings.Join([]string{e.IDNumber, e.KeySafe, e.DoorCode, e.Communication.DuressWord}, secretSep)
	nonce := make([]byte, v.aead.NonceSize(), v.aead.NonceSize()+len(plain)+v.aead.Overhead())
	rand.Read(nonce) //nolint:errcheck // never fails since Go 1.24
	return base64.RawStdEncoding.EncodeToString(v.aead.Seal(nonce, nonce, []byte(plain), []byte(e.ID)))
}

// open puts the secrets back into the record.
func (v *vault) open(sealed string, e *Elder) error {
	if sealed == "" {
		return nil
	}
	b, err := base64.RawStdEncoding.DecodeString(sealed)
	if err != nil || len(b) < v.aead.NonceSize() {
		return fmt.Errorf("secrets of elder %s are damaged", e.ID)
	}
	plain, err := v.aead.Open(nil, b[:v.aead.NonceSize()], b[v.aead.NonceSize():], []byte(e.ID))
	if err != nil {
		return fmt.Errorf("secrets of elder %s cannot be read with this key", e.ID)
	}
	parts := strings.Split(string(plain), secretSep)
	if len(parts) != 4 {
		return fmt.Errorf("secrets of elder %s are damaged", e.ID)
	}
	e.IDNumber, e.KeySafe, e.DoorCode, e.Communication.DuressWord = parts[0], parts[1], parts[2], parts[3]
	return nil
}

// errNoKey is what a registry without a key answers to an ID number.
var errNoKey = errors.New("no key for ID numbers was given")
