// The keys of the console, by place on the keyboard. They are silent while an input
// method composes; keys that are characters act in the centre zone only.
import { acknowledge } from './alarms';
import { callsHere, dispatch, good, hangUp, hold, incident, mine, myCall, next, opened, panel, selection, sent, usable, withdraw } from './state';

const typing = (e: KeyboardEvent): boolean => e.target instanceof HTMLElement && e.target.matches('input:not([type=checkbox]):not([type=radio]), textarea, select');

export function onKey(e: KeyboardEvent): void {
  if (e.isComposing || e.keyCode === 229 || e.defaultPrevented) return;
  if (act(e)) e.preventDefault();
}

function act(e: KeyboardEvent): boolean {
  const ctrl = e.ctrlKey || e.metaKey;
  if (ctrl && e.code === 'KeyK') return show('search');
  if (e.altKey && e.code === 'KeyA') { acknowledge(); return true; }
  if (panel.value) return false;
  if (e.altKey && /^Digit[123]$/.test(e.code)) return focus(['left', 'centre', 'right'][Number(e.code[5]) - 1]!);
  if ((ctrl && e.code === 'Slash') || (e.key === '?' && !typing(e))) return show('help');
  if (!usable.value) return false;
  if (e.code === 'F2') { next(); return true; }
  if (e.code === 'F9') { hangUp(myCall.value ?? callsHere.value.find((c) => !c.ended_at)); return true; }
  if (e.code === 'F4' && myCall.value && !e.altKey) { hold(myCall.value); return true; }
  if (ctrl && e.code === 'Enter' && mine.value && opened.value) return show(incident.value?.status === 'resolved' ? 'close' : 'resolve');
  if (ctrl && e.code === 'KeyZ' && sent.value && !typing(e)) { withdraw(sent.value.id, 'undone'); return true; }
  const centre = document.getElementById('centre');
  if (!ctrl && !e.altKey && /^(Digit|Numpad)[123]$/.test(e.code) && centre?.contains(document.activeElement) && selection.value?.kind === 'incident' && opened.value) {
    const c = good.value[Number(e.code.slice(-1)) - 1];
    if (c && mine.value) dispatch([c.responder_id]);
    return !!c;
  }
  return false;
}

function show(which: 'search' | 'help' | 'resolve' | 'close'): boolean {
  panel.value = which;
  return true;
}

function focus(id: string): boolean {
  const zone = document.getElementById(id);
  (id === 'left' ? zone?.querySelector<HTMLElement>('button.item') ?? zone : zone)?.focus();
  return true;
}
