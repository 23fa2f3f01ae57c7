// What the responder's page knows: his duty, the offers that wait for his answer,
// the job that he has.
import { computed, signal } from '@preact/signals';
import { get, post, type Refusal } from '../shared/api';
import { explain } from '../shared/command';
import { Feed, items } from '../shared/feed';
import { term, t } from '../shared/i18n';
import { Live, type LiveEvent } from '../shared/live';
import type { Assignment, Me, Offer, Result } from '../shared/types';
import { begin, deviceID, flush, forget, nextSeq, put, queue } from './queue';

export const me = signal<Me | null>(null);
export const duty = signal('');
/** notice tells the outcome of an action in words, until it is read. */
export const notice = signal('');

export const offers = new Feed<Offer[]>(() => '/offers', [], items);
export const assignments: Feed<Assignment[]> = new Feed<Assignment[]>(() => '/assignments?mine=true', [], (a) => {
  // An answer that was under way while a step was taken does not undo it.
  const known = new Map(assignments.value.value.map((x) => [x.id, x]));
  return items<Assignment>(a).map((x) => { const k = known.get(x.id); return k && k.version > x.version ? k : x; });
});

const underway = ['accepted', 'en_route', 'on_scene', 'transport'];

/** current is the job as the server has it. */
export const current = computed(() => assignments.value.value.find((a) => underway.includes(a.status)));

/** sheet is the job with what its responder may see: read after the acceptance only. */
export const sheet = new Feed<Assignment | null>(() => (current.value ? `/assignments/${current.value.id}` : ''), null, (a) => a as Assignment);

/** job is the current job with what waits to be sent already counted in. */
export const job = computed<Assignment | null>(() => {
  const a = current.value;
  if (!a) return null;
  let status = a.status;
  for (const q of queue.value) if (q.about === a.id && q.status) status = q.status;
  if (!underway.includes(status)) return null;
  const full = sheet.value.value?.id === a.id ? sheet.value.value : null;
  return { ...a, ...(full ?? {}), status };
});

/** waiting are the offers that call for an answer, the most urgent first. */
export const waiting = computed<Offer[]>(() => {
  const answered = new Set(queue.value.filter((q) => q.what === 'accept' || q.what === 'decline').map((q) => q.about));
  return offers.value.value
    .filter((o) => ['sent', 'delivered', 'seen', 'expired'].includes(o.status) && !answered.has(o.id) && !putBy.value.has(o.id))
    .filter((o) => o.status !== 'expired' || live.now() - Date.parse(o.deadline) < expiredMs)
    .sort((a, b) => a.priority - b.priority || Date.parse(a.deadline) - Date.parse(b.deadline));
});
const expiredMs = 120000; // so long an offer whose clock ran out is still shown
/** putBy are expired offers that the responder has put aside. */
export const putBy = signal<ReadonlySet<string>>(new Set());
/** settling is the moment between the acceptance and the job on the screen. */
const settling = signal(false);
const settleMs = 5000;

/** answering tells that an acceptance waits for the server's word. */
export const answering = computed(() => settling.value || queue.value.some((q) => q.what === 'accept'));

export const live = new Live(['responder'], {
  snap: (views) => {
    const v = views.responder as { duty?: string; offers?: Offer[] } | undefined;
    if (v?.duty) duty.value = v.duty;
    offers.set(v?.offers);
    assignments.refresh(0);
  },
  event: heard,
  welcome: () => { void flush(); refresh(); },
});

export function refresh(soon?: number): void {
  offers.refresh(soon);
  assignments.refresh(soon);
}

assignments.value.subscribe(() => { if (current.value) { settling.value = false; sheet.refresh(0); } else sheet.clear(); });

// A job that ended without the responder's own doing is told to him.
let had = '';
current.subscribe((a) => {
  if (had && !a && !ending.has(had)) notice.value = t('job.taken_away');
  had = a?.id ?? '';
});
const ending = new Set<string>();

function heard(e: LiveEvent): void {
  if (e.kind === 'care.responder.duty' && e.agg_id === me.value?.responder_id && typeof e.body.duty === 'string') duty.value = e.body.duty;
  if (e.kind.startsWith('dispatch.')) refresh();
  if (e.kind.startsWith('dispatch.assignment')) sheet.refresh();
}

export async function start(): Promise<void> {
  me.value = await get<Me & { duty?: string }>('/me');
  begin(me.value.id, done, refusedBy);
  refresh(0);
  window.setInterval(refresh, 30000);
}

function done(a: { what: string; about: string }, result: unknown): void {
  if (a.what === 'accept' || a.what === 'decline') {
    const r = result as Result;
    offers.set(offers.value.value.map((o) => (o.id === a.about ? { ...o, status: r.status } : o)));
    if (a.what === 'accept' && r.status === 'accepted') {
      settling.value = true;
      window.setTimeout(() => { settling.value = false; }, settleMs);
    } else if (a.what === 'accept') notice.value = term('offer_result', r.status);
  } else if (a.what === 'advance' || a.what === 'give_up') {
    const now = result as Assignment;
    assignments.set(assignments.value.value.map((x) => (x.id === now.id ? { ...x, ...now } : x)));
  }
  refresh(0);
}

function refusedBy(a: { what: string; about: string }, e: Refusal): void {
  refresh(0);
  if (a.what !== 'seen') notice.value = `${term('action', a.what)}: ${explain(e)}`;
}

// Actions.

/** answer is what makes an answer to an offer safe to repeat. */
const answer = (o: Offer): Record<string, unknown> => ({ epoch: o.epoch, device_id: deviceID(), device_seq: nextSeq() });

const told = new Set<string>();

/** seen tells the server once that the offer is on the screen. */
export function seen(o: Offer): void {
  if (told.has(o.id) || o.status === 'seen' || o.status === 'expired') return;
  told.add(o.id);
  put('seen', o.id, `/offers/${o.id}/seen`, answer(o));
}

export const accept = (o: Offer): void => put('accept', o.id, `/offers/${o.id}/accept`, answer(o));
export const decline = (o: Offer, reason: string): void => put('decline', o.id, `/offers/${o.id}/decline`, { ...answer(o), reason });

export function advance(a: Assignment, status: string, outcome?: string): void {
  if (status === 'done') ending.add(a.id);
  put('advance', a.id, `/assignments/${a.id}/advance`, outcome ? { status, outcome } : { status }, status);
}

export function giveUp(a: Assignment, reason: string): void {
  ending.add(a.id);
  put('give_up', a.id, `/assignments/${a.id}/give_up`, { reason }, 'reassigned');
}

export const switching = signal(false);

export async function setDuty(to: string): Promise<void> {
  const id = me.value?.responder_id;
  if (!id || switching.value) return;
  switching.value = true;
  try {
    const r = await post<{ duty?: string } | undefined>(`/responders/${id}/duty`, { duty: to });
    duty.value = r?.duty ?? to;
    notice.value = '';
  } catch (e) {
    notice.value = explain(e);
  }
  switching.value = false;
}

export function signOut(): void {
  forget();
  const go = (): void => location.assign('/login');
  post('/logout').then(go, go);
}
