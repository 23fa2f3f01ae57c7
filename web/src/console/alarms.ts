// Which alarm sounds: the most urgent that nobody has acknowledged. Acknowledging
// silences the sound only; it changes no incident.
import { computed, effect, signal } from '@preact/signals';
import { alarm, type Level } from '../shared/sound';
import { emergencies, incidents } from './state';
import type { Incident } from '../shared/types';

const heard = signal<ReadonlySet<string>>(new Set());
const key = (i: Incident): string => `${i.id}:${i.presses}`;

/** sounding are the incidents that call for a human. */
export const sounding = computed(() => incidents.value.value.filter((i) => !i.owner && i.priority < 4 && i.status !== 'resolved' && !heard.value.has(key(i))));

const loud = computed<Level | 0>(() => {
  if (emergencies.value.some((e) => !heard.value.has(e.id))) return 1;
  const p = Math.min(9, ...sounding.value.map((i) => i.priority));
  return p < 4 ? (p as Level) : 0;
});

export const ringing = computed(() => loud.value > 0);

effect(() => alarm(loud.value));

/** acknowledge silences what sounds now. */
export function acknowledge(): void {
  const all = new Set([...incidents.value.value.map(key), ...emergencies.value.map((e) => e.id)]);
  heard.value = all;
}
