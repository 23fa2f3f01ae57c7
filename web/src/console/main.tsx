// The operator console 接警台.
import { render, type VNode } from 'preact';
import { effect } from '@preact/signals';
import { t } from '../shared/i18n';
import '../shared/style.css';
import './console.css';
import { Centre } from './centre';
import { Banners, Footer, Header } from './frame';
import { onKey } from './keys';
import { Left } from './lists';
import { Panels } from './panels';
import { Right } from './right';
import { incidents, live, myCall, panel, select, selection, start } from './state';

function Console(): VNode {
  return (
    <div class={live.line.value === 'stale' ? 'console stale' : 'console'}>
      <Header />
      <Banners />
      <p class="narrow banner">{t('centre.narrow')}</p>
      <main class="grid">
        <Left />
        <Centre />
        <Right />
      </main>
      <Footer />
      <Panels />
    </div>
  );
}

// A call that rings at the reader shows its incident or its caller before the answer.
let shown = '';
effect(() => {
  const c = myCall.value;
  if (!c || c.id === shown || panel.value) return;
  shown = c.id;
  select(c.incident_id ? { kind: 'incident', id: c.incident_id } : { kind: 'call', id: c.id }, false);
});

// A call that became an incident is shown as that.
effect(() => {
  const s = selection.value;
  if (s?.kind !== 'call') return;
  const i = incidents.value.value.find((x) => x.call_ids?.includes(s.id));
  if (i) select({ kind: 'incident', id: i.id }, false);
});

effect(() => {
  const n = incidents.value.value.filter((i) => !i.owner).length;
  document.title = `${n ? `(${n}) ` : ''}${t('app.name')} · ${t('console.title')}`;
});

document.addEventListener('keydown', onKey);
render(<Console />, document.getElementById('app')!);
void start();
