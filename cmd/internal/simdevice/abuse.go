package simdevice

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"
)

// Abuse is a peer that does harm.
type Abuse string

const (
	Garbage  Abuse = "garbage"  // random bytes
	Slow     Abuse = "slow"     // a frame that is never finished, a byte at a time
	Silent   Abuse = "silent"   // connects and says nothing
	Oversize Abuse = "oversize" // a frame without end
	BadSum   Abuse = "bad_sum"  // frames with a wrong checksum or length
)

// Harm does it on one connection until the server ends it or ctx does. It returns how
// long the server bore it; ended tells that it was the server.
func Harm(ctx context.Context, a Abuse, protocol, addr string, seed uint64) (lasted time.Duration, ended bool, err error) {
	conn, err := Spread(addr, int(seed%250)*100).DialContext(ctx, "tcp", addr)
	if err != nil {
		return 0, false, err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	began := time.Now()
	gone := make(chan struct{})
	go func() { // ends with the connection
		defer close(gone)
		b := make([]byte, 512)
		for {
			if _, err := conn.Read(b); err != nil {
				return
			}
		}
	}()
	random := rand.New(rand.NewPCG(seed, 1))
	wait := map[Abuse]time.Duration{Garbage: time.Millisecond, Slow: 500 * time.Millisecond, Silent: time.Second, Oversize: 0, BadSum: 5 * time.Millisecond}[a]
	tick := time.NewTicker(max(wait, 100*time.Microsecond))
	defer tick.Stop()
	for n := 0; ; n++ {
		select {
		case <-gone:
			return time.Since(began), ctx.Err() == nil, nil
		case <-tick.C:
		}
		if b := harmful(a, protocol, random, n); len(b) > 0 {
			if err := conn.SetWriteDeadline(time.Now().Add(time.Second)); err != nil {
				continue
			}
			_, _ = conn.Write(b) // the reader notices the end
		}
	}
}

func harmful(a Abuse, protocol string, random *rand.Rand, n int) []byte {
	noise := func(size int) []byte {
		b := make([]byte, size)
		for i := range b {
			b[i] = byte(random.Uint32())
		}
		return b
	}
	switch a {
	case Garbage:
		return noise(1 + random.IntN(300))
	case Slow:
		frame, _ := gt06LoginFrame("860000000000012", 1) // a constant that is right
		if protocol == Watch {
			frame = watchHeartbeatFrame("8800000015", 80)
		}
		if n < len(frame)-1 {
			return frame[n : n+1]
		}
	case Oversize:
		b := noise(1400)
		for i := range b {
			b[i] = 'a' + b[i]%26
		}
		if n == 0 {
			return append([]byte{0x79, 0x79, 0xff, 0xff}, append([]byte("[3G*8800000015*FFFF*AL,"), b...)...)
		}
		return b
	case BadSum:
		if protocol == Watch {
			return fmt.Appendf(nil, "[3G*88*%04X*%s]", random.IntN(1<<16), "??")
		}
		frame := gt06HeartbeatFrame(uint16(n))
		frame[len(frame)-3] ^= 1
		return frame
	}
	return nil
}
