// Command promptbuild speaks the built-in prompts into configs/prompts, which is
// committed, so that building the server needs Go alone. It needs espeak-ng and sox.
//
// The engine's voice is robotic: it is for tests and as last resort, and a district
// replaces it by a human voice (docs/PROMPTS.md).
package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"

	"anling/callcenter/media"
)

const (
	dir      = "configs/prompts"
	language = "zh-CN"
	// The voice cmn reads hanzi as English letters; this one is right.
	voice = "cmn-latn-pinyin"
	speed = "150" // words per minute, slow enough for elders
)

func main() {
	if err := build(filepath.Join(dir, language)); err != nil {
		fmt.Fprintln(os.Stderr, "promptbuild:", err)
		os.Exit(1)
	}
}

func build(to string) error {
	if _, err := os.Stat(dir); err != nil {
		return fmt.Errorf("no %s here; run it in the project's top folder", dir)
	}
	if err := os.RemoveAll(to); err != nil {
		return fmt.Errorf("empty %s: %w", to, err)
	}
	if err := os.MkdirAll(to, 0o755); err != nil {
		return fmt.Errorf("make %s: %w", to, err)
	}
	m := media.Manifest{Language: language, Speaker: "espeak-ng " + voice, Licence: "Apache-2.0 (texts and recordings of this project)"}
	total := 0
	for _, e := range texts {
		wav, err := speak(e.text)
		if err != nil {
			return fmt.Errorf("%s: %w", e.id, err)
		}
		audio, err := media.ReadWAV(wav)
		if err != nil {
			return fmt.Errorf("%s: %w", e.id, err)
		}
		file := e.id + ".wav"
		if err := os.WriteFile(filepath.Join(to, file), wav, 0o644); err != nil {
			return fmt.Errorf("write %s: %w", file, err)
		}
		sum := sha256.Sum256(wav)
		m.Prompts = append(m.Prompts, media.PromptEntry{ID: e.id, Text: e.text, File: file,
			SHA256: hex.EncodeToString(sum[:]), Seconds: math.Round(float64(len(audio))/media.SampleRate*100) / 100})
		total += len(wav)
	}
	text, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return fmt.Errorf("encode manifest: %w", err)
	}
	if err := os.WriteFile(filepath.Join(to, media.ManifestFile), append(text, '\n'), 0o644); err != nil {
		return fmt.Errorf("write manifest: %w", err)
	}
	fmt.Printf("%d prompts, %.1f MB in %s\n", len(m.Prompts), float64(total)/1e6, to)
	return nil
}

// speak returns a WAV of 8 kHz A-law.
func speak(text string) ([]byte, error) {
	spoken, err := run(nil, "espeak-ng", "-v", voice, "-s", speed, "--stdout", speakable(text))
	if err != nil {
		return nil, err
	}
	// 0.7 keeps sox from clipping, -D makes the same bytes each time. The engine's
	// silence at both ends is cut to a short one.
	audio, err := run(spoken, "sox", "-D", "-V1", "-v", "0.7", "-t", "wav", "--ignore-length", "-",
		"-r", "8000", "-c", "1", "-e", "a-law", "-t", "raw", "-",
		"highpass", "120", "lowpass", "3400",
		"silence", "1", "0.02", "0.5%", "reverse", "silence", "1", "0.02", "0.5%", "reverse", "pad", "0.06", "0.12")
	if err != nil {
		return nil, err
	}
	if len(audio) == 0 {
		return nil, errors.New("the engine said nothing")
	}
	return wav(audio), nil
}

// wav puts A-law into a file of format 6.
func wav(audio []byte) []byte {
	le, odd := binary.LittleEndian, len(audio)%2
	b := append([]byte(nil), "RIFF"...)
	b = le.AppendUint32(b, uint32(50+len(audio)+odd))
	b = append(b, "WAVEfmt "...)
	b = le.AppendUint32(b, 18)
	b = le.AppendUint16(b, 6)
	b = le.AppendUint16(b, 1)
	b = le.AppendUint32(b, media.SampleRate)
	b = le.AppendUint32(b, media.SampleRate)
	b = le.AppendUint16(b, 1)
	b = le.AppendUint16(b, 8)
	b = le.AppendUint16(b, 0)
	b = append(b, "fact"...)
	b = le.AppendUint32(b, 4)
	b = le.AppendUint32(b, uint32(len(audio)))
	b = append(b, "data"...)
	b = le.AppendUint32(b, uint32(len(audio)))
	return append(append(b, audio...), make([]byte, odd)...)
}

// phonemes tells how the engine reads a text.
func phonemes(text string) (string, error) {
	out, err := run(nil, "espeak-ng", "-v", voice, "-q", "--ipa", speakable(text))
	return string(bytes.Join(bytes.Fields(out), []byte(" "))), err
}

func run(in []byte, name string, args ...string) ([]byte, error) {
	var out, errs bytes.Buffer
	c := exec.Command(name, args...)
	c.Stdin, c.Stdout, c.Stderr = bytes.NewReader(in), &out, &errs
	if err := c.Run(); err != nil {
		return nil, fmt.Errorf("%s: %w: %s", name, err, bytes.TrimSpace(errs.Bytes()))
	}
	return out.Bytes(), nil
}
