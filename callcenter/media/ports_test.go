package media

import (
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"
)

func TestPortsRestAndAreReserved(t *testing.T) {
	p, err := newPorts(20001, 20022, time.Minute) // ten pairs: 20002 to 20021
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	used := map[uint16]bool{}
	var last uint16
	for p.left(now) > 0 {
		if last, err = p.take(false, now); err != nil {
			t.Fatal(err)
		}
		if last%2 != 0 || last < 20002 || last > 20020 || used[last] {
			t.Fatalf("port %d", last)
		}
		used[last] = true
	}
	if len(used) != 8 {
		t.Fatalf("%d ordinary parties of ten pairs, two are for SOS", len(used))
	}
	if _, err := p.take(false, now); !errors.Is(err, ErrNoPorts) {
		t.Fatalf("an ordinary party took the reserve: %v", err)
	}
	for range 2 {
		if _, err := p.take(true, now); err != nil {
			t.Fatalf("SOS: %v", err)
		}
	}
	if _, err := p.take(true, now); !errors.Is(err, ErrNoPorts) {
		t.Fatal("an eleventh pair")
	}
	p.rest(last, now)
	if n := p.left(now.Add(59 * time.Second)); n != 0 {
		t.Fatal("a port is used again within its quarantine")
	}
	if got, err := p.take(true, now); err != nil || got != last {
		t.Fatalf("an SOS call does not get the resting pair: %v", err)
	}
	p.rest(last, now)
	if _, err := p.take(true, now.Add(time.Minute)); err != nil {
		t.Fatal("the quarantine does not end")
	}
}

func TestPortsAreDrawnAtRandom(t *testing.T) {
	first := map[uint16]bool{}
	for range 20 {
		p, err := newPorts(20000, 29999, time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		port, _ := p.take(false, time.Now())
		first[port] = true
	}
	if len(first) < 10 {
		t.Errorf("20 pools begin with only %d ports", len(first))
	}
}

func TestExhaustedAndForeignPorts(t *testing.T) {
	// A program sits on the first pair's RTCP port: the pair is passed over.
	squatter, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 32701})
	if err != nil {
		t.Skipf("port 32701 is in use by others: %v", err)
	}
	defer squatter.Close()
	e := newEngine(t, func(o *Options) { o.PortMin, o.PortMax = 32700, 32705 })
	var open []*Session
	for {
		s, err := e.Open()
		if err != nil {
			if !errors.Is(err, ErrNoPorts) {
				t.Fatal(err)
			}
			break
		}
		if s.Local().Port() == 32700 {
			t.Fatal("a pair was handed out whose RTCP port is not ours")
		}
		open = append(open, s)
	}
	if len(open) != 2 || e.Free() != 0 {
		t.Fatalf("%d parties on two pairs, %d free", len(open), e.Free())
	}
	for _, s := range open {
		s.Close()
		s.Close() // twice is no error
	}
}

func TestOptionsAreChecked(t *testing.T) {
	for name, o := range map[string]Options{
		"no address":      {},
		"nothing to tell": {IP: netip.MustParseAddr("0.0.0.0")},
		"no pair":         {IP: loopback, PortMin: 20001, PortMax: 20002},
		"privileged":      {IP: loopback, PortMin: 100, PortMax: 200},
		"too high":        {IP: loopback, PortMin: 65000, PortMax: 70000},
	} {
		if _, err := New(o); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}
