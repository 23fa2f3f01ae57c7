// Header, banners and footer: who, how many, and whether the line can be trusted.
import type { VNode } from 'preact';
import { drop, pending, refused, repeat, run } from '../shared/command';
import { lang, list, span, switchLang, t, term, timeOfDay } from '../shared/i18n';
import { post } from '../shared/api';
import { blocked } from '../shared/sound';
import { switchTheme, theme } from '../shared/theme';
import { Act, second } from '../shared/ui';
import { acknowledge, ringing } from './alarms';
import { calls, emergencies, incidents, live, me, operators, panel, status, usable } from './state';

export function Header(): VNode {
  const now = second.value + live.offset.value;
  const own = operators.value.value.find((o) => o.user_id === me.value?.id);
  const waits = calls.value.value.filter((c) => !c.answered_at && !c.ended_at && c.direction !== 'out');
  const longest = Math.max(0, ...waits.map((c) => ((now - Date.parse(c.received_at)) / 1000)));
  const open = incidents.value.value;
  const p1 = open.filter((i) => i.priority === 1 && i.status !== 'resolved').length;
  const duty = operators.value.value.filter((o) => o.state !== 'offline' && o.state !== 'break').length;
  return (
    <header class="top">
      <h1 class="brand">{t('app.name')}</h1>
      <div class="me">
        <span class="cut">{me.value?.display_name || me.value?.name}</span>
        {me.value && me.value.role !== 'operator' && <span class="pill">{t('head.read_only')}</span>}
        {own && <span class={`pill op-${own.state}`}>{term('operator_state', own.state)}</span>}
        {own && own.registered === false && <span class="pill warn-pill" title={t('operator.no_phone_hint')}>{t('operator.no_phone')}</span>}
        {own && (own.state === 'break' || own.state === 'offline'
          ? <Act slot="state" class="dark" disabled={!usable.value} do={() => void run('state', 'operator.ready', '/operators/me/state', { state: 'ready' }).then(() => operators.refresh(0))}>{t('operator.ready')}</Act>
          : <button type="button" class="dark" disabled={!usable.value} onClick={() => { panel.value = 'break'; }}>{t('operator.break')}</button>)}
      </div>
      <dl class="figures">
        <Figure k={t('head.open')} v={String(open.length)} />
        <Figure k={t('head.p1')} v={p1 ? `▲ ${p1}` : '0'} hot={p1 > 0} />
        <Figure k={t('head.waiting')} v={String(waits.length)} />
        <Figure k={t('head.longest')} v={span(longest)} />
        <Figure k={t('head.operators')} v={String(duty)} />
      </dl>
      <div class="tools">
        {blocked.value
          ? <button type="button" class="dark attention">{t('sound.enable')}</button>
          : ringing.value && <button type="button" class="dark attention" onClick={acknowledge}>{t('sound.silence')} <kbd>Alt A</kbd></button>}
        <button type="button" class="dark" onClick={() => { panel.value = 'search'; }}>{t('do.search')} <kbd>Ctrl K</kbd></button>
        <button type="button" class="dark" aria-label={theme.value === 'night' ? t('theme.day') : t('theme.night')} title={theme.value === 'night' ? t('theme.day') : t('theme.night')} onClick={switchTheme}>{theme.value === 'night' ? '☀' : '☾'}</button>
        <button type="button" class="dark" onClick={switchLang} lang={lang.value === 'en' ? 'zh-CN' : 'en'}>{lang.value === 'en' ? '中文' : 'EN'}</button>
        <button type="button" class="dark" aria-label={t('help.title')} title={t('help.title')} onClick={() => { panel.value = 'help'; }}>?</button>
        <button type="button" class="dark" onClick={signOut}>{t('do.sign_out')}</button>
      </div>
      <time class="clock">{timeOfDay(now)}</time>
    </header>
  );
}

function Figure({ k, v, hot }: { k: string; v: string; hot?: boolean }): VNode {
  return <div class={hot ? 'hot' : ''}><dt>{k}</dt><dd>{v}</dd></div>;
}

function signOut(): void {
  const go = (): void => location.assign('/login');
  post('/logout').then(go, go);
}

/** Banners tell loudly what is not as it should be. */
export function Banners(): VNode {
  const late = pending.value.filter((p) => p.late);
  const line = live.line.value;
  return (
    <div class="banners" role="alert">
      {emergencies.value.map((e) => (
        <div class="banner emergency" key={e.id}>
          <b class="grow">▲ {t('emergency.title', { time: timeOfDay(e.at) })} {words(e.body)}</b>
          <button type="button" onClick={() => { acknowledge(); emergencies.value = emergencies.value.filter((x) => x !== e); }}>{t('emergency.seen')}</button>
        </div>))}
      {line === 'lost' && <div class="banner"><b class="grow">{t('line.lost')}</b></div>}
      {line === 'stale' && <div class="banner stale"><b class="grow">{t('line.stale', { time: timeOfDay(live.lastWord.value) })}</b><span>{t('line.fallback', { hotline: status.value.value?.hotline ?? '' })}</span></div>}
      {live.newBuild.value && <div class="banner"><span class="grow">{t('line.new_build')}</span><button type="button" onClick={() => location.reload()}>{t('line.reload')}</button></div>}
      {late.map((p) => (
        <div class="banner" key={p.key}>
          <b class="grow">{t('late.title', { what: t(p.label) })}</b>
          <button type="button" onClick={() => repeat(p.key)}>{t('late.repeat')}</button>
          <button type="button" onClick={() => drop(p.key)}>{t('late.drop')}</button>
        </div>))}
      {refused.value && (
        <div class="banner" data-refused><b class="grow">{t('refused.title', { what: t(refused.value.label), why: refused.value.text })}</b>
          <button type="button" onClick={() => { refused.value = null; }}>{t('do.shut')}</button></div>)}
    </div>
  );
}

/** words says what is known of an alarm that could not be stored. */
function words(body: Record<string, unknown>): string {
  const text = (k: string): string => (typeof body[k] === 'string' ? (body[k] as string) : '');
  return [list(((body.kinds as string[] | undefined) ?? []).map((k) => term('kind', k))), text('claimed_id'), text('device_id'), text('elder_id'), text('message')].filter(Boolean).join(' · ');
}

export function Footer(): VNode {
  const s = status.value.value;
  const line = live.line.value;
  const offset = Math.round(live.offset.value / 100) / 10;
  return (
    <footer class="bottom">
      <span class={`line-state l-${line}`}><span aria-hidden="true">{line === 'live' ? '●' : '▲'}</span> {t('foot.server')} {term('line', line)}</span>
      {(s?.parts ?? []).map((p) => (
        <span key={p.name} class={p.state === 'ok' ? 'part' : 'part bad'} title={p.detail}>{term('part', p.name)} {term('part_state', p.state)}{p.state !== 'ok' && p.detail ? ` · ${p.detail}` : ''}</span>))}
      <span class="grow" />
      <span class={Math.abs(offset) > 2 ? 'part bad' : 'part'}>{t('foot.offset', { s: offset.toFixed(1) })}</span>
      <span class="hint"><kbd>?</kbd> {t('help.title')}</span>
    </footer>
  );
}
