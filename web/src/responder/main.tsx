// The responder's page 助老员端, for a telephone held in one hand.
import { render, type VNode } from 'preact';
import { useEffect, useState } from 'preact/hooks';
import { effect, signal } from '@preact/signals';
import { navigation } from '../shared/datum';
import { ago, distance, lang, list, minutes, span, switchLang, t, term, timeOfDay } from '../shared/i18n';
import { blocked, offer as ring, unlock } from '../shared/sound';
import { switchTheme, theme } from '../shared/theme';
import { ageOf, kinds, Mark, second } from '../shared/ui';
import type { Assignment, Elder, Offer } from '../shared/types';
import '../shared/style.css';
import './responder.css';
import { sentAt, trouble } from './position';
import { queue } from './queue';
import {
  accept, advance, answering, assignments, decline, duty, giveUp, job, live, me, notice, putBy, seen, setDuty, signOut, start, switching, waiting,
} from './state';

const settings = signal(false);

function Page(): VNode {
  const o = waiting.value[0];
  const alerting = !!o && !job.value;
  return (
    <div class="phone">
      <Top />
      <main class={job.value ? 'with-action' : ''}>
        {notice.value && <div class="notice" role="alert"><p>{notice.value}</p><button type="button" onClick={() => { notice.value = ''; }}>{t('do.ok')}</button></div>}
        {settings.value ? <Settings /> : job.value ? <Job a={job.value} /> : <Home />}
      </main>
      {alerting && !answering.value && <Alert o={o} others={waiting.value.length - 1} key={o.id} />}
      {answering.value && !job.value && <div class="full wait" role="status"><p>{t('offer.sending')}</p></div>}
    </div>
  );
}

function Top(): VNode {
  const line = live.line.value;
  const unsent = queue.value.length;
  return (
    <header class="bar">
      <b>{t('app.name')}</b>
      <span class={line === 'live' && !unsent ? 'net' : 'net bad'} role="status">
        {line === 'live' ? '' : `${t('net.offline')} `}{unsent > 0 ? t('net.unsent', { n: unsent }) : line === 'live' ? t('net.live') : ''}
      </span>
      <button type="button" aria-expanded={settings.value} onClick={() => { settings.value = !settings.value; }}>{settings.value ? t('do.back') : t('settings.title')}</button>
    </header>
  );
}

function Home(): VNode {
  const on = duty.value === 'on';
  const today = new Date(live.now()).toDateString();
  const past = assignments.value.value.filter((a) => a.done_at && new Date(a.done_at).toDateString() === today);
  return (
    <>
      <section class={on ? 'duty on' : 'duty'}>
        <p class="hello">{me.value?.display_name || me.value?.name}</p>
        <h1>{duty.value ? term('duty', duty.value) : t('list.loading')}</h1>
        <p>{on ? t('duty.hint_on') : t('duty.hint_off')}</p>
        <button type="button" class={on ? 'plain' : 'go'} disabled={switching.value || !duty.value} onClick={() => { unlock(); void setDuty(on ? 'off' : 'on'); }}>
          {switching.value ? t('do.sending') : on ? t('duty.go_off') : t('duty.go_on')}
        </button>
        {on && <button type="button" class="plain" disabled={switching.value} onClick={() => void setDuty('paused')}>{t('duty.pause')}</button>}
      </section>
      {on && <Position />}
      {on && blocked.value && <button type="button" class="wide warn-button" onClick={unlock}>{t('sound.enable')}</button>}
      <section class="block">
        <h2>{t('home.today')}</h2>
        {!past.length && <p>{t('home.none')}</p>}
        <ul class="past">{past.map((a) => <li key={a.id}><Mark p={a.priority} /> <span>{timeOfDay(a.done_at)} · {term('job_outcome', a.outcome) || term('assignment', a.status)}</span></li>)}</ul>
      </section>
    </>
  );
}

function Position(): VNode {
  if (trouble.value) return <p class="block warn" role="status">{t(trouble.value === 'denied' ? 'position.denied' : 'position.unavailable')}</p>;
  return <p class="block quiet">{sentAt.value ? t('position.sent', { ago: ago((second.value - sentAt.value) / 1000) }) : t('position.searching')}</p>;
}

const declineReasons = ['too_far', 'with_elder', 'unwell', 'no_transport', 'unsafe', 'other'];

/** Alert fills the screen until the offer is answered, or gone. */
function Alert({ o, others }: { o: Offer; others: number }): VNode {
  const [asking, ask] = useState(false);
  const left = Math.ceil((Date.parse(o.deadline) - (second.value + live.offset.value)) / 1000);
  useEffect(() => { seen(o); }, [o.id]);
  useEffect(() => { document.getElementById('alert-title')?.focus(); }, [asking]);
  return (
    <div class={`full alert p${o.priority}-band`} role="alertdialog" aria-modal="true" aria-labelledby="alert-title">
      <div class="head">
        <h1 id="alert-title" tabIndex={-1}><Mark p={o.priority} /> {kinds(o.kinds) || t('offer.title')}</h1>
        <p class={left > 0 ? 'countdown' : 'countdown over'}>{left > 0 ? t('offer.left', { time: span(left) }) : t('offer.over')}</p>
      </div>
      {!asking ? (
        <>
          <div class="facts2">
            <p><b>{minutes(o.travel_sec)}</b><span>{t('offer.way')}</span></p>
            <p><b>{distance(o.distance_m)}</b><span>{t('offer.distance')}</span></p>
          </div>
          {others > 0 && <p class="more">{t('offer.others', { n: others })}</p>}
          <p class="more">{t('offer.hint')}</p>
          <div class="answers">
            <button type="button" class="go huge" onClick={() => { unlock(); accept(o); }}>{t('offer.accept')}</button>
            {left > 0
              ? <button type="button" class="plain huge" onClick={() => ask(true)}>{t('offer.decline')}</button>
              : <button type="button" class="plain huge" onClick={() => { putBy.value = new Set([...putBy.value, o.id]); }}>{t('offer.put_by')}</button>}
          </div>
        </>
      ) : (
        <div class="reasons">
          <h2>{t('offer.why')}</h2>
          {declineReasons.map((r) => <button type="button" key={r} class="plain" onClick={() => decline(o, r)}>{term('decline', r)}</button>)}
          <button type="button" class="go" onClick={() => ask(false)}>{t('do.back')}</button>
        </div>
      )}
    </div>
  );
}

const steps = ['accepted', 'en_route', 'on_scene', 'done'];
const outcomes = ['helped_at_home', 'safe_no_help', 'handed_to_120', 'hospital', 'nobody_found', 'other'];
const giveUpReasons = ['blocked_way', 'unwell', 'vehicle', 'other'];

function Job({ a }: { a: Assignment }): VNode {
  const [asking, ask] = useState<'' | 'outcome' | 'give_up'>('');
  const at = Math.max(0, steps.indexOf(a.status === 'transport' ? 'on_scene' : a.status));
  const unsent = queue.value.some((q) => q.about === a.id);
  if (asking === 'outcome') {
    return <Choose title={t('job.outcome')} group="job_outcome" values={outcomes} pick={(v) => { ask(''); advance(a, 'done', v); }} back={() => ask('')} />;
  }
  if (asking === 'give_up') {
    return <Choose title={t('job.give_up_why')} group="give_up" values={giveUpReasons} pick={(v) => { ask(''); giveUp(a, v); }} back={() => ask('')} />;
  }
  const e = a.elder;
  return (
    <article class="job">
      <div class={`head p${a.priority}-band`}><h1><Mark p={a.priority} /> {kinds(a.kinds) || t('job.title')}</h1></div>
      <ol class="progress" aria-label={t('job.progress')}>
        {steps.map((s, n) => <li key={s} class={n <= at ? 'did' : ''} aria-current={n === at ? 'step' : undefined}>{term('assignment', s)}</li>)}
      </ol>
      {unsent && <p class="block warn" role="status">{t('job.unsent')}</p>}
      {e ? <Person e={e} /> : <p class="block">{t('list.loading')}</p>}
      <Way a={a} />
      <section class="block help">
        <a class="button danger" href="tel:120">{t('job.call_120')}</a>
        {a.status === 'on_scene' && <button type="button" class="plain" onClick={() => advance(a, 'transport')}>{t('job.transport')}</button>}
        <button type="button" class="plain" onClick={() => ask('give_up')}>{t('job.give_up')}</button>
      </section>
      <div class="action">
        {a.status === 'accepted' && <button type="button" class="go huge" onClick={() => advance(a, 'en_route')}>{t('job.go')}</button>}
        {a.status === 'en_route' && <button type="button" class="go huge" onClick={() => advance(a, 'on_scene')}>{t('job.arrived')}</button>}
        {(a.status === 'on_scene' || a.status === 'transport') && <button type="button" class="go huge" onClick={() => ask('outcome')}>{t('job.done')}</button>}
      </div>
    </article>
  );
}

function Choose({ title, group, values, pick, back }: { title: string; group: string; values: string[]; pick: (v: string) => void; back: () => void }): VNode {
  return (
    <section class="reasons">
      <h1>{title}</h1>
      {values.map((v) => <button type="button" key={v} class="plain" onClick={() => pick(v)}>{term(group, v)}</button>)}
      <button type="button" class="go" onClick={back}>{t('do.back')}</button>
    </section>
  );
}

function Person({ e }: { e: Elder }): VNode {
  const age = ageOf(e);
  const h = e.health ?? {};
  const talk = e.communication ?? {};
  const risks = [
    h.allergies?.length ? `${t('elder.allergies')}: ${list(h.allergies)}` : '', e.risk_notes ?? '', h.oxygen ? t('elder.oxygen') : '',
  ].filter(Boolean);
  const facts: [string, string][] = [
    [t('elder.diagnoses'), list(h.diagnoses ?? [])], [t('elder.medication'), list(h.medication ?? [])],
    [t('elder.ability'), [e.ability ? term('ability', e.ability) : '', h.mobility_aid ? term('aid', h.mobility_aid) : ''].filter(Boolean).join(' · ')],
    [t('elder.talk'), [talk.hearing && talk.hearing !== 'normal' ? term('hearing', talk.hearing) : '', list((talk.dialects ?? []).map((x) => term('dialect', x)))].filter(Boolean).join(' · ')],
  ];
  const contacts = [...(e.contacts ?? [])].sort((x, y) => Number(y.key_holder ?? false) - Number(x.key_holder ?? false) || x.rank - y.rank);
  return (
    <>
      <section class="block">
        <h2 class="name">{e.name} <small>{[term('sex', e.sex), age === undefined ? '' : t('unit.age', { n: age })].filter(Boolean).join(' · ')}</small></h2>
        <p class="address">{[e.address, e.unit_floor_room].filter(Boolean).join(' ')}</p>
        <p>{[e.lift === undefined ? '' : e.lift ? t('elder.lift') : t('elder.no_lift'), e.entry_note, e.has_door_code || e.has_key_safe ? t('elder.ask_code') : '', e.forced_entry ? t('elder.forced_entry') : ''].filter(Boolean).join(' · ')}</p>
      </section>
      {risks.length > 0 && <section class="block risk"><h2>⚠ {t('elder.risk')}</h2>{risks.map((r) => <p key={r}>{r}</p>)}</section>}
      {facts.some(([, v]) => v) && <dl class="block pairs">{facts.filter(([, v]) => v).map(([k, v]) => <div key={k}><dt>{k}</dt><dd>{v}</dd></div>)}</dl>}
      {(contacts.length > 0 || (e.phones?.length ?? 0) > 0) && (
        <section class="block">
          <h2>{t('elder.contacts')}</h2>
          <ul class="people">
            {e.phones?.[0] && <Dial name={`${e.name ?? ''}`} note={t('elder.self')} phone={e.phones[0]} />}
            {contacts.map((c) => <Dial key={c.id} name={c.name} note={[term('relation', c.relation), c.key_holder ? t('elder.key') : ''].filter(Boolean).join(' · ')} phone={c.phones?.[0]} />)}
          </ul>
        </section>)}
    </>
  );
}

function Dial({ name, note, phone }: { name: string; note: string; phone?: string }): VNode {
  return (
    <li><span><b>{name}</b><br />{note}</span>
      {phone && (/[*•]/.test(phone) ? <span>{phone}</span> : <a class="button" href={`tel:${phone}`}>☎ {t('job.call')}<span class="visually-hidden"> {name}</span></a>)}</li>
  );
}

function Way({ a }: { a: Assignment }): VNode | null {
  const p = a.place?.point;
  if (!p || (!p.lat && !p.lng)) return null;
  return (
    <section class="block">
      <h2>{t('job.way')}</h2>
      <div class="maps">{navigation(p, a.elder?.address ?? t('job.title')).map((n) => <a key={n.app} class="button" href={n.url} target="_blank" rel="noopener noreferrer">{term('map', n.app)}</a>)}</div>
      {a.place.source !== 'home' && <p class="quiet">{t('job.place_from', { source: term('fix', a.place.source), time: timeOfDay(a.place.at) })}</p>}
    </section>
  );
}

function Settings(): VNode {
  return (
    <section class="block settings">
      <h1>{t('settings.title')}</h1>
      <button type="button" class="plain" onClick={switchLang} lang={lang.value === 'en' ? 'zh-CN' : 'en'}>{lang.value === 'en' ? '中文' : 'English'}</button>
      <button type="button" class="plain" onClick={switchTheme}>{theme.value === 'night' ? t('theme.day') : t('theme.night')}</button>
      <button type="button" class="plain" onClick={() => setLarge(!large.value)}>{large.value ? t('settings.normal_text') : t('settings.large_text')}</button>
      <button type="button" class="plain" onClick={() => { unlock(); ring(true); window.setTimeout(() => ring(false), 1500); }}>{t('settings.sound_test')}</button>
      <Position />
      <button type="button" class="plain" onClick={signOut}>{t('do.sign_out')}</button>
      {queue.value.length > 0 && <p class="warn">{t('settings.unsent', { n: queue.value.length })}</p>}
    </section>
  );
}

const large = signal(readLarge());

function readLarge(): boolean {
  try { return localStorage.getItem('anling.large') === '1'; } catch { return false; }
}

function setLarge(on: boolean): void {
  large.value = on;
  try { localStorage.setItem('anling.large', on ? '1' : ''); } catch {
    // The choice lasts for this page then.
  }
}

effect(() => { document.documentElement.classList.toggle('large', large.value); });
effect(() => { const o = waiting.value[0]; ring(!!o && !job.value && !answering.value && o.status !== 'expired'); });
effect(() => { document.title = `${waiting.value.length && !job.value ? '▲ ' : ''}${t('app.name')} · ${t('responder.title')}`; });

// The screen stays on while an offer waits or a job is on its way.
let lock: WakeLockSentinel | undefined;
async function stayAwake(): Promise<void> {
  const needed = !!job.value || waiting.value.length > 0;
  try {
    if (needed && !document.hidden && 'wakeLock' in navigator && (!lock || lock.released)) lock = await navigator.wakeLock.request('screen');
    else if (!needed && lock) { await lock.release(); lock = undefined; }
  } catch {
    // The browser may refuse, with an empty battery for one: nothing depends on it.
  }
}
effect(() => { void job.value; void waiting.value; void stayAwake(); });
document.addEventListener('visibilitychange', () => void stayAwake());

render(<Page />, document.getElementById('app')!);
void start();
