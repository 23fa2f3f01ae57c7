package media

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Formats of a WAV file that prompts may have.
const (
	wavPCM        = 1
	wavALaw       = 6
	wavMuLaw      = 7
	wavExtensible = 0xFFFE
)

var errWAV = errors.New("not a WAV file of 8 kHz mono A-law, µ-law or 16-bit PCM")

// ReadWAV returns the audio of a file as A-law.
func ReadWAV(b []byte) ([]byte, error) {
	if len(b) < 12 || string(b[:4]) != "RIFF" || string(b[8:12]) != "WAVE" {
		return nil, fmt.Errorf("%w: no RIFF/WAVE header", errWAV)
	}
	var format, bits uint16
	for b = b[12:]; len(b) >= 8; {
		id, size := string(b[:4]), int64(binary.LittleEndian.Uint32(b[4:]))
		b = b[8:]
		if size > int64(len(b)) {
			return nil, fmt.Errorf("%w: chunk %q of %d bytes, but %d are left", errWAV, id, size, len(b))
		}
		body := b[:size]
		switch id {
		case "fmt ":
			var err error
			if format, bits, err = readFormat(body); err != nil {
				return nil, err
			}
		case "data":
			return toALaw(body, format, bits)
		}
		b = b[min(size+size&1, int64(len(b))):]
	}
	return nil, fmt.Errorf("%w: no data", errWAV)
}

func readFormat(b []byte) (format, bits uint16, err error) {
	if len(b) < 16 {
		return 0, 0, fmt.Errorf("%w: format chunk of %d bytes", errWAV, len(b))
	}
	format = binary.LittleEndian.Uint16(b)
	channels, rate := binary.LittleEndian.Uint16(b[2:]), binary.LittleEndian.Uint32(b[4:])
	bits = binary.LittleEndian.Uint16(b[14:])
	if format == wavExtensible && len(b) >= 26 {
		format = binary.LittleEndian.Uint16(b[24:])
	}
	if channels != 1 || rate != SampleRate {
		return 0, 0, fmt.Errorf("%w: %d channels at %d Hz", errWAV, channels, rate)
	}
	return format, bits, nil
}

func toALaw(b []byte, format, bits uint16) ([]byte, error) {
	switch {
	case len(b) == 0:
		return nil, fmt.Errorf("%w: no samples", errWAV)
	case format == wavALaw && bits == 8:
		return append([]byte(nil), b...), nil
	case format == wavMuLaw && bits == 8:
		out := make([]byte, len(b))
		Convert(out, b, PCMU, PCMA)
		return out, nil
	case format == wavPCM && bits == 16 && len(b) >= 2:
		out := make([]byte, len(b)/2)
		for i := range out {
			out[i] = EncodeA(int16(binary.LittleEndian.Uint16(b[2*i:])))
		}
		return out, nil
	}
	return nil, fmt.Errorf("%w: format %d with %d bits", errWAV, format, bits)
}
