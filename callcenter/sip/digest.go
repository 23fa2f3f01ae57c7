package sip

import (
	"context"
	"crypto/hmac"
	"crypto/md5"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/emiago/sipgo/sip"
	"github.com/icholy/digest"
)

// Accounts knows the secrets of telephones; web's accounts in the store are one.
type Accounts interface {
	// Digest returns HA1 = H(account:realm:password) in lower-case hex for
	// algorithm "SHA-256" or "MD5"; ok is false when the account does not exist,
	// is locked, or has no secret of that kind.
	Digest(ctx context.Context, account, realm, algorithm string) (ha1 string, ok bool)
}

// Algorithms that we offer, the stronger first (RFC 8760).
const (
	algSHA256 = "SHA-256"
	algMD5    = "MD5"
)

const (
	nonceLife   = 5 * time.Minute
	nonceWindow = 64     // answers may overtake each other by so many
	noncesKept  = 100000 // per half of the table; only who knows a password makes one
)

// digestServer challenges and checks (RFC 7616, RFC 3261 22).
type digestServer struct {
	realm    string
	accounts Accounts
	key      [32]byte
	now      func() time.Time

	mu         sync.Mutex
	young, old map[string]*counts       // guarded by mu; nonce -> counts seen
	asked      map[netip.AddrPort]int64 // guarded by mu; challenged and not heard of since, unix seconds
}

// Telephones whose SIP stack gives up at the sight of an algorithm that it does
// not know, instead of taking the next challenge (RFC 8760 2.4): libre before 2.0.
var md5Agents = []string{"baresip v0.", "baresip v1."}

// counts remembers which nonce counts were used: the highest, and a bit for each
// of the 64 below.
type counts struct {
	high uint32
	seen uint64
}

func newDigestServer(realm string, a Accounts, now func() time.Time) *digestServer {
	d := &digestServer{realm: realm, accounts: a, now: now, young: map[string]*counts{}, asked: map[netip.AddrPort]int64{}}
	rand.Read(d.key[:])
	return d
}

// nonce is time, randomness and their HMAC: it needs no memory until it is used.
func (d *digestServer) nonce() string {
	var b [32]byte
	binary.BigEndian.PutUint64(b[:8], uint64(d.now().UnixNano()))
	rand.Read(b[8:16])
	copy(b[16:], d.mac(b[:16]))
	return base64.RawURLEncoding.EncodeToString(b[:])
}

func (d *digestServer) mac(b []byte) []byte {
	m := hmac.New(sha256.New, d.key[:])
	m.Write(b)
	return m.Sum(nil)[:16]
}

// check tells whether a nonce is ours, and whether it is still fresh.
func (d *digestServer) checkNonce(nonce string) (ours, fresh bool) {
	b, err := base64.RawURLEncoding.DecodeString(nonce)
	if err != nil || len(b) != 32 || !hmac.Equal(b[16:], d.mac(b[:16])) {
		return false, false
	}
	age := d.now().Sub(time.Unix(0, int64(binary.BigEndian.Uint64(b[:8]))))
	return true, age >= -time.Second && age <= nonceLife
}

// verdict is what came of a request's credentials.
type verdict struct {
	account string
	ok      bool
	stale   bool // all is right but the nonce's age
	tried   bool // there were credentials, and they are wrong
}

// verify checks the Authorization of a request. Unknown accounts cost the same
// work and get the same answer as wrong passwords.
func (d *digestServer) verify(ctx context.Context, req *sip.Request) verdict {
	for _, h := range req.GetHeaders("Authorization") {
		c, err := digest.ParseCredentials(h.Value())
		if err != nil || c.Realm != d.realm || d.accounts == nil {
			continue
		}
		return d.verifyOne(ctx, req, c)
	}
	return verdict{}
}

func (d *digestServer) verifyOne(ctx context.Context, req *sip.Request, c *digest.Credentials) verdict {
	alg := strings.ToUpper(c.Algorithm)
	if alg == "" {
		alg = algMD5
	}
	bad := verdict{tried: true, account: c.Username}
	if alg != algSHA256 && alg != algMD5 || c.QOP != "auth" || c.Nc <= 0 || len(c.Username) > 128 {
		return bad
	}
	ha1, known := d.accounts.Digest(ctx, c.Username, d.realm, alg)
	if !known {
		ha1 = hexOf(alg, c.Username, d.realm, "no such account")
	}
	want := digestResponse(alg, ha1, c, string(req.Method))
	right := subtle.ConstantTimeCompare([]byte(want), []byte(strings.ToLower(c.Response))) == 1
	ours, fresh := d.checkNonce(c.Nonce)
	// The uri stands under the signature; it must be the one that is asked for, at
	// least in its user part and method: proxies rewrite the rest.
	switch {
	case !known || !right || !ours || !sameTarget(c.URI, req):
		return bad
	case !fresh:
		return verdict{account: c.Username, stale: true}
	case !d.use(c.Nonce, uint32(c.Nc)):
		// A count that was used before: an answer that was overheard. A telephone that
		// merely counts badly gets a new nonce.
		return verdict{account: c.Username, stale: true, tried: true}
	}
	return verdict{account: c.Username, ok: true}
}

func sameTarget(digestURI string, req *sip.Request) bool {
	var u sip.Uri
	if err := sip.ParseUri(digestURI, &u); err != nil {
		return false
	}
	return unescape(u.User) == unescape(req.Recipient.User)
}

// use takes a nonce count; false when it has been taken.
func (d *digestServer) use(nonce string, nc uint32) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	c, ok := d.young[nonce]
	if !ok {
		if c, ok = d.old[nonce]; !ok {
			c = &counts{}
		}
		if len(d.young) >= noncesKept {
			d.old, d.young = d.young, map[string]*counts{}
		}
		d.young[nonce] = c
	}
	switch {
	case nc > c.high:
		if shift := nc - c.high; shift < nonceWindow {
			c.seen = c.seen<<shift | 1
		} else {
			c.seen = 1
		}
		c.high = nc
		return true
	case c.high-nc >= nonceWindow:
		return false
	default:
		bit := uint64(1) << (c.high - nc)
		if c.seen&bit != 0 {
			return false
		}
		c.seen |= bit
		return true
	}
}

// challenges are one header for each algorithm, the strongest first. A telephone
// that cannot read that gets MD5 alone: one of those known for it, or one that
// asks again without an answer to the last challenge. It is never the account that
// decides: it would be told apart.
func (d *digestServer) challenges(req *sip.Request, stale bool) []sip.Header {
	nonce := d.nonce()
	algorithms := []string{algSHA256, algMD5}
	if d.needsMD5(req) {
		algorithms = algorithms[1:]
	}
	hs := make([]sip.Header, 0, 2)
	for _, alg := range algorithms {
		v := fmt.Sprintf(`Digest realm="%s", nonce="%s", algorithm=%s, qop="auth"`, d.realm, nonce, alg)
		if stale {
			v += ", stale=true"
		}
		hs = append(hs, header("WWW-Authenticate", v))
	}
	return hs
}

const askedKept = 4096 // places that were challenged and did not answer yet

func (d *digestServer) needsMD5(req *sip.Request) bool {
	if h := req.GetHeader("User-Agent"); h != nil {
		for _, a := range md5Agents {
			if strings.HasPrefix(h.Value(), a) {
				return true
			}
		}
	}
	src, now := parseAddrPort(req.Source()), d.now().Unix()
	d.mu.Lock()
	defer d.mu.Unlock()
	if req.GetHeader("Authorization") != nil {
		delete(d.asked, src)
		return false
	}
	at, again := d.asked[src]
	if len(d.asked) >= askedKept {
		clear(d.asked)
	}
	d.asked[src] = now
	return again && now-at >= 5 && now-at < 600
}

// answered forgets that a place was challenged.
func (d *digestServer) answered(src netip.AddrPort) {
	d.mu.Lock()
	delete(d.asked, src)
	d.mu.Unlock()
}

func hashOf(alg string) hash.Hash {
	if alg == algSHA256 {
		return sha256.New()
	}
	return md5.New()
}

// hexOf is H(parts joined by colons).
func hexOf(alg string, parts ...string) string {
	h := hashOf(alg)
	h.Write([]byte(strings.Join(parts, ":")))
	return hex.EncodeToString(h.Sum(nil))
}

func digestResponse(alg, ha1 string, c *digest.Credentials, method string) string {
	ha2 := hexOf(alg, method, c.URI)
	return hexOf(alg, ha1, c.Nonce, fmt.Sprintf("%08x", c.Nc), c.Cnonce, c.QOP, ha2)
}

// credentials are what a carrier gave us.
type credentials struct{ user, password string }

// digestClient answers a challenge with the best algorithm that is offered (T28:
// sipgo reads the first header only).
func digestClient(res *sip.Response, method, uri string, c credentials, nc int) (name, value string, err error) {
	from, name := "WWW-Authenticate", "Authorization"
	if res.StatusCode == 407 {
		from, name = "Proxy-Authenticate", "Proxy-Authorization"
	}
	var best *digest.Challenge
	for _, h := range res.GetHeaders(from) {
		ch, err := digest.ParseChallenge(h.Value())
		if err != nil {
			continue
		}
		ch.Algorithm = strings.ToUpper(ch.Algorithm)
		if ch.Algorithm == "" {
			ch.Algorithm = algMD5
		}
		if strength(ch.Algorithm) > 0 && (best == nil || strength(ch.Algorithm) > strength(best.Algorithm)) {
			best = ch
		}
	}
	if best == nil {
		return "", "", fmt.Errorf("challenge of %d: no algorithm that we know", res.StatusCode)
	}
	cred, err := digest.Digest(best, digest.Options{
		Method: method, URI: uri, Count: nc, Username: c.user, Password: c.password, Cnonce: newTag(),
	})
	if err != nil {
		return "", "", fmt.Errorf("answer challenge of %d: %w", res.StatusCode, err)
	}
	return name, cred.String(), nil
}

func strength(alg string) int {
	switch alg {
	case algMD5:
		return 1
	case algSHA256:
		return 2
	case "SHA-512-256", "SHA-512":
		return 3
	}
	return 0
}
