package media

import (
	"math/rand/v2"
	"testing"

	"anling/configs/prompts"
)

// keysIn returns what the ear hears in a sound, in packets of 20 ms.
func keysIn(sound []byte, law Codec) (got string) {
	var e ear
	for len(sound) >= frameBytes {
		var out notes
		e.hear(sound[:frameBytes], law, &out)
		for _, n := range out.all[:out.n] {
			got += string(n.Digit)
		}
		sound = sound[frameBytes:]
	}
	return got
}

// mixed adds noise to a sound and changes its level.
func mixed(sound []byte, gain, noise float64) []byte {
	r := rand.New(rand.NewPCG(7, 8))
	out := make([]byte, len(sound))
	for i, b := range sound {
		v := float64(PCMA.Linear(b))*gain + r.NormFloat64()*noise
		out[i] = EncodeA(int16(max(-32000, min(32000, v))))
	}
	return out
}

func TestKeysAreHeardInTheAudio(t *testing.T) {
	var sound []byte
	const text = "1590*#ABCD2344"
	for _, c := range text {
		for i, k := range keys {
			if k == c {
				sound = append(sound, keyTones()[i][:]...)
			}
		}
		for range 5 {
			sound = append(sound, silentA[:]...)
		}
	}
	for name, s := range map[string][]byte{
		"as sent":     sound,
		"quiet":       mixed(sound, 0.05, 0),
		"noisy":       mixed(sound, 0.5, 600),
		"off by 77 B": append(make([]byte, 77), sound...),
	} {
		if got := keysIn(s, PCMA); got != text {
			t.Errorf("%s: heard %q, pressed %q", name, got, text)
		}
	}
	mu := make([]byte, len(sound))
	Convert(mu, sound, PCMA, PCMU)
	if got := keysIn(mu, PCMU); got != text {
		t.Errorf("µ-law: heard %q", got)
	}
}

// TestVoiceIsNoKey listens to every prompt, the music and noise.
func TestVoiceIsNoKey(t *testing.T) {
	p, err := LoadPrompts(prompts.FS, "", PromptOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range p.IDs() {
		for _, gain := range []float64{1, 0.3, 3} {
			if got := keysIn(mixed(p.Get(id).Audio, gain, 20), PCMA); got != "" {
				t.Errorf("%s at %v times its level passes for %q", id, gain, got)
			}
		}
	}
	if got := keysIn(mixed(make([]byte, 60*SampleRate), 0, 3000), PCMA); got != "" {
		t.Errorf("noise passes for %q", got)
	}
	for _, hz := range []float64{350, 425, 440, 770, 1000, 1336, 2100} {
		if got := keysIn(Tone(hz, -10, SampleRate), PCMA); got != "" {
			t.Errorf("a tone of %v Hz passes for %q", hz, got)
		}
	}
}

func TestEarListensOnlyWithoutEvents(t *testing.T) {
	e := newEngine(t)
	with, a := open(t, e, PCMA, 101)
	without, b := open(t, e, PCMA, 0)
	tone := keyTones()[5]
	for i := range keyTicks {
		a.say(tone[i*frameBytes:][:frameBytes])
		b.say(tone[i*frameBytes:][:frameBytes])
	}
	if got := wantEvent(t, without, DTMF); got.Digit != '5' {
		t.Errorf("heard %c", got.Digit)
	}
	for with.Stats().Received < keyTicks {
		a.hear(tick)
	}
	for {
		select {
		case got := <-with.Events():
			if got.Kind == DTMF {
				t.Error("a tone counts beside the event")
			}
			continue
		default:
		}
		return
	}
}
