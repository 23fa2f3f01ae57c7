// A feed is what a page shows of one list, read over HTTP and read again when an
// event says that it changed.
import { signal, type Signal } from '@preact/signals';
import { get, Refusal } from './api';

const gatherMs = 120; // events that come together are answered by one read
const retryMs = 2000;

export class Feed<T> {
  readonly value: Signal<T>;
  readonly loaded = signal(false);
  private timer = 0;
  private reading = false;
  private again = false;

  /** path "" reads nothing: the feed is empty. */
  constructor(private readonly path: () => string, private readonly empty: T, private readonly take: (answer: unknown) => T) {
    this.value = signal(empty);
  }

  /** refresh reads soon; many calls make one read. */
  refresh(soon = gatherMs): void {
    if (this.timer) return;
    this.timer = window.setTimeout(() => { this.timer = 0; void this.read(); }, soon);
  }

  /** set takes what came another way, as in a snapshot; undefined is nothing. */
  set(value: T | undefined): void {
    if (value === undefined) return;
    this.value.value = value;
    this.loaded.value = true;
  }

  clear(): void {
    this.value.value = this.empty;
    this.loaded.value = false;
  }

  private async read(): Promise<void> {
    if (this.reading) { this.again = true; return; }
    const path = this.path();
    if (!path) return;
    this.reading = true;
    let failed = false;
    try {
      const answer = await get<unknown>(path);
      if (path === this.path()) {
        this.value.value = this.take(answer);
        this.loaded.value = true;
      } else this.again = true;
    } catch (e) {
      failed = e instanceof Refusal && (e.status === 0 || e.status >= 500 || e.status === 429);
      if (e instanceof Refusal && e.status === 404 && path === this.path()) this.clear();
    }
    this.reading = false;
    if (failed) this.refresh(retryMs);
    else if (this.again) this.refresh();
    this.again = false;
  }
}

/** items takes the list out of an answer. */
export const items = <T>(answer: unknown): T[] => (Array.isArray(answer) ? answer : (answer as { items?: T[] } | undefined)?.items ?? []) as T[];
