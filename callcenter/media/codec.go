package media

import "math"

// Codec is an audio format by its RTP payload type. Both are 8 kHz, one byte a
// sample: 160 bytes are 20 ms.
type Codec uint8

// The two laws of G.711. China's trunks speak A-law.
const (
	PCMU Codec = 0
	PCMA Codec = 8
)

// Clock of everything here: G.711 and telephone-event run at 8 kHz.
const (
	SampleRate = 8000
	frameBytes = 160 // 20 ms
)

func (c Codec) String() string {
	switch c {
	case PCMU:
		return "PCMU"
	case PCMA:
		return "PCMA"
	}
	return "unknown"
}

// Known tells whether this package speaks the codec.
func (c Codec) Known() bool { return c == PCMU || c == PCMA }

// Silence is the byte of no sound.
func (c Codec) Silence() byte {
	if c == PCMU {
		return 0xFF
	}
	return 0xD5
}

var (
	linearOf  [2][256]int16  // by law: 0 PCMU, 1 PCMA
	energyOf  [2][256]uint32 // square of linearOf
	muToA     [256]byte
	aToMu     [256]byte
	silentA   [frameBytes]byte
	otherLaws = [2]*[256]byte{&muToA, &aToMu}
)

func init() {
	for i := range 256 {
		linearOf[0][i] = muLinear(byte(i))
		linearOf[1][i] = aLinear(byte(i))
		for law := range 2 {
			v := int64(linearOf[law][i])
			energyOf[law][i] = uint32(v * v)
		}
		muToA[i] = EncodeA(linearOf[0][i])
		aToMu[i] = encodeMu(linearOf[1][i])
	}
	for i := range silentA {
		silentA[i] = PCMA.Silence()
	}
}

func (c Codec) table() int {
	if c == PCMU {
		return 0
	}
	return 1
}

// Convert copies src to dst as the law to; it returns the bytes copied.
func Convert(dst, src []byte, from, to Codec) int {
	if from == to {
		return copy(dst, src)
	}
	n := min(len(dst), len(src))
	t := otherLaws[from.table()]
	for i, b := range src[:n] {
		dst[i] = t[b]
	}
	return n
}

// Linear is the 16-bit sample of one byte.
func (c Codec) Linear(b byte) int16 { return linearOf[c.table()][b] }

// aLinear expands A-law (G.711 table 1).
func aLinear(b byte) int16 {
	b ^= 0x55
	t := int16(b&0x0F) << 4
	seg := b & 0x70 >> 4
	switch seg {
	case 0:
		t += 8
	default:
		t = (t + 0x108) << (seg - 1)
	}
	if b&0x80 == 0 {
		return -t
	}
	return t
}

// EncodeA compresses a 16-bit sample to A-law.
func EncodeA(v int16) byte {
	x, mask := int(v)>>3, byte(0xD5)
	if x < 0 {
		x, mask = -x-1, 0x55
	}
	seg := 0
	for seg < 8 && x > 0x20<<seg-1 {
		seg++
	}
	if seg == 8 {
		return 0x7F ^ mask
	}
	code := byte(seg) << 4
	if seg < 2 {
		code |= byte(x>>1) & 0x0F
	} else {
		code |= byte(x>>seg) & 0x0F
	}
	return code ^ mask
}

// muLinear expands µ-law (G.711 table 2).
func muLinear(b byte) int16 {
	b = ^b
	t := (int16(b&0x0F)<<3 + 0x84) << (b & 0x70 >> 4)
	if b&0x80 != 0 {
		return 0x84 - t
	}
	return t - 0x84
}

// encodeMu compresses a 16-bit sample to µ-law.
func encodeMu(v int16) byte {
	x, mask := int(v)>>2, byte(0xFF)
	if x < 0 {
		x, mask = -x, 0x7F
	}
	x = min(x, 8159) + 33
	seg := 0
	for seg < 8 && x > 0x40<<seg-1 {
		seg++
	}
	if seg == 8 {
		return 0x7F ^ mask
	}
	return (byte(seg)<<4 | byte(x>>(seg+1))&0x0F) ^ mask
}

// energy is the sum of squares of the samples.
func energy(payload []byte, law Codec) (sum uint64) {
	t := &energyOf[law.table()]
	for _, b := range payload {
		sum += uint64(t[b])
	}
	return sum
}

// silentDB stands for no energy at all.
const silentDB = -96

// dbov is the level relative to the overload point (RFC 6464 3), -96 to 0.
func dbov(sum uint64, samples int) float64 {
	if sum == 0 || samples == 0 {
		return silentDB
	}
	return max(silentDB, 10*math.Log10(float64(sum)/float64(samples)/(32768*32768)))
}
