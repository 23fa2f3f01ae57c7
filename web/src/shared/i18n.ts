// Words of the pages. Chinese is the default, English a switch; no text stands in code.
import { signal } from '@preact/signals';
import zh from '../../i18n/zh-CN.json';
import en from '../../i18n/en.json';

export type Lang = 'zh-CN' | 'en';
export type Key = keyof typeof zh;

const texts: Record<Lang, Record<string, string>> = { 'zh-CN': zh, en };
const stored = 'anling.lang';

function initial(): Lang {
  try {
    return localStorage.getItem(stored) === 'en' ? 'en' : 'zh-CN';
  } catch {
    return 'zh-CN'; // storage may be closed to us
  }
}

export const lang = signal<Lang>(initial());
document.documentElement.lang = lang.value;

export function switchLang(): void {
  lang.value = lang.value === 'en' ? 'zh-CN' : 'en';
  document.documentElement.lang = lang.value;
  try {
    localStorage.setItem(stored, lang.value);
  } catch {
    // The choice lasts for this page then.
  }
}

/** words looks up a key that is made at run time; undefined when there is none. */
export const words = (key: string): string | undefined => texts[lang.value][key] ?? texts['zh-CN'][key];

/** t returns the text of a key with {name} parameters filled in. */
export function t(key: Key, params?: Record<string, string | number>): string {
  const text = words(key) ?? key;
  return params ? text.replace(/\{(\w+)\}/g, (whole, name: string) => String(params[name] ?? whole)) : text;
}

/** term translates a value of a closed list ("status.raised"), or shows it as it is. */
export function term(group: string, value: string | undefined): string {
  if (!value) return '';
  return words(`${group}.${value}`) ?? value;
}

/** list joins values in the reader's language. */
export const list = (values: string[]): string => values.join(lang.value === 'en' ? ', ' : '、');

const clock = new Intl.DateTimeFormat('zh-CN', {
  timeZone: 'Asia/Shanghai', hour: '2-digit', minute: '2-digit', second: '2-digit', hourCycle: 'h23',
});
const day = new Intl.DateTimeFormat('zh-CN', {
  timeZone: 'Asia/Shanghai', month: '2-digit', day: '2-digit', hour: '2-digit', minute: '2-digit', hourCycle: 'h23',
});

export const timeOfDay = (at: string | number | undefined): string => (at ? clock.format(new Date(at)) : '');
export const dayAndTime = (at: string | number | undefined): string => (at ? day.format(new Date(at)) : '');

/** span is a duration in seconds as m:ss or h:mm:ss, and in days when it is that long. */
export function span(seconds: number): string {
  const s = Math.max(0, Math.floor(seconds));
  const two = (n: number) => String(n).padStart(2, '0');
  const h = Math.floor(s / 3600);
  if (h >= 48) return t('time.days', { n: Math.floor(h / 24) });
  return h > 0 ? `${h}:${two(Math.floor(s / 60) % 60)}:${two(s % 60)}` : `${two(Math.floor(s / 60))}:${two(s % 60)}`;
}

/** ago is an age in words: 38 s, 5 min, 3 h, 2 d. */
export function ago(seconds: number): string {
  const s = Math.max(0, Math.floor(seconds));
  if (s < 60) return t('time.sec_ago', { n: s });
  if (s < 3600) return t('time.min_ago', { n: Math.floor(s / 60) });
  if (s < 172800) return t('time.hours_ago', { n: Math.floor(s / 3600) });
  return t('time.days_ago', { n: Math.floor(s / 86400) });
}

/** distance is metres in words a person says. */
export function distance(m: number): string {
  return m < 950 ? t('unit.metres', { n: Math.max(10, Math.round(m / 10) * 10) }) : t('unit.km', { n: (m / 1000).toFixed(1) });
}

/** minutes is a travel time, rounded up. */
export const minutes = (sec: number): string => t('unit.minutes', { n: Math.max(1, Math.ceil(sec / 60)) });
