package media

import (
	"encoding/binary"
	"testing"
	"time"
)

// event sends one telephone event packet of a key that began at ts.
func (p *phone) event(pt, code uint8, ts uint32, duration uint16, end, marker bool) {
	p.t.Helper()
	h := p.h
	h.PayloadType, h.Timestamp, h.Marker = pt, ts, marker
	b, err := h.Marshal()
	if err != nil {
		p.t.Fatal(err)
	}
	flags := byte(10)
	if end {
		flags |= endBit
	}
	b = append(b, code, flags)
	b = binary.BigEndian.AppendUint16(b, duration)
	if _, err := p.conn.WriteToUDPAddrPort(b, p.to); err != nil {
		p.t.Fatal(err)
	}
	p.h.SequenceNumber++
}

func TestDigitsComeOnceAndReachTheOtherParty(t *testing.T) {
	e := newEngine(t)
	a, caller := open(t, e, PCMA, 101)
	b, operator := open(t, e, PCMA, 96)
	Join(a, b)
	const text = "159*#0"
	var heard []byte
	for _, c := range text {
		code := uint8(0)
		for keys[code] != byte(c) {
			code++
		}
		ts := caller.h.Timestamp
		for i := range 5 {
			caller.event(101, code, ts, uint16(i+1)*160, false, i == 0)
		}
		for range 3 {
			caller.event(101, code, ts, 800, true, false)
		}
		caller.h.Timestamp += 1600
		if got := wantEvent(t, a, DTMF); got.Digit != byte(c) {
			t.Fatalf("pressed %c, heard %c", c, got.Digit)
		}
		stamps := map[uint32]bool{}
		ends := 0
		for range 8 {
			k := operator.hear(time.Second)
			if k == nil {
				t.Fatal("the other party did not get the key")
			}
			if k.PayloadType != 96 {
				t.Fatalf("payload type %d, 96 was agreed", k.PayloadType)
			}
			stamps[k.Timestamp] = true
			if k.Payload[1]&endBit != 0 {
				ends++
			}
			heard = append(heard[:0], k.Payload...)
		}
		if len(stamps) != 1 || ends != 3 || heard[0] != code {
			t.Fatalf("%c: %d timestamps, %d ends, event %d", c, len(stamps), ends, heard[0])
		}
	}
	select {
	case e := <-a.Events():
		if e.Kind == DTMF {
			t.Errorf("%c came twice", e.Digit)
		}
	default:
	}
}

func TestDigitsLostAndLate(t *testing.T) {
	var d digits
	var out notes
	hear := func(code byte, ts uint32) { d.hear([]byte{code, 10, 0, 160}, ts, &out) }
	hear(1, 4294967000) // only the last end packet of a key came
	hear(2, 200)        // the timestamp wrapped
	hear(1, 4294967000) // an end of the first, late
	hear(2, 200)
	hear(16, 900) // a hook flash is no key
	var got string
	for _, e := range out.all[:out.n] {
		got += string(e.Digit)
	}
	if got != "12" {
		t.Errorf("heard %q, want 12", got)
	}
}

func TestKeysAreSentAsEvents(t *testing.T) {
	e := newEngine(t)
	s, phone := open(t, e, PCMA, 101)
	s.SendDTMF("4d x#")
	type seen struct {
		code       byte
		packets    int
		ends       int
		maxSamples uint16
		marker     bool
	}
	var all []seen
	var stamp uint32
	for len(all) < 3 || all[2].ends < keyEnds {
		k := phone.hear(time.Second)
		if k == nil {
			t.Fatalf("no more packets after %+v", all)
		}
		if k.PayloadType != 101 {
			continue
		}
		if len(all) == 0 || k.Timestamp != stamp {
			all = append(all, seen{code: k.Payload[0], marker: k.Marker})
			stamp = k.Timestamp
		}
		n := &all[len(all)-1]
		n.packets++
		n.maxSamples = max(n.maxSamples, binary.BigEndian.Uint16(k.Payload[2:]))
		if k.Payload[1]&endBit != 0 {
			n.ends++
		}
	}
	for i, want := range []byte{4, 15, 11} {
		if n := all[i]; n.code != want || n.packets != keyTicks+keyEnds-1 || n.ends != keyEnds || n.maxSamples != 800 || !n.marker {
			t.Errorf("key %d: %+v, want event %d", i, n, want)
		}
	}
}

func TestKeysAreSentAsTonesWithoutEvents(t *testing.T) {
	e := newEngine(t)
	s, phone := open(t, e, PCMU, 0)
	s.SendDTMF("5")
	var audio []byte
	for len(audio) < keyTicks*frameBytes {
		k := phone.hear(time.Second)
		if k == nil {
			t.Fatal("no tone")
		}
		if share(k.Payload, PCMU, 770)+share(k.Payload, PCMU, 1336) > 0.9 {
			audio = append(audio, k.Payload...)
		} else if len(audio) > 0 {
			t.Fatalf("the tone ends after %d samples", len(audio))
		}
	}
	if low, high := share(audio, PCMU, 770), share(audio, PCMU, 1336); low < 0.3 || high < 0.3 {
		t.Errorf("5 has %.2f at 770 Hz and %.2f at 1336 Hz", low, high)
	}
}
