// Day and night. The choice is kept in the browser.
import { signal } from '@preact/signals';

const stored = 'anling.theme';

function initial(): 'day' | 'night' {
  try {
    return localStorage.getItem(stored) === 'night' ? 'night' : 'day';
  } catch {
    return 'day';
  }
}

export const theme = signal(initial());
document.documentElement.dataset.theme = theme.value;

export function switchTheme(): void {
  theme.value = theme.value === 'night' ? 'day' : 'night';
  document.documentElement.dataset.theme = theme.value;
  try {
    localStorage.setItem(stored, theme.value);
  } catch {
    // The choice lasts for this page then.
  }
}
