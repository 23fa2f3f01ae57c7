// Words of the pages. Chinese is the default, English a switch; no text stands in code.
import { signal } from '@preact/signals';
import zh from '../../i18n/zh-CN.json';
import en from '../../i18n/en.json';

export type Lang = 'zh-CN' | 'en';
export type Key = keyof typeof zh;

const words: Record<Lang, Record<string, string>> = { 'zh-CN': zh, en };
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

/** t returns the text of a key with {name} parameters filled in. */
export function t(key: Key, params?: Record<string, string | number>): string {
  const text = words[lang.value][key] ?? words['zh-CN'][key] ?? key;
  return params ? text.replace(/\{(\w+)\}/g, (whole, name: string) => String(params[name] ?? whole)) : text;
}

/** term translates a value of a closed list ("status.raised"), or shows it as it is. */
export function term(group: string, value: string | undefined): string {
  if (!value) return '';
  const key = `${group}.${value}`;
  return words[lang.value][key] ?? words['zh-CN'][key] ?? value;
}

const clock = new Intl.DateTimeFormat('zh-CN', {
  timeZone: 'Asia/Shanghai', hour: '2-digit', minute: '2-digit', second: '2-digit', hour12: false,
});
const day = new Intl.DateTimeFormat('zh-CN', {
  timeZone: 'Asia/Shanghai', month: '2-digit', day: '2-digit', hour: '2-digit', minute: '2-digit', hour12: false,
});

export const timeOfDay = (iso: string): string => (iso ? clock.format(new Date(iso)) : '');
export const dayAndTime = (iso: string): string => (iso ? day.format(new Date(iso)) : '');

/** span is a duration in seconds as m:ss or h:mm:ss. */
export function span(seconds: number): string {
  const s = Math.max(0, Math.floor(seconds));
  const two = (n: number) => String(n).padStart(2, '0');
  const h = Math.floor(s / 3600);
  return h > 0 ? `${h}:${two(Math.floor(s / 60) % 60)}:${two(s % 60)}` : `${Math.floor(s / 60)}:${two(s % 60)}`;
}
