package media

import (
	"net/netip"
	"testing"
	"time"
)

func TestLatch(t *testing.T) {
	sdp := netip.MustParseAddrPort("10.0.0.8:4000")
	nat := netip.MustParseAddrPort("203.0.113.5:31000")
	nat2 := netip.MustParseAddrPort("203.0.113.5:31002")
	thief := netip.MustParseAddrPort("198.51.100.66:9")
	type step struct {
		at   time.Duration
		from netip.AddrPort
		ssrc uint32
		seq  uint16
		ok   bool
	}
	// run of n packets in order, 20 ms apart
	run := func(at time.Duration, from netip.AddrPort, ssrc uint32, seq uint16, n int, ok bool) (all []step) {
		for i := range n {
			all = append(all, step{at + time.Duration(i)*tick, from, ssrc, seq + uint16(i), ok})
		}
		return all
	}
	for name, c := range map[string]struct {
		strict bool
		steps  [][]step
	}{
		"the address of the SDP": {false, [][]step{run(0, sdp, 1, 10, 5, true), run(time.Second, thief, 1, 15, 9, false)}},
		"behind NAT":             {false, [][]step{run(time.Second, nat, 1, 10, 5, true), run(2*time.Second, thief, 2, 1, 9, false)}},
		"strict refuses NAT":     {true, [][]step{run(time.Second, nat, 1, 10, 9, false), run(2*time.Second, sdp, 1, 10, 3, true)}},
		"the SDP's address wins over a thief who was first": {false, [][]step{
			run(0, thief, 9, 1, 1, true), run(50*time.Millisecond, sdp, 1, 10, 5, true), run(200*time.Millisecond, thief, 9, 2, 9, false)}},
		"late from behind NAT shows a stream first": {false, [][]step{
			run(8*time.Second, nat, 1, 10, 3, false), run(8*time.Second+60*time.Millisecond, nat, 1, 13, 5, true)}},
		"late and out of order is no stream": {false, [][]step{
			{{8 * time.Second, nat, 1, 10, false}, {8 * time.Second, nat, 1, 40, false}, {8 * time.Second, nat, 1, 7, false}, {8 * time.Second, nat, 1, 90, false}, {8 * time.Second, nat, 1, 3, false}}}},
		"another SSRC while the party speaks": {false, [][]step{
			run(0, sdp, 1, 10, 1, true), run(10*time.Millisecond, sdp, 2, 500, 1, false), run(20*time.Millisecond, sdp, 1, 11, 1, true),
			run(40*time.Millisecond, sdp, 2, 501, 4, false)}},
		"the carrier changes the SSRC": {false, [][]step{
			run(0, sdp, 1, 10, 5, true), run(200*time.Millisecond, sdp, 2, 500, 3, false), run(260*time.Millisecond, sdp, 2, 503, 5, true)}},
		"another port of the same address after two seconds": {false, [][]step{
			run(0, nat, 1, 10, 3, true), run(time.Second, nat2, 1, 100, 9, false),
			run(2100*time.Millisecond, nat2, 1, 200, 3, false), run(2160*time.Millisecond, nat2, 1, 203, 4, true)}},
		"another address never, however long the silence": {false, [][]step{
			run(0, nat, 1, 10, 3, true), run(30*time.Second, thief, 1, 13, 20, false)}},
	} {
		t.Run(name, func(t *testing.T) {
			var l latch
			const start = int64(time.Hour)
			l.learn(sdp, c.strict, start)
			for _, steps := range c.steps {
				for i, s := range steps {
					if ok, _ := l.admit(s.from, s.ssrc, s.seq, start+int64(s.at)); ok != s.ok {
						t.Fatalf("at %v packet %d of %v: admitted is %v", s.at, i, s.from, ok)
					}
				}
			}
		})
	}
}
