// The left zone: what is open and what waits.
import type { ComponentChildren, VNode } from 'preact';
import { run } from '../shared/command';
import { ago, dayAndTime, span, t, term } from '../shared/i18n';
import { Act, kinds, Mark, person, second } from '../shared/ui';
import type { Call, Callback, Incident, Task } from '../shared/types';
import {
  callbacks, calls, incidents, live, me, next, operatorName, panel, panelFor, recent, select, selection, tasks, unowned, urgency, usable,
} from './state';
import { useSteady } from './steady';

export function Left(): VNode {
  return (
    <section class="zone left" id="left" tabIndex={-1} aria-label={t('zone.left')}>
      <Incidents />
      <Queue />
      <Callbacks />
      <Tasks />
      <Recent />
    </section>
  );
}

function Group({ title, count, children, open, extra, id }: { title: string; count: number; children: ComponentChildren; open?: boolean; extra?: ComponentChildren; id: string }): VNode {
  return (
    <section class={open ? 'group main card' : 'group card'} aria-labelledby={id}>
      <header class="row"><h2 id={id} class="grow">{title} <span class="count">{count}</span></h2>{extra}</header>
      {children}
    </section>
  );
}

/** roam moves the focus along the rows with the arrow keys. */
function roam(e: KeyboardEvent): void {
  const step = e.code === 'ArrowDown' ? 1 : e.code === 'ArrowUp' ? -1 : 0;
  if (!step) return;
  const rows = [...(e.currentTarget as HTMLElement).querySelectorAll<HTMLElement>('button.item')];
  const at = rows.indexOf(document.activeElement as HTMLElement);
  rows[Math.min(rows.length - 1, Math.max(0, at + step))]?.focus();
  e.preventDefault();
}

function Incidents(): VNode {
  const all = [...incidents.value.value].sort(urgency);
  const s = useSteady(all, (i) => i.id);
  return (
    <Group id="h-incidents" title={t('list.incidents')} count={all.length} open
      extra={<button type="button" class="small" disabled={!unowned.value.length || !usable.value} onClick={next}>{t('do.next')} <kbd>F2</kbd></button>}>
      {s.fresh > 0 && <button type="button" class="fresh" onClick={s.settle}>{t('list.fresh', { n: s.fresh })}</button>}
      <ul class="rows" {...s.hold} onKeyDown={(e) => { s.hold.onKeyDown(e); roam(e); }}>
        {s.rows.map(({ item, gone }) => <li key={item.id}><IncidentRow i={item} gone={gone} /></li>)}
      </ul>
      {!s.rows.length && <p class="none">{incidents.loaded.value ? t('list.no_incidents') : t('list.loading')}</p>}
    </Group>
  );
}

function IncidentRow({ i, gone }: { i: Incident; gone?: boolean }): VNode {
  const now = second.value + live.offset.value;
  const due = i.deadline ? (Date.parse(i.deadline) - now) / 1000 : Infinity;
  const late = !i.owner && due < 10;
  return (
    <button type="button" class={`item bar${i.priority}${gone ? ' gone' : ''}`} aria-current={selection.value?.id === i.id} disabled={gone}
      onClick={() => select({ kind: 'incident', id: i.id })}>
      <span class="line"><Mark p={i.priority} /><b class="grow cut">{kinds(i.kinds)}{i.presses > 1 ? ` ×${i.presses}` : ''}</b>
        <span class={late ? 'timer late' : 'timer'}>{span((now - Date.parse(i.opened_at)) / 1000)}</span></span>
      <span class="line cut">{person(i.elder) || t('elder.unknown')}</span>
      <span class="line"><span class={`state s-${i.status}`}>{gone ? t('list.gone') : term('status', i.status)}</span>
        <span class="grow cut muted">{i.elder?.address ?? i.claimed_id ?? ''}</span>
        <span class="owner muted">{i.unattended && !i.owner ? <b class="p1">{t('incident.unattended')}</b> : owner(i)}</span></span>
    </button>
  );
}

const owner = (i: Incident): string => (!i.owner ? t('incident.no_owner') : i.owner === me.value?.id ? t('incident.mine') : i.owner_name ?? operatorName(i.owner));

function Queue(): VNode {
  const waiting = calls.value.value.filter((c) => !c.ended_at);
  const s = useSteady(waiting, (c) => c.id);
  return (
    <Group id="h-calls" title={t('list.calls')} count={waiting.length}>
      <ul class="rows" {...s.hold} onKeyDown={(e) => { s.hold.onKeyDown(e); roam(e); }}>
        {s.rows.map(({ item, gone }) => <li key={item.id}><CallRow c={item} gone={gone} /></li>)}
      </ul>
      {!waiting.length && <p class="none">{t('list.no_calls')}</p>}
    </Group>
  );
}

/** caller is who calls, or is called, as far as it is known. */
export function caller(c: Call): string {
  return c.name || (c.direction === 'out' ? c.to : c.from) || t('call.anonymous');
}

function CallRow({ c, gone }: { c: Call; gone: boolean }): VNode {
  const now = second.value + live.offset.value;
  const since = c.answered_at ?? c.received_at;
  return (
    <button type="button" class={`item${c.sos ? ' bar1' : ''}${gone ? ' gone' : ''}`} aria-current={selection.value?.id === c.id || (!!c.incident_id && selection.value?.id === c.incident_id)} disabled={gone}
      onClick={() => select(c.incident_id ? { kind: 'incident', id: c.incident_id } : { kind: 'call', id: c.id })}>
      <span class="line"><b class="grow cut">{caller(c)}</b>{since && <span class="timer">{span((now - Date.parse(since)) / 1000)}</span>}</span>
      <span class="line"><span class={`state c-${c.state}`}>{gone ? t('list.gone') : term('call_state', c.state)}</span>
        <span class="grow cut muted end">{c.operator_id ? (c.operator_id === me.value?.id ? t('incident.mine') : c.operator_name ?? operatorName(c.operator_id)) : c.position ? t('call.position', { n: c.position }) : ''}</span></span>
    </button>
  );
}

function Callbacks(): VNode | null {
  const all = callbacks.value.value.filter((b) => b.state !== 'closed');
  return (
    <Group id="h-callbacks" title={t('list.callbacks')} count={all.length}>
      <ul class="rows">
        {all.map((b) => <li key={b.id}><CallbackRow b={b} /></li>)}
      </ul>
      {!all.length && <p class="none">{t('list.no_callbacks')}</p>}
    </Group>
  );
}

function CallbackRow({ b }: { b: Callback }): VNode {
  const now = second.value + live.offset.value;
  return (
    <div class={`item flat bar${b.priority ?? 3}`}>
      <span class="line"><b class="grow cut">{b.name || b.number || t('call.anonymous')}</b><span class="muted">{ago((now - Date.parse(b.opened_at)) / 1000)}</span></span>
      <span class="line row">
        <span class="muted grow cut">{b.number ?? ''}{b.attempts ? ` · ${t('callback.attempts', { n: b.attempts })}` : ''}</span>
        <Act slot={`dial:${b.id}`} class="small primary" disabled={!usable.value || !b.number} do={() => void run(`dial:${b.id}`, 'callback.dial', `/callbacks/${b.id}/dial`).then(() => { callbacks.refresh(0); calls.refresh(0); })}>{t('callback.dial')}</Act>
        <button type="button" class="small" onClick={() => { panelFor.value = b.id; panel.value = 'callback'; }}>{t('callback.done')}</button>
      </span>
    </div>
  );
}

function Tasks(): VNode {
  const all = [...tasks.value.value].sort((a, b) => a.priority - b.priority || Date.parse(a.created_at) - Date.parse(b.created_at));
  return (
    <Group id="h-tasks" title={t('list.tasks')} count={all.length}>
      <ul class="rows">{all.map((k) => <li key={k.id}><TaskRow k={k} /></li>)}</ul>
      {!all.length && <p class="none">{t('list.no_tasks')}</p>}
    </Group>
  );
}

function TaskRow({ k }: { k: Task }): VNode {
  const now = second.value + live.offset.value;
  const own = k.taken_by === me.value?.id;
  return (
    <div class={`item flat bar${k.priority}`}>
      <span class="line"><b class="grow cut">{term('task', k.kind)}{k.count > 1 ? ` ×${k.count}` : ''}</b><span class="muted">{ago((now - Date.parse(k.created_at)) / 1000)}</span></span>
      {(k.kinds?.length || k.claimed_id) ? <span class="line cut muted">{[kinds(k.kinds), k.claimed_id].filter(Boolean).join(' · ')}</span> : null}
      <span class="line row">
        <span class="muted grow cut">{k.taken_by ? (own ? t('incident.mine') : k.taken_by_name ?? operatorName(k.taken_by)) : t('incident.no_owner')}</span>
        {k.incident_id && <button type="button" class="small" onClick={() => select({ kind: 'incident', id: k.incident_id! })}>{t('do.show')}</button>}
        {!k.taken_by && <Act slot={`task:${k.id}`} class="small" disabled={!usable.value} do={() => void run(`task:${k.id}`, 'do.take', `/tasks/${k.id}/take`).then(() => tasks.refresh(0))}>{t('do.take')}</Act>}
        {own && <button type="button" class="small" onClick={() => { panelFor.value = k.id; panel.value = 'task'; }}>{t('task.done')}</button>}
      </span>
    </div>
  );
}

/** Recent lets a closed incident be read again, and opened again. */
function Recent(): VNode | null {
  const all = recent.value.value.filter((i) => i.status === 'closed' || i.status === 'merged').slice(0, 20);
  if (!all.length) return null;
  return (
    <details class="group card">
      <summary><h2>{t('list.recent')} <span class="count">{all.length}</span></h2></summary>
      <ul class="rows" onKeyDown={roam}>
        {all.map((i) => (
          <li key={i.id}>
            <button type="button" class="item" aria-current={selection.value?.id === i.id} onClick={() => select({ kind: 'incident', id: i.id })}>
              <span class="line"><b class="grow cut">{kinds(i.kinds)}</b><span class="muted">{dayAndTime(i.opened_at)}</span></span>
              <span class="line cut muted">{[i.elder?.name, i.closing ? term('outcome', i.closing.outcome) : term('status', i.status)].filter(Boolean).join(' · ')}</span>
            </button>
          </li>
        ))}
      </ul>
    </details>
  );
}
