// The centre: the selected incident, from taking it to sending somebody.
import type { VNode } from 'preact';
import { useState } from 'preact/hooks';
import { ago, distance, list, minutes, span, t, term, timeOfDay } from '../shared/i18n';
import { Act, kinds, Mark, person, second } from '../shared/ui';
import type { Assignment, Call, Candidate, Incident, Offer } from '../shared/types';
import {
  callsHere, candidates, detail, dispatch, elder, good, hangUp, hold, incident, live, me, mine, nameOf, opened, operatorName, panel, panelFor, passedOver,
  responders, select, selection, sent, take, undoMs, usable, withdraw,
} from './state';
import { caller } from './lists';

export function Centre(): VNode {
  const s = selection.value;
  return (
    <section class="zone centre" id="centre" tabIndex={-1} aria-label={t('zone.centre')}>
      {!s && <Empty />}
      {s?.kind === 'incident' && (detail.value.value ? <IncidentView /> : <p class="none card">{t('list.loading')}</p>)}
      {s?.kind === 'call' && <CallView />}
      {s?.kind === 'elder' && <ElderView />}
    </section>
  );
}

function Empty(): VNode {
  return (
    <div class="card empty">
      <p class="big">{t('centre.empty')}</p>
      <p class="muted">{t('centre.hint')}</p>
    </div>
  );
}

function IncidentView(): VNode {
  const i = incident.value!;
  return (
    <>
      <Headline i={i} />
      <CallBar />
      <Assignments />
      {opened.value && i.status !== 'resolved' && <Ranking />}
      {i.status === 'resolved' && <p class="card note-box">{t('incident.resolved_hint')}</p>}
      {!opened.value && <p class="card note-box">{i.closing ? `${term('outcome', i.closing.outcome)}${i.closing.note ? ` · ${i.closing.note}` : ''}` : term('status', i.status)}</p>}
    </>
  );
}

function Headline({ i }: { i: Incident }): VNode {
  const now = second.value + live.offset.value;
  const due = i.deadline ? (Date.parse(i.deadline) - now) / 1000 : undefined;
  const place = i.locations?.[0];
  return (
    <header class={`card headline bar${i.priority}`}>
      <div class="row">
        <Mark p={i.priority} />
        <h2 class="grow cut">{kinds(i.kinds)}{i.presses > 1 ? <span class="count">×{i.presses}</span> : null}{i.drill ? <span class="drill">{t('incident.drill')}</span> : null}</h2>
        <span class={`state s-${i.status}`}>{term('status', i.status)}</span>
        {opened.value && <span class="timer big">{span((now - Date.parse(i.opened_at)) / 1000)}</span>}
      </div>
      <div class="row who">
        <b class="caller grow cut">{person(detail.value.value?.elder) || t('elder.unknown')}</b>
        <span class="muted">{i.no} · {t('incident.source', { source: term('source', i.source) })} · {timeOfDay(i.opened_at)}</span>
      </div>
      <div class="row">
        <span class="grow muted cut">
          {place ? t('incident.place', { source: term('fix', place.source), accuracy: place.accuracy_m ? t('incident.accuracy', { m: Math.round(place.accuracy_m) }) : '', age: place.source === 'home' ? '' : ago((now - Date.parse(place.at)) / 1000) }) : t('incident.no_place')}
        </span>
        {due !== undefined && opened.value && <span class={due < 0 ? 'due late' : 'due'}>{due >= 0 ? t(i.owner ? 'incident.due' : 'incident.escalates', { time: span(due) }) : t('incident.overdue')}</span>}
      </div>
      <div class="row actions"><Owner i={i} /></div>
    </header>
  );
}

function Owner({ i }: { i: Incident }): VNode {
  if (!opened.value) {
    return <><span class="grow" />{i.status === 'closed' && <button type="button" disabled={!usable.value} onClick={() => { panel.value = 'reopen'; }}>{t('do.reopen')}</button>}</>;
  }
  if (!i.owner) {
    return <><span class="grow muted">{t('incident.nobody_yet')}</span><Act slot={`take:${i.id}`} class="primary" disabled={!usable.value} do={() => take(i.id)}>{t('do.take')}</Act></>;
  }
  if (!mine.value) {
    return (
      <>
        <span class="grow">{t('incident.owned_by', { name: i.owner_name ?? operatorName(i.owner) })}</span>
        <Act slot={`take:${i.id}`} disabled={!usable.value} do={() => take(i.id, true)}>{t('do.take_over')}</Act>
      </>
    );
  }
  return (
    <>
      <span class="grow ok">{t('incident.yours')}</span>
      <button type="button" disabled={!usable.value} onClick={() => { panel.value = 'merge'; }}>{t('do.merge')}</button>
      <button type="button" disabled={!usable.value} onClick={() => { panel.value = 'classify'; }}>{t('do.classify')}</button>
      {i.status === 'resolved'
        ? <><button type="button" disabled={!usable.value} onClick={() => { panel.value = 'reopen'; }}>{t('do.reopen')}</button>
          <button type="button" class="primary" disabled={!usable.value} onClick={() => { panel.value = 'close'; }}>{t('do.close')} <kbd>Ctrl ⏎</kbd></button></>
        : <button type="button" class="primary" disabled={!usable.value} onClick={() => { panel.value = 'resolve'; }}>{t('do.resolve')} <kbd>Ctrl ⏎</kbd></button>}
    </>
  );
}

function CallBar(): VNode {
  const all = callsHere.value;
  if (!all.length) {
    const past = detail.value.value?.calls ?? [];
    return (
      <div class="card callbar">
        <span class="muted">{t('call.none')}</span>
        {past.map((c) => <Recording key={c.id} c={c} />)}
      </div>
    );
  }
  return <>{all.map((c) => <LiveCall key={c.id} c={c} />)}</>;
}

function LiveCall({ c }: { c: Call }): VNode {
  const now = second.value + live.offset.value;
  const since = c.answered_at ?? c.received_at;
  return (
    <div class={`card callbar on c-${c.state}`}>
      <span class="call-icon" aria-hidden="true">☎</span>
      <div class="grow">
        <b class="cut">{caller(c)}</b>
        <div class="muted cut">{[c.direction ? term('call_direction', c.direction) : '', term('purpose', c.purpose), c.direction === 'out' ? c.to : c.from, c.operator_id ? t('call.with', { name: c.operator_id === me.value?.id ? t('incident.mine') : c.operator_name ?? operatorName(c.operator_id) }) : '', c.trouble ? term('trouble', c.trouble) : ''].filter(Boolean).join(' · ')}</div>
      </div>
      <span class="state">{term('call_state', c.state)}</span>
      {since && <span class="timer big">{span((now - Date.parse(since)) / 1000)}</span>}
      {(c.state === 'talking' || c.state === 'held') && c.operator_id === me.value?.id && (
        <Act slot={`hold:${c.id}`} cap="F4" class="hangup" disabled={!usable.value} do={() => hold(c)}>{c.state === 'held' ? t('call.resume') : t('call.hold')}</Act>)}
      <Act slot={`hangup:${c.id}`} class="hangup" cap="F9" disabled={!usable.value} do={() => hangUp(c)}>✕ {t('call.hang_up')}</Act>
    </div>
  );
}

function Recording({ c }: { c: Call }): VNode {
  const [on, set] = useState(false);
  const seconds = c.recording ? c.recording_seconds ?? 1 : 0;
  return (
    <span class="row past">
      <span class="muted">{timeOfDay(c.received_at)} {caller(c)} {seconds > 0 ? span(seconds) : term('call_state', c.state)}</span>
      {seconds > 0 && (on
        ? <audio controls autoplay src={`/api/v1/calls/${c.id}/recording`} aria-label={t('call.recording')} />
        : <button type="button" class="small" onClick={() => set(true)}>▶ {t('call.recording')}</button>)}
    </span>
  );
}

function Assignments(): VNode | null {
  const d = detail.value.value!;
  const all = [...(d.assignments ?? [])].sort((a, b) => Number(over(a)) - Number(over(b)) || Date.parse(b.created_at) - Date.parse(a.created_at));
  if (!all.length) return null;
  return (
    <section class="card" aria-labelledby="h-assignments">
      <h2 id="h-assignments">{t('assign.title')}</h2>
      {all.map((a) => <AssignmentView key={a.id} a={a} offers={(d.offers ?? []).filter((o) => o.assignment_id === a.id)} />)}
    </section>
  );
}

const over = (a: Assignment): boolean => a.status === 'done' || a.status === 'cancelled';

function AssignmentView({ a, offers }: { a: Assignment; offers: Offer[] }): VNode {
  const now = second.value + live.offset.value;
  const arrive = a.arrive_by && !a.on_scene_at && !over(a) ? (Date.parse(a.arrive_by) - now) / 1000 : undefined;
  const won = a.responder_id ? offers.find((o) => o.id === a.offer_id) : undefined;
  const shown = over(a) ? [] : offers.filter((o) => o.id !== won?.id);
  return (
    <div class={over(a) ? 'assignment over' : 'assignment'}>
      <div class="row">
        <span class={`state a-${a.status}`}>{term('assignment', a.status)}</span>
        <b class="grow cut">{a.responder_id ? a.responder_name ?? nameOf(a.responder_id) : t('assign.wave', { n: a.wave })}</b>
        {a.responder_id && <Steps a={a} />}
        {arrive !== undefined && <span class={arrive < 0 ? 'due late' : 'due'}>{arrive < 0 ? t('assign.late') : t('assign.arrive_by', { time: timeOfDay(a.arrive_by) })}</span>}
        {over(a) && a.outcome && <span class="muted">{term('job_outcome', a.outcome)}</span>}
        {!over(a) && mine.value && (
          <button type="button" class="small" disabled={!usable.value} onClick={() => { panelFor.value = a.id; panel.value = 'withdraw'; }}>{t('do.withdraw')}</button>)}
      </div>
      {shown.length > 0 && (
        <ul class="offers">{shown.sort((x, y) => y.wave - x.wave || x.travel_sec - y.travel_sec).map((o) => <OfferRow key={o.id} o={o} now={now} />)}</ul>
      )}
    </div>
  );
}

/** Steps is how far the responder is, each with its time. */
function Steps({ a }: { a: Assignment }): VNode {
  const at: [string, string | undefined][] = [['accepted', a.accepted_at], ['en_route', a.en_route_at], ['on_scene', a.on_scene_at], ['done', a.done_at]];
  return (
    <ol class="steps">
      {at.map(([s, time]) => <li key={s} class={time ? 'did' : ''}><span>{term('assignment', s)}</span>{time && <time>{timeOfDay(time)}</time>}</li>)}
    </ol>
  );
}

const waiting = (o: Offer): boolean => o.status === 'sent' || o.status === 'delivered' || o.status === 'seen';

function OfferRow({ o, now }: { o: Offer; now: number }): VNode {
  return (
    <li class="row">
      <span class={`dot o-${o.status}`} aria-hidden="true" />
      <span class="name cut">{o.responder_name ?? nameOf(o.responder_id)}</span>
      <span class="muted">{minutes(o.travel_sec)} · {distance(o.distance_m)}</span>
      <span class="grow" />
      {o.reason && <span class="muted cut">{term('decline', o.reason)}</span>}
      <span class={`word o-${o.status}`}>{term('offer', o.status)}</span>
      {waiting(o) && <span class="timer">{span((Date.parse(o.deadline) - now) / 1000)}</span>}
    </li>
  );
}

function Ranking(): VNode {
  const [chosen, choose] = useState<string[]>([]);
  const could = mine.value && usable.value;
  const picks = chosen.filter((id) => good.value.some((c) => c.responder_id === id));
  const toggle = (id: string): void => choose(chosen.includes(id) ? chosen.filter((x) => x !== id) : [...chosen, id]);
  return (
    <section class="card ranking" aria-labelledby="h-ranking">
      <header class="row">
        <h2 id="h-ranking" class="grow">{t('rank.title')} <span class="count">{good.value.length}</span></h2>
        {sent.value && (
          <button type="button" class="undo" onClick={() => withdraw(sent.value!.id, 'undone')}>
            {t('do.undo', { name: sent.value.name, n: Math.ceil((undoMs - (second.value - sent.value.at)) / 1000) })} <kbd>Ctrl Z</kbd>
          </button>)}
        {picks.length > 0
          ? <Act slot="dispatch" class="primary" disabled={!could} do={() => { dispatch(picks); choose([]); }}>{t('do.dispatch_chosen', { n: picks.length })}</Act>
          : <Act slot="dispatch" disabled={!could || !good.value.length} do={() => dispatch()}>{t('do.dispatch_best')}</Act>}
      </header>
      {!mine.value && <p class="muted">{t('rank.take_first')}</p>}
      <table>
        <thead>
          <tr>
            <th scope="col"><span class="visually-hidden">{t('rank.choose')}</span></th>
            <th scope="col">{t('rank.who')}</th><th scope="col" class="num">{t('rank.time')}</th><th scope="col" class="num">{t('rank.distance')}</th>
            <th scope="col">{t('rank.why')}</th><th scope="col"><span class="visually-hidden">{t('do.dispatch')}</span></th>
          </tr>
        </thead>
        <tbody>
          {good.value.map((c, n) => (
            <tr key={c.responder_id} class={n < 3 ? 'lead' : ''}>
              <td><input type="checkbox" checked={chosen.includes(c.responder_id)} disabled={!could} onChange={() => toggle(c.responder_id)} aria-label={t('rank.choose_one', { name: c.name ?? '' })} /></td>
              <th scope="row"><b>{c.name ?? nameOf(c.responder_id)}</b> <span class="muted">{term('responder', c.kind)}</span></th>
              <td class="num"><b>{minutes(c.travel_sec)}</b></td>
              <td class="num">{distance(c.distance_m)}</td>
              <td class="why"><Why c={c} /></td>
              <td class="end"><Act slot="dispatch" class={n < 3 ? 'send' : 'send small'} cap={n < 3 ? String(n + 1) : undefined} disabled={!could} do={() => dispatch([c.responder_id])}>{t('do.dispatch')}<span class="visually-hidden"> {c.name}</span></Act></td>
            </tr>
          ))}
        </tbody>
      </table>
      {candidates.loaded.value && !good.value.length && <p class="warn">{t('rank.nobody')}</p>}
      {passedOver.value.length > 0 && (
        <details class="passed" open={!good.value.length}>
          <summary>{t('rank.passed', { n: passedOver.value.length })}</summary>
          <ul>{passedOver.value.map((c) => (
            <li key={c.responder_id} class="row">
              <span class="name cut">{c.name ?? nameOf(c.responder_id)}</span><span class="muted kind">{term('responder', c.kind)}</span>
              <span class="muted num">{c.distance_m ? distance(c.distance_m) : ''}</span>
              <span class="verdict">{term('verdict', c.verdict)}</span>
              <span class="muted phone">{responders.value.value.find((r) => r.id === c.responder_id)?.phone_masked ?? ''}</span>
            </li>))}
          </ul>
        </details>
      )}
    </section>
  );
}

/** Why says in words what the rank rests on. */
function Why({ c }: { c: Candidate }): VNode {
  const words = [
    c.key_holder ? t('why.key_holder') : '',
    c.fix_source === 'base' ? t('why.base') : c.fix_age_sec > 120 ? t('why.stale', { age: ago(c.fix_age_sec) }) : t('why.fix', { age: ago(c.fix_age_sec) }),
    c.terms?.just_back ? t('why.just_back') : '',
    ...(c.remarks ?? []).filter((r) => r !== 'NO_FIX').map((r) => term('verdict', r)),
  ].filter(Boolean);
  return <span class={c.fix_age_sec > 120 || c.fix_source === 'base' ? 'muted' : ''}>{list(words)}</span>;
}

function CallView(): VNode {
  const c = callsHere.value[0];
  if (!c) return <p class="card none">{t('call.ended')}</p>;
  return (
    <>
      <LiveCall c={c} />
      <section class="card">
        <h2>{t('call.no_incident')}</h2>
        <div class="row actions">
          <button type="button" class="primary" disabled={!usable.value} onClick={() => { panel.value = 'create'; }}>{t('do.create')}</button>
          <button type="button" onClick={() => { panel.value = 'search'; }}>{t('do.search')} <kbd>Ctrl K</kbd></button>
        </div>
      </section>
      <Past />
    </>
  );
}

function ElderView(): VNode {
  const f = elder.value.value;
  return (
    <>
      <header class="card headline">
        <div class="row"><h2 class="grow cut">{person(f?.elder) || t('list.loading')}</h2>
          <button type="button" class="primary" disabled={!usable.value || !f} onClick={() => { panel.value = 'create'; }}>{t('do.create')}</button></div>
      </header>
      <Past />
    </>
  );
}

/** Past lists the latest incidents of the elder on screen. */
function Past(): VNode | null {
  const f = elder.value.value;
  if (!f) return null;
  return (
    <section class="card" aria-labelledby="h-past">
      <h2 id="h-past">{t('elder.past')}</h2>
      {!f.incidents.length && <p class="none">{t('elder.no_past')}</p>}
      <ul class="rows">{f.incidents.map((i) => (
        <li key={i.id}><button type="button" class={`item bar${i.priority}`} onClick={() => select({ kind: 'incident', id: i.id })}>
          <span class="line"><Mark p={i.priority} /><b class="grow cut">{kinds(i.kinds)}</b><span class="muted">{i.no}</span></span>
          <span class="line muted">{i.closing ? term('outcome', i.closing.outcome) : term('status', i.status)}</span>
        </button></li>))}
      </ul>
    </section>
  );
}
