package recording

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"anling/callcenter/media"
)

// PCM shows a recording as a WAV of 16-bit PCM, for players that do not know
// A-law. It converts as it is read and knows its length, so that it can be served
// with ranges (http.ServeContent). It is not safe for concurrent use.
func PCM(r io.ReadSeeker) (io.ReadSeeker, error) {
	if _, err := r.Seek(0, io.SeekStart); err != nil {
		return nil, fmt.Errorf("convert recording: %w", err)
	}
	data, err := dataBytes(r)
	if err != nil {
		return nil, fmt.Errorf("convert recording: %w", err)
	}
	return &pcm{src: r, head: pcmHeader(2 * data), data: data}, nil
}

const pcmHeaderBytes = 44

func pcmHeader(data int64) []byte {
	b := make([]byte, 0, pcmHeaderBytes)
	le := binary.LittleEndian
	b = append(b, "RIFF"...)
	b = le.AppendUint32(b, uint32(min(pcmHeaderBytes-8+data, 1<<32-1)))
	b = append(b, "WAVEfmt "...)
	b = le.AppendUint32(b, 16)
	b = le.AppendUint16(b, 1)
	b = le.AppendUint16(b, 2)
	b = le.AppendUint32(b, sampleRate)
	b = le.AppendUint32(b, sampleRate*2*2)
	b = le.AppendUint16(b, 2*2)
	b = le.AppendUint16(b, 16)
	b = append(b, "data"...)
	return le.AppendUint32(b, uint32(min(data, 1<<32-1)))
}

type pcm struct {
	src  io.ReadSeeker
	head []byte
	data int64 // bytes of A-law
	pos  int64 // in the PCM file
	buf  [4096]byte
}

func (p *pcm) size() int64 { return pcmHeaderBytes + 2*p.data }

func (p *pcm) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += p.pos
	case io.SeekEnd:
		offset += p.size()
	}
	if offset < 0 {
		return p.pos, errors.New("seek before the beginning of a recording")
	}
	p.pos = offset
	return offset, nil
}

func (p *pcm) Read(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	if p.pos >= p.size() {
		return 0, io.EOF
	}
	if p.pos < pcmHeaderBytes {
		n := copy(b, p.head[p.pos:])
		p.pos += int64(n)
		return n, nil
	}
	return p.samples(b)
}

// samples converts; a range may begin and end in the middle of a sample.
func (p *pcm) samples(b []byte) (int, error) {
	from := p.pos - pcmHeaderBytes
	first := from / 2
	want := min((int64(len(b))+from%2+1)/2, p.data-first, int64(len(p.buf)))
	if _, err := p.src.Seek(headerBytes+first, io.SeekStart); err != nil {
		return 0, err
	}
	n, err := io.ReadFull(p.src, p.buf[:want])
	if n == 0 {
		return 0, err
	}
	skip := from % 2
	done := 0
	for _, v := range p.buf[:n] {
		s := uint16(media.PCMA.Linear(v))
		for half := skip; half < 2 && done < len(b); half++ {
			b[done] = byte(s >> (8 * half))
			done++
		}
		skip = 0
	}
	p.pos += int64(done)
	return done, nil
}
