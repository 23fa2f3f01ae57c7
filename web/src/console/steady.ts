// A list whose rows do not jump: while the pointer or the focus is in it, new rows
// wait at the end and gone rows keep their place, until the reader leaves it.
import { useRef, useState } from 'preact/hooks';

const restMs = 10000; // a pointer or focus that rests so long does not hold the order

export interface Steady<T> {
  rows: { item: T; gone: boolean }[];
  fresh: number; // new rows that wait for their place
  settle: () => void;
  hold: Record<'onPointerEnter' | 'onPointerMove' | 'onPointerLeave' | 'onFocusIn' | 'onFocusOut' | 'onKeyDown', (e: Event) => void>;
}

export function useSteady<T>(sorted: T[], id: (x: T) => string): Steady<T> {
  const held = useRef<T[] | null>(null);
  const timer = useRef(0);
  const [, redraw] = useState(0);
  const settle = (): void => {
    window.clearTimeout(timer.current);
    if (!held.current) return;
    held.current = null;
    redraw((n) => n + 1);
  };
  const keep = (): void => {
    held.current ??= sorted;
    window.clearTimeout(timer.current);
    timer.current = window.setTimeout(settle, restMs);
  };
  const leave = (e: Event): void => {
    const box = e.currentTarget as HTMLElement;
    window.setTimeout(() => { if (!box.matches(':hover') && !box.contains(document.activeElement)) settle(); }, 0);
  };
  const hold = { onPointerEnter: keep, onPointerMove: keep, onPointerLeave: leave, onFocusIn: keep, onFocusOut: leave, onKeyDown: keep };

  const before = held.current;
  if (!before) return { rows: sorted.map((item) => ({ item, gone: false })), fresh: 0, settle, hold };
  const now = new Map(sorted.map((x) => [id(x), x]));
  const known = new Set(before.map(id));
  const added = sorted.filter((x) => !known.has(id(x)));
  const rows = before.map((x) => ({ item: now.get(id(x)) ?? x, gone: !now.has(id(x)) }));
  return { rows: [...rows, ...added.map((item) => ({ item, gone: false }))], fresh: added.length, settle, hold };
}
