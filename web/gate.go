package web

import (
	"net"
	"net/http"
	"sync"
	"time"
)

// Failures that may be made at once, and how fast they are forgiven: for one name
// from one address, for one name from everywhere, for one address.
var (
	perPair    = allowance{burst: 5, every: 20 * time.Second}
	perName    = allowance{burst: 40, every: 5 * time.Second}
	perAddress = allowance{burst: 40, every: 3 * time.Second}
)

const gateKeys = 20000 // names and addresses remembered; beyond it the forgiven ones are dropped

type allowance struct {
	burst int
	every time.Duration
}

// gate slows down who guesses passwords. A name is never locked for everybody by one
// address: an attacker must not be able to keep an operator out.
type gate struct {
	now func() time.Time

	mu   sync.Mutex
	debt map[string]time.Time // guarded by mu: until when the failures count
}

func newGate(now func() time.Time) *gate { return &gate{now: now, debt: map[string]time.Time{}} }

func gateRows(name, address string) map[string]allowance {
	return map[string]allowance{"p:" + name + "@" + address: perPair, "n:" + name: perName, "a:" + address: perAddress}
}

// wait is how long a further attempt must wait, 0 for not at all.
func (g *gate) wait(name, address string) time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	now, longest := g.now(), time.Duration(0)
	for key, a := range gateRows(name, address) {
		if until, owes := g.debt[key]; owes {
			longest = max(longest, until.Sub(now)-time.Duration(a.burst-1)*a.every)
		}
	}
	return longest
}

// failed notes a wrong password.
func (g *gate) failed(name, address string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.now()
	if len(g.debt) > gateKeys {
		for k, until := range g.debt {
			if until.Before(now) {
				delete(g.debt, k)
			}
		}
		if len(g.debt) > gateKeys {
			clear(g.debt) // an attack from everywhere: better no throttle than no memory
		}
	}
	for key, a := range gateRows(name, address) {
		until := g.debt[key]
		if until.Before(now) {
			until = now
		}
		g.debt[key] = until.Add(a.every)
	}
}

// succeeded forgives the pair its failures.
func (g *gate) succeeded(name, address string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.debt, "p:"+name+"@"+address)
}

// address is where a request comes from. Headers of proxies are not believed.
func address(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}
