package simphone

import "math"

// G.711 by the formulas of ITU-T G.711, written for the peers' side on its own, so
// that an error in the server's tables shows.

func encodeULaw(s int16) byte {
	const bias, clip = 0x84, 32635
	v, sign := int(s), byte(0)
	if v < 0 {
		v, sign = -v, 0x80
	}
	v = min(v, clip) + bias
	exponent := 7
	for mask := 0x4000; v&mask == 0 && exponent > 0; mask >>= 1 {
		exponent--
	}
	return ^(sign | byte(exponent<<4) | byte(v>>(exponent+3)&0x0f))
}

func decodeULaw(b byte) int16 {
	b = ^b
	v := (int(b&0x0f)<<3 + 0x84) << (b >> 4 & 7)
	v -= 0x84
	if b&0x80 != 0 {
		v = -v
	}
	return int16(v)
}

func encodeALaw(s int16) byte {
	v, sign := int(s), byte(0x80)
	if v < 0 {
		v, sign = -v-1, 0
	}
	exponent := 7
	for mask := 0x4000; v&mask == 0 && exponent > 0; mask >>= 1 {
		exponent--
	}
	var b byte
	if exponent == 0 {
		b = byte(v >> 4 & 0x0f)
	} else {
		b = byte(exponent<<4) | byte(v>>(exponent+3)&0x0f)
	}
	return (b | sign) ^ 0x55
}

func decodeALaw(b byte) int16 {
	b ^= 0x55
	v := int(b&0x0f)<<4 + 8
	if e := int(b >> 4 & 7); e > 0 {
		v = (v + 0x100) << (e - 1)
	}
	if b&0x80 == 0 {
		v = -v
	}
	return int16(v)
}

var decodeTable = [2][256]int16{}

func init() {
	for i := range 256 {
		decodeTable[0][i] = decodeULaw(byte(i))
		decodeTable[1][i] = decodeALaw(byte(i))
	}
}

func encode(codec byte, s int16) byte {
	if codec == PCMA {
		return encodeALaw(s)
	}
	return encodeULaw(s)
}

func decode(codec byte, payload []byte, into []int16) []int16 {
	table := &decodeTable[0]
	if codec == PCMA {
		table = &decodeTable[1]
	}
	for _, b := range payload {
		into = append(into, table[b])
	}
	return into
}

// goertzel is the share of the energy of x that is at hz, 0 to 1.
func goertzel(x []int16, hz float64) float64 {
	coeff := 2 * math.Cos(2*math.Pi*hz/sampleRate)
	var s1, s2, energy float64
	for _, v := range x {
		f := float64(v)
		s1, s2 = f+coeff*s1-s2, s1
		energy += f * f
	}
	if energy == 0 {
		return 0
	}
	power := s1*s1 + s2*s2 - coeff*s1*s2
	return 2 * power / (float64(len(x)) * energy)
}

// level is the loudness of x in dB below full scale; silence is −100.
func level(x []int16) float64 {
	var energy float64
	for _, v := range x {
		energy += float64(v) * float64(v)
	}
	if energy == 0 {
		return -100
	}
	return 10 * math.Log10(energy/float64(len(x))/(32768*32768))
}
