package recording

import "encoding/binary"

// The file is RIFF/WAVE with format 6, two channels of 8 bits at 8 kHz:
//
//	RIFF size WAVE | fmt 18 … | fact 4 samples | data size … | frames of 2 bytes
//
// The sizes are rewritten as data becomes durable; data only ever grows.
const (
	headerBytes = 58
	frameBytes  = 2 // left, right
	sampleRate  = 8000
	alawSilence = 0xD5
	maxData     = 1<<32 - 1 - headerBytes // the sizes have 32 bits: 74 hours
)

// header is the head of a file with so many bytes of data.
func header(data int64) []byte {
	b := make([]byte, 0, headerBytes)
	le := binary.LittleEndian
	b = append(b, "RIFF"...)
	b = le.AppendUint32(b, uint32(headerBytes-8+data))
	b = append(b, "WAVEfmt "...)
	b = le.AppendUint32(b, 18)
	b = le.AppendUint16(b, 6) // A-law
	b = le.AppendUint16(b, 2)
	b = le.AppendUint32(b, sampleRate)
	b = le.AppendUint32(b, sampleRate*frameBytes)
	b = le.AppendUint16(b, frameBytes)
	b = le.AppendUint16(b, 8)
	b = le.AppendUint16(b, 0) // no extension
	b = append(b, "fact"...)
	b = le.AppendUint32(b, 4)
	b = le.AppendUint32(b, uint32(data/frameBytes))
	b = append(b, "data"...)
	return le.AppendUint32(b, uint32(data))
}
