package sip

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"anling/callcenter/media"
)

var here = netip.MustParseAddr("192.0.2.9")

func TestAgree(t *testing.T) {
	head := "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n"
	for _, c := range []struct {
		name, body string
		want       agreed
	}{
		{"PCMA wins wherever it stands", head + "m=audio 4000 RTP/AVP 0 8\r\n", agreed{codec: media.PCMA, addr: ap("192.0.2.1:4000"), dir: sendRecv}},
		{"PCMU alone", head + "m=audio 4000 RTP/AVP 18 0\r\n", agreed{codec: media.PCMU, addr: ap("192.0.2.1:4000"), dir: sendRecv}},
		{"keys", head + "m=audio 4000 RTP/AVP 8 96\r\na=rtpmap:96 telephone-event/8000\r\n", agreed{codec: media.PCMA, dtmf: 96, addr: ap("192.0.2.1:4000"), dir: sendRecv}},
		{"keys at another clock", head + "m=audio 4000 RTP/AVP 8 96\r\na=rtpmap:96 telephone-event/48000\r\n", agreed{codec: media.PCMA, addr: ap("192.0.2.1:4000"), dir: sendRecv}},
		{"media address", head + "m=audio 4000 RTP/AVP 8\r\nc=IN IP4 192.0.2.7\r\n", agreed{codec: media.PCMA, addr: ap("192.0.2.7:4000"), dir: sendRecv}},
		{"session direction", strings.Replace(head, "t=0 0\r\n", "t=0 0\r\na=sendonly\r\n", 1) + "m=audio 4000 RTP/AVP 8\r\n", agreed{codec: media.PCMA, addr: ap("192.0.2.1:4000"), dir: sendOnly}},
		{"video first, audio second", head + "m=video 5000 RTP/AVP 31\r\nm=audio 4000 RTP/AVP 8\r\n", agreed{line: 1, codec: media.PCMA, addr: ap("192.0.2.1:4000"), dir: sendRecv}},
		{"a refused line and a good one", head + "m=audio 0 RTP/AVP 8\r\nm=audio 4000 RTP/AVP 0\r\n", agreed{line: 1, codec: media.PCMU, addr: ap("192.0.2.1:4000"), dir: sendRecv}},
		{"a secure line is not taken for a plain one", head + "m=audio 4000 RTP/SAVP 8\r\nm=audio 4002 RTP/AVP 8\r\n", agreed{line: 1, codec: media.PCMA, addr: ap("192.0.2.1:4002"), dir: sendRecv}},
		{"the old way to hold", strings.Replace(head, "c=IN IP4 192.0.2.1", "c=IN IP4 0.0.0.0", 1) + "m=audio 4000 RTP/AVP 8\r\n", agreed{codec: media.PCMA, addr: ap("192.0.2.9:4000"), dir: sendOnly, zero: true}},
		{"a name instead of an address", strings.Replace(head, "c=IN IP4 192.0.2.1", "c=IN IP4 host.example", 1) + "m=audio 4000 RTP/AVP 8\r\n", agreed{codec: media.PCMA, addr: ap("192.0.2.9:4000"), dir: sendRecv}},
		{"another family", strings.Replace(head, "c=IN IP4 192.0.2.1", "c=IN IP6 2001:db8::1", 1) + "m=audio 4000 RTP/AVP 8\r\n", agreed{codec: media.PCMA, addr: ap("192.0.2.9:4000"), dir: sendRecv}},
		{"line ends of LF alone", strings.ReplaceAll(head, "\r\n", "\n") + "m=audio 4000 RTP/AVP 8\n", agreed{codec: media.PCMA, addr: ap("192.0.2.1:4000"), dir: sendRecv}},
	} {
		t.Run(c.name, func(t *testing.T) {
			d, err := parseSDP([]byte(c.body))
			if err != nil {
				t.Fatal(err)
			}
			got, err := d.agree(here)
			if err != nil || got != c.want {
				t.Errorf("got %+v (%v), want %+v", got, err, c.want)
			}
			var l local
			body := l.answer(d, got, ap("192.0.2.2:20000"))
			back, err := parseSDP(body)
			if err != nil || len(back.media) != len(d.media) {
				t.Fatalf("our answer (%v):\n%s", err, body)
			}
			for i, m := range back.media {
				if (m.port != 0) != (i == got.line) || i == got.line && m.dir != got.dir.answer() {
					t.Errorf("line %d of the answer: %+v", i, m)
				}
			}
		})
	}
}

func TestNothingToAgreeOn(t *testing.T) {
	for _, m := range []string{"", "m=audio 4000 RTP/AVP 18\r\n", "m=audio 0 RTP/AVP 8\r\n", "m=video 4000 RTP/AVP 8\r\n", "m=audio 4000 RTP/SAVP 8\r\n"} {
		d, err := parseSDP([]byte("v=0\r\nc=IN IP4 192.0.2.1\r\n" + m))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := d.agree(here); !errors.Is(err, errNoCodec) {
			t.Errorf("%q: %v", m, err)
		}
	}
}

func TestMalformedDescriptions(t *testing.T) {
	for _, body := range []string{"", "rubbish", "v=1\r\n", "o=x\r\nv=0\r\n", "v=0\r\nm=audio\r\n", "v=0\r\nm=audio x RTP/AVP 8\r\n", "v=0\r\nm=audio 70000 RTP/AVP 8\r\n",
		"v=0\r\nc=IN IP4\r\n", "v=0\r\nc=XX IP4 1.2.3.4\r\n", "v=0\r\n" + strings.Repeat("m=audio 1 RTP/AVP 8\r\n", 5),
		"v=0\r\nm=audio 1 RTP/AVP 8\r\n" + strings.Repeat("a=x\r\n", 100), "v=0\r\nm=audio 1 RTP/AVP" + strings.Repeat(" 8", 100) + "\r\n", strings.Repeat("v=0\r\n", 10000)} {
		if _, err := parseSDP([]byte(body)); !errors.Is(err, errSDP) {
			t.Errorf("%.60q: %v", body, err)
		}
	}
}

func ap(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

func FuzzSDP(f *testing.F) {
	f.Add([]byte(g711))
	f.Add([]byte(g711 + "a=sendonly\r\nm=video 1 RTP/AVP 31\r\n"))
	f.Add([]byte("v=0\nc=IN IP6 ::1\nm=audio 9/2 RTP/AVP 0 101\na=rtpmap:101 telephone-event/8000\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := parseSDP(b)
		if err != nil {
			return
		}
		a, err := d.agree(here)
		if err != nil {
			return
		}
		var l local
		body := l.answer(d, a, ap("192.0.2.2:20000"))
		back, err := parseSDP(body)
		if err != nil || len(back.media) != len(d.media) {
			t.Fatalf("our own answer cannot be read (%v): %q", err, body)
		}
		if !a.addr.IsValid() || !a.codec.Known() {
			t.Fatalf("agreed on %+v", a)
		}
	})
}
