// The few components that the pages share, on native elements.
import type { ComponentChildren, VNode } from 'preact';
import { useEffect, useRef } from 'preact/hooks';
import { signal } from '@preact/signals';
import { busy } from './command';
import { list, t, term } from './i18n';
import type { Elder, Priority } from './types';

/** second ticks once a second, for timers. */
export const second = signal(Date.now());
window.setInterval(() => { second.value = Date.now(); }, 1000);

const shapes = { 1: '▲', 2: '◆', 3: '■', 4: '●' };

/** Mark is a priority as shape, word and colour: never colour alone. */
export function Mark({ p }: { p: Priority }): VNode {
  return <span class={`mark p${p}`}><span aria-hidden="true">{shapes[p] ?? '●'}</span> {term('priority', String(p))}</span>;
}

export const kinds = (all: string[] | undefined): string => list((all ?? []).map((k) => term('kind', k)));

/** person is name, sex and age of an elder in one line. */
export function person(e: Elder | undefined): string {
  if (!e?.name) return '';
  const age = ageOf(e);
  return [e.name, term('sex', e.sex), age === undefined ? '' : t('unit.age', { n: age })].filter(Boolean).join(' · ');
}

export function ageOf(e: Elder): number | undefined {
  if (e.age !== undefined) return e.age;
  const born = /^(\d{4})(?:-(\d\d))?(?:-(\d\d))?/.exec(e.birth_date ?? '');
  if (!born) return undefined;
  const now = new Date();
  const had = (now.getMonth() + 1) * 100 + now.getDate() >= Number(born[2] ?? 1) * 100 + Number(born[3] ?? 1);
  return now.getFullYear() - Number(born[1]) - (had ? 0 : 1);
}

interface ActProps {
  slot: string; do?: () => void; disabled?: boolean; class?: string; cap?: string; children: ComponentChildren; title?: string;
}

/** Act is a button of a command: it says "sending" until the server has answered. Without do it submits its form. */
export function Act(p: ActProps): VNode {
  const waits = busy(p.slot);
  return (
    <button type={p.do ? 'button' : 'submit'} class={p.class} disabled={p.disabled || waits} aria-busy={waits} title={p.title} onClick={p.do}>
      {waits ? t('do.sending') : p.children}{p.cap && !waits ? <> <kbd>{p.cap}</kbd></> : null}
    </button>
  );
}

/** Dialog is modal; Escape and the close button leave it without effect. */
export function Dialog({ title, close, children, wide }: { title: string; close: () => void; children: ComponentChildren; wide?: boolean }): VNode {
  const ref = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    const d = ref.current!;
    const before = document.activeElement as HTMLElement | null;
    d.showModal();
    return () => {
      if (d.open) d.close();
      before?.isConnected && before.focus?.();
    };
  }, []);
  return (
    <dialog ref={ref} class={wide ? 'wide' : undefined} aria-label={title} onCancel={(e) => { e.preventDefault(); close(); }}
      onClick={(e) => { if (e.target === ref.current) close(); }}>
      <div class="sheet">
        <header class="row"><h2 class="grow">{title}</h2><button type="button" class="quiet" aria-label={t('do.shut')} onClick={close}>✕</button></header>
        {children}
      </div>
    </dialog>
  );
}
