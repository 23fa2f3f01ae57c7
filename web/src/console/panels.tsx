// The overlays: search, help, and the forms of commands that need an answer.
import type { ComponentChildren, VNode } from 'preact';
import { useRef, useState } from 'preact/hooks';
import { get } from '../shared/api';
import { explain, refused, send } from '../shared/command';
import { items } from '../shared/feed';
import { t, term, type Key } from '../shared/i18n';
import { Act, Dialog, kinds, Mark, person } from '../shared/ui';
import type { Detail, ElderHit, Incident, Priority } from '../shared/types';
import {
  again, callbacks, detail, elder, incident, incidents, panel, panelFor, recent, select, selection, tasks, usable, withdraw, operators,
} from './state';

const shut = (): void => { panel.value = ''; };

export function Panels(): VNode | null {
  switch (panel.value) {
    case 'search': return <Search />;
    case 'help': return <Help />;
    case 'classify': return incident.value ? <Classify i={incident.value} /> : null;
    case 'resolve': return incident.value ? <Resolve i={incident.value} /> : null;
    case 'close': return incident.value ? <Close i={incident.value} /> : null;
    case 'reopen': return incident.value ? <Reopen i={incident.value} /> : null;
    case 'merge': return incident.value ? <Merge i={incident.value} /> : null;
    case 'create': return <Create />;
    case 'withdraw': return <Withdraw id={panelFor.value} />;
    case 'callback': return <CallbackDone id={panelFor.value} />;
    case 'task': return <TaskDone id={panelFor.value} />;
    case 'break': return <Break />;
    default: return null;
  }
}

interface FormProps { title: string; slot: string; label: Key; path: string; body: (f: FormData) => unknown; done: () => void; children: ComponentChildren; submit: string; wide?: boolean }

/** CommandForm is a dialog whose one button gives a command and shuts on its answer. */
function CommandForm(p: FormProps): VNode {
  const ref = useRef<HTMLFormElement>(null);
  const go = (): void => {
    const f = ref.current!;
    if (!usable.value || !f.reportValidity()) return;
    void send(p.slot, p.label, p.path, p.body(new FormData(f))).then(() => { shut(); p.done(); }, () => {});
  };
  return (
    <Dialog title={p.title} close={shut} wide={p.wide}>
      <form ref={ref} class="form" onSubmit={(e) => { e.preventDefault(); go(); }}
        onKeyDown={(e) => { if (e.ctrlKey && e.code === 'Enter') { e.preventDefault(); e.stopPropagation(); go(); } }}>
        {p.children}
        {refused.value && <p class="error" role="alert">{refused.value.text}</p>}
        <div class="row end"><button type="button" onClick={shut}>{t('do.cancel')} <kbd>Esc</kbd></button><Act slot={p.slot} class="primary" disabled={!usable.value}>{p.submit}</Act></div>
      </form>
    </Dialog>
  );
}

function Radios({ name, values, group, value, legend }: { name: string; values: string[]; group: string; value?: string; legend: string }): VNode {
  return (
    <fieldset><legend>{legend}</legend>
      <div class="choices">{values.map((v, n) => (
        <label key={v} class="choice"><input type="radio" name={name} value={v} required defaultChecked={v === value} autofocus={value ? v === value : n === 0} /> <span>{term(group, v)}</span></label>))}
      </div>
    </fieldset>
  );
}

const sayable = ['sos', 'fall', 'medical', 'fire', 'gas', 'smoke', 'duress', 'wander', 'inactivity', 'assist', 'water', 'intruder', 'device_offline', 'test'];

function Kinds({ chosen }: { chosen: string[] }): VNode {
  const all = [...new Set([...chosen, ...sayable])];
  return (
    <fieldset><legend>{t('classify.kinds')}</legend>
      <div class="choices">{all.map((k) => <label key={k} class="choice"><input type="checkbox" name="kinds" value={k} defaultChecked={chosen.includes(k)} /> <span>{term('kind', k)}</span></label>)}</div>
    </fieldset>
  );
}

function Classify({ i }: { i: Incident }): VNode {
  const [found, find] = useState<ElderHit | null>(null);
  return (
    <CommandForm title={t('do.classify')} slot="classify" label="do.classify" path={`/incidents/${i.id}/classify`} done={again} submit={t('do.save')} wide
      body={(f) => ({ claim: i.claim, kinds: f.getAll('kinds'), priority: Number(f.get('priority')), ...(found ? { elder_id: found.id } : {}) })}>
      <fieldset><legend>{t('classify.priority')}</legend>
        <div class="choices">{([1, 2, 3, 4] as Priority[]).map((p) => <label key={p} class="choice"><input type="radio" name="priority" value={p} defaultChecked={p === i.priority} autofocus={p === i.priority} /> <Mark p={p} /></label>)}</div>
      </fieldset>
      <Kinds chosen={i.kinds} />
      {!i.elder_id && <fieldset><legend>{t('classify.elder')}</legend><Finder pick={find} />{found && <p class="ok">{found.name} · {found.address}</p>}</fieldset>}
    </CommandForm>
  );
}

function Resolve({ i }: { i: Incident }): VNode {
  return (
    <CommandForm title={t('do.resolve')} slot="resolve" label="do.resolve" path={`/incidents/${i.id}/resolve`} done={() => { again(); incidents.refresh(0); }} submit={t('do.resolve')}
      body={(f) => ({ claim: i.claim, how: String(f.get('how')) })}>
      <p>{t('resolve.hint')}</p>
      <Radios name="how" group="how" legend={t('resolve.how')} value="responder_saw" values={['responder_saw', 'spoke_with_elder', 'family_confirms', 'handed_over', 'no_emergency']} />
    </CommandForm>
  );
}

const outcomes = ['helped_at_home', 'hospital', 'safe_no_help', 'nobody_found', 'handed_to_120', 'handed_to_110', 'handed_to_119', 'false_alarm', 'test', 'deceased', 'other'];

function Close({ i }: { i: Incident }): VNode {
  const [outcome, set] = useState('');
  return (
    <CommandForm title={t('do.close')} slot="close" label="do.close" path={`/incidents/${i.id}/close`} submit={t('do.close')} wide
      done={() => { again(); incidents.refresh(0); recent.refresh(0); tasks.refresh(0); }}
      body={(f) => ({ claim: i.claim, outcome: f.get('outcome'), ...(f.get('false_class') ? { false_class: f.get('false_class') } : {}), ...(f.get('follow_up') ? { follow_up: f.get('follow_up') } : {}), ...(f.get('note') ? { note: f.get('note') } : {}) })}>
      <div onChange={(e) => { const x = e.target as HTMLInputElement; if (x.name === 'outcome') set(x.value); }}>
        <Radios name="outcome" group="outcome" legend={t('close.outcome')} values={outcomes} />
      </div>
      {outcome === 'false_alarm' && <Radios name="false_class" group="false_class" legend={t('close.false_class')} value="accidental" values={['empty', 'accidental', 'test', 'device_fault', 'misuse']} />}
      <label>{t('close.follow_up')}
        <select name="follow_up"><option value="">{t('close.no_follow_up')}</option>{['call_next_day', 'visit', 'check_device'].map((f) => <option key={f} value={f}>{term('follow_up', f)}</option>)}</select></label>
      <label>{t('close.note')}<textarea name="note" rows={2} maxLength={2000} /></label>
    </CommandForm>
  );
}

function Reopen({ i }: { i: Incident }): VNode {
  return (
    <CommandForm title={t('do.reopen')} slot="reopen" label="do.reopen" path={`/incidents/${i.id}/reopen`} submit={t('do.reopen')} done={() => { again(); incidents.refresh(0); recent.refresh(0); }}
      body={(f) => ({ reason: String(f.get('reason')) })}>
      <label>{t('form.reason')}<input name="reason" required maxLength={200} autofocus /></label>
    </CommandForm>
  );
}

function Merge({ i }: { i: Incident }): VNode {
  const others = incidents.value.value.filter((o) => o.id !== i.id);
  const [into, set] = useState(others[0]?.id ?? '');
  if (!others.length) return <Dialog title={t('do.merge')} close={shut}><p>{t('merge.none')}</p></Dialog>;
  return (
    <CommandForm title={t('do.merge')} slot="merge" label="do.merge" path={`/incidents/${i.id}/merge`} submit={t('do.merge')} body={() => ({ into })}
      done={() => { incidents.refresh(0); select({ kind: 'incident', id: into }); }}>
      <label>{t('merge.into')}
        <select autofocus value={into} onChange={(e) => set(e.currentTarget.value)}>{others.map((o) => <option key={o.id} value={o.id}>{[o.no, kinds(o.kinds), person(o.elder)].filter(Boolean).join(' · ')}</option>)}</select></label>
    </CommandForm>
  );
}

/** Create opens an incident by hand, for the elder or the caller on screen. */
function Create(): VNode {
  const known = selection.value?.kind === 'incident' ? undefined : elder.value.value?.elder;
  const [found, find] = useState<ElderHit | null>(null);
  const who = known?.id ?? found?.id;
  const ref = useRef<HTMLFormElement>(null);
  const go = (): void => {
    const f = new FormData(ref.current!);
    if (!usable.value) return;
    void send<Detail>('create', 'do.create', '/incidents', {
      ...(who ? { elder_id: who } : {}), kinds: f.getAll('kinds'), note: String(f.get('note') ?? ''),
    }).then((d) => { shut(); incidents.refresh(0); select({ kind: 'incident', id: d.incident.id }); }, () => {});
  };
  return (
    <Dialog title={t('do.create')} close={shut} wide>
      <form ref={ref} class="form" onSubmit={(e) => { e.preventDefault(); go(); }}>
        {known ? <p><b>{person(known)}</b> <span class="muted">{known.address}</span></p> : <fieldset><legend>{t('classify.elder')}</legend><Finder pick={find} />{found && <p class="ok">{found.name} · {found.address}</p>}</fieldset>}
        <Kinds chosen={['assist']} />
        <label>{t('close.note')}<textarea name="note" rows={2} maxLength={2000} /></label>
        {refused.value && <p class="error" role="alert">{refused.value.text}</p>}
        <div class="row end"><button type="button" onClick={shut}>{t('do.cancel')} <kbd>Esc</kbd></button><Act slot="create" class="primary" disabled={!usable.value}>{t('do.create')}</Act></div>
      </form>
    </Dialog>
  );
}

function Withdraw({ id }: { id: string }): VNode {
  const [why, set] = useState('not_needed');
  return (
    <Dialog title={t('do.withdraw')} close={shut}>
      <form class="form" onSubmit={(e) => { e.preventDefault(); shut(); withdraw(id, why); }}>
        <div onChange={(e) => set((e.target as HTMLInputElement).value)}>
          <Radios name="why" group="withdraw_reason" legend={t('form.reason')} value={why} values={['not_needed', 'wrong_person', 'somebody_nearer', 'duplicate']} />
        </div>
        <div class="row end"><button type="button" onClick={shut}>{t('do.cancel')} <kbd>Esc</kbd></button><button class="primary" disabled={!usable.value}>{t('do.withdraw')}</button></div>
      </form>
    </Dialog>
  );
}

function CallbackDone({ id }: { id: string }): VNode {
  return (
    <CommandForm title={t('callback.done')} slot={`callback:${id}`} label="callback.done" path={`/callbacks/${id}/done`} submit={t('do.save')} done={() => callbacks.refresh(0)}
      body={(f) => ({ outcome: f.get('outcome'), note: String(f.get('note') ?? '') })}>
      <Radios name="outcome" group="callback_outcome" legend={t('callback.outcome')} value="reached" values={['reached', 'called_again', 'no_answer', 'wrong_number', 'home_visit', 'incident', 'other']} />
      <label>{t('close.note')}<textarea name="note" rows={2} maxLength={500} /></label>
    </CommandForm>
  );
}

function TaskDone({ id }: { id: string }): VNode {
  return (
    <CommandForm title={t('task.done')} slot={`task-done:${id}`} label="task.done" path={`/tasks/${id}/done`} submit={t('task.done')} done={() => { tasks.refresh(0); detail.refresh(0); }}
      body={(f) => ({ note: String(f.get('note')) })}>
      <label>{t('task.note')}<input name="note" required maxLength={500} autofocus /></label>
    </CommandForm>
  );
}

function Break(): VNode {
  return (
    <CommandForm title={t('operator.break')} slot="state" label="operator.break" path="/operators/me/state" submit={t('operator.break')} done={() => operators.refresh(0)}
      body={(f) => ({ state: 'break', reason: f.get('reason') })}>
      <Radios name="reason" group="break_reason" legend={t('form.reason')} value="rest" values={['rest', 'meal', 'training', 'paperwork']} />
    </CommandForm>
  );
}

/** useSearch asks for elders while somebody types; only the last answer counts. */
function useSearch(): { hits: ElderHit[]; ask: (q: string) => void; text: string; failed: string } {
  const [hits, set] = useState<ElderHit[]>([]);
  const [text, setText] = useState('');
  const [failed, fail] = useState('');
  const timer = useRef(0);
  const turn = useRef(0);
  const ask = (q: string): void => {
    setText(q);
    window.clearTimeout(timer.current);
    const mine = ++turn.current;
    if (q.trim().length < 2) { set([]); return; }
    timer.current = window.setTimeout(() => {
      get<unknown>(`/elders?q=${encodeURIComponent(q.trim())}&limit=12`).then(
        (a) => { if (mine === turn.current) { set(items<ElderHit>(a)); fail(''); } },
        (e) => { if (mine === turn.current) { set([]); fail(explain(e)); } },
      );
    }, 120);
  };
  return { hits, ask, text, failed };
}

function Finder({ pick, focus }: { pick: (h: ElderHit) => void; focus?: boolean }): VNode {
  const s = useSearch();
  const [at, move] = useState(0);
  const key = (e: KeyboardEvent): void => {
    if (e.isComposing || e.keyCode === 229) return;
    const step = e.code === 'ArrowDown' ? 1 : e.code === 'ArrowUp' ? -1 : 0;
    if (step) {
      e.preventDefault();
      move(Math.min(s.hits.length - 1, Math.max(0, at + step)));
    } else if (e.code === 'Enter') {
      e.preventDefault();
      const h = s.hits[at] ?? s.hits[0];
      if (h) pick(h);
    }
  };
  return (
    <div class="finder">
      <input type="text" role="combobox" autocomplete="off" aria-expanded={s.hits.length > 0} aria-controls="hits" aria-activedescendant={s.hits[at] ? `hit-${at}` : undefined} autofocus={focus}
        placeholder={t('search.hint')} aria-label={t('search.hint')} onInput={(e) => { move(0); s.ask(e.currentTarget.value); }} onKeyDown={key} />
      {s.failed && <p class="error">{s.failed}</p>}
      <ul id="hits" role="listbox" aria-label={t('search.results')} hidden={!s.hits.length}>
        {s.hits.map((h, n) => (
          <li key={h.id} id={`hit-${n}`} role="option" aria-selected={n === at} onClick={() => pick(h)}>
            <b>{h.name}</b>{h.contact ? <span class="muted">{h.contact}</span> : null} <span>{[term('sex', h.sex), h.age === undefined ? '' : t('unit.age', { n: h.age })].filter(Boolean).join(' · ')}</span>
            <span class="muted grow cut">{h.address}</span><span class="muted">{h.phones?.[0]}</span>
          </li>))}
      </ul>
      {s.text.trim().length >= 2 && !s.hits.length && !s.failed && <p class="muted">{t('search.none')}</p>}
    </div>
  );
}

function Search(): VNode {
  return (
    <Dialog title={t('do.search')} close={shut} wide>
      <Finder focus pick={(h) => { shut(); window.setTimeout(() => select({ kind: 'elder', id: h.id }), 0); }} />
    </Dialog>
  );
}

const keys: [string, Key][] = [
  ['F2', 'key.next'], ['1 2 3', 'key.dispatch'], ['Ctrl Z', 'key.undo'], ['Ctrl ⏎', 'key.close'], ['F4', 'key.hold'], ['F9', 'key.hang_up'], ['Ctrl K', 'key.search'],
  ['Alt A', 'key.silence'], ['Alt 1 2 3', 'key.zone'], ['↑ ↓', 'key.rows'], ['Esc', 'key.leave'], ['?', 'key.help'],
];

function Help(): VNode {
  return (
    <Dialog title={t('help.title')} close={shut} wide>
      <dl class="keys">{keys.map(([k, text]) => <div key={k}><dt><kbd>{k}</kbd></dt><dd>{t(text)}</dd></div>)}</dl>
      <h3>{t('help.marks')}</h3>
      <p class="row marks">{([1, 2, 3, 4] as Priority[]).map((p) => <Mark key={p} p={p} />)}</p>
      <p class="muted">{t('help.claim')}</p>
    </Dialog>
  );
}
