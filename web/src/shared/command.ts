// Commands of the pages. No optimistic UI: a control says "sending" until the
// server's durable answer. What is not answered in three seconds, or meets a broken
// line, is shown as unconfirmed and repeated under the same key, so it is done once.
import { signal } from '@preact/signals';
import { newKey, post, Refusal } from './api';
import { t, words, type Key } from './i18n';

/** Pending is a command without an answer. */
export interface Pending { slot: string; label: Key; path: string; body: unknown; key: string; late: boolean; tries: number }

interface Waiting extends Pending { resolve: (v: unknown) => void; reject: (e: Error) => void; timer: number }

const lateMs = 3000;
const waiting = new Map<string, Waiting>();

export const pending = signal<Pending[]>([]);
/** refused is the last command that the server did not do, with its reason. */
export const refused = signal<{ label: Key; text: string } | null>(null);

const publish = (): void => { pending.value = [...waiting.values()].map((w) => ({ ...w })); };

/** busy tells whether a command of a slot (a button, a row) waits for its answer. */
export const busy = (slot: string): boolean => pending.value.some((p) => p.slot === slot);

/** Dropped is the end of a command whose repetition the user stopped. */
export class Dropped extends Error {}

/**
 * send gives a command; it resolves on the server's answer and rejects when the
 * server refuses it or the user stops repeating it. A slot has one at a time.
 */
export function send<T>(slot: string, label: Key, path: string, body: unknown = {}): Promise<T> {
  for (const w of waiting.values()) if (w.slot === slot) return Promise.reject(new Dropped(slot));
  refused.value = null;
  return new Promise<T>((resolve, reject) => {
    const key = newKey();
    const w: Waiting = {
      slot, label, path, body, key, late: false, tries: 0, resolve: resolve as (v: unknown) => void, reject,
      timer: window.setTimeout(() => { w.late = true; publish(); }, lateMs),
    };
    waiting.set(key, w);
    void attempt(w);
  });
}

/** run is send for a handler that has nothing to do with the answer. */
export function run(slot: string, label: Key, path: string, body: unknown = {}): Promise<boolean> {
  return send(slot, label, path, body).then(() => true, () => false);
}

async function attempt(w: Waiting): Promise<void> {
  w.tries++;
  publish();
  try {
    const answer = await post(w.path, w.body, w.key);
    if (end(w)) w.resolve(answer);
  } catch (e) {
    if (e instanceof Refusal && e.status >= 400 && e.status < 500) {
      if (!end(w)) return;
      refused.value = { label: w.label, text: explain(e) };
      w.reject(e);
      return;
    }
    if (waiting.has(w.key)) {
      w.late = true; // not known whether it was done
      publish();
    }
  }
}

function end(w: Waiting): boolean {
  window.clearTimeout(w.timer);
  const known = waiting.delete(w.key);
  publish();
  return known;
}

/** repeat sends an unconfirmed command again under its key. */
export function repeat(key: string): void {
  const w = waiting.get(key);
  if (w) void attempt(w);
}

/** repeatAll is for the moment when the line is back. */
export function repeatAll(): void {
  for (const w of [...waiting.values()]) if (w.late) void attempt(w);
}

/** drop stops repeating; whether the command was done stays unknown. */
export function drop(key: string): void {
  const w = waiting.get(key);
  if (w && end(w)) w.reject(new Dropped(w.slot));
}

/** explain is a refusal in the reader's words. */
export function explain(e: unknown): string {
  if (!(e instanceof Refusal)) return t('error.internal');
  if (e.code === 'network') return t('error.network');
  const text = words(`refusal.${e.code}`) ?? t('error.internal');
  return e.code === 'invalid' && e.field ? t('refusal.field', { text, field: e.field, message: e.message }) : text;
}
