package sip

import (
	"bytes"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"anling/callcenter/leg"
)

// tortures are the messages of RFC 4475 and what a user agent server and registrar
// shall say to each from a known source; 0 is silence. 603 is a call that was
// presented: the test's owner declines it.
var tortures = map[string]struct {
	want int
	why  string
}{
	"wsinv":      {481, "processed; it carries a To-tag of no dialog"},
	"esc01":      {603, "presented"},
	"longreq":    {603, "presented, though its answer is long"},
	"lwsdisp":    {200, "OPTIONS"},
	"semiuri":    {200, "OPTIONS"},
	"transports": {200, "OPTIONS"},
	"zeromf":     {200, "an endpoint ignores Max-Forwards: 0"},
	"dblreq":     {401, "octets after Content-Length are ignored"},
	"escnull":    {401, "%00 is no end of text"},
	"cparam01":   {401, "contact parameters"},
	"cparam02":   {401, "URI parameters"},
	"regescrt":   {401, "an escaped header in a contact URI in brackets"},
	"intmeth":    {501, "an unknown method of all allowed characters"},
	"esc02":      {501, "a method is not unescaped"},
	"mismatch02": {501, "an unknown method"},
	"mpart01":    {415, "a body that we cannot read"},
	"unreason":   {0, "a response of no transaction"},
	"noreason":   {0, "a response of no transaction"},
	"bcast":      {0, "a response of no transaction"},
	"bigcode":    {0, "a response with an impossible code"},
	"scalarlg":   {0, "a response with impossible numbers"},
	"badinv01":   {400, "extra separators"},
	"clerr":      {400, "Content-Length beyond the datagram"},
	"ncl":        {400, "negative Content-Length"},
	"scalar02":   {400, "numbers too large"},
	"quotbal":    {400, "an open quote"},
	"ltgtruri":   {400, "Request-URI in brackets"},
	"lwsruri":    {400, "spaces in the Request-URI"},
	"lwsstart":   {400, "spaces in the start line"},
	"trws":       {400, "space after the version"},
	"badaspec":   {400, "spaces in an address"},
	"baddn":      {400, "a display name that needs quotes"},
	"test":       {400, "not in the RFC: no version, no Via"},
	"mismatch01": {400, "CSeq names another method"},
	"regbadct":   {400, "a header in a bare contact URI"},
	"escruri":    {400, "headers in the Request-URI"},
	"insuf":      {400, "mandatory headers are missing"},
	"multi01":    {400, "single headers twice"},
	"mcl01":      {400, "two lengths"},
	"baddate":    {603, "a wrong Date is ignored"},
	"badbranch":  {200, "matched as RFC 2543 does"},
	"badvers":    {505, "another version"},
	"unkscm":     {416, "unknown scheme"},
	"novelsc":    {416, "unknown scheme"},
	"unksm2":     {400, "REGISTER for what is no SIP address"},
	"bext01":     {420, "unknown option"},
	"invut":      {415, "unknown body"},
	"sdp01":      {406, "no SDP accepted"},
	"regaut01":   {401, "unknown authorisation scheme"},
	"inv2543":    {400, "INVITE without Contact"},
}

func TestTorture(t *testing.T) {
	files := torture(t)
	if len(files) != len(tortures) {
		t.Errorf("%d files, %d in the table", len(files), len(tortures))
	}
	o := newOffice(t, func(o *Options) {
		o.OnInvite = func(l leg.Leg) { l.Hangup(leg.Rejected) }
		o.Limits.Answers = 1e6 // not the limiter is tested
		o.Trunks = []Trunk{{Name: "lo", Peers: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}}}
	})
	for _, name := range slices.Sorted(maps.Keys(files)) {
		t.Run(name, func(t *testing.T) {
			want, known := tortures[name]
			if !known {
				t.Fatal("not in the table")
			}
			p := newPeer(t, o.s.Addr())
			// Several of them share a branch: each is a transaction of its own here.
			p.send(strings.Replace(string(files[name]), "branch=z9hG4bKkdjuw", "branch=z9hG4bK"+unique(), 1))
			// The probe shows that the server lives, and that a silence is one.
			probe := p.dial("12345", "probe")
			p.send(probe.compose("OPTIONS", 77, ""))
			mine := func(m *message) bool { return m.get("Call-ID") == probe.callID }
			got := 0
			if want.want != 0 {
				m := p.wait("an answer", func(m *message) bool { return !mine(m) && m.status() >= 200 })
				got = m.status()
				switch got {
				case 405, 501:
					if m.get("Allow") == "" {
						t.Error("no Allow")
					}
				case 415, 406:
					if got == 415 && m.get("Accept") == "" {
						t.Error("no Accept")
					}
				case 420:
					if !strings.Contains(m.get("Unsupported"), "nothingSupportsThis") {
						t.Errorf("Unsupported %q", m.get("Unsupported"))
					}
				}
			}
			p.wait("the probe's answer", func(m *message) bool { return mine(m) && m.status() == 200 })
			if want.want == 0 && len(p.seen) > 0 {
				got = p.seen[0].status()
			}
			t.Logf("%-10s want %3d got %3d  %s", name, want.want, got, want.why)
			if got != want.want {
				t.Errorf("got %d, want %d: %s", got, want.want, want.why)
			}
		})
	}
}

// TestTortureOnAStream sends everything over TCP, in one connection for each file:
// nothing may take the server down or hang it.
func TestTortureOnAStream(t *testing.T) {
	o := newOffice(t, func(o *Options) { o.OnInvite = func(l leg.Leg) { l.Hangup(leg.Rejected) } })
	for _, b := range torture(t) {
		p := newTCPPeer(t, o.s.Addr())
		_, _ = p.tcp.Write(bytes.ReplaceAll(b, []byte("/UDP"), []byte("/TCP")))
		p.tcp.Close()
	}
	p := newTCPPeer(t, o.s.Addr())
	p.send(p.dial("12345", "probe").compose("OPTIONS", 1, ""))
	p.status(200, "OPTIONS")
}

// An old peer has no tag in From: that is a null tag (RFC 3261 12.1.1).
func TestPeerWithoutFromTag(t *testing.T) {
	o := newOffice(t, nil)
	p := newPeer(t, o.s.Addr())
	d := p.dial("12345", "13800138000")
	plain := func(raw string) string { return strings.Replace(raw, ";tag="+d.tag, "", 1) }
	p.send(plain(d.compose("INVITE", 1, g711)))
	l := o.call()
	answer(t, l)
	d.answered(p.status(200, "INVITE"))
	p.send(plain(d.compose("ACK", 1, "")))
	expect(t, l, leg.Confirmed)
	d.seq++
	p.send(plain(d.compose("BYE", d.seq, "")))
	p.status(200, "BYE")
	endedWith(t, l, leg.CallerHangup)
}
