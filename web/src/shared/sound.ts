// Sounds of the pages, made with WebAudio. One alarm at a time: the most urgent.
import { signal } from '@preact/signals';

/** blocked tells that the browser waits for a click before it lets us sound. */
export const blocked = signal(true);

let audio: AudioContext | undefined;

/** unlock starts the audio; call it from a click or a key. */
export function unlock(): void {
  audio ??= new AudioContext();
  if (audio.state === 'suspended') void audio.resume().then(note, note);
  note();
}

function note(): void { blocked.value = audio?.state !== 'running'; }

for (const gesture of ['pointerdown', 'keydown'] as const) {
  window.addEventListener(gesture, unlock, { capture: true, passive: true });
}

function tone(hz: number, from: number, seconds: number, gain: number): void {
  if (!audio || audio.state !== 'running') return;
  const o = audio.createOscillator();
  const g = audio.createGain();
  const at = audio.currentTime + from;
  o.frequency.value = hz;
  g.gain.setValueAtTime(0, at);
  g.gain.linearRampToValueAtTime(gain, at + 0.01); // no click at the edges
  g.gain.setValueAtTime(gain, at + seconds - 0.02);
  g.gain.linearRampToValueAtTime(0, at + seconds);
  o.connect(g).connect(audio.destination);
  o.start(at);
  o.stop(at + seconds);
}

const forms = {
  // Danger to life: two tones alternating, until a person acknowledges.
  1: { every: 2000, times: Infinity, play: () => { for (let i = 0; i < 4; i++) tone(i % 2 ? 660 : 880, i * 0.25, 0.25, 0.6); } },
  2: { every: 10000, times: 12, play: () => { tone(660, 0, 0.12, 0.4); tone(660, 0.2, 0.12, 0.4); } },
  3: { every: 0, times: 1, play: () => tone(520, 0, 0.08, 0.2) },
};

export type Level = keyof typeof forms;

let level: Level | 0 = 0;
let timer = 0;

/** alarm sounds at a level until it is called with another; 0 is silence. */
export function alarm(to: Level | 0): void {
  if (to === level) return;
  level = to;
  window.clearTimeout(timer);
  if (!to) return;
  const form = forms[to];
  let left = form.times;
  const step = (): void => {
    form.play();
    if (--left > 0) timer = window.setTimeout(step, form.every);
  };
  step();
}

/** offer is the responder's alert: louder and with vibration, until stopped. */
export function offer(on: boolean): void {
  alarm(on ? 1 : 0);
  window.clearInterval(shaking);
  if (!on || !navigator.vibrate) {
    navigator.vibrate?.(0);
    return;
  }
  const shake = (): void => { navigator.vibrate([400, 150, 400]); };
  shake();
  shaking = window.setInterval(shake, 2000);
}
let shaking = 0;
