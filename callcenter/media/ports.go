package media

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"time"
)

// ErrNoPorts says that every RTP port is in use; the pool is the hard cap on calls.
var ErrNoPorts = errors.New("no free RTP ports")

// ports hands out even/odd pairs. A pair that was used rests for the quarantine,
// so that late packets of an old call do not reach a new one.
type ports struct {
	quarantine time.Duration
	reserve    int // pairs that only an SOS call may take

	mu      sync.Mutex
	free    []uint16  // even ports; guarded by mu
	resting []resting // oldest first; guarded by mu
}

type resting struct {
	port  uint16
	until time.Time
}

// newPorts pools the pairs of min to max, both included. A tenth, but at least 32
// pairs, is kept for SOS calls; of a small range never more than a quarter.
func newPorts(min, max int, quarantine time.Duration) (*ports, error) {
	if min < 1024 || max > 65535 {
		return nil, fmt.Errorf("RTP ports %d-%d: want 1024 to 65535", min, max)
	}
	p := &ports{quarantine: quarantine}
	for port := min + min%2; port+1 <= max; port += 2 {
		p.free = append(p.free, uint16(port))
	}
	n := len(p.free)
	if n == 0 {
		return nil, fmt.Errorf("RTP ports %d-%d: no even/odd pair in this range", min, max)
	}
	p.reserve = n / 10
	if p.reserve < 32 {
		p.reserve = 32
	}
	if p.reserve > n/4 {
		p.reserve = n / 4
	}
	return p, nil
}

// take draws a pair at random. An SOS call may take the reserve, and in need the
// pair that has rested longest.
func (p *ports) take(sos bool, now time.Time) (uint16, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.wake(now)
	floor := p.reserve
	if sos {
		floor = 0
	}
	if n := len(p.free); n > floor {
		i := rand.IntN(n)
		port := p.free[i]
		p.free[i] = p.free[n-1]
		p.free = p.free[:n-1]
		return port, nil
	}
	if sos && len(p.resting) > 0 {
		port := p.resting[0].port
		p.resting = p.resting[1:]
		return port, nil
	}
	return 0, ErrNoPorts
}

// rest puts a used pair aside.
func (p *ports) rest(port uint16, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.resting = append(p.resting, resting{port, now.Add(p.quarantine)})
}

// wake moves pairs whose quarantine is over; mu is held.
func (p *ports) wake(now time.Time) {
	for len(p.resting) > 0 && !now.Before(p.resting[0].until) {
		p.free = append(p.free, p.resting[0].port)
		p.resting = p.resting[1:]
	}
}

// left is how many ordinary parties can still be opened.
func (p *ports) left(now time.Time) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.wake(now)
	return max(0, len(p.free)-p.reserve)
}

// bindPair opens the RTP socket and, one port above, the RTCP socket.
func bindPair(ip netip.Addr, port uint16) (rtp, rtcp *net.UDPConn, err error) {
	if rtp, err = listenUDP(netip.AddrPortFrom(ip, port)); err != nil {
		return nil, nil, err
	}
	if rtcp, err = listenUDP(netip.AddrPortFrom(ip, port+1)); err != nil {
		_ = rtp.Close()
		return nil, nil, err
	}
	return rtp, rtcp, nil
}
