package web

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"strings"

	"golang.org/x/crypto/argon2"
	"golang.org/x/sync/semaphore"

	"anling/care"
)

// Cost of argon2id: the second recommendation of OWASP, 19 MiB and two passes. A hash
// says its own cost, so raising it leaves old hashes good.
const (
	argonMemory = 19456 // KiB
	argonPasses = 2
	argonLanes  = 1
	argonKey    = 32
	argonSalt   = 16

	passwordMin = 8
	passwordMax = 256
)

// hashing bounds how many passwords are hashed at once: each takes 19 MiB.
var hashing = semaphore.NewWeighted(4)

// HashPassword makes the PHC string of a password.
func HashPassword(password string) (string, error) {
	if n := len([]rune(password)); n < passwordMin || n > passwordMax {
		return "", care.Invalid("password", "must have %d to %d characters", passwordMin, passwordMax)
	}
	salt := make([]byte, argonSalt)
	_, _ = rand.Read(salt) // never fails
	key := argon2.IDKey([]byte(password), salt, argonPasses, argonMemory, argonLanes, argonKey)
	b64 := base64.RawStdEncoding.EncodeToString
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, argonMemory, argonPasses, argonLanes, b64(salt), b64(key)), nil
}

// nobody is what an unknown name's password is compared with, so that the answer takes
// as long as for a known one.
const nobody = "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"

// CheckPassword tells whether a password is that of a PHC string.
func CheckPassword(ctx context.Context, phc, password string) (bool, error) {
	var version, memory, passes int
	var lanes uint8
	parts := strings.Split(phc, "$")
	if len(parts) != 6 || parts[1] != "argon2id" {
		return false, fmt.Errorf("password hash: not argon2id")
	}
	if _, err := fmt.Sscanf(parts[2]+" "+parts[3], "v=%d m=%d,t=%d,p=%d", &version, &memory, &passes, &lanes); err != nil || version != argon2.Version {
		return false, fmt.Errorf("password hash: version or cost: %w", err)
	}
	salt, err := base64.RawStdEncoding.DecodeString(parts[4])
	if err != nil {
		return false, fmt.Errorf("password hash: salt: %w", err)
	}
	want, err := base64.RawStdEncoding.DecodeString(parts[5])
	if err != nil {
		return false, fmt.Errorf("password hash: key: %w", err)
	}
	if memory > 1<<20 || passes > 16 || len(want) < 16 || lanes == 0 {
		return false, fmt.Errorf("password hash: cost out of range")
	}
	if err := hashing.Acquire(ctx, 1); err != nil {
		return false, err
	}
	defer hashing.Release(1)
	got := argon2.IDKey([]byte(password), salt, uint32(passes), uint32(memory), lanes, uint32(len(want)))
	return subtle.ConstantTimeCompare(got, want) == 1, nil
}
