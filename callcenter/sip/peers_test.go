package sip

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"anling/callcenter/leg"
)

// tool finds a program of the Debian packages that `make test` installs.
func tool(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("%s is not installed (make deps)", name)
	}
	return path
}

// sipp runs a scenario to its end and reports what it says when it fails.
func sipp(t *testing.T, o *office, calls int, args ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	all := append([]string{o.s.Addr().String(), "-i", "127.0.0.1", "-mi", "127.0.0.1", "-m", fmt.Sprint(calls), "-nostdin", "-timeout", "50s", "-timeout_error",
		"-trace_err", "-error_file", filepath.Join(t.TempDir(), "err")}, args...)
	cmd := exec.CommandContext(ctx, tool(t, "sipp"), all...)
	cmd.Dir = t.TempDir()
	if out, err := cmd.CombinedOutput(); err != nil {
		errs, _ := os.ReadFile(all[len(all)-len(args)-1])
		tail := string(out)
		t.Fatalf("sipp: %v\n%s\n%s", err, errs, tail[max(0, len(tail)-2500):])
	}
}

// desk answers each call as it comes.
func (f *office) desk(ctx context.Context) {
	for {
		select {
		case l := <-f.calls:
			go func() {
				_ = l.Answer(ctx)
				for range l.Events() { // to its end
				}
			}()
		case <-ctx.Done():
			return
		}
	}
}

func TestSippCallsUs(t *testing.T) {
	t.Parallel()
	for _, transport := range []string{"u1", "t1"} {
		t.Run(transport, func(t *testing.T) {
			// On a stream sipp takes a 200 that is sent again for the answer to its BYE and
			// leaves: an ordinary T1 keeps that away on a busy machine.
			o := newOffice(t, func(o *Options) { o.T1 = 500 * time.Millisecond })
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			go o.desk(ctx)
			sipp(t, o, 100, "-sn", "uac", "-t", transport, "-r", "100", "-d", "50", "-s", "12345")
			eventually(t, "the legs to go", func() bool { return o.s.count() == 0 })
		})
	}
}

// Scenarios by hand, for what sipp's own do not do.
var scenarios = map[string]string{
	"cancel after 180": `<send retrans="500">INVITE</send><recv response="100" optional="true"/><recv response="180"/>
		<send retrans="500">CANCEL</send><recv response="200"/><recv response="487"/><send>ACKFAIL</send>`,
	"hold and resume": `<send retrans="500">INVITE</send><recv response="100" optional="true"/><recv response="180" optional="true"/><recv response="200"/><send>ACK</send>
		<send retrans="500">HOLD</send><recv response="100" optional="true"/><recv response="200"/><send>ACK2</send>
		<send retrans="500">BYE</send><recv response="200"/>`,
	"the ACK is late and the 200 comes again": `<send retrans="500">INVITE</send><recv response="100" optional="true"/><recv response="180" optional="true"/><recv response="200"/><pause milliseconds="400"/><send>ACK</send>
		<send retrans="500">BYE</send><recv response="200"/>`,
	"the server hangs up without ACK": `<send retrans="500">INVITE</send><recv response="100" optional="true"/><recv response="180" optional="true"/><recv response="200"/>
		<recv request="BYE"/><send>OKBYE</send>`,
}

func scenario(body string) string {
	head := func(method string, seq int, branch, to string) string {
		return method + ` sip:12345@[remote_ip]:[remote_port] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=` + branch + `
From: <sip:13800138000@[local_ip]>;tag=[pid]t[call_number]
To: <sip:12345@[remote_ip]>` + to + `
Call-ID: [call_id]
CSeq: ` + fmt.Sprint(seq) + ` ` + method + `
Contact: <sip:sipp@[local_ip]:[local_port]>
Max-Forwards: 70
`
	}
	sdp := func(extra string) string {
		return `Content-Type: application/sdp
Content-Length: [len]

v=0
o=- 1 1 IN IP4 [local_ip]
s=-
c=IN IP4 [media_ip]
t=0 0
m=audio [media_port] RTP/AVP 8
` + extra
	}
	first := "z9hG4bK-first-[pid]-[call_number]"
	empty := "Content-Length: 0\n\n"
	msgs := map[string]string{
		"INVITE":  head("INVITE", 1, first, "") + sdp(""),
		"CANCEL":  head("CANCEL", 1, first, "") + empty,
		"ACKFAIL": head("ACK", 1, first, "[peer_tag_param]") + empty,
		"ACK":     head("ACK", 1, "[branch]", "[peer_tag_param]") + empty,
		"HOLD":    head("INVITE", 2, "[branch]", "[peer_tag_param]") + sdp("a=sendonly\n"),
		"ACK2":    head("ACK", 2, "[branch]", "[peer_tag_param]") + empty,
		"BYE":     head("BYE", 3, "[branch]", "[peer_tag_param]") + empty,
		"OKBYE":   "SIP/2.0 200 OK\n[last_Via:]\n[last_From:]\n[last_To:]\n[last_Call-ID:]\n[last_CSeq:]\n" + empty,
	}
	for name, m := range msgs {
		body = strings.ReplaceAll(body, ">"+name+"</send>", "><![CDATA[\n"+m+"]]></send>")
	}
	return `<?xml version="1.0" encoding="ISO-8859-1" ?><scenario name="anling">` + body + `</scenario>`
}

func TestSippScenarios(t *testing.T) {
	t.Parallel()
	tool(t, "sipp")
	for name, body := range scenarios {
		t.Run(name, func(t *testing.T) {
			o := newOffice(t, nil)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			go func() {
				for {
					select {
					case l := <-o.calls:
						l.Ring()
						if !strings.HasPrefix(name, "cancel") {
							go func() { _ = l.Answer(ctx) }()
						}
					case <-ctx.Done():
						return
					}
				}
			}()
			file := filepath.Join(t.TempDir(), "s.xml")
			if err := os.WriteFile(file, []byte(scenario(body)), 0o600); err != nil {
				t.Fatal(err)
			}
			sipp(t, o, 5, "-sf", file, "-r", "20")
		})
	}
}

func TestWeCallSipp(t *testing.T) {
	path := tool(t, "sipp")
	port := freePort(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, "-sn", "uas", "-i", "127.0.0.1", "-mi", "127.0.0.1", "-p", fmt.Sprint(port), "-nostdin")
	cmd.Dir = t.TempDir()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { cancel(); _ = cmd.Wait() }()
	o := newOffice(t, func(o *Options) {
		o.Trunks[0].Target, o.Trunks[0].CallerID = fmt.Sprintf("127.0.0.1:%d", port), "+8687112349"
		o.NoReply = 10 * time.Second // sipp may still be starting
	})
	for range 10 {
		l, err := o.s.Dial(ctx, leg.Call{To: "120"})
		if err != nil {
			t.Fatal(err)
		}
		expect(t, l, leg.Confirmed)
		l.Hangup(leg.Normal)
		endedWith(t, l, leg.Normal)
	}
}

func freePort(t *testing.T) int {
	t.Helper()
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	return int(addrPort(c.LocalAddr()).Port())
}

// TestBaresip lets a real telephone register with digest and take a call.
func TestBaresip(t *testing.T) {
	t.Parallel()
	path := tool(t, "baresip")
	o := newOffice(t, nil)
	changes := make(chan string, 8)
	o.s.OnRegistration(func(account string, in bool) { changes <- fmt.Sprint(account, in) })
	dir := t.TempDir()
	wav := filepath.Join(dir, "tone.wav")
	if err := os.WriteFile(wav, silentWAV(), 0o600); err != nil {
		t.Fatal(err)
	}
	port := freePort(t)
	config := fmt.Sprintf("poll_method epoll\nsip_listen 127.0.0.1:%d\ncall_max_calls 4\naudio_source aufile,%s\naudio_player aubridge,pseudo_op\n"+
		"audio_alert aufile,/dev/null\nausrc_srate 8000\nauplay_srate 8000\nausrc_channels 1\nauplay_channels 1\nrtp_ports %d-%d\nrtcp_mux no\n"+
		"module_path /usr/lib/baresip/modules\nmodule g711.so\nmodule aufile.so\nmodule aubridge.so\nmodule_tmp uuid.so\nmodule_tmp account.so\nmodule_app menu.so\n",
		port, wav, port+2, port+60)
	accounts := fmt.Sprintf("<sip:op1@%s>;auth_user=op1;auth_pass=secret;regint=120;answermode=auto;audio_codecs=PCMA/8000,PCMU/8000\n", o.s.Addr())
	for name, text := range map[string]string{"config": config, "accounts": accounts} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, "-f", dir)
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		cancel()
		_ = cmd.Wait()
		if t.Failed() {
			t.Log(out.String())
		}
	}()
	select {
	case c := <-changes:
		if c != "op1true" {
			t.Fatal(c)
		}
	case <-time.After(patience):
		t.Fatal("baresip does not register")
	}
	l, err := o.s.Dial(ctx, leg.Call{To: "phone:op1", CallerID: "+8613800138000"})
	if err != nil {
		t.Fatal(err)
	}
	expect(t, l, leg.Confirmed)
	eventually(t, "audio of the telephone", func() bool { return l.Media().Stats().Received > 0 })
	l.Hangup(leg.Normal)
	endedWith(t, l, leg.Normal)
	eventually(t, "the leg to go", func() bool { return o.s.count() == 0 })
}

// silentWAV is ten seconds of silence, 8 kHz mono S16LE.
func silentWAV() []byte {
	const n = 160000
	le := func(v uint32, bytes int) (b []byte) {
		for range bytes {
			b = append(b, byte(v))
			v >>= 8
		}
		return b
	}
	w := append([]byte("RIFF"), le(36+n, 4)...)
	w = append(w, "WAVEfmt "...)
	for _, f := range [][2]uint32{{16, 4}, {1, 2}, {1, 2}, {8000, 4}, {16000, 4}, {2, 2}, {16, 2}} {
		w = append(w, le(f[0], int(f[1]))...)
	}
	w = append(append(w, "data"...), le(n, 4)...)
	return append(w, make([]byte, n)...)
}
