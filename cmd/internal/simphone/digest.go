package simphone

import (
	"crypto/md5"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
)

// challenge is one WWW-Authenticate or Proxy-Authenticate header (RFC 7616).
type challenge struct {
	realm, nonce, opaque, algorithm, qop string
	stale                                bool
}

// strongest chooses SHA-256 before MD5 among the challenges of a 401 or 407.
func strongest(m *message) (challenge, bool) {
	name := "WWW-Authenticate"
	if m.code == 407 {
		name = "Proxy-Authenticate"
	}
	var best challenge
	found := false
	for _, h := range m.headers {
		if !strings.EqualFold(h.name, name) {
			continue
		}
		c, ok := parseChallenge(h.value)
		if ok && (!found || (c.algorithm == "SHA-256" && best.algorithm != "SHA-256")) {
			best, found = c, true
		}
	}
	return best, found
}

func parseChallenge(value string) (challenge, bool) {
	rest, found := strings.CutPrefix(value, "Digest ")
	if !found {
		return challenge{}, false
	}
	c := challenge{algorithm: "MD5"}
	for _, p := range splitList(rest) {
		k, v, _ := strings.Cut(p, "=")
		v = strings.Trim(strings.TrimSpace(v), `"`)
		switch strings.ToLower(strings.TrimSpace(k)) {
		case "realm":
			c.realm = v
		case "nonce":
			c.nonce = v
		case "opaque":
			c.opaque = v
		case "algorithm":
			c.algorithm = strings.ToUpper(v)
		case "stale":
			c.stale = strings.EqualFold(v, "true")
		case "qop":
			for _, q := range strings.Split(v, ",") {
				if strings.TrimSpace(q) == "auth" {
					c.qop = "auth"
				}
			}
		}
	}
	return c, c.nonce != "" && (c.algorithm == "MD5" || c.algorithm == "SHA-256")
}

// answer is the Authorization value for a request.
func (c challenge) answer(user, password, method, uri string, nc int) string {
	hash := func(s string) string {
		if c.algorithm == "SHA-256" {
			sum := sha256.Sum256([]byte(s))
			return hex.EncodeToString(sum[:])
		}
		sum := md5.Sum([]byte(s))
		return hex.EncodeToString(sum[:])
	}
	ha1 := hash(user + ":" + c.realm + ":" + password)
	ha2 := hash(method + ":" + uri)
	var b strings.Builder
	fmt.Fprintf(&b, `Digest username="%s", realm="%s", nonce="%s", uri="%s", algorithm=%s`, user, c.realm, c.nonce, uri, c.algorithm)
	if c.qop == "" {
		fmt.Fprintf(&b, `, response="%s"`, hash(ha1+":"+c.nonce+":"+ha2))
	} else {
		count, cnonce := fmt.Sprintf("%08x", nc), token(8)
		fmt.Fprintf(&b, `, response="%s", qop=auth, nc=%s, cnonce="%s"`, hash(strings.Join([]string{ha1, c.nonce, count, cnonce, "auth", ha2}, ":")), count, cnonce)
	}
	if c.opaque != "" {
		fmt.Fprintf(&b, `, opaque="%s"`, c.opaque)
	}
	return b.String()
}

// token is n random bytes in hex.
func token(n int) string {
	b := make([]byte, n)
	rand.Read(b) // never fails
	return hex.EncodeToString(b)
}
