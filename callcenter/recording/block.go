package recording

import "sync"

// blockFrames is half a second of both channels.
const blockFrames = sampleRate / 2

type block [blockFrames * frameBytes]byte

var silence = func() (b block) {
	for i := range b {
		b[i] = alawSilence
	}
	return b
}()

// blockPool keeps blocks for reuse, so that a running call takes no new memory.
type blockPool struct{ sync.Pool }

func newBlockPool() *blockPool {
	return &blockPool{sync.Pool{New: func() any { return new(block) }}}
}

func (p *blockPool) take() *block {
	b := p.Get().(*block)
	*b = silence
	return b
}

func (p *blockPool) give(b *block) { p.Put(b) }
