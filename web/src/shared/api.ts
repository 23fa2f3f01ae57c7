// The HTTP API, with keys that make a repeated command do its work once.

/** Refusal is an error that the server explained. */
export class Refusal extends Error {
  constructor(readonly status: number, readonly code: string, message: string, readonly field?: string) {
    super(message);
  }
}

/** newKey makes an idempotency key; keep it across repeats of the same command. */
export function newKey(): string {
  const b = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(b, (x) => x.toString(16).padStart(2, '0')).join('');
}

async function request<T>(method: string, path: string, body?: unknown, key?: string): Promise<T> {
  const headers: Record<string, string> = { Accept: 'application/json' };
  if (body !== undefined) headers['Content-Type'] = 'application/json';
  if (key) headers['Idempotency-Key'] = key;
  let res: Response;
  try {
    res = await fetch(`/api/v1${path}`, {
      method, headers, credentials: 'same-origin',
      body: body === undefined ? undefined : JSON.stringify(body),
      signal: AbortSignal.timeout(15000),
    });
  } catch {
    throw new Refusal(0, 'network', 'network');
  }
  if (res.status === 401 && path !== '/login') {
    location.assign(`/login?next=${encodeURIComponent(location.pathname)}`);
  }
  const text = await res.text();
  const data: unknown = text && res.headers.get('Content-Type')?.includes('json') ? JSON.parse(text) : undefined;
  if (!res.ok) {
    const e = (data ?? {}) as { code?: string; message?: string; field?: string; detail?: string };
    throw new Refusal(res.status, e.code ?? 'internal', e.message ?? e.detail ?? res.statusText, e.field);
  }
  return data as T;
}

export const get = <T>(path: string): Promise<T> => request<T>('GET', path);
export const post = <T>(path: string, body: unknown = {}, key: string = newKey()): Promise<T> => request<T>('POST', path, body, key);
export const patch = <T>(path: string, body: unknown, key: string = newKey()): Promise<T> => request<T>('PATCH', path, body, key);
