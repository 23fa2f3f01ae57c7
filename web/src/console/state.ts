// What the console knows: feeds over HTTP, told by /ws when to read again, and what
// the operator looks at.
import { computed, effect, signal } from '@preact/signals';
import { get } from '../shared/api';
import { repeatAll, run, send } from '../shared/command';
import { Feed, items } from '../shared/feed';
import { Live, type LiveEvent } from '../shared/live';
import { second } from '../shared/ui';
import type { Assignment, Call, Callback, Candidate, Detail, Elder, Incident, Me, Operator, Responder, Status, Task } from '../shared/types';

/** Selection is what the centre and the right zone are about. */
export type Selection = { kind: 'incident' | 'call' | 'elder'; id: string } | null;

export const me = signal<Me | null>(null);
export const selection = signal<Selection>(null);
export const emergencies = signal<Emergency[]>([]);

/** Emergency is an alarm that could not be stored, and is shown all the same. */
export interface Emergency { id: string; at: number; body: Record<string, unknown> }

/** Panel is the overlay that is open. */
export type Panel = '' | 'search' | 'help' | 'classify' | 'resolve' | 'close' | 'reopen' | 'merge' | 'create' | 'withdraw' | 'callback' | 'task' | 'break';
export const panel = signal<Panel>('');
export const panelFor = signal(''); // the id that the panel is about

const chosen = (kind: string): string => (selection.value?.kind === kind ? selection.value.id : '');

export const incidents = new Feed<Incident[]>(() => '/incidents?status=open&limit=200', [], items);
export const recent = new Feed<Incident[]>(() => '/incidents?status=recent&limit=30', [], items);
export const tasks = new Feed<Task[]>(() => '/tasks', [], items);
export const calls = new Feed<Call[]>(() => '/calls', [], items);
export const callbacks = new Feed<Callback[]>(() => '/callbacks', [], items);
export const operators = new Feed<Operator[]>(() => '/operators', [], items);
export const responders = new Feed<Responder[]>(() => '/responders', [], items);
export const status = new Feed<Status | null>(() => '/status', null, (a) => {
  const s = a as Status;
  live.clock(s.now);
  return s;
});
export const detail = new Feed<Detail | null>(() => (chosen('incident') ? `/incidents/${chosen('incident')}` : ''), null, (a) => a as Detail);
export const candidates = new Feed<Candidate[]>(() => (chosen('incident') ? `/incidents/${chosen('incident')}/candidates?limit=30` : ''), [], items);

/** elderOf is the elder that a call is about, when the number tells. */
export const elderOf = (c: Call | undefined): string => c?.elder_id ?? '';

interface ElderFile { elder: Elder; incidents: Incident[] }
export const elder = new Feed<ElderFile | null>(() => {
  const id = chosen('elder') || (chosen('call') ? elderOf(calls.value.value.find((c) => c.id === chosen('call'))) : '');
  return id ? `/elders/${id}` : '';
}, null, (a) => {
  const x = a as Elder & { incidents?: Incident[] };
  return { elder: x, incidents: x.incidents ?? [] };
});

const known = new Set<string>();

export const live = new Live(['desk'], {
  snap: (views) => {
    const d = views.desk as { incidents?: Incident[]; tasks?: Task[]; calls?: Call[]; callbacks?: Callback[]; operators?: Operator[]; status?: Status } | undefined;
    incidents.set(d?.incidents);
    tasks.set(d?.tasks ?? []);
    calls.set(d?.calls ?? []);
    callbacks.set(d?.callbacks ?? []);
    operators.set(d?.operators ?? []);
    status.set(d?.status);
    responders.refresh(0);
    recent.refresh(0);
    again();
  },
  event: heard,
  welcome: () => { repeatAll(); status.refresh(); again(); },
  emergency: (body, at) => {
    const id = String(body.id ?? at);
    if (known.has(id)) return; // the server tells again to who comes back
    known.add(id);
    emergencies.value = [...emergencies.value, { id, at: at ? Date.parse(at) : Date.now(), body }].slice(-50);
  },
});

/** again reads what the operator looks at. */
export function again(): void {
  detail.refresh();
  candidates.refresh();
  elder.refresh();
}

function heard(e: LiveEvent): void {
  const [owner, noun] = e.kind.split('.');
  if (owner === 'dispatch' || owner === 'sos') {
    if (noun === 'task') tasks.refresh();
    incidents.refresh();
    if (noun === 'incident') recent.refresh(1000);
  }
  if (owner === 'callcenter') {
    calls.refresh();
    if (noun === 'callback') callbacks.refresh();
    if (noun === 'call') { callbacks.refresh(); operators.refresh(); }
    if (noun === 'operator') operators.refresh();
  }
  if (owner === 'care' && noun === 'responder') { responders.refresh(1000); candidates.refresh(1000); }
  if (selection.value?.kind === 'incident' && (e.incident_id === selection.value.id || owner === 'callcenter')) detail.refresh();
  if (noun === 'assignment' || noun === 'offer') candidates.refresh(500);
  if (e.kind === 'care.elder.saved') elder.refresh();
}

/** select shows an incident, a call or an elder, and moves the focus to the centre. */
export function select(s: Selection, focus = true): void {
  if (s?.kind !== selection.value?.kind || s?.id !== selection.value?.id) {
    selection.value = s;
    for (const f of [detail, candidates, elder]) f.clear();
  }
  detail.refresh(0);
  candidates.refresh(0);
  elder.refresh(0);
  if (focus) window.setTimeout(() => document.getElementById('centre')?.focus({ preventScroll: true }), 0);
}

export const incident = computed<Incident | undefined>(() => detail.value.value?.incident);
/** mine tells whether the incident on screen is the reader's. */
export const mine = computed(() => !!incident.value && incident.value.owner === me.value?.id);
export const opened = computed(() => !!incident.value && !['closed', 'merged'].includes(incident.value.status));
/** usable: commands may be given: the reader is an operator, and what is shown is not stale. */
export const usable = computed(() => live.line.value !== 'stale' && me.value?.role === 'operator');

export const urgency = (a: Incident, b: Incident): number => a.priority - b.priority || Date.parse(a.opened_at) - Date.parse(b.opened_at);

/** unowned are the open incidents that nobody has taken, the most urgent first. */
export const unowned = computed(() => incidents.value.value.filter((i) => !i.owner && i.status !== 'resolved').sort(urgency));

/** good are the responders who can be sent, in the order of the keys 1, 2, 3. */
export const good = computed(() => candidates.value.value.filter((c) => c.verdict === 'PICKED' || c.verdict === 'SLOWER'));
export const passedOver = computed(() => candidates.value.value.filter((c) => c.verdict !== 'PICKED' && c.verdict !== 'SLOWER'));

/** nameOf finds a responder's name in what was read already. */
export function nameOf(id: string | undefined): string {
  if (!id) return '';
  const d = detail.value.value;
  return responders.value.value.find((r) => r.id === id)?.name ?? candidates.value.value.find((c) => c.responder_id === id)?.name
    ?? d?.assignments?.flatMap((a) => a.reasons ?? []).find((c) => c.responder_id === id)?.name ?? id.slice(-6);
}

export const operatorName = (id: string | undefined): string => (!id ? '' : operators.value.value.find((o) => o.user_id === id)?.name ?? id.slice(-6));

/** myCall is the call that the reader talks on, or that rings at him. */
export const myCall = computed<Call | undefined>(() => calls.value.value.find((c) => !c.ended_at && !!me.value && (c.operator_id === me.value.id || c.offered?.includes(me.value.id))));

/** callsHere are the live calls of what is on screen. */
export const callsHere = computed<Call[]>(() => {
  const s = selection.value;
  if (!s) return [];
  if (s.kind === 'call') return calls.value.value.filter((c) => c.id === s.id);
  if (s.kind === 'incident') return calls.value.value.filter((c) => c.incident_id === s.id || incident.value?.call_ids?.includes(c.id));
  return calls.value.value.filter((c) => elderOf(c) === s.id);
});

// Commands.

export function take(id: string, over = false): void {
  void run(`take:${id}`, over ? 'do.take_over' : 'do.take', `/incidents/${id}/take`, { take_over: over }).then(() => { incidents.refresh(0); detail.refresh(0); });
}

/** next takes the most urgent incident that nobody has. */
export function next(): void {
  const i = unowned.value[0];
  if (!i) return;
  select({ kind: 'incident', id: i.id });
  take(i.id);
}

/** sent is the last dispatch, which can be withdrawn for five seconds. */
export const sent = signal<{ id: string; at: number; name: string } | null>(null);
export const undoMs = 5000;
effect(() => { if (sent.value && second.value - sent.value.at > undoMs) sent.value = null; });

export function dispatch(ids?: string[]): void {
  const i = incident.value;
  if (!i || !mine.value || !usable.value) return;
  const name = ids?.map(nameOf).join(' ') ?? '';
  void send<Assignment>('dispatch', 'do.dispatch', `/incidents/${i.id}/dispatch`, ids ? { claim: i.claim, responder_ids: ids } : { claim: i.claim })
    .then((a) => { sent.value = { id: a.id, at: Date.now(), name }; again(); }, () => again());
}

export function withdraw(id: string, reason: string): void {
  sent.value = null;
  void run(`withdraw:${id}`, 'do.withdraw', `/assignments/${id}/withdraw`, { reason }).then(again);
}

export function hangUp(c: Call | undefined): void {
  if (c) void run(`hangup:${c.id}`, 'call.hang_up', `/calls/${c.id}/hangup`).then(() => calls.refresh(0));
}

/** hold lets the caller hear music, or takes him back. */
export function hold(c: Call): void {
  if (c.state !== 'talking' && c.state !== 'held') return;
  const back = c.state === 'held';
  void run(`hold:${c.id}`, back ? 'call.resume' : 'call.hold', `/calls/${c.id}/${back ? 'resume' : 'hold'}`).then(() => calls.refresh(0));
}

export async function start(): Promise<void> {
  me.value = await get<Me>('/me');
  for (const f of [incidents, responders, recent]) f.refresh(0);
  window.setInterval(() => status.refresh(), 10000);
  window.setInterval(() => { if (opened.value) candidates.refresh(); }, 15000);
}
