// What the responder does is kept here until the server has answered: an action
// taken in a cellar without signal is sent when the line is back, in order, each
// under its own key, so that it is done once.
import { signal } from '@preact/signals';
import { newKey, post, Refusal } from '../shared/api';

export interface Action { user: string; key: string; path: string; body: Record<string, unknown>; what: string; about: string; at: string; status?: string }

const storeKey = 'anling.queue';
const retryMs = 4000;

const memory = new Map<string, string>(); // when the browser gives no storage

function read(key: string): string {
  try { return localStorage.getItem(key) ?? ''; } catch { return memory.get(key) ?? ''; }
}

function write(key: string, value: string): void {
  memory.set(key, value);
  try { localStorage.setItem(key, value); } catch {
    // Kept in memory: it lasts as long as the page.
  }
}

/** deviceID names this browser to the server. */
export function deviceID(): string {
  let id = read('anling.device');
  if (!id) {
    id = `web-${newKey()}`;
    write('anling.device', id);
  }
  return id;
}

/** nextSeq rises with every answer to an offer: with the device it makes a repeat safe. */
export function nextSeq(): number {
  const n = Number(read('anling.device_seq') || 0) + 1;
  write('anling.device_seq', String(n));
  return n;
}

function load(): Action[] {
  try {
    const all: unknown = JSON.parse(read(storeKey) || '[]');
    return Array.isArray(all) ? (all as Action[]) : [];
  } catch {
    return [];
  }
}

export const queue = signal<Action[]>(load());

function save(all: Action[]): void {
  write(storeKey, JSON.stringify(all));
  queue.value = all;
}

let sending = false;
let timer = 0;
let user = '';
let answered: (a: Action, result: unknown) => void = () => {};
let refused: (a: Action, e: Refusal) => void = () => {};

/** begin takes up what an earlier page left, for this user only. */
export function begin(id: string, onAnswer: typeof answered, onRefusal: typeof refused): void {
  user = id;
  answered = onAnswer;
  refused = onRefusal;
  save(load().filter((a) => a.user === id));
  void flush();
}

/** put keeps an action and tries to send it at once. */
export function put(what: string, about: string, path: string, body: Record<string, unknown>, status?: string): void {
  save([...load(), { user, key: newKey(), path, body, what, about, at: new Date().toISOString(), ...(status ? { status } : {}) }]);
  void flush();
}

/** flush sends what waits, oldest first, and stops at the first broken line. */
export async function flush(): Promise<void> {
  if (sending) return;
  sending = true;
  window.clearTimeout(timer);
  for (let a = load()[0]; a; a = load()[0]) {
    const done = a;
    try {
      const result = await post<unknown>(a.path, a.body, a.key);
      answered(done, result); // first what it led to, then it is forgotten: no step back between
      save(load().filter((x) => x.key !== done.key));
    } catch (e) {
      if (e instanceof Refusal && e.status >= 400 && e.status < 500 && e.status !== 429 && e.status !== 401) {
        save(load().filter((x) => x.key !== done.key));
        refused(done, e);
        continue;
      }
      timer = window.setTimeout(() => void flush(), retryMs);
      break;
    }
  }
  sending = false;
}

/** forget empties the queue, at sign-out. */
export function forget(): void { save([]); }

window.addEventListener('online', () => void flush());
