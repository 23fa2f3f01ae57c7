// The right zone: the elder's card, the timeline, the notes.
import type { VNode } from 'preact';
import { useRef } from 'preact/hooks';
import { signal } from '@preact/signals';
import { run, send } from '../shared/command';
import { dayAndTime, list, t, term, timeOfDay, words } from '../shared/i18n';
import { Act, ageOf } from '../shared/ui';
import type { Contact, Elder, TimelineEvent } from '../shared/types';
import { detail, elder, incident, nameOf, opened, operatorName, selection, usable } from './state';

/** tab is the part of the right zone that narrow screens show. */
const tab = signal<'card' | 'timeline'>('card');

export function Right(): VNode {
  const s = selection.value;
  const e = s?.kind === 'incident' ? detail.value.value?.elder : elder.value.value?.elder;
  const d = s?.kind === 'incident' ? detail.value.value : null;
  return (
    <section class={`zone right show-${tab.value}`} id="right" tabIndex={-1} aria-label={t('zone.right')}>
      {d && (
        <div class="tabs" role="group" aria-label={t('zone.right')}>
          {(['card', 'timeline'] as const).map((x) => <button type="button" key={x} aria-pressed={tab.value === x} onClick={() => { tab.value = x; }}>{x === 'card' ? t('elder.card') : t('timeline.title')}</button>)}
        </div>)}
      {e ? <Card e={e} purpose={incident.value?.no ?? 'desk'} /> : <section class="card person"><h2>{t('elder.card')}</h2><Nobody /></section>}
      {d && <Timeline all={d.timeline ?? []} />}
      {d && opened.value && <NoteField id={d.incident.id} />}
    </section>
  );
}

function Nobody(): VNode {
  const d = selection.value?.kind === 'incident' ? detail.value.value : null;
  if (!d) return <p class="none">{t('elder.none')}</p>;
  return (
    <>
      <p class="warn">{t('elder.not_found')}</p>
      <dl class="facts">
        {d.incident.claimed_id && <Fact k={t('device.claimed')} v={d.incident.claimed_id} />}
        {d.device && <Fact k={t('device.title')} v={[term('device', d.device.kind), d.device.model, d.device.external_id_masked].filter(Boolean).join(' · ')} />}
      </dl>
    </>
  );
}

function Fact({ k, v, class: c }: { k: string; v: string | undefined; class?: string }): VNode | null {
  return v ? <><dt>{k}</dt><dd class={c}>{v}</dd></> : null;
}

function Card({ e, purpose }: { e: Elder; purpose: string }): VNode {
  const h = e.health ?? {};
  const talk = e.communication ?? {};
  const d = selection.value?.kind === 'incident' ? detail.value.value : null;
  const age = ageOf(e);
  const lift = e.lift === undefined ? '' : e.lift ? t('elder.lift') : t('elder.no_lift');
  const speaks = [
    talk.hearing && talk.hearing !== 'normal' ? term('hearing', talk.hearing) : '', talk.speech && talk.speech !== 'normal' ? term('speech', talk.speech) : '',
    talk.mandarin && talk.mandarin !== 'good' ? term('mandarin', talk.mandarin) : '', list((talk.dialects ?? []).map((x) => term('dialect', x))),
  ].filter(Boolean);
  const contacts = [...(e.contacts ?? [])].sort((a, b) => a.rank - b.rank);
  return (
    <section class="card person" aria-labelledby="h-person">
      <header class="row"><h2 id="h-person" class="name grow cut">{e.name}</h2><span>{[term('sex', e.sex), age === undefined ? '' : t('unit.age', { n: age })].filter(Boolean).join(' · ')}</span></header>
      <p class="address"><b>{[e.address, e.unit_floor_room].filter(Boolean).join(' ')}</b>{lift && <span class="tag">{lift}</span>}</p>
      {(e.entry_note || e.forced_entry) && <p class="muted">{[e.entry_note, e.forced_entry ? t('elder.forced_entry') : ''].filter(Boolean).join(' · ')}</p>}
      <Codes e={e} purpose={purpose} />
      {((h.allergies?.length ?? 0) > 0 || e.risk_notes) && (
        <div class="risk">
          {h.allergies?.length ? <p><span aria-hidden="true">⚠ </span>{t('elder.allergies')}: {list(h.allergies)}</p> : null}
          {e.risk_notes && <p><span aria-hidden="true">⚠ </span>{t('elder.risk')}: {e.risk_notes}</p>}
        </div>)}
      <dl class="facts">
        <Fact k={t('elder.diagnoses')} v={list(h.diagnoses ?? [])} />
        <Fact k={t('elder.medication')} v={list(h.medication ?? [])} />
        <Fact k={t('elder.ability')} v={[e.ability ? term('ability', e.ability) : '', h.mobility_aid ? term('aid', h.mobility_aid) : '', h.oxygen ? t('elder.oxygen') : '', h.falls_12m ? t('elder.falls', { n: h.falls_12m }) : ''].filter(Boolean).join(' · ')} />
        <Fact k={t('elder.living')} v={[term('living', e.living_state), list((e.tags ?? []).filter((x) => x.code !== e.living_state).map((x) => term('tag', x.code)))].filter(Boolean).join(' · ')} />
        <Fact k={t('elder.talk')} v={speaks.join(' · ')} />
        <Fact k={t('elder.hospital')} v={[h.preferred_hospital, h.family_doctor].filter(Boolean).join(' · ')} />
        <Fact k={t('elder.blood')} v={h.blood_type} />
        <Fact k={t('elder.preferences')} v={e.preferences} />
        {d?.device && <Fact k={t('device.title')} v={[term('device', d.device.kind), d.device.model, d.device.battery === undefined ? '' : t('device.battery', { n: d.device.battery })].filter(Boolean).join(' · ')} />}
      </dl>
      <ul class="contacts" aria-label={t('elder.contacts')}>
        {(e.phones ?? []).length > 0 && <ContactRow elder={e.id} c={{ id: '', rank: 0, name: t('elder.self'), relation: '', phones: e.phones }} purpose={purpose} />}
        {contacts.map((c) => <ContactRow key={c.id} elder={e.id} c={c} purpose={purpose} />)}
      </ul>
    </section>
  );
}

/** Codes opens the door: each is shown one by one, and the looking is written down. */
function Codes({ e, purpose }: { e: Elder; purpose: string }): VNode | null {
  const all = ([['door_code', e.has_door_code], ['key_safe', e.has_key_safe], ['duress_word', e.communication?.has_duress_word]] as const).filter(([, has]) => has);
  if (!all.length) return null;
  return (
    <p class="row codes">{all.map(([field]) => {
      const slot = `reveal:${e.id}:${field}`;
      const full = revealed.value[slot];
      return full ? <span key={field} class="tag"><b>{term('code', field)}: {full}</b></span>
        : <Act key={field} slot={slot} class="small" disabled={!usable.value} do={() => reveal(slot, e.id, { field, purpose })}>{t('elder.show_code', { what: term('code', field) })}</Act>;
    })}
    </p>
  );
}

const revealed = signal<Record<string, string>>({});
const revealMs = 60000;

/** reveal shows a hidden value for a minute; the server writes down who looked. */
function reveal(slot: string, id: string, body: { field: string; contact_id?: string; purpose: string }): void {
  void send<{ value: string; values?: string[] }>(slot, 'elder.reveal', `/elders/${id}/reveal`, body).then((r) => {
    revealed.value = { ...revealed.value, [slot]: (r.values ?? [r.value]).join(' ') };
    window.setTimeout(() => {
      const { [slot]: _, ...rest } = revealed.value;
      revealed.value = rest;
    }, revealMs);
  }, () => {});
}

function ContactRow({ elder: id, c, purpose }: { elder: string; c: Contact; purpose: string }): VNode {
  const slot = `reveal:${id}:${c.id}`;
  const full = revealed.value[slot];
  return (
    <li class="row">
      <span class="rank">{c.rank || '·'}</span>
      <span class="grow cut"><b>{c.name}</b> <span class="muted">{[term('relation', c.relation), c.distance_min ? t('elder.away', { n: c.distance_min }) : ''].filter(Boolean).join(' · ')}</span></span>
      {c.key_holder && <span class="tag key">{t('elder.key')}</span>}
      <span class={full ? 'phone full' : 'phone'}>{full ?? c.phones?.[0] ?? ''}</span>
      {!full && c.phones?.[0]?.includes('*') && <Act slot={slot} class="small" disabled={!usable.value} title={t('elder.reveal_of', { name: c.name })} do={() => reveal(slot, id, { field: 'phone', ...(c.id ? { contact_id: c.id } : {}), purpose })}>{t('elder.reveal')}<span class="visually-hidden"> {c.name}</span></Act>}
    </li>
  );
}

/** phrase is what an event says, with what its body tells. */
export function phrase(e: TimelineEvent): string {
  const b = e.body ?? {};
  const text = (k: string): string => (typeof b[k] === 'string' ? (b[k] as string) : '');
  const extra: string[] = [];
  const kinds = b.kinds as string[] | undefined;
  if (kinds?.length) extra.push(list(kinds.map((k) => term('kind', k))));
  if (text('responder_id')) extra.push(nameOf(text('responder_id')));
  if (e.type === 'dispatch.assignment.offered') extra.push(t('timeline.wave', { n: Number(b.wave), offers: Number(b.offers) }));
  if (typeof b.eta_sec === 'number') extra.push(t('timeline.eta', { n: Math.max(1, Math.ceil(b.eta_sec / 60)) }));
  if (typeof b.presses === 'number' && b.presses > 1) extra.push(`×${b.presses}`);
  if (typeof b.rung === 'number') extra.push(t('timeline.rung', { n: b.rung }));
  if (text('what')) extra.push(term('what', text('what')));
  if (text('how')) extra.push(term('how', text('how')));
  if (text('outcome')) extra.push(e.type.includes('assignment') ? term('job_outcome', text('outcome')) : term('outcome', text('outcome')));
  if (text('false_class')) extra.push(term('false_class', text('false_class')));
  if (text('reason')) extra.push(words(`decline.${text('reason')}`) ?? words(`withdraw_reason.${text('reason')}`) ?? term('what', text('reason')));
  if (e.type.startsWith('dispatch.task') && text('kind')) extra.push(term('task', text('kind')));
  if (b.taken_over === true) extra.push(t('timeline.taken_over'));
  if (e.type === 'dispatch.incident.noted') {
    const n = detail.value.value?.incident.notes?.[Number(b.note) - 1];
    return n ? `“${n.text}”` : term('event', e.type);
  }
  return [term('event', e.type), ...extra].join(' · ');
}

function actor(e: TimelineEvent): string {
  const [kind, ...rest] = e.actor.split(':');
  if (kind === 'rule' || kind === 'system' || kind === 'device') return term('actor', kind);
  if (e.actor_name) return e.actor_name;
  if (kind === 'operator') return operatorName(rest.join(':'));
  if (kind === 'responder') return nameOf(rest.join(':'));
  return term('actor', kind);
}

function Timeline({ all }: { all: TimelineEvent[] }): VNode {
  const rows = [...all].reverse();
  return (
    <section class="card timeline" aria-labelledby="h-timeline">
      <h2 id="h-timeline">{t('timeline.title')} <span class="count">{all.length}</span></h2>
      <ol tabIndex={0} aria-label={t('timeline.title')}>
        {rows.map((e) => (
          <li key={e.id} class={e.type === 'dispatch.incident.noted' ? 'noted' : ''}>
            <time title={dayAndTime(e.at)} dateTime={e.at}>{timeOfDay(e.at)}</time>
            <span class="what">{phrase(e)}</span>
            <span class="by muted">{actor(e)}</span>
          </li>
        ))}
      </ol>
    </section>
  );
}

const draftOf = (id: string): string => {
  try { return sessionStorage.getItem(`draft:${id}`) ?? ''; } catch { return ''; }
};

function keepDraft(id: string, text: string): void {
  try {
    if (text) sessionStorage.setItem(`draft:${id}`, text);
    else sessionStorage.removeItem(`draft:${id}`);
  } catch {
    // The draft lasts as long as the field then.
  }
}

function NoteField({ id }: { id: string }): VNode {
  const ref = useRef<HTMLInputElement>(null);
  const save = (): void => {
    const text = ref.current?.value.trim() ?? '';
    if (!text) return;
    void run(`note:${id}`, 'note.save', `/incidents/${id}/note`, { text }).then((done) => {
      if (!done || !ref.current) return;
      ref.current.value = '';
      keepDraft(id, '');
      detail.refresh(0);
    });
  };
  return (
    <form class="card note" onSubmit={(e) => { e.preventDefault(); save(); }}>
      <div class="row quick">
        {(['note.quick_talk', 'note.quick_no_answer', 'note.quick_family'] as const).map((k) => (
          <button type="button" class="small" key={k} disabled={!usable.value} onClick={() => { if (ref.current) { ref.current.value = t(k); keepDraft(id, t(k)); ref.current.focus(); } }}>{t(k)}</button>))}
      </div>
      <div class="row">
        <input ref={ref} key={id} class="grow" maxLength={2000} placeholder={t('note.hint')} aria-label={t('note.hint')} defaultValue={draftOf(id)} onInput={(e) => keepDraft(id, e.currentTarget.value)} />
        <Act slot={`note:${id}`} disabled={!usable.value}>{t('note.save')}</Act>
      </div>
    </form>
  );
}
