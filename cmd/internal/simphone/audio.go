package simphone

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"time"
)

const (
	sampleRate   = 8000
	frameSamples = 160 // 20 ms
	frameTime    = 20 * time.Millisecond
	windowLen    = 800 // 100 ms of sound are judged
	// heardShare of the energy must be at a frequency, and the whole be louder than
	// heardLevel, for a tone to count as heard.
	heardShare = 0.5
	heardLevel = -45.0
	freshness  = 120 * time.Millisecond
	captureMax = 5 * 60 * sampleRate
)

// Audio is the voice of one call: a tone is spoken, and what comes in is measured.
type Audio struct {
	conn   *net.UDPConn
	local  netip.AddrPort
	frames func(pcm []int16, at time.Time)
	keep   bool

	done chan struct{}
	wg   sync.WaitGroup

	mu       sync.Mutex
	remote   netip.AddrPort // guarded by mu, as all below
	codec    byte
	dtmfPT   byte
	send     bool
	speaking bool
	closed   bool
	muted    bool // sends nothing, as a dead peer
	hz       float64
	voice    []int16 // played once instead of the tone
	digits   []byte  // to be sent
	heard    []int16 // ring of the last windowLen samples
	stats    AudioStats
	seen     reception
	captured []int16
	ended    map[uint32]bool // timestamps of digits that were counted
}

// AudioStats counts the packets of a call.
type AudioStats struct {
	Sent, Received, Lost int
	Foreign              int // from another source than the one last heard
	JitterMS             float64
	LongestGap           time.Duration
	First, Last          time.Time // of the packets received
	Digits               string    // heard by RFC 4733
	SSRCs                int       // sources heard one after the other
}

// reception follows the sequence of one source (RFC 3550 appendix A).
type reception struct {
	ssrc    uint32
	started bool
	base    uint16
	max     uint32 // extended highest sequence
	count   int
	transit float64
	jitter  float64 // in samples
	lost    int     // of the sources before
}

func newAudio(ip netip.Addr, hz float64, keep bool, frames func([]int16, time.Time)) (*Audio, error) {
	a := &Audio{hz: hz, keep: keep, frames: frames, done: make(chan struct{}), ended: map[uint32]bool{}}
	for range 50 {
		conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(ip, 0)))
		if err != nil {
			return nil, fmt.Errorf("RTP socket: %w", err)
		}
		local := conn.LocalAddr().(*net.UDPAddr).AddrPort()
		if local.Port()%2 == 0 { // RFC 3550 section 11
			a.conn, a.local = conn, netip.AddrPortFrom(local.Addr().Unmap(), local.Port())
			a.wg.Go(a.receive)
			return a, nil
		}
		conn.Close()
	}
	return nil, errors.New("no even RTP port is free")
}

// configure sets where the voice goes, after each offer and answer.
func (a *Audio) configure(s session, codec byte) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.remote, a.codec, a.dtmfPT, a.send = s.addr, codec, s.dtmf, s.receives()
}

// start begins the voice; once.
func (a *Audio) start() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.speaking && !a.closed {
		a.speaking = true
		a.wg.Go(a.speak)
	}
}

func (a *Audio) close() {
	a.mu.Lock()
	a.closed = true
	a.mu.Unlock()
	close(a.done)
	a.conn.Close()
	a.wg.Wait()
}

// SetTone changes the tone that is spoken; 0 is silence, sent as packets.
func (a *Audio) SetTone(hz float64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.hz = hz
}

// Mute stops sending packets at all, as a peer whose line is dead; false begins again.
func (a *Audio) Mute(on bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.muted = on
}

// Play speaks PCM of 8 kHz once, then the tone goes on.
func (a *Audio) Play(pcm []int16) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.voice = append([]int16(nil), pcm...)
}

// SendDTMF sends digits by RFC 4733, 120 ms each with 60 ms between.
func (a *Audio) SendDTMF(digits string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.digits = append(a.digits, digits...)
}

// speak sends a frame each 20 ms by an absolute clock, so that it does not drift.
func (a *Audio) speak() {
	var (
		packet = make([]byte, 12+frameSamples)
		ssrc   = rand.Uint32()
		seq    = uint16(rand.Uint32())
		ts     = rand.Uint32()
		phase  float64
		key    digit
		marker = true
		next   = time.Now()
		timer  = time.NewTimer(0)
	)
	defer timer.Stop()
	for {
		select {
		case <-a.done:
			return
		case <-timer.C:
		}
		a.mu.Lock()
		remote, codec, dtmfPT, hz := a.remote, a.codec, a.dtmfPT, a.hz
		quiet := !a.send || a.muted || !remote.IsValid()
		var voice []int16
		if len(a.voice) > 0 {
			voice = a.voice[:min(frameSamples, len(a.voice))]
			a.voice = a.voice[len(voice):]
		}
		if !key.active() && len(a.digits) > 0 && dtmfPT != 0 {
			key = newDigit(a.digits[0], ts)
			a.digits = a.digits[1:]
		}
		a.mu.Unlock()
		header := func(pt byte, timestamp uint32) {
			packet[0], packet[1] = 0x80, pt
			if marker {
				packet[1] |= 0x80
			}
			marker = false
			binary.BigEndian.PutUint16(packet[2:], seq)
			binary.BigEndian.PutUint32(packet[4:], timestamp)
			binary.BigEndian.PutUint32(packet[8:], ssrc)
			seq++
		}
		write := func(b []byte) {
			if quiet {
				return
			}
			if _, err := a.conn.WriteToUDPAddrPort(b, remote); err == nil {
				a.mu.Lock()
				a.stats.Sent++
				a.mu.Unlock()
			}
		}
		if key.active() {
			for payload, first := range key.next() {
				marker = first
				header(dtmfPT, key.timestamp)
				copy(packet[12:], payload[:])
				write(packet[:16])
			}
		} else {
			header(codec, ts)
			for i := range frameSamples {
				var s int16
				switch {
				case i < len(voice):
					s = voice[i]
				case voice == nil && hz > 0:
					s = int16(8000 * math.Sin(phase))
				}
				phase = math.Mod(phase+2*math.Pi*hz/sampleRate, 2*math.Pi)
				packet[12+i] = encode(codec, s)
			}
			write(packet)
		}
		ts += frameSamples
		next = next.Add(frameTime)
		timer.Reset(time.Until(next))
	}
}

// digit is one key being sent (RFC 4733 section 2.5): updates each 20 ms with the
// same timestamp, the end three times, then a pause.
type digit struct {
	event     byte
	timestamp uint32
	frame     int // 1 while it is being sent
}

const (
	keyFrames   = 6 // 120 ms
	pauseFrames = 3
)

func newDigit(c byte, ts uint32) digit {
	event := c - '0'
	switch c {
	case '*':
		event = 10
	case '#':
		event = 11
	}
	return digit{event: event, timestamp: ts, frame: 1}
}

func (d *digit) active() bool { return d.frame > 0 }

// next yields the packets of this frame, with whether one is the first of the key.
func (d *digit) next() func(yield func([4]byte, bool) bool) {
	frame := d.frame
	d.frame++
	if d.frame > keyFrames+pauseFrames {
		d.frame = 0
	}
	return func(yield func([4]byte, bool) bool) {
		if frame > keyFrames {
			return
		}
		p := [4]byte{d.event, 10}
		binary.BigEndian.PutUint16(p[2:], uint16(frame*frameSamples))
		times := 1
		if frame == keyFrames {
			p[1] |= 0x80
			times = 3
		}
		for i := range times {
			if !yield(p, frame == 1 && i == 0) {
				return
			}
		}
	}
}

func (a *Audio) receive() {
	buf := make([]byte, 2048)
	for {
		n, from, err := a.conn.ReadFromUDPAddrPort(buf)
		if err != nil {
			select {
			case <-a.done:
				return
			default:
			}
			if errors.Is(err, net.ErrClosed) {
				return
			}
			continue // an ICMP error of a peer that is gone
		}
		a.take(buf[:n], netip.AddrPortFrom(from.Addr().Unmap(), from.Port()), time.Now())
	}
}

func (a *Audio) take(b []byte, from netip.AddrPort, now time.Time) {
	if len(b) < 12 || b[0]>>6 != 2 {
		return
	}
	skip := 12 + 4*int(b[0]&0x0f)
	if b[0]&0x10 != 0 && len(b) >= skip+4 {
		skip += 4 + 4*int(binary.BigEndian.Uint16(b[skip+2:]))
	}
	if len(b) < skip {
		return
	}
	pt, seq, ts, ssrc := b[1]&0x7f, binary.BigEndian.Uint16(b[2:]), binary.BigEndian.Uint32(b[4:]), binary.BigEndian.Uint32(b[8:])
	payload := b[skip:]
	a.mu.Lock()
	if a.remote.IsValid() && from != a.remote {
		a.stats.Foreign++
	}
	if a.stats.Received == 0 {
		a.stats.First = now
	} else if gap := now.Sub(a.stats.Last); gap > a.stats.LongestGap {
		a.stats.LongestGap = gap
	}
	a.stats.Received++
	a.stats.Last = now
	if !a.seen.started || a.seen.ssrc != ssrc {
		a.stats.SSRCs++
	}
	a.seen.packet(ssrc, seq, ts, now)
	a.stats.Lost, a.stats.JitterMS = a.seen.missing(), a.seen.jitter/8
	var pcm []int16
	switch {
	case pt == PCMA || pt == PCMU:
		pcm = decode(pt, payload, nil)
		a.heard = append(a.heard, pcm...)
		if over := len(a.heard) - windowLen; over > 0 {
			a.heard = append(a.heard[:0], a.heard[over:]...)
		}
		if a.keep && len(a.captured) < captureMax {
			a.captured = append(a.captured, pcm...)
		}
	case a.dtmfPT != 0 && pt == a.dtmfPT && len(payload) >= 4:
		a.key(payload, ts)
	}
	a.mu.Unlock()
	if pcm != nil && a.frames != nil {
		a.frames(pcm, now)
	}
}

// key counts a digit once, however many of its packets come.
func (a *Audio) key(payload []byte, ts uint32) {
	if a.ended[ts] || payload[0] > 15 {
		return
	}
	if len(a.ended) > 1000 {
		clear(a.ended)
	}
	a.ended[ts] = true
	a.stats.Digits += string("0123456789*#ABCD"[payload[0]])
}

func (r *reception) packet(ssrc uint32, seq uint16, ts uint32, now time.Time) {
	arrival := float64(now.UnixMicro()%1e10) * sampleRate / 1e6
	if !r.started || r.ssrc != ssrc {
		*r = reception{ssrc: ssrc, started: true, base: seq, max: uint32(seq), count: 1, transit: arrival - float64(ts), lost: r.missing(), jitter: r.jitter}
		return
	}
	r.count++
	if d := int16(seq - uint16(r.max)); d > 0 {
		r.max += uint32(d)
	}
	transit := arrival - float64(ts)
	if d := math.Abs(transit - r.transit); d < sampleRate {
		r.jitter += (d - r.jitter) / 16
	}
	r.transit = transit
}

// missing is how many packets did not come, of all sources so far.
func (r *reception) missing() int {
	if !r.started {
		return 0
	}
	expected := int(r.max-uint32(r.base)) + 1
	return r.lost + max(0, expected-r.count)
}

// Stats are the counts so far.
func (a *Audio) Stats() AudioStats {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.stats
}

// Captured is all that was heard, when the phone was asked to keep it.
func (a *Audio) Captured() []int16 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]int16(nil), a.captured...)
}

func (a *Audio) window() ([]int16, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	fresh := time.Since(a.stats.Last) < freshness && len(a.heard) == windowLen
	return append([]int16(nil), a.heard...), fresh
}

// Level is the loudness of the last 100 ms in dB below full scale, −100 for none.
func (a *Audio) Level() float64 {
	x, fresh := a.window()
	if !fresh {
		return -100
	}
	return level(x)
}

// Hears tells whether a tone is heard now.
func (a *Audio) Hears(hz float64) bool {
	x, fresh := a.window()
	return fresh && level(x) > heardLevel && goertzel(x, hz) > heardShare
}

// WaitTone waits until a tone is heard.
func (a *Audio) WaitTone(ctx context.Context, hz float64) error {
	return a.wait(ctx, fmt.Sprintf("tone of %g Hz", hz), func() bool { return a.Hears(hz) })
}

// WaitSound waits for any sound: a prompt, a voice.
func (a *Audio) WaitSound(ctx context.Context) error {
	return a.wait(ctx, "sound", func() bool { return a.Level() > heardLevel })
}

// WaitQuiet waits until nothing is heard, by silent packets or by none.
func (a *Audio) WaitQuiet(ctx context.Context) error {
	return a.wait(ctx, "quiet", func() bool { return a.Level() < heardLevel })
}

// WaitDigits waits until the digits heard end with these.
func (a *Audio) WaitDigits(ctx context.Context, digits string) error {
	return a.wait(ctx, "digits "+digits, func() bool {
		got := a.Stats().Digits
		return len(got) >= len(digits) && got[len(got)-len(digits):] == digits
	})
}

func (a *Audio) wait(ctx context.Context, what string, reached func() bool) error {
	tick := time.NewTicker(frameTime)
	defer tick.Stop()
	for !reached() {
		select {
		case <-ctx.Done():
			s := a.Stats()
			return fmt.Errorf("no %s: %d packets received, %d lost, level %.0f dB, digits %q: %w", what, s.Received, s.Lost, a.Level(), s.Digits, ctx.Err())
		case <-a.done:
			return fmt.Errorf("no %s: the call ended", what)
		case <-tick.C:
		}
	}
	return nil
}
