import { render } from 'preact';
import { signal } from '@preact/signals';
import { lang, switchLang, t } from '../shared/i18n';
import { get, post, Refusal } from '../shared/api';
import '../shared/style.css';
import './login.css';

interface Me { id: string; name: string; role: string }

const failure = signal('');
const busy = signal(false);

/** home is the page that a role works on. */
function home(role: string): string {
  return role === 'responder' ? '/r' : '/console';
}

/** next is where the reader wanted to go, if that lies on this server. */
function next(role: string): string {
  const wanted = new URLSearchParams(location.search).get('next') ?? '';
  return /^\/[a-z]/.test(wanted) ? wanted : home(role);
}

async function signIn(e: SubmitEvent): Promise<void> {
  e.preventDefault();
  const form = new FormData(e.currentTarget as HTMLFormElement);
  busy.value = true;
  failure.value = '';
  try {
    await post('/login', { name: form.get('name'), password: form.get('password') });
    const me = await get<Me>('/me');
    location.assign(next(me.role));
  } catch (err) {
    busy.value = false;
    failure.value = explain(err);
  }
}

function explain(err: unknown): string {
  if (!(err instanceof Refusal)) return t('error.internal');
  if (err.code === 'network') return t('error.network');
  if (err.status === 429) return t('login.slow_down');
  if (err.status === 401) return t('login.wrong');
  return t('error.internal');
}

function Login() {
  return (
    <main class="login">
      <form class="card" onSubmit={signIn}>
        <h1>{t('app.name')}</h1>
        <p class="muted">{t('app.claim')}</p>
        <label>
          {t('login.name')}
          <input name="name" autocomplete="username" required maxLength={64} autofocus />
        </label>
        <label>
          {t('login.password')}
          <input name="password" type="password" autocomplete="current-password" required maxLength={256} />
        </label>
        <p role="alert" class="error">{failure.value}</p>
        <button class="primary" disabled={busy.value}>{busy.value ? t('login.busy') : t('login.submit')}</button>
        <button type="button" class="lang" onClick={switchLang}>{lang.value === 'en' ? '中文' : 'English'}</button>
      </form>
    </main>
  );
}

render(<Login />, document.getElementById('app')!);
